//! Workers without work: whoever is needed is called, and nobody leaves who is counted on.

use real::cell::Cell;
use real::rc::Rc;

use crate::call_models;
use crate::family::FAMILY;
use crate::filling::Terms;
use crate::inner::{Inner, watch_hints};
use crate::scene::{self, Fault, PLAIN, must_fail};
use crate::worker::{Leave, Worker};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn pool(workers: u32) -> Arc<Inner> {
    let pool = Inner::new(workers);
    watch_hints(&pool.shared, workers);
    pool
}

fn offer(pool: &Inner) {
    let index = call_models::fill(pool, 1, &Terms::default());
    pool.submit(index);
}

/// Each of `workers` does one task, and `tasks` are offered by each of `threads` of the program.
fn offers(workers: u32, each: u64, tasks: u32) -> impl Fn() + Clone {
    move || {
        let pool = pool(workers);
        let shared = pool.shared;
        for index in 0..workers {
            scene::worker(index, move || {
                let leave = Worker::new(shared, index, each).serve();
                assert_eq!(leave, Leave::Retired);
            });
        }
        (0..tasks).for_each(|_| offer(&pool));
        scene::join_all();
    }
}

/// A worker that may leave for want of work, and a task.
fn leaves() {
    let pool = pool(1);
    let shared = pool.shared;
    let left = Rc::new(Cell::new(None));
    let its = left.clone();
    scene::worker(0, move || {
        its.set(Some(Worker::new(shared, 0, 1).restless().serve()));
    });
    scene::thread(|| FAMILY.pass_time());
    offer(&pool);
    let counts_on_it = pool.called.load(Ordering::Relaxed);
    scene::join_all();
    let left = left.take().expect("has left");
    scene::came_to(format!("{left:?}, {counts_on_it}"));
    assert!(
        left == Leave::Retired || !counts_on_it,
        "left with an offer"
    );
}

/// A letter for one worker.
fn letter() {
    let pool = pool(1);
    let shared = pool.shared;
    scene::worker(0, move || {
        let leave = Worker::new(shared, 0, 1).serve();
        assert_eq!(leave, Leave::Retired);
    });
    let index = call_models::fill(&pool, 1, &Terms::default());
    let cell = shared.cell(index).expect("a cell");
    let line = shared.worker(0).expect("a line");
    // As `Call::post`.
    cell.queue();
    line.letter.store(index + 1, Ordering::Relaxed);
    shared.call_worker(0);
    scene::join_all();
}

#[test]
fn one_offer() {
    PLAIN.check(offers(1, 1, 1));
}

#[test]
fn two_offers_for_one() {
    PLAIN.check(offers(1, 2, 2));
}

#[test]
fn two_offers_for_two() {
    PLAIN.fewer().check(offers(2, 1, 2));
}

#[test]
fn a_worker_leaves() {
    PLAIN.check(leaves);
    scene::all_came_to(&["Idle, false", "Retired, false", "Retired, true"]);
}

#[test]
fn a_letter() {
    PLAIN.check(letter);
}

#[test]
fn a_program_without_its_fence_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::ProgramUnfenced).check(offers(1, 1, 1));
    });
}

#[test]
fn a_letter_without_a_fence_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::ProgramUnfenced).check(letter)
    });
}

#[test]
fn sleeping_without_a_fence_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::SleepUnfenced).check(offers(1, 1, 1));
    });
}

#[test]
fn finding_without_order_is_found() {
    must_fail("deadlock", || {
        PLAIN.with(Fault::FindsRelaxed).check(offers(2, 1, 2));
    });
}

#[test]
fn leaving_without_order_is_found() {
    must_fail("left with an offer", || {
        PLAIN.with(Fault::FindsRelaxed).check(leaves);
    });
}

/// In which order the two bits change is free: a worker looks for hints after both. The shipped
/// one saves wake-ups.
#[test]
fn the_order_of_the_bits_is_free() {
    for fault in [Fault::ClearsFirst, Fault::HidesFirst] {
        PLAIN.with(fault).fewer().check(offers(2, 1, 2));
        PLAIN.with(fault).check(leaves);
    }
}
