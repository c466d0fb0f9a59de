//! The family's memory, modelled: room for one pool, all 0 at first.
//!
//! # Safety
//!
//! Loom's threads all run on the thread that checks the model, and each such thread has memory of
//! its own. What lies there is plain memory or a word that is loom's in truth.
#![allow(unsafe_code, reason = "lends the bytes of the modelled memory")]

use real::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use real::cell::Cell;
use real::slice;

use primitives::{BlockId, MemberId, OutOfMemory, Shared};

use crate::family::Family;
use crate::shared::{Header, size_for};

/// Bytes of the memory: enough for a pool with room for 64 workers.
fn size() -> usize {
    size_for(64)
}

thread_local! {
    static ARENA: &'static Arena = Arena::new();
}

#[derive(Debug)]
pub(crate) struct Arena {
    at: *mut u8,
}

impl Arena {
    /// Never freed: a thread has one, for all runs of its models.
    fn new() -> &'static Arena {
        let layout = Layout::from_size_align(size(), 4096).expect("of some size");
        // SAFETY: not of size 0.
        let at = unsafe { alloc_zeroed(layout) };
        if at.is_null() {
            handle_alloc_error(layout);
        }
        Box::leak(Box::new(Arena { at }))
    }

    pub(crate) fn get_it() -> &'static Arena {
        ARENA.with(|arena| *arena)
    }

    fn pointer(&self, at: usize) -> *mut u8 {
        self.at.wrapping_add(at)
    }

    /// Makes `len` bytes at `at` 0 again.
    pub(crate) fn clear(&self, at: usize, len: usize) {
        assert!(at + len <= size());
        // SAFETY: in bounds, and cleared before a run, when nobody has a reference to it.
        unsafe { self.pointer(at).write_bytes(0, len) };
    }

    /// How far into the memory `object` lies.
    pub(crate) fn offset_of<T>(&self, object: &T) -> usize {
        real::ptr::from_ref(object).addr() - self.at.addr()
    }

    pub(crate) unsafe fn get<T: Shared>(&self, offset: u64) -> Option<&'static T> {
        let at = offset as usize;
        if at + size_of::<T>() > size() || !at.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: in bounds and aligned, and of words that can have any value.
        Some(unsafe { &*self.pointer(at).cast::<T>() })
    }

    pub(crate) unsafe fn bytes_at<'a>(&self, offset: u64, len: usize) -> Option<&'a mut [u8]> {
        let at = offset as usize;
        if at + len > size() {
            return None;
        }
        // SAFETY: in bounds; whose bytes they are the caller knows.
        Some(unsafe { slice::from_raw_parts_mut(self.pointer(at), len) })
    }

    pub(crate) unsafe fn borrow_block<'a>(
        &self,
        _: BlockId,
        _: MemberId,
        _: usize,
    ) -> Option<&'a [u8]> {
        None
    }

    pub(crate) unsafe fn lend_block<'a>(&self, _: BlockId, _: MemberId) -> Option<&'a mut [u8]> {
        None
    }

    pub(crate) unsafe fn free_for(&self, _: BlockId, _: u32) {}
}

/// None is ever made: what the models write fits into cells.
#[derive(Debug)]
pub(crate) enum Block {}

impl Block {
    pub(crate) fn new(_: &'static Family, size: usize) -> Result<Block, OutOfMemory> {
        Err(OutOfMemory::new(size))
    }

    pub(crate) fn id(&self) -> BlockId {
        match *self {}
    }

    pub(crate) fn give(self, _: MemberId) -> BlockId {
        match self {}
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match *self {}
    }
}
