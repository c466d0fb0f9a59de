//! A block: a run of the heap with one owner, and a writer that grows one.
//!
//! # Safety
//!
//! A block's bytes are reached only through its owner, of which there is one in all processes.
#![allow(unsafe_code, reason = "borrows a block's bytes in place")]

use std::fmt;
use std::ptr::NonNull;
use std::slice;

use rustix::mm::Advice;
use serde::{Deserialize, Serialize};

use super::{Arena, OutOfMemory};
use crate::family::Family;
use crate::member::MemberId;

/// The name of a block: plain data that can be sent to any member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockId {
    unit: u32,
    generation: u32,
}

impl BlockId {
    pub(crate) fn new(unit: u32, generation: u32) -> BlockId {
        BlockId { unit, generation }
    }

    pub(crate) fn unit(self) -> u32 {
        self.unit
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }

    /// As one word, for a place in shared memory. Never 0: generations start at 1.
    #[must_use]
    pub fn to_word(self) -> u64 {
        u64::from(self.unit) << 32 | u64::from(self.generation)
    }

    /// The id that [`to_word`](Self::to_word) stored; `None` for 0.
    #[must_use]
    pub fn from_word(word: u64) -> Option<BlockId> {
        (word != 0).then_some(BlockId {
            unit: (word >> 32) as u32,
            generation: word as u32,
        })
    }
}

/// Blocks of up to this many bytes are filled with 0 rather than given back for pages of 0.
const FILLED: usize = 256 << 10;

/// Shared memory that belongs to this process: whoever dies with a block gives it back.
///
/// # Drop
///
/// Frees the block.
///
/// # Process death
///
/// When its owner dies, the family's supervisor frees the block.
pub struct Block {
    family: &'static Family,
    id: BlockId,
    len: usize,
    /// Where it is in this process.
    at: NonNull<u8>,
}

// SAFETY: the memory is shared between processes, so it can be reached from any thread; `at` is
// a constant of the block.
unsafe impl Send for Block {}
// SAFETY: as above; `&Block` only reads, or reaches atomics.
unsafe impl Sync for Block {}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("id", &self.id)
            .field("len", &self.len)
            .finish()
    }
}

impl Block {
    /// Allocates at least `bytes` bytes; they hold whatever was there before.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]: neither arena nor machine has that much left.
    pub fn new(family: &'static Family, bytes: usize) -> Result<Block, OutOfMemory> {
        let (id, len, _) = family.arena().take_run(family, bytes)?;
        Ok(Self::at(family, id, len))
    }

    /// Allocates at least `bytes` bytes that are 0. Of large blocks no memory is touched: that
    /// comes with the first use.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn zeroed(family: &'static Family, bytes: usize) -> Result<Block, OutOfMemory> {
        let (id, len, fresh) = family.arena().take_run(family, bytes)?;
        let mut block = Self::at(family, id, len);
        // Giving pages back costs as much as filling many of them.
        if !fresh && (len <= FILLED || !family.arena().drop_pages(id, len)) {
            block.bytes_mut().fill(0);
        }
        Ok(block)
    }

    /// Takes charge of a block that was given to this process; `None` for a stale or foreign id.
    ///
    /// # Safety
    ///
    /// No other `Block` of this process has this id.
    #[must_use]
    pub unsafe fn adopt(family: &'static Family, id: BlockId) -> Option<Block> {
        let len = family.arena().owns(id, family.me().slot())?;
        family.is_present().then(|| Self::at(family, id, len))
    }

    fn at(family: &'static Family, id: BlockId, len: usize) -> Block {
        let at = family.arena().pointer(family.arena().unit_at(id.unit));
        Block {
            family,
            id,
            len,
            at,
        }
    }

    /// The name of this block.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// Length in bytes: what was asked for, rounded up to 64 KiB.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// A block is never empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the block starts in the arena.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.family.arena().unit_at(self.id.unit)
    }

    /// The bytes; none in a process that was forked from the owner.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if !self.family.is_present() {
            return &[];
        }
        // SAFETY: the run has `len` mapped bytes and this is its one owner.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }

    /// The bytes, to be written; none in a process that was forked from the owner.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if !self.family.is_present() {
            return &mut [];
        }
        self.all_mut()
    }

    /// The bytes, for a caller that is not reached from a forked process.
    #[inline]
    fn all_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the borrow exclusive.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }

    /// Makes the block at least `bytes` long, in place where possible; the first `keep` bytes stay.
    ///
    /// # Panics
    ///
    /// If `keep` is more than the length.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]: the block is as it was.
    pub fn grow(&mut self, bytes: usize, keep: usize) -> Result<(), OutOfMemory> {
        if bytes <= self.len {
            return Ok(());
        }
        if let Some(len) = self.family.arena().grow_run(self.family, self.id, bytes) {
            self.len = len;
            return Ok(());
        }
        let mut larger = Block::new(self.family, bytes)?;
        larger.bytes_mut()[..keep].copy_from_slice(&self.bytes()[..keep]);
        *self = larger;
        Ok(())
    }

    /// Makes `to` the owner: from now on its death, not ours, frees the block.
    ///
    /// Given to a member that is dying, the block may stay until its slot's next user ends.
    pub fn give(self, to: MemberId) -> BlockId {
        let block = std::mem::ManuallyDrop::new(self);
        block.family.arena().set_owner(block.id, to.slot());
        block.id
    }

    /// Stops minding the block without freeing it: its name is kept elsewhere.
    #[must_use]
    pub fn into_id(self) -> BlockId {
        std::mem::ManuallyDrop::new(self).id
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !self.family.is_present() {
            // A copy in a forked child: the block is the parent's.
            return;
        }
        self.family
            .arena()
            .free_run(self.id, self.family.me().slot());
    }
}

impl Arena {
    /// The first `len` bytes of a block that another member owns and will not change meanwhile.
    ///
    /// `None` where no such block exists or it is shorter.
    ///
    /// # Safety
    ///
    /// A protocol between the processes keeps the block alive and unchanged during `'a`.
    #[must_use]
    pub unsafe fn borrow_block<'a>(
        &self,
        id: BlockId,
        owner: MemberId,
        len: usize,
    ) -> Option<&'a [u8]> {
        let found = self.owns(id, owner.slot())?;
        if len > found {
            return None;
        }
        let at = self.pointer(self.unit_at(id.unit));
        // SAFETY: the run has at least `len` mapped bytes; the caller promises that they stay.
        Some(unsafe { slice::from_raw_parts(at.as_ptr(), len) })
    }

    /// All bytes of a block of `owner`, to be written by the caller.
    ///
    /// # Safety
    ///
    /// A protocol between the processes gives the block to the caller alone during `'a`.
    #[must_use]
    pub unsafe fn lend_block<'a>(&self, id: BlockId, owner: MemberId) -> Option<&'a mut [u8]> {
        let len = self.owns(id, owner.slot())?;
        // SAFETY: as promised by the caller.
        unsafe { self.bytes_at(self.unit_at(id.unit), len) }
    }

    /// Bytes of the arena, named by offset. `None` outside of it.
    ///
    /// # Safety
    ///
    /// A protocol between the processes gives these bytes to the caller alone during `'a`.
    #[must_use]
    pub unsafe fn bytes_at<'a>(&self, offset: u64, len: usize) -> Option<&'a mut [u8]> {
        if offset.checked_add(len as u64)? > self.size {
            return None;
        }
        // SAFETY: in bounds, and the caller promises that nobody else uses them.
        Some(unsafe { slice::from_raw_parts_mut(self.pointer(offset).as_ptr(), len) })
    }

    /// Makes `to` the owner of a block that `from` has put into the caller's hands.
    pub(crate) fn pass(&self, id: BlockId, from: u32, to: u32) {
        if self.owns(id, from).is_some() {
            self.set_owner(id, to);
        }
    }

    /// Frees a block of slot `owner`. A stale id changes nothing.
    ///
    /// # Safety
    ///
    /// The owner has left the block to the caller, and nobody uses it any more.
    pub unsafe fn free_for(&self, id: BlockId, owner: u32) {
        self.free_run(id, owner);
    }

    /// Returns a run's memory to the system, so that it reads as 0. False if it would not.
    ///
    /// Its owner, or the settler of its dead owner, calls this.
    pub(super) fn drop_pages(&self, id: BlockId, len: usize) -> bool {
        let at = self.pointer(self.unit_at(id.unit));
        // SAFETY: `len` bytes of the mapping that nobody uses any more.
        unsafe { rustix::mm::madvise(at.as_ptr().cast(), len, Advice::LinuxRemove) }.is_ok()
    }
}

/// Copies `from` to `to`, which is as long; quick where that is a few bytes.
///
/// # Panics
///
/// If the lengths differ.
#[inline]
pub fn copy_short(to: &mut [u8], from: &[u8]) {
    match from.len() {
        1..=3 if to.len() == from.len() => {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
        4..=8 if to.len() == from.len() => overlapping::<4>(to, from),
        9..=16 if to.len() == from.len() => overlapping::<8>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes, which together are all.
#[inline]
fn overlapping<const N: usize>(to: &mut [u8], from: &[u8]) {
    let last = from.len() - N;
    to[..N].copy_from_slice(&from[..N]);
    to[last..].copy_from_slice(&from[last..]);
}

/// Eight bytes of `bytes` from `at` on, if there are as many.
#[inline]
pub fn place_for_word(bytes: &mut [u8], at: usize) -> Option<&mut [u8; 8]> {
    bytes.get_mut(at..)?.first_chunk_mut()
}

/// Writes bytes into a block that grows as needed.
#[derive(Debug)]
pub struct Writer {
    block: Block,
    len: usize,
}

impl Writer {
    /// Starts with room for `bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`], as [`Block::new`].
    pub fn new(family: &'static Family, bytes: usize) -> Result<Writer, OutOfMemory> {
        Ok(Writer {
            block: Block::new(family, bytes)?,
            len: 0,
        })
    }

    /// Appends `data`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]: nothing was appended.
    #[inline]
    pub fn extend(&mut self, data: &[u8]) -> Result<(), OutOfMemory> {
        let end = self.len + data.len();
        if end > self.block.len() {
            self.reserve(end)?;
        }
        copy_short(&mut self.block.all_mut()[self.len..end], data);
        self.len = end;
        Ok(())
    }

    /// Appends the `len` lowest bytes of `word`, the lowest first. What lies behind them may change.
    ///
    /// # Errors
    ///
    /// As [`extend`](Self::extend).
    ///
    /// # Panics
    ///
    /// If `len` is more than 8.
    #[inline]
    pub fn extend_word(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        let start = self.len;
        match place_for_word(self.block.all_mut(), start) {
            Some(place) if len <= size_of::<u64>() => {
                *place = word.to_le_bytes();
                self.len = start + len;
                Ok(())
            }
            _ => self.extend_by_parts(word, len),
        }
    }

    #[cold]
    fn extend_by_parts(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        self.extend(&word.to_le_bytes()[..len])
    }

    /// Appends one byte.
    ///
    /// # Errors
    ///
    /// As [`extend`](Self::extend).
    #[inline]
    pub fn push(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        if self.len == self.block.len() {
            self.reserve(self.len + 1)?;
        }
        self.block.all_mut()[self.len] = byte;
        self.len += 1;
        Ok(())
    }

    #[cold]
    fn reserve(&mut self, end: usize) -> Result<(), OutOfMemory> {
        let doubled = end.max(self.block.len().saturating_mul(2));
        match self.block.grow(doubled, self.len) {
            Err(_) if doubled > end => self.block.grow(end, self.len),
            grown => grown,
        }
    }

    /// The name of the block, until the next write.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.block.id()
    }

    /// Forgets what was written from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// What was written.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.block.all_mut()[..self.len]
    }

    /// The room that is left without the block growing: see [`wrote`](Self::wrote).
    #[inline]
    pub fn room_mut(&mut self) -> &mut [u8] {
        &mut self.block.all_mut()[self.len..]
    }

    /// Counts the next `bytes` bytes, which were written to [`room_mut`](Self::room_mut).
    ///
    /// # Panics
    ///
    /// If there is not so much room.
    #[inline]
    pub fn wrote(&mut self, bytes: usize) {
        assert!(bytes <= self.block.len() - self.len, "beyond the block");
        self.len += bytes;
    }

    /// How many bytes were written.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The block and how many of its bytes are written.
    #[must_use]
    pub fn finish(self) -> (Block, usize) {
        (self.block, self.len)
    }
}
