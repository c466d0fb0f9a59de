//! The sync layer.
mod array;
mod atomic;
mod barrier;
mod condition;
mod error;
mod event;
#[cfg(feature = "async")]
mod future;
mod guarded;
mod handle;
mod inspect;
mod lock;
mod monitor;
mod mutex;
mod once;
mod part;
mod plain;
mod primitive;
mod queue;
mod raw;
mod raw_lock;
#[cfg(feature = "async")]
mod reactor;
mod rlock;
mod rwlock;
mod semaphore;
mod tally;
mod value;

pub use array::{Array, ArrayGuard};
pub use atomic::{Atomic, AtomicNumber};
pub use barrier::{Barrier, BarrierError};
pub use bytemuck;
pub use condition::{Condition, WaitError, WaitGuard};
pub use error::{Foreign, LockError, NotOwner};
pub use event::Event;
#[cfg(feature = "async")]
pub use future::{EventWait, Get, Put};
pub use handle::CreateError;
pub use inspect::{Deadlock, Holding, Step, Waiter, find_deadlock, holdings, waiters};
pub use lock::{Lock, LockGuard};
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceLock};
pub use part::Part;
pub use plain::Plain;
pub use procession_primitives::{
    DecodeError, EncodeError, Error, ObjectError, OutOfMemory, Result, init,
};
pub use queue::{
    GetError, JoinError, JoinableQueue, PutError, Queue, QueueBuilder, Receiver, Sender,
    TaskDoneError,
};
pub use raw::{RawArray, RawValue};
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{
    AcquireError, BoundedSemaphore, BoundedSemaphorePermit, ReleaseError, Semaphore,
    SemaphorePermit,
};
pub use value::{Value, ValueGuard};
