//! Values in and out of a queue, and who is left at its ends.

use std::fmt;
use std::sync::atomic::AtomicU64;

use procession_primitives::{Object, ObjectId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bytes::Bytes;
use super::core::{Core, Message, Nothing, Patience, Refused, Taken, payload_len};
use super::encode::{Apart, LONGEST_INLINE, decode_all, decode_one, encode_behind};
use super::{GetError, PutError};
use crate::lock::count_waits;
use crate::primitive::Ordering;

/// Values of a batch that are encoded before they are put.
const BATCH: usize = 256;
/// Bytes of a batch, as soon as it has these it is put.
const BATCH_BYTES: usize = 16 << 10;

/// This process has put something, or taken something.
pub(crate) const HAS_PUT: u32 = 1;
pub(crate) const HAS_GOT: u32 = 2;

pub(crate) fn name(words: &[AtomicU64; 3]) -> ObjectId {
    ObjectId::from_words([0, 1, 2].map(|index| words[index].load(Ordering::Relaxed)))
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
    #[inline]
    pub(crate) fn has(&self, mark: u32) -> bool {
        self.object.marks().load(Ordering::Relaxed) & mark != 0
    }

    #[inline]
    pub(crate) fn mark(&self, mark: u32) {
        if !self.has(mark) {
            self.object.marks().fetch_or(mark, Ordering::Relaxed);
        }
    }

    /// Whether nobody is left who could take anything.
    pub(crate) fn no_receivers(&self, senders: Option<&Object>) -> bool {
        // Every handle has the queue, all but the receivers have `senders`.
        let here = senders.map_or(0, Object::handles);
        let one_sided = self.object.handles() > here;
        is_deserted(name(&self.state().receivers), one_sided, self.has(HAS_GOT))
    }

    /// Whether nobody is left who could put anything.
    pub(crate) fn no_senders(&self, receivers: Option<&Object>) -> bool {
        let here = receivers.map_or(0, Object::handles);
        let one_sided = self.object.handles() > here;
        is_deserted(name(&self.state().senders), one_sided, self.has(HAS_PUT))
    }

    pub(crate) fn put_value<T: Serialize>(
        &self,
        senders: &Object,
        value: T,
        patience: Patience,
    ) -> Result<(), PutError<T>> {
        let Some(family) = self.object.family() else {
            return Err(PutError::Foreign(value));
        };
        let mut frames = Bytes::new();
        let encoded = encode_behind(family, &value, &mut frames);
        if encoded.is_ok() && !self.is_too_large(&Message::Frames(&frames, 1)) {
            self.mark(HAS_PUT);
            if self.put_at_once(family, &frames, 1) {
                return Ok(());
            }
        }
        self.put_encoded(senders, value, encoded, &frames, patience)
    }

    #[cold]
    #[inline(never)]
    fn put_encoded<T>(
        &self,
        senders: &Object,
        value: T,
        encoded: Result<(), Box<Apart>>,
        frames: &[u8],
        patience: Patience,
    ) -> Result<(), PutError<T>> {
        let message = match encoded.map_err(|apart| *apart) {
            Ok(()) => Message::Frames(frames, 1),
            Err(Apart::Large(large)) => Message::Large(large),
            Err(Apart::Failed(error)) => return Err(PutError::Encode(value, error)),
        };
        if self.is_too_large(&message) {
            return Err(PutError::TooLarge(value));
        }
        self.mark(HAS_PUT);
        let put = self.put(message, patience, || self.no_receivers(Some(senders)));
        put.map_err(|refused| refusal(refused, value))
    }

    /// Of frames it is the first that counts.
    #[inline]
    pub(crate) fn is_too_large(&self, message: &Message<'_>) -> bool {
        let len = match *message {
            Message::Frames(frames, _) => payload_len(frames),
            Message::Large(ref large) => large.len,
        };
        len as u64 > self.state().max_message.load(Ordering::Relaxed)
    }

    pub(crate) fn put_values<T: Serialize>(
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
        let mut frames = Bytes::with_capacity(BATCH_BYTES + LONGEST_INLINE);
        loop {
            frames.clear();
            let mut last = None;
            while batch.len() < most && frames.len() < BATCH_BYTES {
                let Some(value) = values.next() else { break };
                let start = frames.len();
                match encode_behind(family, &value, &mut frames).map_err(|apart| *apart) {
                    Ok(()) if self.is_too_large(&Message::Frames(&frames[start..], 1)) => {
                        frames.truncate(start);
                        last = Some(Err(PutError::TooLarge(vec![value])));
                    }
                    Ok(()) => {
                        batch.push(value);
                        continue;
                    }
                    Err(Apart::Large(large)) => last = Some(Ok((Message::Large(large), value))),
                    Err(Apart::Failed(error)) => {
                        last = Some(Err(PutError::Encode(vec![value], error)));
                    }
                }
                break;
            }
            if batch.is_empty() && last.is_none() {
                return Ok(sent);
            }
            if !batch.is_empty() {
                sent += batch.len();
                let put = match put(Message::Frames(&frames, batch.len() as u64)) {
                    Ok(()) => {
                        batch.clear();
                        Ok(())
                    }
                    // Too much at once: one by one.
                    Err(Refused::Full) => self.put_each(senders, &mut batch),
                    Err(refused) => Err(refusal(refused, std::mem::take(&mut batch))),
                };
                if let Err(error) = put {
                    let next = match last {
                        None => Vec::new(),
                        Some(Ok((_, value))) => vec![value],
                        Some(Err(error)) => error.into_inner(),
                    };
                    return Err(error.map(|values| values.into_iter().chain(next).collect()));
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

    pub(crate) fn put_each<T: Serialize>(
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

    pub(crate) fn get_value<T: DeserializeOwned>(
        &self,
        receivers: &Object,
        patience: Patience,
        note: impl Fn(u64, u64),
    ) -> Result<T, GetError> {
        self.mark(HAS_GOT);
        let mut bytes = Bytes::new();
        let taken = match self.take_at_once(1, &note, &mut bytes) {
            Some(count) => Taken::Frames(count),
            None => self.wait_for_one(receivers, patience, note, &mut bytes)?,
        };
        decode_one(&bytes, taken).map_err(GetError::Decode)
    }

    #[cold]
    #[inline(never)]
    fn wait_for_one(
        &self,
        receivers: &Object,
        patience: Patience,
        note: impl Fn(u64, u64),
        bytes: &mut Bytes,
    ) -> Result<Taken, GetError> {
        let deserted = || self.no_senders(Some(receivers));
        self.take(1, patience, note, deserted, bytes)
            .map_err(nothing)
    }

    pub(crate) fn get_values<T: DeserializeOwned>(
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

    pub(crate) fn describe(&self, mut debug: fmt::DebugStruct<'_, '_>) -> fmt::Result {
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

pub(crate) fn refusal<T>(refused: Refused, value: T) -> PutError<T> {
    match refused {
        Refused::Full => PutError::Full(value),
        Refused::TimedOut => PutError::TimedOut(value),
        Refused::Closed => PutError::Closed(value),
        Refused::Disconnected => PutError::Disconnected(value),
        Refused::OutOfMemory => PutError::OutOfMemory(value),
        Refused::Foreign => PutError::Foreign(value),
    }
}

pub(crate) fn nothing(nothing: Nothing) -> GetError {
    match nothing {
        Nothing::Empty => GetError::Empty,
        Nothing::TimedOut => GetError::TimedOut,
        Nothing::Closed => GetError::Closed,
        Nothing::Disconnected => GetError::Disconnected,
        Nothing::Foreign => GetError::Foreign,
    }
}
