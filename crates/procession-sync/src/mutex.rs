//! `Mutex<T>`: a value in shared memory with its lock.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use procession_primitives::Kind;

use crate::Plain;
use crate::error::LockError;
use crate::guarded::{Access, Guarded};
use crate::handle::{CreateError, deadline_after, kinds};
use crate::lock::{describe_lock, is_held};

/// A value of plain data in shared memory, for one thread of one process at a time.
///
/// Processes see the same bytes: nothing is encoded or copied. Handles are cheap to clone and can
/// be sent to any process of the program.
///
/// # Process death
///
/// If a process dies that holds the lock, the value may be half-way between two states. The next
/// one gets [`LockError::OwnerDied`] with the guard, to repair the value and call
/// [`mark_consistent`](MutexGuard::mark_consistent). Until somebody does, later ones get
/// [`LockError::Inconsistent`], with the guard.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::{LockError, Mutex};
///
/// let table = Mutex::new([0_u64; 4])?;
/// let crash = Process::spawn(|table: Mutex<[u64; 4]>| -> u64 {
///     let mut guard = table.lock().unwrap();
///     guard[0] = 1;
///     std::process::abort();
/// }, table.clone())?;
/// assert!(crash.join().is_err());
///
/// match table.lock() {
///     Err(LockError::OwnerDied(mut guard)) => {
///         *guard = [0; 4];
///         guard.mark_consistent();
///     }
///     other => panic!("{other:?}"),
/// }
/// assert_eq!(*table.lock().unwrap(), [0; 4]);
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct Mutex<T> {
    pub(crate) guarded: Guarded<T>,
}

/// The value of a [`Mutex`], until dropped.
///
/// # Drop
///
/// Lets go of the lock; wakes one that waits.
#[must_use = "the lock is let go of when the guard is dropped"]
pub struct MutexGuard<'a, T: Plain> {
    access: Access<'a, T>,
}

impl<T: Plain> Mutex<T> {
    /// Puts `value` into shared memory.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new(value: T) -> Result<Mutex<T>, CreateError> {
        let guarded = Guarded::copy_of(Kind::of::<T>(kinds::MUTEX), &[value])?;
        Ok(Mutex { guarded })
    }

    /// Takes the lock. Waits as long as it has to.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] and [`LockError::Inconsistent`] with the guard;
    /// [`LockError::Deadlock`]: this thread holds it already; [`LockError::Foreign`].
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        guard(self.guarded.lock(None))
    }

    /// Takes the lock if nobody alive holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; others as [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        guard(self.guarded.try_lock())
    }

    /// Takes the lock, waiting for it at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`]; others as [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        guard(self.guarded.lock(deadline_after(timeout)))
    }

    /// Takes the lock, waiting for it at most until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`lock_timeout`](Self::lock_timeout).
    pub fn lock_deadline(
        &self,
        deadline: Instant,
    ) -> Result<MutexGuard<'_, T>, LockError<MutexGuard<'_, T>>> {
        guard(self.guarded.lock(Some(deadline)))
    }

    /// Whether somebody alive holds the lock at this moment.
    #[must_use]
    pub fn locked(&self) -> bool {
        is_held(&self.guarded.state().raw, &self.guarded.object)
    }
}

type Locked<'a, T> = Result<MutexGuard<'a, T>, LockError<MutexGuard<'a, T>>>;

fn guard<'a, T: Plain>(taken: Result<Access<'a, T>, LockError<Access<'a, T>>>) -> Locked<'a, T> {
    match taken {
        Ok(access) => Ok(MutexGuard { access }),
        Err(error) => Err(error.map(|access| MutexGuard { access })),
    }
}

impl<'a, T: Plain> MutexGuard<'a, T> {
    /// Says that the value is in order again: no more [`LockError::Inconsistent`].
    pub fn mark_consistent(&mut self) {
        self.access.mark_consistent();
    }

    pub(crate) fn access(&self) -> &Access<'a, T> {
        &self.access
    }
}

impl<T: Plain> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.access[0]
    }
}

impl<T: Plain> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.access[0]
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: Plain> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Mutex");
        describe_lock(&mut debug, &self.guarded.state().raw, &self.guarded.object);
        debug.finish_non_exhaustive()
    }
}

crate::guarded::guarded_handle!(Mutex, kinds::MUTEX);
