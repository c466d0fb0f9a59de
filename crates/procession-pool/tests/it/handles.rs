//! Handles of shared objects, as items and as values.

use procession_pool::Pool;
use procession_primitives::Family;
use procession_sync::{Lock, Mutex, Part, Queue};
use procession_testkit::{Case, cases, eventually};

use crate::handles;

pub(crate) fn cases() -> Vec<Case> {
    cases![handles:
        item_is_the_only_handle,
        value_is_the_only_handle,
        value_outlives_its_worker,
        many_in_one_chunk,
        uncollected_values_leave_nothing,
        parts_are_worked_on_in_place,
    ]
    .into()
}

fn objects() -> usize {
    Family::current().unwrap().object_count()
}

/// The sweep after a block was freed may be another process's, a moment later.
fn gone(before: usize) {
    eventually("the objects are gone", || match objects() {
        found if found == before => Ok(()),
        found => Err(format!("{found} instead of {before}")),
    });
}

fn item_is_the_only_handle() {
    let pool = Pool::with_workers(2).unwrap();
    let before = objects();
    let total = Mutex::new(0_u64).unwrap();
    let items: Vec<_> = (0..100)
        .map(|n| (total.clone(), Lock::new().unwrap(), n))
        .collect();
    let add = |(total, lock, n): (Mutex<u64>, Lock, u64)| {
        let _held = lock.acquire().unwrap();
        *total.lock().unwrap() += n;
    };
    pool.map(add, items).unwrap();
    assert_eq!(*total.lock().unwrap(), 99 * 50);
    drop(total);
    gone(before);
}

fn value_is_the_only_handle() {
    let pool = Pool::with_workers(2).unwrap();
    let before = objects();
    let queues = pool
        .map(
            |n: u32| {
                let queue = Queue::bounded(4).unwrap();
                queue.put(n).unwrap();
                queue
            },
            0..40,
        )
        .unwrap();
    for (n, queue) in (0..).zip(&queues) {
        assert_eq!(queue.get(), Ok(n));
    }
    drop(queues);
    gone(before);
}

fn value_outlives_its_worker() {
    let pool = Pool::with_workers(1).unwrap();
    let before = objects();
    let one_by_one = pool.chunksize(2);
    let outcomes = one_by_one.map_results(
        |n: u32| {
            if n == 1 {
                std::process::abort();
            }
            Mutex::new(n).unwrap()
        },
        0..2,
    );
    let kept = outcomes[0].as_ref().unwrap();
    assert_eq!(*kept.lock().unwrap(), 0);
    assert!(outcomes[1].is_err());
    drop(outcomes);
    gone(before);
}

/// The output moves from block to block as it grows.
fn many_in_one_chunk() {
    let pool = Pool::with_workers(2).unwrap();
    let before = objects();
    let made = pool
        .chunksize(500)
        .map(|n: u32| (Mutex::new(n).unwrap(), "x".repeat(1000)), 0..1000)
        .unwrap();
    for (n, (mutex, _)) in (0..).zip(&made) {
        assert_eq!(*mutex.lock().unwrap(), n);
    }
    drop(made);
    gone(before);
}

fn uncollected_values_leave_nothing() {
    let pool = Pool::with_workers(2).unwrap();
    let before = objects();
    let failing = pool.chunksize(1).map(
        |n: u32| {
            assert_ne!(n, 7);
            Lock::new().unwrap()
        },
        0..200,
    );
    assert!(failing.is_err());
    // What was still running is swept up by later calls.
    eventually("the objects are gone", || {
        pool.map(|n: u32| n, 0..10).unwrap();
        match objects() {
            found if found == before => Ok(()),
            found => Err(format!("{found} instead of {before}")),
        }
    });
}

fn parts_are_worked_on_in_place() {
    let pool = Pool::with_workers(2).unwrap();
    let before = objects();
    let array = procession_sync::Array::from_slice(&[1_u64; 10_000]).unwrap();
    let parts = array.lock().unwrap().into_parts(1000).unwrap();
    pool.map(
        |mut part: Part<u64>| part.as_mut_slice().iter_mut().for_each(|x| *x += 1),
        parts,
    )
    .unwrap();
    assert!(array.lock().unwrap().iter().all(|&x| x == 2));
    drop(array);
    gone(before);
}
