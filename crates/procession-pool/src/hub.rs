//! Tasks for which no thread waits in its call: `apply_async`, `map_async`.
//!
//! Whoever waits, works: a thread that waits for one of them collects all that are finished, hands
//! each to its job, and submits what did not fit before. So nothing stands between a result and
//! who waits for it. For the time in which nobody waits there is the keeper: a thread of the
//! program, started with the first such task, that does the same and sleeps otherwise.
//!
//! Of all that wait, one sleeps on the inbox, where workers push: the *sleeper*. The others are
//! *followers*; they sleep on a word of their own, which is bumped when their job is done, and when
//! the sleeper leaves and one of them has to take its place. Where nobody waits, but somebody is to
//! be told of an outcome (a callback, a waker, an item that may be tried again or has a time-out:
//! such jobs are *watched*), the inbox says `UNATTENDED`, and whoever pushes wakes the keeper.
//!
//! Where nobody waits and nobody is to be told, finished tasks stay where they are until somebody
//! comes: most handles are made long before they are waited for, and a thread that is woken for
//! each of them costs more than the tasks do. If there are more tasks than cells, the header says
//! that the pool is *hungry*: a worker that finds nothing to do then wakes the keeper.
//!
//! Jobs' code (decoding, callbacks) runs while none of this is held, and after the task was taken
//! out of the list: a callback may wait for another job, which then is collected by its own wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use procession_primitives::{News, catch, wake};

use crate::TaskError;
use crate::call::Collected;
use crate::cell::{Cell, Kind};
use crate::filling::{Prepared, Terms};
use crate::inner::Inner;
use crate::mailbox::{self, HUB};

use crate::record::Records;
use crate::settle::Orphan;
use crate::shared::{CELLS, RINGS};

/// What gets the outcomes of some tasks.
///
/// Sealed: other crates implement [`Done`], which only names it.
#[allow(private_interfaces, reason = "sealed")]
pub trait Job: Send + Sync {
    fn terms(&self) -> &Terms;

    /// What tells it from others.
    fn key(&self) -> usize;

    /// Marks it as not wanted any more: what has no cell gets none.
    fn stop(&self);

    /// Whether nobody wants its outcome any more.
    fn is_stopped(&self) -> bool;

    /// Takes in the outcomes of a finished task. What is to be tried again. `me` is this job.
    fn take(&self, me: &Arc<dyn Job>, pool: &Inner, collected: &Collected) -> Vec<Waiting>;

    /// Takes in that items from `first` on have failed.
    fn fail(&self, first: u64, items: u32, error: &TaskError);

    /// A job of one task: which cell it was given, if it was. `None` for others.
    fn cell(&self) -> Option<Option<u32>>;

    /// Its task was given cell `index`.
    fn placed(&self, index: u32);

    /// Called after each of the above: completes the job if it has all its outcomes.
    fn settle(&self, pool: &Inner);
}

/// A task that has no cell yet.
#[allow(missing_debug_implementations, reason = "not to be seen outside")]
pub struct Waiting {
    pub(crate) job: Arc<dyn Job>,
    pub(crate) prepared: Prepared,
    pub(crate) first: u64,
    pub(crate) attempt: u32,
    /// Not before then.
    pub(crate) due: Option<Instant>,
}

/// A thread that waits.
#[derive(Debug, Default)]
pub(crate) struct Waiter(pub(crate) AtomicU32);

impl Waiter {
    pub(crate) fn bump(&self) {
        // Release: whoever sees the bump sees why.
        self.0.fetch_add(1, Ordering::Release);
        wake(&self.0, 1);
    }
}

/// After so many finished tasks others get their cells.
const FED: usize = 16;

/// Who works for the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A thread that waits, or ends the pool.
    Waiter,
    /// The keeper: it leaves the work to threads that wait.
    Keeper,
}

/// The jobs of a pool.
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// Jobs without an outcome.
    jobs: AtomicUsize,
    /// Those of them whose end somebody is to be told of, and a few more for a moment.
    pub(crate) watched: AtomicUsize,
    /// Threads that wait until there is none.
    pub(crate) settling: AtomicUsize,
    /// Threads that wait, and so work.
    pub(crate) waiters: AtomicUsize,
    /// Tasks without a cell that were submitted since the backlog was looked at. A lock of its own:
    /// who submits does not disturb who collects.
    inflow: Mutex<Vec<Waiting>>,
    /// Tasks without a cell, in either.
    pub(crate) waiting: AtomicUsize,
    pub(crate) is_keeper_asleep: AtomicBool,
    pub(crate) keeper: Mutex<Option<JoinHandle<()>>>,
    pub(crate) is_kept: AtomicBool,
    pub(crate) ending: AtomicBool,
    /// No cell was free, and none of ours will be given back.
    pub(crate) starved: AtomicBool,
}

#[derive(Default)]
pub(crate) struct State {
    /// Jobs of the tasks that have a cell, by its index.
    pub(crate) tasks: Vec<Option<Arc<dyn Job>>>,
    pub(crate) in_cells: usize,
    /// Finished tasks with their laps: some may be told of twice, and one of them comes too late.
    pub(crate) finished: Vec<Orphan>,
    /// Empty; for its memory.
    taken: Vec<u32>,
    /// Tasks without a cell, by ring.
    pub(crate) backlog: [VecDeque<Waiting>; RINGS],
    pub(crate) delayed: Vec<Waiting>,
    /// Jobs that have failed since there was no memory for a task: to be settled without the lock.
    pub(crate) failed: Vec<(Arc<dyn Job>, u64, u32, TaskError)>,
    pub(crate) has_sleeper: bool,
    pub(crate) followers: Vec<Arc<Waiter>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}

impl State {
    pub(crate) fn put(&mut self, index: u32, job: Arc<dyn Job>) {
        if self.tasks.is_empty() {
            self.tasks.resize_with(CELLS as usize, || None);
        }
        self.tasks[index as usize] = Some(job);
        self.in_cells += 1;
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Arc<dyn Job>> {
        let job = self.tasks.get_mut(index as usize)?.take()?;
        self.in_cells -= 1;
        Some(job)
    }

    pub(crate) fn enqueue(&mut self, task: Waiting) {
        let ring = (task.job.terms().ring as usize).min(RINGS - 1);
        self.backlog[ring].push_back(task);
    }
}

impl Hub {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job begins.
    pub(crate) fn begin(&self) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }

    /// A job has its outcome.
    pub(crate) fn end(&self, pool: &Inner) {
        // AcqRel: who sees that none is left sees all that they did.
        if self.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SeqCst: pairs with the fence in `say`: either a thread that settles sees that none is
            // left, or we see that it does.
            fence(Ordering::SeqCst);
            if self.settling.load(Ordering::Relaxed) > 0 {
                for follower in &self.lock().followers {
                    follower.bump();
                }
                pool.nudge();
            }
        }
    }

    /// A watched job has ended.
    pub(crate) fn unwatch(&self) {
        self.watched.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether outcomes have to be looked at when they come, also if nobody waits.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed) > 0
    }

    /// Whether tasks wait for a cell.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether a thread waits, so that the keeper has nothing to do.
    pub(crate) fn is_attended(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn inflow(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.inflow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_idle(&self) -> bool {
        // Acquire: pairs with `end`.
        self.jobs.load(Ordering::Acquire) == 0
    }

    /// Whether tasks wait for a cell that others have to give back. Asked once.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed) && self.starved.swap(false, Ordering::Relaxed)
    }
}

/// Drops what may be the last of a job, and with it what the user's value does then.
fn let_go(job: Arc<dyn Job>) {
    let _ = catch(|| drop(job));
}

impl Inner {
    pub(crate) fn inbox(&self) -> &'static AtomicU32 {
        &self.shared.header().inbox.0
    }

    /// Takes what is in the inbox, the latest first, and so popped last.
    fn empty_inbox(&self, state: &mut State) {
        let mut taken = std::mem::take(&mut state.taken);
        mailbox::take(&self.shared, self.inbox(), &mut taken);
        for index in taken.drain(..) {
            if let Some(cell) = self.shared.cell(index) {
                state.finished.push((index, cell.state().lap));
            }
        }
        state.taken = taken;
    }

    /// Finished tasks that dead workers may have left out of the inbox.
    fn orphans(&self) -> Vec<Orphan> {
        let mut orphans = Vec::new();
        let mine = |cell: &Cell| cell.mailbox() == HUB;
        self.crew.take_orphans(&self.shared, mine, &mut orphans);
        orphans
    }

    /// Does what there is to do: settles the dead, ends what takes too long, hands finished tasks
    /// to their jobs, submits more. Until when to look again.
    pub(crate) fn turn(self: &Arc<Self>, news: News, who: Who) -> Option<Instant> {
        let deadline = self.attend(news);
        self.sweep();
        let mut delivered = self.deliver(who);
        let orphans = self.orphans();
        if !orphans.is_empty() {
            // What has come into the inbox meanwhile may be among them.
            let mut state = self.hub.lock();
            self.empty_inbox(&mut state);
            state.finished.extend(orphans);
            drop(state);
            delivered |= self.deliver(who);
        }
        if !self.hub.is_idle() && self.crew.is_deserted(&self.shared).is_some() {
            // Of a closed pool all may have left before the last tasks got their cells.
            self.attend(news);
            delivered |= self.fail_deserted();
        }
        let mut state = self.hub.lock();
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut state.delayed)
            .into_iter()
            .partition(|task| task.due.is_none_or(|due| due <= now));
        state.delayed = later;
        for mut task in due as Vec<Waiting> {
            task.due = None;
            self.hub.waiting.fetch_add(1, Ordering::Relaxed);
            state.enqueue(task);
        }
        self.feed(&mut state);
        let due = state.delayed.iter().filter_map(|task| task.due).min();
        let others = state.has_sleeper;
        let failed = std::mem::take(&mut state.failed);
        drop(state);
        for (job, first, items, error) in failed {
            job.fail(first, items, &error);
            job.settle(self);
            let_go(job);
            delivered = true;
        }
        if delivered && others {
            // What the sleeper waits for may be among it.
            self.wake_sleeper();
        }
        [deadline, due].into_iter().flatten().min()
    }

    /// Hands finished tasks to their jobs, one by one. Whether there were any.
    pub(crate) fn deliver(self: &Arc<Self>, who: Who) -> bool {
        let mut delivered: usize = 0;
        loop {
            let mut state = self.hub.lock();
            if state.finished.is_empty() {
                // Not with tasks in this list: who waits may have looked into it before they came.
                if who == Who::Keeper && self.hub.is_attended() {
                    return delivered > 0;
                }
                self.empty_inbox(&mut state);
            }
            let next = state.finished.pop();
            // Not after each, so that it does not get into the way of those who submit.
            if self.hub.has_waiting() && (next.is_none() || delivered % FED == FED - 1) {
                self.feed(&mut state);
            }
            let Some((index, lap)) = next else {
                return delivered > 0;
            };
            let now = self.shared.cell(index).map(Cell::state);
            if now.is_none_or(|now| now.kind != Kind::Done || now.lap != lap) {
                // Told of twice: the cell has been given to another task since.
                continue;
            }
            let Some(job) = state.remove(index) else {
                continue;
            };
            drop(state);
            delivered += 1;
            let collected = Collected::read(self, index);
            let again = collected.map(|collected| job.take(&job, self, &collected));
            self.recycle(index);
            if let Some(again) = again.filter(|again| !again.is_empty()) {
                self.queue_up(again);
            }
            job.settle(self);
            let_go(job);
        }
    }

    /// Gives every task that is with no worker its outcome: `error`, unless it has one.
    pub(crate) fn fail_hub(self: &Arc<Self>, error: &TaskError) {
        self.collect_all();
        self.fail_all(self.hub.lock(), error);
    }

    /// The same, if there are no workers, with the reason for that. Whether there are none.
    fn fail_deserted(self: &Arc<Self>) -> bool {
        self.collect_all();
        let state = self.hub.lock();
        // Under the lock: a task that is placed after this has seen to it that there are some.
        let Some(error) = self.crew.is_deserted(&self.shared) else {
            return false;
        };
        self.fail_all(state, &error);
        true
    }

    /// Hands on what has finished, by whatever way it is told of.
    fn collect_all(self: &Arc<Self>) {
        self.deliver(Who::Waiter);
        let orphans = self.orphans();
        self.hub.lock().finished.extend(orphans);
        self.deliver(Who::Waiter);
    }

    fn fail_all(self: &Arc<Self>, mut state: MutexGuard<'_, State>, error: &TaskError) {
        let mut queued = Vec::new();
        for index in 0..state.tasks.len() as u32 {
            let cell = self.shared.cell(index).filter(|cell| cell.cancel());
            if cell.is_some()
                && let Some(job) = state.remove(index)
            {
                queued.push((job, index));
            }
        }
        self.take_inflow(&mut state);
        let backlog = state.backlog.iter_mut().flat_map(std::mem::take);
        let mut waiting: Vec<_> = backlog.collect();
        self.hub.waiting.fetch_sub(waiting.len(), Ordering::Relaxed);
        waiting.append(&mut state.delayed);
        drop(state);
        for (job, index) in queued {
            self.fail_rest(&job, index, error);
            self.recycle(index);
            job.settle(self);
            let_go(job);
        }
        for task in waiting {
            task.job.fail(task.first, task.prepared.items, error);
            task.job.settle(self);
            let_go(task.job);
        }
        // What it waits for may be among it.
        self.wake_sleeper();
    }

    /// Fails the items of cancelled cell `index`, but for those that a dead worker had finished.
    fn fail_rest(&self, job: &Arc<dyn Job>, index: u32, error: &TaskError) {
        let Some(mut collected) = Collected::read(self, index) else {
            return;
        };
        let items = collected.items;
        let had = Records(collected.output).count().min(items as usize) as u32;
        collected.items = had;
        let again = job.take(job, self, &collected);
        for task in again {
            job.fail(task.first, 1, error);
        }
        if had < items {
            job.fail(collected.first + u64::from(had), items - had, error);
        }
    }
}
