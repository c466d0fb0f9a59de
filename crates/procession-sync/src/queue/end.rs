//! One end of a ring: its lock, and who sleeps at it.
//!
//! Producers and consumers have an end each. Those at one end exclude each other by its lock; the
//! two ends know of each other by `tail` and `head` only, and by the flag of the sleepers.
//!
//! | `flag` | meaning | who leaves this state |
//! |---|---|---|
//! | 0 | nobody sleeps at this end, or somebody has been woken and will see to the rest | whoever is about to sleep, to 1 |
//! | 1 | somebody sleeps at this end, or is about to | the other end, after a change, to 0, and wakes one |
//!
//! Whoever sleeps is counted under the lock of its end. Whoever comes back passes the wake-up on:
//! if others sleep, the next one is woken if there is something for it, else the flag is set
//! again. So one wake-up serves a burst, and none is lost: a sleeper that gives up does the same,
//! and one that is killed is a death, which wakes all.

use crate::primitive::{AtomicU32, Family, Holder, News, Ordering, full_fence, wake};
use crate::queue::core::Patience;
use crate::raw_lock::{RawLock, Taken};
use crate::waiters::Waiters;

/// The words that only those at this end use.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct End {
    lock: RawLock,
    waiters: Waiters,
}

impl End {
    /// Takes the lock if it is free and nobody waits for it.
    #[inline]
    pub(crate) fn lock_now(&self, me: Holder) -> bool {
        self.lock.acquire_now(me)
    }

    /// Takes the lock. How it was come by; `None` when `patience` was over first.
    #[inline]
    pub(crate) fn lock(&self, family: &Family, me: Holder, patience: Patience) -> Option<Taken> {
        if self.lock.acquire_now(me) {
            return Some(Taken::Free);
        }
        self.lock.acquire(family, me, patience.for_lock())
    }

    #[inline]
    pub(crate) fn unlock(&self, me: Holder) {
        self.lock.release(me);
    }

    /// Counts the caller, who holds the lock and has heard `news`, as asleep, and sets the flag.
    /// False if others have heard later news: then the caller has to look again.
    ///
    /// After this the caller looks once more whether it has to sleep at all.
    pub(crate) fn settle_down(&self, flag: &AtomicU32, news: News) -> bool {
        if !self.waiters.add(news) {
            return false;
        }
        flag.store(1, Ordering::Relaxed);
        // Pairs with the fence in `rouse`: it sees the flag, or the caller sees the change.
        full_fence();
        true
    }

    /// Takes the caller, who holds the lock and had settled down with `news`, off the count.
    pub(crate) fn get_up(&self, news: News) {
        self.waiters.remove(news);
    }

    /// Sees to the others that sleep, for one that had settled down and is about to leave. Holds
    /// the lock. `ready` says whether there is something for another one.
    pub(crate) fn pass_on(&self, flag: &AtomicU32, ready: impl Fn() -> bool) {
        if !self.waiters.any() {
            return;
        }
        if !ready() {
            flag.store(1, Ordering::Relaxed);
            // As in `settle_down`.
            full_fence();
            if !ready() {
                return;
            }
        }
        flag.store(0, Ordering::Relaxed);
        wake(flag, 1);
    }
}

/// Sees to the others that sleep, for one that gives up without the lock: the wake-up that it may
/// have had goes to the next.
#[cold]
pub(crate) fn give_up(flag: &AtomicU32) {
    wake(flag, 1);
}

/// Wakes one that sleeps at the other end, if any, after a change that it may wait for.
///
/// Called after the change was stored *and* the own end unlocked, which is a full barrier on
/// x86-64.
#[inline]
pub(crate) fn rouse(flag: &AtomicU32) {
    crate::primitive::fence_after_unlock();
    if flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::Relaxed) != 0 {
        wake(flag, 1);
    }
}
