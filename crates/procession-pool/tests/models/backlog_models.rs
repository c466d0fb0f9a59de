//! Tasks that wait for a cell: each gets one although the keeper sleeps, if workers run dry.

use std::time::Instant;

use crate::builder::Config;
use crate::family::FAMILY;
use crate::jobs::Scenery;
use crate::scene::{self, Fault, Mark, PLAIN, STRONG, must_fail};

/// There are `cells` for two or more jobs. The last one is submitted while the worker runs dry and the
/// keeper goes to sleep. The worker leaves when it has done all.
fn backlog(jobs: u32, cells: u32) -> impl Fn() + Clone {
    move || {
        let scenery = Scenery::new(jobs, cells);
        (cells..jobs - 1).for_each(|number| scenery.place(number));
        scene::worker(0, scenery.serving(jobs.into()));
        scenery.pool.keep();
        scenery.place(jobs - 1);
        scene::join_all();
        scenery.pool.stop_keeping();
        scenery.check();
    }
}

/// The same, and the worker is killed on its way.
fn killed() {
    let scenery = Scenery::new(2, 1);
    scene::watch_at(scenery.pool.submitted.address());
    let serve = scenery.serving(u64::MAX);
    let again = serve.clone();
    scene::on_hire(move |_| scene::worker(0, again.clone()));
    scene::victim(0, serve);
    scenery.pool.keep();
    scenery.place(1);
    scenery.await_submitted(1);
    scenery.pool.close();
    scene::join_all();
    scenery.pool.stop_keeping();
    scene::join_all();
}

/// The last who waits leaves while a task waits for a cell, `before` it or meanwhile.
fn waiter_leaves(before: bool) -> impl Fn() + Clone {
    move || {
        let scenery = Scenery::new(2, 1);
        if before {
            scenery.place(1);
        }
        scene::worker(0, scenery.serving(2));
        scenery.pool.keep();
        if !before {
            let its = scenery.clone();
            scene::thread(move || its.place(1));
        }
        assert!(scenery.wait(0, None));
        scene::join_all();
        scenery.pool.stop_keeping();
        scenery.check();
    }
}

/// The same, and it does not wait for the outcome.
fn waiter_gives_up() {
    let scenery = Scenery::new(2, 1);
    scenery.place(1);
    scene::worker(0, scenery.serving(2));
    scenery.pool.keep();
    scene::thread(|| FAMILY.pass_time());
    scenery.wait(0, Some(Instant::LATER));
    scene::join_all();
    scenery.pool.stop_keeping();
    scenery.check();
}

/// Somebody has left word by now, and the keeper was called for something else.
fn word_is_left() {
    let scenery = Scenery::new(2, 1);
    scenery.place(1);
    assert!(scenery.pool.leave_word());
    scene::worker(0, scenery.serving(2));
    scenery.pool.keep();
    scene::join_all();
    scenery.pool.stop_keeping();
    scenery.check();
}

/// All cells hold finished tasks that nobody has asked for, and the worker has left for want of work.
fn resting() {
    let config = Config {
        lazy: true,
        ..Config::default()
    };
    let scenery = Scenery::with(2, 1, config);
    scene::watch_at(scenery.pool.submitted.address());
    scenery.working(0..1)();
    scenery.pool.keep();
    scenery.place(1);
    scenery.await_submitted(1);
    scenery.pool.stop_keeping();
    scenery.working(0..1)();
    scenery.check();
}

#[test]
fn one_task_waits() {
    PLAIN.check(backlog(2, 1));
}

#[test]
fn two_tasks_wait() {
    PLAIN.fewer().check(backlog(3, 1));
}

#[test]
fn one_task_waits_for_two_cells() {
    PLAIN.fewer().check(backlog(3, 2));
}

#[test]
fn the_worker_is_killed() {
    PLAIN.fewer().check_kills(killed);
}

#[test]
fn the_last_waiter_leaves() {
    PLAIN.fewer().check(waiter_leaves(true));
    PLAIN.fewer().check(waiter_leaves(false));
}

#[test]
fn the_last_waiter_gives_up() {
    PLAIN.fewer().check(waiter_gives_up);
}

#[test]
fn word_was_left_before() {
    PLAIN.check(word_is_left);
}

#[test]
fn all_workers_rest() {
    PLAIN.check(resting);
}

#[test]
fn looking_away_from_idle_workers_is_found() {
    must_fail("deadlock", || {
        STRONG.with(Fault::LooksAway).check(backlog(2, 1));
    });
}

#[test]
fn sleeping_without_asking_is_found() {
    must_fail("deadlock", || {
        STRONG.with(Fault::AsksNoMore).check(backlog(2, 1));
    });
}

#[test]
fn saying_it_after_the_look_is_found() {
    must_fail("deadlock", || {
        STRONG.with(Fault::SaysItLate).check(backlog(2, 1));
    });
}

#[test]
fn placing_without_a_fence_is_found() {
    must_fail("deadlock", || {
        let fault = Fault::Unfenced(Mark::Waiting, "backlog.rs");
        PLAIN.with(fault).check(backlog(2, 1));
    });
}

#[test]
fn a_keeper_without_its_fence_is_found() {
    must_fail("deadlock", || {
        let fault = Fault::Unfenced(Mark::KeeperAsleep, "vigil.rs");
        PLAIN.with(fault).check(backlog(2, 1));
    });
}

#[test]
fn leaving_word_without_a_fence_is_found() {
    must_fail("deadlock", || {
        let fault = Fault::Unfenced(Mark::Hungry, "backlog.rs");
        PLAIN.with(fault).check(backlog(2, 1));
    });
}

#[test]
fn sleeping_without_a_fence_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::SleepUnfenced).check(backlog(2, 1));
    });
}
