//! `RawLock`: one at a time, nobody forgotten, and each death in it told once.

use std::cell::Cell;
use std::rc::Rc;

use loom::cell::UnsafeCell;

use crate::primitive::{AtomicU32, FAMILY, Instant, Ordering};
use crate::raw_lock::{RawLock, Taken};
use crate::scene::{Fault, HAND_OVER, PLAIN, Scene, killed, member, must_fail, share};

/// A lock and what it guards.
#[derive(Debug, Default)]
struct Place {
    lock: RawLock,
    /// 1 while somebody is inside.
    busy: AtomicU32,
    /// Loom tells when two threads come to it without order between them.
    data: UnsafeCell<()>,
    /// How often somebody was told of a death.
    told: Cell<u32>,
    /// How many died holding the lock.
    died: Cell<u32>,
}

impl Place {
    /// Takes the lock, goes inside, lets go. False if that took too long.
    fn visit(&self, deadline: Option<Instant>) -> bool {
        let me = FAMILY.holder();
        let Some(taken) = self.lock.acquire(&FAMILY, me, deadline) else {
            return false;
        };
        self.inside(taken);
        self.lock.release(me);
        true
    }

    fn inside(&self, taken: Taken) {
        match taken {
            Taken::Free => assert_eq!(self.busy.load(Ordering::Relaxed), 0, "not alone inside"),
            Taken::FromDead => self.told.set(self.told.get() + 1),
        }
        self.busy.store(1, Ordering::Relaxed);
        self.data.with_mut(|_| ());
        self.busy.store(0, Ordering::Relaxed);
    }

    /// Takes the lock `times` times, and is killed on the way.
    fn die(&self, times: u32) {
        let visits = || {
            for _ in 0..times {
                self.visit(None);
            }
        };
        killed(visits, |victim| {
            let holds = self.lock.holder().map(|holder| holder.member());
            self.died.set(u32::from(holds == Some(victim)));
        });
    }

    /// To be called when all have gone, and nobody was killed: the lock is nobody's.
    fn check_free(&self) {
        let me = FAMILY.holder();
        assert!(self.lock.acquire_now(me), "reserved for nobody");
        self.lock.release(me);
    }

    /// To be called when all have gone.
    fn check(&self) {
        assert!(self.visit(None));
        assert_eq!(self.lock.holder(), None);
        assert_eq!(self.told.get(), self.died.get(), "deaths that were told");
    }
}

/// `turns[i]` times the lock for thread `i`.
fn contend(turns: &'static [u32]) -> impl Fn() + Clone {
    move || {
        let place: Rc<Place> = share();
        let threads: Vec<_> = (1..)
            .zip(turns)
            .map(|(slot, &times)| {
                let place = place.clone();
                member(slot, move || {
                    (0..times).for_each(|_| assert!(place.visit(None)))
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        place.check_free();
    }
}

/// One is killed that wants the lock `times` times; each of `others` wants it once.
fn victim_and(others: u32, times: u32) -> impl Fn() + Clone {
    move || {
        let place: Rc<Place> = share();
        let threads: Vec<_> = (2..2 + others)
            .map(|slot| {
                let place = place.clone();
                member(slot, move || assert!(place.visit(None)))
            })
            .collect();
        place.die(times);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        place.check();
    }
}

/// One takes the lock twice, one once, and one gives up when time has passed.
fn time_out() {
    let place: Rc<Place> = share();
    let [a, b] = [place.clone(), place.clone()];
    let timed = member(1, move || a.visit(Some(Instant::LATER)));
    let patient = member(2, move || b.visit(None));
    let time = member(3, || FAMILY.pass_time());
    place.visit(None);
    place.visit(None);
    timed.join().unwrap();
    patient.join().unwrap();
    time.join().unwrap();
    place.check_free();
}

fn both(check: impl Fn(Scene)) {
    check(PLAIN);
    check(HAND_OVER);
}

#[test]
fn two_threads() {
    both(|scene| scene.check(contend(&[2, 2])));
}

#[test]
fn three_threads() {
    both(|scene| scene.check(contend(&[1, 1, 1])));
}

#[test]
fn a_sleeper_gives_up() {
    both(|scene| scene.check(time_out));
}

#[test]
fn killed_with_one_other() {
    both(|scene| scene.check_kills(victim_and(1, 2)));
}

#[test]
fn killed_with_two_others() {
    both(|scene| scene.check_kills(victim_and(2, 1)));
}

#[test]
fn a_death_without_news_is_found() {
    must_fail("deadlock", || {
        PLAIN
            .with(Fault::DeathWithoutNews)
            .check_kills(victim_and(1, 1));
    });
}

#[test]
fn taking_without_the_mark_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::TakesUnmarked).check(contend(&[1, 1, 1]))
    });
}

#[test]
fn giving_up_without_the_mark_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::GivesUpUnmarked).check(time_out)
    });
}

#[test]
fn a_release_without_order_is_found() {
    must_fail("Causality violation", || {
        PLAIN.with(Fault::ReleasesRelaxed).check(contend(&[1, 1]))
    });
}

#[test]
fn a_reservation_for_nobody_is_found() {
    must_fail("reserved for nobody", || {
        HAND_OVER.with(Fault::CountsNoWakes).check(contend(&[1, 1]));
    });
}
