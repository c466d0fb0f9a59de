//! The output of a task, as whoever has claimed it writes it.
//!
//! # Safety
//!
//! The writer has claimed the cell, so its output is the writer's.
#![allow(unsafe_code, reason = "writes a claimed task's output in place")]

use std::sync::atomic::Ordering;

use procession_primitives::{
    Block, BlockId, MemberId, OutOfMemory, Passengers, Sink, copy_short, place_for_word,
};

use crate::cell::Cell;
use crate::entry::{Page, Pen, kind_of_run, open_run};
use crate::record::HEADER;
use crate::shared::{Shared, small_output};

/// An output's first block is as long as the input, up to this.
const INPUT_HINT: u64 = 1 << 20;

/// The output of a task: in its cell at first, then in a block that grows.
pub(crate) struct Output {
    shared: Shared,
    cell: &'static Cell,
    bytes: &'static mut [u8],
    pub(crate) len: usize,
    pen: Pen,
}

impl Output {
    #[inline(always)]
    pub(crate) fn open(shared: Shared, cell: &'static Cell) -> Option<Output> {
        let len = usize::try_from(cell.output_len.load(Ordering::Relaxed)).ok()?;
        let bytes = match BlockId::from_word(cell.output.load(Ordering::Relaxed)) {
            None => {
                // SAFETY: claimed by this worker, and kept no longer than the claim.
                unsafe { small_output(cell) }
            }
            // SAFETY: as above; the block is the program's, which leaves it to the claimer.
            Some(block) => unsafe { shared.arena().lend_block(block, shared.owner()) }?,
        };
        let mut output = Output {
            shared,
            cell,
            bytes,
            len,
            pen: Pen::default(),
        };
        output.pen.runs = cell.runs.load(Ordering::Relaxed) != 0;
        if len > 0 {
            output.close_left_run();
        }
        Some(output)
    }

    /// Closes the run in the midst of which a worker has died.
    #[cold]
    fn close_left_run(&mut self) {
        let written = self.bytes.get(..self.len).unwrap_or_default();
        if let Some(at) = open_run(written)
            && let Some(kind) = kind_of_run(written, at)
        {
            self.close_run_at(at, kind);
        }
    }

    /// Has the output keep the objects whose handles are in it.
    #[cold]
    pub(crate) fn carry(&mut self, passengers: &Passengers) -> Result<(), String> {
        if self.cell.output.load(Ordering::Relaxed) == 0 {
            let more = self.bytes.len() + 1;
            self.grow(more).map_err(|error| error.to_string())?;
        }
        let block = BlockId::from_word(self.cell.output.load(Ordering::Relaxed));
        let block = block.ok_or("no block for the value")?;
        passengers.board(block).map_err(|error| error.to_string())
    }

    /// Moves the output to a block of at least `needed` bytes.
    #[cold]
    fn grow(&mut self, needed: usize) -> Result<(), OutOfMemory> {
        // Values are often about as long as their items.
        let input = self.cell.input_len.load(Ordering::Relaxed).min(INPUT_HINT) as usize;
        let doubled = needed.max(self.bytes.len().saturating_mul(2)).max(input);
        let block = Block::new(self.shared.family, doubled)
            .or_else(|_| Block::new(self.shared.family, needed))?;
        self.bytes = move_output(&self.shared, self.cell, block, &self.bytes[..self.len])?;
        Ok(())
    }
}

/// Makes `block` the task's output, with a copy of `written` in it, and frees the old one.
///
/// Killed at any point, either the old block or the new one is the output, and the other one is
/// named in the cell, to be freed by whoever settles the task.
pub(crate) fn move_output(
    shared: &Shared,
    cell: &Cell,
    mut block: Block,
    written: &[u8],
) -> Result<&'static mut [u8], OutOfMemory> {
    let owner: MemberId = shared.owner();
    block.bytes_mut()[..written.len()].copy_from_slice(written);
    let old = cell.output.load(Ordering::Relaxed);
    cell.output_old.store(old, Ordering::Relaxed);
    cell.output_new
        .store(block.id().to_word(), Ordering::Relaxed);
    if let Some(old) = BlockId::from_word(old) {
        shared
            .family
            .reboard(old, block.id())
            .map_err(|_| OutOfMemory::new(written.len()))?;
    }
    let id = block.give(owner);
    // Release: whoever sees the new block sees the copy.
    cell.output.store(id.to_word(), Ordering::Release);
    if let Some(old) = BlockId::from_word(old) {
        shared.free(old);
    }
    // Release: after the free, which a kill in between relies on.
    cell.output_old.store(0, Ordering::Release);
    cell.output_new.store(0, Ordering::Release);
    // SAFETY: the block is the task's output now, and the task is the caller's by its state.
    let bytes = unsafe { shared.arena().lend_block(id, owner) };
    bytes.ok_or(OutOfMemory::new(written.len()))
}

impl Page for Output {
    #[inline]
    fn pen(&mut self) -> &mut Pen {
        &mut self.pen
    }

    #[inline]
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn write_over(&mut self, at: usize, header: [u8; HEADER]) {
        if let Some(place) = place_for_word(self.bytes, at) {
            *place = header;
        }
    }

    fn cut(&mut self, len: usize) {
        self.len = len;
    }

    #[inline]
    fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.len..).unwrap_or_default()
    }

    #[inline]
    fn wrote(&mut self, bytes: usize) {
        self.len += bytes;
    }
}

impl Sink for Output {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let end = self.len + bytes.len();
        if end > self.bytes.len() {
            self.grow(end)?;
        }
        copy_short(&mut self.bytes[self.len..end], bytes);
        self.len = end;
        Ok(())
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        if self.len == self.bytes.len() {
            self.grow(self.len + 1)?;
        }
        self.bytes[self.len] = byte;
        self.len += 1;
        Ok(())
    }

    #[inline]
    fn put_word(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        match place_for_word(self.bytes, self.len) {
            Some(place) if len <= size_of::<u64>() => {
                *place = word.to_le_bytes();
                self.len += len;
                Ok(())
            }
            _ => self.put_by_parts(word, len),
        }
    }
}

impl Output {
    #[cold]
    fn put_by_parts(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        self.put(&word.to_le_bytes()[..len])
    }
}
