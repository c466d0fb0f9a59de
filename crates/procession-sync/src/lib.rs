//! Locks, queues, shared values and arrays between processes, which no `SIGKILL` can jam.
//!
//! ```
//! use procession_sync::{Process, Queue};
//!
//! fn main() -> procession_sync::Result<()> {
//!     procession_sync::init(); // first line of main
//!     let queue = Queue::<u64>::bounded(100)?;
//!     let squares = Process::spawn(|queue: Queue<u64>| {
//!         (0..1000).for_each(|n| queue.put(n * n).unwrap());
//!     }, queue.clone())?;
//!     let first: Vec<u64> = queue.iter().take(1000).collect::<Result<_, _>>()?;
//!     assert_eq!(first[999], 999 * 999);
//!     squares.join()?;
//!     Ok(())
//! }
//! ```
//!
//! | for | take | Python's name |
//! |---|---|---|
//! | one at a time | [`Lock`], [`RLock`]; with the data: [`Mutex`], [`RwLock`] | `Lock`, `RLock` |
//! | so many at a time | [`Semaphore`], [`BoundedSemaphore`] | the same |
//! | waiting for something | [`Event`], [`Condition`], [`Barrier`], [`Once`], [`OnceLock`] | `Event`, `Condition`, `Barrier` |
//! | messages | [`Queue`] ([`Sender`], [`Receiver`]), [`JoinableQueue`] | `Queue`, `JoinableQueue` |
//! | numbers and structs | [`Value`], [`Atomic`], [`RawValue`] | `Value`, `RawValue` |
//! | slices | [`Array`], [`RawArray`]; to hand out or send without a copy: [`Part`] | `Array`, `RawArray` |
//! | finding out why nothing goes on | [`inspect`] | |
//!
//! # Handles
//!
//! All of these are handles of something in the memory that a program's processes share. A handle
//! is cheap to clone, can be used from several threads, and can be sent to any process of the
//! program at any time: as an argument or result, inside a pool's task, through a queue, inside
//! another message. What it stands for is freed when the last handle is dropped, or its process
//! dead, and none is on its way. Encoded by other means than this library's (JSON, a file) a
//! handle is just a name: it can be decoded as long as somebody still has the object.
//!
//! A handle that is decoded in another program, after its object is gone, or as another type, is
//! a decoding error that says so. In a process that was forked by other means than
//! [`StartMethod::Fork`] handles do nothing; what can fail says `Foreign`.
//!
//! # When a process dies
//!
//! Killed at whatever instruction, a process leaves nothing stuck: what it held is free, and the
//! next holder of a lock is told ([`LockError::OwnerDied`]), its permits are back, a barrier it was
//! at is broken, its message is in the queue as a whole or not at all. Everybody who waits hears
//! of a death and looks again. The only thing that can keep others waiting is a process that is
//! alive and does not go on (`SIGSTOP`, an endless loop): nothing is taken from the living, and
//! time-outs are for that.
//!
//! # Waiting
//!
//! What waits comes as `x`, `try_x`, `x_timeout(Duration)` and mostly `x_deadline(Instant)`, on the
//! monotonic clock. It blocks the calling thread only. With the feature `async` events and queues
//! can be awaited: see [`future`].

mod array;
mod atomic;
mod barrier;
mod condition;
mod error;
mod event;
#[cfg(feature = "async")]
pub mod future;
mod guarded;
mod handle;
pub mod inspect;
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
mod waiters;

pub use array::{Array, ArrayGuard};
pub use atomic::{Atomic, AtomicNumber};
pub use barrier::{Barrier, BarrierError};
pub use bytemuck;
pub use condition::{Condition, WaitError, WaitGuard};
pub use error::{Foreign, LockError, NotOwner};
pub use event::Event;
pub use handle::CreateError;
pub use lock::{Lock, LockGuard};
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceLock};
pub use part::Part;
pub use plain::Plain;
pub use procession_primitives::{
    DecodeError, EncodeError, Error, ObjectError, OutOfMemory, Process, ProcessError, Result,
    StartError, StartMethod, init,
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
