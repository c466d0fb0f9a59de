//! What tasks write down as they begin: in a file, which outlives whoever is killed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};

/// The journal of this program. Its file is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Journal {
    program: u32,
}

/// A task that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) item: u64,
    pub(crate) pid: u32,
    /// As of [`now`].
    pub(crate) nanos: u64,
}

impl Journal {
    pub(crate) fn new() -> Journal {
        let program = std::process::id();
        File::create(path(program)).expect("a file can be made");
        Journal { program }
    }

    /// An item for a task that calls [`begin`].
    pub(crate) fn item(&self, item: u64) -> (u32, u64) {
        (self.program, item)
    }

    /// All that have begun, in that order.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let text = fs::read_to_string(path(self.program)).expect("the file is there");
        let run = |line: &str| {
            let mut numbers = line.split(' ').map(str::parse::<u64>);
            let mut next = || numbers.next()?.ok();
            Some(Run {
                item: next()?,
                pid: next()?.try_into().ok()?,
                nanos: next()?,
            })
        };
        let runs = text.lines().map(|line| run(line).expect("three numbers"));
        runs.collect()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = fs::remove_file(path(self.program));
    }
}

/// Writes down, in a worker, that the task of `item` begins.
pub(crate) fn begin((program, item): (u32, u64)) {
    static FILE: OnceLock<File> = OnceLock::new();
    let open = || OpenOptions::new().append(true).open(path(program));
    let mut file = FILE.get_or_init(|| open().expect("the program has made it"));
    // One call writes all of it: a kill leaves a line or none.
    let line = format!("{item} {} {}\n", std::process::id(), now());
    file.write_all(line.as_bytes()).expect("it can be written");
}

/// Nanoseconds of a clock that all processes share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn path(program: u32) -> PathBuf {
    std::env::temp_dir().join(format!("procession-bench-{program}"))
}
