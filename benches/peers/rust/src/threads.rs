//! `rayon`: threads of this process, and so a reference.

use std::hint::black_box;

use procession_bench::{Trial, steady};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::{WORKERS, square};

fn pool() -> ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(WORKERS);
    pool.build().expect("threads start")
}

pub(crate) fn default_chunks(trial: &Trial) {
    let items = 1_000_000;
    let value = pool().install(|| nanos_of_item(items, items));
    let record = trial.record("map(x * x), default chunks", "ns/item", value);
    trial.emit(record.items(items as u64));
}

pub(crate) fn one_by_one(trial: &Trial) {
    let items = 100_000;
    let micros = pool().install(|| nanos_of_item(items, 1)) / 1e3;
    let record = trial.record("map(x * x), chunksize 1", "us/item", micros);
    trial.emit(record.items(items as u64));
}

pub(crate) fn sweep(trial: &Trial) {
    let pool = pool();
    for power in 3..=trial.size(8, 7) {
        let items = 10_usize.pow(power);
        let value = pool.install(|| nanos_of_item(items, items));
        let record = trial.record("map(x * x), default chunks", "ns/item", value);
        trial.emit(record.at("items", items as f64).items(items as u64));
    }
}

/// At most `chunk` items at a time. Over `usize`, where `rayon` is at its best; with a function that
/// the compiler cannot look into, as with a pool of processes.
fn nanos_of_item(items: usize, chunk: usize) -> f64 {
    let function: fn(u64) -> u64 = black_box(square);
    let call = || {
        let items = (0..black_box(items)).into_par_iter().with_max_len(chunk);
        items.map(|n| function(n as u64)).collect::<Vec<_>>()
    };
    steady(call) / items as f64
}
