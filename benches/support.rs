//! What the benches of several layers need.

use std::process::Command;
use std::time::Duration;
use std::{env, fs};

/// Tells a copy of the bench that it is only to measure one first use, and print nanoseconds.
const FIRST: &str = "PROCESSION_BENCH_FIRST";

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

/// Bytes that process `pid` shares with nobody, if the kernel tells.
#[must_use]
pub fn private_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    let kib = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Some(kib.sum::<u64>() << 10)
}
