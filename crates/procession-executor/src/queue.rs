//! Tasks that wait for a thread.

use std::collections::VecDeque;

use procession_pool::Priority;

use crate::backend::Task;

/// Every so many tasks the least urgent one comes first, so that none waits for ever.
const TURN: u32 = 16;

/// Cancelled tasks that may wait with the others.
const REVOKED: usize = 32;

/// Tasks in the order of their priority, and in which they came.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The most urgent ones first.
    lines: [VecDeque<Task>; 3],
    taken: u32,
    /// About so many of them are cancelled.
    revoked: usize,
}

impl Queue {
    pub(crate) fn push(&mut self, task: Task) {
        let line = match task.policy.priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        };
        self.lines[line].push_back(task);
    }

    /// How many there are, cancelled ones among them.
    pub(crate) fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// The next one, which may be cancelled.
    pub(crate) fn pop(&mut self) -> Option<Task> {
        self.taken = self.taken.wrapping_add(1);
        let mut lines = self.lines.iter_mut();
        if self.taken.is_multiple_of(TURN) {
            return lines.rev().find_map(VecDeque::pop_front);
        }
        lines.find_map(VecDeque::pop_front)
    }

    /// One of them was cancelled. What is to be dropped, without a lock.
    #[must_use]
    pub(crate) fn revoked(&mut self) -> Vec<Task> {
        self.revoked += 1;
        let mut swept = Vec::new();
        // Now and then, so that a cancelled task costs the same however many there are.
        if self.revoked > REVOKED.max(self.len() / 2) {
            self.revoked = 0;
            for line in &mut self.lines {
                let all = line.drain(..);
                let (cancelled, rest): (Vec<_>, Vec<_>) =
                    all.partition(|task| task.done.is_cancelled());
                swept.extend(cancelled);
                *line = VecDeque::from(rest);
            }
        }
        swept
    }

    /// Takes out all.
    pub(crate) fn drain(&mut self) -> Vec<Task> {
        self.revoked = 0;
        let lines = self.lines.iter_mut();
        lines.flat_map(|line| line.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests;
