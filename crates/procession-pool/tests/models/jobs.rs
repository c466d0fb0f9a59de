//! Jobs of one task each, in a pool, mostly with one worker.

use real::time::Duration;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::TaskError;
use crate::builder::Config;
use crate::family::FAMILY;
use crate::filling::{Prepared, Terms};
use crate::hub::{Job, Waiter, Who};
use crate::inner::{Inner, watch_hints, watch_hub, watch_task};
use crate::mailbox;
use crate::options::Options;
use crate::raw::{Deal, Done, Slot};
use crate::scene::{self, Mark};
use crate::shared::Shared;
use crate::wake;
use crate::worker::{self, Worker};

/// A job with a promise of its own: as in `job.rs` and `promise.rs`.
pub(crate) struct One {
    pool: Arc<Inner>,
    slot: Slot,
    taken: AtomicU32,
    finished: AtomicU32,
    cancelled: AtomicU32,
    done: AtomicU32,
    waiters: Mutex<Vec<Arc<Waiter>>>,
}

impl One {
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) != 0
    }

    /// How it has ended.
    pub(crate) fn end(&self) -> &'static str {
        let ends = (&self.finished, &self.cancelled);
        let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
        match (of(ends.0), of(ends.1)) {
            (1, 0) => "finished",
            (0, 1) => "cancelled",
            (0, 0) => "not ended",
            _ => "ended twice",
        }
    }

    fn complete(&self) {
        let watched = self.pool.hub.watched.load(Ordering::Relaxed);
        let least = usize::from(self.slot.has_watcher());
        assert!(watched >= least && watched < 8, "{watched} are watched");
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
    }
}

impl Done for One {
    fn slot(&self) -> &Slot {
        &self.slot
    }

    fn take(&self, outcomes: &mut dyn Iterator<Item = (u64, Result<&[u8], TaskError>)>) {
        for (item, _) in outcomes {
            assert_eq!(item, 0);
            let before = self.taken.fetch_add(1, Ordering::Relaxed);
            assert_eq!(before, 0, "collected twice");
        }
    }

    fn finish(&self, _: Duration) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        self.complete();
    }

    fn cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
        self.complete();
    }
}

/// A pool, and jobs that have begun. The tasks of those that were placed no worker has claimed.
#[derive(Clone)]
pub(crate) struct Scenery {
    pub(crate) pool: Arc<Inner>,
    deal: Arc<Deal>,
    /// With a waiter for each.
    jobs: Vec<(Arc<One>, Arc<Waiter>)>,
}

impl Scenery {
    /// The first tasks get the `cells`.
    pub(crate) fn new(jobs: u32, cells: u32) -> Scenery {
        Scenery::for_workers(1, jobs, cells)
    }

    pub(crate) fn for_workers(workers: u32, jobs: u32, cells: u32) -> Scenery {
        let pool = Inner::with(workers, cells, Config::default());
        Scenery::of(workers, pool, jobs, cells)
    }

    /// With the words watched that tell whose a task is.
    pub(crate) fn closely(jobs: u32, cells: u32) -> Scenery {
        let pool = Inner::with(1, cells, Config::default());
        (0..cells).for_each(|cell| watch_task(&pool.shared, cell));
        Scenery::of(1, pool, jobs, cells)
    }

    fn of(workers: u32, pool: Arc<Inner>, jobs: u32, cells: u32) -> Scenery {
        watch_hints(&pool.shared, workers);
        watch_hub(&pool);
        let deal = Arc::new(Deal::new(Terms::default(), Options::default(), None));
        let mut scenery = Scenery {
            pool,
            deal,
            jobs: Vec::new(),
        };
        (0..jobs).for_each(|_| scenery.add());
        (0..jobs.min(cells)).for_each(|number| scenery.place(number));
        scenery
    }

    fn add(&mut self) {
        let job = Arc::new(One {
            pool: self.pool.clone(),
            slot: Slot::default(),
            taken: AtomicU32::new(0),
            finished: AtomicU32::new(0),
            cancelled: AtomicU32::new(0),
            done: AtomicU32::new(0),
            waiters: Mutex::default(),
        });
        self.pool.begin(self.deal.clone(), &*job, 1, true);
        scene::watch_at(job.done.address());
        scene::watched(|| {
            drop(job.waiters.lock());
            job.slot.is_ended()
        });
        let waiter = Arc::new(Waiter::default());
        scene::mark(Arc::as_ptr(&waiter).addr(), Mark::Waiter);
        self.jobs.push((job, waiter));
    }

    pub(crate) fn job(&self, number: u32) -> &Arc<One> {
        &self.jobs[number as usize].0
    }

    fn numbers(&self) -> real::ops::Range<u32> {
        0..self.jobs.len() as u32
    }

    /// Submits the task of job `number`, as `apply_async` does.
    pub(crate) fn place(&self, number: u32) {
        let job: Arc<dyn Job> = self.job(number).clone();
        self.pool.place(job, Prepared { items: 1 });
    }

    /// Waits for job `number`, as `AsyncResult` does. False if `deadline` passes first.
    pub(crate) fn wait(&self, number: u32, deadline: Option<Instant>) -> bool {
        let (job, waiter) = &self.jobs[number as usize];
        if job.is_done() {
            return true;
        }
        let mut registered = false;
        let register = || {
            let mut waiters = job.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            if !job.is_done() {
                waiters.push(Arc::clone(waiter));
            }
            registered = true;
            Arc::clone(waiter)
        };
        let done = self.pool.wait_for(register, deadline, || job.is_done());
        if registered {
            let mut waiters = job.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        }
        done
    }

    /// Has job `number` watched.
    pub(crate) fn watch(&self, number: u32) {
        let job = self.job(number);
        if !job.is_done() {
            self.pool.watch_job(&**job);
        }
    }

    /// Waits for job `number`, which is watched, without a hand in it: as a future does.
    pub(crate) fn look_on(&self, number: u32) {
        let job = self.job(number);
        loop {
            let news = FAMILY.news();
            if job.is_done() {
                return;
            }
            FAMILY.park(&job.done, 0, news, None);
        }
    }

    /// Waits until `count` tasks were given cells, without a hand in it.
    pub(crate) fn await_submitted(&self, count: u32) {
        let submitted = &self.pool.submitted;
        loop {
            let news = FAMILY.news();
            let now = submitted.load(Ordering::Acquire);
            if now >= count {
                return;
            }
            FAMILY.park(submitted, now, news, None);
        }
    }

    /// What a worker does that finds the tasks of these jobs without hints, in this order.
    pub(crate) fn working(&self, numbers: real::ops::Range<u32>) -> impl Fn() + Clone + 'static {
        let shared = self.pool.shared;
        move || numbers.clone().for_each(|number| work(shared, number))
    }

    /// A worker does all tasks that have a cell, without hints.
    pub(crate) fn start_worker(&self) {
        scene::worker(0, self.working(self.numbers()));
    }

    /// What a worker does that leaves after so many tasks.
    pub(crate) fn serving(&self, tasks: u64) -> impl Fn() + Clone + 'static {
        let shared = self.pool.shared;
        move || _ = Worker::new(shared, 0, tasks).serve()
    }

    /// What a worker does, and whoever takes its place, that leaves when it is dismissed.
    pub(crate) fn staying(&self) -> impl Fn() + Clone + 'static {
        let shared = self.pool.shared;
        move || {
            let leave = Worker::new(shared, 0, u64::MAX).serve();
            scene::leave(0, leave);
        }
    }

    /// To be called when there is nothing more to come: delivers what nobody has asked for. All jobs
    /// have one outcome, and nothing is left.
    pub(crate) fn check(&self) {
        scene::join_all();
        self.pool.deliver(Who::Waiter);
        for number in self.numbers() {
            let end = self.job(number).end();
            assert!(matches!(end, "finished" | "cancelled"), "{number} {end}");
        }
        let hub = &self.pool.hub;
        assert!(hub.is_idle(), "jobs are left");
        for word in [&hub.watched, &hub.waiting, &hub.waiters] {
            assert_eq!(word.load(Ordering::Relaxed), 0, "counted wrongly");
        }
    }
}

/// The worker does task `at`, if nobody has.
pub(crate) fn work(shared: Shared, at: u32) {
    let line = shared.worker(0).expect("a line");
    let cell = shared.cell(at).expect("a cell");
    if cell.claim(0) {
        worker::run(shared, line, cell);
        cell.finish(0);
        mailbox::push(&shared, at);
    }
}
