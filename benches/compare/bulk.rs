//! Large arguments (B13).

use std::time::Instant;

use procession_bench::{Target, Trial};
use procession_pool::{Pool, TaskError};
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
