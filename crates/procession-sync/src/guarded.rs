//! Data with its lock: what `Mutex`, `Value` and `Array` are made of.
//!
//! # Safety
//!
//! The data is reached by whoever holds the lock, and by nobody else.
#![allow(unsafe_code, reason = "lends the data to the holder of the lock")]

use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::time::Instant;

use procession_primitives::{Block, BlockId, Kind, Object, ObjectError, OutOfMemory, total_memory};

use crate::Plain;
use crate::error::LockError;
use crate::handle::{CreateError, shared_state};
use crate::lock::acquire_raw;
use crate::part::Parts;
use crate::primitive::{AtomicU32, AtomicU64, Family, Holder, Ordering, park_low};
use crate::raw_lock::{RawLock, Taken};

/// | word | meaning | who changes it |
/// |---|---|---|
/// | `raw` | who holds the data | see `raw_lock` |
/// | `inconsistent` | 1: a holder died, and nobody has said that the data is in order | the holder |
/// | `block` | where the data is, 0: behind these words | the maker |
/// | `len` | how many elements | the maker |
/// | `parts`, `parts_len` | of an array: the block that lists its parts while they are lent out, and how many there are | the holder |
#[repr(C)]
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) raw: RawLock,
    inconsistent: AtomicU32,
    pad: AtomicU32,
    block: AtomicU64,
    len: AtomicU64,
    pub(crate) parts: AtomicU64,
    pub(crate) parts_len: AtomicU64,
}

shared_state!(State);

/// `len` elements of shared memory with their lock.
pub(crate) struct Guarded<T> {
    pub(crate) object: Object,
    data: Data<T>,
}

/// From this size on it is asked how much memory the machine has.
const ASK_FROM: usize = 4 << 20;

/// Where the elements are in this process.
pub(crate) struct Data<T> {
    at: NonNull<T>,
    len: usize,
}

impl<T> Clone for Data<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Data<T> {}

// SAFETY: an address in shared memory, which means the same to all threads.
unsafe impl<T: Send + Sync> Send for Data<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Data<T> {}

impl<T> Clone for Guarded<T> {
    fn clone(&self) -> Self {
        Guarded {
            object: self.object.clone(),
            data: self.data,
        }
    }
}

impl<T: Plain> Data<T> {
    /// Makes an object of a state of `state` bytes with `len` zeroed elements behind it, or in a
    /// block of their own. Returns the block's name, 0 for none.
    pub(crate) fn create(
        family: &'static Family,
        kind: Kind,
        state: usize,
        len: usize,
    ) -> Result<(Object, Data<T>, u64), CreateError> {
        const { assert!(align_of::<T>() <= 4096, "the type's alignment is too large") };
        let bytes = size_of::<T>()
            .checked_mul(len)
            .ok_or(CreateError::Invalid("more bytes than there can be"))?;
        let at = data_at::<T>(state);
        let inline = align_of::<T>() <= 64 && bytes <= Object::LARGEST.saturating_sub(at);
        if inline {
            let object = Object::create(family, kind, at + bytes)?;
            let data = Data::find(family, object.offset() + at as u64, len)?;
            return Ok((object, data, 0));
        }
        if bytes >= ASK_FROM && total_memory().is_some_and(|total| bytes as u64 > total / 2) {
            return Err(OutOfMemory::new(bytes).into());
        }
        let object = Object::create(family, kind, state)?;
        let block = object.adopt(Block::zeroed(family, bytes)?);
        let (offset, _) = object.locate(block).ok_or(ObjectError::Freed)?;
        let data = Data::find(family, offset, len)?;
        Ok((object, data, block.to_word()))
    }

    /// Finds the elements of an object that another process made.
    pub(crate) fn open(
        object: &Object,
        state: usize,
        block: u64,
        len: u64,
    ) -> Result<Data<T>, ObjectError> {
        let family = object.family().ok_or(ObjectError::Foreign)?;
        let len = usize::try_from(len).map_err(|_| ObjectError::WrongKind)?;
        let bytes = size_of::<T>()
            .checked_mul(len)
            .ok_or(ObjectError::WrongKind)?;
        let (offset, room) = match BlockId::from_word(block) {
            Some(block) => object.locate(block).ok_or(ObjectError::Freed)?,
            None => {
                let at = data_at::<T>(state);
                (
                    object.offset() + at as u64,
                    Object::LARGEST.saturating_sub(at),
                )
            }
        };
        if bytes > room {
            return Err(ObjectError::WrongKind);
        }
        Data::find(family, offset, len)
    }

    fn find(family: &'static Family, offset: u64, len: usize) -> Result<Data<T>, ObjectError> {
        let found = family.arena().address(offset, len * size_of::<T>());
        Ok(Data {
            at: found.ok_or(ObjectError::WrongKind)?.cast(),
            len,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// `len` elements from `start` on, which are there.
    pub(crate) fn part(&self, start: usize, len: usize) -> Data<T> {
        debug_assert!(start + len <= self.len);
        // SAFETY: within the elements.
        let at = unsafe { self.at.add(start) };
        Data { at, len }
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.at.as_ptr()
    }

    /// # Safety
    ///
    /// Nobody writes to the elements during `'a`.
    pub(crate) unsafe fn slice<'a>(&self) -> &'a [T] {
        // SAFETY: `len` elements of mapped memory, aligned, of a type that allows every bit
        // pattern; the caller keeps writers away and the object alive.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }

    /// # Safety
    ///
    /// The elements are the caller's alone during `'a`.
    pub(crate) unsafe fn slice_mut<'a>(&self) -> &'a mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

/// Where the data begins behind a state of `state` bytes.
fn data_at<T>(state: usize) -> usize {
    state.next_multiple_of(align_of::<T>().clamp(8, 64))
}

impl<T: Plain> Guarded<T> {
    /// `len` elements, all 0.
    pub(crate) fn zeroed(kind: Kind, len: usize) -> Result<Guarded<T>, CreateError> {
        let family = Family::current()?;
        let (object, data, block) = Data::create(family, kind, size_of::<State>(), len)?;
        let guarded = Guarded { object, data };
        let state = guarded.state();
        state.block.store(block, Ordering::Relaxed);
        state.len.store(len as u64, Ordering::Relaxed);
        Ok(guarded)
    }

    /// A copy of `elements`.
    pub(crate) fn copy_of(kind: Kind, elements: &[T]) -> Result<Guarded<T>, CreateError> {
        let guarded = Self::zeroed(kind, elements.len())?;
        // SAFETY: just made: nobody else has it.
        unsafe { guarded.data.slice_mut() }.copy_from_slice(elements);
        Ok(guarded)
    }

    pub(crate) fn from_object(object: Object) -> Result<Guarded<T>, ObjectError> {
        // SAFETY: the kind says that it is one of ours.
        let state = unsafe { object.get::<State>() };
        let block = state.block.load(Ordering::Relaxed);
        let len = state.len.load(Ordering::Relaxed);
        let data = Data::open(&object, size_of::<State>(), block, len)?;
        Ok(Guarded { object, data })
    }

    pub(crate) fn state(&self) -> &State {
        // SAFETY: made with a state in front.
        unsafe { self.object.get::<State>() }
    }

    pub(crate) fn data(&self) -> Data<T> {
        self.data
    }

    pub(crate) fn lock(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Access<'_, T>, LockError<Access<'_, T>>> {
        let family = self.object.family().ok_or(LockError::Foreign)?;
        let me = family.holder();
        loop {
            // Read before the parts are looked at: their end is news.
            let news = family.news();
            let taken = acquire_raw(&self.state().raw, &self.object, family, me, deadline)
                .map_err(|error| error.map(|never: Infallible| match never {}))?;
            let access = self.access(me, taken);
            let lent = &self.state().parts;
            if lent.load(Ordering::Relaxed) == 0 {
                return access;
            }
            match self.with_parts(access) {
                Some(access) => return access,
                None if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(LockError::TimedOut);
                }
                None => {
                    let _waiting = family.wait_on(self.object.id().number());
                    let seen = lent.load(Ordering::Relaxed);
                    park_low(family, lent, seen, news, deadline);
                }
            }
        }
    }

    /// What becomes of `access` to an array whose parts were lent out; `None` if some still are,
    /// and the lock is let go of.
    #[cold]
    fn with_parts<'a>(
        &'a self,
        access: Result<Access<'a, T>, LockError<Access<'a, T>>>,
    ) -> Option<Result<Access<'a, T>, LockError<Access<'a, T>>>> {
        let (taken, error) = match access {
            Ok(taken) => (taken, None),
            Err(LockError::OwnerDied(taken)) => (taken, Some(true)),
            Err(LockError::Inconsistent(taken)) => (taken, Some(false)),
            Err(error) => return Some(Err(error)),
        };
        let died = match crate::part::settle(&taken) {
            Parts::Out => return None,
            Parts::Back => false,
            Parts::OwnerDied => true,
        };
        if died {
            taken.mark_inconsistent();
        }
        Some(match error {
            None if !died => Ok(taken),
            Some(false) if !died => Err(LockError::Inconsistent(taken)),
            _ => Err(LockError::OwnerDied(taken)),
        })
    }

    pub(crate) fn try_lock(&self) -> Result<Access<'_, T>, LockError<Access<'_, T>>> {
        let family = self.object.family().ok_or(LockError::Foreign)?;
        let me = family.holder();
        let taken = self.state().raw.try_acquire(family, me);
        let access = self.access(me, taken.ok_or(LockError::WouldBlock)?);
        if self.state().parts.load(Ordering::Relaxed) == 0 {
            return access;
        }
        self.with_parts(access)
            .unwrap_or(Err(LockError::WouldBlock))
    }

    fn access(&self, me: Holder, taken: Taken) -> Result<Access<'_, T>, LockError<Access<'_, T>>> {
        let access = Access {
            guarded: self,
            me,
            unsend: PhantomData,
        };
        let inconsistent = &self.state().inconsistent;
        if taken == Taken::FromDead {
            inconsistent.store(1, Ordering::Relaxed);
            return Err(LockError::OwnerDied(access));
        }
        match inconsistent.load(Ordering::Relaxed) {
            0 => Ok(access),
            _ => Err(LockError::Inconsistent(access)),
        }
    }
}

/// The data, as long as the lock is held.
pub(crate) struct Access<'a, T: Plain> {
    guarded: &'a Guarded<T>,
    me: Holder,
    unsend: PhantomData<*const ()>,
}

// SAFETY: a shared guard only lends the data, which is `Sync`.
unsafe impl<T: Plain> Sync for Access<'_, T> {}

impl<'a, T: Plain> Access<'a, T> {
    pub(crate) fn mark_consistent(&self) {
        self.guarded
            .state()
            .inconsistent
            .store(0, Ordering::Relaxed);
    }

    pub(crate) fn guarded(&self) -> &'a Guarded<T> {
        self.guarded
    }

    pub(crate) fn data(&self) -> Data<T> {
        self.guarded.data
    }

    pub(crate) fn parts(&self) -> (&'a RawLock, &'a Object, Holder) {
        (&self.guarded.state().raw, &self.guarded.object, self.me)
    }

    /// A dead holder was met while the lock was let go of for a moment.
    pub(crate) fn mark_inconsistent(&self) {
        self.guarded
            .state()
            .inconsistent
            .store(1, Ordering::Relaxed);
    }
}

impl<T: Plain> Deref for Access<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lock is held.
        unsafe { self.guarded.data.slice() }
    }
}

impl<T: Plain> DerefMut for Access<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the lock is held, and `&mut self` makes the borrow exclusive.
        unsafe { self.guarded.data.slice_mut() }
    }
}

impl<T: Plain> Drop for Access<'_, T> {
    fn drop(&mut self) {
        // A copy in a forked process holds nothing: the lock is the other's.
        let family = self.guarded.object.family();
        if family.is_some_and(|family| family.me() == self.me.member()) {
            self.guarded.state().raw.release(self.me);
        }
    }
}

/// Implements what handles made of [`Guarded`] have in common.
macro_rules! guarded_handle {
    ($name:ident, $kind:expr) => {
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                $name {
                    guarded: self.guarded.clone(),
                }
            }
        }

        impl<T> PartialEq for $name<T> {
            /// Whether both are handles of one object.
            fn eq(&self, other: &Self) -> bool {
                self.guarded.object == other.guarded.object
            }
        }

        impl<T> Eq for $name<T> {}

        impl<T> serde::Serialize for $name<T> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.guarded.object.serialize(serializer)
            }
        }

        impl<'de, T: crate::Plain> serde::Deserialize<'de> for $name<T> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let kind = procession_primitives::Kind::of::<T>($kind);
                let object = procession_primitives::Object::deserialize_as(kind, deserializer)?;
                let guarded = crate::guarded::Guarded::from_object(object)
                    .map_err(serde::de::Error::custom)?;
                Ok($name { guarded })
            }
        }
    };
}

pub(crate) use guarded_handle;
