//! Large arguments (B13), and what a byte of one costs (B20).

use std::time::Instant;

use procession_bench::{Target, Trial, steady};
use procession_pool::{Pool, TaskError};
use procession_sync::Array;
use serde_bytes::ByteBuf;

use crate::{WORKERS, pool};

/// Arguments of a call, and bytes of each.
const ITEMS: usize = 50;
const BYTES: usize = 8 << 20;

/// B13.
pub(crate) fn arguments(trial: &Trial) {
    let pool = pool(WORKERS);
    let text = "x".repeat(BYTES);
    let rate = rate(&pool, vec![text; ITEMS], |pool, items| {
        pool.map(|text: String| text.len(), items)
    });
    emit(trial, "50 arguments of 8 MiB, text", rate);

    let bytes = ByteBuf::from(vec![7; BYTES]);
    let rate = self::rate(&pool, vec![bytes; ITEMS], |pool, items| {
        pool.map(|bytes: ByteBuf| bytes.len(), items)
    });
    emit(trial, "50 arguments of 8 MiB, bytes", rate);
    shared(trial, &pool);
}

/// Chunks of an array that all share: no bytes go anywhere, so their number has no part in the cost.
fn shared(trial: &Trial, pool: &Pool) {
    let mut values = Vec::new();
    for bytes in [64 << 10, 1 << 20, BYTES] {
        let array = Array::<u8>::new(ITEMS * bytes).expect("shared memory");
        let nanos = steady(|| {
            let chunks = pool.map_chunks(&array, bytes, |chunk| chunk.len());
            assert_eq!(chunks.expect("all values"), [bytes; ITEMS]);
        });
        let micros = nanos / ITEMS as f64 / 1e3;
        values.push(micros);
        let record = trial.record(
            "map_chunks over a shared array, by size",
            "us/chunk",
            micros,
        );
        trial.emit(record.at("bytes", bytes as f64));
        if bytes == BYTES {
            let rate = (ITEMS * BYTES) as f64 / nanos;
            emit(trial, "50 arguments of 8 MiB, shared array", rate);
        }
    }
    trial.emit(trial.spread("us/chunk", &values));
}

/// A part of B20.
pub(crate) fn sweep(trial: &Trial) {
    let pool = pool(WORKERS);
    let mut values = Vec::new();
    for power in (3..=24).step_by(3) {
        let bytes = 1_usize << power;
        let items = ((32 << 20) / bytes).clamp(4, 20_000);
        let payload = vec![ByteBuf::from(vec![7; bytes]); items];
        let nanos = steady(|| {
            let lengths = pool.map(|bytes: ByteBuf| bytes.len(), payload.iter().cloned());
            assert_eq!(lengths.expect("all values").len(), items);
        });
        let nanos = nanos / (items * bytes) as f64;
        // Of a short argument the bytes are the least.
        if bytes >= 1 << 15 {
            values.push(nanos);
        }
        let record = trial.record("map of arguments, by size", "ns/B", nanos);
        trial.emit(record.at("bytes", bytes as f64).items(items as u64));
    }
    trial.emit(trial.spread("ns/B of a map, from 32 KiB,", &values));
}

fn emit(trial: &Trial, workload: &str, rate: f64) {
    let record = trial.record(workload, "GB/s", rate);
    trial.emit(record.items(ITEMS as u64).target(Target::AtLeast(5.0)));
}

/// Bytes per nanosecond of a `call` with `items`, after one that warms up.
fn rate<A: Clone>(
    pool: &Pool,
    items: Vec<A>,
    call: fn(&Pool, Vec<A>) -> Result<Vec<usize>, TaskError>,
) -> f64 {
    call(pool, items.clone()).expect("all values");
    let start = Instant::now();
    let lengths = call(pool, items).expect("all values");
    let nanos = start.elapsed().as_nanos() as f64;
    assert_eq!(lengths, [BYTES; ITEMS]);
    (ITEMS * BYTES) as f64 / nanos
}
