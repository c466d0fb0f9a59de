//! Stops a job: cancelled, killed, or failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cell::Kind;
use crate::hub::Job;
use crate::inner::Inner;
use crate::raw::Done;

impl Inner {
    /// As [`stop_job`](Self::stop_job); if there was something to stop, `done` is told. Whether it was.
    pub(crate) fn stop_and_tell(&self, done: &dyn Done, running: bool) -> bool {
        if !self.stop_job(done, running) {
            return false;
        }
        done.stop();
        let first = done.slot().end();
        if first {
            done.cancelled();
            done.slot().over(self);
        }
        // Whoever sleeps may wait for it.
        self.wake_sleeper();
        first
    }

    /// The kind of the cell that the one task of `done` has, if it has one.
    pub(crate) fn kind_of(&self, done: &dyn Done) -> Option<Kind> {
        let index = done.cell().flatten()?;
        let state = self.hub.lock();
        let job = state.tasks.get(index as usize)?.as_ref()?;
        let is_it = job.key() == done.key();
        is_it.then(|| self.shared.cell(index).map(|cell| cell.state().kind))?
    }

    /// Whether the one task of `done` is finished, and nobody has looked at it yet.
    pub(crate) fn is_finished(&self, done: &dyn Done) -> bool {
        done.slot().is_plain() && self.kind_of(done) == Some(Kind::Done)
    }

    /// Takes back the tasks of `job` that no worker has begun. With `running` ends those in hand,
    /// too. Whether there were any of either kind.
    pub(crate) fn stop_job(&self, job: &dyn Job, running: bool) -> bool {
        let mut state = self.hub.lock();
        let key = job.key();
        let is_it = |other: &Arc<dyn Job>| other.key() == key;
        let mut any = false;
        let cells = match job.cell() {
            // Still without a cell, or about to be tried again. Under the lock, as it is given one.
            Some(None) => {
                job.stop();
                return true;
            }
            Some(Some(index)) => index..index + 1,
            None => {
                job.stop();
                self.take_inflow(&mut state);
                let waiting = state.backlog.iter().flatten().chain(&state.delayed);
                any = waiting.map(|task| &task.job).any(is_it);
                0..state.tasks.len() as u32
            }
        };
        let is_whole = job.cell().is_none();
        let mut claimed = Vec::new();
        for index in cells {
            let Some(cell) = self.shared.cell(index) else {
                break;
            };
            if !state.tasks[index as usize].as_ref().is_some_and(is_it) {
                continue;
            }
            if cell.cancel() {
                // Under the lock: whoever else stops it sees that it is stopped.
                job.stop();
                state.remove(index);
                self.recycle(index);
                any = true;
            } else if cell.state().kind == Kind::Claimed {
                claimed.push((index, cell));
            }
        }
        // After all that nobody has: a worker that takes a killed one's place finds none of them.
        for (index, cell) in claimed {
            if is_whole {
                // What is not begun of a chunk is left alone.
                cell.stop.store(1, Ordering::Relaxed);
                any = true;
            }
            let now = cell.state();
            if running && now.kind == Kind::Claimed {
                any |= self.crew.stop(&self.shared, index, cell, now.worker);
            }
        }
        any
    }
}
