//! `RLock`: a lock that its holder can take again.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use procession_primitives::{Kind, Object, ObjectError};

use crate::error::{LockError, NotOwner};
use crate::handle::{self, CreateError, deadline_after, handle, kinds, shared_state};
use crate::lock::{acquire_raw, describe_lock, is_held};
use crate::primitive::{AtomicU32, Holder, Ordering};
use crate::raw_lock::{RawLock, Taken};

/// A lock that the thread which holds it can take again; it lets go as often as it took it.
///
/// Otherwise as [`Lock`](crate::Lock).
///
/// # Process death
///
/// As [`Lock`](crate::Lock): the next holder gets [`LockError::OwnerDied`] with the guard,
/// however often the dead one had taken it.
///
/// # Examples
///
/// ```
/// use procession_sync::RLock;
///
/// let lock = RLock::new()?;
/// let outer = lock.acquire().unwrap();
/// let inner = lock.acquire().unwrap();
/// assert_eq!(lock.count(), 2);
/// drop((inner, outer));
/// assert!(!lock.locked());
/// # Ok::<(), procession_sync::Error>(())
/// ```
#[derive(Clone)]
#[doc(alias = "ReentrantLock")]
pub struct RLock {
    object: Object,
}

#[repr(C)]
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) raw: RawLock,
    /// How often the holder has taken it. Only the holder's; whoever takes it anew sets it.
    pub(crate) count: AtomicU32,
}

shared_state!(State);
handle!(RLock, State, Kind::new(kinds::RLOCK));

/// Holds an [`RLock`], once more, until dropped.
///
/// # Drop
///
/// The last one lets go of the lock; wakes one that waits.
#[must_use = "the lock is let go of when the guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    me: Holder,
    unsend: PhantomData<*const ()>,
}

impl RLock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new() -> Result<RLock, CreateError> {
        let (object, _) = handle::create::<State>(Kind::new(kinds::RLOCK))?;
        Ok(RLock { object })
    }

    fn from_object(object: Object) -> Result<RLock, ObjectError> {
        Ok(RLock { object })
    }

    /// Takes the lock, or takes it again. Waits while another thread holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard; [`LockError::Foreign`].
    ///
    /// # Panics
    ///
    /// If it is held 2³² - 1 times.
    #[doc(alias = "lock")]
    pub fn acquire(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.acquire_until(None)
    }

    /// Takes the lock if no other living thread holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; others as [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn try_acquire(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        let family = self.object.family().ok_or(LockError::Foreign)?;
        let me = family.holder();
        if let Some(guard) = self.again(me) {
            return Ok(guard);
        }
        let taken = self.state().raw.try_acquire(family, me);
        self.first(me, taken.ok_or(LockError::WouldBlock)?)
    }

    /// Takes the lock, waiting for it at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`]; others as [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.acquire_until(deadline_after(timeout))
    }

    /// Takes the lock, waiting for it at most until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_deadline(
        &self,
        deadline: Instant,
    ) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.acquire_until(Some(deadline))
    }

    fn acquire_until(
        &self,
        deadline: Option<Instant>,
    ) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        let family = self.object.family().ok_or(LockError::Foreign)?;
        let me = family.holder();
        if let Some(guard) = self.again(me) {
            return Ok(guard);
        }
        let taken = acquire_raw(&self.state().raw, &self.object, family, me, deadline);
        self.first(
            me,
            taken.map_err(|error| error.map(|never| match never {}))?,
        )
    }

    /// Takes the lock again if `me` holds it.
    fn again(&self, me: Holder) -> Option<RLockGuard<'_>> {
        let state = self.state();
        if state.raw.holder() != Some(me) {
            return None;
        }
        let count = state.count.load(Ordering::Relaxed).checked_add(1);
        let count = count.expect("a recursive lock can be held 2^32 - 1 times");
        state.count.store(count, Ordering::Relaxed);
        Some(self.held(me))
    }

    fn first(&self, me: Holder, taken: Taken) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.state().count.store(1, Ordering::Relaxed);
        match taken {
            Taken::Free => Ok(self.held(me)),
            Taken::FromDead => Err(LockError::OwnerDied(self.held(me))),
        }
    }

    fn held(&self, me: Holder) -> RLockGuard<'_> {
        RLockGuard {
            lock: self,
            me,
            unsend: PhantomData,
        }
    }

    /// Lets go, once, of a lock whose guard was forgotten.
    ///
    /// # Errors
    ///
    /// [`NotOwner`]: the calling thread does not hold it.
    pub fn release(&self) -> Result<(), NotOwner> {
        let family = self.object.family().ok_or(NotOwner)?;
        let me = family.holder();
        if self.state().raw.holder() != Some(me) {
            return Err(NotOwner);
        }
        self.let_go(me);
        Ok(())
    }

    fn let_go(&self, me: Holder) {
        let state = self.state();
        let count = state.count.load(Ordering::Relaxed).saturating_sub(1);
        state.count.store(count, Ordering::Relaxed);
        if count == 0 {
            state.raw.release(me);
        }
    }

    /// Whether somebody alive holds the lock at this moment.
    #[must_use]
    pub fn locked(&self) -> bool {
        is_held(&self.state().raw, &self.object)
    }

    /// How often its holder has taken the lock; 0 where nobody holds it.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self.locked() {
            true => self.state().count.load(Ordering::Relaxed),
            false => 0,
        }
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RLock");
        describe_lock(&mut debug, &self.state().raw, &self.object);
        debug.field("count", &self.count()).finish()
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").finish_non_exhaustive()
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        // A copy in a forked process holds nothing: the lock is the other's.
        if self
            .lock
            .object
            .family()
            .is_some_and(|family| family.me() == self.me.member())
        {
            self.lock.let_go(self.me);
        }
    }
}

impl<'a> RLockGuard<'a> {
    pub(crate) fn parts(&self) -> (&'a State, &'a Object, Holder) {
        (self.lock.state(), &self.lock.object, self.me)
    }
}
