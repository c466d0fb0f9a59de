//! The storm: processes that use primitives at random while a killer kills at random.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use procession_primitives::Process;
use procession_sync::{
    Array, Atomic, Barrier, Condition, Event, Lock, LockError, Mutex, Once, RLock, RwLock,
    Semaphore,
};
use procession_testkit::dice::dice;
use procession_testkit::{eventually, heap_units, pause};
use serde::{Deserialize, Serialize};

use super::{await_objects, family, start};

const PROCESSES: usize = 8;
const PERMITS: u32 = 3;

/// What all of them use.
#[derive(Clone, Serialize, Deserialize)]
struct Things {
    lock: Lock,
    /// Who is in the lock.
    inside: Atomic<u32>,
    rlock: RLock,
    /// Both halves are the same unless somebody died in between.
    pair: Mutex<[u64; 2]>,
    changed: Condition,
    table: RwLock<[u64; 2]>,
    semaphore: Semaphore,
    event: Event,
    barrier: Barrier,
    once: Once,
    array: Array<u64>,
    /// What was found that cannot be.
    wrong: Atomic<u32>,
    /// Operations that came to their end.
    done: Atomic<u64>,
    /// Holders that died, as somebody was told.
    told: Atomic<u64>,
}

impl Things {
    fn new() -> Things {
        Things {
            lock: Lock::new().unwrap(),
            inside: Atomic::new(0).unwrap(),
            rlock: RLock::new().unwrap(),
            pair: Mutex::new([0; 2]).unwrap(),
            changed: Condition::new().unwrap(),
            table: RwLock::new([0; 2]).unwrap(),
            semaphore: Semaphore::new(PERMITS).unwrap(),
            event: Event::new().unwrap(),
            barrier: Barrier::new(2).unwrap(),
            once: Once::new().unwrap(),
            array: Array::new(20_000).unwrap(),
            wrong: Atomic::new(0).unwrap(),
            done: Atomic::new(0).unwrap(),
            told: Atomic::new(0).unwrap(),
        }
    }

    #[track_caller]
    fn expect(&self, holds: bool, what: &str) {
        if !holds {
            eprintln!("wrong: {what}");
            self.wrong.fetch_add(1, Relaxed);
        }
    }

    fn step(&self) {
        match dice(11) {
            0 | 1 => self.exclude(),
            2 | 3 => self.change_pair(),
            4 => self.recurse(),
            5 => self.read_or_write(),
            6 => {
                if let Ok(_permit) = self.semaphore.acquire_timeout(short()) {
                    busy();
                }
            }
            7 => self.signal(),
            8 => {
                _ = self
                    .barrier
                    .wait_timeout(short())
                    .map_err(|_| self.barrier.reset())
            }
            9 => {
                let _ = self.once.call_once(busy);
                self.expect(self.once.is_completed(), "once is done");
            }
            _ => self.pass_on(),
        }
        self.done.fetch_add(1, Relaxed);
    }

    fn exclude(&self) {
        let taken = match dice(3) {
            0 => self.lock.try_acquire(),
            1 => self.lock.acquire_timeout(short()),
            _ => self.lock.acquire(),
        };
        let news = matches!(taken, Err(LockError::OwnerDied(_)));
        let guard = taken.map_or_else(LockError::guard, Some);
        if guard.is_some() {
            let before = self.inside.swap(std::process::id(), Relaxed);
            self.expect(before == 0 || news, "one is in the lock");
            busy();
            let mine = self.inside.swap(0, Relaxed) == std::process::id();
            self.expect(mine, "nobody came into the lock");
        }
        self.told.fetch_add(u64::from(news), Relaxed);
    }

    fn change_pair(&self) {
        let (mut guard, good) = match self.pair.lock() {
            Ok(guard) => (guard, true),
            Err(error) => (error.into_guard(), false),
        };
        self.expect(!good || guard[0] == guard[1], "the halves agree");
        if !good {
            self.told.fetch_add(1, Relaxed);
            guard[1] = guard[0];
            guard.mark_consistent();
        }
        if dice(4) == 0 {
            match self.changed.wait_timeout(&mut guard, short()) {
                Ok(_) => self.expect(guard[0] == guard[1], "the halves agree after a wait"),
                Err(_) => {
                    guard[1] = guard[0];
                    guard.mark_consistent();
                }
            }
        }
        guard[0] += 1;
        busy();
        guard[1] += 1;
        let _ = match dice(3) {
            0 => self.changed.notify_all(),
            _ => self.changed.notify(),
        };
    }

    fn recurse(&self) {
        let outer = self.rlock.acquire().unwrap_or_else(LockError::into_guard);
        let inner = self.rlock.acquire().unwrap();
        self.expect(self.rlock.count() == 2, "taken twice");
        drop((outer, inner));
    }

    fn read_or_write(&self) {
        if dice(3) > 0 {
            if let Ok(guard) = self.table.read_timeout(short()) {
                let seen = guard[0];
                busy();
                self.expect(*guard == [seen; 2], "nobody writes while one reads");
            }
            return;
        }
        let mut guard = match self.table.write() {
            Ok(guard) => guard,
            Err(error) => {
                let mut guard = error.into_guard();
                guard[1] = guard[0];
                guard.mark_consistent();
                guard
            }
        };
        self.expect(guard[0] == guard[1], "the table's halves agree");
        guard[0] += 1;
        busy();
        guard[1] += 1;
    }

    fn signal(&self) {
        match dice(3) {
            0 => self.event.set(),
            1 => self.event.clear(),
            _ => _ = self.event.wait_timeout(short()),
        }
    }

    /// Hands something new to a process of its own.
    fn pass_on(&self) {
        if dice(200) > 0 {
            let made = (Lock::new(), Array::<u64>::new(10_000), self.clone());
            self.expect(made.0.is_ok() && made.1.is_ok(), "there is memory");
            return;
        }
        let echo = |(lock, array): (Lock, Array<u64>)| (array.len(), lock);
        let argument = (Lock::new().unwrap(), self.array.clone());
        if let Ok(Ok((_, lock))) = Process::spawn(echo, argument).map(Process::join) {
            self.expect(lock.acquire().is_ok(), "a lock that came back");
        }
    }
}

fn short() -> Duration {
    Duration::from_micros(dice(2000))
}

/// Now and then asleep, so that many are killed with what they hold.
fn busy() {
    match dice(8) {
        0 => thread::sleep(Duration::from_micros(dice(300))),
        _ => pause(Duration::from_nanos(dice(3000))),
    }
}

fn live(things: Things) {
    loop {
        things.step();
    }
}

/// Waits as a Poisson process of kills, on average one in `micros` microseconds, would.
fn next_kill(micros: u64) -> Duration {
    let uniform = (dice(1_000_000) + 1) as f64 / 1_000_001.0;
    Duration::from_micros((-uniform.ln() * micros as f64) as u64)
}

/// A storm of so many seconds.
pub(crate) fn blow(seconds: u64) {
    drop(Things::new());
    let (objects, units) = (family().object_count(), heap_units());
    let things = Things::new();
    let mut processes: VecDeque<Process<()>> = (0..PROCESSES)
        .map(|_| start(live, things.clone()))
        .collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let over = AtomicBool::new(false);
    let mut kills = 0;
    thread::scope(|scope| {
        // One that nobody kills.
        scope.spawn(|| {
            while !over.load(Relaxed) {
                things.step();
            }
        });
        let mut mean = 1000;
        while Instant::now() < until {
            if dice(50) == 0 {
                mean = 100 + dice(4900);
            }
            thread::sleep(next_kill(mean));
            let victim = processes.remove(dice(PROCESSES as u64) as usize).unwrap();
            victim.kill().unwrap();
            kills += 1;
            processes.push_back(start(live, things.clone()));
            // Reaped by whoever comes later; some handles are dropped at once.
            if dice(2) == 0 {
                victim.wait();
            }
        }
        over.store(true, Relaxed);
    });
    for process in &processes {
        process.kill().unwrap();
    }
    processes.iter().for_each(|process| _ = process.wait());
    drop(processes);
    judge(&things);
    let (done, told) = (things.done.load(Relaxed), things.told.load(Relaxed));
    println!("  ({kills} kills, {done} operations, {told} times a holder had died)");
    drop(things);
    await_objects("the objects are freed", objects);
    eventually("the memory is back", || match heap_units() {
        now if now <= units + 4 => Ok(()),
        now => Err(format!("{now} units, {units} before")),
    });
}

/// All is there, and of use, when everybody is dead.
fn judge(things: &Things) {
    assert_eq!(things.wrong.load(Relaxed), 0, "see above");
    eventually("the permits are back", || match things.semaphore.value() {
        value if value == u64::from(PERMITS) => Ok(()),
        value => Err(format!("{value} of {PERMITS}")),
    });
    // Whatever the news, each can be taken, and the second time without any.
    let _ = things.lock.acquire().map(drop);
    assert!(things.lock.acquire().is_ok() && !things.lock.locked());
    let _ = things.rlock.acquire().map(drop);
    assert!(things.rlock.acquire().is_ok());
    if let Err(error) = things.pair.lock() {
        error.into_guard().mark_consistent();
    }
    if let Err(error) = things.table.write() {
        error.into_guard().mark_consistent();
    }
    assert!(things.pair.lock().is_ok() && things.table.read().is_ok());
    assert!(things.table.write().is_ok());
    things.barrier.reset().unwrap();
    let other = start(
        |barrier: Barrier| barrier.wait().is_ok(),
        things.barrier.clone(),
    );
    assert!(things.barrier.wait().is_ok() && other.join().unwrap());
}
