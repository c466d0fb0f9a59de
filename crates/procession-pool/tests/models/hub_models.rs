//! Who waits for the hub: every job is completed, and nobody sleeps while there is something for it
//! to do.

use std::time::Instant;

use crate::TaskError;
use crate::family::FAMILY;
use crate::hub::{Job, Who};
use crate::jobs::Scenery;
use crate::scene::{self, Fault, Mark, PLAIN, STRONG, must_fail};

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

/// One waits until no job is left; the only one fails before it has a task, for want of memory.
fn fails_meanwhile() {
    let scenery = Scenery::new(1, 0);
    let its = scenery.clone();
    scene::thread(move || {
        // As `Inner::place` does.
        let job = its.job(0);
        job.fail(0, 1, &TaskError::Closed);
        job.settle(&its.pool);
    });
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

/// The worker has died after it had told of its task. One thread finds it in the inbox, the other one
/// among what the dead have left; its cell is given to another task, which nobody has begun.
fn told_twice() {
    let scenery = Scenery::closely(2, 1);
    scenery.place(1);
    scenery.working(0..1)();
    FAMILY.bury(0);
    let its = scenery.clone();
    scene::thread(move || _ = its.pool.turn(FAMILY.news(), Who::Waiter));
    scenery.pool.deliver(Who::Waiter);
    scene::join_all();
    assert_eq!(scenery.job(1).end(), "not ended", "taken for the first");
    scenery.working(0..1)();
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
fn the_last_one_fails_while_one_waits_for_all() {
    PLAIN.check(fails_meanwhile);
}

/// The one in `settle_hub` is not needed for this: that in `say` follows.
#[test]
fn ending_without_a_fence_is_found() {
    must_fail("deadlock", || {
        PLAIN
            .with(Fault::UnfencedIn("hub.rs"))
            .check(fails_meanwhile);
    });
    let fault = Fault::Unfenced(Mark::Settling, "vigil.rs");
    PLAIN.with(fault).check(fails_meanwhile);
}

#[test]
fn the_worker_is_killed() {
    PLAIN.check_kills(killed_worker);
}

#[test]
fn what_is_told_twice_counts_once() {
    PLAIN.check(told_twice);
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
