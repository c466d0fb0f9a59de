//! One long item among short ones (B16).

use std::time::{Duration, Instant};

use procession_bench::{Target, Trial};

use crate::pool;

/// B16. The long item comes first, so that the floor is its own time.
pub(crate) fn straggler(trial: &Trial) {
    let long = trial.size(10_000, 1_000);
    let short = trial.size(10, 1);
    let pool = pool(4);
    pool.apply(wait, 0).expect("a value");
    let items = std::iter::once(long).chain(std::iter::repeat_n(short, 1_000));
    let start = Instant::now();
    pool.map(wait, items).expect("all values");
    let seconds = start.elapsed().as_secs_f64();
    let workload = format!("1 x {long} ms, 1000 x {short} ms, 4 workers");
    let record = trial.record(&workload, "s", seconds);
    trial.emit(record.target(Target::AtMost(f64::from(long) * 1.01e-3)));
}

fn wait(millis: u32) {
    std::thread::sleep(Duration::from_millis(millis.into()));
}
