//! A short critical section with waiting: what all primitives but the plain locks are made of.
//!
//! The state of a primitive is plain words, changed by whoever is inside. Waiters are counted
//! inside, too, so that a change that helps nobody costs no system call.
//!
//! | word | meaning | who changes it |
//! |---|---|---|
//! | `lock` | who is inside | see `raw_lock` |
//! | `turn` | waiters sleep on it | whoever is inside and wakes: adds 1 |
//! | `waiters` | how many sleep, or are about to: see `waiters` | a waiter inside |
//! | `settled` | the family's news when the state was last repaired | whoever is inside |
//!
//! Whoever comes inside first repairs what a death may have left: if the last one inside died
//! there, or if there were deaths since. Each primitive says how, by deriving it anew from words
//! that one store each keeps true.

use std::cell::Cell;
use std::time::Duration;

use crate::primitive::{AtomicU32, Family, Holder, Instant, News, Ordering, wake};
use crate::raw_lock::{RawLock, Taken};
use crate::waiters::Waiters;

/// How long those who do not wait wait for one that is inside, which as a rule takes a
/// microsecond.
const PATIENCE: Duration = Duration::from_secs(1);

/// The words of a monitor; all zeros is a new one.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    lock: RawLock,
    turn: AtomicU32,
    waiters: Waiters,
    settled: AtomicU32,
}

/// The right to change what the monitor guards, until dropped.
pub(crate) struct Inside<'a> {
    monitor: &'a Monitor,
    pub(crate) family: &'static Family,
    pub(crate) me: Holder,
    news: News,
    wakes: Cell<u32>,
}

/// What an attempt inside came to.
pub(crate) enum Attempt<T> {
    Done(T),
    /// The state does not allow it yet.
    Wait,
}

impl Monitor {
    /// Enters, repairing first with `repair` what a death may have left.
    pub(crate) fn enter(
        &self,
        family: &'static Family,
        repair: impl FnOnce(&Inside<'_>),
    ) -> Inside<'_> {
        match self.enter_until(family, None, repair) {
            Some(inside) => inside,
            None => unreachable!("waits without a deadline"),
        }
    }

    /// Enters for something that does not wait; `None` if a process has stopped inside.
    pub(crate) fn try_enter(
        &self,
        family: &'static Family,
        repair: impl FnOnce(&Inside<'_>),
    ) -> Option<Inside<'_>> {
        self.enter_until(family, Some(Instant::now() + PATIENCE), repair)
    }

    /// Enters; `None` when `deadline` passed first.
    fn enter_until(
        &self,
        family: &'static Family,
        deadline: Option<Instant>,
        repair: impl FnOnce(&Inside<'_>),
    ) -> Option<Inside<'_>> {
        // Read before the state is: a death after this point ends the sleep of a waiter.
        let news = family.news();
        let me = family.holder();
        let taken = self.lock.acquire(family, me, deadline)?;
        let inside = Inside {
            monitor: self,
            family,
            me,
            news,
            wakes: Cell::new(0),
        };
        let died = taken == Taken::FromDead;
        if died || self.settled.load(Ordering::Relaxed) != news.to_word() {
            repair(&inside);
            // Release: after the repair, which a kill relies on.
            self.settled.store(news.to_word(), Ordering::Release);
        }
        Some(inside)
    }

    /// Attempts, and waits while it has to; `None` when `deadline` passed first.
    ///
    /// `number` is that of the object waited for.
    pub(crate) fn wait_until<T>(
        &self,
        family: &'static Family,
        number: u64,
        deadline: Option<Instant>,
        mut repair: impl FnMut(&Inside<'_>),
        mut attempt: impl FnMut(&Inside<'_>) -> Attempt<T>,
    ) -> Option<T> {
        let mut counted = None;
        let mut entered = None;
        loop {
            let Some(inside) = self.enter_until(family, deadline, &mut repair) else {
                if counted.is_some() {
                    // Somebody has stopped inside. If it was for us that it woke one of those who
                    // wait, another one may do instead.
                    wake(&self.turn, 1);
                }
                return None;
            };
            if let Some(since) = counted.take() {
                self.waiters.remove(since);
            }
            if let Attempt::Done(value) = attempt(&inside) {
                return Some(value);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            let news = inside.news;
            if !self.waiters.add(news) {
                // Others have heard of a later death: so have we, next time.
                continue;
            }
            counted = Some(news);
            let turn = self.turn.load(Ordering::Relaxed);
            drop(inside);
            entered.get_or_insert_with(|| family.wait_on(number));
            family.park(&self.turn, turn, news, deadline);
        }
    }
}

impl Inside<'_> {
    /// Wakes up to `count` waiters, on the way out.
    pub(crate) fn wake(&self, count: u32) {
        if self.monitor.waiters.any() {
            self.wakes.set(self.wakes.get().saturating_add(count));
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let wakes = self.wakes.get();
        if wakes > 0 {
            let turn = self.monitor.turn.load(Ordering::Relaxed);
            self.monitor
                .turn
                .store(turn.wrapping_add(1), Ordering::Relaxed);
        }
        self.monitor.lock.release(self.me);
        if wakes > 0 {
            wake(&self.monitor.turn, wakes);
        }
    }
}
