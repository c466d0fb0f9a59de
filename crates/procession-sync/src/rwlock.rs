//! `RwLock<T>`: a value for many readers or one writer.
//!
//! # Safety
//!
//! The value is lent to those that hold the lock.
#![allow(unsafe_code, reason = "lends the value to the holders of the lock")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use procession_primitives::{Kind, Object, ObjectError};

use crate::Plain;
use crate::error::LockError;
use crate::guarded::Data;
use crate::handle::{CreateError, deadline_after, describe, kinds, shared_state};
use crate::lock::count_waits;
use crate::monitor::{Attempt, Inside, Monitor};
use crate::primitive::{AtomicU32, AtomicU64, Family, Holder, MemberId, Ordering};
use crate::tally::Tally;

/// | word | meaning | who changes it, inside the monitor |
/// |---|---|---|
/// | `writer` | the thread that writes; a dead one's until the next taker | writers, takers |
/// | `next` | a thread that waits to write: new readers wait for it while it lives | it |
/// | `readers` | by member, its read locks: the truth | readers |
/// | `reading` | how many there are: derived | whoever changes `readers` |
/// | `inconsistent` | 1: a writer died, and nobody has said that the value is in order | writers |
/// | `block` | where the value is, 0: behind these words | the maker |
#[repr(C)]
#[derive(Debug)]
struct State {
    monitor: Monitor,
    writer: AtomicU64,
    next: AtomicU64,
    reading: AtomicU32,
    inconsistent: AtomicU32,
    block: AtomicU64,
    readers: Tally,
}

shared_state!(State);

/// A value of plain data in shared memory, for many readers or one writer at a time.
///
/// A writer that waits keeps new readers out, so that its turn comes. So a thread that reads must
/// not take another read lock: a writer in between makes both wait for each other.
///
/// # Process death
///
/// A reader's death frees its read locks. After a writer's death the next one gets
/// [`LockError::OwnerDied`], be it reader or writer; until a writer calls
/// [`mark_consistent`](RwLockWriteGuard::mark_consistent), later ones get
/// [`LockError::Inconsistent`]; all of these with the guard.
///
/// # Examples
///
/// ```
/// use procession_sync::RwLock;
///
/// let config = RwLock::new([1_u32, 2])?;
/// {
///     let (one, other) = (config.read().unwrap(), config.try_read().unwrap());
///     assert_eq!(one[0] + other[1], 3);
/// }
/// config.write().unwrap()[0] = 5;
/// assert_eq!(config.read().unwrap()[0], 5);
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct RwLock<T> {
    object: Object,
    data: Data<T>,
}

/// The value of an [`RwLock`], to be read, until dropped.
#[must_use = "the lock is let go of when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: Plain> {
    lock: &'a RwLock<T>,
    owner: MemberId,
}

/// The value of an [`RwLock`], to be written, until dropped.
#[must_use = "the lock is let go of when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: Plain> {
    lock: &'a RwLock<T>,
    me: Holder,
    unsend: PhantomData<*const ()>,
}

// SAFETY: a shared guard only lends the value, which is `Sync`.
unsafe impl<T: Plain> Sync for RwLockWriteGuard<'_, T> {}

/// What came with the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    OwnerDied,
    Inconsistent,
}

type Read<'a, T> = Result<RwLockReadGuard<'a, T>, LockError<RwLockReadGuard<'a, T>>>;
type Write<'a, T> = Result<RwLockWriteGuard<'a, T>, LockError<RwLockWriteGuard<'a, T>>>;

impl<T: Plain> RwLock<T> {
    /// Puts `value` into shared memory.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new(value: T) -> Result<RwLock<T>, CreateError> {
        let family = Family::current()?;
        let kind = Kind::of::<T>(kinds::RWLOCK);
        let (object, data, block) = Data::create(family, kind, size_of::<State>(), 1)?;
        let lock = RwLock { object, data };
        lock.state().block.store(block, Ordering::Relaxed);
        // SAFETY: just made: nobody else has it.
        let place = unsafe { lock.data.slice_mut() };
        place[0] = value;
        Ok(lock)
    }

    fn state(&self) -> &State {
        // SAFETY: made with a state in front.
        unsafe { self.object.get::<State>() }
    }

    /// Takes a read lock. Waits while somebody writes or waits to.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] and [`LockError::Inconsistent`] with the guard;
    /// [`LockError::Deadlock`]: this thread writes; [`LockError::Foreign`].
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        self.read_until(None, true)
    }

    /// Takes a read lock if nobody writes or waits to.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; others as [`read`](Self::read).
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        self.read_until(None, false)
    }

    /// Takes a read lock, waiting for it at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`]; others as [`read`](Self::read).
    pub fn read_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockReadGuard<'_, T>, LockError<RwLockReadGuard<'_, T>>> {
        self.read_until(deadline_after(timeout), true)
    }

    /// Takes the write lock. Waits while anybody reads or writes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        self.write_until(None, true)
    }

    /// Takes the write lock if nobody reads or writes.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; others as [`read`](Self::read).
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        self.write_until(None, false)
    }

    /// Takes the write lock, waiting for it at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`]; others as [`read`](Self::read).
    pub fn write_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockWriteGuard<'_, T>, LockError<RwLockWriteGuard<'_, T>>> {
        self.write_until(deadline_after(timeout), true)
    }

    fn repair(&self, inside: &Inside<'_>) {
        let state = self.state();
        state
            .readers
            .clear_dead(&self.object, inside.family, |_, _| {});
        let reading = state.readers.total(&self.object, inside.family);
        state.reading.store(reading as u32, Ordering::Relaxed);
        inside.wake(u32::MAX);
    }

    fn enter(&self, family: &'static Family) -> Inside<'_> {
        self.state()
            .monitor
            .enter(family, |inside| self.repair(inside))
    }

    /// Attempts once, or until `deadline`.
    fn attempt<R>(
        &self,
        family: &'static Family,
        deadline: Option<Instant>,
        wait: bool,
        mut attempt: impl FnMut(&Inside<'_>) -> Attempt<R>,
    ) -> Result<R, LockError<std::convert::Infallible>> {
        if !wait {
            let monitor = &self.state().monitor;
            let inside = monitor.try_enter(family, |inside| self.repair(inside));
            return match attempt(&inside.ok_or(LockError::WouldBlock)?) {
                Attempt::Done(done) => Ok(done),
                Attempt::Wait => Err(LockError::WouldBlock),
            };
        }
        let monitor = &self.state().monitor;
        let number = self.object.id().number();
        let done = monitor.wait_until(
            family,
            number,
            deadline,
            |inside| self.repair(inside),
            attempt,
        );
        done.ok_or(LockError::TimedOut)
    }

    fn health(&self, died: bool) -> Health {
        let inconsistent = &self.state().inconsistent;
        if died {
            inconsistent.store(1, Ordering::Relaxed);
            return Health::OwnerDied;
        }
        match inconsistent.load(Ordering::Relaxed) {
            0 => Health::Good,
            _ => Health::Inconsistent,
        }
    }

    fn read_until(&self, deadline: Option<Instant>, wait: bool) -> Read<'_, T> {
        let family = self.object.family().ok_or(LockError::Foreign)?;
        let me = family.holder();
        if Holder::from_word(self.state().writer.load(Ordering::Relaxed)) == Some(me) {
            return Err(LockError::Deadlock);
        }
        let taken = self.attempt(family, deadline, wait, |inside| self.try_reading(inside));
        let health = taken.map_err(|error| error.map(|never| match never {}))?;
        let health = health.ok_or(LockError::WouldBlock)?;
        let guard = RwLockReadGuard {
            lock: self,
            owner: me.member(),
        };
        match health {
            Health::Good => Ok(guard),
            Health::OwnerDied => Err(LockError::OwnerDied(guard)),
            Health::Inconsistent => Err(LockError::Inconsistent(guard)),
        }
    }

    fn try_reading(&self, inside: &Inside<'_>) -> Attempt<Option<Health>> {
        let (state, family) = (self.state(), inside.family);
        let lives = |word: u64| {
            Holder::from_word(word).is_some_and(|holder| family.is_alive(holder.member()))
        };
        let writer = state.writer.load(Ordering::Relaxed);
        if lives(writer) || lives(state.next.load(Ordering::Relaxed)) {
            return Attempt::Wait;
        }
        let me = inside.me.member();
        let Ok(cell) = state.readers.of(&self.object, family, me) else {
            // No memory to note one more process: as if somebody wrote.
            return Attempt::Done(None);
        };
        let health = self.health(writer != 0);
        state.writer.store(0, Ordering::Relaxed);
        // Release: the commit.
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Release);
        state
            .reading
            .store(state.reading.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Attempt::Done(Some(health))
    }

    fn write_until(&self, deadline: Option<Instant>, wait: bool) -> Write<'_, T> {
        let family = self.object.family().ok_or(LockError::Foreign)?;
        let (me, state) = (family.holder(), self.state());
        if Holder::from_word(state.writer.load(Ordering::Relaxed)) == Some(me) {
            return Err(LockError::Deadlock);
        }
        let taken = self.attempt(family, deadline, wait, |_| {
            let writer = state.writer.load(Ordering::Relaxed);
            let alive = |holder: Holder| family.is_alive(holder.member());
            let written = Holder::from_word(writer).is_some_and(alive);
            if written || state.reading.load(Ordering::Relaxed) > 0 {
                let next = Holder::from_word(state.next.load(Ordering::Relaxed));
                if wait && !next.is_some_and(alive) {
                    state.next.store(me.to_word(), Ordering::Relaxed);
                }
                return Attempt::Wait;
            }
            self.clear_next(me);
            let health = self.health(writer != 0);
            // Release: the commit.
            state.writer.store(me.to_word(), Ordering::Release);
            Attempt::Done(health)
        });
        if taken.is_err() && wait {
            // It waits no more: readers may go on. Not inside, where somebody may have stopped.
            if self.clear_next(me)
                && let Some(inside) = state
                    .monitor
                    .try_enter(family, |inside| self.repair(inside))
            {
                inside.wake(u32::MAX);
            }
        }
        let health = taken.map_err(|error| error.map(|never| match never {}))?;
        let guard = RwLockWriteGuard {
            lock: self,
            me,
            unsend: PhantomData,
        };
        match health {
            Health::Good => Ok(guard),
            Health::OwnerDied => Err(LockError::OwnerDied(guard)),
            Health::Inconsistent => Err(LockError::Inconsistent(guard)),
        }
    }

    fn clear_next(&self, me: Holder) -> bool {
        let next = &self.state().next;
        next.compare_exchange(me.to_word(), 0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// The writer of the lock that lies at `offset`.
pub(crate) fn writer_at(family: &Family, offset: u64) -> Option<Holder> {
    // SAFETY: atomics only, whatever lies there by now.
    let state = unsafe { family.arena().get::<State>(offset) };
    Holder::from_word(state?.writer.load(Ordering::Relaxed))
}

impl<T: Plain> RwLockWriteGuard<'_, T> {
    /// Says that the value is in order again: no more [`LockError::Inconsistent`].
    pub fn mark_consistent(&mut self) {
        self.lock.state().inconsistent.store(0, Ordering::Relaxed);
    }
}

impl<T: Plain> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: nobody writes as long as this read lock is held.
        unsafe { &self.lock.data.slice()[0] }
    }
}

impl<T: Plain> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the write lock is held.
        unsafe { &self.lock.data.slice()[0] }
    }
}

impl<T: Plain> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the write lock is held, and `&mut self` makes the borrow exclusive.
        unsafe { &mut self.lock.data.slice_mut()[0] }
    }
}

impl<T: Plain> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        let object = &self.lock.object;
        let Some(family) = object.family().filter(|family| family.me() == self.owner) else {
            return;
        };
        let inside = self.lock.enter(family);
        let state = self.lock.state();
        if let Ok(cell) = state.readers.of(object, family, self.owner) {
            let mine = cell.load(Ordering::Relaxed).saturating_sub(1);
            cell.store(mine, Ordering::Release);
        }
        let reading = state.reading.load(Ordering::Relaxed).saturating_sub(1);
        state.reading.store(reading, Ordering::Relaxed);
        if reading == 0 {
            inside.wake(u32::MAX);
        }
    }
}

impl<T: Plain> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        let object = &self.lock.object;
        let Some(family) = object
            .family()
            .filter(|family| family.me() == self.me.member())
        else {
            return;
        };
        let inside = self.lock.enter(family);
        // Release: the commit.
        self.lock.state().writer.store(0, Ordering::Release);
        inside.wake(u32::MAX);
    }
}

impl<T> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        RwLock {
            object: self.object.clone(),
            data: self.data,
        }
    }
}

impl<T> PartialEq for RwLock<T> {
    /// Whether both are handles of one object.
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl<T> Eq for RwLock<T> {}

impl<T: Plain + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: Plain> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RwLock");
        if let Some(family) = self.object.family() {
            let writer = Holder::from_word(self.state().writer.load(Ordering::Relaxed));
            let writer = writer.map_or("none".to_owned(), |writer| describe(family, writer));
            let readers = self.state().readers.holders(&self.object, family);
            let readers: Vec<_> = readers
                .into_iter()
                .map(|(member, count)| (family.member_pid(member).unwrap_or(0), count))
                .collect();
            debug
                .field("writer", &format_args!("{writer}"))
                .field("read_by_pid", &readers)
                .field("waiters", &count_waits(family, &self.object));
        }
        debug.finish_non_exhaustive()
    }
}

impl<T> serde::Serialize for RwLock<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T: Plain> serde::Deserialize<'de> for RwLock<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize_as(Kind::of::<T>(kinds::RWLOCK), deserializer)?;
        // SAFETY: the kind says that it was made with a state in front.
        let block = unsafe { object.get::<State>() }
            .block
            .load(Ordering::Relaxed);
        let data: Result<Data<T>, ObjectError> = Data::open(&object, size_of::<State>(), block, 1);
        let data = data.map_err(serde::de::Error::custom)?;
        Ok(RwLock { object, data })
    }
}
