//! `RawValue` and `RawArray`: shared data without a lock.
//!
//! # Safety
//!
//! Elements are copied in and out with atomic operations only, a word or a byte at a time.
#![allow(unsafe_code, reason = "copies data that others may be writing")]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a piece is copied by a load and a store"
)]

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use procession_primitives::{Kind, Object, ObjectError};

use bytemuck::NoUninit;

use crate::Plain;
use crate::guarded::Data;
use crate::handle::{CreateError, kinds, shared_state};
use crate::primitive::Family;

#[repr(C)]
struct State {
    block: AtomicU64,
    len: AtomicU64,
}

shared_state!(State);

/// A slice of shared memory without a lock: elements are copied in and out.
///
/// What one process stores another one sees, at some time. Elements of 1, 2, 4 and 8 bytes are
/// copied as a whole; a larger one may be seen half-written by somebody else. Who needs more takes
/// an [`Array`](crate::Array).
///
/// # Examples
///
/// ```
/// use procession_sync::RawArray;
///
/// let scores = RawArray::from_slice(&[0.5_f64, 0.25])?;
/// scores.set(1, 0.75);
/// assert_eq!(scores.get(1), Some(0.75));
/// assert_eq!(scores.to_vec(), [0.5, 0.75]);
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct RawArray<T> {
    object: Object,
    data: Data<T>,
}

/// A shared value without a lock: copied in and out.
///
/// As one element of a [`RawArray`]. To count, see [`Atomic`](crate::Atomic).
///
/// # Examples
///
/// ```
/// use procession_sync::RawValue;
///
/// let progress = RawValue::new(0_u32)?;
/// progress.set(40);
/// assert_eq!(progress.get(), 40);
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct RawValue<T> {
    array: RawArray<T>,
}

impl<T: Plain + NoUninit> RawArray<T> {
    /// `len` elements, all bits 0. Memory is used as it is written to.
    ///
    /// # Errors
    ///
    /// [`CreateError::OutOfMemory`]: arena or machine have less left than that.
    pub fn new(len: usize) -> Result<RawArray<T>, CreateError> {
        Self::create(Kind::of::<T>(kinds::RAW_ARRAY), len)
    }

    /// A copy of `elements` in shared memory.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_slice(elements: &[T]) -> Result<RawArray<T>, CreateError> {
        let array = Self::new(elements.len())?;
        array.write(0, elements);
        Ok(array)
    }

    fn create(kind: Kind, len: usize) -> Result<RawArray<T>, CreateError> {
        let family = Family::current()?;
        let (object, data, block) = Data::create(family, kind, size_of::<State>(), len)?;
        // SAFETY: just made, with a state in front.
        let state = unsafe { object.get::<State>() };
        state.block.store(block, Ordering::Relaxed);
        state.len.store(len as u64, Ordering::Relaxed);
        Ok(RawArray { object, data })
    }

    fn from_object(object: Object) -> Result<RawArray<T>, ObjectError> {
        // SAFETY: the kind says that it was made with a state in front.
        let state = unsafe { object.get::<State>() };
        let (block, len) = (&state.block, &state.len);
        let (block, len) = (block.load(Ordering::Relaxed), len.load(Ordering::Relaxed));
        let data = Data::open(&object, size_of::<State>(), block, len)?;
        Ok(RawArray { object, data })
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of element `index`; `None` beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        (index < self.len()).then(|| {
            // SAFETY: within the elements.
            let at = unsafe { self.data.as_ptr().add(index) };
            // SAFETY: an element of shared memory.
            unsafe { load(at) }
        })
    }

    /// Stores `value` as element `index`.
    ///
    /// # Panics
    ///
    /// If `index` is beyond the end.
    #[track_caller]
    pub fn set(&self, index: usize, value: T) {
        assert!(index < self.len(), "index {index} of {}", self.len());
        // SAFETY: within the elements.
        let at = unsafe { self.data.as_ptr().add(index) };
        // SAFETY: an element of shared memory.
        unsafe { store(at, &value) };
    }

    /// Stores `elements` from element `start` on.
    ///
    /// # Panics
    ///
    /// If they do not fit.
    #[track_caller]
    pub fn write(&self, start: usize, elements: &[T]) {
        let fits = start <= self.len() && elements.len() <= self.len() - start;
        assert!(
            fits,
            "{} elements from {start} on, of {}",
            elements.len(),
            self.len()
        );
        for (index, element) in elements.iter().enumerate() {
            // SAFETY: checked above.
            let at = unsafe { self.data.as_ptr().add(start + index) };
            // SAFETY: an element of shared memory.
            unsafe { store(at, element) };
        }
    }

    /// A copy of all elements, one after the other.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        (0..self.len())
            .filter_map(|index| self.get(index))
            .collect()
    }
}

impl<T: Plain + NoUninit> RawValue<T> {
    /// Puts `value` into shared memory.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new(value: T) -> Result<RawValue<T>, CreateError> {
        let array = RawArray::create(Kind::of::<T>(kinds::RAW_VALUE), 1)?;
        array.set(0, value);
        Ok(RawValue { array })
    }

    /// A copy of the value.
    #[must_use]
    pub fn get(&self) -> T {
        // SAFETY: the one element of shared memory.
        unsafe { load(self.array.data.as_ptr()) }
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        self.array.set(0, value);
    }
}

/// # Safety
///
/// `at` is an element in shared memory, which is written with [`store`] only.
unsafe fn load<T: Plain>(at: *const T) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr();
    copy_pieces::<T>(|offset, size| {
        let (from, to) = (at.wrapping_byte_add(offset), to.wrapping_byte_add(offset));
        // SAFETY: an aligned piece of each, both within a `T`.
        unsafe {
            match size {
                8 => to
                    .cast::<u64>()
                    .write(atomic::<AtomicU64>(from).load(RELAXED)),
                4 => to
                    .cast::<u32>()
                    .write(atomic::<AtomicU32>(from).load(RELAXED)),
                2 => to
                    .cast::<u16>()
                    .write(atomic::<AtomicU16>(from).load(RELAXED)),
                _ => to
                    .cast::<u8>()
                    .write(atomic::<AtomicU8>(from).load(RELAXED)),
            }
        }
    });
    // SAFETY: all bytes are written, and every bit pattern is a `T`.
    unsafe { value.assume_init() }
}

/// # Safety
///
/// `at` is an element in shared memory.
unsafe fn store<T: Plain + NoUninit>(at: *mut T, value: &T) {
    let from = ptr::from_ref(value);
    copy_pieces::<T>(|offset, size| {
        let (from, to) = (from.wrapping_byte_add(offset), at.wrapping_byte_add(offset));
        // SAFETY: an aligned piece of each, both within a `T`, which has no padding.
        unsafe {
            match size {
                8 => atomic::<AtomicU64>(to).store(from.cast::<u64>().read(), RELAXED),
                4 => atomic::<AtomicU32>(to).store(from.cast::<u32>().read(), RELAXED),
                2 => atomic::<AtomicU16>(to).store(from.cast::<u16>().read(), RELAXED),
                _ => atomic::<AtomicU8>(to).store(from.cast::<u8>().read(), RELAXED),
            }
        }
    });
}

const RELAXED: Ordering = Ordering::Relaxed;

/// # Safety
///
/// `at` is an aligned piece of an element in shared memory.
unsafe fn atomic<'a, A>(at: *const impl Sized) -> &'a A {
    // SAFETY: as promised by the caller; all access to it is atomic.
    unsafe { &*at.cast::<A>() }
}

/// Cuts a `T` into pieces that can be copied at once: as large as its alignment allows.
fn copy_pieces<T>(mut copy: impl FnMut(usize, usize)) {
    let piece = align_of::<T>().min(8);
    let (mut offset, size) = (0, size_of::<T>());
    while offset < size {
        copy(offset, piece);
        offset += piece;
    }
}

macro_rules! raw_handle {
    ($name:ident, $kind:expr, $($object:ident).+, $make:expr) => {
        impl<T> PartialEq for $name<T> {
            /// Whether both are handles of one object.
            fn eq(&self, other: &Self) -> bool {
                self.$($object).+ == other.$($object).+
            }
        }

        impl<T> Eq for $name<T> {}

        impl<T> serde::Serialize for $name<T> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.$($object).+.serialize(serializer)
            }
        }

        impl<'de, T: Plain + NoUninit> serde::Deserialize<'de> for $name<T> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let object = Object::deserialize_as(Kind::of::<T>($kind), deserializer)?;
                let array = RawArray::from_object(object).map_err(serde::de::Error::custom)?;
                Ok($make(array))
            }
        }
    };
}

raw_handle!(RawArray, kinds::RAW_ARRAY, object, |array| array);
raw_handle!(RawValue, kinds::RAW_VALUE, array.object, |array| RawValue {
    array
});

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        RawArray {
            object: self.object.clone(),
            data: self.data,
        }
    }
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        RawValue {
            array: self.array.clone(),
        }
    }
}

impl<T: Plain + NoUninit + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}

impl<T: Plain + NoUninit + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
