//! What the kernel tells of processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes that process `pid` shares with nobody, if the kernel tells.
#[must_use]
pub fn private_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    let kib = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Some(kib.sum::<u64>() << 10)
}

/// Bytes of process `pid` that are in memory, if the kernel tells.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let kib = status(Path::new(&format!("/proc/{pid}")), "VmRSS:")?;
    Some(kib << 10)
}

/// The parent of process `pid`.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    let pid = status(Path::new(&format!("/proc/{pid}")), "PPid:")?;
    u32::try_from(pid).ok()
}

/// The children of this process.
#[must_use]
pub fn children() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| parent(pid) == Some(std::process::id()))
        .collect()
}

/// What processes did while nothing was asked of them.
#[derive(Debug, Clone, Copy)]
pub struct Idleness {
    /// Times that a thread was switched away from.
    pub switches: u64,
    /// Time on a CPU.
    pub cpu: Duration,
}

impl Idleness {
    /// Watches all threads of the processes `pids`, and those of this process but the calling one.
    ///
    /// # Panics
    ///
    /// If the kernel does not tell.
    #[must_use]
    pub fn over(time: Duration, pids: &[u32]) -> Idleness {
        let before = counters(pids);
        assert!(before.len() >= pids.len(), "each has a thread to look at");
        std::thread::sleep(time);
        let after = counters(pids);
        let mut all = Idleness {
            switches: 0,
            cpu: Duration::ZERO,
        };
        for (thread, (switches, nanos)) in after {
            let (switches_before, nanos_before) = before.get(&thread).copied().unwrap_or_default();
            all.switches += switches - switches_before;
            all.cpu += Duration::from_nanos(nanos - nanos_before);
        }
        all
    }
}

/// Switches and nanoseconds of each thread.
fn counters(pids: &[u32]) -> BTreeMap<PathBuf, (u64, u64)> {
    let own = fs::read_link("/proc/thread-self").unwrap_or_default();
    let own = Path::new("/proc").join(own);
    let pids = pids.iter().copied().chain([std::process::id()]);
    let threads = pids.flat_map(threads).filter(|thread| *thread != own);
    threads
        .filter_map(|thread| {
            let voluntary = status(&thread, "voluntary_ctxt_switches:")?;
            let others = status(&thread, "nonvoluntary_ctxt_switches:")?;
            let schedule = fs::read_to_string(thread.join("schedstat")).ok()?;
            let nanos = schedule.split_whitespace().next()?.parse().ok()?;
            Some((thread, (voluntary + others, nanos)))
        })
        .collect()
}

/// The folders of the threads of process `pid`.
fn threads(pid: u32) -> Vec<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{pid}/task"));
    let entries = folder.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The number after `key` in a status file.
fn status(folder: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(folder.join("status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
