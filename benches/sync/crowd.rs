//! Two hundred processes that want one lock.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use procession_primitives::Process;
use procession_sync::{Atomic, Event, Lock};

use crate::pthread::RobustMutex;

pub(crate) const NAME: &str = "B10_crowd";
const CROWD: u32 = 200;
const LASTS: Duration = Duration::from_secs(3);

/// How many are ready, the start, and the end.
type Signals = (Atomic<u32>, Event, Event);

fn count((ready, start, end): Signals, mut operation: impl FnMut()) -> u64 {
    ready.fetch_add(1, Ordering::Relaxed);
    start.wait();
    let mut count = 0;
    while !end.is_set() {
        operation();
        count += 1;
    }
    count
}

fn ours((signals, lock): (Signals, Lock)) -> u64 {
    count(signals, || {
        let _held = lock.acquire().expect("nobody died");
    })
}

fn robust((signals, mutex): (Signals, RobustMutex)) -> u64 {
    let mutex = mutex.map();
    count(signals, || mutex.with(|| ()))
}

/// Million acquisitions a second of all, the mean and the least of each.
fn measure(start: impl Fn(Signals) -> Process<u64>) -> [f64; 3] {
    let event = || Event::new().expect("an event");
    let signals: Signals = (Atomic::new(0).expect("a number"), event(), event());
    let processes: Vec<_> = (0..CROWD).map(|_| start(signals.clone())).collect();
    while signals.0.load(Ordering::Relaxed) < CROWD {
        sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    signals.1.set();
    sleep(LASTS);
    signals.2.set();
    let seconds = begun.elapsed().as_secs_f64();
    let counts = processes.into_iter().map(|process| process.join());
    let counts: Vec<u64> = counts.map(|count| count.expect("a count")).collect();
    let total = counts.iter().sum::<u64>() as f64;
    let least = counts.iter().min().map_or(0.0, |least| *least as f64);
    [total / seconds / 1e6, total / f64::from(CROWD), least]
}

/// Not a time, so printed beside the table. In turns.
pub(crate) fn print() {
    let (lock, mutex) = (Lock::new().expect("a lock"), RobustMutex::new());
    let start = "a process starts";
    println!("\n{CROWD} processes and one lock, for {LASTS:?}");
    for _ in 0..3 {
        let of_ours =
            measure(|signals| Process::spawn(ours, (signals, lock.clone())).expect(start));
        let of_robust =
            measure(|signals| Process::spawn(robust, (signals, mutex.clone())).expect(start));
        for (name, [rate, mean, least]) in
            [("procession_lock", of_ours), ("pthread_robust", of_robust)]
        {
            println!("{NAME:28} {name:26} {rate:6.2} M/s in all, each {mean:.0}, least {least}");
        }
    }
}
