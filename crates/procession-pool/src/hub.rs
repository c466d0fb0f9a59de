//! Tasks for which no thread waits in its call: `apply_async`, `map_async`.
//!
//! Whoever waits, works: a thread that waits for one of them collects all that are finished, hands
//! each to its job, and submits what did not fit before. So nothing stands between a result and
//! who waits for it. For the time in which nobody waits there is the keeper: a thread of the
//! program, started with the first such task, that does the same and sleeps otherwise.
//!
//! Of all that wait, one sleeps on the inbox, where workers push: the *sleeper*. The others are
//! *followers*; they sleep on a word of their own, which is bumped when their job is done, and when
//! the sleeper leaves and one of them has to take its place. Where nobody waits, the inbox says
//! `UNATTENDED`, and whoever pushes wakes the keeper.
//!
//! Jobs' code (decoding, callbacks) runs while none of this is held, and after the task was taken
//! out of the list: a callback may wait for another job, which then is collected by its own wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use procession_primitives::{News, wake};

use crate::TaskError;
use crate::call::Collected;
use crate::filling::{Filling, Prepared, Terms};
use crate::inner::Inner;
use crate::mailbox::{self, HUB, SLEEPING, UNATTENDED};
use crate::shared::{CELLS, RINGS};
use crate::stream::RESERVE;

/// What gets the outcomes of some tasks.
pub(crate) trait Job: Send + Sync {
    fn terms(&self) -> &Terms;

    /// Marks it as not wanted any more: what has no cell gets none.
    fn stop(&self);

    /// Whether nobody wants its outcome any more.
    fn is_stopped(&self) -> bool;

    /// Takes in the outcomes of a finished task. What is to be tried again.
    fn take(&self, pool: &Inner, collected: &Collected) -> Vec<Waiting>;

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
pub(crate) struct Waiting {
    pub(crate) job: Arc<dyn Job>,
    pub(crate) prepared: Prepared,
    pub(crate) first: u64,
    pub(crate) attempt: u32,
    /// Not before then.
    pub(crate) due: Option<Instant>,
}

/// A thread that waits.
#[derive(Debug, Default)]
pub(crate) struct Waiter(AtomicU32);

impl Waiter {
    pub(crate) fn bump(&self) {
        // Release: whoever sees the bump sees why.
        self.0.fetch_add(1, Ordering::Release);
        wake(&self.0, 1);
    }
}

/// The jobs of a pool.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// Jobs without an outcome.
    jobs: AtomicUsize,
    pub(crate) keeper: Mutex<Option<JoinHandle<()>>>,
    pub(crate) is_kept: AtomicBool,
    pub(crate) ending: AtomicBool,
    /// No cell was free, and none of ours will be given back.
    starved: AtomicBool,
}

#[derive(Default)]
pub(crate) struct State {
    /// Jobs of the tasks that have a cell, by its index.
    pub(crate) tasks: Vec<Option<Arc<dyn Job>>>,
    in_cells: usize,
    finished: Vec<u32>,
    /// Tasks without a cell, by ring.
    pub(crate) backlog: [VecDeque<Waiting>; RINGS],
    pub(crate) delayed: Vec<Waiting>,
    /// Jobs that have failed since there was no memory for a task: to be settled without the lock.
    failed: Vec<Arc<dyn Job>>,
    pub(crate) has_sleeper: bool,
    followers: Vec<Arc<Waiter>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("in_cells", &self.in_cells)
            .finish_non_exhaustive()
    }
}

impl State {
    fn put(&mut self, index: u32, job: Arc<dyn Job>) {
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

    fn enqueue(&mut self, task: Waiting) {
        let ring = (task.job.terms().ring as usize).min(RINGS - 1);
        self.backlog[ring].push_back(task);
    }

    fn has_backlog(&self) -> bool {
        self.backlog.iter().any(|ring| !ring.is_empty())
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
            for follower in &self.lock().followers {
                follower.bump();
            }
            pool.nudge();
        }
    }

    fn is_idle(&self) -> bool {
        // Acquire: pairs with `end`.
        self.jobs.load(Ordering::Acquire) == 0
    }

    /// Whether tasks wait for a cell that others have to give back. Asked once.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed) && self.starved.swap(false, Ordering::Relaxed)
    }
}

impl Inner {
    fn inbox(&self) -> &'static AtomicU32 {
        &self.shared.header().inbox.0
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
        for task in tasks {
            if task.due.is_some() {
                state.delayed.push(task);
            } else {
                state.enqueue(task);
            }
        }
        self.feed(&mut state);
        if !state.failed.is_empty() {
            // Not here: the caller may be about to tell the job more.
            self.call_keeper();
        }
    }

    /// Gives cells to tasks that have none. Drops those that nobody wants any more.
    fn feed(&self, state: &mut State) {
        for ring in 0..RINGS {
            while let Some(task) = state.backlog[ring].front() {
                if task.job.is_stopped() {
                    // Its job has its outcome.
                    state.backlog[ring].pop_front();
                    continue;
                }
                let reserve = if state.in_cells > 0 { RESERVE } else { 0 };
                let Some(index) = self.try_take_cell(reserve) else {
                    // Our own tasks give cells back, if there are any.
                    let starved = state.in_cells == 0;
                    self.hub.starved.store(starved, Ordering::Relaxed);
                    return;
                };
                let task = state.backlog[ring].pop_front();
                let filling = Filling::new(self, index, 0);
                let (Some(task), Some(mut filling)) = (task, filling) else {
                    return self.give_back(index);
                };
                let items = task.prepared.items;
                if let Err(error) = filling.take(task.prepared) {
                    drop(filling);
                    self.give_back(index);
                    let error = TaskError::ItemEncode(Box::new(error.into()));
                    task.job.fail(task.first, items, &error);
                    state.failed.push(task.job);
                    continue;
                }
                let index = filling.finish(task.job.terms(), task.first, task.attempt);
                self.submit_in(state, index, task.job);
            }
        }
    }

    /// Finished tasks that dead workers may have left out of the inbox.
    fn orphans(&self) -> Vec<u32> {
        let mut orphans = Vec::new();
        let mine = |cell: &crate::cell::Cell| cell.mailbox.load(Ordering::Relaxed) == HUB;
        self.crew.take_orphans(&self.shared, mine, &mut orphans);
        orphans
    }

    /// Does what there is to do: settles the dead, ends what takes too long, hands finished tasks
    /// to their jobs, submits more. Until when to look again.
    pub(crate) fn turn(self: &Arc<Self>, news: News) -> Option<Instant> {
        let deadline = self.attend(news);
        self.sweep();
        let mut delivered = self.deliver();
        let orphans = self.orphans();
        if !orphans.is_empty() {
            // What has come into the inbox meanwhile may be among them.
            let mut state = self.hub.lock();
            mailbox::take(&self.shared, self.inbox(), &mut state.finished);
            state.finished.extend(orphans);
            state.finished.sort_unstable();
            state.finished.dedup();
            drop(state);
            delivered |= self.deliver();
        }
        if !self.hub.is_idle()
            && let Some(error) = self.crew.is_deserted()
        {
            self.fail_hub(&error);
            delivered = true;
        }
        let mut state = self.hub.lock();
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut state.delayed)
            .into_iter()
            .partition(|task| task.due.is_none_or(|due| due <= now));
        state.delayed = later;
        for mut task in due as Vec<Waiting> {
            task.due = None;
            state.enqueue(task);
        }
        self.feed(&mut state);
        let due = state.delayed.iter().filter_map(|task| task.due).min();
        let others = state.has_sleeper;
        let failed = std::mem::take(&mut state.failed);
        drop(state);
        for job in failed {
            job.settle(self);
            delivered = true;
        }
        if delivered && others {
            // What the sleeper waits for may be among it.
            self.nudge();
        }
        [deadline, due].into_iter().flatten().min()
    }

    /// Hands finished tasks to their jobs, one by one. Whether there were any.
    fn deliver(self: &Arc<Self>) -> bool {
        let mut any = false;
        loop {
            let mut state = self.hub.lock();
            if state.finished.is_empty() {
                // The latest first, and so popped last.
                mailbox::take(&self.shared, self.inbox(), &mut state.finished);
            }
            let Some(index) = state.finished.pop() else {
                return any;
            };
            let Some(job) = state.remove(index) else {
                continue;
            };
            drop(state);
            any = true;
            let collected = Collected::read(self, index);
            let again = collected.map(|collected| job.take(self, &collected));
            self.recycle(index);
            if let Some(again) = again.filter(|again| !again.is_empty()) {
                self.queue_up(again);
            }
            job.settle(self);
            let mut state = self.hub.lock();
            if state.has_backlog() {
                self.feed(&mut state);
            }
        }
    }

    /// Waits until `done`, working meanwhile. False if `deadline` passes first.
    ///
    /// `waiter` is bumped by whoever makes it so.
    pub(crate) fn wait_for(
        self: &Arc<Self>,
        waiter: &Arc<Waiter>,
        deadline: Option<Instant>,
        done: impl Fn() -> bool,
    ) -> bool {
        let finished = loop {
            let news = self.shared.family.news();
            // Acquire: pairs with `bump`.
            let seen = waiter.0.load(Ordering::Acquire);
            if done() {
                break true;
            }
            let next = self.turn(news);
            if done() {
                break true;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break false;
            }
            let until = [deadline, next].into_iter().flatten().min();
            let mut state = self.hub.lock();
            if state.has_sleeper {
                state.followers.push(Arc::clone(waiter));
                drop(state);
                if !done() {
                    self.shared.family.park(&waiter.0, seen, news, until);
                }
                let mut state = self.hub.lock();
                state.followers.retain(|other| !Arc::ptr_eq(other, waiter));
            } else {
                state.has_sleeper = true;
                drop(state);
                if self.say(SLEEPING) && !done() && waiter.0.load(Ordering::Acquire) == seen {
                    self.shared.family.park(self.inbox(), SLEEPING, news, until);
                }
                let inbox = self.inbox();
                let _ = inbox.compare_exchange(SLEEPING, 0, Ordering::Relaxed, Ordering::Relaxed);
                self.hub.lock().has_sleeper = false;
            }
        };
        self.hand_over();
        finished
    }

    /// Puts `word` into the empty inbox. False if there is something in it.
    pub(crate) fn say(&self, word: u32) -> bool {
        let inbox = self.inbox();
        let said = [0, UNATTENDED].into_iter().any(|empty| {
            // Relaxed: the word alone matters.
            let said = inbox.compare_exchange(empty, word, Ordering::Relaxed, Ordering::Relaxed);
            said.is_ok()
        });
        // SeqCst: pairs with the fence in `nudge`. A look at what is waited for follows.
        fence(Ordering::SeqCst);
        said
    }

    /// Leaves the inbox to another thread.
    fn hand_over(&self) {
        let state = self.hub.lock();
        if state.has_sleeper {
            return;
        }
        if let Some(follower) = state.followers.last() {
            follower.bump();
        } else if !self.say(UNATTENDED) || state.has_backlog() || !state.delayed.is_empty() {
            self.call_keeper();
        }
    }

    /// Has whoever sleeps for the hub look again.
    pub(crate) fn nudge(&self) {
        // SeqCst: pairs with the fence in `say`: either we see that somebody sleeps, or it sees what
        // was done before.
        fence(Ordering::SeqCst);
        let inbox = self.inbox();
        let woken = inbox.compare_exchange(SLEEPING, 0, Ordering::Relaxed, Ordering::Relaxed);
        if woken.is_ok() {
            wake(inbox, 1);
        } else {
            self.call_keeper();
        }
    }

    pub(crate) fn call_keeper(&self) {
        let keeper = &self.shared.header().keeper.0;
        keeper.fetch_add(1, Ordering::Relaxed);
        wake(keeper, 1);
    }

    /// Waits until every job has its outcome.
    pub(crate) fn settle_hub(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        let waiter = Arc::new(Waiter::default());
        self.hub.is_idle() || self.wait_for(&waiter, deadline, || self.hub.is_idle())
    }

    /// Gives every task that is with no worker its outcome: `error`, unless it has one.
    pub(crate) fn fail_hub(self: &Arc<Self>, error: &TaskError) {
        self.deliver();
        let orphans = self.orphans();
        self.hub.lock().finished.extend(orphans);
        self.deliver();
        let mut state = self.hub.lock();
        let mut left = Vec::new();
        for index in 0..state.tasks.len() as u32 {
            let queued = self.shared.cell(index).filter(|cell| cell.cancel());
            if let Some(cell) = queued
                && let Some(job) = state.remove(index)
            {
                let first = cell.first.load(Ordering::Relaxed);
                let items = cell.items.load(Ordering::Relaxed);
                self.recycle(index);
                left.push((job, first, items));
            }
        }
        let backlog = state.backlog.iter_mut().flat_map(std::mem::take);
        let mut waiting: Vec<_> = backlog.collect();
        waiting.append(&mut state.delayed);
        drop(state);
        left.extend(
            waiting
                .into_iter()
                .map(|task| (task.job, task.first, task.prepared.items)),
        );
        for (job, first, items) in left {
            job.fail(first, items, error);
            job.settle(self);
        }
    }
}
