//! A call and its mailbox: every task is collected once, and nobody sleeps for what is finished,
//! also after a death.

use real::time::Duration;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::TaskError;
use crate::cell::Kind;
use crate::family::FAMILY;

use crate::call::Call;
use crate::filling::{Filling, Prepared, Terms};
use crate::inner::{Inner, watch_hints, watch_task};
use crate::mailbox;
use crate::mailbox::SLEEPING;
use crate::scene::{self, Fault, Mark, PLAIN, must_fail};
use crate::shared::Shared;
use crate::worker::{self, Worker};

/// Cell of the call's mailbox, and of its first task.
const MAILBOX: u32 = 0;

/// A pool, and a call in it with so many tasks of one item.
struct Scenery {
    pool: Arc<Inner>,
    call: Call,
}

/// Fills a cell with a task of `items` items.
pub(crate) fn fill(pool: &Inner, items: u32, terms: &Terms) -> u32 {
    let index = pool.try_take_cell(0).expect("a free cell");
    fill_in(pool, index, items, terms)
}

fn fill_in(pool: &Inner, index: u32, items: u32, terms: &Terms) -> u32 {
    let mut filling = Filling::new(pool, index, 0).expect("a cell");
    filling.take(Prepared { items }).expect("fits");
    filling.finish(terms, 0, 0)
}

impl Scenery {
    fn new(workers: u32) -> Scenery {
        let pool = Inner::new(workers);
        let terms = Terms::default();
        let mailbox = pool.try_take_cell(0).expect("a free cell");
        assert_eq!(mailbox, MAILBOX);
        let call = Call::new(&pool, mailbox, &terms, None);
        let inbox = &pool.shared.cell(mailbox).expect("a cell").inbox;
        scene::mark(inbox.address(), Mark::Inbox);
        Scenery { pool, call }
    }

    fn submit(&mut self) -> u32 {
        let index = fill(&self.pool, 1, &Terms::default());
        self.call.submit(&self.pool, index);
        index
    }

    /// Collects all tasks. They are those with `expected` cells.
    fn collect(&mut self, expected: &[u32]) {
        let mut found: Vec<u32> = expected.iter().map(|_| self.next()).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(self.call.outstanding, 0);
        assert_eq!(self.call.try_next(&self.pool), None, "collected twice");
    }

    fn next(&mut self) -> u32 {
        let next = self.call.next(&self.pool, Duration::ZERO, None);
        let index = next.expect("workers").expect("no deadline");
        let cell = self.pool.shared.cell(index).expect("a cell");
        let done = cell.output_len.load(std::sync::atomic::Ordering::Relaxed);
        assert!(done > 0, "collected without its outcome");
        self.pool.recycle(index);
        index
    }
}

/// Worker `index` does what tasks it finds in `cells`, without hints.
fn work(shared: Shared, index: u32, cells: &[u32]) {
    let line = shared.worker(index).expect("a line");
    for &at in cells {
        let cell = shared.cell(at).expect("a cell");
        if cell.claim(index) {
            worker::run(shared, line, cell);
            cell.finish(index);
            mailbox::push(&shared, at);
        }
    }
}

/// `workers` each do one task.
fn pushers(workers: u32) -> impl Fn() + Clone {
    move || {
        let mut scenery = Scenery::new(workers);
        let shared = scenery.pool.shared;
        for at in 1..=workers {
            let cell = shared.cell(at).expect("a cell");
            scene::watch_at(cell.next.address());
            scene::watch_at(cell.output_len.address());
        }
        let cells: Vec<u32> = (0..workers).map(|_| scenery.submit()).collect();
        for (index, at) in (0..).zip(cells.clone()) {
            scene::worker(index, move || work(shared, index, &[at]));
        }
        scenery.collect(&cells);
    }
}

/// A worker does two tasks and is killed on the way; its next life goes on.
fn killed_pusher(tasks: u32) -> impl Fn() + Clone {
    move || {
        let mut scenery = Scenery::new(1);
        let shared = scenery.pool.shared;
        (1..=tasks).for_each(|cell| watch_task(&shared, cell));
        let cells: Vec<u32> = (0..tasks).map(|_| scenery.submit()).collect();
        let again = cells.clone();
        scene::on_hire(move |index| {
            let cells = again.clone();
            scene::worker(index, move || work(shared, index, &cells));
        });
        let its = cells.clone();
        scene::victim(0, move || work(shared, 0, &its));
        scenery.collect(&cells);
    }
}

/// One of `workers` takes a hint and is killed on the way, with `tasks` tasks for all.
fn killed_server(workers: u32, tasks: u32) -> impl Fn() + Clone {
    move || {
        let mut scenery = Scenery::new(workers);
        let pool = scenery.pool.clone();
        let shared = pool.shared;
        watch_hints(&shared, workers);
        (1..=tasks).for_each(|cell| watch_task(&shared, cell));
        let serve = move |index| _ = Worker::new(shared, index, u64::MAX).serve();
        scene::on_hire(move |index| scene::worker(index, move || serve(index)));
        scene::victim(0, move || serve(0));
        (1..workers).for_each(|index| scene::worker(index, move || serve(index)));
        let cells: Vec<u32> = (0..tasks).map(|_| scenery.submit()).collect();
        scenery.collect(&cells);
        pool.close();
    }
}

/// A call whose task nobody has begun is interrupted.
fn interrupted() {
    let mut scenery = Scenery::new(1);
    let pool = scenery.pool.clone();
    scene::watched(|| pool.is_interrupted());
    scenery.submit();
    let its = pool.clone();
    scene::thread(move || its.interrupt());
    let next = scenery.call.next(&pool, Duration::ZERO, None);
    assert!(matches!(next, Err(TaskError::Cancelled)), "{next:?}");
}

/// A call was given up with a task in its own cell and another one. The worker that has done the
/// first dies; that of the second goes on.
fn given_up() {
    let mut scenery = Scenery::new(2);
    let pool = scenery.pool.clone();
    let shared = pool.shared;
    let terms = Terms::default();
    let own = fill_in(&pool, MAILBOX, 1, &terms);
    scenery.call.submit(&pool, own);
    let other = scenery.submit();
    let second = shared.cell(other).expect("a cell");
    assert!(second.claim(1));
    scene::worker(0, move || {
        work(shared, 0, &[own]);
        scene::end_here();
    });
    scene::worker(1, move || {
        let line = shared.worker(1).expect("a line");
        worker::run(shared, line, second);
        second.finish(1);
        mailbox::push(&shared, other);
    });
    loop {
        let news = FAMILY.news();
        pool.attend(news);
        if scenery.call.sweep(&pool) {
            break;
        }
        let inbox = &shared.cell(MAILBOX).expect("a cell").inbox;
        let empty = inbox.compare_exchange(0, SLEEPING, Ordering::Relaxed, Ordering::Relaxed);
        if empty.is_ok() {
            FAMILY.park(inbox, SLEEPING, news, None);
        }
        let _ = inbox.compare_exchange(SLEEPING, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
    let state = second.state();
    assert_eq!(
        state.kind,
        Kind::Free,
        "given back while it runs: {state:?}"
    );
}

#[test]
fn one_is_interrupted() {
    PLAIN.check(interrupted);
}

#[test]
fn one_pushes() {
    PLAIN.check(pushers(1));
}

#[test]
fn two_push() {
    PLAIN.check(pushers(2));
}

#[test]
fn the_pusher_is_killed() {
    PLAIN.check_kills(killed_pusher(1));
}

#[test]
fn the_pusher_of_two_tasks_is_killed() {
    PLAIN.fewer().check_kills(killed_pusher(2));
}

#[test]
fn a_worker_is_killed() {
    PLAIN.fewer().check_kills(killed_server(1, 1));
}

#[test]
fn pushing_without_order_is_found() {
    must_fail("without its outcome", || {
        PLAIN.with(Fault::PushesRelaxed).check(pushers(1));
    });
}

#[test]
fn a_death_without_news_is_found() {
    must_fail("deadlock", || {
        PLAIN
            .with(Fault::DeathWithoutNews)
            .check_kills(killed_pusher(1));
    });
}

/// The task in the call's own cell is not found again after the death of its worker.
#[test]
fn a_call_is_given_up() {
    PLAIN.check(given_up);
}
