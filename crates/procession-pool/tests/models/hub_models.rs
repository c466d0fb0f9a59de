//! The hub: every job is completed, by whoever waits or by the keeper, and nobody sleeps while
//! there is something for it to do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::TaskError;
use crate::call::Collected;
use crate::call_models::fill;
use crate::family::FAMILY;
use crate::filling::Terms;
use crate::hub::{Job, Waiter, Waiting};
use crate::inner::{Inner, watch_task};
use crate::mailbox;
use crate::scene::{self, Fault, Mark, PLAIN, STRONG, must_fail};
use crate::shared::Shared;
use crate::{wake, worker};

/// A job of one task, with a promise of its own: as in `submit.rs` and `promise.rs`.
#[derive(Default)]
struct One {
    terms: Terms,
    taken: AtomicU32,
    done: AtomicU32,
    waiters: Mutex<Vec<Arc<Waiter>>>,
}

impl One {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) != 0
    }
}

impl Job for One {
    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn is_stopped(&self) -> bool {
        false
    }

    fn take(&self, _: &Inner, _: &Collected) -> Vec<Waiting> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        assert_eq!(before, 0, "collected twice");
        Vec::new()
    }

    fn fail(&self, _: u64, _: u32, error: &TaskError) {
        panic!("{error}");
    }

    fn cell(&self) -> Option<Option<u32>> {
        None
    }

    fn placed(&self, _: u32) {}

    fn stop(&self) {}

    fn settle(&self, pool: &Inner) {
        if self.taken.load(Ordering::Relaxed) == 0 {
            return;
        }
        // As `Promise::complete`.
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let waiters_now = real::mem::take(&mut *waiters);
        self.done.store(1, Ordering::Release);
        drop(waiters);
        for waiter in waiters_now {
            waiter.bump();
        }
        // For whoever does not wait by the hub.
        wake(&self.done, 1);
        pool.hub.end(pool);
    }
}

/// A pool, and jobs whose tasks no worker has begun.
#[derive(Clone)]
struct Scenery {
    pool: Arc<Inner>,
    /// With a waiter for each.
    jobs: Vec<(Arc<One>, Arc<Waiter>)>,
    cells: Vec<u32>,
}

impl Scenery {
    fn new(jobs: usize) -> Scenery {
        let pool = Inner::new(1);
        let header = pool.shared.header();
        scene::mark(header.inbox.0.address(), Mark::Inbox);
        scene::watch_at(header.keeper.0.address());
        scene::watched(|| pool.queue_up([]));
        let mut scenery = Scenery {
            pool,
            jobs: Vec::new(),
            cells: Vec::new(),
        };
        for _ in 0..jobs {
            scenery.add();
        }
        scenery
    }

    fn add(&mut self) {
        let pool = &self.pool;
        let job = Arc::new(One::default());
        scene::watch_at(job.done.address());
        scene::watched(|| drop(job.waiters.lock()));
        let waiter = Arc::new(Waiter::default());
        scene::mark(Arc::as_ptr(&waiter).addr(), Mark::Waiter);
        scene::watched(|| pool.hub.begin());
        let index = fill(pool, 1, &Terms::default());
        pool.submit_for(index, job.clone());
        self.jobs.push((job, waiter));
        self.cells.push(index);
    }

    /// Waits for job `number`, as `AsyncResult` does. False if `deadline` passes first.
    fn wait(&self, number: usize, deadline: Option<Instant>) -> bool {
        let (job, waiter) = &self.jobs[number];
        if job.is_done() {
            return true;
        }
        let mut waiters = job.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if !job.is_done() {
            waiters.push(Arc::clone(waiter));
        }
        drop(waiters);
        let done = self.pool.wait_for(waiter, deadline, || job.is_done());
        let mut waiters = job.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        done
    }

    /// Waits for job `number` without a hand in it.
    fn watch(&self, number: usize) {
        let (job, _) = &self.jobs[number];
        loop {
            let news = FAMILY.news();
            if job.is_done() {
                return;
            }
            FAMILY.park(&job.done, 0, news, None);
        }
    }

    /// A worker does all tasks, in this order.
    fn start_worker(&self) {
        let (shared, cells) = (self.pool.shared, self.cells.clone());
        scene::worker(0, move || work(shared, &cells));
    }

    fn check(&self) {
        scene::join_all();
        for (job, _) in &self.jobs {
            assert!(job.is_done(), "not completed");
        }
    }
}

fn work(shared: Shared, cells: &[u32]) {
    let line = shared.worker(0).expect("a line");
    for &at in cells {
        let cell = shared.cell(at).expect("a cell");
        if cell.claim(0) {
            worker::run(shared, line, at, cell);
            cell.finish(0);
            mailbox::push(&shared, at);
        }
    }
}

/// Each job has a thread that waits for it.
fn waiters(jobs: usize) -> impl Fn() + Clone {
    move || {
        let scenery = Scenery::new(jobs);
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
    let scenery = Scenery::new(2);
    scenery.start_worker();
    let its = scenery.clone();
    scene::thread(move || _ = its.wait(0, Some(Instant::LATER)));
    scene::thread(|| FAMILY.pass_time());
    assert!(scenery.wait(1, None));
    // It may be done and not delivered, if nobody waits for it.
    assert!(scenery.wait(0, None));
    scenery.check();
}

/// Nobody waits by the hub.
fn keeper() {
    let scenery = Scenery::new(1);
    scenery.start_worker();
    scenery.pool.keep();
    scenery.watch(0);
    scenery.pool.stop_keeping();
    scenery.check();
}

/// One waits for the first of two jobs; the other one is the keeper's.
fn waiter_and_keeper() {
    let scenery = Scenery::new(2);
    scenery.start_worker();
    scenery.pool.keep();
    assert!(scenery.wait(0, None));
    scenery.watch(1);
    scenery.pool.stop_keeping();
    scenery.check();
}

/// The worker is killed on its way; whoever waits finds what it has left.
fn killed_worker() {
    let scenery = Scenery::new(1);
    let (shared, cells) = (scenery.pool.shared, scenery.cells.clone());
    let again = cells.clone();
    scene::on_hire(move |_| {
        let cells = again.clone();
        scene::worker(0, move || work(shared, &cells));
    });
    scene::victim(0, move || work(shared, &cells));
    assert!(scenery.wait(0, None));
    scenery.check();
}

#[test]
fn one_waits() {
    PLAIN.check(waiters(1));
}

#[test]
fn two_wait() {
    PLAIN.check(waiters(2));
}

#[test]
fn a_waiter_gives_up() {
    PLAIN.fewer().check(one_gives_up);
}

#[test]
fn nobody_waits() {
    PLAIN.check(keeper);
}

#[test]
fn one_waits_and_leaves_the_rest() {
    PLAIN.fewer().check(waiter_and_keeper);
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

#[test]
fn leaving_the_inbox_unsaid_is_found() {
    must_fail("deadlock", || {
        STRONG.with(Fault::LeavesUnsaid).check(waiter_and_keeper);
    });
}
