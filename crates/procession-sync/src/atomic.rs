//! `Atomic<T>`: an atomic number that processes share.
//!
//! # Safety
//!
//! Lends an atomic in shared memory for as long as the handle is there.
#![allow(unsafe_code, reason = "lends an atomic in shared memory")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic;

use procession_primitives::{Kind, Object};

use crate::handle::{self, CreateError, kinds, shared_state};

/// Numbers that have an atomic form.
pub trait AtomicNumber: sealed::Sealed + Copy + 'static {
    /// The standard library's atomic for it.
    type Atomic: fmt::Debug + Sync;

    #[doc(hidden)]
    fn to_bits(self) -> u64;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($number:ty => $atomic:ident: $wide:ty),*) => {$(
        impl sealed::Sealed for $number {}
        impl AtomicNumber for $number {
            type Atomic = atomic::$atomic;

            fn to_bits(self) -> u64 {
                self as $wide as u64
            }
        }
    )*};
}

numbers! {
    bool => AtomicBool: u8, u8 => AtomicU8: u8, i8 => AtomicI8: u8, u16 => AtomicU16: u16,
    i16 => AtomicI16: u16, u32 => AtomicU32: u32, i32 => AtomicI32: u32, u64 => AtomicU64: u64,
    i64 => AtomicI64: u64, usize => AtomicUsize: u64, isize => AtomicIsize: u64
}

/// An atomic number that processes share: derefs to the standard library's atomic of that type.
///
/// # Process death
///
/// An operation has happened or has not; there is nothing to repair.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::Atomic;
/// use std::sync::atomic::Ordering;
///
/// let count = Atomic::new(0_u64)?;
/// let add = |count: Atomic<u64>| { count.fetch_add(20, Ordering::Relaxed); };
/// let other = Process::spawn(add, count.clone())?;
/// add(count.clone());
/// other.join()?;
/// assert_eq!(count.load(Ordering::Relaxed), 40);
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct Atomic<T> {
    object: Object,
    number: PhantomData<T>,
}

#[repr(C)]
struct State {
    bits: atomic::AtomicU64,
}

shared_state!(State);

impl<T: AtomicNumber> Atomic<T> {
    /// Puts `value` into shared memory.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new(value: T) -> Result<Atomic<T>, CreateError> {
        let (object, _) = handle::create::<State>(Kind::of::<T>(kinds::ATOMIC))?;
        // SAFETY: just made, with room for that.
        let state = unsafe { object.get::<State>() };
        // The number's own bytes come first: little-endian.
        state.bits.store(value.to_bits(), atomic::Ordering::Relaxed);
        Ok(Atomic {
            object,
            number: PhantomData,
        })
    }
}

impl<T: AtomicNumber> Deref for Atomic<T> {
    type Target = T::Atomic;

    fn deref(&self) -> &T::Atomic {
        // SAFETY: of this kind and type, so made by `new` with room for it.
        let state = unsafe { self.object.get::<State>() };
        // SAFETY: an atomic has the size and bits of its number, of at most 8 bytes, and the
        // object is used through this type only. A `bool` is 0 or 1: nothing else is stored.
        unsafe { &*std::ptr::from_ref(state).cast::<T::Atomic>() }
    }
}

impl<T> Clone for Atomic<T> {
    fn clone(&self) -> Self {
        Atomic {
            object: self.object.clone(),
            number: PhantomData,
        }
    }
}

impl<T> PartialEq for Atomic<T> {
    /// Whether both are handles of one object.
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl<T> Eq for Atomic<T> {}

impl<T: AtomicNumber> fmt::Debug for Atomic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> serde::Serialize for Atomic<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T: AtomicNumber> serde::Deserialize<'de> for Atomic<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize_as(Kind::of::<T>(kinds::ATOMIC), deserializer)?;
        Ok(Atomic {
            object,
            number: PhantomData,
        })
    }
}
