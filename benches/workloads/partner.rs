//! The other side of a workload: a process that does its part when it is told to.

use std::time::{Duration, Instant};

use procession_bench::Pinned;
use procession_primitives::Process;
use procession_sync::Queue;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many operations to do, and that they are done.
pub(crate) type Line = (Queue<u64>, Queue<()>);

/// A process that does its part of each run. Ends when dropped.
pub(crate) struct Partner {
    line: Line,
    process: Process<()>,
}

impl Partner {
    pub(crate) fn new<A: Serialize + DeserializeOwned>(
        function: fn((Line, A)),
        argument: A,
    ) -> Partner {
        let queue = "a queue";
        let line: Line = (Queue::new().expect(queue), Queue::new().expect(queue));
        let process = Process::spawn(function, (line.clone(), argument));
        let process = process.expect("a process starts");
        Partner { line, process }
    }

    pub(crate) fn go(&self, rounds: u64) {
        self.line.0.put(rounds).expect("the partner takes it");
    }

    pub(crate) fn wait(&self) {
        self.line.1.get().expect("the partner says that it is done");
    }

    /// Runs `ours`, on a CPU of its own, beside the partner's part. How long both took.
    pub(crate) fn beside(&self, rounds: u64, ours: impl FnOnce()) -> Duration {
        let _pinned = Pinned::to(0);
        let start = Instant::now();
        self.go(rounds);
        ours();
        self.wait();
        start.elapsed()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.line.0.close();
        self.process.wait();
    }
}

/// Runs in the partner: `work` for each number of operations, on one CPU if it is named.
pub(crate) fn serve((go, done): Line, cpu: Option<usize>, mut work: impl FnMut(u64)) {
    let _pinned = cpu.map(Pinned::to);
    for rounds in go.iter() {
        work(rounds.expect("a number"));
        if done.put(()).is_err() {
            return;
        }
    }
}
