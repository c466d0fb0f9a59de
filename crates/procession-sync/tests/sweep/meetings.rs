//! Victims that wake others, or wait for them.

use std::cell::RefCell;
use std::time::Duration;

use procession_primitives::Process;
use procession_sync::{Barrier, Condition, Event, LockError, Mutex, Once};
use procession_testkit::{Case, sweep};

use crate::support::{await_waits, start};
use crate::{Sweep, cases as cases_of};

pub(crate) fn cases() -> Vec<Case> {
    let mut all = cases_of(
        "condition_notify",
        Room::<(), _>::new,
        Sweep {
            start: |room| room.start(wait, notify),
            check: |room, _| {
                // If the victim did not, this one does.
                repair(&room.what);
                room.what.1.notify().unwrap();
                room.survivor();
                repair(&room.what);
            },
        },
    );
    all.extend(cases_of(
        "condition_wait",
        Parts::make,
        Sweep {
            start: |parts: &Parts| start(wait_a_moment, (parts.clone(), std::process::id())),
            check: |parts, steps| {
                repair(parts);
                let text = format!("{parts:?}");
                assert!(text.contains("waiters: 0"), "{text}, {steps} steps");
                let waiter = start(wait, parts.clone());
                await_waits(1);
                repair(parts);
                parts.1.notify().unwrap();
                waiter.join().unwrap();
            },
        },
    ));
    all.extend(cases_of(
        "barrier",
        Room::<bool, Barrier>::new,
        Sweep {
            start: |room| room.start(|barrier| barrier.wait().is_ok(), arrive),
            check: |room, steps| {
                let passed = room.survivor();
                let barrier = &room.what;
                assert!(passed || barrier.is_broken(), "{steps} steps");
                barrier.reset().unwrap();
                let other = start(|barrier: Barrier| barrier.wait().is_ok(), barrier.clone());
                assert!(barrier.wait().is_ok(), "{steps} steps");
                assert!(other.join().unwrap(), "{steps} steps");
            },
        },
    ));
    all.extend(cases_of(
        "event",
        Room::<bool, Event>::new,
        Sweep {
            start: |room| {
                room.what.clear();
                room.start(|event| event.wait(), set)
            },
            check: |room, _| {
                room.what.set();
                assert!(room.survivor());
            },
        },
    ));
    all.extend(cases_of(
        "once",
        || RefCell::new(Once::new().unwrap()),
        Sweep {
            start: |once: &RefCell<Once>| {
                once.replace(Once::new().unwrap());
                start(run, (once.borrow().clone(), std::process::id()))
            },
            check: |once: &RefCell<Once>, steps| {
                once.borrow().call_once(|| ()).unwrap();
                assert!(once.borrow().is_completed(), "{steps} steps");
            },
        },
    ));
    all
}

trait Make {
    fn make() -> Self;
}

type Parts = (Mutex<u64>, Condition);

impl Make for Parts {
    fn make() -> Parts {
        (Mutex::new(0).unwrap(), Condition::new().unwrap())
    }
}

impl Make for Barrier {
    fn make() -> Barrier {
        Barrier::new(2).unwrap()
    }
}

impl Make for Event {
    fn make() -> Event {
        Event::new().unwrap()
    }
}

/// Something shared, and one who waits for what the victim does to it.
struct Room<R, T> {
    what: T,
    survivor: RefCell<Option<Process<R>>>,
}

impl<R, T> Room<R, T>
where
    R: serde::Serialize + serde::de::DeserializeOwned,
    T: Make + Clone + serde::Serialize + serde::de::DeserializeOwned,
{
    fn new() -> Room<R, T> {
        Room {
            what: T::make(),
            survivor: RefCell::default(),
        }
    }

    /// Starts the survivor, then a victim.
    fn start(&self, survivor: fn(T) -> R, victim: fn((T, u32))) -> Process<()> {
        self.survivor
            .replace(Some(start(survivor, self.what.clone())));
        await_waits(1);
        start(victim, (self.what.clone(), std::process::id()))
    }

    fn survivor(&self) -> R {
        self.survivor.take().unwrap().join().unwrap()
    }
}

fn repair((lock, _): &Parts) {
    match lock.lock() {
        Ok(guard) => drop(guard),
        Err(LockError::OwnerDied(mut guard) | LockError::Inconsistent(mut guard)) => {
            guard.mark_consistent();
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits for a notification; the holder's death is as good.
fn wait((lock, changed): Parts) {
    if let Ok(mut guard) = lock.lock() {
        let _ = changed.wait(&mut guard);
    }
}

fn notify(((lock, changed), tracer): (Parts, u32)) {
    sweep::begin(tracer);
    let guard = lock.lock();
    changed.notify().unwrap();
    drop(guard);
    sweep::end();
}

fn wait_a_moment(((lock, changed), tracer): (Parts, u32)) {
    let mut guard = lock.lock().unwrap();
    sweep::begin(tracer);
    let _ = changed.wait_timeout(&mut guard, Duration::from_micros(50));
    drop(guard);
    sweep::end();
}

fn arrive((barrier, tracer): (Barrier, u32)) {
    sweep::begin(tracer);
    let _ = barrier.wait();
    sweep::end();
}

fn set((event, tracer): (Event, u32)) {
    sweep::begin(tracer);
    event.set();
    event.clear();
    sweep::end();
}

fn run((once, tracer): (Once, u32)) {
    sweep::begin(tracer);
    once.call_once(|| ()).unwrap();
    sweep::end();
}
