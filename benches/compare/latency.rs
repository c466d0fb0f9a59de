//! The way of one task to a worker and back (B4).

use std::hint::black_box;
use std::time::Duration;

use procession_bench::{Target, Trial, latencies};

use procession_executor::Executor;

use crate::futures::executor;
use crate::{WORKERS, pool, square};

/// B4.
pub(crate) fn apply(trial: &Trial) {
    let pool = pool(WORKERS);
    let call = || pool.apply(square, black_box(7)).expect("a value");
    let warm = latencies(trial.size(100_000, 20_000), Duration::ZERO, call);
    trial.emit_latencies("apply, warm", "us", &warm, &[(50.0, Target::AtMost(1.0))]);
    let asleep = latencies(trial.size(2_200, 550), Duration::from_millis(1), call);
    let target = Target::AtMost(15.0);
    trial.emit_latencies(
        "apply, 1 ms apart",
        "us",
        &asleep,
        &[(50.0, target.clone())],
    );
    drop(pool);
    let executor = executor();
    let call = || {
        executor
            .submit(square, black_box(7))
            .result()
            .expect("a value")
    };
    let warm = latencies(trial.size(100_000, 20_000), Duration::ZERO, call);
    let workload = "submit and result, warm";
    trial.emit_latencies(workload, "us", &warm, &[(50.0, Target::AtMost(1.0))]);
    let asleep = latencies(trial.size(2_200, 550), Duration::from_millis(1), call);
    trial.emit_latencies(
        "submit and result, 1 ms apart",
        "us",
        &asleep,
        &[(50.0, target)],
    );
}
