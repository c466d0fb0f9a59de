//! Where an encoded argument goes: small ones into the request, large ones into shared memory.

use crate::arena::{Block, OutOfMemory, Writer};
use crate::family::Family;
use crate::object::Passengers;
use crate::protocol::{Bytes, Payload};
use crate::wire::{EncodeError, Sink};

/// Arguments larger than this go through shared memory.
const INLINE: usize = 32 << 10;

/// Takes an encoded argument: small ones here, large ones into shared memory at once.
pub(super) struct Spill {
    family: &'static Family,
    small: Vec<u8>,
    large: Option<Writer>,
}

impl Spill {
    pub(super) fn new(family: &'static Family) -> Spill {
        Spill {
            family,
            small: Vec::new(),
            large: None,
        }
    }

    /// Has the argument keep the objects whose handles are in it.
    pub(super) fn carry(&mut self, passengers: &Passengers) -> Result<(), EncodeError> {
        if passengers.is_empty() {
            return Ok(());
        }
        if self.large.is_none() {
            self.spill(0)?;
        }
        match &self.large {
            Some(large) => passengers
                .board(large.id())
                .map_err(|error| EncodeError::Failed(error.to_string())),
            None => Ok(()),
        }
    }

    fn spill(&mut self, more: usize) -> Result<&mut Writer, OutOfMemory> {
        let mut large = Writer::new(self.family, 2 * INLINE + more)?;
        large.extend(&self.small)?;
        Ok(self.large.insert(large))
    }

    pub(super) fn finish(self) -> (Payload, Option<Block>) {
        match self.large {
            None => (Payload::Inline(Bytes(self.small)), None),
            Some(writer) => {
                let (block, len) = writer.finish();
                (Payload::Block(block.id(), len as u64), Some(block))
            }
        }
    }
}

impl Sink for Spill {
    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        match &mut self.large {
            Some(large) => large.push(byte),
            None => self.put(&[byte]),
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        if let Some(large) = &mut self.large {
            return large.extend(bytes);
        }
        if self.small.len() + bytes.len() <= INLINE {
            self.small.extend_from_slice(bytes);
            return Ok(());
        }
        self.spill(bytes.len())?.extend(bytes)
    }
}
