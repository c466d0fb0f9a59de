//! Outcomes: waited for, handed out once, looked at.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use procession_executor::{Executor, Future, TaskError};
use procession_testkit::Case;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Concurrent, Contestant, suite};
use crate::common::{Gate, check_panicked, check_usable, double, occupy, panics};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "outcomes":
        handed_out_once, errors_are_looked_at, taken_by_many_threads, values_that_panic_where_they_are_made,
        values_that_nobody_wants_and_that_panic, values_that_panic_behind_callbacks,
        text_of_done_ones, no_time_at_all,
    ]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "outcomes":
        not_there_yet, awaited_by_many_threads, text, waits_go_on, moved_to_other_threads,
    ]
}

#[track_caller]
fn check_taken(outcome: Option<Result<u32, TaskError>>) {
    assert!(
        matches!(outcome, Some(Err(TaskError::Taken))),
        "{outcome:?}"
    );
}

type Take = fn(&Future<u32>) -> Option<Result<u32, TaskError>>;

fn handed_out_once<C: Contestant>() {
    let executor = C::make(1);
    let takes: [Take; 4] = [
        |future| future.result_timeout(Duration::MAX),
        |future| future.result_deadline(Instant::now() + Duration::from_secs(3600)),
        |future| future.result_timeout(Duration::from_secs(3600)),
        |future| {
            future.wait();
            future.try_result()
        },
    ];
    for take in takes {
        let future = executor.submit(double, 4);
        assert_eq!(take(&future).unwrap().unwrap(), 8);
        assert!(future.done() && !future.running() && !future.cancelled());
        for take in takes {
            check_taken(take(&future));
        }
        check_taken(future.try_result());
        assert!(future.exception().is_none(), "it was a value");
        assert!(!future.cancel() && !future.kill());
        check_taken(Some(future.result()));
    }
    let future = executor.submit(panics, 4);
    check_panicked(&future.result_timeout(Duration::MAX).unwrap());
    assert!(matches!(future.exception(), Some(TaskError::Taken)));
    check_taken(Some(future.result()));
}

/// Without being taken.
fn errors_are_looked_at<C: Contestant>() {
    let executor = C::make(1);
    let good = executor.submit(double, 4);
    assert!(good.exception().is_none());
    assert!(matches!(good.exception_timeout(Duration::ZERO), Some(None)));
    assert_eq!(good.result().unwrap(), 8);
    let bad = executor.submit(panics, 4);
    for _ in 0..2 {
        let error = bad.exception().unwrap();
        check_panicked(&Err::<u32, _>(error));
        let error = bad.exception_timeout(Duration::ZERO).unwrap().unwrap();
        check_panicked(&Err::<u32, _>(error));
    }
    check_panicked(&bad.result());
}

fn taken_by_many_threads<C: Contestant>() {
    let executor = C::make(1);
    for round in 0..20 {
        let future = executor.submit(double, round);
        let takers = thread::scope(|scope| {
            let take = || match future.result_timeout(Duration::MAX).unwrap() {
                Ok(value) => {
                    assert_eq!(value, round * 2);
                    1
                }
                outcome => {
                    check_taken(Some(outcome));
                    0
                }
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<u32>()
        });
        assert_eq!(takers, 1);
    }
}

/// What panics when it is dropped, where it was made or where it was decoded.
#[derive(Debug)]
struct Bomb {
    armed: bool,
    there: bool,
}

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.there.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let armed = bool::deserialize(deserializer)?;
        let there = false;
        Ok(Bomb { armed, there })
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.armed || thread::panicking(), "the value's drop");
    }
}

/// It has been sent by then.
fn values_that_panic_where_they_are_made<C: Contestant>() {
    let executor = C::make(1);
    let bomb = |armed| {
        let there = false;
        Bomb { armed, there }
    };
    for _ in 0..3 {
        let value = executor.submit(bomb, true).result().unwrap();
        assert!(!value.armed);
        let values = executor.chunksize(2).map(bomb, [true, false, true]);
        assert_eq!(values.filter(Result::is_ok).count(), 3);
        check_usable(&executor);
    }
}

/// A value that panics when this program drops it.
fn armed(_: u32) -> Bomb {
    let (armed, there) = (false, true);
    Bomb { armed, there }
}

/// The future is gone when its value comes, to somebody who waits for another one.
fn values_that_nobody_wants_and_that_panic<C: Contestant>() {
    let executor = C::make(1);
    for n in 0..5 {
        // One that has its value by now drops it here.
        let gone = executor.submit(armed, n);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(gone)));
        assert_eq!(executor.submit(double, n).result().unwrap(), n * 2);
    }
    let map = executor.chunksize(2).map(armed, 0..4);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(map)));
    check_usable(&executor);
}

/// The same while nobody waits, but callbacks are to be called.
fn values_that_panic_behind_callbacks<C: Contestant>() {
    let executor = C::make(1);
    for n in 0..5 {
        let gone = executor.submit(armed, n);
        gone.add_done_callback(|_| ());
        let _ = catch_unwind(AssertUnwindSafe(|| drop(gone)));
        let (tell, told) = mpsc::channel();
        let next = executor.submit(double, n);
        next.add_done_callback(move |outcome| tell.send(*outcome.as_ref().unwrap()).unwrap());
        drop(next);
        assert_eq!(told.recv(), Ok(n * 2));
    }
    check_usable(&executor);
}

fn text_of_done_ones<C: Contestant>() {
    let executor = C::make(1);
    let future = executor.submit(double, 4);
    future.wait();
    let text = format!("{future:?}");
    assert!(text.contains("finished returned u32"), "{text}");
    let future = executor.submit(panics, 4);
    future.wait();
    let text = format!("{future:?}");
    assert!(
        text.contains("finished raised ") && text.contains("the task's panic"),
        "{text}"
    );
    assert!(text.contains(&future.id().to_string()), "{text}");
    for text in [
        format!("{:?}", executor.handle()),
        format!("{:?}", future.canceller()),
        format!("{:?}", executor.map(double, 0..4)),
        format!("{:?}", procession_executor::as_completed([future])),
    ] {
        assert!(!text.is_empty());
    }
}

fn no_time_at_all<C: Contestant>() {
    let executor = C::make(1);
    let future = executor.submit(double, 4);
    let long_ago = Instant::now();
    future.wait();
    assert!(future.wait_timeout(Duration::ZERO));
    assert!(matches!(
        future.exception_timeout(Duration::ZERO),
        Some(None)
    ));
    assert_eq!(future.result_deadline(long_ago).unwrap().unwrap(), 8);
}

fn not_there_yet<C: Concurrent>() {
    let executor = C::make(1);
    let (mut busy, gate) = occupy(&executor, 1);
    let running = busy.remove(0);
    let queued = executor.submit(double, 3);
    let tiny = Duration::from_millis(2);
    for future in [&running, &queued] {
        assert!(!future.done() && !future.cancelled());
        assert!(future.try_result().is_none());
        assert!(future.result_timeout(Duration::ZERO).is_none());
        assert!(future.result_timeout(tiny).is_none());
        assert!(future.result_deadline(Instant::now()).is_none());
        assert!(future.exception_timeout(Duration::ZERO).is_none());
        assert!(future.exception_timeout(tiny).is_none());
        assert!(!future.wait_timeout(Duration::ZERO) && !future.wait_timeout(tiny));
    }
    C::check_runs(&running);
    assert!(!queued.running());
    gate.open(5);
    assert!(running.exception().is_none());
    assert_eq!(running.result().unwrap(), 5);
    assert_eq!(queued.result().unwrap(), 6);
}

fn awaited_by_many_threads<C: Concurrent>() {
    let executor = C::make(2);
    let (futures, gate) = occupy(&executor, 2);
    thread::scope(|scope| {
        for number in 0..8 {
            let future = &futures[number % 2];
            scope.spawn(move || {
                while !future.wait_timeout(Duration::from_micros(100 * number as u64)) {}
                future.wait();
                assert!(future.done() && future.exception().is_none());
            });
        }
        gate.open(9);
    });
    for future in futures {
        assert_eq!(future.result().unwrap(), 9);
    }
}

/// F04 of Python's tests.
fn text<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let (queued, cancelled) = (executor.submit(double, 1), executor.submit(double, 2));
    assert!(cancelled.cancel());
    let state = |future: &Future<u32>| format!("{future:?}");
    C::check_runs(&busy[0]);
    assert!(state(&busy[0]).contains("state: running"), "{busy:?}");
    assert!(state(&queued).contains("state: pending"), "{queued:?}");
    assert!(
        state(&cancelled).contains("state: cancelled"),
        "{cancelled:?}"
    );
    gate.open(1);
    queued.result().unwrap();
}

/// One that gives up leaves the others waiting, and comes back.
fn waits_go_on<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let queued: Vec<_> = (0..3).map(|n| executor.submit(double, n)).collect();
    thread::scope(|scope| {
        for (n, future) in (0..).zip(&queued) {
            scope.spawn(move || {
                for _ in 0..50 {
                    let _ = future.wait_timeout(Duration::from_micros(50));
                }
                let outcome = future.result_timeout(Duration::MAX);
                assert_eq!(outcome.unwrap().unwrap(), n * 2);
            });
        }
        assert!(!busy[0].wait_timeout(Duration::from_millis(3)));
        gate.open(1);
    });
    assert!(queued.iter().all(Future::done));
}

fn moved_to_other_threads<C: Concurrent>() {
    let executor = C::make(2);
    let gate = Gate::new();
    let futures: Vec<_> = (0..8).map(|_| gate.submit(&executor)).collect();
    thread::scope(|scope| {
        for future in futures {
            scope.spawn(|| assert_eq!(future.result().unwrap(), 4));
        }
        gate.open(4);
    });
}
