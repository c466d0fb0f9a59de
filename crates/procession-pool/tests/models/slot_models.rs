//! How a job ends: once, whoever comes first.

use crate::TaskError;
use crate::jobs::{Scenery, work};
use crate::scene::{self, PLAIN};

/// What one thread does to the only job.
type Act = fn(&Scenery);

/// The worker has it done, and somebody delivers it.
fn deliver(scenery: &Scenery) {
    work(scenery.pool.shared, 0);
    scenery.pool.deliver(crate::hub::Who::Waiter);
}

fn stop(scenery: &Scenery) {
    let stopped = scenery.pool.stop_and_tell(&**scenery.job(0), false);
    let end = scenery.job(0).end();
    assert!(!stopped || end == "cancelled", "stopped, and {end}");
}

fn fail(scenery: &Scenery) {
    scenery.pool.fail_hub(&TaskError::Closed);
}

fn watch(scenery: &Scenery) {
    scenery.watch(0);
}

/// Each on a thread of its own. There are so many cells.
fn ends<const N: usize>(cells: u32, acts: [Act; N]) -> impl Fn() + Clone {
    move || {
        let scenery = Scenery::closely(1, cells);
        if cells == 0 {
            scenery.place(0);
        }
        for act in &acts[1..] {
            let (act, its) = (*act, scenery.clone());
            scene::thread(move || act(&its));
        }
        acts[0](&scenery);
        scene::join_all();
        // Where nobody else had it.
        work(scenery.pool.shared, 0);
        scene::came_to(scenery.job(0).end());
        scenery.check();
    }
}

#[test]
fn delivered_or_stopped() {
    PLAIN.check(ends(1, [deliver, stop]));
    scene::all_came_to(&["cancelled", "finished"]);
}

#[test]
fn delivered_or_failed() {
    PLAIN.check(ends(1, [deliver, fail]));
    scene::all_came_to(&["finished"]);
}

#[test]
fn delivered_stopped_or_failed() {
    PLAIN.check(ends(1, [deliver, stop, fail]));
    scene::all_came_to(&["cancelled", "finished"]);
}

#[test]
fn stopped_or_failed_without_a_cell() {
    PLAIN.check(ends(0, [stop, fail]));
    scene::all_came_to(&["cancelled", "finished"]);
}

#[test]
fn watched_when_it_ends() {
    PLAIN.check(ends(1, [deliver, watch]));
    PLAIN.check(ends(1, [stop, watch]));
    PLAIN.check(ends(1, [fail, watch]));
    PLAIN.check(ends(1, [deliver, stop, watch]));
    PLAIN.check(ends(1, [deliver, watch, watch]));
    scene::all_came_to(&["cancelled", "finished"]);
}
