//! Guarded items: whoever ends one hits that one or none.
#![allow(
    unsafe_code,
    reason = "reads the outcomes of a task that nobody runs any more"
)]

use real::cell::Cell as Plain;
use real::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::call_models::fill;
use crate::cell::Cell;
use crate::family::FAMILY;
use crate::filling::Terms;
use crate::inner::Inner;
use crate::record::{Records, Tag};
use crate::scene::{self, Fault, ME, Mark, PLAIN, must_fail};
use crate::shared::{Shared, WorkerLine};
use crate::task::Task;

/// What an item may take, in looks at the clock.
const LIMIT: u64 = 1;

/// A pool with one worker and tasks of so many items each, all claimed by it one by one.
#[derive(Clone)]
struct Scenery {
    pool: Arc<Inner>,
    line: &'static WorkerLine,
    cells: Vec<(u32, &'static Cell)>,
    /// Set when the program has stopped the first task.
    stopped: Rc<Plain<bool>>,
    /// Tasks that the worker has come to the end of.
    done: Rc<Plain<u32>>,
}

impl Scenery {
    fn new(items: &[u32]) -> Scenery {
        let pool = Inner::new(1);
        let shared = pool.shared;
        let line = shared.worker(0).expect("a line");
        scene::mark(line.guard.address(), Mark::Guard);
        scene::watch_at(line.current.address());
        scene::watch_at(line.begun_at.address());
        let terms = Terms {
            guarded: true,
            limit: LIMIT,
            ring: 0,
        };
        let task = |&items: &u32| {
            // The free cells are given out in this order.
            let index = fill(&pool, items, &terms);
            (index, shared.cell(index).expect("a cell"))
        };
        let cells: Vec<_> = items.iter().map(task).collect();
        for (_, cell) in &cells {
            scene::watch_at(cell.stop.address());
            cell.queue();
        }
        Scenery {
            pool,
            line,
            cells,
            stopped: Rc::default(),
            done: Rc::default(),
        }
    }

    fn shared(&self) -> Shared {
        self.pool.shared
    }

    /// What the worker does, and whoever comes after it in its place.
    fn start(&self) {
        let its = self.clone();
        scene::on_hire(move |_| {
            let its = its.clone();
            scene::worker(0, move || its.work());
        });
        let its = self.clone();
        scene::worker(0, move || its.work());
    }

    fn work(&self) {
        for &(index, cell) in &self.cells {
            self.line.current.store(index + 1, Ordering::Relaxed);
            if !cell.claim(0) {
                continue;
            }
            let mut task = Task::resume(self.shared(), cell).expect("whole");
            task.work_by(self.line, u64::MAX, None);
            loop {
                let was_stopped = self.stopped.get();
                if task.begin().is_none() {
                    break;
                }
                let first = index == self.cells[0].0;
                assert!(!(was_stopped && first), "begun after the stop");
                task.enter(primitives::Phase::Running);
                task.finish(&());
            }
            task.end();
            self.line.current.store(0, Ordering::Relaxed);
            cell.finish(0);
            self.done.set(self.done.get() + 1);
        }
    }

    /// To be called when the worker has come to its end. Whether it was killed.
    fn check_execution(&self) -> bool {
        let killed = scene::executions(0) > 0;
        let left = self.cells.len() as u32 - self.done.get();
        assert_eq!(killed, left > 0, "who was condemned commits nothing");
        assert_eq!(killed, self.line.is_condemned());
        killed
    }

    /// Has the worker settled, and the rest done by the next one. What kinds of outcomes there are.
    fn outcomes(&self) -> Vec<Vec<Tag>> {
        self.pool.attend(FAMILY.news());
        scene::join_all();
        let tags = |&(_, cell): &(u32, &'static Cell)| {
            // SAFETY: nobody runs it any more.
            let output = unsafe { self.shared().output(cell) }.expect("in the cell");
            Records(output).map(|(tag, _)| tag).collect()
        };
        self.cells.iter().map(tags).collect()
    }
}

/// A task of two items is stopped, with another one behind it.
fn stop(items: &'static [u32]) -> impl Fn() + Clone {
    move || {
        let scenery = Scenery::new(items);
        let (index, cell) = scenery.cells[0];
        scenery.start();
        let shared = scenery.shared();
        let ended = scenery.pool.crew.stop(&shared, index, cell, 0);
        scenery.stopped.set(true);
        scene::join_all();
        let killed = scenery.check_execution();
        assert_eq!(killed, ended);
        if killed {
            let current = scenery.line.current.load(Ordering::Relaxed);
            assert_eq!(current, index + 1, "condemned for another task");
        }
        let outcomes = scenery.outcomes();
        for (tags, &items) in outcomes.iter().zip(items) {
            assert_eq!(tags.len(), items as usize, "one outcome each");
        }
        assert!(outcomes[1..].iter().flatten().all(|tag| *tag == Tag::Value));
        // Those before the stop have values, the one in hand and those behind it have none.
        let is_sorted = outcomes[0].is_sorted_by_key(|tag| *tag != Tag::Value);
        assert!(is_sorted, "{outcomes:?}");
        let values = outcomes[0].iter().filter(|tag| **tag == Tag::Value);
        let how = if killed { "killed" } else { "left alone" };
        scene::came_to(format!("{how}, {} of {}", values.count(), items[0]));
    }
}

/// The program looks `times` times whether an item takes too long.
fn overdue(items: &'static [u32], times: u32) -> impl Fn() + Clone {
    move || {
        let scenery = Scenery::new(items);
        scenery.pool.crew.time(LIMIT, false);
        scenery.start();
        for _ in 0..times {
            scenery.pool.attend(FAMILY.news());
            if scene::executions(0) > 0 {
                break;
            }
        }
        let looked_at = ME.with(|me| me.looked_at.get());
        scene::join_all();
        if scenery.line.is_condemned() {
            let begun_at = scenery.line.begun_at.load(Ordering::Relaxed);
            assert!(
                begun_at + LIMIT <= looked_at,
                "condemned for an earlier item"
            );
        }
        let killed = scenery.check_execution();
        scene::came_to(if killed { "killed" } else { "in time" });
        for (tags, &items) in scenery.outcomes().iter().zip(items) {
            assert_eq!(tags.len(), items as usize, "one outcome each");
        }
    }
}

#[test]
fn two_items_are_stopped() {
    PLAIN.check(stop(&[2]));
    scene::all_came_to(&[
        "killed, 0 of 2",
        "killed, 1 of 2",
        "killed, 2 of 2",
        "left alone, 0 of 2",
        "left alone, 1 of 2",
        "left alone, 2 of 2",
    ]);
}

#[test]
fn the_first_of_two_tasks_is_stopped() {
    PLAIN.check(stop(&[1, 1]));
    scene::all_came_to(&[
        "killed, 0 of 1",
        "killed, 1 of 1",
        "left alone, 0 of 1",
        "left alone, 1 of 1",
    ]);
}

#[test]
fn an_item_takes_too_long() {
    PLAIN.check(overdue(&[2], 1));
    scene::all_came_to(&["in time", "killed"]);
    PLAIN.check(overdue(&[1, 1], 2));
    scene::all_came_to(&["in time", "killed"]);
}

#[test]
fn condemning_by_a_store_is_found() {
    must_fail("commits nothing", || {
        PLAIN.with(Fault::CondemnsByStore).check(stop(&[1]));
    });
    must_fail("commits nothing", || {
        PLAIN.with(Fault::CondemnsByStore).check(overdue(&[2], 1));
    });
}

#[test]
fn committing_by_a_store_is_found() {
    must_fail("commits nothing", || {
        PLAIN.with(Fault::CommitsByStore).check(stop(&[1]));
    });
}

#[test]
fn a_program_without_its_fence_is_found() {
    must_fail("begun after the stop", || {
        PLAIN.with(Fault::ProgramUnfenced).check(stop(&[2]));
    });
}

#[test]
fn a_worker_without_its_fence_is_found() {
    must_fail("begun after the stop", || {
        PLAIN.with(Fault::WorkerUnfenced).check(stop(&[2]));
    });
}
