//! An item under guard: it may be ended from outside, and whoever does so hits this item or none.
//!
//! One word per worker. Its upper bits count the guarded items that the worker has begun, over all
//! lives, so that a look at the word never passes for a later one. Its lower bits:
//!
//! | state | meaning | who leaves this state |
//! |---|---|---|
//! | `NONE` | no guarded item in hand | the worker, beginning one: `RUNNING` of the next count |
//! | `RUNNING` | item in hand, without an outcome; or with one, in the next count, while its value is dropped | the worker, by CAS, to commit one or to end: `NONE`; the program, by CAS: `CONDEMNED` |
//! | `CONDEMNED` | the program kills this worker | the program, which settles the worker: `NONE` |
//!
//! The word that says when a worker was ready is guarded in the same way, for a start that takes too
//! long: 0, then the time, or `TOO_LATE`, whoever comes first.
//!
//! A worker that finds itself condemned commits nothing more, and waits for its end. So the item in
//! hand of a worker that was condemned is the one for which it was condemned, and what the worker
//! had finished before is kept.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use procession_primitives::{Family, monotonic_micros, monotonic_nanos};

use crate::shared::WorkerLine;

const STATE: u64 = 3;
const NONE: u64 = 0;
const RUNNING: u64 = 1;
const CONDEMNED: u64 = 2;
const ONE: u64 = 4;

/// When a worker was ready that may not be any more.
const TOO_LATE: u64 = u64::MAX;

/// When an item was begun whose clock is stopped: its time is never up.
const PAUSED: u64 = u64::MAX;

/// An item in hand, as the program has seen it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InHand {
    word: u64,
    /// Its task's cell.
    pub(crate) cell: u32,
    /// When it was begun, in microseconds of the monotonic clock.
    pub(crate) begun_at: u64,
}

impl WorkerLine {
    /// Begins a guarded item, `timed` if it may not take for ever. False if its task is stopped: the
    /// item is to be left alone.
    pub(crate) fn guard(&self, stop: &AtomicU32, timed: bool) -> bool {
        // What is left of the item before.
        self.unguard();
        let count = self.guard.load(Ordering::Relaxed) & !STATE;
        if timed {
            self.begun_at.store(monotonic_micros(), Ordering::Relaxed);
        }
        // Release: whoever sees the item sees when it was begun.
        self.guard.store(count + ONE + RUNNING, Ordering::Release);
        // SeqCst: pairs with the fence in `Crew::stop`: either we see that the task is stopped, or
        // it sees the item.
        fence(Ordering::SeqCst);
        stop.load(Ordering::Relaxed) == 0 || {
            self.unguard();
            false
        }
    }

    /// Ends the guard, for the outcome to be committed. Does not return if the item is condemned.
    #[inline]
    pub(crate) fn unguard(&self) {
        let word = self.guard.load(Ordering::Relaxed);
        let ended = word & !STATE | NONE;
        // Relaxed: nothing is passed on; what counts is who was first.
        let mine = word & STATE == RUNNING
            && self
                .guard
                .compare_exchange(word, ended, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !mine && self.guard.load(Ordering::Relaxed) & STATE == CONDEMNED {
            self.await_end();
        }
    }

    /// Goes on with the guard after the outcome was committed: dropping the value may take for ever.
    pub(crate) fn guard_rest(&self) {
        let count = self.guard.load(Ordering::Relaxed) & !STATE;
        // Release: whoever condemns the worker now sees what it has committed.
        self.guard.store(count + ONE + RUNNING, Ordering::Release);
    }

    #[cold]
    fn await_end(&self) {
        let Ok(family) = Family::current() else {
            std::process::abort();
        };
        let never = AtomicU32::new(0);
        loop {
            family.park(&never, 0, family.news(), None);
        }
    }

    /// Says that the worker has reached its loop. Does not return if that took too long.
    pub(crate) fn be_ready(&self) {
        let now = monotonic_nanos();
        // Relaxed: what counts is who was first.
        let ready = self
            .ready
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        if ready.is_err() {
            self.await_end();
        }
    }

    /// Condemns a worker that is not ready. False if it is.
    pub(crate) fn condemn_start(&self) -> bool {
        // Relaxed: as above.
        self.ready
            .compare_exchange(0, TOO_LATE, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// When the worker has reached its loop, in nanoseconds of the monotonic clock.
    pub(crate) fn ready_at(&self) -> Option<u64> {
        let ready = self.ready.load(Ordering::Relaxed);
        (ready != 0 && ready != TOO_LATE).then_some(ready)
    }

    /// Stops the clock of the item in hand, or lets it go on: for what is not the item's fault.
    pub(crate) fn pause(&self, pause: bool) {
        let now = monotonic_micros();
        if pause {
            let begun = self.begun_at.swap(PAUSED, Ordering::Relaxed);
            if begun != PAUSED {
                self.spent
                    .store(now.saturating_sub(begun), Ordering::Relaxed);
            }
        } else if self.begun_at.load(Ordering::Relaxed) == PAUSED {
            let spent = self.spent.load(Ordering::Relaxed);
            self.begun_at.store(now - spent, Ordering::Relaxed);
        }
    }

    /// The guarded item that the worker has in hand.
    pub(crate) fn in_hand(&self) -> Option<InHand> {
        // Acquire: with the item comes when it was begun.
        let word = self.guard.load(Ordering::Acquire);
        let cell = self.current.load(Ordering::Relaxed).checked_sub(1)?;
        let begun_at = self.begun_at.load(Ordering::Relaxed);
        (word & STATE == RUNNING).then_some(InHand {
            word,
            cell,
            begun_at,
        })
    }

    /// Condemns the worker for `item`. False if it has finished it since.
    pub(crate) fn condemn(&self, item: InHand) -> bool {
        let condemned = item.word & !STATE | CONDEMNED;
        // Relaxed: what was read of the item is right if the word is still the same.
        self.guard
            .compare_exchange(item.word, condemned, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether the worker was condemned.
    pub(crate) fn is_condemned(&self) -> bool {
        self.guard.load(Ordering::Relaxed) & STATE == CONDEMNED
    }

    /// Makes the line that of a new life.
    pub(crate) fn renew(&self) {
        let count = self.guard.load(Ordering::Relaxed) & !STATE;
        self.guard.store(count | NONE, Ordering::Relaxed);
        self.current.store(0, Ordering::Relaxed);
        self.ready.store(0, Ordering::Relaxed);
        self.leaving_at.store(0, Ordering::Relaxed);
        self.items.store(0, Ordering::Relaxed);
        self.busy.store(0, Ordering::Relaxed);
    }
}
