//! `Lock`: mutual exclusion between processes.
//!
//! # Safety
//!
//! Lets a shared guard be looked at by other threads.
#![allow(unsafe_code, reason = "lets other threads look at a guard")]

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use procession_primitives::{Kind, Object, ObjectError};

use crate::error::{LockError, NotOwner};
use crate::handle::{self, CreateError, deadline_after, describe, handle, kinds, shared_state};
use crate::primitive::{Family, Holder};
use crate::raw_lock::{RawLock, Taken};

/// Mutual exclusion between processes, and between their threads.
///
/// Held by one thread at a time. Not recursive: see [`RLock`](crate::RLock). To guard a value, see
/// [`Mutex`](crate::Mutex).
///
/// Handles are cheap to clone and can be sent to any process of the program: as an argument,
/// inside a task, through a queue. Whoever runs may overtake those that wait, but about once in a
/// millisecond the lock goes to one of them.
///
/// # Process death
///
/// If a process dies that holds the lock, the next one gets it with
/// [`LockError::OwnerDied`]: once, and the guard comes with it. A process killed while it waits,
/// takes or lets go of the lock leaves it usable. One that is stopped (`SIGSTOP`) keeps the lock:
/// time-outs are for that.
///
/// # Differences from Python
///
/// Only the thread that holds the lock can let go of it; taking it twice is an error
/// ([`LockError::Deadlock`]) instead of a hang; time-outs do not depend on the wall clock.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::{Lock, Value};
///
/// let (lock, total) = (Lock::new()?, Value::new(0_i64)?);
/// let add = |(lock, total): (Lock, Value<i64>)| {
///     for _ in 0..100 {
///         let _held = lock.acquire().unwrap();
///         total.set(total.get().unwrap() + 1).unwrap();
///     }
/// };
/// let other = Process::spawn(add, (lock.clone(), total.clone()))?;
/// add((lock, total.clone()));
/// other.join()?;
/// assert_eq!(total.get().unwrap(), 200);
/// # Ok::<(), procession_sync::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "Mutex")]
pub struct Lock {
    object: Object,
}

#[repr(C)]
#[derive(Debug)]
struct State {
    raw: RawLock,
}

shared_state!(State);
handle!(Lock, State, Kind::new(kinds::LOCK));

/// Holds a [`Lock`] until dropped.
///
/// # Drop
///
/// Lets go of the lock; wakes one that waits.
#[must_use = "the lock is let go of when the guard is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    me: Holder,
    /// Threads hold locks, so guards stay in theirs.
    unsend: PhantomData<*const ()>,
}

// SAFETY: a shared guard offers nothing that depends on the thread.
unsafe impl Sync for LockGuard<'_> {}

impl Lock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new() -> Result<Lock, CreateError> {
        let (object, _) = handle::create::<State>(Kind::new(kinds::LOCK))?;
        Ok(Lock { object })
    }

    fn from_object(object: Object) -> Result<Lock, ObjectError> {
        Ok(Lock { object })
    }

    /// Takes the lock. Waits as long as it has to.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard; [`LockError::Deadlock`],
    /// [`LockError::Foreign`].
    #[doc(alias = "lock")]
    #[inline]
    pub fn acquire(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.acquire_until(None)
    }

    /// Takes the lock if nobody alive holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; [`LockError::OwnerDied`] with the guard;
    /// [`LockError::Foreign`].
    #[doc(alias = "try_lock")]
    pub fn try_acquire(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        let family = self.object.family().ok_or(LockError::Foreign)?;
        let me = family.holder();
        let taken = self.state().raw.try_acquire(family, me);
        self.guard(me, taken.ok_or(LockError::WouldBlock)?)
    }

    /// Takes the lock, waiting for it at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`]; others as [`acquire`](Self::acquire).
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.acquire_until(deadline_after(timeout))
    }

    /// Takes the lock, waiting for it at most until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.acquire_until(Some(deadline))
    }

    #[inline]
    fn acquire_until(
        &self,
        deadline: Option<Instant>,
    ) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        let family = self.object.family().ok_or(LockError::Foreign)?;
        let me = family.holder();
        let taken = acquire_raw(&self.state().raw, &self.object, family, me, deadline);
        self.guard(
            me,
            taken.map_err(|error| error.map(|never| match never {}))?,
        )
    }

    #[inline]
    fn guard(&self, me: Holder, taken: Taken) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        let guard = LockGuard {
            lock: self,
            me,
            unsend: PhantomData,
        };
        match taken {
            Taken::Free => Ok(guard),
            Taken::FromDead => Err(LockError::OwnerDied(guard)),
        }
    }

    /// Lets go of a lock whose guard was forgotten.
    ///
    /// # Errors
    ///
    /// [`NotOwner`]: the calling thread does not hold it.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_sync::Lock;
    ///
    /// let lock = Lock::new()?;
    /// std::mem::forget(lock.acquire().unwrap());
    /// lock.release()?;
    /// assert!(lock.release().is_err());
    /// # Ok::<(), procession_sync::Error>(())
    /// ```
    pub fn release(&self) -> Result<(), NotOwner> {
        let family = self.object.family().ok_or(NotOwner)?;
        let me = family.holder();
        if self.state().raw.holder() != Some(me) {
            return Err(NotOwner);
        }
        self.state().raw.release(me);
        Ok(())
    }

    /// Whether somebody alive holds the lock at this moment.
    #[must_use]
    pub fn locked(&self) -> bool {
        is_held(&self.state().raw, &self.object)
    }
}

/// Takes `raw`, noting meanwhile that this thread waits for `object`.
#[inline]
pub(crate) fn acquire_raw(
    raw: &RawLock,
    object: &Object,
    family: &'static Family,
    me: Holder,
    deadline: Option<Instant>,
) -> Result<Taken, LockError<std::convert::Infallible>> {
    match raw.acquire_now(me) {
        true => Ok(Taken::Free),
        false => acquire_held(raw, object, family, me, deadline),
    }
}

#[cold]
fn acquire_held(
    raw: &RawLock,
    object: &Object,
    family: &'static Family,
    me: Holder,
    deadline: Option<Instant>,
) -> Result<Taken, LockError<std::convert::Infallible>> {
    if raw.holder() == Some(me) {
        return Err(LockError::Deadlock);
    }
    if let Some(taken) = raw.spin(me) {
        return Ok(taken);
    }
    let _waiting = family.wait_on(object.id().number());
    raw.acquire_slow(family, me, deadline)
        .ok_or(LockError::TimedOut)
}

/// Whether somebody alive holds `raw`.
pub(crate) fn is_held(raw: &RawLock, object: &Object) -> bool {
    let holder = raw.holder();
    holder.is_some_and(|holder| {
        object
            .family()
            .is_some_and(|family| family.is_alive(holder.member()))
    })
}

/// Adds what is known of a lock to its text form.
pub(crate) fn describe_lock(debug: &mut fmt::DebugStruct<'_, '_>, raw: &RawLock, object: &Object) {
    let Some(family) = object.family() else {
        debug.field("owner", &format_args!("foreign"));
        return;
    };
    match raw.holder() {
        None => debug.field("owner", &format_args!("none")),
        Some(holder) => debug.field("owner", &format_args!("{}", describe(family, holder))),
    };
    debug.field("waiters", &count_waits(family, object));
}

/// How many threads wait for `object`.
pub(crate) fn count_waits(family: &Family, object: &Object) -> usize {
    let number = object.id().number();
    let waits = family.waits();
    waits.iter().filter(|wait| wait.object == number).count()
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Lock");
        describe_lock(&mut debug, &self.state().raw, &self.object);
        debug.finish()
    }
}

impl<'a> LockGuard<'a> {
    pub(crate) fn parts(&self) -> (&'a RawLock, &'a Object, Holder) {
        (&self.lock.state().raw, &self.lock.object, self.me)
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").finish_non_exhaustive()
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A copy in a forked process holds nothing: the lock is the other's.
        if self
            .lock
            .object
            .family()
            .is_some_and(|family| family.me() == self.me.member())
        {
            self.lock.state().raw.release(self.me);
        }
    }
}
