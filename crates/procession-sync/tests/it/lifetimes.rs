//! How long objects live, and that none is left over.

use std::thread;

use procession_primitives::Process;
use procession_sync::{Array, Event, Lock, Semaphore, Value};
use procession_testkit::dice::dice;
use procession_testkit::{Case, cases, eventually, heap_units, os, pause};

use crate::lifetimes;
use crate::support::{await_objects, family, kill, start};

pub(crate) fn cases() -> Vec<Case> {
    cases![lifetimes:
        many_in_a_row, many_at_once, many_from_threads, many_in_processes_that_are_killed,
        passed_on_by_the_killed, dropped_while_it_is_opened, large_ones_come_and_go,
        more_holders_than_places, supervisor_is_killed,
    ]
    .into()
}

const MANY: u32 = if cfg!(debug_assertions) {
    100_000
} else {
    1_000_000
};

#[track_caller]
fn memory_is_back(before: (usize, u32)) {
    await_objects("the objects are freed", before.0);
    // A page for new objects of each size may stay.
    eventually("the memory is back", || match heap_units() {
        now if now <= before.1 + 4 => Ok(()),
        now => Err(format!("{now} units, {} before", before.1)),
    });
}

fn now() -> (usize, u32) {
    (family().object_count(), heap_units())
}

fn many_in_a_row() {
    drop(Lock::new().unwrap());
    let before = now();
    for _ in 0..MANY {
        drop(Lock::new().unwrap());
    }
    assert_eq!(now(), before);
}

fn many_at_once() {
    let before = now();
    for _ in 0..3 {
        let mut locks: Vec<Lock> = (0..MANY / 20).map(|_| Lock::new().unwrap()).collect();
        assert_eq!(family().object_count(), before.0 + locks.len());
        // In no order.
        while !locks.is_empty() {
            let at = dice(locks.len() as u64) as usize;
            drop(locks.swap_remove(at));
        }
        memory_is_back(before);
    }
}

fn churn() {
    let mut kept: Vec<Lock> = Vec::new();
    for _ in 0..MANY / 20 {
        kept.push(Lock::new().unwrap());
        if kept.len() > 20 {
            drop(kept.swap_remove(dice(20) as usize));
        }
    }
}

fn many_from_threads() {
    let before = now();
    let other = start(|()| churn(), ());
    thread::scope(|scope| {
        let _threads = [0; 3].map(|_| scope.spawn(churn));
    });
    other.join().unwrap();
    memory_is_back(before);
}

fn churn_for_ever(shared: Vec<Lock>) {
    loop {
        churn();
        let _copies = shared.clone();
        drop(Array::<u64>::new(10_000).unwrap());
    }
}

fn many_in_processes_that_are_killed() {
    let before = now();
    let shared: Vec<Lock> = (0..20).map(|_| Lock::new().unwrap()).collect();
    for _ in 0..30 {
        let victims = [0; 2].map(|_| start(churn_for_ever, shared.clone()));
        pause(std::time::Duration::from_micros(dice(3000)));
        victims.iter().for_each(kill);
    }
    await_objects("those of the living are left", before.0 + 20);
    assert!(shared.iter().all(|lock| !lock.locked()));
    drop(shared);
    memory_is_back(before);
}

fn hand_on((locks, depth): (Vec<Lock>, u32)) {
    let more = locks
        .iter()
        .cloned()
        .chain([Lock::new().unwrap()])
        .collect();
    if depth > 0
        && let Ok(next) = Process::spawn(hand_on, (more, depth - 1))
    {
        next.wait();
    }
}

/// Chains of processes that are killed while they hand on what they have.
fn passed_on_by_the_killed() {
    let before = now();
    for _ in 0..30 {
        let first = start(hand_on, (vec![Lock::new().unwrap()], 3));
        pause(std::time::Duration::from_micros(dice(4000)));
        kill(&first);
    }
    memory_is_back(before);
}

/// Handles come and go in many threads at once; the object stays as long as there is one.
fn dropped_while_it_is_opened() {
    let before = now();
    let value = Value::new(7_u64).unwrap();
    let bytes = postcard::to_stdvec(&value).unwrap();
    let pass = |(bytes, value): (Vec<u8>, Value<u64>)| {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let one: Value<u64> = postcard::from_bytes(&bytes).unwrap();
                        assert_eq!(one.get().unwrap(), 7);
                    }
                });
            }
        });
        drop(value);
        // Without a handle of this process's own each time may be the last.
        for _ in 0..200 {
            let found: Result<Value<u64>, _> = postcard::from_bytes(&bytes);
            assert_eq!(found.unwrap().get().unwrap(), 7);
        }
    };
    let other = start(pass, (bytes.clone(), value.clone()));
    pass((bytes, value.clone()));
    other.join().unwrap();
    drop(value);
    memory_is_back(before);
}

fn large_ones_come_and_go() {
    let before = now();
    for round in 0..200 {
        let array = Array::<u64>::new(1 << (10 + round % 10)).unwrap();
        array.lock().unwrap().fill(round);
        if round % 20 == 0 {
            let other = start(|array: Array<u64>| array.lock().unwrap()[5], array.clone());
            assert_eq!(other.join().unwrap(), round);
        }
    }
    memory_is_back(before);
}

fn hold((_semaphore, ready, event): (Semaphore, Semaphore, Event)) {
    ready.release().unwrap();
    event.wait();
}

/// Keepers that need a block.
fn more_holders_than_places() {
    let before = now();
    let (semaphore, ready) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let event = Event::new().unwrap();
    let argument = || (semaphore.clone(), ready.clone(), event.clone());
    let holders: Vec<_> = (0..20).map(|_| start(hold, argument())).collect();
    for _ in 0..20 {
        ready.acquire().unwrap().forget();
    }
    drop(semaphore);
    holders[..10].iter().for_each(kill);
    await_objects("the others hold it", before.0 + 3);
    event.set();
    for holder in holders.into_iter().skip(10) {
        holder.join().unwrap();
    }
    await_objects("nobody holds it", before.0 + 2);
    drop((ready, event));
    memory_is_back(before);
}

/// With the supervisor all members go. The program's handles serve on.
fn supervisor_is_killed() {
    let before = now();
    let (lock, semaphore) = (Lock::new().unwrap(), Semaphore::new(3).unwrap());
    let holder = start(
        |(lock, semaphore): (Lock, Semaphore)| {
            let _held = (lock.acquire().unwrap(), semaphore.acquire().unwrap());
            semaphore.release().unwrap();
            os::sleep_for_ever();
        },
        (lock.clone(), semaphore.clone()),
    );
    eventually("it holds both", || {
        match (lock.locked(), semaphore.value()) {
            (true, 3) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let supervisor = start(|()| os::ppid(), ()).join().unwrap();
    os::send(supervisor, rustix::process::Signal::KILL);
    assert!(lock.acquire().is_err_and(|error| error.is_taken()));
    holder.wait();
    drop(holder);
    assert_eq!(semaphore.value(), 4);
    let other = start(|lock: Lock| lock.acquire().is_ok(), lock.clone());
    assert!(other.join().unwrap());
    drop((lock, semaphore));
    memory_is_back(before);
}
