//! Many processes at one lock: all of them get it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use procession_primitives::Process;
use procession_sync::{Atomic, Event, Lock, Mutex, RawArray, Semaphore};
use procession_testkit::{Case, cases};

use crate::fairness;
use crate::support::{exclusive::Exclusive, exclusive::How, start};

pub(crate) fn cases() -> Vec<Case> {
    cases![fairness: lock, mutex, semaphore_of_one].into()
}

const SECONDS: usize = 3;

/// Counts what each process gets in each second.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Counts {
    go: Event,
    ready: Atomic<u32>,
    second: Atomic<u32>,
    turns: RawArray<u32>,
}

impl Counts {
    fn compete(&self, mine: usize, turn: impl Fn()) {
        self.ready.fetch_add(1, Relaxed);
        self.go.wait();
        loop {
            turn();
            let second = self.second.load(Relaxed) as usize;
            if second >= SECONDS {
                return;
            }
            let at = mine * SECONDS + second;
            self.turns.set(at, self.turns.get(at).unwrap() + 1);
        }
    }
}

fn contend<E: Exclusive>((lock, counts, mine): (E, Counts, usize)) {
    counts.compete(mine, || _ = lock.take(How::Wait));
}

fn contend_for_a_permit((semaphore, counts, mine): (Semaphore, Counts, usize)) {
    counts.compete(mine, || drop(semaphore.acquire().unwrap()));
}

fn compete<T>(name: &str, many: usize, thing: &T, role: fn((T, Counts, usize)))
where
    T: Clone + serde::Serialize + serde::de::DeserializeOwned,
{
    let counts = Counts {
        go: Event::new().unwrap(),
        ready: Atomic::new(0).unwrap(),
        second: Atomic::new(0).unwrap(),
        turns: RawArray::new(many * SECONDS).unwrap(),
    };
    let processes: Vec<Process<()>> = (0..many)
        .map(|mine| start(role, (thing.clone(), counts.clone(), mine)))
        .collect();
    procession_testkit::eventually("all are there", || match counts.ready.load(Relaxed) {
        count if count as usize == many => Ok(()),
        count => Err(count.to_string()),
    });
    let begun = Instant::now();
    counts.go.set();
    for _ in 0..SECONDS {
        std::thread::sleep(Duration::from_secs(1));
        counts.second.fetch_add(1, Relaxed);
    }
    let took = begun.elapsed();
    for process in processes {
        process.join().unwrap();
    }
    let turns = counts.turns.to_vec();
    let total: u64 = turns.iter().map(|count| u64::from(*count)).sum();
    let starved = turns.iter().filter(|count| **count == 0).count();
    let each = turns.chunks(SECONDS).map(|turns| turns.iter().sum::<u32>());
    let (least, most) = (each.clone().min().unwrap(), each.max().unwrap());
    println!(
        "  ({many} processes, {name}: {:.0} a second, {least} to {most} for each; {starved} of {} \
         seconds without a turn)",
        total as f64 / took.as_secs_f64(),
        turns.len()
    );
    // The machine's scheduler may leave one out for a second; but not again and again.
    assert!(least as usize >= SECONDS, "once in a second each");
}

fn lock() {
    compete("lock", 200, &Lock::new().unwrap(), contend);
}

fn mutex() {
    compete("mutex", 50, &Mutex::new(0_u64).unwrap(), contend);
}

fn semaphore_of_one() {
    compete(
        "semaphore",
        20,
        &Semaphore::new(1).unwrap(),
        contend_for_a_permit,
    );
}
