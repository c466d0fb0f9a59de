//! Values to messages and back.

use procession_primitives::{
    Block, DecodeError, EncodeError, OutOfMemory, Passengers, Sink, Writer, all_arrived,
    arriving_in, boarding, decode_unguarded, encode_unguarded,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::primitive::Family;
use crate::queue::bytes::Bytes;
use crate::queue::core::{Taken, next_frame};
use crate::queue::ring::Frame;

/// Longest payload that is copied through the ring; longer ones go in blocks.
pub(crate) const LONGEST_INLINE: usize = 8 << 10;

/// A value in a block of its own: because it is long, or because there are handles in it.
pub(crate) struct Large {
    pub(crate) block: Block,
    pub(crate) len: usize,
    pub(crate) carrier: bool,
}

/// Takes the bytes of one value: behind other frames, or in a block when they are many.
struct Spill<'a> {
    family: &'static Family,
    frames: &'a mut Bytes,
    /// Where the payload of this value starts.
    start: usize,
    large: Option<Writer>,
}

impl Spill<'_> {
    #[cold]
    fn spill(&mut self, more: usize) -> Result<&mut Writer, OutOfMemory> {
        let mut large = Writer::new(self.family, 2 * LONGEST_INLINE + more)?;
        large.extend(&self.frames[self.start..])?;
        self.frames.truncate(self.start);
        Ok(self.large.insert(large))
    }

    #[cold]
    fn put_more(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        match &mut self.large {
            Some(large) => large.extend(bytes),
            None => self.spill(bytes.len())?.extend(bytes),
        }
    }

    /// Has the value keep the objects whose handles are in it.
    #[cold]
    fn carry(&mut self, passengers: &Passengers) -> Result<(), EncodeError> {
        let id = match &self.large {
            Some(large) => large.id(),
            None => self.spill(0)?.id(),
        };
        let boarded = passengers.board(id);
        boarded.map_err(|error| EncodeError::Failed(error.to_string()))
    }
}

impl Sink for Spill<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let len = self.frames.len() - self.start + bytes.len();
        if len > LONGEST_INLINE || self.large.is_some() {
            return self.put_more(bytes);
        }
        self.frames.extend(bytes);
        Ok(())
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        let len = self.frames.len() - self.start;
        if len >= LONGEST_INLINE || self.large.is_some() {
            return self.put_more(&[byte]);
        }
        self.frames.push(byte);
        Ok(())
    }
}

/// Why a value is not behind the other frames.
pub(crate) enum Apart {
    Large(Large),
    Failed(EncodeError),
}

/// Encodes `value` as a frame behind those in `frames`, or, if it is large, apart from them: then
/// `frames` is as it was. A panic of its `Serialize` is the caller's.
#[inline]
pub(crate) fn encode_behind<T: Serialize>(
    family: &'static Family,
    value: &T,
    frames: &mut Bytes,
) -> Result<(), Box<Apart>> {
    let start = frames.len();
    frames.push_word(0);
    let mut sink = Spill {
        family,
        frames,
        start: start + 8,
        large: None,
    };
    let (mut encoded, passengers) = boarding(|| encode_unguarded(value, &mut sink));
    if encoded.is_ok() && !passengers.is_empty() {
        encoded = sink.carry(&passengers);
    }
    if encoded.is_err() || sink.large.is_some() {
        let large = sink.large;
        frames.truncate(start);
        return Err(apart(encoded, large, !passengers.is_empty()));
    }
    let len = frames.len() - start - 8;
    frames.set_word(start, Frame::Inline(len).to_word());
    frames.fill_up();
    Ok(())
}

#[cold]
fn apart(encoded: Result<(), EncodeError>, large: Option<Writer>, carrier: bool) -> Box<Apart> {
    let large = encoded.map(|()| large.map(Writer::finish));
    Box::new(match large {
        Ok(Some((block, len))) => Apart::Large(Large {
            block,
            len,
            carrier,
        }),
        Ok(None) => Apart::Failed(EncodeError::Failed("nothing to put".to_owned())),
        Err(error) => Apart::Failed(error),
    })
}

/// Decodes all values of what was taken. A panic of their `Deserialize` is the caller's.
#[inline]
pub(crate) fn decode_all<T: DeserializeOwned>(
    bytes: &[u8],
    taken: Taken,
    mut each: impl FnMut(Result<T, DecodeError>),
) {
    match taken {
        Taken::Frames(count) => {
            let mut frames = bytes;
            for _ in 0..count {
                match next_frame(&mut frames) {
                    Some(payload) => each(decode_unguarded(payload)),
                    None => break,
                }
            }
        }
        Taken::Large(Large {
            block,
            len,
            carrier,
        }) => {
            let bytes = block.bytes().get(..len).unwrap_or_default();
            each(match carrier {
                false => decode_unguarded(bytes),
                true => arriving_in(Some(block.id()), || {
                    let value = decode_unguarded(bytes);
                    if value.is_ok() {
                        all_arrived();
                    }
                    value
                }),
            });
        }
    }
}

/// Decodes the value of what was taken as one.
#[inline]
pub(crate) fn decode_one<T: DeserializeOwned>(
    bytes: &[u8],
    taken: Taken,
) -> Result<T, DecodeError> {
    let mut value = None;
    decode_all(bytes, taken, |decoded| value = Some(decoded));
    value.unwrap_or_else(|| {
        Err(DecodeError::Failed(
            "the queue's memory was overwritten".into(),
        ))
    })
}
