//! The lock that all others are made of: one word that names who holds it.
//!
//! | word | meaning | who leaves this state |
//! |---|---|---|
//! | 0 | free | anybody, by CAS to itself |
//! | `RESERVED \| WAITERS` | free; meant for somebody who has slept | whoever has slept, by CAS to itself; anybody after a short while; who reserved it, to 0, if nobody slept |
//! | holder | held, nobody sleeps | the holder, by CAS to 0; if it is dead, anybody by CAS to itself, who is told |
//! | holder `\| WAITERS` | held, somebody may sleep | as above; the holder to 0 or to `RESERVED \| WAITERS`, and wakes one |
//!
//! Every change is one CAS, so a kill leaves one of these states. What it can take with it is a
//! wake-up: a holder killed between the store and the wake, or a sleeper killed after it was
//! woken. Both are deaths, and each death ends the sleep of everybody (see `park` in
//! `procession-primitives`).
//!
//! Whoever runs may overtake those that sleep, which is what makes a contended lock fast. About
//! once in a millisecond the lock is handed over instead, so that everybody's turn comes.

use std::time::Duration;

use crate::primitive::{
    AtomicU32, AtomicU64, Family, Holder, Instant, Ordering, SPINS, fence, micros, park_low, pause,
    wake_low,
};

/// Somebody may sleep until the word changes.
const WAITERS: u64 = 1 << 31;

/// The lock is free for those that have slept.
const RESERVED: u64 = 1 << 30;

const FLAGS: u64 = WAITERS | RESERVED;

/// Microseconds between two hand-overs of a contended lock.
const TURN: u32 = 1000;

/// How long others respect a reservation, should nobody make use of it.
const PATIENCE: Duration = Duration::from_millis(20);

/// A lock in shared memory; all zeros is free.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct RawLock {
    word: AtomicU64,
    /// When the next hand-over is due, in `micros`.
    turn: AtomicU32,
    /// Grows before the lock is taken from a dead holder.
    deaths: AtomicU32,
}

/// How the lock was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The last holder had let go of it.
    Free,
    /// The last holder died with it.
    FromDead,
}

impl RawLock {
    /// Takes the lock; `None` when `deadline` passed first.
    #[inline]
    pub(crate) fn acquire(
        &self,
        family: &Family,
        me: Holder,
        deadline: Option<Instant>,
    ) -> Option<Taken> {
        if self.acquire_now(me) {
            return Some(Taken::Free);
        }
        self.spin(me)
            .or_else(|| self.acquire_slow(family, me, deadline))
    }

    /// Takes the lock if it is free and nobody waits for it.
    #[inline]
    pub(crate) fn acquire_now(&self, me: Holder) -> bool {
        // Acquire: pairs with the Release of `release`.
        let taken =
            self.word
                .compare_exchange(0, me.to_word(), Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    /// Takes the lock if nobody alive holds it.
    #[inline]
    pub(crate) fn try_acquire(&self, family: &Family, me: Holder) -> Option<Taken> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let taken = match Holder::from_word(word) {
                None => Taken::Free,
                Some(holder) if !family.is_alive(holder.member()) => Taken::FromDead,
                Some(_) => return None,
            };
            self.note(taken);
            match self.take(word, me.to_word()) {
                Ok(()) => return Some(taken),
                Err(found) => word = found,
            }
        }
    }

    /// Notes beforehand that the lock is about to be taken from the dead.
    fn note(&self, taken: Taken) {
        if taken == Taken::FromDead {
            self.deaths.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it was taken from a dead holder, or nearly so. Whoever has looked at the holder
    /// before and found it alive misses none.
    pub(crate) fn deaths(&self) -> u32 {
        // Acquire: pairs with the Release of whoever took it, which `holder` has read.
        fence(Ordering::Acquire);
        self.deaths.load(Ordering::Relaxed)
    }

    /// Replaces `word` by `mine`, keeping the news that somebody sleeps.
    fn take(&self, word: u64, mine: u64) -> Result<(), u64> {
        // Acquire: what the last holder stored is seen, also if it died: it has stored nothing
        // since the supervisor saw it dead, which came before we could know. Release: after `note`.
        let taken = self.word.compare_exchange(
            word,
            mine | word & WAITERS,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        taken.map(drop)
    }

    /// Looks for a short while whether the lock comes free.
    #[cold]
    pub(crate) fn spin(&self, me: Holder) -> Option<Taken> {
        for _ in 0..SPINS {
            let word = self.word.load(Ordering::Relaxed);
            if Holder::from_word(word).is_none()
                && word & RESERVED == 0
                && self.take(word, me.to_word()).is_ok()
            {
                return Some(Taken::Free);
            }
            pause();
        }
        None
    }

    /// Takes the lock, asleep while it is held; `None` when `deadline` passed first.
    #[cold]
    pub(crate) fn acquire_slow(
        &self,
        family: &Family,
        me: Holder,
        deadline: Option<Instant>,
    ) -> Option<Taken> {
        let mut mine = me.to_word();
        let mut slept = false;
        loop {
            // Read before the word: a death after this point ends the sleep.
            let news = family.news();
            let word = self.word.load(Ordering::Relaxed);
            let taken = match Holder::from_word(word) {
                None => Some(Taken::Free),
                Some(holder) if !family.is_alive(holder.member()) => Some(Taken::FromDead),
                Some(_) => None,
            };
            let reserved = word & RESERVED != 0 && !slept;
            if let Some(taken) = taken
                && !reserved
            {
                self.note(taken);
                if self.take(word, mine).is_ok() {
                    return Some(taken);
                }
                continue;
            }
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late && !slept {
                return None;
            }
            // Also by a sleeper that gives up: the wake-up that it had may have been for another.
            let marked = word | WAITERS;
            if word != marked
                && self
                    .word
                    .compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            if late {
                return None;
            }
            // Whoever has slept may not be the only sleeper.
            mine = me.to_word() | WAITERS;
            let lapse = reserved.then(|| Instant::now() + PATIENCE);
            let until = deadline.into_iter().chain(lapse).min();
            park_low(family, &self.word, marked, news, until);
            slept = true;
        }
    }

    /// Lets go of the lock. Nothing happens where `me` does not hold it.
    #[inline]
    pub(crate) fn release(&self, me: Holder) {
        // Release: pairs with the Acquire of whoever takes it.
        let freed =
            self.word
                .compare_exchange(me.to_word(), 0, Ordering::Release, Ordering::Relaxed);
        if let Err(word) = freed {
            self.release_slow(word, me);
        }
    }

    #[cold]
    fn release_slow(&self, mut word: u64, me: Holder) {
        let now = micros();
        let due = self.turn.load(Ordering::Relaxed);
        let hand_over = now.wrapping_sub(due) < u32::MAX / 2;
        let free = if hand_over { RESERVED | WAITERS } else { 0 };
        loop {
            if Holder::from_word(word) != Some(me) {
                return;
            }
            let next = if word & WAITERS == 0 { 0 } else { free };
            // Release: as in `release`.
            match self
                .word
                .compare_exchange(word, next, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(found) => word = found,
            }
        }
        if word & WAITERS != 0 {
            if hand_over {
                self.turn.store(now.wrapping_add(TURN), Ordering::Relaxed);
            }
            if wake_low(&self.word, 1) == 0 && hand_over {
                // They have given up or died. Nobody would make use of the reservation, and the
                // next one to come would respect it in vain, again and again. Whoever begins to
                // wait at this moment does so for a reservation, so not for long.
                let (reserved, order) = (RESERVED | WAITERS, Ordering::Relaxed);
                let _ = self.word.compare_exchange(reserved, 0, order, order);
            }
        }
    }

    /// Who holds the lock, dead or alive.
    pub(crate) fn holder(&self) -> Option<Holder> {
        Holder::from_word(self.word.load(Ordering::Relaxed) & !FLAGS)
    }
}
