//! Locks (B10): one process, two, two hundred.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use procession_bench::{Target, Trial, paced};
use procession_primitives::Process;
use procession_sync::{Atomic, Event, Lock};

use crate::workloads::lock;

const CROWD: u32 = 200;

/// B10.
pub(crate) fn lock(trial: &Trial) {
    let nanos = paced(lock::uncontended());
    let record = trial.record("Lock, uncontended", "ns", nanos);
    trial.emit(record.target(Target::AtMost(8.0)));
    let nanos = paced(lock::contended());
    let record = trial.record("Lock, 2 processes", "ns", nanos);
    trial.emit(record.target(Target::AtMostTimes(1.0, "pthread robust".to_owned())));
    crowd(trial);
}

/// How many are ready, the start, and the end.
type Signals = (Atomic<u32>, Event, Event);

/// How often a process has had the lock when all end.
fn acquire(((ready, start, end), lock): (Signals, Lock)) -> u64 {
    ready.fetch_add(1, Ordering::Relaxed);
    start.wait();
    let mut count = 0;
    while !end.is_set() {
        let _held = lock.acquire().expect("nobody died");
        count += 1;
    }
    count
}

/// Two hundred processes that want one lock.
fn crowd(trial: &Trial) {
    let event = || Event::new().expect("an event");
    let signals: Signals = (Atomic::new(0).expect("a number"), event(), event());
    let lock = Lock::new().expect("a lock");
    let process = |_| Process::spawn(acquire, (signals.clone(), lock.clone()));
    let processes: Vec<_> = (0..CROWD).map(process).collect();
    while signals.0.load(Ordering::Relaxed) < CROWD {
        sleep(Duration::from_millis(1));
    }
    let begun = Instant::now();
    signals.1.set();
    sleep(Duration::from_millis(trial.size(3_000, 1_000)));
    signals.2.set();
    let nanos = begun.elapsed().as_nanos() as f64;
    let count = |process: Result<Process<u64>, _>| {
        let process = process.expect("a process starts");
        process.join().expect("a count")
    };
    let total: u64 = processes.into_iter().map(count).sum();
    trial.emit(trial.record("Lock, 200 processes", "ns", nanos / total as f64));
}
