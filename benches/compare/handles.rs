//! Many handles (B20): made, sent in one argument, dropped.

use std::time::Instant;

use procession_bench::{Trial, median};
use procession_sync::Lock;

use crate::pool;

/// A part of B20.
pub(crate) fn handles(trial: &Trial) {
    let pool = pool(1);
    let words = ["made", "sent in one argument", "dropped"];
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for power in 1..=4 {
        let count = 10_u64.pow(power);
        let mut samples = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..5 {
            let start = Instant::now();
            let locks = (0..count).map(|_| Lock::new().expect("a lock"));
            let locks: Vec<Lock> = locks.collect();
            let made = start.elapsed();
            let others = locks.clone();
            let start = Instant::now();
            // The worker drops its handles in the task.
            let arrived = pool.apply(|locks: Vec<Lock>| locks.len() as u64, others);
            let sent = start.elapsed();
            assert_eq!(arrived.expect("a value"), count);
            let start = Instant::now();
            drop(locks);
            for (times, time) in samples.iter_mut().zip([made, sent, start.elapsed()]) {
                times.push(time.as_secs_f64() * 1e6 / count as f64);
            }
        }
        for ((values, word), times) in all.iter_mut().zip(words).zip(&samples) {
            values.push(median(times));
            let record = trial.record(&format!("locks, {word}"), "us/handle", median(times));
            trial.emit(record.at("handles", count as f64));
        }
    }
    for (values, word) in all.iter().zip(words) {
        trial.emit(trial.spread(&format!("us/handle, {word},"), values));
    }
}
