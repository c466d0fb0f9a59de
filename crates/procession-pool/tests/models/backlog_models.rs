//! Tasks that wait for a cell: each gets one although the keeper sleeps, if workers run dry.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::family::FAMILY;
use crate::hub::Who;
use crate::jobs::Scenery;
use crate::scene::{self, Fault, Mark, PLAIN, STRONG, must_fail};
use crate::shared::CLOSED;
use crate::worker::{Leave, Worker};

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

/// The last who waits finds its outcome at once and leaves, while a task that found no cell begins to
/// wait for one. The only worker sleeps.
fn leaves_at_once() {
    let scenery = Scenery::new(2, 1);
    scene::watch_at(scenery.pool.submitted.address());
    scenery.working(0..1)();
    let asleep = &scenery.pool.shared.header().asleep.0[0];
    asleep.store(1, Ordering::Relaxed);
    scenery.pool.keep();
    let its = scenery.clone();
    scene::thread(move || its.place(1));
    assert!(scenery.wait(0, None));
    scenery.await_submitted(1);
    scenery.pool.stop_keeping();
    scenery.working(0..1)();
    scenery.check();
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

/// The pool is closed while a task waits for a cell, or is about to. It is done before the workers
/// leave for good, also if nobody joins.
fn closed(joined: bool) -> impl Fn() + Clone {
    move || {
        let scenery = Scenery::new(2, 1);
        let stay = scenery.staying();
        let again = stay.clone();
        scene::on_hire(move |_| scene::worker(0, again.clone()));
        scene::worker(0, stay);
        scenery.pool.keep();
        scenery.place(1);
        scenery.pool.close();
        if joined {
            // As `Inner::join`.
            assert!(scenery.pool.settle_hub(None));
            scenery.pool.close_if_done();
        } else {
            scenery.watch(1);
            scenery.look_on(1);
        }
        scene::join_all();
        scenery.pool.stop_keeping();
        scenery.check();
    }
}

/// The pool is closed while the last task that waits gets its cell.
fn closes() {
    let scenery = Scenery::new(2, 1);
    scenery.place(1);
    scenery.working(0..1)();
    let its = scenery.clone();
    scene::thread(move || _ = its.pool.deliver(Who::Waiter));
    scenery.pool.close();
    scene::join_all();
    let phase = &scenery.pool.shared.header().phase.0;
    assert_eq!(phase.load(Ordering::Relaxed), CLOSED, "left open");
    scenery.working(0..1)();
    scenery.check();
}

/// Another call has the only cell and gives it back. The only worker sleeps meanwhile, and so does
/// the keeper.
fn starved() {
    let scenery = Scenery::new(1, 0);
    scene::watch_at(scenery.pool.submitted.address());
    scenery.pool.give_back(0);
    let cell = scenery.pool.try_take_cell(0).expect("a free cell");
    let asleep = &scenery.pool.shared.header().asleep.0[0];
    asleep.store(1, Ordering::Relaxed);
    scenery.pool.keep();
    scenery.place(0);
    scenery.pool.give_back(cell);
    scenery.await_submitted(1);
    scenery.pool.stop_keeping();
    scenery.working(0..1)();
    scenery.check();
}

/// One of two workers does the task in the only cell.
fn two_workers() {
    let scenery = Scenery::for_workers(2, 2, 1);
    scene::watch_at(scenery.pool.submitted.address());
    for index in 0..2 {
        let shared = scenery.pool.shared;
        scene::worker(index, move || {
            Worker::new(shared, index, u64::MAX).serve();
        });
    }
    scenery.pool.keep();
    scenery.place(1);
    scenery.await_submitted(1);
    scenery.pool.close();
    scene::join_all();
    scenery.pool.stop_keeping();
    scenery.check();
}

/// All workers have left for good when a task comes, and none takes their place.
fn deserted() {
    let scenery = Scenery::new(2, 1);
    scenery.working(0..1)();
    scenery.pool.crew.close();
    scene::leave(0, Leave::Dismissed);
    scenery.pool.keep();
    scenery.watch(1);
    scenery.place(1);
    scenery.look_on(1);
    scenery.pool.stop_keeping();
    scenery.check();
}

/// All cells hold finished tasks that nobody has asked for, and the worker has left for want of work.
fn resting() {
    let scenery = Scenery::new(2, 1);
    scene::watch_at(scenery.pool.submitted.address());
    scenery.working(0..1)();
    scene::leave(0, Leave::Idle);
    scenery.pool.attend(FAMILY.news());
    let work = scenery.working(0..1);
    scene::on_hire(move |_| scene::worker(0, work.clone()));
    scenery.pool.keep();
    scenery.place(1);
    scenery.await_submitted(1);
    scene::join_all();
    scenery.pool.stop_keeping();
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
    PLAIN.check(backlog(3, 2));
}

#[test]
fn the_worker_is_killed() {
    PLAIN.fewer().fewer().check_kills(killed);
}

#[test]
fn the_last_waiter_leaves() {
    PLAIN.fewer().check(waiter_leaves(true));
    PLAIN.fewer().check(waiter_leaves(false));
}

#[test]
fn the_last_waiter_leaves_at_once() {
    PLAIN.check(leaves_at_once);
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
fn the_pool_is_closed() {
    PLAIN.fewer().check(closed(false));
    PLAIN.fewer().check(closed(true));
}

#[test]
fn closing_is_noticed() {
    PLAIN.check(closes);
}

#[test]
fn closing_without_a_fence_is_found() {
    for mark in [Mark::Phase, Mark::Waiting] {
        must_fail("left open", || {
            let fault = Fault::Unfenced(mark, "backlog.rs");
            PLAIN.with(fault).check(closes);
        });
    }
}

#[test]
fn others_have_the_cells() {
    PLAIN.check(starved);
}

#[test]
fn there_are_two_workers() {
    PLAIN.fewer().fewer().check(two_workers);
}

#[test]
fn all_workers_are_gone() {
    PLAIN.fewer().check(deserted);
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
        PLAIN.with(Fault::AsksNoMore).check(backlog(2, 1));
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
        PLAIN.with(fault).check(leaves_at_once);
    });
}

#[test]
fn a_keeper_without_its_fence_is_found() {
    must_fail("deadlock", || {
        let fault = Fault::Unfenced(Mark::KeeperAsleep, "vigil.rs");
        PLAIN.with(fault).check(leaves_at_once);
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
fn a_death_without_news_is_found() {
    must_fail("deadlock", || {
        let scene = PLAIN.with(Fault::DeathWithoutNews).fewer().fewer();
        scene.check_kills(killed);
    });
}

#[test]
fn sleeping_without_a_fence_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::SleepUnfenced).check(backlog(2, 1));
    });
}
