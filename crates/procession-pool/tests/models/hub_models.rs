//! Who waits for the hub: every job is completed, and nobody sleeps while there is something for it
//! to do.

use std::time::Instant;

use crate::family::FAMILY;
use crate::jobs::Scenery;
use crate::scene::{self, Fault, PLAIN, STRONG, must_fail};

/// Each job has a thread that waits for it.
fn waiters(jobs: u32) -> impl Fn() + Clone {
    move || {
        let scenery = Scenery::new(jobs, jobs);
        scenery.start_worker();
        for number in 1..jobs {
            let its = scenery.clone();
            scene::thread(move || assert!(its.wait(number, None)));
        }
        assert!(scenery.wait(0, None));
        scenery.check();
    }
}

/// One waits for the last of two jobs, and one for the first and not for ever.
fn one_gives_up() {
    let scenery = Scenery::new(2, 2);
    scenery.start_worker();
    let its = scenery.clone();
    scene::thread(move || _ = its.wait(0, Some(Instant::LATER)));
    scene::thread(|| FAMILY.pass_time());
    assert!(scenery.wait(1, None));
    // It may be done and not delivered, if nobody waits for it.
    assert!(scenery.wait(0, None));
    scenery.check();
}

/// One waits until no job is left.
fn settles() {
    let scenery = Scenery::new(2, 2);
    scenery.start_worker();
    let its = scenery.clone();
    scene::thread(move || assert!(its.wait(0, None)));
    assert!(scenery.pool.settle_hub(None));
    scenery.check();
}

/// The worker is killed on its way; whoever waits finds what it has left.
fn killed_worker() {
    let scenery = Scenery::new(1, 1);
    let work = scenery.working(0..1);
    let again = work.clone();
    scene::on_hire(move |_| scene::worker(0, again.clone()));
    scene::victim(0, work);
    assert!(scenery.wait(0, None));
    scenery.check();
}

#[test]
fn one_waits() {
    PLAIN.check(waiters(1));
}

#[test]
fn two_wait() {
    PLAIN.fewer().check(waiters(2));
}

#[test]
fn a_waiter_gives_up() {
    PLAIN.fewer().check(one_gives_up);
}

#[test]
fn one_waits_for_all() {
    PLAIN.fewer().check(settles);
}

#[test]
fn the_worker_is_killed() {
    PLAIN.check_kills(killed_worker);
}

#[test]
fn taking_the_mark_is_found() {
    must_fail("deadlock", || {
        STRONG.with(Fault::TakesTheMark).check(waiters(2));
    });
}

#[test]
fn following_blindly_is_found() {
    must_fail("deadlock", || {
        STRONG.with(Fault::FollowsBlindly).check(waiters(2));
    });
}
