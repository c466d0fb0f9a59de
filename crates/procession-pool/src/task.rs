//! A task in the hands of the worker that runs it.
//!
//! # Safety
//!
//! The worker has claimed the cell, so its input and output are this worker's.
#![allow(unsafe_code, reason = "writes a claimed task's output in place")]

use std::sync::atomic::Ordering;

use procession_primitives::{
    Block, BlockId, Death, DecodeError, EncodeError, MemberId, OutOfMemory, Panic, Passengers,
    Phase, Sink, boarding, catch, copy_short, decode_unguarded, encode_unguarded, fn_from_address,
    take_boarded,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cell::Cell;
use crate::record::{self, HEADER, Records, Tag};
use crate::shared::Shared;

/// An output's first block is as long as the input, up to this.
const INPUT_HINT: u64 = 1 << 20;

/// A type-erased [`run_items::<A, R>`](run_items).
pub(crate) type Trampoline = fn(usize, &mut Task<'_>);

/// A claimed task.
pub(crate) struct Task<'a> {
    cell: &'static Cell,
    inputs: Records<'a>,
    item: u32,
    output: Output,
    /// Where the record of the item in progress starts; `None` between two items.
    record: Option<usize>,
}

impl Task<'_> {
    /// The claimed task `index`. Goes on where a dead worker may have left it.
    pub(crate) fn resume(shared: Shared, index: u32, cell: &'static Cell) -> Option<Task<'static>> {
        // SAFETY: claimed by this worker.
        let input = unsafe { shared.input(index, cell) }?;
        // SAFETY: as above.
        let done = Records(unsafe { shared.output(index, cell) }?).count();
        let mut inputs = Records(input);
        for _ in 0..done {
            inputs.next()?;
        }
        let output = Output::open(shared, index, cell)?;
        let item = done as u32;
        Some(Task {
            cell,
            inputs,
            item,
            output,
            record: None,
        })
    }

    /// The next item's bytes.
    #[inline]
    fn begin(&mut self) -> Option<&'static [u8]> {
        let (_, bytes) = self.inputs.next()?;
        self.cell.set_at(self.item, Phase::Decoding);
        self.record = Some(self.output.len);
        // SAFETY: the input lives as long as the claim, and no reference leaves `run_items`.
        Some(unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) })
    }

    #[inline]
    fn enter(&self, phase: Phase) {
        self.cell.set_at(self.item, phase);
    }

    #[inline]
    fn finish<R: Serialize>(&mut self, value: &R) {
        let start = self.output.len;
        let written = match self.output.put(&[0; HEADER]) {
            Ok(()) => encode_unguarded(value, &mut self.output).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let written = match take_boarded() {
            None => written,
            Some(passengers) => written.and_then(|()| self.output.carry(&passengers)),
        };
        match written {
            Ok(()) => self.commit(start, Tag::Value),
            Err(text) => self.fail(Tag::ValueEncode, &text),
        }
    }

    /// Records that there is no value for the item in progress.
    #[cold]
    fn fail<T: Serialize>(&mut self, tag: Tag, why: &T) {
        if self.try_fail(tag, why).is_err() {
            // No memory for the very reason: die, and let the death be the reason.
            std::process::abort();
        }
    }

    fn try_fail<T: Serialize>(&mut self, tag: Tag, why: &T) -> Result<(), EncodeError> {
        let Some(start) = self.record else {
            return Ok(());
        };
        self.output.len = start;
        self.output.put(&[0; HEADER])?;
        encode_unguarded(why, &mut self.output)?;
        self.commit(start, tag);
        Ok(())
    }

    /// Records `death` for the item that the dead worker had in progress, if it had one. Whether
    /// all items have a record now. Run by the program, which the task falls to.
    pub(crate) fn settle(&mut self, death: &Death) -> Result<bool, EncodeError> {
        let (at, phase) = self.cell.at();
        let items = self.cell.items.load(Ordering::Relaxed);
        let begun = at == self.item && !matches!(phase, Phase::Idle | Phase::Starting);
        if begun && self.item < items {
            let death = Death::new(death.pid(), death.status(), phase);
            self.begin();
            self.try_fail(Tag::Died, &death)?;
        }
        self.cell.set_at(self.item, Phase::Idle);
        Ok(self.item >= items)
    }

    #[inline]
    fn commit(&mut self, start: usize, tag: Tag) {
        let len = self.output.len - start - HEADER;
        self.output.write_at(start, &record::header(tag, len));
        // Release: with the length comes the record. This is the item's commit.
        self.cell
            .output_len
            .store(self.output.len as u64, Ordering::Release);
        self.record = None;
        self.item += 1;
    }

    #[cold]
    fn panicked(&mut self, panic: Box<Panic>) {
        match self.cell.at().1 {
            Phase::Decoding => self.fail(Tag::ItemDecode, &DecodeError::Panicked(panic)),
            Phase::Encoding => self.fail(Tag::ValueEncode, &format!("encoding {panic}")),
            _ => self.fail(Tag::Panicked, &*panic),
        }
    }

    /// Records the same failure for each item left.
    pub(crate) fn fail_all(&mut self, why: &str) {
        while self.begin().is_some() {
            self.fail(Tag::Function, &why);
        }
    }
}

/// Runs the function on each item: the typed part of a worker's life.
pub(crate) fn run_items<A: DeserializeOwned, R: Serialize>(function: usize, task: &mut Task<'_>) {
    // SAFETY: named together with this instance of `run_items` in `Code::of`, where it was a
    // `fn(A) -> R`; both were resolved in the same build.
    let function: fn(A) -> R = unsafe { fn_from_address(function) };
    boarding(|| run_all(function, task));
}

fn run_all<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R, task: &mut Task<'_>) {
    loop {
        // One guard for many items: a panic leaves the loop, is recorded, and the loop goes on.
        let ended = catch(|| {
            while let Some(bytes) = task.begin() {
                match decode_unguarded::<A>(bytes) {
                    Ok(item) => {
                        task.enter(Phase::Running);
                        let value = function(item);
                        task.enter(Phase::Encoding);
                        task.finish(&value);
                    }
                    Err(error) => task.fail(Tag::ItemDecode, &error),
                }
            }
        });
        match ended {
            Ok(()) => return,
            // Without an item in progress it was the drop of a value that is already recorded.
            Err(panic) => task.panicked(panic),
        }
    }
}

/// The output of a task: in its cell at first, then in a block that grows.
struct Output {
    shared: Shared,
    index: u32,
    cell: &'static Cell,
    bytes: &'static mut [u8],
    len: usize,
}

impl Output {
    fn open(shared: Shared, index: u32, cell: &'static Cell) -> Option<Output> {
        let len = usize::try_from(cell.output_len.load(Ordering::Relaxed)).ok()?;
        let bytes = match BlockId::from_word(cell.output.load(Ordering::Relaxed)) {
            None => {
                // SAFETY: claimed by this worker, and kept no longer than the claim.
                unsafe { shared.small_output(index) }
            }
            // SAFETY: as above; the block is the program's, which leaves it to the claimer.
            Some(block) => unsafe { shared.arena().lend_block(block, shared.owner()) }?,
        };
        Some(Output {
            shared,
            index,
            cell,
            bytes,
            len,
        })
    }

    #[inline]
    fn write_at(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Has the output keep the objects whose handles are in it.
    #[cold]
    fn carry(&mut self, passengers: &Passengers) -> Result<(), String> {
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
        debug_assert!(self.index < crate::shared::CELLS);
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
}
