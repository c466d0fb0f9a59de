//! What all handles have in common.
//!
//! # Safety
//!
//! The macros reach the state of an object of the kind that they are told; states are made of
//! atomics.
#![allow(
    unsafe_code,
    reason = "for the macros, which say why where they are used"
)]

use procession_primitives::{Family, FamilyError, Kind, Object, ObjectError, OutOfMemory, Shared};
use std::fmt;

/// The sorts of objects of this layer.
pub(crate) mod kinds {
    pub(crate) const LOCK: u32 = 1;
    pub(crate) const RLOCK: u32 = 2;
    pub(crate) const MUTEX: u32 = 3;
    pub(crate) const RWLOCK: u32 = 4;
    pub(crate) const SEMAPHORE: u32 = 5;
    pub(crate) const BOUNDED_SEMAPHORE: u32 = 6;
    pub(crate) const CONDITION: u32 = 7;
    pub(crate) const EVENT: u32 = 8;
    pub(crate) const BARRIER: u32 = 9;
    pub(crate) const ONCE: u32 = 10;
    pub(crate) const ONCE_LOCK: u32 = 11;
    pub(crate) const ATOMIC: u32 = 12;
    pub(crate) const VALUE: u32 = 13;
    pub(crate) const RAW_VALUE: u32 = 14;
    pub(crate) const ARRAY: u32 = 15;
    pub(crate) const RAW_ARRAY: u32 = 16;
    pub(crate) const QUEUE: u32 = 17;
    pub(crate) const SENDERS: u32 = 18;
    pub(crate) const RECEIVERS: u32 = 19;
    pub(crate) const TASKS: u32 = 20;
    pub(crate) const PART: u32 = 21;
}

/// A shared object cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum CreateError {
    /// There is no shared memory left for it, or less than it would need.
    OutOfMemory(OutOfMemory),
    /// The family of processes cannot be used.
    Family(FamilyError),
    /// The arguments make no sense; the text says why.
    Invalid(&'static str),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(error) => write!(f, "{error}"),
            Self::Family(error) => write!(f, "{error}"),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfMemory(error) => Some(error),
            Self::Family(error) => Some(error),
            Self::Invalid(_) => None,
        }
    }
}

impl From<OutOfMemory> for CreateError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl From<FamilyError> for CreateError {
    fn from(error: FamilyError) -> Self {
        Self::Family(error)
    }
}

impl From<ObjectError> for CreateError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::OutOfMemory(error) => Self::OutOfMemory(error),
            _ => Self::Invalid("the shared object is gone"),
        }
    }
}

/// Makes an object with room for a `T`.
pub(crate) fn create<T: Shared>(kind: Kind) -> Result<(Object, &'static Family), CreateError> {
    let family = Family::current()?;
    Ok((Object::create(family, kind, size_of::<T>())?, family))
}

/// Implements what a handle of one sort needs: its state, equality, and how it travels.
macro_rules! handle {
    ($name:ident $(<$t:ident : $bound:path>)?, $state:ty, $kind:expr) => {
        impl $(<$t: $bound>)? $name $(<$t>)? {
            #[inline]
            fn state(&self) -> &$state {
                // SAFETY: made with room for this state, and of a kind that is used for nothing
                // else.
                #[allow(unsafe_code, reason = "reaches the object's state")]
                unsafe {
                    self.object.get::<$state>()
                }
            }
        }

        impl $(<$t>)? PartialEq for $name $(<$t>)? {
            /// Whether both are handles of one object.
            fn eq(&self, other: &Self) -> bool {
                self.object == other.object
            }
        }

        impl $(<$t>)? Eq for $name $(<$t>)? {}

        impl $(<$t>)? serde::Serialize for $name $(<$t>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.object.serialize(serializer)
            }
        }

        impl<'de $(, $t: $bound)?> serde::Deserialize<'de> for $name $(<$t>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let object = procession_primitives::Object::deserialize_as($kind, deserializer)?;
                Self::from_object(object).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use handle;

/// Declares a type of atomics to be one that may lie in shared memory.
macro_rules! shared_state {
    ($name:ty) => {
        // SAFETY: made of atomics only, so every bit pattern is valid and every access defined.
        #[allow(unsafe_code, reason = "declares a type of atomics to be shareable")]
        unsafe impl procession_primitives::Shared for $name {}
    };
}

pub(crate) use shared_state;

/// When a time-out that begins now ends; `None`, for ever, where the clock does not go so far.
pub(crate) fn deadline_after(timeout: std::time::Duration) -> Option<std::time::Instant> {
    std::time::Instant::now().checked_add(timeout)
}

/// What an object's text form says of a holder: its pid, and whether it is this thread.
pub(crate) fn describe(family: &Family, holder: procession_primitives::Holder) -> String {
    if holder == family.holder() {
        return format!("this thread (pid {})", std::process::id());
    }
    match family.member_pid(holder.member()) {
        Some(pid) if family.is_alive(holder.member()) => {
            format!("pid {pid}, thread {}", holder.thread())
        }
        Some(pid) => format!("pid {pid}, dead"),
        None => "a dead process".to_owned(),
    }
}
