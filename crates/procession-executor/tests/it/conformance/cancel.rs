//! Futures that are cancelled and killed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use procession_executor::{Canceller, Executor, Future, TaskError};
use procession_testkit::{Case, ledger, os};

use super::{Concurrent, Contestant, suite};
use crate::common::{
    Gate, check_cancelled, check_panicked, check_usable, double, note, occupy, panics,
};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "cancel": finished, on_drop_of_finished_ones, races]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "cancel":
        answers, states, queued_ones_never_run, running, by_a_canceller, on_drop, kill_queued,
        many, by_many_threads, frees_what_waits, priorities_aside,
    ]
}

pub(crate) fn killing<C: Concurrent>() -> Vec<Case> {
    suite![C, "cancel": kill_on_drop, kill_running, kill_spares_others, cancel_one_and_kill_another]
}

fn finished<C: Contestant>() {
    let executor = C::make(1);
    let (good, bad) = (executor.submit(double, 4), executor.submit(panics, 4));
    good.wait();
    bad.wait();
    for _ in 0..2 {
        assert!(!good.cancel() && !bad.cancel() && !good.kill() && !bad.kill());
        assert!(!good.cancelled() && !bad.cancelled() && good.done() && bad.done());
    }
    assert_eq!(good.result().unwrap(), 8);
    check_panicked(&bad.result());
}

fn on_drop_of_finished_ones<C: Contestant>() {
    let executor = C::make(1);
    let word = ledger::reserve(1);
    for _ in 0..5 {
        let future = executor.submit(note, word).cancel_on_drop();
        future.wait();
        drop(future);
        let future = executor.submit(note, word).kill_on_drop();
        future.result().unwrap();
    }
    assert_eq!(ledger::get(word), 10);
    check_usable(&executor);
}

/// At any moment: the answer is the truth.
fn races<C: Contestant>() {
    let executor = C::make(2);
    let words = ledger::reserve(600);
    let mut cancelled = 0;
    for round in 0..20 {
        let futures: Vec<_> = (0..30)
            .map(|n| executor.submit(note, words + round * 30 + n))
            .collect();
        for (n, future) in (0..).zip(futures) {
            let taken_back = future.cancel();
            cancelled += u32::from(taken_back);
            match future.result() {
                Err(TaskError::Cancelled) => assert!(taken_back),
                outcome => assert!(outcome.is_ok() && !taken_back),
            }
            let runs = ledger::get(words + round * 30 + n);
            assert_eq!(runs, u32::from(!taken_back));
        }
    }
    executor.shutdown();
    let runs: u32 = (words..words + 600).map(ledger::get).sum();
    assert_eq!(runs + cancelled, 600);
}

/// F05 of Python's tests.
fn answers<C: Concurrent>() {
    let executor = C::make(1);
    let (mut busy, gate) = occupy(&executor, 1);
    let running = busy.remove(0);
    let queued = executor.submit(double, 1);
    for _ in 0..3 {
        assert!(queued.cancel() && !running.cancel());
    }
    assert!(queued.kill(), "it was cancelled");
    gate.open(2);
    running.wait();
    assert!(!running.cancel() && queued.cancel());
    assert_eq!(running.result().unwrap(), 2);
    assert!(matches!(queued.exception(), Some(TaskError::Cancelled)));
    check_cancelled(&queued.result());
}

/// F06 of Python's tests: running, done, cancelled.
fn states<C: Concurrent>() {
    fn state(future: &Future<u32>) -> [bool; 3] {
        let canceller = future.canceller();
        let state = [future.running(), future.done(), future.cancelled()];
        let its = [canceller.running(), canceller.done(), canceller.cancelled()];
        assert_eq!(state, its);
        state
    }
    let executor = C::make(1);
    let (mut busy, gate) = occupy(&executor, 1);
    let running = busy.remove(0);
    // Also the first one, which a worker may have at hand.
    let mut queued: Vec<_> = (0..5).map(|n| executor.submit(double, n)).collect();
    let cancelled = queued.remove(2);
    assert!(cancelled.cancel());
    C::check_runs(&running);
    assert_eq!(state(&running), [true, false, false]);
    for future in &queued {
        assert_eq!(state(future), [false; 3]);
    }
    assert_eq!(state(&cancelled), [false, true, true]);
    gate.open(2);
    let failed = executor.submit(panics, 1);
    for future in queued.iter().chain([&running, &failed]) {
        future.wait();
        assert_eq!(state(future), [false, true, false]);
    }
    assert_eq!(state(&cancelled), [false, true, true]);
    check_cancelled(&cancelled.result_timeout(std::time::Duration::ZERO).unwrap());
    // Also after it was handed out.
    assert_eq!(state(&cancelled), [false, true, true]);
    assert!(matches!(cancelled.exception(), Some(TaskError::Cancelled)));
}

fn queued_ones_never_run<C: Concurrent>() {
    let executor = C::make(2);
    let (busy, gate) = occupy(&executor, 2);
    let word = ledger::reserve(1);
    let futures: Vec<_> = (0..10).map(|_| executor.submit(note, word)).collect();
    for future in &futures[1..9] {
        assert!(future.cancel() && future.done());
    }
    gate.open(1);
    for (at, future) in futures.into_iter().enumerate() {
        match at {
            0 | 9 => future.result().unwrap(),
            _ => check_cancelled(&future.result()),
        }
    }
    drop(busy);
    check_usable(&executor);
    executor.shutdown();
    assert_eq!(ledger::get(word), 2);
}

fn running<C: Concurrent>() {
    let executor = C::make(1);
    let (mut busy, gate) = occupy(&executor, 1);
    assert!(!busy[0].cancel() && !busy[0].done());
    gate.open(7);
    assert_eq!(busy.remove(0).result().unwrap(), 7);
}

/// Without a type, and after the future is gone.
fn by_a_canceller<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let word = ledger::reserve(1);
    let number = executor.submit(double, 1);
    let unit = executor.submit(note, word);
    let cancellers: [Canceller; 3] = [number.canceller(), unit.canceller(), busy[0].canceller()];
    drop((number, unit));
    for (canceller, expected) in cancellers.iter().zip([true, true, false]) {
        let again = canceller.clone();
        let there = thread::spawn(move || again.cancel()).join().unwrap();
        assert_eq!((there, canceller.cancel()), (expected, expected));
        assert_eq!(
            (canceller.done(), canceller.cancelled()),
            (expected, expected)
        );
    }
    gate.open(1);
    executor.shutdown();
    assert!(cancellers[2].done() && !cancellers[2].cancel() && !cancellers[2].running());
    assert_eq!(ledger::get(word), 0);
}

fn on_drop<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let word = ledger::reserve(3);
    drop(executor.submit(note, word).cancel_on_drop());
    drop(executor.submit(note, word).kill_on_drop());
    drop(executor.submit(note, word).kill_on_drop().cancel_on_drop());
    let kept = executor.submit(note, word + 1).cancel_on_drop();
    // One that runs is finished.
    drop(
        busy.into_iter()
            .map(Future::cancel_on_drop)
            .collect::<Vec<_>>(),
    );
    gate.open(1);
    kept.result().unwrap();
    drop(executor.submit(note, word + 2));
    executor.shutdown();
    assert_eq!([0, 1, 2].map(|n| ledger::get(word + n)), [0, 1, 1]);
}

fn endless(begun: u32) -> u32 {
    ledger::note(begun);
    os::sleep_for_ever();
    0
}

/// A task that runs, and ends by itself only where it cannot be killed.
fn long<C: Contestant>(executor: &C::Executor, gate: &Gate) -> Future<u32> {
    let task = if C::CAN_KILL { endless } else { Gate::pass };
    let future = executor.submit(task, gate.words());
    gate.await_begun(gate.begun().max(1));
    future
}

fn kill_on_drop<C: Concurrent>() {
    let executor = C::make(1);
    for _ in 0..3 {
        let gate = Gate::new();
        drop(long::<C>(&executor, &gate).kill_on_drop());
        gate.open(1);
        // The worker is free, or there is another one.
        check_usable(&executor);
    }
}

fn kill_running<C: Concurrent>() {
    let executor = C::make(1);
    for _ in 0..3 {
        let gate = Gate::new();
        let future = long::<C>(&executor, &gate);
        assert!(!future.cancel());
        assert_eq!(future.kill(), C::CAN_KILL);
        assert_eq!(
            (future.done(), future.cancelled()),
            (C::CAN_KILL, C::CAN_KILL)
        );
        assert_eq!((future.kill(), future.cancel()), (C::CAN_KILL, C::CAN_KILL));
        gate.open(3);
        match future.result() {
            Ok(value) if !C::CAN_KILL => assert_eq!(value, 3),
            outcome => check_cancelled(&outcome),
        }
        check_usable(&executor);
    }
}

fn kill_queued<C: Concurrent>() {
    let executor = C::make(1);
    let (mut busy, gate) = occupy(&executor, 1);
    let word = ledger::reserve(1);
    let queued = executor.submit(note, word);
    assert!(queued.kill() && queued.kill() && queued.cancelled());
    check_cancelled(&queued.result());
    gate.open(4);
    assert_eq!(
        busy.remove(0).result().unwrap(),
        4,
        "others are not touched"
    );
    executor.shutdown();
    assert_eq!(ledger::get(word), 0);
}

/// F109.
fn kill_spares_others<C: Concurrent>() {
    let executor = C::make(3);
    let gate = Gate::new();
    let futures: Vec<_> = (0..3).map(|_| gate.submit(&executor)).collect();
    let behind: Vec<_> = (0..30).map(|n| executor.submit(double, n)).collect();
    gate.await_begun(3);
    assert_eq!(futures[1].kill(), C::CAN_KILL);
    gate.open(9);
    for (at, future) in futures.into_iter().enumerate() {
        match future.result() {
            Ok(value) if at != 1 || !C::CAN_KILL => assert_eq!(value, 9),
            outcome => check_cancelled(&outcome),
        }
    }
    for (n, future) in (0..).zip(behind) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
}

/// More than any executor gives to its workers ahead of time.
fn many<C: Concurrent>() {
    let executor = C::make(2);
    let (busy, gate) = occupy(&executor, 2);
    let word = ledger::reserve(1);
    let futures: Vec<_> = (0..5000).map(|_| executor.submit(note, word)).collect();
    for future in futures.iter().rev() {
        assert!(future.cancel());
    }
    gate.open(1);
    assert!(futures.iter().all(Future::cancelled));
    drop((busy, futures));
    check_usable(&executor);
    executor.shutdown();
    assert_eq!(ledger::get(word), 0);
}

fn by_many_threads<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    for _ in 0..50 {
        let future = executor.submit(double, 1);
        let calls = std::sync::Arc::new(AtomicU32::new(0));
        let count = std::sync::Arc::clone(&calls);
        future.add_done_callback(move |outcome| {
            check_cancelled(outcome);
            count.fetch_add(1, Ordering::Relaxed);
        });
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert!(future.cancel()));
            }
            scope.spawn(|| future.wait());
        });
        assert!(future.cancelled());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
    gate.open(1);
    drop(busy);
}

/// Who waits for a future is told that it was cancelled.
fn frees_what_waits<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    for _ in 0..20 {
        let futures: Vec<_> = (0..4).map(|n| executor.submit(double, n)).collect();
        let cancellers: Vec<_> = futures.iter().map(Future::canceller).collect();
        thread::scope(|scope| {
            for future in futures {
                scope.spawn(|| check_cancelled(&future.result()));
            }
            for canceller in &cancellers {
                assert!(canceller.cancel());
            }
        });
    }
    gate.open(1);
    drop(busy);
}

/// F103: what waits behind a cancelled one runs.
fn cancel_one_and_kill_another<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let first = gate.submit(&executor);
    gate.await_begun(1);
    let second = executor.submit(double, 2);
    let third = executor.submit(double, 3);
    assert!(second.cancel());
    assert_eq!(first.kill(), C::CAN_KILL);
    gate.open(1);
    assert_eq!(third.result().unwrap(), 6);
    check_cancelled(&second.result());
}

fn priorities_aside<C: Concurrent>() {
    use procession_executor::Priority;
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let word = ledger::reserve(1);
    let futures: Vec<_> = [Priority::Low, Priority::High, Priority::Normal]
        .into_iter()
        .cycle()
        .take(90)
        .map(|priority| executor.priority(priority).submit(note, word))
        .collect();
    for (at, future) in futures.iter().enumerate() {
        assert!(at % 2 == 0 || future.cancel());
    }
    gate.open(1);
    let done = futures
        .into_iter()
        .map(Future::result)
        .filter(Result::is_ok);
    assert_eq!(done.count(), 45);
    drop(busy);
    executor.shutdown();
    assert_eq!(ledger::get(word), 45);
}
