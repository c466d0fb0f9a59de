//! Why nothing was put into a queue, or taken out of it.

use std::fmt;

use procession_primitives::{DecodeError, EncodeError};

/// A value was not put into a queue. It comes back.
#[non_exhaustive]
pub enum PutError<T> {
    /// The queue is full.
    Full(T),
    /// The queue was full until the time-out passed.
    TimedOut(T),
    /// Somebody has closed the queue.
    Closed(T),
    /// The queue is full, and nobody is left who could take anything: all processes that had the
    /// queue are gone, or have dropped it.
    Disconnected(T),
    /// The encoded value is longer than the queue allows.
    TooLarge(T),
    /// The value could not be encoded.
    Encode(T, EncodeError),
    /// There is no shared memory left for the value.
    OutOfMemory(T),
    /// This process does not belong to the family of the queue.
    Foreign(T),
}

impl<T> PutError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value)
            | Self::TimedOut(value)
            | Self::Closed(value)
            | Self::Disconnected(value)
            | Self::TooLarge(value)
            | Self::Encode(value, _)
            | Self::OutOfMemory(value)
            | Self::Foreign(value) => value,
        }
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> PutError<U> {
        match self {
            Self::Full(value) => PutError::Full(f(value)),
            Self::TimedOut(value) => PutError::TimedOut(f(value)),
            Self::Closed(value) => PutError::Closed(f(value)),
            Self::Disconnected(value) => PutError::Disconnected(f(value)),
            Self::TooLarge(value) => PutError::TooLarge(f(value)),
            Self::Encode(value, error) => PutError::Encode(f(value), error),
            Self::OutOfMemory(value) => PutError::OutOfMemory(f(value)),
            Self::Foreign(value) => PutError::Foreign(f(value)),
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::TimedOut(_) => "TimedOut(..)",
            Self::Closed(_) => "Closed(..)",
            Self::Disconnected(_) => "Disconnected(..)",
            Self::TooLarge(_) => "TooLarge(..)",
            Self::Encode(_, error) => return write!(f, "Encode(.., {error:?})"),
            Self::OutOfMemory(_) => "OutOfMemory(..)",
            Self::Foreign(_) => "Foreign(..)",
        })
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::TimedOut(_) => "the queue was full until the time-out passed",
            Self::Closed(_) => "the queue is closed",
            Self::Disconnected(_) => "the queue is full, and nobody is left to take anything",
            Self::TooLarge(_) => "the value is longer than the queue allows",
            Self::Encode(_, error) => return write!(f, "the value {error}"),
            Self::OutOfMemory(_) => "no shared memory is left for the value",
            Self::Foreign(_) => "the queue belongs to another family of processes",
        })
    }
}

impl<T> std::error::Error for PutError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Nothing was taken out of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// The queue is empty.
    Empty,
    /// The queue was empty until the time-out passed.
    TimedOut,
    /// The queue is closed, and nothing is left in it.
    Closed,
    /// The queue is empty, and nobody is left who could put anything: all processes that had the
    /// queue are gone, or have dropped it.
    Disconnected,
    /// A message was taken, but it could not be decoded. It is lost; the queue is as good as before.
    Decode(DecodeError),
    /// This process does not belong to the family of the queue.
    Foreign,
}

impl GetError {
    /// Whether nothing will come any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Closed | Self::Disconnected)
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty",
            Self::TimedOut => "the queue was empty until the time-out passed",
            Self::Closed => "the queue is closed",
            Self::Disconnected => "the queue is empty, and nobody is left to put anything",
            Self::Decode(error) => return write!(f, "the message {error}"),
            Self::Foreign => "the queue belongs to another family of processes",
        })
    }
}

impl std::error::Error for GetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decode(error) => Some(error),
            _ => None,
        }
    }
}
