//! `Value<T>`: a number that processes share.

use std::fmt;
use std::time::Duration;

use procession_primitives::Kind;

use crate::Plain;
use crate::error::LockError;
use crate::guarded::{Access, Guarded};
use crate::handle::{CreateError, deadline_after, kinds};
use crate::lock::describe_lock;

/// A value that processes share, to be read and written as a whole.
///
/// A [`Mutex`](crate::Mutex) that can also be used without naming the lock. To count, see
/// [`Atomic`](crate::Atomic).
///
/// # Process death
///
/// As [`Mutex`](crate::Mutex).
///
/// # Differences from Python
///
/// The lock belongs to the value and is not recursive; `get` and `set` while this thread holds it
/// are [`LockError::Deadlock`].
///
/// # Examples
///
/// ```
/// use procession_sync::Value;
///
/// let total = Value::new(1.5_f64)?;
/// total.set(2.0).unwrap();
/// *total.lock().unwrap() += 1.0; // reading and writing in one
/// assert_eq!(total.get().unwrap(), 3.0);
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct Value<T> {
    pub(crate) guarded: Guarded<T>,
}

/// The value of a [`Value`], until dropped.
#[must_use = "the lock is let go of when the guard is dropped"]
pub struct ValueGuard<'a, T: Plain> {
    access: Access<'a, T>,
}

impl<T: Plain> Value<T> {
    /// Puts `value` into shared memory.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new(value: T) -> Result<Value<T>, CreateError> {
        let guarded = Guarded::copy_of(Kind::of::<T>(kinds::VALUE), &[value])?;
        Ok(Value { guarded })
    }

    /// A copy of the value.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub fn get(&self) -> Result<T, LockError<ValueGuard<'_, T>>> {
        Ok(*self.lock()?)
    }

    /// Replaces the value.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub fn set(&self, value: T) -> Result<(), LockError<ValueGuard<'_, T>>> {
        *self.lock()? = value;
        Ok(())
    }

    /// Takes the lock. Waits as long as it has to.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] and [`LockError::Inconsistent`] with the guard;
    /// [`LockError::Deadlock`]: this thread holds it already; [`LockError::Foreign`].
    #[doc(alias = "get_lock")]
    pub fn lock(&self) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        match self.guarded.lock(None) {
            Ok(access) => Ok(ValueGuard { access }),
            Err(error) => Err(error.map(|access| ValueGuard { access })),
        }
    }

    /// Takes the lock if nobody alive holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; others as [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        match self.guarded.try_lock() {
            Ok(access) => Ok(ValueGuard { access }),
            Err(error) => Err(error.map(|access| ValueGuard { access })),
        }
    }

    /// Takes the lock, waiting for it at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`]; others as [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        match self.guarded.lock(deadline_after(timeout)) {
            Ok(access) => Ok(ValueGuard { access }),
            Err(error) => Err(error.map(|access| ValueGuard { access })),
        }
    }
}

impl<'a, T: Plain> ValueGuard<'a, T> {
    /// Says that the value is in order again: no more [`LockError::Inconsistent`].
    pub fn mark_consistent(&mut self) {
        self.access.mark_consistent();
    }

    pub(crate) fn access(&self) -> &Access<'a, T> {
        &self.access
    }
}

impl<T: Plain> std::ops::Deref for ValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.access[0]
    }
}

impl<T: Plain> std::ops::DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.access[0]
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: Plain> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Value");
        describe_lock(&mut debug, &self.guarded.state().raw, &self.guarded.object);
        debug.finish_non_exhaustive()
    }
}

crate::guarded::guarded_handle!(Value, kinds::VALUE);
