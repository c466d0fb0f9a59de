//! What all handles and calls of one pool share.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use procession_primitives::{Block, Family, News, wake};

use crate::call::{self, Call};
use crate::crew::Crew;
use crate::shared::{self, CELLS, CLOSED, OPEN, Place, Shared};
use crate::{PoolError, TaskError};

/// A pool, as its program sees it.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Shared,
    pub(crate) crew: Crew,
    pub(crate) workers: usize,
    free: Mutex<Vec<u32>>,
    /// Held while hints are written.
    offers: Mutex<()>,
    abandoned: Mutex<Vec<Call>>,
    /// Outlives the crew: declared, so dropped, after it.
    _memory: Block,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(crate) fn new(workers: usize) -> Result<Inner, PoolError> {
        let count = u32::try_from(workers)
            .ok()
            .filter(|count| (1..=crate::MAX_WORKERS).contains(count));
        let count = count.ok_or(PoolError::WorkerCount(workers))?;
        let family = Family::current()?;
        let memory = Block::zeroed(family, shared::size_for(count))?;
        let place = Place {
            offset: memory.offset(),
            workers: count,
            owner: family.me(),
        };
        let shared = Shared::at(family, place).ok_or(PoolError::WorkerCount(workers))?;
        let crew = Crew::start(family, place).map_err(PoolError::Start)?;
        Ok(Inner {
            shared,
            crew,
            workers,
            free: Mutex::new((0..CELLS).rev().collect()),
            offers: Mutex::new(()),
            abandoned: Mutex::new(Vec::new()),
            _memory: memory,
        })
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

    pub(crate) fn attend(&self, news: News) {
        self.crew.attend(&self.shared, news, &self.offers);
    }

    /// Tells the workers of queued task `index`.
    pub(crate) fn offer(&self, index: u32) {
        // Cells are fewer than places in the ring. Where deaths have filled it with repeated
        // offers, `attend` offers again.
        if !self.write_hint(index) {
            self.crew.offer_again();
        }
        self.shared.call_one();
    }

    fn write_hint(&self, index: u32) -> bool {
        let _one_at_a_time = lock(&self.offers);
        self.shared.offer(index)
    }

    /// Takes a free cell, if more than `reserve` are free.
    pub(crate) fn try_take_cell(&self, reserve: usize) -> Option<u32> {
        let mut free = lock(&self.free);
        if free.len() <= reserve {
            return None;
        }
        let index = free.pop()?;
        // Under the lock: only grows.
        self.shared
            .header()
            .used
            .0
            .fetch_max(index + 1, Ordering::Relaxed);
        Some(index)
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
            if let Some(error) = self.crew.is_deserted() {
                return Err(error);
            }
            self.shared.family.park(freed, seen, news, None);
        }
    }

    /// Gives a cell back, with whatever its task held.
    pub(crate) fn recycle(&self, index: u32) {
        if let Some(cell) = self.shared.cell(index) {
            call::free_blocks(self, cell);
            cell.clear();
        }
        self.give_back(index);
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
    }

    /// Keeps a call whose caller has left until its running tasks are done.
    pub(crate) fn abandon(&self, call: Call) {
        lock(&self.abandoned).push(call);
    }

    fn sweep(&self) {
        lock(&self.abandoned).retain_mut(|call| !call.sweep(self));
    }

    /// Takes no more tasks; workers leave when they have nothing to do.
    pub(crate) fn close(&self) {
        if !self.shared.family.is_present() {
            // A copy in a forked child: the pool is the parent's.
            return;
        }
        let phase = &self.shared.header().phase.0;
        // Release: a worker that sees it sees all tasks offered before.
        phase.fetch_max(CLOSED, Ordering::Release);
        self.shared.call_all();
    }

    /// Waits until the closed pool's workers have left; false if `deadline` passes first.
    pub(crate) fn join(&self, deadline: Option<Instant>) -> bool {
        let family = self.shared.family;
        // The end of a worker is news; a cell that comes back changes the word.
        let freed = &self.shared.header().freed.0;
        let done = family.wait_for(freed, deadline, || {
            // Acquire: pairs with the Release of `give_back`.
            let seen = freed.load(Ordering::Acquire);
            self.attend(family.news());
            self.sweep();
            let idle = lock(&self.free).len() == CELLS as usize;
            if idle {
                self.crew.close();
            }
            if idle && self.crew.is_gone() {
                Ok(())
            } else {
                Err(seen)
            }
        });
        done.is_some()
    }

    /// Whether the pool was closed, so that it can be waited for.
    pub(crate) fn check_closed(&self) -> Result<(), TaskError> {
        match self.shared.header().phase.0.load(Ordering::Relaxed) {
            OPEN => Err(TaskError::NotClosed),
            _ => Ok(()),
        }
    }

    /// Ends the workers now.
    pub(crate) fn terminate(&self) {
        self.close();
        if self.shared.family.is_present() {
            self.crew.terminate(&self.shared);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // In a fork of the program workers and memory are the parent's.
        if self.shared.family.is_present() {
            self.crew.terminate(&self.shared);
            // What calls have left behind that were given up.
            for (_, cell) in self.shared.cells() {
                call::free_blocks(self, cell);
            }
        }
    }
}
