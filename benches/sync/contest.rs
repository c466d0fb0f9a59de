//! Contenders for one workload, measured by criterion and then in turns.

use std::time::Duration;

use criterion::{Criterion, Throughput};

/// Trials of each contender, in turns with the others.
const TRIALS: usize = 9;
/// How long a trial is.
const TRIAL: Duration = Duration::from_millis(60);

/// Does a number of operations, and says how long that took.
type Run = Box<dyn FnMut(u64) -> Duration>;

/// One way to do what is measured.
pub(crate) struct Contender {
    name: &'static str,
    /// None: it is not installed.
    run: Option<Run>,
}

impl Contender {
    pub(crate) fn new(name: &'static str, run: impl FnMut(u64) -> Duration + 'static) -> Self {
        let run: Option<Run> = Some(Box::new(run));
        Self { name, run }
    }

    pub(crate) fn optional(name: &'static str, run: Option<Run>) -> Self {
        Self { name, run }
    }
}

/// All workloads, and what came of them.
pub(crate) struct Contest {
    criterion: Criterion,
    /// Only workloads with this in their name, as criterion has it.
    filter: Option<String>,
    table: Vec<String>,
}

impl Contest {
    pub(crate) fn new() -> Self {
        let mut arguments = std::env::args().skip(1);
        Self {
            criterion: Criterion::default().configure_from_args(),
            filter: arguments.find(|argument| !argument.starts_with('-')),
            table: Vec::new(),
        }
    }

    /// Whether the filter lets `name` through.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| name.contains(part))
    }

    /// Measures `contenders`, of which the first is ours. `bytes` is what an operation moves.
    pub(crate) fn hold(
        &mut self,
        workload: &str,
        bytes: Option<u64>,
        contenders: impl FnOnce() -> Vec<Contender>,
    ) {
        let wanted = |part: &str| workload.contains(part) || part.starts_with(workload);
        if !self.filter.as_deref().is_none_or(wanted) {
            return;
        }
        let mut contenders = contenders();
        contenders.retain(|contender| self.wants(&format!("{workload}/{}", contender.name)));
        let mut group = self.criterion.benchmark_group(workload);
        group.sample_size(10);
        group.warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_millis(800));
        group.throughput(bytes.map_or(Throughput::Elements(1), Throughput::Bytes));
        for contender in &mut contenders {
            if let Some(run) = &mut contender.run {
                group.bench_function(contender.name, |b| b.iter_custom(&mut *run));
            }
        }
        group.finish();

        let results = in_turns(&mut contenders);
        let ours = results.first().copied().flatten();
        for (contender, result) in contenders.iter().zip(results) {
            let head = format!("{workload:28} {:26}", contender.name);
            self.table.push(match (result, ours) {
                (
                    Some(Medians {
                        least,
                        median,
                        most,
                    }),
                    Some(ours),
                ) => {
                    let rate = match bytes {
                        Some(bytes) => format!("{:8.2} GB/s", bytes as f64 / median),
                        None => format!("{:9.2} M/s", 1e3 / median),
                    };
                    let ratio = median / ours.median;
                    format!("{head} {median:12.1} ns {rate} {ratio:8.2}   {least:.1}..{most:.1}")
                }
                _ => format!("{head} missing"),
            });
        }
    }

    /// Prints the table.
    pub(crate) fn finish(&mut self) {
        self.criterion.final_summary();
        let (workload, contender) = ("workload", "contender");
        println!("\nMedians of {TRIALS} trials in turns; ratio to the first of the workload");
        println!("{workload:28} {contender:26}       median          rate    ratio   range in ns");
        for line in self.table.drain(..) {
            println!("{line}");
        }
    }
}

/// Nanoseconds of an operation.
#[derive(Clone, Copy)]
struct Medians {
    least: f64,
    median: f64,
    most: f64,
}

/// Measures all contenders in turns.
fn in_turns(contenders: &mut [Contender]) -> Vec<Option<Medians>> {
    let mut trials: Vec<(u64, Vec<f64>)> = contenders
        .iter_mut()
        .map(|contender| (contender.run.as_mut().map_or(0, enough), Vec::new()))
        .collect();
    for _ in 0..TRIALS {
        for (contender, (rounds, results)) in contenders.iter_mut().zip(&mut trials) {
            if let Some(run) = &mut contender.run {
                results.push(run(*rounds).as_nanos() as f64 / *rounds as f64);
            }
        }
    }
    let medians = trials.into_iter().map(|(_, mut results)| {
        results.sort_by(f64::total_cmp);
        Some(Medians {
            least: *results.first()?,
            median: *results.get(results.len() / 2)?,
            most: *results.last()?,
        })
    });
    medians.collect()
}

/// How many operations fill a trial.
fn enough(run: &mut Run) -> u64 {
    let mut rounds = 1;
    loop {
        let spent = run(rounds);
        if spent >= TRIAL / 4 || rounds >= 1 << 40 {
            let fill = TRIAL.as_secs_f64() / spent.as_secs_f64() * rounds as f64;
            return (fill as u64).max(1);
        }
        rounds *= 4;
    }
}
