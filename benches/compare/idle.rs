//! Workers that have nothing to do (B18, B19).

use std::time::Duration;

use procession_bench::{Idleness, Target, Trial, median, parent, private_bytes};
use procession_pool::Pool;

use crate::{WORKERS, pool, square};

/// B18. Counts the workers and the supervisor.
pub(crate) fn wake_ups(trial: &Trial) {
    let pool = pool(64);
    warm_up(&pool);
    let mut pids = pool.worker_pids();
    pids.extend(pids.first().and_then(|&worker| parent(worker)));
    let time = Duration::from_secs(trial.size(60, 2));
    let idleness = Idleness::over(time, &pids);
    let what = format!("64 idle workers, {} s", time.as_secs());
    let switches = idleness.switches as f64;
    let record = trial.record(&format!("{what}, context switches"), "switches", switches);
    trial.emit(record.target(Target::AtMost(0.0)));
    let cpu = idleness.cpu.as_secs_f64() * 1e3;
    let record = trial.record(&format!("{what}, CPU time"), "ms", cpu);
    trial.emit(record.target(Target::AtMost(0.0)));
}

/// B19.
pub(crate) fn memory(trial: &Trial) {
    let pool = pool(WORKERS);
    warm_up(&pool);
    let bytes = pool.worker_pids().into_iter().filter_map(private_bytes);
    let kib: Vec<f64> = bytes.map(|bytes| bytes as f64 / 1024.0).collect();
    let record = trial.record("private memory of an idle worker", "KiB", median(&kib));
    trial.emit(record.target(Target::AtMost(1024.0)));
}

fn warm_up(pool: &Pool) {
    pool.map(square, 0..1000).expect("all values");
    // What the last task leaves to be done is not idleness.
    std::thread::sleep(Duration::from_millis(200));
}
