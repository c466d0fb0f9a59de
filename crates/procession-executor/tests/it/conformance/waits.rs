//! `wait`: the first, the first error, all; with and without time.

use std::thread;
use std::time::{Duration, Instant};

use procession_executor::{
    Executor, Future, InlineExecutor, ReturnWhen, TaskError, ThreadPoolExecutor, wait,
    wait_deadline, wait_timeout,
};
use procession_testkit::{Case, pause};

use super::{Concurrent, Contestant, suite};
use crate::common::{Gate, check_cancelled, double, panics};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "waits": nothing, all_done, keeps_the_order, with_ready_ones]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "waits":
        first_completed, first_exception, all_completed, cancelled_ones,
        cancelled_ones_are_no_exceptions, in_time,
        finished_while_nobody_looked, completed_at_once, of_two_executors, in_many_threads,
        again_and_again, while_others_are_cancelled,
    ]
}

const MODES: [ReturnWhen; 3] = [
    ReturnWhen::FirstCompleted,
    ReturnWhen::FirstException,
    ReturnWhen::AllCompleted,
];

fn ids(futures: &[Future<u32>]) -> Vec<u64> {
    futures.iter().map(Future::id).collect()
}

/// Gates, and a future at each.
fn gated(executor: &impl Executor, count: usize) -> (Vec<Gate>, Vec<Future<u32>>) {
    let gates: Vec<Gate> = (0..count).map(|_| Gate::new()).collect();
    let futures = gates.iter().map(|gate| gate.submit(executor)).collect();
    (gates, futures)
}

fn nothing<C: Contestant>() {
    for mode in MODES {
        let (done, not_done) = wait(Vec::<Future<u32>>::new(), mode);
        assert!(done.is_empty() && not_done.is_empty());
        let (done, not_done) = wait_timeout(None::<Future<u32>>, mode, Duration::ZERO);
        assert!(done.is_empty() && not_done.is_empty());
    }
    assert_eq!(ReturnWhen::default(), ReturnWhen::AllCompleted);
}

fn all_done<C: Contestant>() {
    let executor = C::make(2);
    for mode in MODES {
        let futures: Vec<_> = (0..5).map(|n| executor.submit(double, n)).collect();
        futures.iter().for_each(Future::wait);
        let before = ids(&futures);
        let (done, not_done) = wait(futures, mode);
        assert!(not_done.is_empty());
        assert_eq!(ids(&done), before);
        for (n, future) in (0..).zip(done) {
            assert_eq!(future.result().unwrap(), n * 2);
        }
    }
}

fn keeps_the_order<C: Contestant>() {
    let executor = C::make(2);
    let futures: Vec<_> = (0..200).map(|n| executor.submit(double, n)).collect();
    let before = ids(&futures);
    let (done, not_done) = wait(futures, ReturnWhen::AllCompleted);
    assert!(not_done.is_empty());
    assert_eq!(ids(&done), before);
}

fn with_ready_ones<C: Contestant>() {
    let executor = C::make(1);
    for mode in MODES {
        let ready = Future::ready(Ok(7));
        let failed = Future::ready(Err(TaskError::Closed));
        let (done, not_done) = wait([ready, failed, executor.submit(double, 1)], mode);
        let left = ids(&not_done).len();
        assert!(done.len() + left == 3 && done.len() >= 2);
        assert!(mode != ReturnWhen::AllCompleted || left == 0);
        wait(not_done, ReturnWhen::AllCompleted);
    }
}

/// F11 and F12 of Python's tests.
fn first_completed<C: Concurrent>() {
    let executor = C::make(3);
    let (gates, futures) = gated(&executor, 3);
    let before = ids(&futures);
    gates[1].open(1);
    let (done, not_done) = wait(futures, ReturnWhen::FirstCompleted);
    assert_eq!(ids(&done), [before[1]]);
    assert_eq!(ids(&not_done), [before[0], before[2]]);
    // Nothing more happens: those that were done are enough.
    let all = not_done.into_iter().chain(done);
    let (done, not_done) = wait(all, ReturnWhen::FirstCompleted);
    assert_eq!((ids(&done), not_done.len()), (vec![before[1]], 2));
}

/// F13 of Python's tests.
fn first_exception<C: Concurrent>() {
    let executor = C::make(3);
    let task = |(words, panics): (u32, bool)| {
        let value = Gate::pass(words);
        assert!(!panics, "the task's panic");
        value
    };
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let futures: Vec<_> = (0..3)
        .map(|n| executor.submit(task, (gates[n].words(), n == 1)))
        .collect();
    let before = ids(&futures);
    gates[0].open(1);
    futures[0].wait();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(futures, ReturnWhen::FirstException));
        gates[1].open(1);
        let (done, not_done) = waiter.join().unwrap();
        assert_eq!(ids(&done), before[..2]);
        assert_eq!(ids(&not_done), before[2..]);
        // It has failed already.
        let all = not_done.into_iter().chain(done);
        let (done, not_done) = wait(all, ReturnWhen::FirstException);
        assert_eq!((done.len(), not_done.len()), (2, 1));
    });
    // None fails: all of them.
    let futures = (0..10).map(|n| executor.submit(double, n));
    let (done, not_done) = wait(futures, ReturnWhen::FirstException);
    assert_eq!((done.len(), not_done.len()), (10, 0));
}

/// F15 of Python's tests.
fn all_completed<C: Concurrent>() {
    let executor = C::make(2);
    let (gates, mut futures) = gated(&executor, 6);
    futures.push(executor.submit(panics, 1));
    futures.push(executor.submit(double, 1));
    let before = ids(&futures);
    assert!(futures.pop().is_some_and(|last| last.cancel()));
    let waiter = thread::spawn(|| wait(futures, ReturnWhen::AllCompleted));
    for (n, gate) in (1..).zip(&gates) {
        gate.open(n);
    }
    let (done, not_done) = waiter.join().unwrap();
    assert!(not_done.is_empty());
    assert_eq!(ids(&done), before[..7]);
}

/// They are done; and no errors (F14 of Python's tests).
fn cancelled_ones<C: Concurrent>() {
    let executor = C::make(1);
    let (gates, mut futures) = gated(&executor, 3);
    gates[0].await_begun(1);
    assert!(futures[1].cancel());
    let before = ids(&futures);
    let (done, not_done) = wait(futures, ReturnWhen::FirstCompleted);
    assert_eq!((ids(&done), not_done.len()), (vec![before[1]], 2));
    futures = not_done.into_iter().chain(done).collect();
    for time in [Duration::ZERO, Duration::from_millis(2)] {
        let (done, not_done) = wait_timeout(futures, ReturnWhen::FirstException, time);
        assert_eq!((ids(&done), not_done.len()), (vec![before[1]], 2));
        futures = not_done.into_iter().chain(done).collect();
    }
    // Also one that is cancelled meanwhile.
    let canceller = futures[1].canceller();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(futures, ReturnWhen::AllCompleted));
        assert!(canceller.cancel());
        gates[0].open(1);
        let (done, not_done) = waiter.join().unwrap();
        assert!(not_done.is_empty());
        let cancelled = done.iter().filter(|future| future.cancelled());
        assert_eq!(cancelled.count(), 2);
        for future in done.into_iter().filter(Future::cancelled) {
            check_cancelled(&future.result());
        }
    });
}

/// Neither one that is cancelled by then, nor one that is meanwhile.
fn cancelled_ones_are_no_exceptions<C: Concurrent>() {
    let executor = C::make(1);
    for is_late in [false, true] {
        let (gates, futures) = gated(&executor, 4);
        gates[0].await_begun(1);
        let canceller = futures[2].canceller();
        if !is_late {
            assert!(canceller.cancel());
        }
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(futures, ReturnWhen::FirstException));
            if is_late {
                assert!(canceller.cancel());
            }
            // So that one who takes it for an error has the time to come back.
            pause(Duration::from_millis(2));
            gates.iter().for_each(|gate| gate.open(1));
            let (done, not_done) = waiter.join().unwrap();
            assert_eq!((done.len(), not_done.len()), (4, 0));
        });
    }
}

fn in_time<C: Concurrent>() {
    let executor = C::make(2);
    let (gates, mut futures) = gated(&executor, 3);
    let before = ids(&futures);
    let tiny = Duration::from_millis(2);
    for mode in MODES {
        let (done, not_done) = wait_timeout(futures, mode, Duration::ZERO);
        assert!(done.is_empty());
        let (done, not_done) = wait_timeout(not_done, mode, tiny);
        assert!(done.is_empty());
        let (done, not_done) = wait_deadline(not_done, mode, Instant::now());
        assert!(done.is_empty());
        let (done, not_done) = wait_deadline(not_done, mode, Instant::now() + tiny);
        assert!(done.is_empty());
        assert_eq!(ids(&not_done), before);
        futures = not_done;
    }
    gates[1].open(1);
    futures[1].wait();
    for mode in [ReturnWhen::FirstException, ReturnWhen::AllCompleted] {
        let (done, not_done) = wait_timeout(futures, mode, tiny);
        assert_eq!(ids(&done), [before[1]]);
        assert_eq!(ids(&not_done), [before[0], before[2]]);
        futures = not_done.into_iter().chain(done).collect();
        futures.sort_by_key(Future::id);
    }
    gates[0].open(1);
    gates[2].open(1);
    let (done, not_done) = wait_timeout(futures, ReturnWhen::AllCompleted, Duration::MAX);
    assert_eq!((ids(&done), not_done.len()), (before, 0));
}

/// With no time at all: what is finished by then is done.
fn finished_while_nobody_looked<C: Concurrent>() {
    let executor = C::make(1);
    let (gates, futures) = gated(&executor, 4);
    gates[..3].iter().for_each(|gate| gate.open(1));
    // The only worker has come to the fourth.
    gates[3].await_begun(1);
    let cancellers: Vec<_> = futures[..3].iter().map(Future::canceller).collect();
    C::await_news(&cancellers);
    let (done, not_done) = wait_timeout(futures, ReturnWhen::AllCompleted, Duration::ZERO);
    assert_eq!((done.len(), not_done.len()), (3, 1));
}

/// F16 of Python's tests.
fn completed_at_once<C: Concurrent>() {
    let executor = C::make(4);
    for _ in 0..5 {
        let gate = Gate::new();
        let futures: Vec<_> = (0..100).map(|_| gate.submit(&executor)).collect();
        gate.await_begun(4);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(futures, ReturnWhen::AllCompleted));
            gate.open(1);
            let (done, not_done) = waiter.join().unwrap();
            assert_eq!((done.len(), not_done.len()), (100, 0));
        });
    }
}

fn of_two_executors<C: Concurrent>() {
    let executor = C::make(1);
    let other = ThreadPoolExecutor::with_workers(1).unwrap();
    let inline = InlineExecutor::new();
    for first in [0, 1] {
        let gates = [Gate::new(), Gate::new()];
        let futures = [gates[0].submit(&executor), gates[1].submit(&other)];
        let before = ids(&futures);
        gates[first].open(1);
        let (done, not_done) = wait(futures, ReturnWhen::FirstCompleted);
        assert_eq!(ids(&done), [before[first]]);
        gates[1 - first].open(2);
        let more = (0..30).map(|n| match n % 3 {
            0 => executor.submit(double, n),
            1 => other.submit(double, n),
            _ => inline.submit(double, n),
        });
        let all = not_done.into_iter().chain(more);
        let (done, not_done) = wait(all, ReturnWhen::AllCompleted);
        assert_eq!((done.len(), not_done.len()), (31, 0));
    }
}

fn in_many_threads<C: Concurrent>() {
    let executor = C::make(2);
    thread::scope(|scope| {
        for number in 0..8_u32 {
            let executor = &executor;
            scope.spawn(move || {
                let mode = MODES[number as usize % 3];
                for round in 0..5 {
                    let numbers = number * 1000 + round..number * 1000 + round + 20;
                    let mut left: Vec<_> = numbers.map(|n| executor.submit(double, n)).collect();
                    let mut found = 0;
                    while !left.is_empty() {
                        let (done, not_done) = wait(left, mode);
                        assert!(!done.is_empty());
                        found += done.len();
                        left = not_done;
                    }
                    assert_eq!(found, 20);
                }
            });
        }
    });
}

/// One by one, as Python's users do it: who gave up waiting is not in the way.
fn again_and_again<C: Concurrent>() {
    let executor = C::make(1);
    let (gates, mut futures) = gated(&executor, 30);
    for gate in &gates {
        for _ in 0..5 {
            let (done, not_done) = wait_timeout(
                futures,
                ReturnWhen::FirstCompleted,
                Duration::from_micros(10),
            );
            assert!(done.is_empty());
            futures = not_done;
        }
        gate.open(1);
        let (done, not_done) = wait(futures, ReturnWhen::FirstCompleted);
        assert_eq!(done.len(), 1);
        futures = not_done;
    }
    assert!(futures.is_empty());
}

fn while_others_are_cancelled<C: Concurrent>() {
    let executor = C::make(1);
    let (gates, futures) = gated(&executor, 50);
    gates[0].await_begun(1);
    let cancellers: Vec<_> = futures.iter().map(Future::canceller).collect();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(futures, ReturnWhen::AllCompleted));
        for (at, canceller) in cancellers.iter().enumerate().rev() {
            assert_eq!(canceller.cancel(), at > 0);
        }
        gates[0].open(1);
        let (done, not_done) = waiter.join().unwrap();
        assert_eq!((done.len(), not_done.len()), (50, 0));
    });
}
