//! Workers that are killed while they work (B14).

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use procession_bench::{Target, Trial, parent};
use procession_pool::Pool;
use rustix::process::{Pid, Signal, kill_process};

use crate::journal::{Journal, Run, begin, now};
use crate::{WORKERS, pool, square};

/// Between two kills.
const PERIOD: Duration = Duration::from_millis(20);
/// Of the curve of throughput, in nanoseconds.
const SLICE: u64 = 100_000_000;

/// A worker that was killed, and when.
type Kill = (u32, u64);

/// B14.
pub(crate) fn recovery(trial: &Trial) {
    let items = trial.size(100_000, 10_000);
    let journal = Journal::new();
    let pool = pool(WORKERS);
    pool.map(square, 0..1000).expect("all values");

    let start = now();
    let mut arrivals = Vec::new();
    let mut values = vec![0_u32; items as usize];
    let kills = thread::scope(|scope| {
        let (over, told) = channel();
        let killer = scope.spawn(|| kill_workers(&pool, told));
        let numbers = (0..items).map(|item| journal.item(item));
        for outcome in pool.retries(1000).imap_unordered(work, numbers) {
            arrivals.push(now() - start);
            if let Ok(item) = outcome {
                values[item as usize] += 1;
            }
        }
        drop(over);
        killer.join().expect("the killer has come to its end")
    });

    let count = |of: fn(&u32) -> bool| values.iter().filter(|times| of(times)).count() as f64;
    let emit = |what: &str, unit: &str, value| {
        let workload = format!("a kill every 20 ms, {what}");
        trial.record(&workload, unit, value).items(items)
    };
    let lost = emit("items lost", "items", count(|times| *times == 0));
    trial.emit(lost.target(Target::AtMost(0.0)));
    let twice = emit("outcomes twice", "items", count(|times| *times > 1));
    trial.emit(twice.target(Target::AtMost(0.0)));
    let seconds = arrivals.last().map_or(0.0, |&last| last as f64 / 1e9);
    let rate = emit("throughput", "items/s", items as f64 / seconds);
    trial.emit(rate.series(throughput(&arrivals)));
    let workload = "a kill every 20 ms, kill to re-run";
    let delays = delays(&kills, &journal.runs());
    trial.emit_latencies(workload, "ms", &delays, &[(99.0, Target::AtMost(5.0))]);
}

fn work(item: (u32, u64)) -> u64 {
    begin(item);
    thread::sleep(Duration::from_millis(1));
    item.1
}

/// Kills a worker every [`PERIOD`], until the other end of `told` is dropped.
fn kill_workers(pool: &Pool, told: Receiver<()>) -> Vec<Kill> {
    let supervisor = pool.worker_pids().first().and_then(|&pid| parent(pid));
    let mut kills = Vec::new();
    while told.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        let mut pids = pool.worker_pids();
        // One that has just died has no parent.
        pids.retain(|&pid| supervisor.is_some() && parent(pid) == supervisor);
        let Some(&pid) = pids.get(kills.len() % pids.len().max(1)) else {
            continue;
        };
        let at = now();
        let victim = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if victim.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()) {
            kills.push((pid, at));
        }
    }
    kills
}

/// Milliseconds from each kill to the next run of the item that it has cost.
fn delays(kills: &[Kill], runs: &[Run]) -> Vec<f64> {
    let mut of_pid: BTreeMap<u32, Vec<Run>> = BTreeMap::new();
    let mut of_item: BTreeMap<u64, Vec<Run>> = BTreeMap::new();
    for run in runs {
        of_pid.entry(run.pid).or_default().push(*run);
        of_item.entry(run.item).or_default().push(*run);
    }
    let delays = kills.iter().filter_map(|(pid, at)| {
        let last = of_pid.get(pid)?.last()?;
        let mut again = of_item.get(&last.item)?.iter();
        let next = again.find(|run| run.nanos > last.nanos)?;
        Some(next.nanos.saturating_sub(*at) as f64 / 1e6)
    });
    delays.collect()
}

/// Items per second, slice by slice. The last slice is not a whole one, and left out.
fn throughput(arrivals: &[u64]) -> Vec<(f64, f64)> {
    let slices = arrivals.chunk_by(|a, b| a / SLICE == b / SLICE);
    let point = |slice: &[u64]| {
        let at = (slice[0] / SLICE * SLICE) as f64 / 1e9;
        (at, slice.len() as f64 * 1e9 / SLICE as f64)
    };
    let mut points: Vec<(f64, f64)> = slices.map(point).collect();
    points.pop();
    points
}
