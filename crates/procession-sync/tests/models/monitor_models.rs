//! `Monitor`, as a semaphore uses it: who can have a permit gets it, also after a death.

use std::rc::Rc;

use crate::monitor::{Attempt, Inside, Monitor};
use crate::primitive::{AtomicU32, FAMILY, Instant, MemberId, Ordering};
use crate::scene::{Fault, HAND_OVER, PLAIN, Scene, killed, member, must_fail, share};

/// `semaphore::State`, with a cell for each slot.
#[derive(Debug, Default)]
struct Permits {
    monitor: Monitor,
    total: AtomicU32,
    free: AtomicU32,
    held: [AtomicU32; 4],
}

/// Whether whose cell that is lives. Only the first one in a slot ever holds a permit.
fn is_live(slot: usize) -> bool {
    FAMILY.is_alive(MemberId::from_parts(slot as u32, 1))
}

impl Permits {
    fn repair(&self, inside: &Inside<'_>) {
        let mut held = 0;
        for (slot, cell) in self.held.iter().enumerate() {
            let count = cell.load(Ordering::Relaxed);
            if count > 0 && !is_live(slot) {
                cell.store(0, Ordering::Release);
            } else {
                held += count;
            }
        }
        let free = self.total.load(Ordering::Relaxed) - held;
        if free > self.free.load(Ordering::Relaxed) {
            inside.wake(free);
        }
        self.free.store(free, Ordering::Relaxed);
    }

    fn try_take(&self, inside: &Inside<'_>) -> Attempt<()> {
        let free = self.free.load(Ordering::Relaxed);
        if free == 0 {
            return Attempt::Wait;
        }
        let held = &self.held[inside.me.member().slot() as usize];
        held.store(held.load(Ordering::Relaxed) + 1, Ordering::Release);
        self.free.store(free - 1, Ordering::Relaxed);
        Attempt::Done(())
    }

    /// Takes a permit. False if that took too long.
    fn take(&self, deadline: Option<Instant>) -> bool {
        let taken = self.monitor.wait_until(
            &FAMILY,
            0,
            deadline,
            |inside| self.repair(inside),
            |inside| self.try_take(inside),
        );
        taken.is_some()
    }

    fn give_back(&self) {
        let inside = self.monitor.enter(&FAMILY, |inside| self.repair(inside));
        let held = &self.held[inside.me.member().slot() as usize];
        held.store(held.load(Ordering::Relaxed) - 1, Ordering::Release);
        let free = self.free.load(Ordering::Relaxed);
        self.free.store(free + 1, Ordering::Relaxed);
        inside.wake(1);
    }

    /// Adds permits, so that there are `total`.
    fn release(&self, total: u32) {
        let inside = self.monitor.enter(&FAMILY, |inside| self.repair(inside));
        let before = self.total.load(Ordering::Relaxed);
        if before < total {
            self.total.store(total, Ordering::Release);
            let free = self.free.load(Ordering::Relaxed);
            self.free.store(free + total - before, Ordering::Relaxed);
            inside.wake(total - before);
        }
    }

    /// To be called when all have gone: there are as many permits as there should be.
    fn check(&self, total: u32, free: u32) {
        let _inside = self.monitor.enter(&FAMILY, |inside| self.repair(inside));
        assert_eq!(self.total.load(Ordering::Relaxed), total);
        assert_eq!(self.free.load(Ordering::Relaxed), free);
    }
}

/// Each of `waiters` takes a permit, and gives it back if `returns`.
fn wait_for(
    permits: &Rc<Permits>,
    waiters: u32,
    returns: bool,
) -> Vec<loom::thread::JoinHandle<()>> {
    let waiter = |slot| {
        let permits = permits.clone();
        member(slot, move || {
            assert!(permits.take(None));
            if returns {
                permits.give_back();
            }
        })
    };
    (1..=waiters).map(waiter).collect()
}

/// As many permits as waiters, added one by one or at once.
fn waiters_and_wakes(waiters: u32, at_once: bool) -> impl Fn() + Clone {
    move || {
        let permits: Rc<Permits> = share();
        let threads = wait_for(&permits, waiters, false);
        let first = if at_once { waiters } else { 1 };
        (first..=waiters).for_each(|total| permits.release(total));
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        permits.check(waiters, 0);
    }
}

/// One permit, for one that waits as long as it takes and one that may give up.
fn time_out() {
    let permits: Rc<Permits> = share();
    let threads = wait_for(&permits, 1, true);
    let its = permits.clone();
    let timed = member(2, move || {
        if its.take(Some(Instant::LATER)) {
            its.give_back();
        }
    });
    let time = member(3, || FAMILY.pass_time());
    permits.release(1);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    timed.join().unwrap();
    time.join().unwrap();
    permits.check(1, 1);
}

/// Whoever adds the permits is killed on the way; then they are added if they had not been.
fn killed_waker(waiters: u32) -> impl Fn() + Clone {
    move || {
        let permits: Rc<Permits> = share();
        let threads = wait_for(&permits, waiters, false);
        killed(|| permits.release(waiters), |_| ());
        permits.release(waiters);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        permits.check(waiters, 0);
    }
}

/// One of those that wait for the only permit is killed, before it has it or after.
fn killed_waiter(others: u32) -> impl Fn() + Clone {
    move || {
        let permits: Rc<Permits> = share();
        let threads = wait_for(&permits, others, true);
        let waker = permits.clone();
        let waker = member(others + 1, move || waker.release(1));
        let take = || {
            permits.take(None);
            permits.give_back();
        };
        killed(take, |_| ());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        waker.join().unwrap();
        permits.check(1, 1);
    }
}

fn both(check: impl Fn(Scene)) {
    check(PLAIN);
    check(HAND_OVER);
}

#[test]
fn a_waiter_and_a_wake() {
    both(|scene| scene.check(waiters_and_wakes(1, true)));
}

#[test]
fn two_waiters_and_two_wakes() {
    both(|scene| scene.check(waiters_and_wakes(2, false)));
}

#[test]
fn two_waiters_woken_at_once() {
    both(|scene| scene.check(waiters_and_wakes(2, true)));
}

#[test]
fn a_waiter_gives_up() {
    PLAIN.check(time_out);
}

#[test]
fn the_waker_is_killed() {
    both(|scene| scene.check_kills(killed_waker(1)));
}

#[test]
fn the_waker_of_two_is_killed() {
    PLAIN.check_kills(killed_waker(2));
}

#[test]
fn a_waiter_is_killed() {
    both(|scene| scene.check_kills(killed_waiter(1)));
}

#[test]
fn one_of_three_waiters_is_killed() {
    PLAIN.fewer().check_kills(killed_waiter(2));
}

#[test]
fn a_death_without_news_is_found() {
    must_fail("deadlock", || {
        PLAIN
            .with(Fault::DeathWithoutNews)
            .check_kills(killed_waker(1));
    });
}

#[test]
fn sleeping_on_the_new_word_is_found() {
    must_fail("deadlock", || {
        PLAIN
            .with(Fault::SleepsOnNewWord)
            .check(waiters_and_wakes(1, true));
    });
}
