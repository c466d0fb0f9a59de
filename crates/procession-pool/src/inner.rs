//! What all handles and calls of one pool share.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use procession_primitives::{Block, Family, News, monotonic_nanos, wake};

use crate::backlog::Batch;
use crate::builder::Config;
use crate::call::{Call, Collected};
use crate::cell::Cell;
use crate::cost::Costs;
use crate::crew::Crew;
use crate::filling::{self, NO_CALL};
use crate::hub::Hub;
use crate::interrupt;
use crate::mailbox::SLEEPING;
use crate::shared::{self, CELLS, CLOSING, OPEN, Offers, Place, Shared};
use crate::stats::Tally;
use crate::trace::Trace;
use crate::{MAX_DEPTH, PoolError, TaskError, context, event, promise, settle};

/// Least number of workers that a pool has room for, so that it can grow.
const ROOM: u32 = 256;

/// A pool, as its program sees it.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Shared,
    pub(crate) crew: Crew,
    pub(crate) hub: Hub,
    pub(crate) tally: Tally,
    /// What items of the functions that it runs take.
    pub(crate) costs: Costs,
    trace: Option<Trace>,
    /// The program was told to come to an end: what has not begun is not to begin.
    interrupted: AtomicBool,
    calls: AtomicU64,
    /// Calls in which a thread waits.
    active: AtomicUsize,
    free: Mutex<Vec<u32>>,
    /// Held while hints are written.
    offers: Mutex<Offers>,
    /// Held while each worker has a letter.
    letters: Mutex<()>,
    abandoned: Mutex<Vec<Call>>,
    /// Whether there may be any of those.
    has_abandoned: AtomicBool,
    /// Outlives the crew: declared, so dropped, after it.
    _memory: Block,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `workers`, if a pool can have as many.
fn check_count(workers: usize, most: u32) -> Result<u32, PoolError> {
    let count = u32::try_from(workers).ok();
    let count = count.filter(|count| (1..=most).contains(count));
    count.ok_or(PoolError::WorkerCount(workers))
}

impl Inner {
    pub(crate) fn new(mut config: Config) -> Result<Arc<Inner>, PoolError> {
        let workers = config.workers();
        let count = check_count(workers, crate::MAX_WORKERS)?;
        if context::depth() >= MAX_DEPTH {
            return Err(PoolError::TooDeep);
        }
        let room = count.max(ROOM);
        let trace = config.trace.take().map(|path| Trace::create(&path));
        let trace = trace.transpose().map_err(PoolError::Trace)?;
        let family = Family::current()?;
        let memory = Block::zeroed(family, shared::size_for(room))?;
        let place = Place {
            offset: memory.offset(),
            room,
            owner: family.me(),
        };
        let shared = Shared::at(family, place).ok_or(PoolError::WorkerCount(workers))?;
        shared.header().target.0.store(count, Ordering::Relaxed);
        let crew = Crew::start(family, &shared, place, config).map_err(PoolError::Start)?;
        let pool = Arc::new(Inner {
            shared,
            crew,
            hub: Hub::default(),
            tally: Tally::default(),
            costs: Costs::default(),
            trace,
            interrupted: AtomicBool::new(false),
            calls: AtomicU64::new(NO_CALL + 1),
            active: AtomicUsize::new(0),
            free: Mutex::new((0..CELLS).rev().collect()),
            offers: Mutex::new(Offers::default()),
            letters: Mutex::new(()),
            abandoned: Mutex::new(Vec::new()),
            has_abandoned: AtomicBool::new(false),
            _memory: memory,
        });
        interrupt::register(&pool);
        Ok(pool)
    }

    /// How many workers the pool is meant to have.
    pub(crate) fn workers(&self) -> usize {
        self.shared.target() as usize
    }

    pub(crate) fn resize(&self, workers: usize) -> Result<(), PoolError> {
        let target = check_count(workers, self.shared.room())?;
        if self.shared.family.is_present() {
            self.crew.resize(&self.shared, target);
        }
        Ok(())
    }

    /// A number for a call.
    pub(crate) fn number(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the pool takes tasks from this process.
    pub(crate) fn check_open(&self) -> Result<(), TaskError> {
        let open = self.shared.header().phase.0.load(Ordering::Relaxed) == OPEN;
        if open && self.shared.family.is_present() {
            Ok(())
        } else {
            Err(TaskError::Closed)
        }
    }

    /// Settles and replaces dead workers, ends items that take too long. Until when to look again.
    pub(crate) fn attend(&self, news: News) -> Option<Instant> {
        let (events, deadline) = self.crew.attend(&self.shared, news, &self.offers);
        if !events.is_empty() {
            self.tell(events);
        }
        deadline
    }

    /// Tells whoever wants to know.
    #[cold]
    pub(crate) fn tell(&self, events: Vec<event::Event>) {
        if let Some(trace) = &self.trace {
            trace.events(&events);
        }
        event::tell(self.crew.config().hook.as_ref(), events);
    }

    /// Takes note of a finished task.
    pub(crate) fn note(&self, cell: &Cell, collected: &Collected) {
        self.tally.note(cell, collected);
        if let Some(trace) = &self.trace {
            trace.task(cell, collected);
        }
    }

    /// The right to send letters.
    pub(crate) fn letters(&self) -> MutexGuard<'_, ()> {
        lock(&self.letters)
    }

    /// Tells that an item failed and is tried again.
    #[cold]
    pub(crate) fn retried(&self, item: u64, attempt: u32) {
        self.tally.retried();
        self.tell(vec![event::Event::Retried { item, attempt }]);
    }

    /// Sleeps until `until`, or something happens in the family.
    pub(crate) fn rest(&self, until: Instant) {
        let never = AtomicU32::new(0);
        let family = self.shared.family;
        family.park(&never, 0, family.news(), Some(until));
    }

    /// Hands filled cell `index` to the workers.
    pub(crate) fn submit(&self, index: u32) {
        self.submit_all(&[index]);
    }

    /// Hands filled cells to the workers.
    pub(crate) fn submit_all(&self, cells: &[u32]) {
        if cells.is_empty() {
            return;
        }
        let now = monotonic_nanos();
        let mut offered = true;
        let mut offers = lock(&self.offers);
        for &index in cells {
            let Some(cell) = self.shared.cell(index) else {
                continue;
            };
            cell.queued_at.store(now, Ordering::Relaxed);
            cell.queue();
            // Cells are fewer than places in the ring. Where deaths have filled it with repeated
            // offers, `attend` offers again.
            let ring = cell.ring.load(Ordering::Relaxed) as usize;
            offered &= self.shared.offer(&mut offers, index, ring);
        }
        drop(offers);
        if !offered {
            self.crew.offer_again();
        }
        // That one calls the next, if there is more than one task.
        let called = usize::from(self.shared.call_one());
        for _ in cells.iter().skip(called) {
            self.crew.call_resting(&self.shared);
        }
    }

    /// Takes a free cell, if more than `reserve` are free.
    pub(crate) fn try_take_cell(&self, reserve: usize) -> Option<u32> {
        let mut free = lock(&self.free);
        if free.len() <= reserve {
            return None;
        }
        let index = free.pop()?;
        self.use_up_to(index);
        Some(index)
    }

    /// Takes up to `most` free cells, of those more than `reserve`.
    pub(crate) fn try_take_cells(&self, reserve: usize, most: usize, into: &mut Batch) {
        let mut free = lock(&self.free);
        let count = free.len().saturating_sub(reserve).min(most);
        let start = free.len() - count;
        // The last ones first, as if taken one by one.
        into.extend(free.drain(start..));
        let highest = into.iter().max();
        if let Some(index) = highest {
            self.use_up_to(*index);
        }
    }

    /// Notes that cell `index` has been taken. Under the lock of the free ones: nobody else writes.
    fn use_up_to(&self, index: u32) {
        let used = &self.shared.header().used.0;
        if used.load(Ordering::Relaxed) <= index {
            used.store(index + 1, Ordering::Relaxed);
        }
    }

    /// Takes a free cell, waiting until other calls give one back.
    pub(crate) fn take_cell(&self) -> Result<u32, TaskError> {
        let freed = &self.shared.header().freed.0;
        loop {
            let news = self.shared.family.news();
            let seen = freed.load(Ordering::Acquire);
            self.sweep();
            if let Some(index) = self.try_take_cell(0) {
                return Ok(index);
            }
            self.attend(news);
            if let Some(error) = self.crew.is_deserted(&self.shared) {
                return Err(error);
            }
            if self.is_interrupted() {
                return Err(TaskError::Cancelled);
            }
            self.shared.family.park(freed, seen, news, None);
        }
    }

    /// Gives a cell back, with whatever its task held.
    pub(crate) fn recycle(&self, index: u32) {
        self.empty(index);
        self.give_back(index);
    }

    /// Frees what the task of a cell held.
    pub(crate) fn empty(&self, index: u32) {
        if let Some(cell) = self.shared.cell(index) {
            filling::free_blocks(self, cell);
            cell.clear();
        }
    }

    /// Gives back a cell that holds nothing.
    pub(crate) fn give_back(&self, index: u32) {
        let mut free = lock(&self.free);
        // `join` waits for all of them.
        let scarce = free.is_empty() || self.check_closed().is_ok();
        free.push(index);
        drop(free);
        if scarce {
            let freed = &self.shared.header().freed.0;
            // Release: pairs with the Acquire of `take_cell`.
            freed.fetch_add(1, Ordering::Release);
            wake(freed, u32::MAX);
        }
        if self.hub.is_starved() {
            self.nudge();
        }
    }

    /// Keeps a call whose caller has left until its running tasks are done.
    pub(crate) fn abandon(self: &Arc<Self>, call: Call) {
        if call.is_timed() {
            // Nobody else may be there to end what takes too long.
            self.keep();
            self.nudge();
        }
        let mut abandoned = lock(&self.abandoned);
        abandoned.push(call);
        self.has_abandoned.store(true, Ordering::Relaxed);
    }

    /// Gives back what abandoned calls held that are over by now.
    pub(crate) fn sweep(&self) {
        // Relaxed: whoever misses one that was abandoned just now finds it the next time, and
        // whoever waits for it is woken by its end.
        if !self.has_abandoned.load(Ordering::Relaxed) {
            return;
        }
        let mut abandoned = lock(&self.abandoned);
        abandoned.retain_mut(|call| !call.sweep(self));
        self.has_abandoned
            .store(!abandoned.is_empty(), Ordering::Relaxed);
    }

    /// Takes no more tasks; workers leave when they have nothing to do.
    pub(crate) fn close(&self) {
        if !self.shared.family.is_present() {
            // A copy in a forked child: the pool is the parent's.
            return;
        }
        let phase = &self.shared.header().phase.0;
        phase.fetch_max(CLOSING, Ordering::Relaxed);
        self.close_if_done();
    }

    /// Waits until the closed pool's workers have left; false if `deadline` passes first.
    pub(crate) fn join(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        if !self.settle_hub(deadline) {
            return false;
        }
        self.close_if_done();
        let family = self.shared.family;
        // The end of a worker is news; a cell that comes back changes the word.
        let freed = &self.shared.header().freed.0;
        loop {
            let news = family.news();
            // Acquire: pairs with the Release of `give_back`.
            let seen = freed.load(Ordering::Acquire);
            let attend = self.attend(news);
            self.sweep();
            // Acquire: pairs with the drop of `Active`.
            let idle = self.active.load(Ordering::Acquire) == 0 && !settle::has_work(&self.shared);
            if idle {
                self.crew.close();
                if self.crew.is_gone() {
                    return true;
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            let until = [deadline, attend].into_iter().flatten().min();
            family.park(freed, seen, news, until);
        }
    }

    /// Whether this thread can wait for the pool's end.
    pub(crate) fn check_joinable(&self) -> Result<(), TaskError> {
        match promise::in_callback() {
            true => Err(TaskError::InCallback),
            false => self.check_closed(),
        }
    }

    /// Whether the pool was closed, so that it can be waited for.
    pub(crate) fn check_closed(&self) -> Result<(), TaskError> {
        match self.shared.header().phase.0.load(Ordering::Relaxed) {
            OPEN => Err(TaskError::NotClosed),
            _ => Ok(()),
        }
    }

    /// Takes no more tasks, and has those cancelled that have not begun.
    pub(crate) fn interrupt(self: &Arc<Self>) {
        // Release: pairs with the Acquire of `is_interrupted`.
        self.interrupted.store(true, Ordering::Release);
        self.close();
        self.fail_hub(&TaskError::Cancelled);
        // SeqCst: pairs with the fence in `Call::next`.
        fence(Ordering::SeqCst);
        // Each call cancels its own.
        for (_, cell) in self.shared.cells() {
            let inbox = &cell.inbox;
            let asleep = inbox.compare_exchange(SLEEPING, 0, Ordering::Relaxed, Ordering::Relaxed);
            if asleep.is_ok() {
                wake(inbox, 1);
            }
        }
        let freed = &self.shared.header().freed.0;
        freed.fetch_add(1, Ordering::Release);
        wake(freed, u32::MAX);
    }

    /// Whether what has not begun is not to begin.
    pub(crate) fn is_interrupted(&self) -> bool {
        // Acquire: pairs with `interrupt`.
        self.interrupted.load(Ordering::Acquire)
    }

    /// Ends the workers now, and gives every task that is left its outcome.
    pub(crate) fn terminate(self: &Arc<Self>) {
        self.terminate_with(&TaskError::Closed);
    }

    /// The same; `error` is that outcome.
    pub(crate) fn terminate_with(self: &Arc<Self>, error: &TaskError) {
        self.close();
        if self.shared.family.is_present() {
            self.crew.terminate(&self.shared, error);
            self.fail_hub(error);
        }
    }
}

/// A call in which a thread waits: a closed pool does not come to its end before.
pub(crate) struct Active<'a>(&'a Inner);

impl Inner {
    pub(crate) fn active(&self) -> Active<'_> {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(self)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        // Release: who sees that none is left sees what they did.
        self.0.active.fetch_sub(1, Ordering::Release);
        if self.0.check_closed().is_ok() {
            let freed = &self.0.shared.header().freed.0;
            // Release: pairs with the Acquire of `join`.
            freed.fetch_add(1, Ordering::Release);
            wake(freed, u32::MAX);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // In a fork of the program workers and memory are the parent's.
        if self.shared.family.is_present() {
            self.crew.terminate(&self.shared, &TaskError::Closed);
            // What calls have left behind that were given up.
            for (_, cell) in self.shared.cells() {
                filling::free_blocks(self, cell);
            }
        }
    }
}
