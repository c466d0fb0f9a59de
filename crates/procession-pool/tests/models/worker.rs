//! A worker's loop: as in `worker.rs`, line by line, with a step of the model in place of functions.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::cell::Cell;
use crate::idle::Idle;
use crate::mailbox;
use crate::shared::{CLOSED, Shared, WorkerLine};
use crate::task::Task;
use primitives::Phase;

/// Why a worker has left by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leave {
    Dismissed,
    Idle,
    Retired,
    NotInitialized(InitFailure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitFailure {
    TimedOut(real::time::Duration),
}

impl real::fmt::Display for InitFailure {
    fn fmt(&self, f: &mut real::fmt::Formatter<'_>) -> real::fmt::Result {
        f.write_str("it took too long")
    }
}

pub(crate) struct Worker {
    shared: Shared,
    line: &'static WorkerLine,
    index: u32,
    idle: Idle,
    /// Until when it stays without work.
    stay: Option<Instant>,
    /// Items that it may still begin.
    left: u64,
}

impl Worker {
    pub(crate) fn new(shared: Shared, index: u32, left: u64) -> Worker {
        Worker {
            shared,
            line: shared.worker(index).expect("a line"),
            index,
            idle: Idle::new(shared, index),
            stay: None,
            left,
        }
    }

    /// It leaves when it has nothing to do.
    pub(crate) fn restless(mut self) -> Worker {
        self.stay = Some(Instant::LATER);
        self
    }

    pub(crate) fn serve(&mut self) -> Leave {
        let mut turns = 0;
        loop {
            if self.index >= self.shared.target() {
                return Leave::Dismissed;
            }
            if self.left == 0 {
                return Leave::Retired;
            }
            if let Some(index) = self.line.letter.load(Ordering::Relaxed).checked_sub(1) {
                self.idle.found();
                self.read_letter(index);
            } else if let Some(hint) = self.shared.take_hint(turns) {
                turns += 1;
                self.idle.found();
                self.claim_and_run(hint);
            } else if self.shared.header().phase.0.load(Ordering::Acquire) == CLOSED {
                return Leave::Dismissed;
            } else if !self.idle.wait(self.stay) {
                return Leave::Idle;
            }
        }
    }

    fn read_letter(&mut self, index: u32) {
        let claimed = self.claim(index);
        self.line.letter.store(0, Ordering::Relaxed);
        if let Some(cell) = claimed {
            self.run_and_finish(index, cell);
        }
    }

    fn claim_and_run(&mut self, index: u32) {
        if let Some(cell) = self.claim(index) {
            self.run_and_finish(index, cell);
        }
    }

    fn claim(&self, index: u32) -> Option<&'static Cell> {
        let cell = self.shared.cell(index)?;
        self.line.current.store(index + 1, Ordering::Relaxed);
        cell.claim(self.index).then_some(cell)
    }

    fn run_and_finish(&mut self, index: u32, cell: &'static Cell) {
        if self.shared.has_hints() {
            self.shared.call_one();
        }
        let items = run(self.shared, self.line, cell);
        if self.left != u64::MAX {
            self.left = self.left.saturating_sub(items);
        }
        cell.finish(self.index);
        mailbox::push(&self.shared, index);
    }
}

/// Gives each item of a claimed task its outcome. How many it were.
pub(crate) fn run(shared: Shared, line: &'static WorkerLine, cell: &'static Cell) -> u64 {
    let mut task = Task::resume(shared, cell).expect("whole");
    task.work_by(line, u64::MAX, None);
    let before = task.done();
    while task.begin().is_some() {
        task.enter(Phase::Running);
        task.finish(&());
    }
    task.end();
    line.current.store(0, Ordering::Relaxed);
    u64::from(task.done() - before)
}
