//! How executors come to their end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use procession_executor::{Executor, Future, TaskError, TrySubmitError, as_completed};
use procession_testkit::{Case, ledger, pause};

use super::{Concurrent, Contestant, suite};
use crate::common::{Gate, check_cancelled, check_closed, check_usable, double, note, occupy};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "shutdown":
        drains, submit_afterwards, twice, by_a_handle, without_work, drop_waits, drop_unwinding,
        futures_outlive_it, no_wait_finishes, through_views,
    ]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "shutdown":
        in_time, now, now_with_maps, no_wait, from_eight_threads, races_with_submits,
        while_others_wait, drop_waits_for_running, now_after_drain, cancelled_and_shut_down,
        many_executors, while_it_is_awaited, of_a_map_under_way,
    ]
}

/// A task that takes a moment.
fn slow_note(word: u32) {
    pause(Duration::from_micros(300));
    ledger::note(word);
}

fn drains<C: Contestant>() {
    let executor = C::make(2);
    let word = ledger::reserve(1);
    let futures: Vec<_> = (0..50).map(|_| executor.submit(slow_note, word)).collect();
    executor.shutdown();
    assert_eq!(ledger::get(word), 50);
    for future in futures {
        assert!(future.done() && !future.cancelled() && !future.cancel());
        future.try_result().unwrap().unwrap();
    }
}

/// E10 of Python's tests.
fn submit_afterwards<C: Contestant>() {
    let executor = C::make(1);
    executor.shutdown();
    let future = executor.submit(double, 4);
    assert!(future.done() && !future.running() && !future.cancelled() && !future.cancel());
    assert!(matches!(future.exception(), Some(TaskError::Closed)));
    check_closed(&future.result());
    let refused = executor.try_submit(double, 4);
    assert!(matches!(
        refused,
        Err(TrySubmitError::Closed(4, TaskError::Closed))
    ));
    let futures: Vec<_> = (0..5).map(|n| executor.submit(double, n)).collect();
    for future in as_completed(futures) {
        check_closed(&future.result());
    }
    check_closed(&crate::common::block_on(executor.submit(double, 4)));
}

fn twice<C: Contestant>() {
    let executor = C::make(1);
    let future = executor.submit(double, 4);
    executor.shutdown();
    executor.shutdown();
    executor.shutdown_now();
    executor.shutdown_no_wait();
    assert!(executor.shutdown_timeout(Duration::MAX));
    executor.shutdown();
    assert_eq!(future.result().unwrap(), 8);
}

fn by_a_handle<C: Contestant>() {
    let executor = C::make(1);
    let handle = executor.handle().clone();
    let future = handle.submit(double, 4);
    handle.retries(1).shutdown();
    assert_eq!(future.result().unwrap(), 8);
    check_closed(&executor.submit(double, 4).result());
    drop(executor);
    check_closed(&handle.submit(double, 4).result());
    assert!(handle.shutdown_timeout(Duration::MAX));
}

fn without_work<C: Contestant>() {
    drop(C::make(1));
    drop(C::make(3));
    C::make(1).shutdown_now();
    assert!(C::make(1).shutdown_timeout(Duration::MAX));
    C::make(1).shutdown_no_wait();
}

/// E17 of Python's tests.
fn drop_waits<C: Contestant>() {
    let word = ledger::reserve(1);
    let executor = C::make(2);
    for _ in 0..30 {
        drop(executor.submit(slow_note, word));
    }
    drop(executor);
    assert_eq!(ledger::get(word), 30);
}

fn drop_unwinding<C: Contestant>() {
    let word = ledger::reserve(1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let executor = C::make(2);
        let _futures: Vec<_> = (0..20).map(|_| executor.submit(slow_note, word)).collect();
        panic!("the test's panic");
    }));
    assert!(panicked.is_err());
    assert_eq!(ledger::get(word), 20);
}

/// F115.
fn futures_outlive_it<C: Contestant>() {
    let executor = C::make(2);
    let futures: Vec<_> = (0..20).map(|n| executor.submit(double, n)).collect();
    let map = executor.map(double, 0..20);
    let handle = executor.handle().clone();
    drop(executor);
    assert!(futures.iter().all(Future::done));
    assert!(futures[0].canceller().done());
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
    assert!(map.map(Result::unwrap).eq((0..20).map(double)));
    check_closed(&handle.map(double, [1]).next().unwrap());
}

fn no_wait_finishes<C: Contestant>() {
    let word = ledger::reserve(1);
    let executor = C::make(2);
    let futures: Vec<_> = (0..30).map(|_| executor.submit(slow_note, word)).collect();
    executor.shutdown_no_wait();
    check_closed(&executor.submit(double, 1).result());
    for future in futures {
        future.result().unwrap();
    }
    assert_eq!(ledger::get(word), 30);
}

/// A handle with options is the same executor.
fn through_views<C: Contestant>() {
    let executor = C::make(1);
    let view = executor.chunksize(4).retries(3).with_max_pending(2);
    drop(executor.handle().clone());
    assert_eq!(view.submit(double, 1).result().unwrap(), 2);
    executor.shutdown();
    check_closed(&view.submit(double, 1).result());
}

fn in_time<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let running = gate.submit(&executor);
    let queued = executor.submit(double, 4);
    assert!(!executor.shutdown_timeout(Duration::ZERO));
    assert!(!executor.shutdown_timeout(Duration::from_millis(2)));
    assert!(!running.done() && !queued.done());
    check_closed(&executor.submit(double, 4).result());
    gate.open(3);
    assert!(executor.shutdown_timeout(Duration::MAX));
    assert!(running.done() && queued.done());
    assert!(executor.shutdown_timeout(Duration::ZERO));
    assert_eq!(running.result().unwrap(), 3);
    assert_eq!(queued.result().unwrap(), 8);
}

/// E14 of Python's tests.
fn now<C: Concurrent>() {
    let executor = C::make(2);
    let (busy, gate) = occupy(&executor, 2);
    let word = ledger::reserve(1);
    let queued: Vec<_> = (0..50).map(|_| executor.submit(note, word)).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            executor.shutdown_now();
            assert!(busy.iter().all(Future::done), "it waits for what runs");
        });
        for future in &queued {
            future.wait();
            assert!(future.cancelled());
        }
        assert!(!busy.iter().any(Future::done));
        gate.open(5);
    });
    for future in busy {
        assert_eq!(future.result().unwrap(), 5);
    }
    for future in queued {
        check_cancelled(&future.result());
    }
    assert_eq!(ledger::get(word), 0);
    check_closed(&executor.submit(double, 1).result());
}

fn now_with_maps<C: Concurrent>() {
    for chunksize in [1, 3] {
        let executor = C::make(1);
        let (busy, gate) = occupy(&executor, 1);
        let word = ledger::reserve(1);
        let view = executor.chunksize(chunksize).buffersize(12);
        let (ordered, unordered) = (
            view.map(note, [word; 20]),
            view.map_unordered(note, [word; 20]),
        );
        gate.open(1);
        // What runs has to be cut somewhere: whichever side of it an item is on, it has its outcome.
        executor.shutdown_now();
        let outcomes: Vec<_> = ordered.chain(unordered).collect();
        assert_eq!(outcomes.len(), 40);
        let ran = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(ledger::get(word) as usize, ran);
        for outcome in outcomes.iter().filter(|outcome| outcome.is_err()) {
            let is_told = matches!(outcome, Err(TaskError::Cancelled | TaskError::Closed));
            assert!(is_told, "{outcome:?}");
        }
        drop(busy);
    }
}

fn no_wait<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let running = gate.submit(&executor);
    let queued: Vec<_> = (0..20).map(|n| executor.submit(double, n)).collect();
    executor.shutdown_no_wait();
    assert!(!running.done());
    gate.open(6);
    assert_eq!(running.result().unwrap(), 6);
    for (n, future) in (0..).zip(queued) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
}

/// F112.
fn from_eight_threads<C: Concurrent>() {
    for round in 0..5 {
        let executor = C::make(2);
        let gate = Gate::new();
        let futures: Vec<_> = (0..20).map(|_| gate.submit(&executor)).collect();
        thread::scope(|scope| {
            for number in 0..8 {
                let executor = &executor;
                scope.spawn(move || match (number + round) % 4 {
                    0 => {
                        let _ = executor.shutdown_timeout(Duration::from_micros(100));
                    }
                    1 => executor.shutdown_no_wait(),
                    2 if round == 4 => executor.shutdown_now(),
                    _ => executor.shutdown(),
                });
            }
            gate.open(1);
        });
        executor.shutdown();
        for future in futures {
            match future.try_result().unwrap() {
                Ok(value) => assert_eq!(value, 1),
                outcome if round == 4 => check_cancelled(&outcome),
                outcome => panic!("{outcome:?}"),
            }
        }
    }
}

/// F113: it runs, or says that it does not.
fn races_with_submits<C: Concurrent>() {
    for round in 0..10_u64 {
        let executor = C::make(2);
        let word = ledger::reserve(1);
        let ran = thread::scope(|scope| {
            let executor = &executor;
            let submit = move || {
                let mut futures = Vec::new();
                loop {
                    match executor.try_submit(note, word) {
                        Ok(future) => futures.push(future),
                        Err(TrySubmitError::Closed(_, TaskError::Closed)) => break,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                // One that was just too late may have been taken all the same.
                let ran = |future: Future<()>| match future.result() {
                    Ok(()) => 1,
                    Err(TaskError::NoWorkers(_)) if !C::CAN_REPLACE => 0,
                    outcome => {
                        check_closed(&outcome);
                        0
                    }
                };
                futures.into_iter().map(ran).sum::<u32>()
            };
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(submit)).collect();
            pause(Duration::from_micros(100 * round));
            executor.shutdown();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<u32>()
        });
        executor.shutdown();
        assert_eq!(ledger::get(word), ran);
    }
}

fn while_others_wait<C: Concurrent>() {
    let executor = Arc::new(C::make(2));
    let gate = Gate::new();
    let futures: Vec<_> = (0..8).map(|_| gate.submit(&executor)).collect();
    thread::scope(|scope| {
        for (at, future) in futures.into_iter().enumerate() {
            scope.spawn(move || {
                let value = match at % 3 {
                    0 => future.result().unwrap(),
                    1 => as_completed([future]).next().unwrap().result().unwrap(),
                    _ => crate::common::block_on(future).unwrap(),
                };
                assert_eq!(value, 2);
            });
        }
        let own = Arc::clone(&executor);
        scope.spawn(move || own.shutdown());
        gate.open(2);
    });
    drop(executor);
}

fn drop_waits_for_running<C: Concurrent>() {
    let executor = C::make(2);
    let gate = Gate::new();
    let futures: Vec<_> = (0..5).map(|_| gate.submit(&executor)).collect();
    gate.await_begun(2);
    thread::scope(|scope| {
        let gone = scope.spawn(|| {
            drop(executor);
            assert!(futures.iter().all(Future::done), "it waits for them");
        });
        pause(Duration::from_millis(2));
        assert!(!gone.is_finished());
        gate.open(8);
    });
}

/// Drains, until somebody is in a hurry.
fn now_after_drain<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let word = ledger::reserve(1);
    let queued: Vec<_> = (0..20).map(|_| executor.submit(note, word)).collect();
    thread::scope(|scope| {
        scope.spawn(|| executor.shutdown());
        scope.spawn(|| executor.shutdown_now());
        queued.iter().for_each(Future::wait);
        gate.open(1);
    });
    assert!(queued.iter().all(Future::cancelled) && busy.iter().all(Future::done));
    assert_eq!(ledger::get(word), 0);
}

/// E16 of Python's tests.
fn cancelled_and_shut_down<C: Concurrent>() {
    for _ in 0..10 {
        let executor = C::make(1);
        let future = executor.submit(double, 1);
        let taken_back = future.cancel();
        executor.shutdown();
        assert!(future.done());
        assert_eq!(future.result().is_err(), taken_back);
    }
}

/// One after the other, and at once.
fn many_executors<C: Concurrent>() {
    for n in 0..10 {
        assert_eq!(C::make(1).submit(double, n).result().unwrap(), n * 2);
    }
    let executor = C::make(2);
    check_usable(&executor);
}

/// An executor that goes before the futures that are awaited.
fn while_it_is_awaited<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let futures: Vec<_> = (0..5).map(|_| gate.submit(&executor)).collect();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut sum = 0;
            for future in futures {
                sum += crate::common::block_on(future).unwrap();
            }
            sum
        });
        gate.await_begun(1);
        scope.spawn(|| drop(executor));
        gate.open(1);
        assert_eq!(waiter.join().unwrap(), 5);
    });
}

/// The map has its window, and the rest is refused.
fn of_a_map_under_way<C: Concurrent>() {
    let executor = C::make(1);
    let mut map = executor.chunksize(1).buffersize(4).map(double, 0..10);
    assert_eq!(map.next().unwrap().unwrap(), 0);
    executor.shutdown();
    for n in 1..=4 {
        assert_eq!(map.next().unwrap().unwrap(), n * 2);
    }
    let rest: Vec<_> = map.collect();
    assert_eq!(rest.len(), 5);
    rest.iter().for_each(check_closed);
}
