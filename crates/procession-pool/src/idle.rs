//! How workers without work wait, and how they are called.
//!
//! Two bits per worker, each in a word that the program looks at with every offer:
//!
//! | asleep | searching | the worker | who leaves this state |
//! |---|---|---|---|
//! | 0 | 0 | works, or was called and is on its way | it itself |
//! | 0 | 1 | looks for a hint | whoever counts on it, by clearing `searching`; it itself, finding one or going to sleep |
//! | 1 | 0 | sleeps on its own word, or is about to | whoever calls it, by clearing `asleep`; it itself |
//!
//! Whoever offers a task calls one worker: one that searches, or else a sleeper. A worker that was
//! called looks until it finds nothing, and if it finds more than one hint, it calls the next. So a
//! burst of tasks costs the program one wake-up, and a worker that is kept warm none. That the bit of
//! one that searches is cleared by whoever counts on it, and not by itself, keeps a change of a line
//! that both use from the way between a task and its begin.
//!
//! Killed in any state, a worker leaves its bits behind; the program clears them when it settles
//! the worker, and offers all tasks again.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Instant;

use procession_primitives::{monotonic_nanos, wake};

use crate::cell::WorkerIndex;
use crate::shared::{CLOSED, Shared, WorkerLine};

/// Words of a bitmap over all workers.
pub(crate) const WORDS: usize = (crate::MAX_WORKERS as usize).div_ceil(64);

/// Longest look for the next task before sleeping, in nanoseconds: about what a wake-up costs both sides.
const SPIN_MOST: u64 = 50_000;
const SPIN_LEAST: u64 = 1_000;
/// A next task that comes at once comes sooner, in nanoseconds: others get the CPU only after that.
const YIELD_AFTER: u64 = 2_000;

/// Where a worker's bit is.
fn place(index: WorkerIndex) -> (usize, u64) {
    ((index / 64) as usize, 1 << (index % 64))
}

impl Shared {
    fn words(&self) -> usize {
        (self.room() as usize).div_ceil(64)
    }

    /// Sees to it that somebody looks for the task just offered. Whether there is one who had nothing
    /// to do.
    #[inline]
    pub(crate) fn call_one(&self) -> bool {
        // SeqCst: after the offer, before the look at the bits. Pairs with the fence in
        // `sleep`: either we see the sleeper, or it sees the offer.
        fence(Ordering::SeqCst);
        // Whose bit is cleared sees the offer: that fence is a release, and `found` acquires.
        let searching = &self.header().searching.0[..self.words()];
        take_one(searching).is_some() || self.wake_one()
    }

    /// Has the keeper bring the tasks that wait for cells, if there are any.
    pub(crate) fn ask_for_more(&self) {
        let (hungry, keeper) = (&self.header().hungry.0, &self.header().keeper.0);
        if hungry.load(Ordering::Relaxed) != 0 && hungry.swap(0, Ordering::Relaxed) != 0 {
            // Release: it sees what was finished before.
            keeper.fetch_add(1, Ordering::Release);
            wake(keeper, 1);
        }
    }

    /// Calls every sleeper.
    pub(crate) fn call_all(&self) {
        fence(Ordering::SeqCst);
        while self.wake_one() {}
    }

    /// Calls worker `index`, which has something of its own to look at.
    pub(crate) fn call_worker(&self, index: WorkerIndex) {
        // SeqCst: as in `call_one`.
        fence(Ordering::SeqCst);
        let (at, bit) = place(index);
        let asleep = &self.header().asleep.0[at];
        if asleep.load(Ordering::Relaxed) & bit != 0
            && asleep.fetch_and(!bit, Ordering::Relaxed) & bit != 0
            && let Some(line) = self.worker(index)
        {
            line.call.fetch_add(1, Ordering::Relaxed);
            wake(&line.call, 1);
        }
    }

    /// Whether a worker sleeps or looks for work.
    pub(crate) fn anyone_idle(&self) -> bool {
        let header = self.header();
        let any = |words: &[AtomicU64]| words.iter().any(|word| word.load(Ordering::Relaxed) != 0);
        any(&header.asleep.0[..self.words()]) || any(&header.searching.0[..self.words()])
    }

    /// Wakes a sleeper, if there is one.
    fn wake_one(&self) -> bool {
        // What was offered is read from the ring.
        let Some(index) = take_one(&self.header().asleep.0[..self.words()]) else {
            return false;
        };
        if let Some(line) = self.worker(index) {
            line.call.fetch_add(1, Ordering::Relaxed);
            wake(&line.call, 1);
        }
        true
    }

    /// Forgets what dead worker `index` was at.
    pub(crate) fn forget(&self, index: WorkerIndex) {
        let (at, bit) = place(index);
        self.header().asleep.0[at].fetch_and(!bit, Ordering::Relaxed);
        self.header().searching.0[at].fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Clears a bit, if one is set, and returns whose it was.
#[inline]
fn take_one(words: &[AtomicU64]) -> Option<WorkerIndex> {
    for (at, word) in words.iter().enumerate() {
        let mut bits = word.load(Ordering::Relaxed);
        while bits != 0 {
            let bit = bits & bits.wrapping_neg();
            if word.fetch_and(!bit, Ordering::Relaxed) & bit != 0 {
                return Some(at as u32 * 64 + bit.trailing_zeros());
            }
            bits &= !bit;
        }
    }
    None
}

/// A worker's way between two tasks.
#[derive(Debug)]
pub(crate) struct Idle {
    shared: Shared,
    index: WorkerIndex,
    /// Whether its bit may be set.
    searching: bool,
    /// How long to look before sleeping, in nanoseconds: as long as it has paid of late.
    spin: u64,
    /// When the worker last looked at the clock, on the monotonic one.
    pub(crate) now: u64,
}

impl Idle {
    pub(crate) fn new(shared: Shared, index: WorkerIndex) -> Idle {
        Idle {
            shared,
            index,
            searching: false,
            spin: SPIN_MOST,
            now: monotonic_nanos(),
        }
    }

    /// The worker has found something. To be followed by a look for more.
    #[inline]
    pub(crate) fn found(&mut self) {
        if std::mem::take(&mut self.searching) {
            let (at, bit) = place(self.index);
            let searching = &self.shared.header().searching.0[at];
            // Acquire: pairs with the fence in `call_one`. The offers of all who have counted on us
            // are seen in the look for more; nobody does from now on.
            if searching.load(Ordering::Acquire) & bit != 0 {
                searching.fetch_and(!bit, Ordering::Acquire);
            }
        }
    }

    /// Waits until there may be something to do. False if there was nothing until `deadline`, and
    /// nobody counts on this worker.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> bool {
        let (at, bit) = place(self.index);
        let searching = &self.shared.header().searching.0[at];
        // Whoever counted on us may have been served by somebody else. Where it is clear for sure, the
        // line comes over once, not to be read and then to be changed.
        if !self.searching || searching.load(Ordering::Relaxed) & bit == 0 {
            self.searching = true;
            searching.fetch_or(bit, Ordering::Relaxed);
        }
        self.shared.ask_for_more();
        let start = self.look_at_clock();
        while self.look_at_clock() - start < self.spin {
            if self.now - start > YIELD_AFTER {
                // Whoever is to submit the next task may wait for this very CPU.
                std::thread::yield_now();
            }
            for _ in 0..32 {
                if self.shared.has_hints() || self.is_meant() {
                    self.spin = (self.spin * 2).min(SPIN_MOST);
                    // The kernel may have had others run since the last look.
                    self.look_at_clock();
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        let wanted = self.sleep(deadline);
        // Had it looked a little longer, it would have found something: or not.
        let paid = self.look_at_clock() - start < SPIN_MOST * 2;
        self.spin = if paid {
            SPIN_MOST
        } else {
            (self.spin / 4).max(SPIN_LEAST)
        };
        wanted
    }

    /// What time it is, for [`now`](Self::now), too.
    #[inline]
    pub(crate) fn look_at_clock(&mut self) -> u64 {
        self.now = monotonic_nanos();
        self.now
    }

    /// Whether there is something for this worker alone: a letter, or its end.
    fn is_meant(&self) -> bool {
        let letter = |line: &WorkerLine| line.letter.load(Ordering::Relaxed) != 0;
        self.shared.worker(self.index).is_some_and(letter)
            || self.index >= self.shared.target()
            || self.shared.header().phase.0.load(Ordering::Relaxed) == CLOSED
    }

    fn sleep(&mut self, deadline: Option<Instant>) -> bool {
        let (at, bit) = place(self.index);
        let Some(line) = self.shared.worker(self.index) else {
            return false;
        };
        let header = self.shared.header();
        let news = self.shared.family.news();
        let call = line.call.load(Ordering::Relaxed);
        header.asleep.0[at].fetch_or(bit, Ordering::Relaxed);
        header.searching.0[at].fetch_and(!bit, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `call_one`, and with that in `Inner::feed`.
        fence(Ordering::SeqCst);
        self.shared.ask_for_more();
        if !self.shared.has_hints() && !self.is_meant() {
            self.shared.family.park(&line.call, call, news, deadline);
        }
        header.searching.0[at].fetch_or(bit, Ordering::Relaxed);
        let called = header.asleep.0[at].fetch_and(!bit, Ordering::Relaxed) & bit == 0;
        if !called && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // Acquire: pairs with the fence in `call_one`: whoever still counted on this worker has its
            // offer seen here.
            header.searching.0[at].fetch_and(!bit, Ordering::Acquire);
            self.searching = false;
            return self.shared.has_hints() || self.is_meant();
        }
        true
    }
}
