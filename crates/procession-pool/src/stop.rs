//! Stops a job: cancelled, killed, or failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cell::Kind;
use crate::hub::Job;
use crate::inner::Inner;

impl Inner {
    /// Takes back the tasks of `job` that no worker has begun. With `running` ends those in hand,
    /// too. Whether there were any of either kind.
    pub(crate) fn stop_job(&self, job: &dyn Job, running: bool) -> bool {
        let mut state = self.hub.lock();
        let is_it = |other: &Arc<dyn Job>| std::ptr::addr_eq(Arc::as_ptr(other), job);
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
