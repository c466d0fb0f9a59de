//! `map` over numbers: the cost of an item (B1, B2, B3, B20).

use std::hint::black_box;

use procession_bench::{Target, Trial, steady};
use procession_pool::Pool;

use crate::{WORKERS, pool, square};

/// B1.
pub(crate) fn default_chunks(trial: &Trial) {
    let items = 1_000_000;
    let value = nanos_of_item(&pool(WORKERS), items);
    trial.emit(
        trial
            .record("map(x * x), default chunks", "ns/item", value)
            .items(items)
            .target(Target::AtMost(15.0))
            .target(Target::AtMostTimes(5.0, "rayon".to_owned())),
    );
}

/// B2.
pub(crate) fn one_by_one(trial: &Trial) {
    let items = 100_000;
    let pool = pool(WORKERS);
    let nanos = steady(|| {
        let values = pool.chunksize(1).map(square, 0..black_box(items));
        values.expect("all values")
    });
    trial.emit(
        trial
            .record(
                "map(x * x), chunksize 1",
                "us/item",
                nanos / items as f64 / 1e3,
            )
            .items(items)
            .target(Target::AtMost(0.5)),
    );
}

/// B3.
pub(crate) fn unordered(trial: &Trial) {
    let items = 100_000;
    let pool = pool(WORKERS);
    let nanos = steady(|| {
        let outcomes = pool.imap_unordered(square, 0..black_box(items));
        outcomes
            .map(|outcome| outcome.expect("a value"))
            .fold(0, u64::wrapping_add)
    });
    trial.emit(
        trial
            .record(
                "imap_unordered(x * x)",
                "us/item",
                nanos / items as f64 / 1e3,
            )
            .items(items)
            .target(Target::AtMost(0.5)),
    );
}

/// B20.
pub(crate) fn sweep(trial: &Trial) {
    let pool = pool(WORKERS);
    let mut values = Vec::new();
    for power in 3..=trial.size(8, 7) {
        let items = 10_u64.pow(power);
        let value = nanos_of_item(&pool, items);
        values.push(value);
        let record = trial.record("map(x * x), default chunks", "ns/item", value);
        trial.emit(record.at("items", items as f64).items(items));
    }
    let record = trial.spread("ns/item", &values);
    trial.emit(record.target(Target::AtMost(1.2)));
}

/// A part of B20.
pub(crate) fn workers(trial: &Trial) {
    let mut values = Vec::new();
    for workers in [1, 2, 4, 8, 16, 32, 64] {
        let value = nanos_of_item(&pool(workers), 1_000_000);
        values.push(value);
        let record = trial.record("map(x * x) of 10^6, by workers", "ns/item", value);
        trial.emit(record.at("workers", workers as f64));
    }
    trial.emit(trial.spread("ns/item over workers", &values));
}

fn nanos_of_item(pool: &Pool, items: u64) -> f64 {
    let nanos = steady(|| pool.map(square, 0..black_box(items)).expect("all values"));
    nanos / items as f64
}
