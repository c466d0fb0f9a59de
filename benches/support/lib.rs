//! What the benches of several layers need, and what a contestant of `bench --compare` is made of.

mod contestant;
mod pinned;
mod procfs;
mod record;
mod statistics;

use std::env;
use std::process::Command;
use std::time::Duration;

pub use contestant::{Entry, Trial, enter, latencies, paced, steady};
pub use pinned::Pinned;
pub use procfs::{Idleness, children, parent, private_bytes, resident_bytes};
pub use record::{Kind, Record, Target};
pub use statistics::{Summary, median, percentiles};

/// Tells a copy of the bench that it is only to measure one first use, and print nanoseconds.
const FIRST: &str = "PROCESSION_BENCH_FIRST";

/// `bytes` of this process that are really in memory.
#[must_use]
pub fn ballast(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    memory
}

/// Whether this process was started by [`first_use`].
#[must_use]
pub fn is_first_use() -> bool {
    env::var_os(FIRST).is_some()
}

/// Runs this bench once more in a process of its own, and returns the time that it prints.
///
/// # Panics
///
/// If the copy fails: there is nothing to measure then.
#[must_use]
pub fn first_use() -> Duration {
    let exe = env::current_exe().expect("a bench is a file");
    let output = Command::new(exe)
        .env(FIRST, "1")
        .output()
        .expect("the bench runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let nanos = text.trim().parse().expect("the copy prints nanoseconds");
    Duration::from_nanos(nanos)
}
