//! Makes queues.
//!
//! # Safety
//!
//! Reaches the state of the object that it has just made.
#![allow(unsafe_code, reason = "reaches the object's state")]

use std::marker::PhantomData;
use std::sync::atomic::AtomicU64;

use procession_primitives::{Block, Kind, Object, ObjectId};

use super::core::{Core, State};
use super::{Bell, Queue, RECEIVERS, SENDERS};
use crate::handle::{self, CreateError, kinds};
use crate::primitive::Ordering;

/// Most messages of a queue.
const LARGEST_CAPACITY: usize = 1 << 20;

/// Bytes in a queue before a put has to wait, unless said otherwise.
const MAX_BYTES: u64 = 256 << 20;

/// Makes a [`Queue`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct QueueBuilder<T> {
    capacity: usize,
    max_bytes: u64,
    max_message: u64,
    item: PhantomData<fn(T) -> T>,
}

impl<T> QueueBuilder<T> {
    pub(super) fn new() -> QueueBuilder<T> {
        QueueBuilder {
            capacity: LARGEST_CAPACITY,
            max_bytes: MAX_BYTES,
            max_message: u64::MAX,
            item: PhantomData,
        }
    }

    /// Most messages that are in the queue at once; 1,048,576 unless said otherwise, which is also
    /// the most there can be.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Most bytes that are in the queue at once; 256 MiB unless said otherwise. A message that is
    /// longer still goes when the queue is empty.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Longest message in bytes, as encoded: longer ones are [`PutError::TooLarge`](crate::PutError::TooLarge). No limit
    /// unless said otherwise.
    pub fn max_message(mut self, bytes: u64) -> Self {
        self.max_message = bytes;
        self
    }

    /// Makes the queue.
    ///
    /// # Errors
    ///
    /// [`CreateError::Invalid`]: a capacity of 0 or of more than 1,048,576, or no bytes;
    /// [`CreateError::OutOfMemory`].
    pub fn build(self) -> Result<Queue<T>, CreateError> {
        if self.capacity == 0 {
            return Err(CreateError::Invalid("a queue needs room for a message"));
        }
        if self.capacity > LARGEST_CAPACITY {
            return Err(CreateError::Invalid(
                "a queue has room for at most 1048576 messages",
            ));
        }
        if self.max_bytes == 0 {
            return Err(CreateError::Invalid("a queue needs room for a byte"));
        }
        let kind = Kind::of::<T>(kinds::QUEUE);
        let (object, family) = handle::create::<State>(kind)?;
        // As many bytes that a few short messages have room and the ring stays in the cache.
        let words = (self.capacity as u64 * 16).clamp(8192, 4 << 20);
        let words = words.next_power_of_two();
        let block = object.adopt(Block::new(family, words as usize * 8)?);
        let senders = Object::create(family, SENDERS, 0)?;
        let receivers = Object::create(family, RECEIVERS, 0)?;
        // SAFETY: just made with room for it.
        let state = unsafe { object.get::<State>() };
        state.words.store(words, Ordering::Relaxed);
        state
            .capacity
            .store(self.capacity as u64, Ordering::Relaxed);
        state.max_bytes.store(self.max_bytes, Ordering::Relaxed);
        state.max_message.store(self.max_message, Ordering::Relaxed);
        set_name(&state.senders, senders.id());
        set_name(&state.receivers, receivers.id());
        state.block.store(block.to_word(), Ordering::Relaxed);
        Ok(Queue {
            core: Core::new(object)?,
            senders,
            receivers,
            _bell: Bell::new(None),
        })
    }
}

fn set_name(words: &[AtomicU64; 3], id: ObjectId) {
    for (word, value) in words.iter().zip(id.to_words()) {
        word.store(value, Ordering::Relaxed);
    }
}
