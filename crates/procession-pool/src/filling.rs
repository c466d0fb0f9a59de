//! Fills a cell with a task.
//!
//! # Safety
//!
//! Fills cells that were taken from the free list.
#![allow(
    unsafe_code,
    reason = "borrows the bytes of cells that are being filled"
)]

use std::sync::atomic::Ordering;

use procession_primitives::{
    Block, BlockId, EncodeError, NumberKind, OutOfMemory, Passengers, Phase, Sink, Writer,
    boarding, copy_short, encode, place_for_word,
};
use serde::Serialize;

use crate::cell::{Cell, Ensure, SMALL};
use crate::entry::{Entries, Entry, NUMBER, Page, Pen, Value};
use crate::inner::Inner;
use crate::options::Options;
use crate::raw::Items;
use crate::record::{self, HEADER, Tag};
use crate::run::Code;
use crate::shared::small_input;

/// The number of calls that have none of their own: the numbers of others begin behind it.
pub(crate) const NO_CALL: u64 = 0;

/// What all tasks of a call have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) code: Code,
    call: u64,
    /// Block and length of the call's context.
    context: (u64, u64),
    guarded: bool,
    notice: u64,
    pub(crate) limit: u64,
    seed: u64,
    pub(crate) ring: u32,
}

impl Terms {
    /// For the call with number `call`, and the context that the caller keeps.
    pub(crate) fn new(
        code: Code,
        call: u64,
        context: Option<&(Block, usize)>,
        options: &Options,
    ) -> Terms {
        let (notice, limit) = options.limits();
        Terms {
            code,
            call,
            context: context.map_or((0, 0), |(block, len)| (block.id().to_word(), *len as u64)),
            guarded: options.is_guarded(),
            notice,
            limit,
            seed: options.seed,
            ring: options.priority.ring(),
        }
    }

    /// For a job without tasks.
    pub(crate) fn none() -> Terms {
        Terms::new(Code::none(), NO_CALL, None, &Options::default())
    }

    /// The same for tasks that can be ended one by one.
    pub(crate) fn guarded(self) -> Terms {
        Terms {
            guarded: true,
            ..self
        }
    }

    /// The same for a task that is for one worker alone.
    pub(crate) fn in_ring(self, ring: u32) -> Terms {
        Terms { ring, ..self }
    }

    fn write(&self, cell: &Cell) {
        // All tasks of a call have the same, so it is there if the cell was one of them.
        if self.call == NO_CALL || cell.call.load(Ordering::Relaxed) != self.call {
            self.write_common(cell);
        }
        cell.guarded.ensure(u32::from(self.guarded));
        cell.ring.ensure(self.ring);
        cell.stop.store(0, Ordering::Relaxed);
        cell.claimed_at.store(0, Ordering::Relaxed);
    }

    fn write_common(&self, cell: &Cell) {
        cell.set_code(self.code.words());
        for (word, value) in [
            (&cell.call, self.call),
            (&cell.context, self.context.0),
            (&cell.context_len, self.context.1),
            (&cell.notice, self.notice),
            (&cell.limit, self.limit),
            (&cell.seed, self.seed),
        ] {
            word.ensure(value);
        }
    }
}

/// A task's input before there is a cell for it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) items: u32,
    input: Input,
}

#[derive(Debug)]
enum Input {
    Items(Items),
    /// Of a task that is tried again.
    Block(Box<Writer>),
}

impl Prepared {
    pub(crate) fn new(items: Items) -> Prepared {
        Prepared {
            items: items.len() as u32,
            input: Input::Items(items),
        }
    }

    /// Item `item` of the finished task in cell `index`, to be tried again.
    pub(crate) fn again(pool: &Inner, index: u32, item: u32) -> Option<Prepared> {
        let cell = pool.shared.cell(index)?;
        // SAFETY: `DONE`, so the program's; read before the cell is recycled.
        let input = unsafe { pool.shared.input(cell) }?;
        let mut number = Vec::new();
        let (tag, encoded) = match Entries::new(input).nth(item as usize)? {
            Entry::Record(tag, encoded) => (tag, encoded),
            Entry::Number(bare) => {
                bare.put(&mut number).ok()?;
                (Tag::Value, number.as_slice())
            }
        };
        let header = record::header(tag, encoded.len());
        let input = match BlockId::from_word(cell.input.load(Ordering::Relaxed)) {
            None => Input::Items(Items::from_bytes(&[&header, encoded].concat()).ok()?),
            Some(old) => {
                let mut block =
                    Writer::new(pool.shared.family, header.len() + encoded.len()).ok()?;
                block.extend(&header).ok()?;
                block.extend(encoded).ok()?;
                // The objects whose handles are in it are kept with it.
                pool.shared.family.reboard(old, block.id()).ok()?;
                Input::Block(Box::new(block))
            }
        };
        Some(Prepared { items: 1, input })
    }

    /// Bytes of the input.
    pub(crate) fn len(&self) -> usize {
        match &self.input {
            Input::Items(items) => items.bytes().len(),
            Input::Block(block) => block.len(),
        }
    }
}

/// Takes a task's encoded items: in its cell first, in a block when they no longer fit.
pub(crate) struct Filling<'a> {
    pool: &'a Inner,
    index: u32,
    cell: &'static Cell,
    expected: usize,
    len: usize,
    items: u32,
    block: Option<Writer>,
    pen: Pen,
}

impl<'a> Filling<'a> {
    /// Starts to fill cell `index`, which was taken from the free list.
    ///
    /// When it no longer fits into the cell, the block has room for `expected` bytes at once.
    #[inline]
    pub(crate) fn new(pool: &'a Inner, index: u32, expected: usize) -> Option<Filling<'a>> {
        let cell = pool.shared.cell(index)?;
        Some(Filling {
            pool,
            index,
            cell,
            expected,
            len: 0,
            items: 0,
            block: None,
            pen: Pen::default(),
        })
    }

    /// The same for a task whose outcomes are read as entries: see `entry.rs`.
    pub(crate) fn have_runs(&mut self) {
        self.pen.runs = true;
    }

    pub(crate) fn items(&self) -> u32 {
        self.items
    }

    /// Bytes so far.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.block.as_ref().map_or(self.len, Writer::len)
    }

    /// Adds an item with `encode`. On an error the task is as it was.
    #[inline]
    pub(crate) fn add<E: From<OutOfMemory>>(
        &mut self,
        encode: impl FnOnce(&mut Value<'_, Self>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.len();
        let encoded = encode(&mut Value(self));
        match encoded {
            Ok(()) => {
                self.end(Tag::Value);
                self.items += 1;
            }
            Err(_) => self.undo(start),
        }
        encoded
    }

    /// Places for the next items, as long as they are numbers of this kind: as many as there are until
    /// the task has `items` items or `bytes` bytes; `None` if there is none. See
    /// [`add_numbers`](Self::add_numbers).
    #[inline]
    pub(crate) fn places_up_to(
        &mut self,
        items: u32,
        bytes: usize,
    ) -> Option<(NumberKind, &mut [[u8; NUMBER]])> {
        let left = items.saturating_sub(self.items) as usize;
        let left = left.min(bytes.saturating_sub(self.len()).div_ceil(NUMBER));
        let (kind, places) = self.places()?;
        let most = places.len().min(left);
        (most > 0).then(|| (kind, &mut places[..most]))
    }

    /// Adds the items in the first `count` places.
    #[inline]
    pub(crate) fn add_numbers(&mut self, count: usize) {
        self.filled(count);
        self.items += count as u32;
    }

    /// Adds an item, with what it holds on to.
    pub(crate) fn add_item<A: Serialize>(&mut self, item: &A) -> Result<(), EncodeError> {
        let (added, passengers) = boarding(|| self.add(|sink| encode(item, sink)));
        added.and_then(|()| match passengers.is_empty() {
            true => Ok(()),
            false => self.carry(&passengers),
        })
    }

    /// Has the task keep the objects whose handles are in its items.
    pub(crate) fn carry(&mut self, passengers: &Passengers) -> Result<(), EncodeError> {
        let id = match &self.block {
            Some(block) => block.id(),
            None => self.spill(0)?.id(),
        };
        let boarded = passengers.board(id);
        boarded.map_err(|error| EncodeError::Failed(error.to_string()))
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.block {
            Some(block) => block.bytes_mut(),
            // SAFETY: the cell is free and ours to fill.
            None => unsafe { small_input(self.cell) },
        }
    }

    /// Takes over a whole input.
    pub(crate) fn take(&mut self, prepared: Prepared) -> Result<(), EncodeError> {
        self.items = prepared.items;
        match prepared.input {
            Input::Items(items) => {
                // What does not fit into the cell goes into a block of that size.
                self.expected = items.bytes().len();
                self.put(items.bytes())?;
                match items.passengers() {
                    Some(passengers) => self.carry(passengers),
                    None => Ok(()),
                }
            }
            Input::Block(block) => {
                self.block = Some(*block);
                Ok(())
            }
        }
    }

    /// Makes the cell ready to be submitted. Its items are the call's from number `first` on.
    pub(crate) fn finish(&mut self, terms: &Terms, first: u64, attempt: u32) -> u32 {
        let cell = self.cell;
        terms.write(cell);
        cell.items.store(self.items, Ordering::Relaxed);
        cell.runs.ensure(self.pen.runs.into());
        cell.first.store(first, Ordering::Relaxed);
        cell.attempt.store(attempt, Ordering::Relaxed);
        let len = self.len();
        cell.input_len.store(len as u64, Ordering::Relaxed);
        // The block is the cell's from now on, until the cell is recycled.
        let block = self.block.take();
        let block = block.map_or(0, |block| block.finish().0.into_id().to_word());
        cell.input.store(block, Ordering::Relaxed);
        for word in [&cell.output, &cell.output_len, &cell.nanos] {
            word.store(0, Ordering::Relaxed);
        }
        cell.output_old.ensure(0);
        cell.output_new.ensure(0);
        cell.set_at(0, Phase::Idle);
        self.index
    }

    #[cold]
    fn spill(&mut self, more: usize) -> Result<&mut Writer, OutOfMemory> {
        if self.block.is_none() {
            let mut block = Writer::new(self.pool.shared.family, self.expected.max(SMALL + more))?;
            let len = self.len;
            block.extend(&self.bytes_mut()[..len])?;
            self.block = Some(block);
        }
        self.block.as_mut().ok_or(OutOfMemory::new(more))
    }
}

impl Page for Filling<'_> {
    #[inline]
    fn pen(&mut self) -> &mut Pen {
        &mut self.pen
    }

    #[inline]
    fn len(&self) -> usize {
        Filling::len(self)
    }

    #[inline]
    fn write_over(&mut self, at: usize, header: [u8; HEADER]) {
        if let Some(place) = place_for_word(self.bytes_mut(), at) {
            *place = header;
        }
    }

    fn cut(&mut self, len: usize) {
        match &mut self.block {
            Some(block) => block.truncate(len),
            None => self.len = len,
        }
    }

    #[inline]
    fn room(&mut self) -> &mut [u8] {
        match &mut self.block {
            Some(block) => block.room_mut(),
            // SAFETY: the cell is free and ours to fill.
            None => unsafe { small_input(self.cell) }
                .get_mut(self.len..)
                .unwrap_or_default(),
        }
    }

    #[inline]
    fn wrote(&mut self, bytes: usize) {
        match &mut self.block {
            Some(block) => block.wrote(bytes),
            None => self.len += bytes,
        }
    }
}

impl Sink for Filling<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        if let Some(block) = &mut self.block {
            return block.extend(bytes);
        }
        let end = self.len + bytes.len();
        if end > SMALL {
            return self.spill(bytes.len())?.extend(bytes);
        }
        let start = self.len;
        copy_short(&mut self.bytes_mut()[start..end], bytes);
        self.len = end;
        Ok(())
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        match &mut self.block {
            Some(block) => block.push(byte),
            None => self.put(&[byte]),
        }
    }

    #[inline]
    fn put_word(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        if let Some(block) = &mut self.block {
            return block.extend_word(word, len);
        }
        let start = self.len;
        match place_for_word(self.bytes_mut(), start) {
            Some(place) if len <= size_of::<u64>() => {
                *place = word.to_le_bytes();
                self.len = start + len;
                Ok(())
            }
            _ => self.put_by_parts(word, len),
        }
    }
}

impl Filling<'_> {
    #[cold]
    fn put_by_parts(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        self.put(&word.to_le_bytes()[..len])
    }
}

/// Frees the blocks of a cell's task.
pub(crate) fn free_blocks(pool: &Inner, cell: &Cell) {
    let shared = &pool.shared;
    for word in [
        &cell.input,
        &cell.output,
        &cell.output_old,
        &cell.output_new,
    ] {
        if word.load(Ordering::Relaxed) != 0
            && let Some(block) = BlockId::from_word(word.swap(0, Ordering::Relaxed))
        {
            shared.free(block);
        }
    }
}
