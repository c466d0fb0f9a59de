//! What the kernel takes for a process that is killed while others work (B14, B15), whoever has it killed:
//! its end, word of it, and another one in its place.
//!
//! # Safety
//!
//! This program has one thread when it forks, so the child can do whatever it could.
#![allow(unsafe_code, reason = "forks and kills")]

use std::hint::spin_loop;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession_bench::Trial;

use crate::{WORKERS, words};

const PERIOD: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_millis(50);

/// A child of this process, which works until it is killed. Killed when dropped.
struct Worker {
    pid: libc::pid_t,
    place: Place,
}

/// What a worker and those that come after it tell of themselves.
#[derive(Clone, Copy)]
struct Place {
    /// When it has begun, in nanoseconds since `start`.
    begun_at: &'static AtomicU64,
    /// 1 when it has.
    has_begun: &'static AtomicU32,
    start: Instant,
    work: fn() -> !,
}

impl Place {
    fn new(start: Instant, work: fn() -> !) -> Place {
        Place {
            begun_at: words::long_word(),
            has_begun: words::word(),
            start,
            work,
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// A worker that has begun.
    fn fill(self) -> Worker {
        self.has_begun.store(0, Ordering::Relaxed);
        // SAFETY: there is one thread.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "a process starts");
        if pid == 0 {
            // SAFETY: changes nothing but what happens to this process at its parent's end.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            self.begun_at.store(self.now(), Ordering::Relaxed);
            // Release: with it comes when.
            self.has_begun.store(1, Ordering::Release);
            words::wake(self.has_begun);
            (self.work)();
        }
        let worker = Worker { pid, place: self };
        // Acquire: as above.
        while self.has_begun.load(Ordering::Acquire) == 0 {
            words::sleep(self.has_begun, 0);
        }
        worker
    }
}

impl Worker {
    fn begun_at(&self) -> u64 {
        self.place.begun_at.load(Ordering::Relaxed)
    }

    /// Ends it, and returns when that was known.
    fn end(self) -> (Place, u64) {
        let place = self.place;
        drop(self);
        (place, place.now())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: the child was not waited for, so the number is its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // SAFETY: writes nowhere.
        unsafe { libc::waitpid(self.pid, null_mut(), 0) };
    }
}

fn workers(work: fn() -> !) -> Vec<Worker> {
    let start = Instant::now();
    (0..WORKERS)
        .map(|_| Place::new(start, work).fill())
        .collect()
}

fn in_millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// From each kill to the beginning of the one that takes its place.
pub(crate) fn replaced(trial: &Trial) {
    let mut workers = workers(|| {
        loop {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let delays: Vec<f64> = (0..trial.size(500, 200))
        .map(|_| {
            thread::sleep(PERIOD);
            let worker = workers.remove(0);
            let killed_at = worker.place.now();
            let next = worker.end().0.fill();
            let delay = next.begun_at().saturating_sub(killed_at);
            workers.push(next);
            in_millis(delay)
        })
        .collect();
    trial.emit_latencies("a kill every 20 ms, kill to re-run", "ms", &delays, &[]);
}

/// From the end of each one's time to word of its end.
pub(crate) fn limited(trial: &Trial) {
    let mut workers = workers(|| {
        loop {
            spin_loop();
        }
    });
    let late: Vec<f64> = (0..trial.size(400, 100))
        .map(|_| {
            let worker = workers.remove(0);
            let due = worker.begun_at() + LIMIT.as_nanos() as u64;
            let left = due.saturating_sub(worker.place.now());
            thread::sleep(Duration::from_nanos(left));
            let (place, known_at) = worker.end();
            workers.push(place.fill());
            in_millis(known_at.saturating_sub(due))
        })
        .collect();
    let workload = "endless tasks, outcome after the limit of 50 ms";
    trial.emit_latencies(workload, "ms", &late, &[]);
    trial.emit_latencies(&format!("{workload}, chunksize 1"), "ms", &late, &[]);
}
