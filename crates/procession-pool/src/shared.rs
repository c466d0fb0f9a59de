//! A pool's shared memory: header, ring, worker lines and cells, in one block of the arena.
//!
//! # Safety
//!
//! Hands out a cell's bytes. The cell's state says who may touch them: its filler while `FREE`,
//! its claimer while `CLAIMED`, the program otherwise.
#![allow(unsafe_code, reason = "borrows the bytes of cells in shared memory")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use procession_primitives::{Arena, BlockId, Family, MemberId};
use serde::{Deserialize, Serialize};

use crate::cell::{CELL_STRIDE, Cell, SMALL, SMALL_INPUT_AT, SMALL_OUTPUT_AT};
use crate::idle::WORDS;

/// Tasks that a pool can have at once.
pub(crate) const CELLS: u32 = 2048;
/// Hints that the ring holds: more than tasks, since a death may offer some again.
const RING: u64 = 8192;

pub(crate) const OPEN: u32 = 0;
/// No more tasks will come: a worker with nothing to do leaves.
pub(crate) const CLOSED: u32 = 1;

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
    /// Next hint to take. Advanced by workers.
    head: Line<AtomicU64>,
    /// Next hint to write. Advanced by the program.
    tail: Line<AtomicU64>,
}

/// What a worker tells of itself.
#[repr(C, align(128))]
pub(crate) struct WorkerLine {
    /// Tasks claimed in this life; 0 means that it has not come to its first one.
    pub(crate) claims: AtomicU64,
    /// 1 once it has reached its loop.
    pub(crate) ready: AtomicU32,
    /// Changes when the worker is called while it sleeps.
    pub(crate) call: AtomicU32,
}

// SAFETY: atomics only.
unsafe impl procession_primitives::Shared for Header {}
// SAFETY: atomics only.
unsafe impl procession_primitives::Shared for WorkerLine {}
// SAFETY: atomics only.
unsafe impl procession_primitives::Shared for Cell {}

const RING_AT: u64 = size_of::<Header>() as u64;
const CELLS_AT: u64 = (RING_AT + RING * 4).next_multiple_of(CELL_STRIDE as u64);
const WORKERS_AT: u64 = CELLS_AT + CELLS as u64 * CELL_STRIDE as u64;

/// Where in the block cell `index` is.
fn cell_at(index: u32) -> u64 {
    CELLS_AT + u64::from(index) * CELL_STRIDE as u64
}

/// Bytes that a pool of `workers` needs.
pub(crate) fn size_for(workers: u32) -> usize {
    WORKERS_AT as usize + workers as usize * size_of::<WorkerLine>()
}

/// Where a pool is: sent to its workers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) workers: u32,
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
        let last = place.offset.checked_add(size_for(place.workers) as u64)?;
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

    /// How many workers the pool has.
    pub(crate) fn workers(&self) -> u32 {
        self.place.workers
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
        (index < self.place.workers).then(|| self.object(at))?
    }

    fn hint(&self, position: u64) -> Option<&'static AtomicU32> {
        self.object(RING_AT + position % RING * 4)
    }

    /// Frees a block of a task that nobody uses any more.
    pub(crate) fn free(&self, block: BlockId) {
        // SAFETY: tasks' blocks are the program's, which leaves them to whom the task belongs by
        // its state; that is the caller.
        unsafe { self.arena().free_for(block, self.owner().slot()) };
    }

    /// Offers cell `index` to the workers. False if the ring is full. One thread at a time.
    pub(crate) fn offer(&self, index: u32) -> bool {
        let tail = self.header.tail.0.load(Ordering::Relaxed);
        // Acquire: the slot is written only after its last reader has moved on.
        if tail - self.header.head.0.load(Ordering::Acquire) >= RING {
            return false;
        }
        let Some(hint) = self.hint(tail) else {
            return false;
        };
        hint.store(index, Ordering::Relaxed);
        // Release: whoever sees the new tail sees the hint.
        self.header.tail.0.store(tail + 1, Ordering::Release);
        true
    }

    /// Takes the next hint.
    pub(crate) fn take_hint(&self) -> Option<u32> {
        let head = &self.header.head.0;
        let mut at = head.load(Ordering::Relaxed);
        loop {
            // Acquire: pairs with the Release of `offer`.
            if at >= self.header.tail.0.load(Ordering::Acquire) {
                return None;
            }
            let index = self.hint(at)?.load(Ordering::Relaxed);
            // Release: pairs with the Acquire of `offer`, which may now overwrite the slot.
            match head.compare_exchange_weak(at, at + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(index),
                Err(now) => at = now,
            }
        }
    }

    /// Whether there is a hint to take.
    #[inline]
    pub(crate) fn has_hints(&self) -> bool {
        self.header.head.0.load(Ordering::Relaxed) < self.header.tail.0.load(Ordering::Acquire)
    }

    /// The input of a task.
    ///
    /// # Safety
    ///
    /// The task is the caller's by its state, for `'a`.
    pub(crate) unsafe fn input<'a>(&self, index: u32, cell: &Cell) -> Option<&'a [u8]> {
        // SAFETY: as promised by the caller.
        unsafe { self.part(index, SMALL_INPUT_AT, &cell.input, &cell.input_len) }
    }

    /// The committed output of a task.
    ///
    /// # Safety
    ///
    /// As [`input`](Self::input).
    pub(crate) unsafe fn output<'a>(&self, index: u32, cell: &Cell) -> Option<&'a [u8]> {
        // SAFETY: as promised by the caller.
        unsafe { self.part(index, SMALL_OUTPUT_AT, &cell.output, &cell.output_len) }
    }

    unsafe fn part<'a>(
        &self,
        index: u32,
        small: usize,
        block: &AtomicU64,
        len: &AtomicU64,
    ) -> Option<&'a [u8]> {
        let len = usize::try_from(len.load(Ordering::Acquire)).ok()?;
        match BlockId::from_word(block.load(Ordering::Relaxed)) {
            // SAFETY: as promised by the caller; all blocks of tasks are the program's.
            Some(block) => unsafe { self.arena().borrow_block(block, self.owner(), len) },
            // SAFETY: as promised by the caller.
            None => unsafe { self.small(index, small) }.get(..len),
        }
    }

    /// The input bytes in the cell.
    ///
    /// # Safety
    ///
    /// The cell is `FREE` and the caller's to fill, for `'a`.
    pub(crate) unsafe fn small_input<'a>(&self, index: u32) -> &'a mut [u8] {
        // SAFETY: as promised by the caller.
        unsafe { self.small(index, SMALL_INPUT_AT) }
    }

    /// The output bytes in the cell.
    ///
    /// # Safety
    ///
    /// The task is the caller's by its state, for `'a`.
    pub(crate) unsafe fn small_output<'a>(&self, index: u32) -> &'a mut [u8] {
        // SAFETY: as promised by the caller.
        unsafe { self.small(index, SMALL_OUTPUT_AT) }
    }

    unsafe fn small<'a>(&self, index: u32, at: usize) -> &'a mut [u8] {
        let offset = self.place.offset + cell_at(index.min(CELLS - 1)) + at as u64;
        // SAFETY: within the pool's block, which outlives its workers; exclusive by the state.
        let bytes = unsafe { self.arena().bytes_at(offset, SMALL) };
        bytes.unwrap_or_default()
    }
}
