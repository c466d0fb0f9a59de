//! [`Region`]: bounds-checked access to mapped memory that other processes may be writing.
//!
//! # Safety
//!
//! The only file that dereferences a mapping. All copies go through aligned [`AtomicU64`] words with relaxed ordering,
//! the partial words at both ends included (a partial write is a compare-and-swap that keeps its neighbours),
//! so two copies never race non-atomically and never with different sizes. What other processes do is outside the
//! language's memory model: to this program it is as if another thread stored there atomically.
//! An atomic lent out by `atomic_u32` that meets a copy at the same bytes is the one mix of sizes left; the language
//! leaves its result open, both supported processors do not, and the documentation tells users to keep places apart.
#![allow(unsafe_code, reason = "dereferences mapped memory")]

use std::{
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use super::SharedMemoryError;

const WORD: usize = size_of::<u64>();

/// A view of `len` bytes of a shared mapping. Does not keep it mapped; its holder does.
#[derive(Clone, Copy)]
pub(super) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a `Region` gives access by atomics only (or by `unsafe` methods whose callers promise the rest), and the
// mapping belongs to the process, not to a thread.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// # Safety
    ///
    /// `base` must be page-aligned and start a readable and writable shared mapping of at least `len` bytes that stays as
    /// long as this value is used.
    pub(super) unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(super) fn read_at(
        &self,
        offset: usize,
        mut bytes: &mut [u8],
    ) -> Result<(), SharedMemoryError> {
        self.check(offset, bytes.len())?;
        let mut word = offset / WORD;
        let inside = offset % WORD;
        if inside != 0 {
            let (head, rest) = bytes.split_at_mut(bytes.len().min(WORD - inside));
            head.copy_from_slice(&self.load(word)[inside..inside + head.len()]);
            (bytes, word) = (rest, word + 1);
        }
        let mut chunks = bytes.chunks_exact_mut(WORD);
        for chunk in &mut chunks {
            chunk.copy_from_slice(&self.load(word));
            word += 1;
        }
        let tail = chunks.into_remainder();
        if !tail.is_empty() {
            tail.copy_from_slice(&self.load(word)[..tail.len()]);
        }
        Ok(())
    }

    pub(super) fn write_at(
        &self,
        offset: usize,
        mut bytes: &[u8],
    ) -> Result<(), SharedMemoryError> {
        self.check(offset, bytes.len())?;
        let mut word = offset / WORD;
        let inside = offset % WORD;
        if inside != 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(WORD - inside));
            self.merge(word, inside, head);
            (bytes, word) = (rest, word + 1);
        }
        let mut chunks = bytes.chunks_exact(WORD);
        for chunk in &mut chunks {
            let mut value = [0; WORD];
            value.copy_from_slice(chunk);
            self.word(word).store(u64::from_ne_bytes(value), Relaxed);
            word += 1;
        }
        self.merge(word, 0, chunks.remainder());
        Ok(())
    }

    pub(super) fn atomic_u32(&self, offset: usize) -> Option<&AtomicU32> {
        let pointer = self.aligned::<u32>(offset)?;
        // SAFETY: `aligned` checked bounds and alignment; the mapping stays while `self` is borrowed (`new`).
        Some(unsafe { AtomicU32::from_ptr(pointer) })
    }

    pub(super) fn atomic_u64(&self, offset: usize) -> Option<&AtomicU64> {
        let pointer = self.aligned::<u64>(offset)?;
        // SAFETY: as in `atomic_u32`.
        Some(unsafe { AtomicU64::from_ptr(pointer) })
    }

    /// # Safety
    ///
    /// Nobody, in any process, may write to the memory while the slice lives.
    pub(super) unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped at `base` (`new`); the caller keeps writers away.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// # Safety
    ///
    /// Nobody else, in any process, may use the memory while the slice lives.
    pub(super) unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes are mapped at `base` (`new`); the caller keeps everybody else away.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), SharedMemoryError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(SharedMemoryError::OutOfBounds {
                offset,
                len,
                size: self.len,
            }),
        }
    }

    fn aligned<T>(&self, offset: usize) -> Option<*mut T> {
        self.check(offset, size_of::<T>()).ok()?;
        offset
            .is_multiple_of(align_of::<T>())
            .then(|| self.base.as_ptr().wrapping_add(offset).cast())
    }

    /// The word `index`, which the caller has checked to contain at least one byte of this region.
    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < self.len.div_ceil(WORD), "a word outside the region");
        let pointer = self.base.as_ptr().cast::<u64>().wrapping_add(index);
        // SAFETY: every caller runs after `check`, so the word holds a byte of the region; mappings are whole
        // pages and start on a page (`new`), so the word is aligned and all of it is mapped.
        unsafe { AtomicU64::from_ptr(pointer) }
    }

    fn load(&self, index: usize) -> [u8; WORD] {
        self.word(index).load(Relaxed).to_ne_bytes()
    }

    /// Replaces `bytes.len()` bytes of a word, starting with its byte `inside`.
    fn merge(&self, index: usize, inside: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let word = self.word(index);
        let mut old = word.load(Relaxed);
        loop {
            let mut value = old.to_ne_bytes();
            value[inside..inside + bytes.len()].copy_from_slice(bytes);
            match word.compare_exchange_weak(old, u64::from_ne_bytes(value), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}
