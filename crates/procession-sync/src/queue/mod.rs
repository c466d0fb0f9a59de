//! `Queue<T>`: messages between processes, in order, each received once.
//!
//! # Safety
//!
//! Names a word for longer than the handle that keeps it: the arena is never unmapped.
#![allow(unsafe_code, reason = "names a word for longer than the handle")]

#[cfg(feature = "async")]
mod attempt;
mod builder;
mod bytes;
mod core;
mod encode;
mod end;
mod error;
mod joinable;
mod memory;
mod pace;
mod put;
mod ring;
mod take;
mod values;

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use procession_primitives::{Kind, Object, ObjectError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[cfg(feature = "async")]
pub(crate) use attempt::{Getting, Putting};
pub use builder::QueueBuilder;
pub use error::{GetError, PutError};
pub use joinable::{JoinError, JoinableQueue, TaskDoneError};

use self::core::{Core, Patience, State};
use self::values::name;
use crate::error::Foreign;
use crate::handle::{CreateError, deadline_after, kinds};
use crate::primitive::{AtomicU32, Ordering, wake};

const SENDERS: Kind = Kind::new(kinds::SENDERS).announced();
const RECEIVERS: Kind = Kind::new(kinds::RECEIVERS).announced();

/// A queue between processes: many may put, many may take, each message is received once.
///
/// Messages come out in the order in which they went in. Any serde type can be sent, also handles
/// of locks, queues and arrays; values are encoded in `put`, so that it is the caller who gets an
/// encoding error or panic. Any message size goes: up to 8 KiB are copied through a ring, longer
/// ones are written once and read in place.
///
/// The queue is bounded by a number of messages and by bytes: when it is full, `put` waits.
/// [`close`](Self::close) ends it for all, once it is empty. Handles are cheap to clone and can be
/// sent anywhere; [`sender`](Self::sender) and [`receiver`](Self::receiver) make handles for one
/// side only.
///
/// # Process death
///
/// Killed at any point, a process has put its message or has not, and has taken one or has not;
/// everybody else goes on. What a process took is gone with it: see [`JoinableQueue`] for a way to
/// know. If all processes that had a handle to put with are gone, an empty queue is
/// [`GetError::Disconnected`]. A process that has a [`Queue`] handle and never put anything does
/// not count itself among them: where another thread is still to put its first message, give it a
/// [`sender`](Self::sender) first.
///
/// # Limits
///
/// A queue that is put into itself, or two that are put into each other, keep each other for as
/// long as nobody takes them out. [`close`](Self::close) waits for a process that was stopped in
/// the middle of a put.
///
/// # Differences from Python
///
/// There is no feeder thread: when `put` returns, the message is in the queue, `len` and `is_empty`
/// are exact, and the process can end at once. `close` is for all processes, and what is in the
/// queue can still be taken.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::Queue;
///
/// let queue = Queue::<String>::bounded(10)?;
/// let child = Process::spawn(|queue: Queue<String>| {
///     for n in 0..100 {
///         queue.put(format!("message {n}")).unwrap(); // waits when 10 are there
///     }
/// }, queue.clone())?;
/// for n in 0..100 {
///     assert_eq!(queue.get()?, format!("message {n}"));
/// }
/// child.join()?;
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct Queue<T> {
    core: Core,
    senders: Object,
    receivers: Object,
    _bell: Bell<fn(T) -> T>,
}

/// A handle that puts into a [`Queue`].
pub struct Sender<T> {
    core: Core,
    senders: Object,
    _bell: Bell<fn(T)>,
}

/// A handle that takes out of a [`Queue`].
pub struct Receiver<T> {
    core: Core,
    receivers: Object,
    _bell: Bell<fn() -> T>,
}

/// The last field of a handle for one side: when the handle counts no more, those who wait at the
/// other side look again who is left. Of other processes there is news; this is for the threads of
/// this one.
struct Bell<T> {
    flag: Option<&'static AtomicU32>,
    item: PhantomData<T>,
}

impl<T> Bell<T> {
    /// One that wakes those who sleep on `flag`, or nobody.
    fn new(flag: Option<&AtomicU32>) -> Bell<T> {
        Bell {
            // SAFETY: the arena is never unmapped. The object may be gone when the bell rings: a
            // wake-up that comes for nothing is harmless.
            flag: flag.map(|flag| unsafe { &*std::ptr::from_ref(flag) }),
            item: PhantomData,
        }
    }
}

impl<T> Drop for Bell<T> {
    fn drop(&mut self) {
        if let Some(flag) = self.flag {
            wake(flag, u32::MAX);
        }
    }
}

impl<T> Queue<T> {
    /// A queue for up to 1,048,576 messages, as long as they fit into 256 MiB and, without those
    /// of more than 8 KiB, into 32 MiB.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new() -> Result<Queue<T>, CreateError> {
        Self::builder().build()
    }

    /// A queue for up to `capacity` messages, as long as they fit into 256 MiB.
    ///
    /// # Errors
    ///
    /// As [`QueueBuilder::build`].
    pub fn bounded(capacity: usize) -> Result<Queue<T>, CreateError> {
        Self::builder().capacity(capacity).build()
    }

    /// A queue with limits of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_sync::{PutError, Queue};
    ///
    /// let queue = Queue::<String>::builder().capacity(100).max_message(1 << 10).build()?;
    /// let long = "x".repeat(2 << 10);
    /// assert!(matches!(queue.put(long), Err(PutError::TooLarge(_))));
    /// # Ok::<(), procession_sync::Error>(())
    /// ```
    pub fn builder() -> QueueBuilder<T> {
        QueueBuilder::new()
    }

    /// A handle that can put only.
    #[must_use]
    pub fn sender(&self) -> Sender<T> {
        Sender {
            core: self.core.clone(),
            senders: self.senders.clone(),
            _bell: Bell::new(Some(&self.core.state().tail.sleepers)),
        }
    }

    /// A handle that can take only.
    #[must_use]
    pub fn receiver(&self) -> Receiver<T> {
        Receiver {
            core: self.core.clone(),
            receivers: self.receivers.clone(),
            _bell: Bell::new(Some(&self.core.state().head.sleepers)),
        }
    }

    /// Both sides apart: the queue ends when all senders are gone.
    #[must_use]
    pub fn split(self) -> (Sender<T>, Receiver<T>) {
        (self.sender(), self.receiver())
    }
}

/// The methods of handles that can put.
macro_rules! putting {
    ($name:ident) => {
        impl<T: Serialize> $name<T> {
            /// Puts `value`. Waits while the queue is full.
            ///
            /// # Errors
            ///
            /// [`PutError`], with the value: [`Closed`](PutError::Closed),
            /// [`Disconnected`](PutError::Disconnected), [`TooLarge`](PutError::TooLarge),
            /// [`Encode`](PutError::Encode), [`OutOfMemory`](PutError::OutOfMemory),
            /// [`Foreign`](PutError::Foreign).
            #[doc(alias = "send")]
            pub fn put(&self, value: T) -> Result<(), PutError<T>> {
                self.core
                    .put_value(&self.senders, value, Patience::Until(None))
            }

            /// Puts `value` if there is room.
            ///
            /// # Errors
            ///
            /// [`PutError::Full`]; others as [`put`](Self::put).
            #[doc(alias = "put_nowait")]
            #[doc(alias = "try_send")]
            pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
                self.core.put_value(&self.senders, value, Patience::No)
            }

            /// Puts `value`, waiting for room at most `timeout`.
            ///
            /// # Errors
            ///
            /// [`PutError::TimedOut`]; others as [`put`](Self::put).
            pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
                let patience = Patience::Until(deadline_after(timeout));
                self.core.put_value(&self.senders, value, patience)
            }

            /// Puts `value`, waiting for room at most until `deadline`.
            ///
            /// # Errors
            ///
            /// As [`put_timeout`](Self::put_timeout).
            pub fn put_deadline(&self, value: T, deadline: Instant) -> Result<(), PutError<T>> {
                let patience = Patience::Until(Some(deadline));
                self.core.put_value(&self.senders, value, patience)
            }

            /// Puts all `values`, many at once, which is several times as fast as one by one.
            /// Waits while the queue is full. Returns how many there were.
            ///
            /// # Errors
            ///
            /// [`PutError`], with those values that were taken from the iterator and not put;
            /// those before them are in the queue.
            pub fn put_many(
                &self,
                values: impl IntoIterator<Item = T>,
            ) -> Result<usize, PutError<Vec<T>>> {
                self.core.put_values(&self.senders, values)
            }
        }
    };
}

/// The methods of handles that can take.
macro_rules! getting {
    ($name:ident) => {
        impl<T: DeserializeOwned> $name<T> {
            /// Takes the first message. Waits while there is none.
            ///
            /// # Errors
            ///
            /// [`GetError::Closed`], [`GetError::Disconnected`], [`GetError::Decode`],
            /// [`GetError::Foreign`].
            #[doc(alias = "recv")]
            pub fn get(&self) -> Result<T, GetError> {
                let forever = Patience::Until(None);
                self.core.get_value(&self.receivers, forever, |_, _| {})
            }

            /// Takes the first message, if there is one.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`]; others as [`get`](Self::get).
            #[doc(alias = "get_nowait")]
            #[doc(alias = "try_recv")]
            pub fn try_get(&self) -> Result<T, GetError> {
                self.core
                    .get_value(&self.receivers, Patience::No, |_, _| {})
            }

            /// Takes the first message, waiting for one at most `timeout`.
            ///
            /// # Errors
            ///
            /// [`GetError::TimedOut`]; others as [`get`](Self::get).
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
                let patience = Patience::Until(deadline_after(timeout));
                self.core.get_value(&self.receivers, patience, |_, _| {})
            }

            /// Takes the first message, waiting for one at most until `deadline`.
            ///
            /// # Errors
            ///
            /// As [`get_timeout`](Self::get_timeout).
            pub fn get_deadline(&self, deadline: Instant) -> Result<T, GetError> {
                let patience = Patience::Until(Some(deadline));
                self.core.get_value(&self.receivers, patience, |_, _| {})
            }

            /// Takes up to `most` messages at once, which is several times as fast as one by one.
            /// Waits while there is none.
            ///
            /// # Errors
            ///
            /// As [`get`](Self::get). A message that cannot be decoded is left out, and only an
            /// error if there is no other.
            ///
            /// There may be more in the queue than what was taken, also if that is less than
            /// `most`: a long message comes alone.
            pub fn get_many(&self, most: usize) -> Result<Vec<T>, GetError> {
                let forever = Patience::Until(None);
                self.core
                    .get_values(&self.receivers, most, forever, |_, _| {})
            }

            /// Takes message after message, waiting for each, until the queue is closed or nobody
            /// is left who could put anything.
            pub fn iter(&self) -> impl Iterator<Item = Result<T, GetError>> + '_ {
                std::iter::from_fn(|| match self.get() {
                    Err(error) if error.is_end() || error == GetError::Foreign => None,
                    got => Some(got),
                })
            }
        }
    };
}

/// The methods, and the ways to travel, of all handles. `tokens`: the fields besides `core`.
macro_rules! queue_handle {
    ($name:ident, $text:literal, $other:expr, $($token:ident: $kind:expr),*) => {
        impl<T> $name<T> {
            /// How many messages are in the queue.
            #[must_use]
            #[doc(alias = "qsize")]
            pub fn len(&self) -> usize {
                self.core.len() as usize
            }

            /// Whether no message is in the queue.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.core.len() == 0
            }

            /// Whether a short message would have to wait.
            #[must_use]
            pub fn is_full(&self) -> bool {
                self.core.is_full()
            }

            /// Most messages that are in the queue at once.
            #[must_use]
            pub fn capacity(&self) -> usize {
                self.core.state().capacity.load(Ordering::Relaxed) as usize
            }

            /// Ends the queue, for all processes: nothing more can be put; what is in it can still
            /// be taken. No effect where it is closed already.
            ///
            /// # Errors
            ///
            /// [`Foreign`]: this process does not belong to the family of the queue.
            pub fn close(&self) -> Result<(), Foreign> {
                self.core.close().map_err(|_| Foreign)
            }

            /// Whether somebody has closed the queue.
            #[must_use]
            pub fn is_closed(&self) -> bool {
                self.core.is_closed()
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                let other: fn(&State) -> Option<&AtomicU32> = $other;
                $name {
                    core: self.core.clone(),
                    $($token: self.$token.clone(),)*
                    _bell: Bell::new(other(self.core.state())),
                }
            }
        }

        impl<T> PartialEq for $name<T> {
            /// Whether both are handles of one queue.
            fn eq(&self, other: &Self) -> bool {
                self.core.object == other.core.object
            }
        }

        impl<T> Eq for $name<T> {}

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.core.describe(f.debug_struct($text))
            }
        }

        impl<T> Serialize for $name<T> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                (&self.core.object, $(&self.$token,)*).serialize(serializer)
            }
        }

        impl<'de, T> Deserialize<'de> for $name<T> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (queue, $($token,)*) =
                    <(QueueObject<T>, $(replace!($token),)*)>::deserialize(deserializer)?;
                let core = queue.0.map_err(serde::de::Error::custom)?;
                $(
                    if $token.0.id() != name(&core.state().$token) {
                        return Err(serde::de::Error::custom(ObjectError::WrongKind));
                    }
                    let $token = $token.0;
                )*
                let other: fn(&State) -> Option<&AtomicU32> = $other;
                let bell = Bell::new(other(core.state()));
                Ok($name {
                    core,
                    $($token,)*
                    _bell: bell,
                })
            }
        }
    };
}

macro_rules! replace {
    (senders) => {
        Token<true>
    };
    (receivers) => {
        Token<false>
    };
}

/// A queue's own object as it arrives.
struct QueueObject<T>(Result<Core, ObjectError>, PhantomData<T>);

impl<'de, T> Deserialize<'de> for QueueObject<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize_as(Kind::of::<T>(kinds::QUEUE), deserializer)?;
        Ok(QueueObject(Core::new(object), PhantomData))
    }
}

/// The object that stands for a side of a queue, as it arrives.
struct Token<const SENDING: bool>(Object);

impl<'de, const SENDING: bool> Deserialize<'de> for Token<SENDING> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kind = if SENDING { SENDERS } else { RECEIVERS };
        Object::deserialize_as(kind, deserializer).map(Token)
    }
}

putting!(Queue);
putting!(Sender);
getting!(Queue);
getting!(Receiver);
queue_handle!(Queue, "Queue", |_| None, senders: SENDERS, receivers: RECEIVERS);
queue_handle!(Sender, "Sender", |state| Some(&state.tail.sleepers), senders: SENDERS);
queue_handle!(Receiver, "Receiver", |state| Some(&state.head.sleepers), receivers: RECEIVERS);
