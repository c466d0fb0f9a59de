//! A task in the hands of the worker that runs it.
//!
//! # Safety
//!
//! The worker has claimed the cell, so its input and output are this worker's.
#![allow(unsafe_code, reason = "writes a claimed task's output in place")]

use std::iter::Zip;
use std::slice;
use std::sync::atomic::Ordering;

use procession_primitives::{
    Death, DecodeError, EncodeError, Number, NumberKind, Panic, Phase, encode_unguarded,
    own_memory, take_boarded,
};
use serde::Serialize;

use crate::cell::Cell;
use crate::entry::{Entries, Entry, NUMBER, Page, Value};
use crate::output::Output;
use crate::record::Tag;
use crate::shared::{Shared, WorkerLine};

/// A claimed task.
pub(crate) struct Task<'a> {
    shared: Shared,
    cell: &'static Cell,
    inputs: Entries<'a>,
    item: u32,
    output: Output,
    /// Where the record of the item in progress starts; `None` between two items.
    record: Option<usize>,
    /// The worker's line, if its items are guarded.
    guard: Option<&'static WorkerLine>,
    /// Whether they may not take for ever.
    timed: bool,
    /// Items that the worker may still begin in its life.
    left: u64,
    /// Bytes of private memory with which it begins no further one, unless it would be its first.
    memory: Option<u64>,
    is_first: bool,
}

/// Numbers of a task that a worker goes through one after the other, as long as their values are
/// numbers, too.
///
/// What the shared memory says meanwhile is the same as for any item. The task is told when they are over
/// ([`Task::went`]); should a panic come before, it sees there how far they have come.
pub(crate) struct Numbers<'a> {
    cell: &'static Cell,
    kind: NumberKind,
    /// Each with the place for its value.
    left: Zip<slice::Iter<'a, [u8; NUMBER]>, slice::IterMut<'a, [u8; NUMBER]>>,
    /// What the values have to be.
    value_kind: NumberKind,
    /// The first of those that are left.
    item: u32,
    /// Of the output before its value.
    len: usize,
}

impl<'a> Numbers<'a> {
    /// Begins the next one. Also returns the place for its value.
    #[inline]
    pub(crate) fn begin(&mut self) -> Option<(Number, &'a mut [u8; NUMBER])> {
        let (bits, place) = self.left.next()?;
        self.enter(Phase::Decoding);
        Some((Number::new(self.kind, u64::from_le_bytes(*bits)), place))
    }

    #[inline]
    pub(crate) fn enter(&self, phase: Phase) {
        self.cell.set_at(self.item, phase);
    }

    /// Commits `value` as that of the one in hand. False if it is to be encoded in another way.
    #[inline]
    pub(crate) fn finish<R: Serialize>(&mut self, place: &mut [u8; NUMBER], value: &R) -> bool {
        match Number::of(value) {
            Some(number) if number.kind() == self.value_kind => {
                *place = number.bits().to_le_bytes();
                self.len += NUMBER;
                self.cell.commit(self.len);
                self.item += 1;
                true
            }
            _ => false,
        }
    }

    /// The item in hand, or the one behind the last.
    #[inline]
    pub(crate) fn item(&self) -> u32 {
        self.item
    }
}

/// Why an item in progress when its worker died has no value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// The worker died of its own.
    Died,
    /// It was killed since the item took longer than so many microseconds.
    TimedOut(u64),
    /// It was killed since nobody wants the item's value any more.
    Cancelled,
}

impl Task<'_> {
    /// The claimed task in `cell`. Goes on where a dead worker may have left it.
    #[inline(always)]
    pub(crate) fn resume(shared: Shared, cell: &'static Cell) -> Option<Task<'static>> {
        // SAFETY: claimed by this worker.
        let input = unsafe { shared.input(cell) }?;
        let done = match cell.output_len.load(Ordering::Relaxed) {
            // Nearly always.
            0 => 0,
            // SAFETY: as above.
            _ => Entries::new(unsafe { shared.output(cell) }?).count(),
        };
        let mut inputs = Entries::new(input);
        for _ in 0..done {
            inputs.next()?;
        }
        let output = Output::open(shared, cell)?;
        let item = done as u32;
        Some(Task {
            shared,
            cell,
            inputs,
            item,
            output,
            record: None,
            guard: None,
            timed: false,
            left: u64::MAX,
            memory: None,
            is_first: false,
        })
    }

    /// For the worker with this line, which may begin `left` more items, as long as it has less than
    /// `memory`.
    #[inline]
    pub(crate) fn work_by(&mut self, line: &'static WorkerLine, left: u64, memory: Option<u64>) {
        self.memory = memory;
        self.is_first = line.items.load(Ordering::Relaxed) == 0;
        let guarded = self.cell.guarded.load(Ordering::Relaxed) != 0;
        self.guard = guarded.then_some(line);
        let limits = [&self.cell.notice, &self.cell.limit];
        self.timed = limits
            .iter()
            .any(|limit| limit.load(Ordering::Relaxed) != 0);
        self.left = left;
    }

    /// Which call the task is of.
    pub(crate) fn call(&self) -> u64 {
        self.cell.call.load(Ordering::Relaxed)
    }

    /// What all tasks of the call have in common.
    pub(crate) fn context(&self) -> &'static [u8] {
        // SAFETY: the program frees it when none of the call's tasks is with a worker any more.
        unsafe { self.shared.context(self.cell) }.unwrap_or_default()
    }

    /// Says that nothing of it is in hand any more.
    pub(crate) fn end(&self) {
        if let Some(line) = self.guard {
            line.unguard();
        }
    }

    /// Items that have a record.
    pub(crate) fn done(&self) -> u32 {
        self.item
    }

    /// Whether all items have a record.
    pub(crate) fn is_complete(&self) -> bool {
        self.item >= self.cell.items.load(Ordering::Relaxed)
    }

    /// Leaves the items that are not begun to another worker.
    pub(crate) fn leave(&self) {
        self.cell.set_at(self.item, Phase::Idle);
    }

    /// Whether the worker had better make room for a fresh one.
    #[cold]
    fn is_full(&mut self, most: u64) -> bool {
        let full = !self.is_first && own_memory().is_ok_and(|bytes| bytes >= most);
        if full {
            self.left = 0;
        }
        full
    }

    /// Whether the worker is to begin no more items.
    pub(crate) fn was_last(&self) -> bool {
        self.left == 0
    }

    /// The next item.
    #[inline]
    pub(crate) fn begin(&mut self) -> Option<Entry<'static>> {
        if self.left == 0 || self.memory.is_some_and(|most| self.is_full(most)) {
            return None;
        }
        let mut item = self.inputs.next()?;
        self.cell.set_at(self.item, Phase::Decoding);
        self.record = Some(self.output.len);
        while let Some(line) = self.guard
            && !line.guard(&self.cell.stop, self.timed)
        {
            self.guard = None;
            self.fail(Tag::Cancelled, &());
            self.guard = Some(line);
            item = self.inputs.next()?;
            self.cell.set_at(self.item, Phase::Decoding);
            self.record = Some(self.output.len);
        }
        Some(match item {
            Entry::Number(number) => Entry::Number(number),
            // SAFETY: the input lives as long as the claim, and no reference leaves `run.rs`.
            Entry::Record(tag, bytes) => Entry::Record(tag, unsafe {
                slice::from_raw_parts(bytes.as_ptr(), bytes.len())
            }),
        })
    }

    #[inline]
    pub(crate) fn enter(&self, phase: Phase) {
        self.cell.set_at(self.item, phase);
    }

    #[inline]
    pub(crate) fn finish<R: Serialize>(&mut self, value: &R) {
        match encode_unguarded(value, &mut Value(&mut self.output)) {
            // What is no number may hold on to something.
            Ok(()) if self.output.end(Tag::Value) => match self.take_along() {
                Ok(()) => self.commit(),
                Err(text) => self.fail(Tag::ValueEncode, &text),
            },
            Ok(()) => self.commit(),
            Err(error) => self.not_encoded(&error),
        }
    }

    #[cold]
    fn not_encoded(&mut self, error: &EncodeError) {
        drop(take_boarded());
        self.fail(Tag::ValueEncode, &error.to_string());
    }

    /// Has the output keep the objects whose handles are in the value in progress.
    #[inline]
    fn take_along(&mut self) -> Result<(), String> {
        match take_boarded() {
            None => Ok(()),
            Some(passengers) => self.output.carry(&passengers),
        }
    }

    /// Records that there is no value for the item in progress.
    #[cold]
    pub(crate) fn fail<T: Serialize>(&mut self, tag: Tag, why: &T) {
        if self.try_fail(tag, why).is_err() {
            // No memory for the very reason: die, and let the death be the reason.
            std::process::abort();
        }
    }

    fn try_fail<T: Serialize>(&mut self, tag: Tag, why: &T) -> Result<(), EncodeError> {
        let Some(start) = self.record else {
            return Ok(());
        };
        self.output.undo(start);
        self.output.begin_record()?;
        encode_unguarded(why, &mut self.output)?;
        self.output.end(tag);
        self.commit();
        Ok(())
    }

    /// Records the end of the item that the dead worker had in progress, if it had one. Whether
    /// all items have a record now. Run by the program, which the task falls to.
    pub(crate) fn settle(&mut self, death: &Death, verdict: Verdict) -> Result<bool, EncodeError> {
        let (at, phase) = self.cell.at();
        let begun = at == self.item && !matches!(phase, Phase::Idle | Phase::Starting);
        if begun && !self.is_complete() {
            self.record = Some(self.output.len);
            match verdict {
                Verdict::Died => self.try_fail(Tag::Died, &death_in(phase, death))?,
                Verdict::TimedOut(micros) => self.try_fail(Tag::TimedOut, &micros)?,
                Verdict::Cancelled => self.try_fail(Tag::Cancelled, &())?,
            }
        }
        self.leave();
        Ok(self.is_complete())
    }

    #[inline]
    fn commit(&mut self) {
        if let Some(line) = self.guard {
            line.unguard();
        }
        self.cell.commit(self.output.len);
        if let Some(line) = self.guard {
            line.guard_rest();
        }
        self.record = None;
        self.item += 1;
        self.left = self.left.wrapping_sub(1);
        self.is_first = false;
    }

    /// The numbers that are next, if they are of a run and nothing has to be looked at between two of
    /// them.
    #[inline]
    pub(crate) fn numbers(&mut self) -> Option<Numbers<'_>> {
        let (kind, items) = self.inputs.numbers();
        if items.is_empty() || self.guard.is_some() || self.memory.is_some() {
            return None;
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let len = self.output.len;
        let (value_kind, places) = self.output.places()?;
        Some(Numbers {
            cell: self.cell,
            kind,
            left: items[..left.min(items.len())].iter().zip(places),
            value_kind,
            item: self.item,
            len,
        })
    }

    /// Counts the [`numbers`](Self::numbers) before `item`, which is in hand itself or not.
    #[inline]
    pub(crate) fn went(&mut self, item: u32, is_in_hand: bool) {
        let done = (item - self.item) as usize;
        self.inputs.skip_numbers(done + usize::from(is_in_hand));
        self.output.filled(done);
        self.record = is_in_hand.then_some(self.output.len);
        self.item = item;
        self.left = self.left.wrapping_sub(done as u64);
        self.is_first &= done == 0;
    }

    #[cold]
    pub(crate) fn panicked(&mut self, panic: Box<Panic>) {
        let (item, _) = self.cell.at();
        if self.record.is_none() && item >= self.item {
            // One of the numbers that were gone through.
            self.went(item, true);
        }
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

/// `death`, of a worker that had come as far as `phase` with its item.
fn death_in(phase: Phase, death: &Death) -> Death {
    let died = Death::new(death.pid(), death.status(), phase);
    match death.stderr_tail() {
        Some(tail) => died.with_output(tail.to_owned()),
        None => died,
    }
}
