//! The lock of the arena's own short critical sections.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::family::Family;
use crate::park;

/// Somebody sleeps until the word changes.
const WAITERS: u32 = 1 << 31;

/// Turns taken before going to sleep: about one critical section of somebody else.
const SPINS: u32 = 200;

/// A lock whose word names the member that holds it, so that a death frees it.
///
/// | word | meaning | who leaves this state |
/// |---|---|---|
/// | 0 | free | anybody, by CAS to `slot + 1` |
/// | `slot + 1` | held by that member, nobody sleeps | the holder, by swap to 0; after its death whoever settles it |
/// | `slot + 1 \| WAITERS` | held, somebody may sleep | as above, and wakes |
///
/// Held for a few hundred instructions only, never while user code runs. What it guards must be
/// consistent after every single store, since the holder may be killed between any two.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct RawLock(AtomicU32);

/// The lock is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a RawLock);

impl RawLock {
    /// Takes the lock as member `family.me()`.
    pub(crate) fn acquire(&self, family: &Family) -> Held<'_> {
        let me = family.me().slot() + 1;
        // Acquire pairs with the Release of `drop`: what the last holder wrote is seen.
        if self
            .0
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.acquire_slow(family, me);
        }
        Held(self)
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_acquire(&self, family: &Family) -> Option<Held<'_>> {
        // Not `then_some`, which would make a guard, and drop it, of a lock that is not taken.
        self.take(family.me().slot() + 1).then(|| Held(self))
    }

    #[cold]
    fn acquire_slow(&self, family: &Family, me: u32) {
        let mut mine = me;
        for _ in 0..SPINS {
            if self.0.load(Ordering::Relaxed) == 0 && self.take(me) {
                return;
            }
            std::hint::spin_loop();
        }
        loop {
            // Read before the check below: a death after this point ends the sleep.
            let news = family.news();
            let word = self.0.load(Ordering::Relaxed);
            if word == 0 {
                if self.take(mine) {
                    return;
                }
                continue;
            }
            let marked = word | WAITERS;
            if word != marked
                && self
                    .0
                    .compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            // Whoever has slept may not be the only sleeper, so it takes the lock marked.
            mine = me | WAITERS;
            family.park(&self.0, marked, news, None);
        }
    }

    fn take(&self, word: u32) -> bool {
        // Acquire: as in `acquire`.
        self.0
            .compare_exchange(0, word, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Frees the lock if the dead member `slot` held it.
    pub(crate) fn release_for_dead(&self, slot: u32) {
        let word = self.0.load(Ordering::Relaxed);
        if word & !WAITERS == slot + 1 {
            // AcqRel: the next holder sees what the dead one stored, by way of us.
            let freed = self
                .0
                .compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
            if freed.is_ok() {
                park::wake(&self.0, u32::MAX);
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire of the next holder.
        if self.0.0.swap(0, Ordering::Release) & WAITERS != 0 {
            park::wake(&self.0.0, 1);
        }
    }
}

#[cfg(test)]
mod tests;
