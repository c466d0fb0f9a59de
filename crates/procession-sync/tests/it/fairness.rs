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

/// So many seconds are looked at one by one.
const SECONDS: usize = 3;

/// How often each is to have its turn before the end.
const TURNS: u32 = 3;

/// In `second`: it is over.
const OVER: u32 = u32::MAX;

/// Counts what each process gets in each second, and in all later ones together.
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
            let second = self.second.load(Relaxed);
            if second == OVER {
                return;
            }
            let at = mine * (SECONDS + 1) + SECONDS.min(second as usize);
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
        turns: RawArray::new(many * (SECONDS + 1)).unwrap(),
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
    let least = |turns: &[u32]| {
        let each = turns.chunks(SECONDS + 1).map(|turns| turns.iter().sum());
        each.min().unwrap_or(0)
    };
    let mut seconds = 0;
    // A machine with much else to do may leave one out for a second, not for ever: the watchdog
    // would come.
    while seconds < SECONDS || least(&counts.turns.to_vec()) < TURNS {
        std::thread::sleep(Duration::from_secs(1));
        seconds += 1;
        counts.second.fetch_add(1, Relaxed);
    }
    let took = begun.elapsed();
    counts.second.store(OVER, Relaxed);
    for process in processes {
        process.join().unwrap();
    }
    let turns = counts.turns.to_vec();
    let total: u64 = turns.iter().map(|count| u64::from(*count)).sum();
    let starved = turns
        .chunks(SECONDS + 1)
        .flat_map(|turns| &turns[..SECONDS])
        .filter(|count| **count == 0);
    println!(
        "  ({many} processes, {name}: {:.0} a second; {} of {} seconds without a turn; \
         {TURNS} turns or more for each after {seconds} s)",
        total as f64 / took.as_secs_f64(),
        starved.count(),
        many * SECONDS,
    );
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
