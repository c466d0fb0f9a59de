//! Tasks of one item.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use procession_executor::{Executor, Future, Handle, Priority, TaskError};
use procession_testkit::{Case, eventually, ledger};
use serde::{Deserialize, Serialize};

use super::{Contestant, suite};
use crate::common::{check_panicked, check_usable, double, note, panics};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "submit":
        one_and_many, of_many_types, large, through_what_holds_it, that_may_fail, numbers, ready,
        nobody_waits, looked_at_only, item_goes_with_the_call, options, retries, many_functions,
    ]
}

fn one_and_many<C: Contestant>() {
    let executor = C::make(2);
    assert_eq!(executor.submit(double, 4).result().unwrap(), 8);
    let futures: Vec<_> = (0..100).map(|n| executor.submit(double, n)).collect();
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
    let futures: Vec<_> = (0..100).map(|n| executor.submit(double, n)).collect();
    for (n, future) in (0..100).zip(futures).rev() {
        assert_eq!(future.result().unwrap(), n * 2);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle { radius: u32 },
    Polygon(Vec<(i16, i16)>),
}

fn of_many_types<C: Contestant>() {
    let executor = C::make(2);
    let unit: () = executor.submit(|()| (), ()).result().unwrap();
    let text = executor.submit(|text: String| text + "!", "so".to_owned());
    let sum = executor.submit(
        |(a, b, c): (u8, u32, u64)| u64::from(a) + u64::from(b) + c,
        (1, 2, 3),
    );
    let none = executor.submit(|n: Option<u32>| n.map(|n| n + 1), None);
    let error = executor.submit(
        |n: i32| u8::try_from(n).map_err(|error| error.to_string()),
        -1,
    );
    let shapes = executor.submit(
        |mut shapes: Vec<Shape>| {
            shapes.reverse();
            shapes
        },
        vec![
            Shape::Point,
            Shape::Circle { radius: 7 },
            Shape::Polygon(vec![(1, -1), (2, -2)]),
        ],
    );
    assert_eq!(unit, ());
    assert_eq!(text.result().unwrap(), "so!");
    assert_eq!(sum.result().unwrap(), 6);
    assert_eq!(none.result().unwrap(), None);
    // An error of the function is a value.
    assert!(error.result().unwrap().is_err());
    let shapes = shapes.result().unwrap();
    assert_eq!(shapes[1], Shape::Circle { radius: 7 });
    assert_eq!(shapes[2], Shape::Point);
}

fn large<C: Contestant>() {
    let executor = C::make(2);
    for size in [0, 1, 100, 10_000, 3 << 20] {
        let text = executor.submit(|text: String| text.to_uppercase(), "a".repeat(size));
        let text = text.result().unwrap();
        assert!(text.len() == size && text.bytes().all(|byte| byte == b'A'));
    }
}

fn through_what_holds_it<C: Contestant>() {
    fn four(executor: impl Executor) {
        assert_eq!(executor.submit(double, 2).result().unwrap(), 4);
        assert_eq!(executor.map(double, [2]).next().unwrap().unwrap(), 4);
    }
    let executor = C::make(1);
    four(&executor);
    let handle: Handle = executor.handle().clone();
    four(handle.clone());
    four(Box::new(handle.clone()));
    let shared = Arc::new(executor);
    four(Arc::clone(&shared));
    four(Box::new(Arc::clone(&shared)));
    std::thread::scope(|scope| {
        scope.spawn(|| four(&shared));
        scope.spawn(|| four(handle));
    });
}

fn that_may_fail<C: Contestant>() {
    let executor = C::make(1);
    let now = executor.try_submit(double, 1).unwrap();
    let soon = executor.submit_timeout(double, 2, Duration::ZERO).unwrap();
    let later = executor.submit_timeout(double, 3, Duration::MAX).unwrap();
    let then = executor.submit_deadline(double, 4, Instant::now()).unwrap();
    for (future, expected) in [(now, 2), (soon, 4), (later, 6), (then, 8)] {
        assert_eq!(future.result().unwrap(), expected);
    }
}

fn numbers<C: Contestant>() {
    let executor = C::make(1);
    let futures: Vec<_> = (0..50).map(|n| executor.submit(double, n)).collect();
    let numbers: HashSet<u64> = futures.iter().map(Future::id).collect();
    assert_eq!(numbers.len(), 50);
    for future in futures {
        assert_eq!(future.id(), future.canceller().id());
        future.result().unwrap();
    }
}

/// A future without an executor is as those of one.
fn ready<C: Contestant>() {
    let executor = C::make(1);
    let (good, bad) = (
        Future::ready(Ok(2)),
        Future::ready(Err::<u32, _>(TaskError::Closed)),
    );
    assert!(good.done() && !good.running() && !good.cancelled());
    assert!(!good.cancel() && !good.kill() && good.wait_timeout(Duration::ZERO));
    assert!(matches!(bad.exception(), Some(TaskError::Closed)));
    let cancelled = Future::<u32>::ready(Err(TaskError::Cancelled));
    assert!(cancelled.cancelled() && cancelled.cancel());
    let own = executor.submit(double, 1);
    let all = [own, good];
    for future in procession_executor::as_completed(all) {
        assert_eq!(future.result().unwrap(), 2);
    }
}

fn nobody_waits<C: Contestant>() {
    let executor = C::make(2);
    let word = ledger::reserve(1);
    for _ in 0..200 {
        drop(executor.submit(note, word));
    }
    // Not by waiting for the executor.
    ledger::wait_for(word, 200);
    executor.shutdown();
    assert_eq!(ledger::get(word), 200);
}

/// By nothing but `done`, one after the other, and nobody waits for anything.
fn looked_at_only<C: Contestant>() {
    let executor = C::make(2);
    let futures: Vec<_> = (0..30).map(|n| executor.submit(double, n)).collect();
    for (n, future) in (0..).zip(futures) {
        eventually("it is done", || {
            future.done().then_some(()).ok_or_else(String::new)
        });
        assert!(!future.running());
        assert_eq!(future.try_result().unwrap().unwrap(), n * 2);
    }
    let future = executor.submit(panics, 1);
    let canceller = future.canceller();
    eventually("it is done", || {
        canceller.done().then_some(()).ok_or_else(String::new)
    });
    check_panicked(&future.try_result().unwrap());
    let future = executor.submit(double, 1);
    eventually("it is there", || {
        future.try_result().ok_or_else(String::new)
    })
    .unwrap();
}

static DROPS: AtomicU32 = AtomicU32::new(0);

/// Counts drops of this process.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counted(u32);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::Relaxed);
    }
}

/// It is encoded at the call: what the caller gave is dropped then.
fn item_goes_with_the_call<C: Contestant>() {
    let executor = C::make(1);
    executor.shutdown();
    DROPS.store(0, Ordering::Relaxed);
    let count = || DROPS.load(Ordering::Relaxed);
    let future = executor.submit(|item: Counted| item.0, Counted(1));
    assert_eq!(count(), 1);
    drop(future);
    let refused = executor.try_submit(|item: Counted| item.0, Counted(2));
    assert_eq!(count(), 1);
    assert_eq!(refused.unwrap_err().into_item().0, 2);
    assert_eq!(count(), 2);
    let map = executor.map(|item: Counted| item.0, [Counted(3), Counted(4)]);
    assert_eq!(map.count(), 2);
    assert_eq!(count(), 4);
}

/// Each leaves the executor as it was.
fn options<C: Contestant>() {
    let executor = C::make(2);
    let urgent = executor
        .priority(Priority::High)
        .seed(7)
        .grace(Duration::from_secs(3600))
        .timeout(Duration::from_secs(3600))
        .crash_limit(3)
        .backoff(Duration::from_millis(1))
        .retry_if(|_| true)
        .retries(1)
        .chunksize(2)
        .buffersize(4)
        .map_timeout(Duration::from_secs(3600));
    let low = executor.priority(Priority::Low);
    let futures: Vec<_> = (0..40)
        .map(|n| match n % 3 {
            0 => urgent.submit(double, n),
            1 => low.submit(double, n),
            _ => executor.submit(double, n),
        })
        .collect();
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
    let found = urgent.map(double, 0..9).collect::<Result<Vec<_>, _>>();
    assert!(found.unwrap().into_iter().eq((0..9).map(double)));
    check_usable(&urgent);
    check_usable(&executor);
}

/// A task that panics until the word is so great.
fn panics_until((word, attempts): (u32, u32)) -> u32 {
    ledger::note(word);
    let attempt = ledger::get(word);
    assert!(attempt >= attempts, "the task's panic");
    attempt
}

fn retries<C: Contestant>() {
    let executor = C::make(1);
    for (retries, attempts) in [(0, 1), (2, 3), (2, 4), (5, 2)] {
        let word = ledger::reserve(1);
        let outcome = executor
            .retries(retries)
            .submit(panics_until, (word, attempts))
            .result();
        let expected = attempts.min(retries + 1);
        assert_eq!(ledger::get(word), expected);
        if attempts <= retries + 1 {
            assert_eq!(outcome.unwrap(), attempts);
        } else {
            check_panicked(&outcome);
        }
    }
    let words = ledger::reserve(6);
    let pairs = (0..6).map(|n| (words + n, 1 + n % 3));
    let found = executor.retries(2).chunksize(2).map(panics_until, pairs);
    assert!(found.map(Result::unwrap).eq([1, 2, 3, 1, 2, 3]));
}

/// More than any executor keeps in mind.
fn many_functions<C: Contestant>() {
    let executor = C::make(2);
    let functions: [fn(u32) -> u32; 12] = [
        |n| n,
        |n| n + 1,
        |n| n + 2,
        |n| n + 3,
        |n| n + 4,
        |n| n + 5,
        |n| n + 6,
        |n| n + 7,
        |n| n + 8,
        |n| n + 9,
        |n| n + 10,
        |n| n + 11,
    ];
    for round in 0..3 {
        let futures: Vec<_> = functions
            .iter()
            .map(|f| executor.submit(*f, round))
            .collect();
        for (n, future) in (0..).zip(futures) {
            assert_eq!(future.result().unwrap(), round + n);
        }
    }
}
