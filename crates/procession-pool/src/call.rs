//! One call's tasks: filled, submitted, collected.
//!
//! # Safety
//!
//! Fills cells that were taken from the free list, and reads those that are done.
#![allow(unsafe_code, reason = "borrows the bytes of this call's own cells")]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use procession_primitives::{
    BlockId, CodeAddress, EncodeError, OutOfMemory, Passengers, Phase, Sink, Writer, copy_short,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::cell::{Cell, SMALL};
use crate::inner::Inner;
use crate::mailbox::{self, SLEEPING};
use crate::record::{self, HEADER, Tag};
use crate::task::{Trampoline, run_items};

/// A function, as workers find it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    trampoline: CodeAddress,
    function: CodeAddress,
}

impl Code {
    pub(crate) fn of<A: DeserializeOwned, R: Serialize>(
        function: fn(A) -> R,
    ) -> Result<Code, TaskError> {
        let trampoline: Trampoline = run_items::<A, R>;
        let named = |address| {
            CodeAddress::of(address).map_err(|error| TaskError::Function(Box::new(error)))
        };
        Ok(Code {
            trampoline: named(trampoline as usize)?,
            function: named(function as usize)?,
        })
    }
}

/// The tasks of one call that are not yet collected.
#[derive(Debug)]
pub(crate) struct Call {
    mailbox: u32,
    pub(crate) outstanding: usize,
    finished: Vec<u32>,
}

/// How long a call looks for its outcome before it sleeps: about what a wake-up costs.
pub(crate) const SPIN: Duration = Duration::from_micros(20);

impl Call {
    /// A call whose mailbox is cell `mailbox`, which is the caller's.
    pub(crate) fn new(pool: &Inner, mailbox: u32) -> Call {
        if let Some(cell) = pool.shared.cell(mailbox) {
            cell.inbox.store(0, Ordering::Relaxed);
        }
        Call {
            mailbox,
            outstanding: 0,
            finished: Vec::new(),
        }
    }

    /// Hands the filled cell `index` to the workers.
    pub(crate) fn submit(&mut self, pool: &Inner, index: u32) {
        let Some(cell) = pool.shared.cell(index) else {
            return;
        };
        cell.mailbox.store(self.mailbox, Ordering::Relaxed);
        self.outstanding += 1;
        cell.queue();
        pool.offer(index);
    }

    /// A finished task, if there is one by now.
    pub(crate) fn try_next(&mut self, pool: &Inner) -> Option<u32> {
        if self.finished.is_empty()
            && let Some(cell) = pool.shared.cell(self.mailbox)
        {
            mailbox::take(&pool.shared, &cell.inbox, &mut self.finished);
        }
        let index = self.finished.pop()?;
        self.outstanding -= 1;
        Some(index)
    }

    /// The next finished task. Waits, settling and replacing dead workers meanwhile.
    ///
    /// Spins for `spin` before it sleeps. An error when the pool has no workers left.
    pub(crate) fn next(&mut self, pool: &Inner, spin: Duration) -> Result<u32, TaskError> {
        if let Some(index) = self.try_next(pool) {
            return Ok(index);
        }
        let inbox = &pool
            .shared
            .cell(self.mailbox)
            .ok_or(TaskError::Closed)?
            .inbox;
        if spin > Duration::ZERO {
            let start = Instant::now();
            while start.elapsed() < spin {
                for _ in 0..16 {
                    if inbox.load(Ordering::Relaxed) != 0 {
                        break;
                    }
                    std::hint::spin_loop();
                }
                if let Some(index) = self.try_next(pool) {
                    return Ok(index);
                }
            }
        }
        loop {
            // Read before the workers are looked at: a later death ends the sleep below.
            let news = pool.shared.family.news();
            pool.attend(news);
            if let Some(index) = self.try_next(pool) {
                return Ok(index);
            }
            if self.collect_orphans(pool) {
                continue;
            }
            if let Some(error) = pool.crew.is_deserted() {
                return Err(error);
            }
            // Relaxed: the word alone matters; what it stands for is read after `take`.
            let asleep = inbox.compare_exchange(0, SLEEPING, Ordering::Relaxed, Ordering::Relaxed);
            if asleep.is_ok() {
                pool.shared.family.park(inbox, SLEEPING, news, None);
            }
        }
    }

    /// Finds finished tasks whose worker died before it could tell.
    fn collect_orphans(&mut self, pool: &Inner) -> bool {
        let mine = |cell: &Cell| cell.mailbox.load(Ordering::Relaxed) == self.mailbox;
        pool.crew
            .take_orphans(&pool.shared, mine, &mut self.finished);
        if let Some(cell) = pool.shared.cell(self.mailbox)
            && !self.finished.is_empty()
        {
            // Some may have come into the mailbox since it was looked at, or be orphans twice
            // over, where the next worker in the same place has died, too.
            mailbox::take(&pool.shared, &cell.inbox, &mut self.finished);
            self.finished.sort_unstable();
            self.finished.dedup();
        }
        !self.finished.is_empty()
    }

    /// Takes back what no worker has begun. Cells so freed are the pool's again.
    pub(crate) fn cancel(&mut self, pool: &Inner) {
        for (index, cell) in pool.shared.cells() {
            // A cell that serves as mailbox of another call is never `QUEUED` for this one.
            if cell.mailbox.load(Ordering::Relaxed) == self.mailbox && cell.cancel() {
                self.outstanding -= 1;
                self.put_away(pool, index);
            }
        }
    }

    /// Gives a task's cell back, unless it is the mailbox too.
    fn put_away(&self, pool: &Inner, index: u32) {
        if index != self.mailbox {
            pool.recycle(index);
        }
    }

    /// Frees the mailbox of a call without tasks; hands the others to the pool to be swept up.
    pub(crate) fn end(mut self, pool: &Inner) {
        if self.outstanding > 0 {
            self.cancel(pool);
        }
        if self.outstanding > 0 {
            pool.abandon(self);
        } else {
            pool.recycle(self.mailbox);
        }
    }

    /// Collects what has finished of an abandoned call. Whether that was all.
    pub(crate) fn sweep(&mut self, pool: &Inner) -> bool {
        loop {
            while let Some(index) = self.try_next(pool) {
                self.put_away(pool, index);
            }
            // A mailbox is a task, too, and would be found again.
            if self.outstanding == 0 || !self.collect_orphans(pool) {
                break;
            }
        }
        if self.outstanding == 0 {
            pool.recycle(self.mailbox);
        }
        self.outstanding == 0
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
}

impl<'a> Filling<'a> {
    /// Starts to fill cell `index`, which was taken from the free list.
    ///
    /// When it no longer fits into the cell, the block has room for `expected` bytes at once.
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
        })
    }

    pub(crate) fn items(&self) -> u32 {
        self.items
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.block.as_ref().map_or(self.len, Writer::len)
    }

    /// Adds an item with `encode`. On an error the task is as it was.
    #[inline]
    pub(crate) fn add<E: From<OutOfMemory>>(
        &mut self,
        encode: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.len();
        self.put(&[0; HEADER])?;
        let encoded = encode(self);
        match encoded {
            Ok(()) => {
                let len = self.len() - start - HEADER;
                self.bytes_mut()[start..start + HEADER]
                    .copy_from_slice(&record::header(Tag::Value, len));
                self.items += 1;
            }
            Err(_) => self.cut(start),
        }
        encoded
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

    /// Drops what was written from `start` on: an item that was not finished.
    pub(crate) fn cut(&mut self, start: usize) {
        match &mut self.block {
            Some(block) => block.truncate(start),
            None => self.len = start,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.block {
            Some(block) => block.bytes_mut(),
            // SAFETY: the cell is free and ours to fill.
            None => unsafe { self.pool.shared.small_input(self.index) },
        }
    }

    /// Makes the cell ready for `Call::submit`.
    pub(crate) fn finish(self, code: Code, first: u64) -> u32 {
        let cell = self.cell;
        cell.set_code(code.trampoline, code.function);
        cell.items.store(self.items, Ordering::Relaxed);
        cell.first.store(first, Ordering::Relaxed);
        let len = self.len();
        cell.input_len.store(len as u64, Ordering::Relaxed);
        // The block is the cell's from now on, until the cell is recycled.
        let block = self
            .block
            .map_or(0, |block| block.finish().0.into_id().to_word());
        cell.input.store(block, Ordering::Relaxed);
        for word in [
            &cell.output,
            &cell.output_len,
            &cell.output_old,
            &cell.output_new,
            &cell.nanos,
        ] {
            word.store(0, Ordering::Relaxed);
        }
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
}

/// Reads the outcomes of a finished task.
pub(crate) struct Collected {
    pub(crate) first: u64,
    pub(crate) items: u32,
    pub(crate) nanos: u64,
    pub(crate) input_len: u64,
    pub(crate) output: &'static [u8],
}

impl Collected {
    /// What finished cell `index` holds, until it is recycled.
    pub(crate) fn read(pool: &Inner, index: u32) -> Option<Collected> {
        let cell = pool.shared.cell(index)?;
        // SAFETY: `DONE`, so the program's; read before the cell is recycled.
        let output = unsafe { pool.shared.output(index, cell) };
        Some(Collected {
            first: cell.first.load(Ordering::Relaxed),
            items: cell.items.load(Ordering::Relaxed),
            nanos: cell.nanos.load(Ordering::Relaxed),
            input_len: cell.input_len.load(Ordering::Relaxed),
            output: output.unwrap_or_default(),
        })
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
