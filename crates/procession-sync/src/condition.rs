//! `Condition`: waiting, with a lock let go of meanwhile, until somebody notifies.
//!
//! # Safety
//!
//! Reaches the cells of an object of its own kind, for no longer than the handle.
#![allow(unsafe_code, reason = "reaches waiters' cells")]

use std::fmt;
use std::time::{Duration, Instant};

use procession_primitives::{Block, BlockId, Kind, Object, ObjectError, OutOfMemory};

use crate::error::Foreign;
use crate::handle::{self, CreateError, deadline_after, handle, kinds, shared_state};
use crate::lock::count_waits;
use crate::primitive::{AtomicU32, AtomicU64, Family, Holder, News, Ordering, park_low, wake_low};
use crate::raw_lock::{RawLock, Taken};
use crate::{ArrayGuard, LockGuard, MutexGuard, Plain, RLockGuard, ValueGuard};

/// Waiters with a place in the object; the cells of more are in a block.
const INLINE: usize = 8;
/// Cells of the block.
const MORE: usize = 65_536;

/// Flags of a cell's word.
const WAITING: u64 = 1 << 29;
const NOTIFIED: u64 = 1 << 30;

/// A waiter. Cells change while the condition's own lock is held, except that a waiter gives its
/// own back.
///
/// | `word` | meaning | who leaves this state |
/// |---|---|---|
/// | 0 | free | a new waiter |
/// | holder `\| WAITING` | it waits, and sleeps on this word | who notifies; the waiter, giving up |
/// | holder `\| NOTIFIED` | it was notified, and does not hold its lock yet | the waiter, once it does |
/// | any of a dead one | free; if `NOTIFIED`, the notification is another one's | whoever repairs |
#[repr(C)]
#[derive(Debug)]
struct Cell {
    word: AtomicU64,
    /// Waiters are notified in this order.
    ticket: AtomicU64,
}

#[repr(C)]
#[derive(Debug)]
struct State {
    lock: RawLock,
    last_ticket: AtomicU64,
    settled: AtomicU32,
    /// No cell beyond is in use.
    end: AtomicU32,
    more: AtomicU64,
    cells: [Cell; INLINE],
}

shared_state!(Cell);
shared_state!(State);
handle!(Condition, State, Kind::new(kinds::CONDITION));

/// Waiting for a change that another process makes under a lock, and notifies of.
///
/// As the standard library's `Condvar` it does not belong to one lock: [`wait`](Self::wait) takes
/// the guard of any lock of this crate, lets go of the lock while it waits, however often an
/// [`RLock`](crate::RLock) was taken, and takes it again before it returns.
/// [`notify`](Self::notify) wakes those that have waited longest; it does not wait for them, and
/// need not hold the lock.
///
/// Waits can end without a notification: after another process died with the lock. So check what
/// you wait for in a loop, or use [`wait_for`](Self::wait_for).
///
/// # Process death
///
/// A process killed while it waits takes no notification with it: if it was notified, another one
/// is instead. If a process dies with the lock, all waiters come back, and the first one is told
/// ([`WaitError::OwnerDied`]).
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::{Condition, Mutex};
///
/// let (state, changed) = (Mutex::new(0_u32)?, Condition::new()?);
/// let child = Process::spawn(|(state, changed): (Mutex<u32>, Condition)| {
///     *state.lock().unwrap() = 4;
///     changed.notify_all();
/// }, (state.clone(), changed.clone()))?;
///
/// let mut guard = state.lock().unwrap();
/// changed.wait_for(&mut guard, |state| **state == 4)?;
/// drop(guard);
/// child.join()?;
/// # Ok::<(), procession_sync::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "Condvar")]
pub struct Condition {
    object: Object,
}

/// A wait ended with news about the lock, which the caller holds again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// A process died with the lock while this one waited. The caller holds the lock, and has to
    /// see to what it guards.
    OwnerDied,
    /// There is no shared memory left to note who waits. The lock was not let go of.
    OutOfMemory,
    /// This process does not belong to the family of the condition.
    Foreign,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnerDied => "the process that held the lock died",
            Self::OutOfMemory => "no shared memory is left",
            Self::Foreign => "the condition belongs to another family of processes",
        })
    }
}

impl std::error::Error for WaitError {}

/// The guards that a [`Condition`] can wait with.
pub trait WaitGuard: sealed::Guard {}

mod sealed {
    use crate::primitive::Holder;
    use crate::raw_lock::RawLock;
    use procession_primitives::Object;

    #[allow(private_interfaces, reason = "sealed: nobody else sees it")]
    pub trait Guard {
        fn lock(&self) -> (&RawLock, &Object, Holder);
        /// How often the lock is held.
        fn count(&self) -> u32 {
            1
        }
        fn set_count(&self, _count: u32) {}
        fn owner_died(&self) {}
    }
}

#[allow(private_interfaces, reason = "sealed: nobody else sees it")]
impl sealed::Guard for LockGuard<'_> {
    fn lock(&self) -> (&RawLock, &Object, Holder) {
        self.parts()
    }
}

#[allow(private_interfaces, reason = "sealed: nobody else sees it")]
impl sealed::Guard for RLockGuard<'_> {
    fn lock(&self) -> (&RawLock, &Object, Holder) {
        let (state, object, me) = self.parts();
        (&state.raw, object, me)
    }

    fn count(&self) -> u32 {
        self.parts().0.count.load(Ordering::Relaxed)
    }

    fn set_count(&self, count: u32) {
        self.parts().0.count.store(count, Ordering::Relaxed);
    }
}

macro_rules! data_guard {
    ($($guard:ident),*) => {$(
        #[allow(private_interfaces, reason = "sealed: nobody else sees it")]
        impl<T: Plain> sealed::Guard for $guard<'_, T> {
            fn lock(&self) -> (&RawLock, &Object, Holder) {
                self.access().parts()
            }

            fn owner_died(&self) {
                self.access().mark_inconsistent();
            }
        }

        impl<T: Plain> WaitGuard for $guard<'_, T> {}
    )*};
}

data_guard!(MutexGuard, ValueGuard, ArrayGuard);

impl WaitGuard for LockGuard<'_> {}
impl WaitGuard for RLockGuard<'_> {}

/// How a sleep ended.
enum Ended {
    Notified,
    TimedOut,
    /// The holder of the lock is dead.
    OwnerDied,
}

impl Condition {
    /// Makes a condition that nobody waits for.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new() -> Result<Condition, CreateError> {
        let (object, _) = handle::create::<State>(Kind::new(kinds::CONDITION))?;
        Ok(Condition { object })
    }

    fn from_object(object: Object) -> Result<Condition, ObjectError> {
        Ok(Condition { object })
    }

    /// Waits for a notification, with the lock of `guard` let go of meanwhile.
    ///
    /// # Errors
    ///
    /// [`WaitError`]; the lock is held in any case.
    pub fn wait<G: WaitGuard>(&self, guard: &mut G) -> Result<(), WaitError> {
        self.wait_until(guard, None).map(drop)
    }

    /// Waits at most `timeout`. False if that passed without a notification.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout<G: WaitGuard>(
        &self,
        guard: &mut G,
        timeout: Duration,
    ) -> Result<bool, WaitError> {
        self.wait_until(guard, deadline_after(timeout))
    }

    /// Waits at most until `deadline`. False if that passed without a notification.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_deadline<G: WaitGuard>(
        &self,
        guard: &mut G,
        deadline: Instant,
    ) -> Result<bool, WaitError> {
        self.wait_until(guard, Some(deadline))
    }

    /// Waits until `ready` says so, which is asked at once and after each notification.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); `ready` may not hold then.
    #[doc(alias = "wait_while")]
    pub fn wait_for<G: WaitGuard>(
        &self,
        guard: &mut G,
        mut ready: impl FnMut(&mut G) -> bool,
    ) -> Result<(), WaitError> {
        while !ready(guard) {
            self.wait(guard)?;
        }
        Ok(())
    }

    /// Waits until `ready` says so, at most `timeout`. What `ready` said last.
    ///
    /// # Errors
    ///
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_for_timeout<G: WaitGuard>(
        &self,
        guard: &mut G,
        timeout: Duration,
        mut ready: impl FnMut(&mut G) -> bool,
    ) -> Result<bool, WaitError> {
        let deadline = deadline_after(timeout);
        loop {
            if ready(guard) {
                return Ok(true);
            }
            if !self.wait_until(guard, deadline)? {
                return Ok(ready(guard));
            }
        }
    }

    /// Wakes one waiter, the one that has waited longest.
    ///
    /// # Errors
    ///
    /// [`Foreign`]: this process does not belong to the family of the condition.
    pub fn notify(&self) -> Result<(), Foreign> {
        self.notify_many(1)
    }

    /// Wakes all that wait now.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub fn notify_all(&self) -> Result<(), Foreign> {
        self.notify_many(usize::MAX)
    }

    /// Wakes `count` waiters, those that have waited longest; all if there are fewer.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub fn notify_many(&self, count: usize) -> Result<(), Foreign> {
        let family = self.object.family().ok_or(Foreign)?;
        let me = family.holder();
        let mut wake = self.enter(family, me, family.news());
        wake.extend(self.mark_notified(family, count));
        self.leave(me, &wake);
        Ok(())
    }

    fn wait_until<G: WaitGuard>(
        &self,
        guard: &mut G,
        deadline: Option<Instant>,
    ) -> Result<bool, WaitError> {
        let family = self.object.family().ok_or(WaitError::Foreign)?;
        let (raw, _, me) = guard.lock();
        if me.member() != family.me() {
            return Err(WaitError::Foreign);
        }
        let wake = self.enter(family, me, family.news());
        let cell = self.claim(family, me);
        self.leave(me, &wake);
        let cell = cell.map_err(|_| WaitError::OutOfMemory)?;
        let (count, deaths) = (guard.count(), raw.deaths());
        raw.release(me);
        let ended = {
            let _waiting = family.wait_on(self.object.id().number());
            self.sleep(family, me, cell, (raw, deaths), deadline)
        };
        let taken = raw.acquire(family, me, None);
        guard.set_count(count);
        if matches!(ended, Ended::Notified) {
            // Only now: killed before, the notification goes to another one.
            cell.word.store(0, Ordering::Release);
        }
        if taken == Some(Taken::FromDead) {
            guard.owner_died();
            return Err(WaitError::OwnerDied);
        }
        Ok(!matches!(ended, Ended::TimedOut))
    }

    fn sleep(
        &self,
        family: &'static Family,
        me: Holder,
        cell: &Cell,
        (raw, deaths): (&RawLock, u32),
        deadline: Option<Instant>,
    ) -> Ended {
        loop {
            let news = family.news();
            if self.state().settled.load(Ordering::Relaxed) != news.to_word() {
                // Somebody died: perhaps one that was notified.
                let wake = self.enter(family, me, news);
                self.leave(me, &wake);
            }
            let word = cell.word.load(Ordering::Acquire);
            if word & NOTIFIED != 0 {
                return Ended::Notified;
            }
            let holder = raw.holder();
            let dead = holder.is_some_and(|holder| !family.is_alive(holder.member()));
            // Somebody else may have taken the lock from the dead one before we could look.
            if dead || raw.deaths() != deaths {
                return self.give_up(family, me, cell, Ended::OwnerDied);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return self.give_up(family, me, cell, Ended::TimedOut);
            }
            park_low(family, &cell.word, word, news, deadline);
        }
    }

    /// Stops waiting because of `why`, unless a notification came at the last moment. After that
    /// the cell may be another one's.
    fn give_up(&self, family: &'static Family, me: Holder, cell: &Cell, why: Ended) -> Ended {
        let wake = self.enter(family, me, family.news());
        let notified = cell.word.load(Ordering::Relaxed) & NOTIFIED != 0;
        if !notified {
            cell.word.store(0, Ordering::Relaxed);
        }
        self.leave(me, &wake);
        if notified { Ended::Notified } else { why }
    }

    /// Takes the condition's own lock, and repairs what a death may have left. Returns whom to
    /// wake for that.
    #[must_use]
    fn enter(&self, family: &'static Family, me: Holder, news: News) -> Vec<&'static Cell> {
        let state = self.state();
        let taken = state.lock.acquire(family, me, None);
        if taken == Some(Taken::Free) && state.settled.load(Ordering::Relaxed) == news.to_word() {
            return Vec::new();
        }
        let mut lost = 0;
        for cell in self.cells(family) {
            let word = cell.word.load(Ordering::Relaxed);
            if let Some(holder) = Holder::from_word(word)
                && !family.is_alive(holder.member())
            {
                lost += usize::from(word & NOTIFIED != 0);
            }
        }
        // First the notifications are passed on: repeated after a kill, there are too many of
        // them rather than too few.
        let wake = self.mark_notified(family, lost);
        for cell in self.cells(family) {
            let word = cell.word.load(Ordering::Relaxed);
            let holder = Holder::from_word(word);
            if holder.is_some_and(|holder| !family.is_alive(holder.member())) {
                cell.word.store(0, Ordering::Release);
            }
        }
        state.settled.store(news.to_word(), Ordering::Release);
        wake
    }

    /// Lets go of the condition's own lock, and wakes.
    fn leave(&self, me: Holder, wake: &[&Cell]) {
        self.state().lock.release(me);
        for cell in wake {
            wake_low(&cell.word, 1);
        }
    }

    /// Marks the `count` waiters that have waited longest.
    fn mark_notified(&self, family: &'static Family, count: usize) -> Vec<&'static Cell> {
        if count == 0 {
            return Vec::new();
        }
        self.shrink(family);
        let waiting = |cell: &&Cell| {
            let word = cell.word.load(Ordering::Relaxed);
            let holder = Holder::from_word(word).filter(|_| word & WAITING != 0);
            holder.is_some_and(|holder| family.is_alive(holder.member()))
        };
        let ticket = |cell: &&Cell| cell.ticket.load(Ordering::Relaxed);
        let waiting = self.cells(family).filter(waiting);
        let cells = if count == 1 {
            waiting.min_by_key(ticket).into_iter().collect()
        } else {
            let mut cells: Vec<_> = waiting.collect();
            cells.sort_unstable_by_key(ticket);
            cells.truncate(count);
            cells
        };
        for cell in &cells {
            let word = cell.word.load(Ordering::Relaxed);
            // Release: whoever is notified sees what was done before.
            cell.word
                .store(word & !WAITING | NOTIFIED, Ordering::Release);
        }
        cells
    }

    /// A cell for the caller to wait in.
    fn claim(&self, family: &'static Family, me: Holder) -> Result<&'static Cell, OutOfMemory> {
        self.shrink(family);
        let state = self.state();
        let free = |cell: &&Cell| cell.word.load(Ordering::Relaxed) == 0;
        let cell = match self.cells(family).find(free) {
            Some(cell) => cell,
            None => {
                let end = state.end.load(Ordering::Relaxed);
                let cell = self.cell(family, end as usize).or_else(|| {
                    self.add_block(family).ok()?;
                    self.cell(family, end as usize)
                });
                let cell = cell.ok_or(OutOfMemory::new(MORE * size_of::<Cell>()))?;
                state.end.store(end + 1, Ordering::Release);
                cell
            }
        };
        let ticket = state.last_ticket.load(Ordering::Relaxed) + 1;
        state.last_ticket.store(ticket, Ordering::Relaxed);
        cell.ticket.store(ticket, Ordering::Relaxed);
        // Release: with the ticket.
        cell.word.store(me.to_word() | WAITING, Ordering::Release);
        Ok(cell)
    }

    fn add_block(&self, family: &'static Family) -> Result<(), OutOfMemory> {
        let state = self.state();
        let known = BlockId::from_word(state.more.load(Ordering::Relaxed));
        if known.is_none_or(|id| self.object.locate(id).is_none()) {
            let block = Block::zeroed(family, MORE * size_of::<Cell>())?;
            let id = self.object.adopt(block);
            // Release: a block in the word is the object's.
            state.more.store(id.to_word(), Ordering::Release);
        }
        Ok(())
    }

    /// Leaves out the cells at the end that are free again. Called with the lock.
    fn shrink(&self, family: &'static Family) {
        let free = |cell: &&Cell| cell.word.load(Ordering::Relaxed) == 0;
        let unused = self.cells(family).rev().take_while(free).count() as u32;
        if unused > 0 {
            // A cell that is free stays so without the lock.
            self.state().end.fetch_sub(unused, Ordering::Relaxed);
        }
    }

    fn cells(
        &self,
        family: &'static Family,
    ) -> impl DoubleEndedIterator<Item = &'static Cell> + use<> {
        let end = self.state().end.load(Ordering::Relaxed) as usize;
        let (first, more) = (self.first_cell(), self.more_cells(end));
        (0..end).filter_map(move |index| cell(family, first, more, index))
    }

    fn cell(&self, family: &'static Family, index: usize) -> Option<&'static Cell> {
        cell(family, self.first_cell(), self.more_cells(index + 1), index)
    }

    fn first_cell(&self) -> u64 {
        self.object.offset() + std::mem::offset_of!(State, cells) as u64
    }

    /// Where those of the first `count` cells are that are in the block, and its size.
    fn more_cells(&self, count: usize) -> Option<(u64, usize)> {
        let more = (count > INLINE).then(|| self.state().more.load(Ordering::Relaxed));
        self.object.locate(BlockId::from_word(more?)?)
    }
}

fn cell(
    family: &'static Family,
    first: u64,
    more: Option<(u64, usize)>,
    index: usize,
) -> Option<&'static Cell> {
    let (start, index, end) = match index.checked_sub(INLINE) {
        None => (first, index, INLINE),
        Some(index) => {
            let (offset, len) = more?;
            (offset, index, len / size_of::<Cell>())
        }
    };
    let offset = (index < end).then_some(start + (index * size_of::<Cell>()) as u64)?;
    // SAFETY: a cell lies there. It lives as long as the object, and callers keep the
    // reference no longer than the handle; the arena is never unmapped.
    unsafe { family.arena().get(offset) }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Condition");
        if let Some(family) = self.object.family() {
            debug.field("waiters", &count_waits(family, &self.object));
        }
        debug.finish()
    }
}
