//! `Array<T>`: a slice that processes share.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use procession_primitives::Kind;

use crate::Plain;
use crate::error::LockError;
use crate::guarded::{Access, Guarded};
use crate::handle::{CreateError, deadline_after, kinds};
use crate::lock::describe_lock;

/// A slice of plain data in shared memory, with its lock.
///
/// The guard derefs to `[T]`: every process reads and writes the same memory, nothing is copied.
/// To work on parts of it in several processes at once, see [`ArrayGuard::into_parts`].
///
/// # Process death
///
/// As [`Mutex`](crate::Mutex).
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::Array;
///
/// let array = Array::from_slice(&[1_u32, 2, 3])?;
/// let double = Process::spawn(|array: Array<u32>| {
///     array.lock().unwrap().iter_mut().for_each(|x| *x *= 2);
/// }, array.clone())?;
/// double.join()?;
/// assert_eq!(*array.lock().unwrap(), [2, 4, 6]);
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct Array<T> {
    pub(crate) guarded: Guarded<T>,
}

/// The elements of an [`Array`], until dropped.
#[must_use = "the lock is let go of when the guard is dropped"]
pub struct ArrayGuard<'a, T: Plain> {
    access: Access<'a, T>,
}

impl<T: Plain> Array<T> {
    /// `len` elements, all bits 0. Memory is used as it is written to.
    ///
    /// # Errors
    ///
    /// [`CreateError::OutOfMemory`]: arena or machine have less left than that, or it is more than
    /// half of the machine's memory.
    pub fn new(len: usize) -> Result<Array<T>, CreateError> {
        let guarded = Guarded::zeroed(Kind::of::<T>(kinds::ARRAY), len)?;
        Ok(Array { guarded })
    }

    /// A copy of `elements` in shared memory.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_slice(elements: &[T]) -> Result<Array<T>, CreateError> {
        let guarded = Guarded::copy_of(Kind::of::<T>(kinds::ARRAY), elements)?;
        Ok(Array { guarded })
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.guarded.data().len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the elements.
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    pub fn to_vec(&self) -> Result<Vec<T>, LockError<ArrayGuard<'_, T>>> {
        Ok(self.lock()?.to_vec())
    }

    /// Takes the lock. Waits as long as it has to.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] and [`LockError::Inconsistent`] with the guard;
    /// [`LockError::Deadlock`]: this thread holds it already; [`LockError::Foreign`].
    #[doc(alias = "get_lock")]
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        match self.guarded.lock(None) {
            Ok(access) => Ok(ArrayGuard { access }),
            Err(error) => Err(error.map(|access| ArrayGuard { access })),
        }
    }

    /// Takes the lock if nobody alive holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; others as [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        match self.guarded.try_lock() {
            Ok(access) => Ok(ArrayGuard { access }),
            Err(error) => Err(error.map(|access| ArrayGuard { access })),
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
    ) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        match self.guarded.lock(deadline_after(timeout)) {
            Ok(access) => Ok(ArrayGuard { access }),
            Err(error) => Err(error.map(|access| ArrayGuard { access })),
        }
    }
}

impl<'a, T: Plain> ArrayGuard<'a, T> {
    /// Says that the elements are in order again: no more [`LockError::Inconsistent`].
    pub fn mark_consistent(&mut self) {
        self.access.mark_consistent();
    }

    pub(crate) fn access(&self) -> &Access<'a, T> {
        &self.access
    }
}

impl<T: Plain> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.access
    }
}

impl<T: Plain> DerefMut for ArrayGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.access
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Plain> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Array");
        debug.field("len", &self.guarded.data().len());
        describe_lock(&mut debug, &self.guarded.state().raw, &self.guarded.object);
        debug.finish_non_exhaustive()
    }
}

crate::guarded::guarded_handle!(Array, kinds::ARRAY);
