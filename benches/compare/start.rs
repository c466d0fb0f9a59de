//! From nothing to the first value (B12). Nothing is warmed up.

use std::time::Instant;

use procession_bench::{Target, Trial, median};

use crate::{WORKERS, pool, square};

/// B12. This program has had no pool when it starts.
pub(crate) fn first_result(trial: &Trial) {
    let first = millis(WORKERS);
    let record = trial.record("first pool of a program, first result", "ms", first);
    trial.emit(record.target(Target::AtMost(1.5)));

    let later: Vec<f64> = (0..10).map(|_| millis(WORKERS)).collect();
    let record = trial.record("later pool, first result", "ms", median(&later));
    trial.emit(record.target(Target::AtMost(0.6)));

    for workers in [1, 2, 4, 16, 64, 256] {
        let record = trial.record("pool of n workers, first result", "ms", millis(workers));
        trial.emit(record.at("workers", workers as f64));
    }
}

/// The pool's end is not part of it.
fn millis(workers: usize) -> f64 {
    let start = Instant::now();
    let pool = pool(workers);
    assert_eq!(pool.apply(square, 7).expect("a value"), 49);
    start.elapsed().as_secs_f64() * 1e3
}
