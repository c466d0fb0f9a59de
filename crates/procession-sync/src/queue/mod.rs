//! `Queue<T>`: messages between processes, in order, each received once.

#[cfg(feature = "async")]
mod attempt;
mod builder;
mod core;
mod encode;
mod end;
mod error;
mod joinable;
mod put;
mod ring;
mod take;

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use procession_primitives::{Kind, Object, ObjectError, ObjectId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[cfg(feature = "async")]
pub(crate) use attempt::{Getting, Putting};
pub use builder::QueueBuilder;
pub use error::{GetError, PutError};
pub use joinable::{JoinError, JoinableQueue, TaskDoneError};

use self::core::{Bytes, Core, Message, Nothing, Patience, Refused};
use self::encode::{decode_all, decode_one, encode_behind};
use crate::error::Foreign;
use crate::handle::{CreateError, deadline_after, kinds};
use crate::lock::count_waits;
use crate::primitive::Ordering;

/// Values of a batch that are encoded before they are put.
const BATCH: usize = 256;
/// Bytes of a batch, as soon as it has these it is put.
const BATCH_BYTES: usize = 16 << 10;

/// This process has put something, or taken something.
const HAS_PUT: u32 = 1;
const HAS_GOT: u32 = 2;

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
/// not count itself among them.
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
    item: PhantomData<fn(T) -> T>,
}

/// A handle that puts into a [`Queue`].
pub struct Sender<T> {
    core: Core,
    senders: Object,
    item: PhantomData<fn(T)>,
}

/// A handle that takes out of a [`Queue`].
pub struct Receiver<T> {
    core: Core,
    receivers: Object,
    item: PhantomData<fn() -> T>,
}

fn name(words: &[AtomicU64; 3]) -> ObjectId {
    ObjectId::from_words([0, 1, 2].map(|index| words[index].load(Ordering::Relaxed)))
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
            item: PhantomData,
        }
    }

    /// A handle that can take only.
    #[must_use]
    pub fn receiver(&self) -> Receiver<T> {
        Receiver {
            core: self.core.clone(),
            receivers: self.receivers.clone(),
            item: PhantomData,
        }
    }

    /// Both sides apart: the queue ends when all senders are gone.
    #[must_use]
    pub fn split(self) -> (Sender<T>, Receiver<T>) {
        (self.sender(), self.receiver())
    }
}

/// Whether nobody is left at the side of `token`, seen from a process at the other side.
///
/// `one_sided`: how many handles of this process are for the side of `token` only. `used`: this
/// process has been at that side, which it can be again with a handle for both.
fn is_deserted(token: ObjectId, one_sided: bool, used: bool) -> bool {
    let standing = Object::standing(token);
    let mine = standing.here && (one_sided || used || !standing.was_shared);
    !standing.elsewhere && !mine
}

impl Core {
    fn has(&self, mark: u32) -> bool {
        self.object.marks().load(Ordering::Relaxed) & mark != 0
    }

    fn mark(&self, mark: u32) {
        if !self.has(mark) {
            self.object.marks().fetch_or(mark, Ordering::Relaxed);
        }
    }

    /// Whether nobody is left who could take anything.
    fn no_receivers(&self, senders: Option<&Object>) -> bool {
        // Every handle has the queue, all but the receivers have `senders`.
        let here = senders.map_or(0, Object::handles);
        let one_sided = self.object.handles() > here;
        is_deserted(name(&self.state().receivers), one_sided, self.has(HAS_GOT))
    }

    /// Whether nobody is left who could put anything.
    fn no_senders(&self, receivers: Option<&Object>) -> bool {
        let here = receivers.map_or(0, Object::handles);
        let one_sided = self.object.handles() > here;
        is_deserted(name(&self.state().senders), one_sided, self.has(HAS_PUT))
    }

    fn put_value<T: Serialize>(
        &self,
        senders: &Object,
        value: T,
        patience: Patience,
    ) -> Result<(), PutError<T>> {
        let Some(family) = self.object.family() else {
            return Err(PutError::Foreign(value));
        };
        let mut frames = Bytes::new();
        let message = match encode_behind(family, &value, &mut frames) {
            Ok(None) => Message::Frames(&frames, 1),
            Ok(Some(large)) => Message::Large(large),
            Err(error) => return Err(PutError::Encode(value, error)),
        };
        if self.is_too_large(&message) {
            return Err(PutError::TooLarge(value));
        }
        self.mark(HAS_PUT);
        let put = self.put(message, patience, || self.no_receivers(Some(senders)));
        put.map_err(|refused| refusal(refused, value))
    }

    fn is_too_large(&self, message: &Message<'_>) -> bool {
        let len = match message {
            Message::Frames(frames, _) => frames.len() as u64 - 8,
            Message::Large(large) => large.len as u64,
        };
        // A frame is filled up to a multiple of 8.
        let longest = self.state().max_message.load(Ordering::Relaxed);
        len > longest.checked_next_multiple_of(8).unwrap_or(u64::MAX)
    }

    fn put_values<T: Serialize>(
        &self,
        senders: &Object,
        values: impl IntoIterator<Item = T>,
    ) -> Result<usize, PutError<Vec<T>>> {
        let mut values = values.into_iter();
        let mut sent = 0;
        let mut batch: Vec<T> = Vec::new();
        let capacity = self.state().capacity.load(Ordering::Relaxed);
        let most = BATCH.min(usize::try_from(capacity.div_ceil(2)).unwrap_or(BATCH));
        let Some(family) = self.object.family() else {
            return Err(PutError::Foreign(values.collect()));
        };
        let forever = Patience::Until(None);
        let put =
            |message: Message<'_>| self.put(message, forever, || self.no_receivers(Some(senders)));
        self.mark(HAS_PUT);
        let mut frames = Bytes::with_capacity(BATCH_BYTES + encode::LONGEST_INLINE);
        loop {
            frames.clear();
            let mut last = None;
            while batch.len() < most && frames.len() < BATCH_BYTES {
                let Some(value) = values.next() else { break };
                let start = frames.len();
                match encode_behind(family, &value, &mut frames) {
                    Ok(None) if self.is_too_large(&Message::Frames(&frames[start..], 1)) => {
                        frames.truncate(start);
                        last = Some(Err(PutError::TooLarge(vec![value])));
                    }
                    Ok(None) => {
                        batch.push(value);
                        continue;
                    }
                    Ok(Some(large)) => last = Some(Ok((Message::Large(large), value))),
                    Err(error) => last = Some(Err(PutError::Encode(vec![value], error))),
                }
                break;
            }
            if batch.is_empty() && last.is_none() {
                return Ok(sent);
            }
            if !batch.is_empty() {
                sent += batch.len();
                match put(Message::Frames(&frames, batch.len() as u64)) {
                    Ok(()) => batch.clear(),
                    // Too much at once: one by one.
                    Err(Refused::Full) => self.put_each(senders, &mut batch)?,
                    Err(refused) => return Err(refusal(refused, batch)),
                }
            }
            match last {
                None => {}
                Some(Err(error)) => return Err(error),
                Some(Ok((message, value))) if self.is_too_large(&message) => {
                    return Err(PutError::TooLarge(vec![value]));
                }
                Some(Ok((message, value))) => {
                    put(message).map_err(|refused| refusal(refused, vec![value]))?;
                    sent += 1;
                }
            }
        }
    }

    fn put_each<T: Serialize>(
        &self,
        senders: &Object,
        batch: &mut Vec<T>,
    ) -> Result<(), PutError<Vec<T>>> {
        let mut values = batch.drain(..);
        while let Some(value) = values.next() {
            let put = self.put_value(senders, value, Patience::Until(None));
            if let Err(error) = put {
                return Err(error.map(|value| std::iter::once(value).chain(values).collect()));
            }
        }
        Ok(())
    }

    fn get_value<T: DeserializeOwned>(
        &self,
        receivers: &Object,
        patience: Patience,
        note: impl Fn(u64, u64),
    ) -> Result<T, GetError> {
        self.mark(HAS_GOT);
        let mut bytes = Bytes::new();
        let deserted = || self.no_senders(Some(receivers));
        let taken = self.take(1, patience, note, deserted, &mut bytes);
        decode_one(&bytes, taken.map_err(nothing)?).map_err(GetError::Decode)
    }

    fn get_values<T: DeserializeOwned>(
        &self,
        receivers: &Object,
        most: usize,
        patience: Patience,
        note: impl Fn(u64, u64),
    ) -> Result<Vec<T>, GetError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        self.mark(HAS_GOT);
        let mut bytes = Bytes::new();
        let deserted = || self.no_senders(Some(receivers));
        let taken = self.take(most as u64, patience, note, deserted, &mut bytes);
        let (mut values, mut failed) = (Vec::new(), None);
        decode_all(&bytes, taken.map_err(nothing)?, |value| match value {
            Ok(value) => values.push(value),
            Err(error) => failed = Some(error),
        });
        match failed {
            Some(error) if values.is_empty() => Err(GetError::Decode(error)),
            _ => Ok(values),
        }
    }

    fn describe(&self, mut debug: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        let state = self.state();
        debug
            .field("len", &self.len())
            .field("capacity", &state.capacity.load(Ordering::Relaxed))
            .field("closed", &self.is_closed());
        if let Some(family) = self.object.family() {
            debug.field("waiters", &count_waits(family, &self.object));
        }
        debug.finish()
    }
}

fn refusal<T>(refused: Refused, value: T) -> PutError<T> {
    match refused {
        Refused::Full => PutError::Full(value),
        Refused::TimedOut => PutError::TimedOut(value),
        Refused::Closed => PutError::Closed(value),
        Refused::Disconnected => PutError::Disconnected(value),
        Refused::OutOfMemory => PutError::OutOfMemory(value),
        Refused::Foreign => PutError::Foreign(value),
    }
}

fn nothing(nothing: Nothing) -> GetError {
    match nothing {
        Nothing::Empty => GetError::Empty,
        Nothing::TimedOut => GetError::TimedOut,
        Nothing::Closed => GetError::Closed,
        Nothing::Disconnected => GetError::Disconnected,
        Nothing::Foreign => GetError::Foreign,
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
    ($name:ident, $text:literal, $($token:ident: $kind:expr),*) => {
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
                $name {
                    core: self.core.clone(),
                    $($token: self.$token.clone(),)*
                    item: PhantomData,
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
                Ok($name {
                    core,
                    $($token,)*
                    item: PhantomData,
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
queue_handle!(Queue, "Queue", senders: SENDERS, receivers: RECEIVERS);
queue_handle!(Sender, "Sender", senders: SENDERS);
queue_handle!(Receiver, "Receiver", receivers: RECEIVERS);
