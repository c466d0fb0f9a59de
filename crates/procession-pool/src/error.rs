//! What can go wrong in making a pool, and with an item.

use std::fmt;
use std::time::Duration;

use procession_primitives::{
    CodeError, Death, DecodeError, EncodeError, FamilyError, OutOfMemory, Panic, StartError,
};

use crate::worker::InitFailure;

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
    /// The initialiser's argument could not be encoded.
    Argument(EncodeError),
    /// The initialiser or finaliser is in no code that a worker would have too.
    Function(TaskError),
    /// The pool would be in a task of a pool in a task of a pool, and so on, too often.
    TooDeep,
    /// The trace file could not be made.
    Trace(std::io::Error),
    /// The output of workers cannot be captured.
    Output(std::io::Error),
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
            Self::Argument(error) => write!(f, "the argument of the initialiser {error}"),
            Self::Function(error) => error.fmt(f),
            Self::TooDeep => {
                let most = crate::MAX_DEPTH;
                write!(f, "a pool has at most {most} pools above it")
            }
            Self::Trace(error) => write!(f, "the trace file: {error}"),
            Self::Output(error) => write!(f, "the output of workers cannot be captured: {error}"),
            Self::OutOfMemory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::WorkerCount(_) | Self::TooDeep => None,
            Self::Argument(error) => Some(error),
            Self::Function(error) => Some(error),
            Self::Trace(error) | Self::Output(error) => Some(error),
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
    /// It took longer than this, its time-out and grace, and was ended with its worker, which was
    /// replaced.
    TimedOut(Duration),
    /// It was not wanted any more: cancelled, killed, or stopped by the failure of another item.
    Cancelled,
    /// It has cost as many workers as it may: how each one died.
    CrashLimit(Box<[Death]>),
    /// The initialiser failed in every worker.
    InitFailed(Box<InitFailure>),
    /// The pool has replaced as many workers as it may.
    RestartLimit(usize),
    /// The pool has no workers left and cannot start any.
    NoWorkers(Box<str>),
    /// The pool was closed or terminated, or belongs to another process.
    Closed,
    /// [`join`](crate::Pool::join) of a pool that was not closed: it would wait for ever.
    NotClosed,
    /// [`join`](crate::Pool::join) in a callback, for which it would wait.
    InCallback,
    /// The outcome was handed out before.
    Taken,
    /// There was no outcome when the time to wait for it was up.
    Unfinished,
    /// The death of a worker has broken the executor, which was asked to break so.
    Broken(Box<Death>),
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
            Self::TimedOut(after) => write!(f, "ended since it took longer than {after:?}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::CrashLimit(deaths) => {
                write!(f, "given up after the death of {} workers", deaths.len())?;
                let last = deaths.last();
                last.map_or(Ok(()), |death| write!(f, "; the last: {death}"))
            }
            Self::InitFailed(failure) => write!(f, "the initialiser failed: {failure}"),
            Self::RestartLimit(most) => write!(f, "the pool has replaced {most} workers"),
            Self::NoWorkers(why) => write!(f, "the pool has no workers: {why}"),
            Self::Closed => f.write_str("the pool takes no more tasks"),
            Self::NotClosed => f.write_str("the pool is still open"),
            Self::InCallback => f.write_str("a callback cannot wait for the end of its pool"),
            Self::Taken => f.write_str("the outcome was handed out before"),
            Self::Unfinished => f.write_str("not finished in time"),
            Self::Broken(death) => write!(f, "the executor was broken: worker {death}"),
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
