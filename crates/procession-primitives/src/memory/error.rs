//! [`SharedMemoryError`]: what can go wrong with a piece of shared memory.

use std::{error::Error, fmt, io};

/// Why a [`SharedMemory`](crate::SharedMemory) could not be made, attached or used.
#[derive(Debug)]
#[non_exhaustive]
pub enum SharedMemoryError {
    /// The name cannot name a segment.
    InvalidName {
        /// The refused name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A size of zero bytes was asked for, or a received descriptor is empty.
    ZeroSize,
    /// The name is taken, and what holds it is not left over from a dead creator.
    AlreadyExists {
        /// The taken name.
        name: String,
    },
    /// Nothing has this name (any more).
    Missing {
        /// The name looked for.
        name: String,
    },
    /// Something has this name, but it was not made by this library. If that is expected (a segment of
    /// Python, C, ...), attach with [`SharedMemory::open_foreign`](crate::SharedMemory::open_foreign).
    Foreign {
        /// The name looked for.
        name: String,
        /// What told it from one of ours.
        reason: &'static str,
    },
    /// The segment has fewer bytes than needed.
    TooSmall {
        /// The name of the segment.
        name: String,
        /// Bytes asked for.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The segment has more bytes than the exact number asked for.
    TooLarge {
        /// The name of the segment.
        name: String,
        /// Bytes asked for.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The machine (or the control group) has less free memory than asked for.
    OutOfMemory {
        /// Bytes asked for, with the bookkeeping.
        requested: u64,
        /// Bytes that may be taken now.
        available: u64,
    },
    /// `/dev/shm`, where named segments live, has less room than asked for. Containers often limit it to
    /// 64 MiB (`docker run --shm-size`).
    NoSpace {
        /// Bytes asked for, with the bookkeeping.
        requested: u64,
        /// Bytes free in `/dev/shm`.
        available: u64,
    },
    /// The received descriptor is not a memory file sealed against shrinking, so its sender could take the memory
    /// away while it is used.
    Unsealed,
    /// The operation is for the creator of the segment.
    NotCreator {
        /// The name of the segment.
        name: String,
    },
    /// The operation needs a name, and this memory is anonymous.
    Anonymous,
    /// The access goes past the end.
    OutOfBounds {
        /// First byte of the access.
        offset: usize,
        /// Length of the access in bytes.
        len: usize,
        /// Length of the memory in bytes.
        size: usize,
    },
    /// The operating system refused.
    Os {
        /// What was being done.
        operation: &'static str,
        /// What it answered.
        source: io::Error,
    },
}

impl SharedMemoryError {
    pub(super) fn os(operation: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Os {
            operation,
            source: errno.into(),
        }
    }
}

impl fmt::Display for SharedMemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name, reason } => {
                write!(f, "{name:?} cannot name a shared memory segment: {reason}")
            }
            Self::ZeroSize => f.write_str("shared memory of zero bytes"),
            Self::AlreadyExists { name } => {
                write!(f, "the shared memory segment {name:?} exists already")
            }
            Self::Missing { name } => write!(f, "there is no shared memory segment {name:?}"),
            Self::Foreign { name, reason } => {
                write!(
                    f,
                    "the shared memory segment {name:?} was not made by this library ({reason})"
                )
            }
            Self::TooSmall {
                name,
                needed,
                found,
            } => {
                write!(
                    f,
                    "the shared memory segment {name:?} has {found} bytes, {needed} are needed"
                )
            }
            Self::TooLarge {
                name,
                needed,
                found,
            } => {
                write!(
                    f,
                    "the shared memory segment {name:?} has {found} bytes, exactly {needed} were asked for"
                )
            }
            Self::OutOfMemory {
                requested,
                available,
            } => {
                write!(
                    f,
                    "{requested} bytes of shared memory asked for, {available} bytes of memory available"
                )
            }
            Self::NoSpace {
                requested,
                available,
            } => {
                write!(
                    f,
                    "{requested} bytes of shared memory asked for, {available} bytes free in /dev/shm"
                )
            }
            Self::Unsealed => {
                f.write_str("the descriptor is not a memory file sealed against shrinking")
            }
            Self::NotCreator { name } => write!(
                f,
                "the shared memory segment {name:?} belongs to another creator"
            ),
            Self::Anonymous => {
                f.write_str("anonymous shared memory has no name; send its descriptor")
            }
            Self::OutOfBounds { offset, len, size } => {
                write!(
                    f,
                    "{len} bytes at offset {offset} do not fit in shared memory of {size} bytes"
                )
            }
            Self::Os { operation, source } => write!(f, "cannot {operation}: {source}"),
        }
    }
}

impl Error for SharedMemoryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}
