//! Tasks that have no cell yet, and how they get one: a part of the hub.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use smallvec::SmallVec;

use crate::TaskError;
use crate::filling::{Filling, Prepared};
use crate::hub::{Job, State, Waiting};
use crate::inner::Inner;
use crate::mailbox::HUB;
use crate::shared::{CLOSED, CLOSING, RINGS};
use crate::stream::RESERVE;

/// Cells that are given to tasks at once.
const BATCH: usize = 16;

pub(crate) type Batch = SmallVec<[u32; BATCH]>;

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
                    self.tell_if_deserted();
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
        self.tell_if_deserted();
    }

    /// Has the keeper give its outcome to a task that came when all workers were gone.
    fn tell_if_deserted(&self) {
        if self.crew.looks_deserted() {
            self.call_keeper();
        }
    }

    /// Hands filled cell `index` to the workers, for `job`.
    pub(crate) fn submit_for(&self, index: u32, job: Arc<dyn Job>) {
        let mut state = self.hub.lock();
        self.assign(&mut state, index, job);
        // Under the lock: whoever stops the job finds it here, or with a worker.
        self.submit_all(&[index]);
    }

    /// Notes that filled cell `index` is for `job`.
    fn assign(&self, state: &mut State, index: u32, job: Arc<dyn Job>) {
        if let Some(cell) = self.shared.cell(index) {
            cell.address_to(HUB);
            job.placed(index);
            state.put(index, job);
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
        drop(state);
        if self.hub.is_keeper_asleep.load(Ordering::Relaxed) && !self.leave_word() {
            self.call_keeper();
        }
        self.tell_if_deserted();
    }

    /// Gives cells to tasks that have none. Drops those that nobody wants any more.
    pub(crate) fn feed(&self, state: &mut State) {
        // Always: more urgent ones may be among them.
        self.take_inflow(state);
        let gone = self.feed_rings(state);
        self.hub.waiting.fetch_sub(gone, Ordering::Relaxed);
        self.close_if_done();
        if !state.failed.is_empty() {
            // Not here: their outcomes are not to be told under the lock.
            self.call_keeper();
        }
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
        let mut cells = Batch::new();
        let mut filled = Batch::new();
        for ring in 0..RINGS {
            while !state.backlog[ring].is_empty() {
                if cells.is_empty() && !self.take_cells(state, ring, &mut cells) {
                    self.submit_all(&filled);
                    return gone;
                }
                let Some(task) = state.backlog[ring].pop_front() else {
                    break;
                };
                gone += 1;
                if task.job.is_stopped() {
                    // Its job has its outcome.
                    continue;
                }
                let items = task.prepared.items;
                let filling = cells.last().map(|&index| Filling::new(self, index, 0));
                let Some(mut filling) = filling.flatten() else {
                    let error = TaskError::Protocol;
                    state.failed.push((task.job, task.first, items, error));
                    continue;
                };
                if let Err(error) = filling.take(task.prepared) {
                    let error = TaskError::ItemEncode(Box::new(error));
                    state.failed.push((task.job, task.first, items, error));
                    continue;
                }
                let index = filling.finish(task.job.terms(), task.first, task.attempt);
                cells.pop();
                self.assign(state, index, task.job);
                filled.push(index);
                if filled.len() == BATCH {
                    self.submit_all(&filled);
                    filled.clear();
                }
            }
        }
        self.submit_all(&filled);
        for index in cells {
            self.give_back(index);
        }
        gone
    }

    /// Takes free cells for tasks of this ring, as many as are of use. False if there is none.
    fn take_cells(&self, state: &State, ring: usize, cells: &mut Batch) -> bool {
        let most = state.backlog[ring].len().min(BATCH);
        let reserve = if state.in_cells > 0 { RESERVE } else { 0 };
        self.try_take_cells(reserve, most, cells);
        if cells.is_empty() {
            // Our own tasks give cells back, if there are any.
            let starved = state.in_cells == 0;
            self.hub.starved.store(starved, Ordering::Relaxed);
        }
        !cells.is_empty()
    }

    /// Sees to it that tasks that wait for cells get some although the keeper sleeps, or is about to:
    /// false if somebody has to look at once.
    pub(crate) fn leave_word(&self) -> bool {
        if !self.hub.has_waiting() {
            return true;
        }
        // Also where it is there: the keeper may have looked in vain since, and nobody asks again.
        self.shared.header().hungry.0.store(1, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `Idle::sleep`: either we see that a worker looks for work, or
        // it sees that there is more.
        fence(Ordering::SeqCst);
        // Where all have left for want of work nobody will ask.
        !self.shared.anyone_idle() && !self.crew.has_resting()
    }

    /// Has no more tasks come to the workers of a closed pool, if none wait for cells.
    pub(crate) fn close_if_done(&self) {
        let phase = &self.shared.header().phase.0;
        // SeqCst: of `close` and `feed` one sees what the other has done.
        fence(Ordering::SeqCst);
        if !self.hub.has_waiting() && phase.load(Ordering::Relaxed) == CLOSING {
            // Release: a worker that sees it sees all tasks offered before.
            phase.fetch_max(CLOSED, Ordering::Release);
            self.shared.call_all();
        }
    }
}
