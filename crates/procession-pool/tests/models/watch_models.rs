//! Watched jobs: they get their outcome also if nobody waits.

use crate::jobs::{Scenery, work};
use crate::scene::{self, Fault, Mark, PLAIN, STRONG, must_fail};

/// Nobody waits by the hub; a job becomes watched while the worker is at it.
fn watched() {
    let scenery = Scenery::new(1, 1);
    scenery.start_worker();
    scenery.pool.keep();
    scenery.watch(0);
    scenery.look_on(0);
    scenery.pool.stop_keeping();
    scenery.check();
}

/// The same, and the worker is killed on its way.
fn killed() {
    let scenery = Scenery::new(1, 1);
    let work = scenery.working(0..1);
    let again = work.clone();
    scene::on_hire(move |_| scene::worker(0, again.clone()));
    scene::victim(0, work);
    scenery.pool.keep();
    scenery.watch(0);
    scenery.look_on(0);
    scenery.pool.stop_keeping();
    scenery.check();
}

/// One waits for the first of two jobs; the other one is watched, and the keeper's.
fn waiter_and_keeper() {
    let scenery = Scenery::new(2, 2);
    scenery.start_worker();
    scenery.pool.keep();
    scenery.watch(1);
    assert!(scenery.wait(0, None));
    scenery.look_on(1);
    scenery.pool.stop_keeping();
    scenery.check();
}

/// One finds the first of two jobs done; the other one becomes watched and finishes meanwhile.
fn found() {
    let scenery = Scenery::new(2, 2);
    scenery.working(0..1)();
    scenery.pool.keep();
    let its = scenery.clone();
    scene::thread(move || {
        its.watch(1);
        work(its.pool.shared, 1);
    });
    assert!(scenery.wait(0, None));
    scenery.look_on(1);
    scenery.pool.stop_keeping();
    scenery.check();
}

/// Two jobs become watched, by two threads; the worker does the second one later.
fn two_watched() {
    let scenery = Scenery::new(2, 2);
    scenery.pool.keep();
    let its = scenery.clone();
    scene::thread(move || {
        its.watch(1);
        work(its.pool.shared, 1);
    });
    scenery.watch(0);
    work(scenery.pool.shared, 0);
    scenery.look_on(0);
    scenery.look_on(1);
    scenery.pool.stop_keeping();
    scenery.check();
}

#[test]
fn one_is_watched() {
    PLAIN.check(watched);
}

#[test]
fn the_worker_of_a_watched_one_is_killed() {
    PLAIN.fewer().check_kills(killed);
}

#[test]
fn one_waits_and_leaves_the_rest() {
    PLAIN.check(waiter_and_keeper);
}

#[test]
fn one_leaves_at_once() {
    PLAIN.fewer().check(found);
}

#[test]
fn two_are_watched() {
    PLAIN.fewer().check(two_watched);
}

#[test]
fn watching_silently_is_found() {
    must_fail("deadlock", || {
        STRONG.with(Fault::WatchesSilently).check(watched);
    });
}

#[test]
fn leaving_the_inbox_unsaid_is_found() {
    must_fail("deadlock", || {
        STRONG.with(Fault::LeavesUnsaid).check(waiter_and_keeper);
    });
}

#[test]
fn leaving_without_a_fence_is_found() {
    must_fail("deadlock", || {
        let fault = Fault::Unfenced(Mark::Waiters, "vigil.rs");
        PLAIN.with(fault).check(found);
    });
}
