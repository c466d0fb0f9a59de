//! Tasks that have no cell yet, and how they get one: a part of the hub.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::TaskError;
use crate::filling::{Filling, Prepared};
use crate::hub::{Job, State, Waiting};
use crate::inner::Inner;
use crate::mailbox::HUB;
use crate::shared::RINGS;
use crate::stream::RESERVE;

impl Inner {
    /// Submits a task: at once if there is a cell for it, or when there is one. Those behind it wait.
    pub(crate) fn place(&self, job: Arc<dyn Job>, prepared: Prepared) {
        let (first, attempt) = (0, 0);
        if !self.hub.has_waiting()
            && let Some(index) = self.try_take_cell(RESERVE)
            && let Some(mut filling) = Filling::new(self, index, 0)
        {
            let items = prepared.items;
            match filling.take(prepared) {
                Ok(()) => {
                    let index = filling.finish(job.terms(), first, attempt);
                    self.submit_for(index, job);
                }
                Err(error) => {
                    drop(filling);
                    self.give_back(index);
                    job.fail(first, items, &TaskError::ItemEncode(Box::new(error)));
                    job.settle(self);
                }
            }
            return;
        }
        let task = Waiting {
            job,
            prepared,
            first,
            attempt,
            due: None,
        };
        self.hub.waiting.fetch_add(1, Ordering::Relaxed);
        self.hub.inflow().push(task);
        // SeqCst: pairs with the fence in `may_sleep`: either we see that the keeper sleeps, or it sees
        // the task.
        fence(Ordering::SeqCst);
        if self.hub.is_keeper_asleep.load(Ordering::Relaxed) && !self.leave_word() {
            self.call_keeper();
        }
    }

    /// Hands filled cell `index` to the workers, for `job`.
    pub(crate) fn submit_for(&self, index: u32, job: Arc<dyn Job>) {
        let mut state = self.hub.lock();
        self.submit_in(&mut state, index, job);
    }

    fn submit_in(&self, state: &mut State, index: u32, job: Arc<dyn Job>) {
        if let Some(cell) = self.shared.cell(index) {
            cell.mailbox.store(HUB, Ordering::Relaxed);
            job.placed(index);
            state.put(index, job);
            self.submit(index, cell);
        }
    }

    /// Submits tasks when there are cells for them.
    pub(crate) fn queue_up(&self, tasks: impl IntoIterator<Item = Waiting>) {
        let mut state = self.hub.lock();
        self.take_inflow(&mut state);
        for task in tasks {
            if task.due.is_some() {
                state.delayed.push(task);
            } else {
                self.hub.waiting.fetch_add(1, Ordering::Relaxed);
                state.enqueue(task);
            }
        }
        self.feed(&mut state);
        // Not here: the caller may be about to tell the failed ones more.
        let asleep = self.hub.is_keeper_asleep.load(Ordering::Relaxed);
        if !state.failed.is_empty() || asleep && !self.leave_word() {
            self.call_keeper();
        }
    }

    /// Gives cells to tasks that have none. Drops those that nobody wants any more.
    pub(crate) fn feed(&self, state: &mut State) {
        // Always: more urgent ones may be among them.
        self.take_inflow(state);
        let gone = self.feed_rings(state);
        self.hub.waiting.fetch_sub(gone, Ordering::Relaxed);
    }

    /// Moves tasks that came in to the others.
    pub(crate) fn take_inflow(&self, state: &mut State) {
        let inflow = std::mem::take(&mut *self.hub.inflow());
        for task in inflow {
            state.enqueue(task);
        }
    }

    /// How many of those that waited do not wait any more.
    fn feed_rings(&self, state: &mut State) -> usize {
        let mut gone = 0;
        for ring in 0..RINGS {
            while let Some(task) = state.backlog[ring].front() {
                if task.job.is_stopped() {
                    // Its job has its outcome.
                    state.backlog[ring].pop_front();
                    gone += 1;
                    continue;
                }
                let reserve = if state.in_cells > 0 { RESERVE } else { 0 };
                let Some(index) = self.try_take_cell(reserve) else {
                    // Our own tasks give cells back, if there are any.
                    let starved = state.in_cells == 0;
                    self.hub.starved.store(starved, Ordering::Relaxed);
                    return gone;
                };
                let task = state.backlog[ring].pop_front();
                let filling = Filling::new(self, index, 0);
                gone += usize::from(task.is_some());
                let (Some(task), Some(mut filling)) = (task, filling) else {
                    self.give_back(index);
                    return gone;
                };
                let items = task.prepared.items;
                if let Err(error) = filling.take(task.prepared) {
                    drop(filling);
                    self.give_back(index);
                    let error = TaskError::ItemEncode(Box::new(error));
                    task.job.fail(task.first, items, &error);
                    state.failed.push(task.job);
                    continue;
                }
                let index = filling.finish(task.job.terms(), task.first, task.attempt);
                self.submit_in(state, index, task.job);
            }
        }
        gone
    }

    /// Sees to it that tasks that wait for cells get some although the keeper sleeps, or is about to:
    /// false if somebody has to look at once.
    pub(crate) fn leave_word(&self) -> bool {
        let hungry = &self.shared.header().hungry.0;
        if self.hub.has_waiting() && hungry.load(Ordering::Relaxed) == 0 {
            hungry.store(1, Ordering::Relaxed);
            // SeqCst: pairs with the fence in `Idle::sleep`: either we see that a worker looks for
            // work, or it sees that there is more.
            fence(Ordering::SeqCst);
            return !self.shared.anyone_idle();
        }
        true
    }
}
