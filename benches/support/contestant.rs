//! A contestant program: does one trial of one row when it is told to.

use std::env;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Kind, Record, Summary, Target, percentiles};

/// A steady state is measured for so long.
const STEADY: Duration = Duration::from_millis(100);

/// How one contestant does one row.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Of the table of workloads: `B1`.
    pub row: &'static str,
    /// The contestant's name.
    pub contestant: &'static str,
    /// What sort of contestant it is.
    pub kind: Kind,
    /// Measures once, and emits what it finds.
    pub run: fn(&Trial),
}

/// One trial.
#[derive(Debug)]
pub struct Trial {
    entry: Entry,
    quick: bool,
}

impl Trial {
    /// `full`, or `quick` if the run is to be quick.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Who does it.
    #[must_use]
    pub fn contestant(&self) -> &'static str {
        self.entry.contestant
    }

    /// A figure of the row.
    #[must_use]
    pub fn record(&self, workload: &str, unit: &str, value: f64) -> Record {
        Record::new(self.entry.row, workload, unit, value)
    }

    /// Prints a figure of this contestant.
    ///
    /// # Panics
    ///
    /// If nobody reads it.
    pub fn emit(&self, mut record: Record) {
        self.entry.contestant.clone_into(&mut record.contestant);
        record.kind = self.entry.kind;
        let line = serde_json::to_string(&record).expect("a record is JSON");
        writeln!(io::stdout(), "{line}").expect("somebody reads it");
    }

    /// How far the values of a sweep, which are of `unit`, are apart.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[must_use]
    pub fn spread(&self, unit: &str, values: &[f64]) -> Record {
        let Summary { least, most, .. } = Summary::of(values).expect("values");
        let workload = format!("most / least {unit} of the sweep");
        self.record(&workload, "times", most / least)
    }

    /// Prints p50 and p99 of `samples`, which are in `unit`. The targets are asked of the
    /// percentiles that they stand with.
    pub fn emit_latencies(
        &self,
        workload: &str,
        unit: &str,
        samples: &[f64],
        targets: &[(f64, Target)],
    ) {
        let curve = percentiles(samples);
        for &(percent, value) in &curve {
            if percent != 50.0 && percent != 99.0 {
                continue;
            }
            let mut record = self.record(&format!("{workload}, p{percent}"), unit, value);
            record.items = u64::try_from(samples.len()).ok();
            let asked = targets.iter().filter(|(of, _)| *of == percent);
            record.targets = asked.map(|(_, target)| target.clone()).collect();
            if percent == 50.0 {
                record.percentiles.clone_from(&curve);
            }
            self.emit(record);
        }
    }
}

/// Does what the command line says: `ROW CONTESTANT [--quick]` is one trial. Anything else lists
/// what there is, a row and a contestant a line.
#[must_use]
pub fn enter(entries: &[Entry]) -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    arguments.retain(|argument| argument != "--quick");
    let [row, contestant] = arguments.as_slice() else {
        for entry in entries {
            println!("{} {}", entry.row, entry.contestant);
        }
        return ExitCode::SUCCESS;
    };
    let mut entries = entries.iter();
    let Some(&entry) = entries.find(|entry| entry.row == row && entry.contestant == contestant)
    else {
        eprintln!("no row `{row}` of `{contestant}`");
        return ExitCode::from(2);
    };
    (entry.run)(&Trial { entry, quick });
    ExitCode::SUCCESS
}

/// Nanoseconds that `call` takes, after one that warms up.
pub fn steady<T>(mut call: impl FnMut() -> T) -> f64 {
    black_box(call());
    let start = Instant::now();
    let mut calls = 0;
    while calls == 0 || start.elapsed() < STEADY {
        black_box(call());
        calls += 1;
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// Nanoseconds of one of the rounds of `run`, which does as many as it is told to and says how long
/// they took, after some that warm up.
pub fn paced(mut run: impl FnMut(u64) -> Duration) -> f64 {
    let mut rounds = 8;
    run(rounds);
    loop {
        let spent = run(rounds);
        if spent >= STEADY / 2 {
            return spent.as_nanos() as f64 / rounds as f64;
        }
        let fill = STEADY.as_secs_f64() / spent.as_secs_f64();
        rounds = (rounds as f64 * fill.clamp(2.0, 8.0)).ceil() as u64;
    }
}

/// Microseconds of each of `rounds` calls, with a pause before each, after one that warms up.
pub fn latencies<T>(rounds: u64, pause: Duration, mut call: impl FnMut() -> T) -> Vec<f64> {
    black_box(call());
    let one = |_| {
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        let start = Instant::now();
        black_box(call());
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..rounds).map(one).collect()
}
