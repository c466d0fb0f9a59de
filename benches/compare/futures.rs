//! Futures, submitted and taken as they are completed: the cost of one (B5, B20).

use std::hint::black_box;

use procession_bench::{Target, Trial, steady};
use procession_executor::{Executor, ProcessPoolExecutor, as_completed};

use crate::{WORKERS, square};

const WORKLOAD: &str = "submit, as_completed";
const UNIT: &str = "us/future";

pub(crate) fn executor() -> ProcessPoolExecutor {
    ProcessPoolExecutor::with_workers(WORKERS).expect("an executor starts")
}

/// B5.
pub(crate) fn as_they_come(trial: &Trial) {
    let futures = 100_000;
    let micros = micros_of_future(&executor(), futures);
    let record = trial.record(WORKLOAD, UNIT, micros);
    trial.emit(record.items(futures).target(Target::AtMost(1.0)));
}

/// A part of B20.
pub(crate) fn sweep(trial: &Trial) {
    let executor = executor();
    let mut values = Vec::new();
    for power in 2..=trial.size(6, 5) {
        let futures = 10_u64.pow(power);
        let micros = micros_of_future(&executor, futures);
        values.push(micros);
        let record = trial.record(WORKLOAD, UNIT, micros);
        trial.emit(record.at("futures", futures as f64).items(futures));
    }
    let record = trial.spread(UNIT, &values);
    trial.emit(record.target(Target::AtMost(1.2)));
}

fn micros_of_future(executor: &ProcessPoolExecutor, futures: u64) -> f64 {
    let nanos = steady(|| {
        let submitted: Vec<_> = (0..black_box(futures))
            .map(|n| executor.submit(square, n))
            .collect();
        as_completed(submitted)
            .map(|future| future.result().expect("a value"))
            .fold(0, u64::wrapping_add)
    });
    nanos / futures as f64 / 1e3
}
