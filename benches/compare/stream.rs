//! Memory of a call that never holds all of its items (B17).

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use procession_bench::{Target, Trial, median, resident_bytes};
use serde_bytes::ByteBuf;

use crate::{WORKERS, pool, square};

/// B17. The consumer takes more time for an outcome than the pool: its own, and that of the peers.
pub(crate) fn slow_consumer(trial: &Trial) {
    follow(
        trial,
        trial.size(10_000_000, 1_000_000),
        Duration::from_micros(2),
    );
    follow(
        trial,
        trial.size(100_000, 5_000),
        Duration::from_micros(100),
    );
}

/// Follows the memory of this process, beyond what it had before.
fn follow(trial: &Trial, items: u64, pause: Duration) {
    let pool = pool(WORKERS);
    pool.map(square, 0..1000).expect("all values");
    let start = Instant::now();
    let before = resident_mib();
    let mut series = Vec::new();
    let input = (0..items).map(|_| ByteBuf::from(vec![7; 1024]));
    for (number, outcome) in pool.imap(|item: ByteBuf| item.len(), input).enumerate() {
        assert_eq!(outcome.expect("a value"), 1024);
        if (number as u64).is_multiple_of(items / 100) {
            series.push((start.elapsed().as_secs_f64(), resident_mib() - before));
        }
        spin(pause);
    }
    let sizes: Vec<f64> = series.iter().map(|point| point.1).collect();
    let most = sizes.iter().copied().fold(0.0, f64::max);
    // Where it goes up and down within its window the highest of all comes at any time; what grows
    // with the items is higher at the end than in the middle.
    let growth = median(&sizes[66..]) - median(&sizes[33..66]);
    let what = format!("imap of {items} x 1 KiB, slow consumer");
    let record = trial.record(&format!("{what}: memory"), "MiB", most);
    trial.emit(record.series(series));
    let record = trial.record(
        &format!("{what}: growth from second to last third"),
        "MiB",
        growth,
    );
    trial.emit(record.target(Target::AtMost(1.0)));
}

fn resident_mib() -> f64 {
    let bytes = resident_bytes(std::process::id()).expect("the kernel tells");
    bytes as f64 / f64::from(1 << 20)
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        spin_loop();
    }
}
