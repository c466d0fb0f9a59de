//! A pool's shared memory: header, ring, worker lines and cells, in one block of the arena.
//!
//! # Safety
//!
//! Hands out a cell's bytes. The cell's state says who may touch them: its filler while `FREE`,
//! its claimer while `CLAIMED`, the program otherwise.
#![allow(unsafe_code, reason = "borrows the bytes of cells in shared memory")]

use core::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use procession_primitives::{Arena, BlockId, Family, MemberId};
use serde::{Deserialize, Serialize};

use crate::cell::{CELL_STRIDE, Cell, SMALL};
use crate::idle::WORDS;

/// Tasks that a pool can have at once.
pub(crate) const CELLS: u32 = 2048;
/// Hints that a ring holds: more than tasks, since a death may offer some again.
const RING: u64 = 4096;
/// Rings: one per priority, the most urgent first.
pub(crate) const RINGS: usize = 3;
/// Every so many tasks a worker looks at the rings the other way round: nothing starves.
const AGEING: u64 = 16;

pub(crate) const OPEN: u32 = 0;
/// No more tasks are taken, but some wait in the program for cells.
pub(crate) const CLOSING: u32 = 1;
/// No more tasks will come: a worker with nothing to do leaves.
pub(crate) const CLOSED: u32 = 2;

/// A word alone on its cache lines.
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

#[repr(C)]
pub(crate) struct Header {
    pub(crate) phase: Line<AtomicU32>,
    /// A bit per worker that sleeps, and one per worker that looks for work: see `idle.rs`.
    pub(crate) asleep: Line<[AtomicU64; WORDS]>,
    pub(crate) searching: Line<[AtomicU64; WORDS]>,
    /// Cells that were ever taken: those beyond were never touched.
    pub(crate) used: Line<AtomicU32>,
    /// Changes when a call gives cells back while another one waits for some.
    pub(crate) freed: Line<AtomicU32>,
    /// The pool's workers are those with a smaller index; others leave.
    pub(crate) target: Line<AtomicU32>,
    /// Finished tasks that no thread waits for: see `hub.rs`.
    pub(crate) inbox: Line<AtomicU32>,
    /// What the keeper sleeps on.
    pub(crate) keeper: Line<AtomicU32>,
    /// Whether more tasks wait for cells: see `hub.rs`.
    pub(crate) hungry: Line<AtomicU32>,
    /// Next hint to take, in each ring. Advanced by workers.
    head: [Line<AtomicU64>; RINGS],
    /// Next hint to write, in each ring. Advanced by the program.
    tail: [Line<AtomicU64>; RINGS],
}

/// What one thread of the program at a time has, to write hints.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// Where each ring's head was when it was last looked at: a look takes the line from the workers,
    /// and is needed once in a ring's length.
    heads: [u64; RINGS],
    /// Where each ring's tail is.
    tails: [u64; RINGS],
}

/// What a worker tells of itself, and what it is told.
#[repr(C, align(128))]
pub(crate) struct WorkerLine {
    /// Items finished in this life.
    pub(crate) items: AtomicU64,
    /// Nanoseconds that it has worked in this life.
    pub(crate) busy: AtomicU64,
    /// When it has reached its loop, on the monotonic clock; 0 before. See `guard.rs`.
    pub(crate) ready: AtomicU64,
    /// When it has left its loop, 0 before.
    pub(crate) leaving_at: AtomicU64,
    /// Changes when the worker is called while it sleeps.
    pub(crate) call: AtomicU32,
    /// A task for this worker alone: its cell + 1.
    pub(crate) letter: AtomicU32,
    /// The task in hand: its cell + 1. Left behind by the dead.
    pub(crate) current: AtomicU32,
    reserved: AtomicU32,
    /// See `guard.rs`.
    pub(crate) guard: AtomicU64,
    /// When the guarded item in hand was begun, in microseconds of the monotonic clock.
    pub(crate) begun_at: AtomicU64,
    /// Microseconds that it had taken when its clock was stopped.
    pub(crate) spent: AtomicU64,
}

// SAFETY: atomics only.
unsafe impl procession_primitives::Shared for Header {}
// SAFETY: atomics only.
unsafe impl procession_primitives::Shared for WorkerLine {}
// SAFETY: atomics only.
unsafe impl procession_primitives::Shared for Cell {}

const RING_AT: u64 = size_of::<Header>() as u64;
const CELLS_AT: u64 = (RING_AT + RINGS as u64 * RING * 4).next_multiple_of(CELL_STRIDE as u64);
const WORKERS_AT: u64 = CELLS_AT + CELLS as u64 * CELL_STRIDE as u64;

/// Where in the block cell `index` is.
fn cell_at(index: u32) -> u64 {
    CELLS_AT + u64::from(index) * CELL_STRIDE as u64
}

/// Bytes that a pool with room for `workers` needs.
pub(crate) fn size_for(workers: u32) -> usize {
    WORKERS_AT as usize + workers as usize * size_of::<WorkerLine>()
}

/// Where a pool is: sent to its workers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) room: u32,
    pub(crate) owner: MemberId,
}

/// A pool's shared memory, as seen from the program or from a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    pub(crate) family: &'static Family,
    place: Place,
    header: &'static Header,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("phase", &self.phase.0)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The pool at `place`; `None` if nothing of that shape fits there.
    pub(crate) fn at(family: &'static Family, place: Place) -> Option<Shared> {
        // SAFETY: `Inner::new` has set this block aside for a pool of this shape; see `Place`.
        let header = unsafe { family.arena().get(place.offset) }?;
        let last = place.offset.checked_add(size_for(place.room) as u64)?;
        // SAFETY: as above; only asks whether all of it lies in the arena.
        let _: &AtomicU32 = unsafe { family.arena().get(last.checked_sub(4)?) }?;
        Some(Shared {
            family,
            place,
            header,
        })
    }

    /// The object `at` bytes into the pool's block.
    fn object<T: procession_primitives::Shared>(&self, at: u64) -> Option<&'static T> {
        // SAFETY: `at` is computed from the layout above, so it is where a `T` lies; and the block
        // outlives the pool's workers.
        unsafe { self.family.arena().get(self.place.offset + at) }
    }

    pub(crate) fn arena(&self) -> &'static Arena {
        self.family.arena()
    }

    pub(crate) fn header(&self) -> &'static Header {
        self.header
    }

    /// How many workers there is room for.
    pub(crate) fn room(&self) -> u32 {
        self.place.room
    }

    /// The workers that there are meant to be.
    pub(crate) fn target(&self) -> u32 {
        self.header.target.0.load(Ordering::Relaxed)
    }

    /// The member whose pool it is.
    pub(crate) fn owner(&self) -> MemberId {
        self.place.owner
    }

    #[inline]
    pub(crate) fn cell(&self, index: u32) -> Option<&'static Cell> {
        (index < CELLS).then(|| self.object(cell_at(index)))?
    }

    /// All cells that were ever taken.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (u32, &'static Cell)> {
        let used = self.header.used.0.load(Ordering::Relaxed).min(CELLS);
        (0..used).filter_map(|index| Some((index, self.cell(index)?)))
    }

    pub(crate) fn worker(&self, index: u32) -> Option<&'static WorkerLine> {
        let at = WORKERS_AT + u64::from(index) * size_of::<WorkerLine>() as u64;
        (index < self.place.room).then(|| self.object(at))?
    }

    fn hint(&self, ring: usize, position: u64) -> Option<&'static AtomicU32> {
        self.object(RING_AT + (ring as u64 * RING + position % RING) * 4)
    }

    /// Frees a block of a task that nobody uses any more.
    pub(crate) fn free(&self, block: BlockId) {
        // SAFETY: tasks' blocks are the program's, which leaves them to whom the task belongs by
        // its state; that is the caller.
        unsafe { self.arena().free_for(block, self.owner().slot()) };
    }

    /// Offers cell `index` to the workers. False if its ring is full.
    pub(crate) fn offer(&self, offers: &mut Offers, index: u32, ring: usize) -> bool {
        let ring = ring.min(RINGS - 1);
        let tail = offers.tails[ring];
        let head = &mut offers.heads[ring];
        if tail - *head >= RING {
            // Acquire: the slot is written only after its last reader has moved on.
            *head = self.header.head[ring].0.load(Ordering::Acquire);
            if tail - *head >= RING {
                return false;
            }
        }
        let Some(hint) = self.hint(ring, tail) else {
            return false;
        };
        hint.store(index, Ordering::Relaxed);
        // Release: whoever sees the new tail sees the hint.
        self.header.tail[ring].0.store(tail + 1, Ordering::Release);
        offers.tails[ring] = tail + 1;
        true
    }

    /// Takes the next hint: the most urgent one, but for every so many `turns`.
    pub(crate) fn take_hint(&self, turns: u64) -> Option<u32> {
        if turns % AGEING == AGEING - 1 {
            (0..RINGS).rev().find_map(|ring| self.take_hint_of(ring))
        } else {
            (0..RINGS).find_map(|ring| self.take_hint_of(ring))
        }
    }

    #[inline]
    fn take_hint_of(&self, ring: usize) -> Option<u32> {
        let head = &self.header.head[ring].0;
        let mut at = head.load(Ordering::Relaxed);
        loop {
            // Acquire: pairs with the Release of `offer`.
            if at >= self.header.tail[ring].0.load(Ordering::Acquire) {
                return None;
            }
            let index = self.hint(ring, at)?.load(Ordering::Relaxed);
            // Release: pairs with the Acquire of `offer`, which may now overwrite the slot.
            match head.compare_exchange_weak(at, at + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(index),
                Err(now) => at = now,
            }
        }
    }

    /// The cell of the hint that is next, most likely.
    #[inline]
    pub(crate) fn next_cell(&self) -> Option<&'static Cell> {
        let next = |ring: usize| {
            let at = self.header().head[ring].0.load(Ordering::Relaxed);
            // Acquire: pairs with the Release of `offer`.
            let waits = at < self.header.tail[ring].0.load(Ordering::Acquire);
            waits.then(|| self.hint(ring, at))?
        };
        let hint = (0..RINGS).find_map(next)?;
        self.cell(hint.load(Ordering::Relaxed))
    }

    /// Whether there is a hint to take.
    #[inline]
    pub(crate) fn has_hints(&self) -> bool {
        // Acquire: a look at the rest follows.
        let waits = |ring: usize| {
            let tail = self.header.tail[ring].0.load(Ordering::Acquire);
            self.header.head[ring].0.load(Ordering::Relaxed) < tail
        };
        (0..RINGS).any(waits)
    }

    /// The input of a task.
    ///
    /// # Safety
    ///
    /// The task is the caller's by its state, for `'a`.
    pub(crate) unsafe fn input<'a>(&self, cell: &'a Cell) -> Option<&'a [u8]> {
        let len = usize::try_from(cell.input_len.load(Ordering::Relaxed)).ok()?;
        match BlockId::from_word(cell.input.load(Ordering::Relaxed)) {
            // SAFETY: as promised by the caller; all blocks of tasks are the program's.
            Some(block) => unsafe { self.arena().borrow_block(block, self.owner(), len) },
            // SAFETY: as promised by the caller.
            None => unsafe { small_input(cell) }.get(..len),
        }
    }

    /// The committed output of a task.
    ///
    /// # Safety
    ///
    /// As [`input`](Self::input).
    pub(crate) unsafe fn output<'a>(&self, cell: &'a Cell) -> Option<&'a [u8]> {
        // Acquire: pairs with the Release of `Task`, which commits what is written.
        let len = usize::try_from(cell.output_len.load(Ordering::Acquire)).ok()?;
        match BlockId::from_word(cell.output.load(Ordering::Relaxed)) {
            // SAFETY: as in `input`.
            Some(block) => unsafe { self.arena().borrow_block(block, self.owner(), len) },
            // SAFETY: as promised by the caller.
            None => unsafe { small_output(cell) }.get(..len),
        }
    }

    /// What all tasks of a call have in common.
    ///
    /// # Safety
    ///
    /// The task is the caller's by its state, for `'a`.
    pub(crate) unsafe fn context<'a>(&self, cell: &Cell) -> Option<&'a [u8]> {
        let block = BlockId::from_word(cell.context.load(Ordering::Relaxed))?;
        let len = usize::try_from(cell.context_len.load(Ordering::Relaxed)).ok()?;
        // SAFETY: as promised by the caller: a call keeps it as long as its tasks.
        unsafe { self.arena().borrow_block(block, self.owner(), len) }
    }
}

/// The input bytes in a cell.
///
/// # Safety
///
/// The task is the caller's by its state, for `'a`; `FREE`, if the bytes are to be changed.
pub(crate) unsafe fn small_input<'a>(cell: &Cell) -> &'a mut [u8] {
    // SAFETY: atomics, so they may be changed; nobody else looks at them, as the caller promises.
    unsafe { slice::from_raw_parts_mut(cell.small_input.as_ptr().cast_mut().cast(), SMALL) }
}

/// The output bytes in a cell.
///
/// # Safety
///
/// The task is the caller's by its state, for `'a`.
pub(crate) unsafe fn small_output<'a>(cell: &Cell) -> &'a mut [u8] {
    // SAFETY: as in `small_input`.
    unsafe { slice::from_raw_parts_mut(cell.small_output.as_ptr().cast_mut().cast(), SMALL) }
}
