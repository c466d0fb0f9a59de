//! The task cell: all that is known of one task, in shared memory.
//!
//! A task is a batch of one or more items for one function. Its cell is the truth about it; the
//! ring that hands it to workers holds hints.
//!
//! # States
//!
//! | kind | meaning | who leaves this state |
//! |---|---|---|
//! | `FREE` | no task | the program, filling it: `QUEUED` |
//! | `QUEUED` | ready to run | a worker, by CAS: `CLAIMED`; the program, by CAS: `CANCELLED` |
//! | `CLAIMED` | worker `w` runs it | `w`: `DONE`; after the death of `w` the program: `QUEUED` with the next lap, or `DONE` |
//! | `DONE` | all outcomes recorded; `w` was the last to work on it | the program: `FREE` |
//! | `CANCELLED` | will not run | the program: `FREE` |
//!
//! The word also holds a lap, which grows with each `QUEUED`: a stale look at the word never
//! passes for a fresh one.
//!
//! # Outcomes
//!
//! Whoever runs the task appends one record per item to its output and then stores the output's
//! new length: that store commits the item. `at` names the item in progress and its phase. So
//! after a death, what is committed is what counts, and the item in progress is the first without
//! a record, if `at` says that it was begun. See `README.md` beside this file.

use core::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use procession_primitives::{Phase, prefetch, prefetch_to_write};

/// Index of a worker in its pool.
pub(crate) type WorkerIndex = u32;

const KIND_BITS: u32 = 3;
const WORKER_BITS: u32 = 13;
const LAP_SHIFT: u32 = KIND_BITS + WORKER_BITS;

const _: () = assert!(crate::MAX_WORKERS < 1 << WORKER_BITS);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Free,
    Queued,
    Claimed,
    Done,
    Cancelled,
}

/// The state word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) kind: Kind,
    pub(crate) worker: WorkerIndex,
    pub(crate) lap: u32,
}

impl State {
    fn from_word(word: u32) -> State {
        let kind = match word & ((1 << KIND_BITS) - 1) {
            1 => Kind::Queued,
            2 => Kind::Claimed,
            3 => Kind::Done,
            4 => Kind::Cancelled,
            _ => Kind::Free,
        };
        let worker = (word >> KIND_BITS) & ((1 << WORKER_BITS) - 1);
        State {
            kind,
            worker,
            lap: word >> LAP_SHIFT,
        }
    }

    fn to_word(self) -> u32 {
        self.kind as u32 | self.worker << KIND_BITS | self.lap << LAP_SHIFT
    }
}

/// Bytes of input and of output that lie in the cell itself.
pub(crate) const SMALL: usize = 128;

/// Bytes in a cell, for the one whose the task is by its state. See `small_input` in `shared.rs`.
type Small = [AtomicU64; SMALL / 8];

/// A task.
///
/// A cache line that one process writes has to be fetched by the next one that uses it, so words are
/// side by side that the same ones write at the same time, and a number needs two lines: one there with
/// the item, one back with its value.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Cell {
    // What whoever works on the task writes.
    state: AtomicU32,
    /// Next in the list of finished tasks that this one is in.
    pub(crate) next: AtomicU32,
    /// Item in progress and its phase: `item << 3 | phase`.
    at: AtomicU64,
    /// Block with the output, 0 if it is in the cell; and its committed length.
    pub(crate) output: AtomicU64,
    pub(crate) output_len: AtomicU64,
    /// Nanoseconds that workers have spent on it.
    pub(crate) nanos: AtomicU64,
    /// When it was claimed last, on the monotonic clock.
    pub(crate) claimed_at: AtomicU64,
    pub(crate) small_output: Small,
    reserved: [AtomicU64; 2],

    // What all tasks of a call have in common, and is written only where it is not there yet: here and
    // at the end.
    /// Trampoline, function, and the function that makes the state, if there is one.
    code: [[AtomicU64; 2]; 3],
    /// The cell whose `inbox` gets this task when it is finished, or [`HUB`](crate::mailbox::HUB).
    mailbox: AtomicU32,
    /// Whether its items are guarded: see `guard.rs`.
    pub(crate) guarded: AtomicU32,
    /// Whether the output may have runs of numbers: see `entry.rs`.
    pub(crate) runs: AtomicU32,
    /// The ring that it is offered in.
    pub(crate) ring: AtomicU32,

    // What whoever submits the task writes.
    /// Number of the first item in its call.
    pub(crate) first: AtomicU64,
    /// Block with the input, 0 if it is in the cell; and its length.
    pub(crate) input: AtomicU64,
    pub(crate) input_len: AtomicU64,
    /// When it was submitted, on the monotonic clock.
    pub(crate) queued_at: AtomicU64,
    pub(crate) items: AtomicU32,
    /// How often its items were tried before.
    pub(crate) attempt: AtomicU32,
    /// Set to have the items that are not begun left alone.
    pub(crate) stop: AtomicU32,
    /// List of finished tasks, in a cell that serves as mailbox: see `mailbox.rs`. Apart from what a
    /// worker writes on its way: whoever waits looks at it all the time.
    pub(crate) inbox: AtomicU32,
    pub(crate) small_input: Small,
    reserved_too: [AtomicU64; 2],

    /// Which call it is of: what workers keep for a call is found by this.
    pub(crate) call: AtomicU64,
    /// Block and length of what all tasks of the call have in common.
    pub(crate) context: AtomicU64,
    pub(crate) context_len: AtomicU64,
    /// Microseconds that an item may take before it is told, and before it is killed; 0 for ever.
    pub(crate) notice: AtomicU64,
    pub(crate) limit: AtomicU64,
    /// For the items' seeds.
    pub(crate) seed: AtomicU64,
    /// While the output moves to a larger block: where from and where to.
    pub(crate) output_old: AtomicU64,
    pub(crate) output_new: AtomicU64,
}

/// Distance from one cell to the next.
pub(crate) const CELL_STRIDE: usize = 512;

const _: () = assert!(size_of::<Cell>() == CELL_STRIDE);
// What belongs together begins a line.
const _: () = assert!(offset_of!(Cell, code) == 192 && offset_of!(Cell, first) == 256);
const _: () = assert!(offset_of!(Cell, call) == 448);

/// Stores `value` if it is not there: whoever only reads the line keeps it.
pub(crate) trait Ensure<T> {
    fn ensure(&self, value: T);
}

impl Ensure<u32> for AtomicU32 {
    #[inline]
    fn ensure(&self, value: u32) {
        if self.load(Ordering::Relaxed) != value {
            self.store(value, Ordering::Relaxed);
        }
    }
}

impl Ensure<u64> for AtomicU64 {
    #[inline]
    fn ensure(&self, value: u64) {
        if self.load(Ordering::Relaxed) != value {
            self.store(value, Ordering::Relaxed);
        }
    }
}

impl Cell {
    pub(crate) fn state(&self) -> State {
        // Acquire: with a state comes what was written before it was set.
        State::from_word(self.state.load(Ordering::Acquire))
    }

    /// Has the lines come over that are read and then written anew, where a cell has served and serves again.
    #[inline]
    pub(crate) fn fetch_to_reuse(&self) {
        prefetch_to_write(&self.state);
        prefetch_to_write(&self.first);
    }

    /// Has the line come over with what is to be done: read by whoever does it, so that it does no harm
    /// if that is somebody else.
    #[inline]
    pub(crate) fn fetch_to_run(&self) {
        prefetch(&self.first);
    }

    /// Makes the filled cell ready to run.
    pub(crate) fn queue(&self) {
        let lap = self.state().lap.wrapping_add(1);
        let queued = State {
            kind: Kind::Queued,
            worker: 0,
            lap,
        };
        // Release: whoever claims it sees what it was filled with.
        self.state.store(queued.to_word(), Ordering::Release);
    }

    /// Takes the task for `worker`, if nobody else has.
    pub(crate) fn claim(&self, worker: WorkerIndex) -> bool {
        let seen = self.state();
        let claimed = State {
            kind: Kind::Claimed,
            worker,
            lap: seen.lap,
        };
        seen.kind == Kind::Queued && self.change(seen, claimed)
    }

    /// Takes the task back before any worker has it.
    pub(crate) fn cancel(&self) -> bool {
        let seen = self.state();
        let cancelled = State {
            kind: Kind::Cancelled,
            ..seen
        };
        seen.kind == Kind::Queued && self.change(seen, cancelled)
    }

    fn change(&self, from: State, to: State) -> bool {
        // AcqRel: a claim sees the filling; whoever sees the claim sees what came before it.
        let changed = self.state.compare_exchange(
            from.to_word(),
            to.to_word(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        changed.is_ok()
    }

    /// Declares all items done. By the claimer, or by the program for a dead one.
    pub(crate) fn finish(&self, worker: WorkerIndex) {
        let done = State {
            kind: Kind::Done,
            worker,
            lap: self.state().lap,
        };
        // Release: whoever sees it sees the whole output.
        self.state.store(done.to_word(), Ordering::Release);
    }

    /// Empties the cell. Only the program, after `DONE` or `CANCELLED`.
    pub(crate) fn clear(&self) {
        let free = State {
            kind: Kind::Free,
            worker: 0,
            lap: self.state().lap,
        };
        self.state.store(free.to_word(), Ordering::Relaxed);
    }

    /// Notes which item is in progress, and how far.
    #[inline]
    pub(crate) fn set_at(&self, item: u32, phase: Phase) {
        let word = u64::from(item) << 3 | u64::from(phase.to_word());
        // Release: after the commit of the item before, which a kill in between relies on.
        self.at.store(word, Ordering::Release);
    }

    /// Commits the item in progress: the output is this long with it.
    #[inline]
    pub(crate) fn commit(&self, output_len: usize) {
        // Release: with the length comes the record.
        self.output_len.store(output_len as u64, Ordering::Release);
    }

    pub(crate) fn at(&self) -> (u32, Phase) {
        let word = self.at.load(Ordering::Relaxed);
        ((word >> 3) as u32, Phase::from_word((word & 7) as u32))
    }

    pub(crate) fn set_code(&self, code: [[u64; 2]; 3]) {
        for (to, from) in self.code.iter().zip(code) {
            to[0].ensure(from[0]);
            to[1].ensure(from[1]);
        }
    }

    /// Has the finished task go to `mailbox`.
    pub(crate) fn address_to(&self, mailbox: u32) {
        self.mailbox.ensure(mailbox);
    }

    pub(crate) fn mailbox(&self) -> u32 {
        self.mailbox.load(Ordering::Relaxed)
    }

    /// Code addresses, as words: trampoline, function, maker of the state.
    pub(crate) fn code(&self) -> [[u64; 2]; 3] {
        [0, 1, 2].map(|i: usize| [0, 1].map(|j: usize| self.code[i][j].load(Ordering::Relaxed)))
    }
}
