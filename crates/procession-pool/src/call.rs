//! One call's tasks: submitted, waited for, collected.
//!
//! # Safety
//!
//! Reads the output of tasks that are done.
#![allow(unsafe_code, reason = "borrows the bytes of this call's own cells")]

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use procession_primitives::{Block, monotonic_nanos};

use crate::TaskError;
use crate::cell::{Cell, Kind};
use crate::filling::Terms;
use crate::inner::Inner;
use crate::mailbox::{self, SLEEPING};

/// The tasks of one call that are not yet collected.
#[derive(Debug)]
pub(crate) struct Call {
    mailbox: u32,
    /// Microseconds that its items may take, 0 for ever.
    limit: u64,
    pub(crate) outstanding: usize,
    finished: Vec<u32>,
    /// What its tasks have in common: freed when none of them is with a worker any more.
    _context: Option<(Block, usize)>,
}

/// How long a call looks for its outcome before it sleeps: about what a wake-up costs.
pub(crate) const SPIN: Duration = Duration::from_micros(20);

/// The outcome of a short task comes sooner: others get the CPU only after that.
const YIELD_AFTER: Duration = Duration::from_micros(2);

impl Call {
    /// A call whose mailbox is cell `mailbox`, which is the caller's.
    pub(crate) fn new(
        pool: &Inner,
        mailbox: u32,
        terms: &Terms,
        context: Option<(Block, usize)>,
    ) -> Call {
        if terms.limit > 0 {
            pool.crew.time(terms.limit, false);
        }
        if let Some(cell) = pool.shared.cell(mailbox) {
            cell.inbox.store(0, Ordering::Relaxed);
        }
        Call {
            mailbox,
            limit: terms.limit,
            outstanding: 0,
            finished: Vec::new(),
            _context: context,
        }
    }

    /// Hands the filled cell `index` to the workers.
    pub(crate) fn submit(&mut self, pool: &Inner, index: u32) {
        let Some(cell) = pool.shared.cell(index) else {
            return;
        };
        cell.address_to(self.mailbox);
        self.outstanding += 1;
        pool.submit(index);
    }

    /// Hands the filled cell `index` to worker `worker` alone.
    pub(crate) fn post(&mut self, pool: &Inner, index: u32, worker: u32) {
        let lines = pool.shared.cell(index).zip(pool.shared.worker(worker));
        if let Some((cell, line)) = lines {
            cell.address_to(self.mailbox);
            self.outstanding += 1;
            cell.queued_at.store(monotonic_nanos(), Ordering::Relaxed);
            cell.queue();
            line.letter.store(index + 1, Ordering::Relaxed);
            pool.shared.call_worker(worker);
        }
    }

    /// A finished task, if there is one by now.
    pub(crate) fn try_next(&mut self, pool: &Inner) -> Option<u32> {
        if self.finished.is_empty()
            && let Some(cell) = pool.shared.cell(self.mailbox)
        {
            mailbox::take(&pool.shared, &cell.inbox, &mut self.finished);
        }
        let index = self.finished.pop()?;
        self.outstanding -= 1;
        Some(index)
    }

    /// The next finished task, or `None` if there was none until `deadline`. Waits, settling and
    /// replacing dead workers meanwhile.
    ///
    /// Spins for `spin` before it sleeps. An error when the pool has no workers left.
    pub(crate) fn next(
        &mut self,
        pool: &Inner,
        spin: Duration,
        deadline: Option<Instant>,
    ) -> Result<Option<u32>, TaskError> {
        if let Some(index) = self.try_next(pool) {
            return Ok(Some(index));
        }
        let inbox = &pool
            .shared
            .cell(self.mailbox)
            .ok_or(TaskError::Closed)?
            .inbox;
        if spin > Duration::ZERO {
            let start = Instant::now();
            loop {
                let now = start.elapsed();
                if now >= spin {
                    break;
                }
                if now > YIELD_AFTER {
                    // A worker may wait for this very CPU.
                    std::thread::yield_now();
                }
                for _ in 0..16 {
                    if inbox.load(Ordering::Relaxed) != 0 {
                        break;
                    }
                    std::hint::spin_loop();
                }
                if let Some(index) = self.try_next(pool) {
                    return Ok(Some(index));
                }
            }
        }
        loop {
            // Read before the workers are looked at: a later death ends the sleep below.
            let news = pool.shared.family.news();
            let attend = pool.attend(news);
            if let Some(index) = self.try_next(pool) {
                return Ok(Some(index));
            }
            if self.collect_orphans(pool) {
                continue;
            }
            if let Some(error) = pool.crew.is_deserted(&pool.shared) {
                return Err(error);
            }
            if pool.is_interrupted() {
                self.cancel(pool);
                if self.outstanding == 0 {
                    return Err(TaskError::Cancelled);
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            // Relaxed: the word alone matters; what it stands for is read after `take`.
            let asleep = inbox.compare_exchange(0, SLEEPING, Ordering::Relaxed, Ordering::Relaxed);
            // SeqCst: pairs with the fence in `Inner::interrupt`: either it sees that we sleep, or we
            // see here that it was.
            fence(Ordering::SeqCst);
            if asleep.is_ok() && !pool.is_interrupted() {
                let until = [deadline, attend].into_iter().flatten().min();
                pool.shared.family.park(inbox, SLEEPING, news, until);
            }
            let _ = inbox.compare_exchange(SLEEPING, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Finds finished tasks whose worker died before it could tell.
    fn collect_orphans(&mut self, pool: &Inner) -> bool {
        let mine = |cell: &Cell| cell.mailbox() == self.mailbox;
        let mut orphans = Vec::new();
        pool.crew.take_orphans(&pool.shared, mine, &mut orphans);
        self.finished.extend(orphans.iter().map(|(index, _)| index));
        if let Some(cell) = pool.shared.cell(self.mailbox)
            && !self.finished.is_empty()
        {
            // Some may have come into the mailbox since it was looked at, or be orphans twice
            // over, where the next worker in the same place has died, too.
            mailbox::take(&pool.shared, &cell.inbox, &mut self.finished);
            self.finished.sort_unstable();
            self.finished.dedup();
        }
        !self.finished.is_empty()
    }

    /// Ends what a worker has begun: the items in hand with their workers.
    pub(crate) fn stop(&mut self, pool: &Inner) {
        for (index, cell) in pool.shared.cells() {
            let state = cell.state();
            if cell.mailbox() == self.mailbox && state.kind == Kind::Claimed {
                pool.crew.stop(&pool.shared, index, cell, state.worker);
            }
        }
    }

    /// Takes back what no worker has begun. Cells so freed are the pool's again.
    pub(crate) fn cancel(&mut self, pool: &Inner) {
        for (index, cell) in pool.shared.cells() {
            // A cell that serves as mailbox of another call is never `QUEUED` for this one.
            if cell.mailbox() == self.mailbox && cell.cancel() {
                self.outstanding -= 1;
                self.put_away(pool, index);
            }
        }
    }

    /// Whether its items may not take for ever.
    pub(crate) fn is_timed(&self) -> bool {
        self.limit > 0
    }

    fn is_over(&self, pool: &Inner) {
        if self.limit > 0 {
            pool.crew.time(self.limit, true);
        }
    }

    /// Gives a task's cell back; one that is the mailbox, too, only without the task: it is not to be
    /// found again as that of a worker that has died.
    fn put_away(&self, pool: &Inner, index: u32) {
        if index == self.mailbox {
            pool.empty(index);
        } else {
            pool.recycle(index);
        }
    }

    /// Frees the mailbox of a call without tasks; hands the others to the pool to be swept up.
    pub(crate) fn end(mut self, pool: &Arc<Inner>) {
        if self.outstanding > 0 {
            self.cancel(pool);
        }
        if self.outstanding > 0 {
            pool.abandon(self);
        } else {
            self.is_over(pool);
            pool.recycle(self.mailbox);
        }
    }

    /// Collects what has finished of an abandoned call. Whether that was all.
    pub(crate) fn sweep(&mut self, pool: &Inner) -> bool {
        loop {
            while let Some(index) = self.try_next(pool) {
                self.put_away(pool, index);
            }
            // A mailbox is a task, too, and would be found again.
            if self.outstanding == 0 || !self.collect_orphans(pool) {
                break;
            }
        }
        if self.outstanding == 0 {
            self.is_over(pool);
            pool.recycle(self.mailbox);
        }
        self.outstanding == 0
    }
}

/// What is in a finished task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Collected {
    pub(crate) index: u32,
    pub(crate) first: u64,
    pub(crate) items: u32,
    pub(crate) nanos: u64,
    pub(crate) input_len: u64,
    pub(crate) output: &'static [u8],
}

impl Collected {
    /// What finished cell `index` holds, until it is recycled.
    pub(crate) fn read(pool: &Inner, index: u32) -> Option<Collected> {
        let cell = pool.shared.cell(index)?;
        // SAFETY: `DONE`, so the program's; read before the cell is recycled.
        let output = unsafe { pool.shared.output(cell) };
        let collected = Collected {
            index,
            first: cell.first.load(Ordering::Relaxed),
            items: cell.items.load(Ordering::Relaxed),
            nanos: cell.nanos.load(Ordering::Relaxed),
            input_len: cell.input_len.load(Ordering::Relaxed),
            output: output.unwrap_or_default(),
        };
        pool.note(cell, &collected);
        Some(collected)
    }
}
