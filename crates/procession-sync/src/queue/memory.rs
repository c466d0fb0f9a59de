//! The memory of a ring: frames of bytes, where `ring` says.
//!
//! # Safety
//!
//! Between `tail` and `head` plus the size the producer alone touches the ring, between `head` and
//! `tail` the consumer alone.
#![allow(unsafe_code, reason = "copies frames into and out of shared memory")]

use std::ptr;

use crate::queue::bytes::Bytes;
use crate::queue::ring::{Consumers, Mark, Producers};

// Objects begin in the middle of a pair of cache lines; the first 64 bytes are the constants'.
const _: () = assert!(size_of::<Producers>() == 128);
const _: () = assert!(size_of::<Consumers>() == 128);
const _: () = assert!(size_of::<Mark>() == 128);

/// Up to so many bytes are copied word by word: calling `memcpy` twice would take longer.
const SHORT: usize = 128;

/// The frames' memory as this process sees it: `mask + 1` words, a power of two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    at: *mut u64,
    mask: u64,
}

// SAFETY: an address in shared memory, which means the same to all threads.
unsafe impl Send for Memory {}
// SAFETY: as above; who may touch which words is said above.
unsafe impl Sync for Memory {}

impl Memory {
    /// # Safety
    ///
    /// `at` points to `words` words, a power of two, that are used as a ring only, and stay.
    pub(crate) unsafe fn new(at: *mut u64, words: u64) -> Memory {
        debug_assert!(words.is_power_of_two());
        Memory {
            at,
            mask: words - 1,
        }
    }

    #[inline]
    pub(crate) fn words(&self) -> u64 {
        self.mask + 1
    }

    #[inline]
    fn word(&self, place: u64) -> *mut u64 {
        // SAFETY: masked, so within the ring.
        unsafe { self.at.add((place & self.mask) as usize) }
    }

    /// The word at stream place `place`.
    ///
    /// # Safety
    ///
    /// It is the caller's to touch.
    #[inline]
    pub(crate) unsafe fn read(&self, place: u64) -> u64 {
        // SAFETY: within the ring, and the caller's to touch.
        unsafe { self.word(place).read() }
    }

    /// # Safety
    ///
    /// As [`read`](Self::read).
    #[inline]
    pub(crate) unsafe fn write(&self, place: u64, word: u64) {
        // SAFETY: within the ring, and the caller's to touch.
        unsafe { self.word(place).write(word) };
    }

    /// Copies `bytes`, whole words, to the words from `place` on.
    ///
    /// # Safety
    ///
    /// The words are the caller's to touch, and the ring is larger.
    #[inline]
    pub(crate) unsafe fn write_bytes(&self, place: u64, bytes: &[u8]) {
        if bytes.len() <= SHORT {
            for (place, word) in (place..).zip(bytes.as_chunks().0) {
                // SAFETY: as promised by the caller.
                unsafe { self.write(place, u64::from_ne_bytes(*word)) };
            }
            return;
        }
        let start = (place & self.mask) as usize;
        let room = (self.words() as usize - start) * 8;
        // SAFETY: within the ring.
        let to = unsafe { self.at.add(start) }.cast::<u8>();
        let first = bytes.len().min(room);
        // SAFETY: `first` bytes fit behind `start`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, first) };
        let rest = &bytes[first..];
        // SAFETY: the rest is shorter than the ring.
        unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), self.at.cast::<u8>(), rest.len()) };
    }

    /// Appends `len` bytes, whole words, of the words from `place` on to `to`.
    ///
    /// # Safety
    ///
    /// As [`write_bytes`](Self::write_bytes).
    #[inline]
    pub(crate) unsafe fn read_bytes(&self, place: u64, len: usize, to: &mut Bytes) {
        if len <= SHORT {
            for place in place..place + len as u64 / 8 {
                // SAFETY: as promised by the caller.
                to.push_word(unsafe { self.read(place) });
            }
            return;
        }
        let start = (place & self.mask) as usize;
        let room = (self.words() as usize - start) * 8;
        // SAFETY: within the ring.
        let from = unsafe { self.at.add(start) }.cast::<u8>();
        let first = len.min(room);
        // SAFETY: `first` bytes lie behind `start`.
        to.extend(unsafe { std::slice::from_raw_parts(from, first) });
        if first < len {
            // SAFETY: the rest is shorter than the ring.
            to.extend(unsafe { std::slice::from_raw_parts(self.at.cast::<u8>(), len - first) });
        }
    }
}
