//! Encoded messages: short ones stay on the stack.
//!
//! # Safety
//!
//! The first `len` bytes of `near` are written, as long as `len` is not more than its size.
#![allow(
    unsafe_code,
    reason = "looks at those bytes of a buffer that are written"
)]

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::slice;

/// Bytes that stay on the stack.
const NEAR: usize = 256;

/// Up to so many bytes are copied one by one: calling `memcpy` would take longer.
const FEW: usize = 16;

/// Bytes that grow at their end. As a rule there are few of them.
pub(crate) struct Bytes {
    /// How many of `near` are in use. More than its size: all are in `far`.
    len: usize,
    near: [MaybeUninit<u8>; NEAR],
    far: Vec<u8>,
}

impl Bytes {
    #[inline]
    pub(crate) fn new() -> Bytes {
        Bytes {
            len: 0,
            near: [const { MaybeUninit::uninit() }; NEAR],
            far: Vec::new(),
        }
    }

    pub(crate) fn with_capacity(capacity: usize) -> Bytes {
        let mut bytes = Bytes::new();
        if capacity > NEAR {
            bytes.len = usize::MAX;
            bytes.far = Vec::with_capacity(capacity);
        }
        bytes
    }

    #[inline]
    fn is_far(&self) -> bool {
        self.len > NEAR
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        if self.is_far() {
            self.far.len()
        } else {
            self.len
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        if self.is_far() {
            self.far.push(byte);
            return;
        }
        match self.near.get_mut(self.len) {
            Some(place) => {
                place.write(byte);
                self.len += 1;
            }
            None => self.extend_far(&[byte]),
        }
    }

    /// Appends a word in the machine's order of bytes.
    #[inline]
    pub(crate) fn push_word(&mut self, word: u64) {
        if self.is_far() {
            self.far.extend_from_slice(&word.to_ne_bytes());
            return;
        }
        let near = self.near.get_mut(self.len..);
        match near.and_then(|near| near.first_chunk_mut::<8>()) {
            Some(place) => {
                *place = word.to_ne_bytes().map(MaybeUninit::new);
                self.len += 8;
            }
            None => self.extend_far(&word.to_ne_bytes()),
        }
    }

    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if self.is_far() {
            self.far.extend_from_slice(bytes);
            return;
        }
        if bytes.len() <= FEW {
            for &byte in bytes {
                self.push(byte);
            }
            return;
        }
        let near = self.near.get_mut(self.len..);
        match near.and_then(|near| near.get_mut(..bytes.len())) {
            Some(place) => {
                for (place, &byte) in place.iter_mut().zip(bytes) {
                    place.write(byte);
                }
                self.len += bytes.len();
            }
            None => self.extend_far(bytes),
        }
    }

    #[cold]
    #[inline(never)]
    fn extend_far(&mut self, bytes: &[u8]) {
        if !self.is_far() {
            self.far.clear();
            self.far.reserve((self.len + bytes.len()).max(2 * NEAR));
            // SAFETY: so many are written, as above.
            let near = unsafe { slice::from_raw_parts(self.near.as_ptr().cast(), self.len) };
            self.far.extend_from_slice(near);
            self.len = usize::MAX;
        }
        self.far.extend_from_slice(bytes);
    }

    /// Appends zeros up to a whole number of words.
    #[inline]
    pub(crate) fn fill_up(&mut self) {
        let len = self.len();
        self.push_word(0);
        self.truncate(len.next_multiple_of(8));
    }

    /// Replaces the word that begins at byte `start`.
    #[inline]
    pub(crate) fn set_word(&mut self, start: usize, word: u64) {
        let place = self
            .get_mut(start..)
            .and_then(|tail| tail.first_chunk_mut());
        if let Some(place) = place {
            *place = word.to_ne_bytes();
        }
    }

    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        if self.is_far() {
            self.far.truncate(len);
        } else {
            self.len = self.len.min(len);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.truncate(0);
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if self.is_far() {
            return &self.far;
        }
        // SAFETY: so many are written, as above.
        unsafe { slice::from_raw_parts(self.near.as_ptr().cast(), self.len) }
    }
}

impl std::ops::DerefMut for Bytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        if self.is_far() {
            return &mut self.far;
        }
        // SAFETY: so many are written, as above.
        unsafe { slice::from_raw_parts_mut(self.near.as_mut_ptr().cast(), self.len) }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
