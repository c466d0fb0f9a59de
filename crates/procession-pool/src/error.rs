//! What can go wrong in making a pool, and with an item.

use std::fmt;

use procession_primitives::{
    CodeError, Death, DecodeError, EncodeError, FamilyError, OutOfMemory, Panic, StartError,
};

/// A pool could not be made. Nothing of it is left.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolError {
    /// A pool needs at least one worker, and has room for 4000.
    WorkerCount(usize),
    /// The family cannot be used.
    Family(FamilyError),
    /// A worker could not be started.
    Start(StartError),
    /// There is no shared memory for the pool.
    OutOfMemory(OutOfMemory),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerCount(count) => {
                write!(
                    f,
                    "a pool has 1 to {} workers, not {count}",
                    crate::MAX_WORKERS
                )
            }
            Self::Family(error) => error.fmt(f),
            Self::Start(error) => write!(f, "a worker could not be started: {error}"),
            Self::OutOfMemory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::WorkerCount(_) => None,
            Self::Family(error) => Some(error),
            Self::Start(error) => Some(error),
            Self::OutOfMemory(error) => Some(error),
        }
    }
}

impl From<FamilyError> for PoolError {
    fn from(error: FamilyError) -> Self {
        Self::Family(error)
    }
}

impl From<OutOfMemory> for PoolError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

/// There is no value for an item.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TaskError {
    /// The function panicked. The worker lives on.
    Panicked(Box<Panic>),
    /// The worker died with this item in hand: a signal, or an `exit` in the function. Another
    /// one has taken its place.
    WorkerDied(Box<Death>),
    /// The item could not be encoded here, and was not sent.
    ItemEncode(Box<EncodeError>),
    /// The worker could not decode the item. It lives on.
    ItemDecode(Box<DecodeError>),
    /// The value could not be encoded. The worker lives on.
    ValueEncode(Box<str>),
    /// The value could not be decoded here.
    ValueDecode(Box<DecodeError>),
    /// The function is in no code that a worker would have too.
    Function(Box<CodeError>),
    /// The worker does not have the function: it runs other code than this process.
    NoSuchFunction(Box<str>),
    /// The pool has no workers left and cannot start any.
    NoWorkers(Box<str>),
    /// The pool was closed or terminated, or belongs to another process.
    Closed,
    /// [`join`](crate::Pool::join) of a pool that was not closed: it would wait for ever.
    NotClosed,
    /// The worker wrote something that is no outcome.
    Protocol,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => panic.fmt(f),
            Self::WorkerDied(death) => write!(f, "worker {death}"),
            Self::ItemEncode(error) => write!(f, "the item {error}"),
            Self::ItemDecode(error) => write!(f, "the item {error}"),
            Self::ValueEncode(error) => write!(f, "the value {error}"),
            Self::ValueDecode(error) => write!(f, "the value {error}"),
            Self::Function(error) => write!(f, "the function cannot be sent: {error}"),
            Self::NoSuchFunction(error) => {
                write!(f, "the worker does not have the function: {error}")
            }
            Self::NoWorkers(why) => write!(f, "the pool has no workers: {why}"),
            Self::Closed => f.write_str("the pool takes no more tasks"),
            Self::NotClosed => f.write_str("the pool is still open"),
            Self::Protocol => f.write_str("the worker wrote something that is no outcome"),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Panicked(panic) => Some(&**panic),
            Self::ItemEncode(error) => Some(&**error),
            Self::ItemDecode(error) | Self::ValueDecode(error) => Some(&**error),
            Self::Function(error) => Some(&**error),
            _ => None,
        }
    }
}
