//! Values to messages and back.

use procession_primitives::{
    DecodeError, EncodeError, OutOfMemory, Sink, Writer, all_arrived, arriving_in, boarding,
    decode, encode,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::primitive::Family;
use crate::queue::core::{Message, give_back_scratch, next_frame, payload, scratch};
use crate::queue::ring::Frame;

/// Longest payload that is copied through the ring; longer ones go in blocks.
pub(crate) const LONGEST_INLINE: usize = 8 << 10;

/// Takes the bytes of one value: as a frame, or in a block when they are many.
struct Spill {
    family: &'static Family,
    frames: Vec<u8>,
    /// Where the frame of this value starts.
    start: usize,
    large: Option<Writer>,
}

impl Spill {
    fn spill(&mut self, more: usize) -> Result<&mut Writer, OutOfMemory> {
        let mut large = Writer::new(self.family, 2 * LONGEST_INLINE + more)?;
        large.extend(&self.frames[self.start + 8..])?;
        self.frames.truncate(self.start);
        Ok(self.large.insert(large))
    }
}

impl Sink for Spill {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        if let Some(large) = &mut self.large {
            return large.extend(bytes);
        }
        if self.frames.len() - self.start - 8 + bytes.len() > LONGEST_INLINE {
            return self.spill(bytes.len())?.extend(bytes);
        }
        self.frames.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        if self.large.is_some() || self.frames.len() - self.start - 8 >= LONGEST_INLINE {
            return self.put(&[byte]);
        }
        self.frames.push(byte);
        Ok(())
    }
}

/// Encodes `value` behind what is in `frames`, or apart from it. Returns both.
pub(crate) fn encode_behind<T: Serialize>(
    family: &'static Family,
    value: &T,
    frames: Vec<u8>,
) -> (Vec<u8>, Result<Option<Message>, EncodeError>) {
    let start = frames.len();
    let mut sink = Spill {
        family,
        frames,
        start,
        large: None,
    };
    sink.frames.extend_from_slice(&[0; 8]);
    let (encoded, passengers) = boarding(|| encode(value, &mut sink));
    let whole = encoded.and_then(|()| {
        if !passengers.is_empty() && sink.large.is_none() {
            sink.spill(0)?;
        }
        Ok(())
    });
    let mut frames = sink.frames;
    if let Err(error) = whole {
        frames.truncate(start);
        return (frames, Err(error));
    }
    let Some(large) = sink.large else {
        let len = frames.len() - start - 8;
        frames[start..start + 8].copy_from_slice(&Frame::Inline(len).to_word().to_ne_bytes());
        frames.resize(start + 8 + len.next_multiple_of(8), 0);
        return (frames, Ok(None));
    };
    let (block, len) = large.finish();
    let boarded = passengers.board(block.id());
    let message = match boarded {
        Ok(()) => Ok(Some(Message::Block {
            carrier: !passengers.is_empty(),
            block,
            len,
        })),
        Err(error) => Err(EncodeError::Failed(error.to_string())),
    };
    (frames, message)
}

/// Encodes one value.
pub(crate) fn encode_one<T: Serialize>(
    family: &'static Family,
    value: &T,
) -> Result<Message, EncodeError> {
    let (frames, apart) = encode_behind(family, value, scratch());
    match apart {
        Ok(Some(message)) => {
            give_back_scratch(frames);
            Ok(message)
        }
        Ok(None) => Ok(Message::Frames(frames, 1)),
        Err(error) => {
            give_back_scratch(frames);
            Err(error)
        }
    }
}

/// How many bytes the values of a message have.
pub(crate) fn length(message: &Message) -> usize {
    match message {
        Message::Frames(frames, _) => payload(frames).len(),
        Message::Block { len, .. } => *len,
    }
}

/// Decodes all values of a message.
pub(crate) fn decode_all<T: DeserializeOwned>(
    message: Message,
    mut each: impl FnMut(Result<T, DecodeError>),
) {
    match message {
        Message::Frames(bytes, count) => {
            let mut frames = &bytes[..];
            for _ in 0..count {
                match next_frame(&mut frames) {
                    Some(payload) => each(decode(payload)),
                    None => break,
                }
            }
            give_back_scratch(bytes);
        }
        Message::Block {
            block,
            len,
            carrier,
        } => {
            let bytes = block.bytes().get(..len).unwrap_or_default();
            each(match carrier {
                false => decode(bytes),
                true => arriving_in(Some(block.id()), || {
                    let value = decode(bytes);
                    if value.is_ok() {
                        all_arrived();
                    }
                    value
                }),
            });
        }
    }
}

/// Decodes the value of a message of one.
#[inline]
pub(crate) fn decode_one<T: DeserializeOwned>(message: Message) -> Result<T, DecodeError> {
    let mut value = None;
    decode_all(message, |decoded| value = Some(decoded));
    value.unwrap_or_else(|| {
        Err(DecodeError::Failed(
            "the queue's memory was overwritten".into(),
        ))
    })
}
