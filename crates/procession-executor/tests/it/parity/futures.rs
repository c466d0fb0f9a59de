//! Rows F: futures, `wait` and `as_completed`.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use procession_executor::{
    Executor, Future, ReturnWhen, TaskError, as_completed, wait, wait_timeout,
};
use procession_testkit::{Case, pause};
use serde::{Deserialize, Serialize};

use super::both;
use crate::common::{Gate, check_cancelled, check_panicked, double, occupy, panics};
use crate::conformance::Concurrent;

pub(crate) fn cases() -> Vec<Case> {
    both![
        f01_done_callback,
        f02_done_callback_raises,
        f03_done_callback_already_done,
        f04_repr,
        f05_cancel,
        f06_states,
        f07_timeouts,
        f08_woken,
        f11_first_completed,
        f12_first_completed_some_already,
        f13_first_exception,
        f14_first_exception_some_already,
        f15_all_completed,
        f16_pending_calls_race,
        f17_as_completed,
        f19_free_reference,
        f20_timeout_message,
    ]
}

const SOON: Duration = Duration::from_millis(3);

/// A future in each of the four states, and the gate that holds the second.
fn four_states(executor: &impl Executor) -> ([Future<u32>; 4], Gate) {
    let finished = executor.submit(double, 21);
    finished.wait();
    let (mut running, gate) = occupy(executor, 1);
    let (pending, cancelled) = (executor.submit(double, 1), executor.submit(double, 2));
    assert!(cancelled.cancel());
    ([pending, running.remove(0), cancelled, finished], gate)
}

fn f01_done_callback<C: Concurrent>() {
    let executor = C::make(1);
    let found = Arc::new(Mutex::new(Vec::new()));
    let note = || {
        let found = Arc::clone(&found);
        move |outcome: &Result<u32, TaskError>| found.lock().unwrap().push(outcome.clone())
    };
    let gate = Gate::new();
    let good = gate.submit(&executor);
    let (bad, cancelled) = (executor.submit(panics, 1), executor.submit(double, 1));
    good.add_done_callback(note());
    bad.add_done_callback(note());
    cancelled.add_done_callback(note());
    assert!(cancelled.cancel());
    gate.open(5);
    good.wait();
    bad.wait();
    let found = found.lock().unwrap();
    check_cancelled(&found[0]);
    assert!(matches!(found[1], Ok(5)));
    check_panicked(&found[2]);
}

fn f02_done_callback_raises<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let future = gate.submit(&executor);
    let was_called = Arc::new(Mutex::new(false));
    let own = Arc::clone(&was_called);
    future.add_done_callback(|_| panic!("the callback's panic"));
    future.add_done_callback(move |_| *own.lock().unwrap() = true);
    gate.open(5);
    assert_eq!(future.result().unwrap(), 5);
    assert!(*was_called.lock().unwrap());
}

fn f03_done_callback_already_done<C: Concurrent>() {
    let executor = C::make(1);
    let ([pending, running, cancelled, finished], gate) = four_states(&executor);
    let failed = Future::ready(Err(TaskError::Closed));
    let found = Arc::new(Mutex::new(Vec::new()));
    for future in [&cancelled, &finished, &failed] {
        let own = Arc::clone(&found);
        future.add_done_callback(|_| panic!("the callback's panic"));
        future.add_done_callback(move |outcome| own.lock().unwrap().push(outcome.clone()));
    }
    let found = found.lock().unwrap();
    assert!(matches!(
        found.as_slice(),
        [Err(TaskError::Cancelled), Ok(42), Err(TaskError::Closed)]
    ));
    gate.open(1);
    running.result().unwrap();
    pending.result().unwrap();
}

fn f04_repr<C: Concurrent>() {
    let executor = C::make(1);
    let (states, gate) = four_states(&executor);
    let texts = states.each_ref().map(|future| format!("{future:?}"));
    let expected = ["pending", "running", "cancelled", "finished returned u32"];
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.contains(&format!("state: {expected}")), "{text}");
    }
    let failed = executor.submit(panics, 1);
    gate.open(1);
    failed.wait();
    let text = format!("{failed:?}");
    assert!(text.contains("state: finished raised "), "{text}");
}

fn f05_cancel<C: Concurrent>() {
    let executor = C::make(1);
    let (states, gate) = four_states(&executor);
    assert_eq!(
        states.each_ref().map(Future::cancel),
        [true, false, true, false]
    );
    let [pending, running, cancelled, finished] = states;
    let failed = Future::<u32>::ready(Err(TaskError::Closed));
    assert!(!failed.cancel());
    assert!(pending.cancelled() && cancelled.cancelled());
    gate.open(4);
    assert_eq!(running.result().unwrap(), 4);
    assert_eq!(finished.result().unwrap(), 42);
}

fn f06_states<C: Concurrent>() {
    let executor = C::make(1);
    let (states, gate) = four_states(&executor);
    let [cancelled, done, running] = [Future::cancelled, Future::done, Future::running];
    let table = |ask: fn(&Future<u32>) -> bool| states.each_ref().map(ask);
    assert_eq!(table(cancelled), [false, false, true, false]);
    assert_eq!(table(done), [false, false, true, true]);
    assert_eq!(table(running), [false, true, false, false]);
    gate.open(1);
}

fn f07_timeouts<C: Concurrent>() {
    let executor = C::make(1);
    let (states, gate) = four_states(&executor);
    let errors = states
        .each_ref()
        .map(|future| future.exception_timeout(Duration::ZERO));
    assert!(matches!(
        errors,
        [None, None, Some(Some(TaskError::Cancelled)), Some(None)]
    ));
    let results = states
        .each_ref()
        .map(|future| future.result_timeout(Duration::ZERO));
    assert!(matches!(
        results,
        [None, None, Some(Err(TaskError::Cancelled)), Some(Ok(42))]
    ));
    // That it was waited for has not stopped it.
    gate.open(6);
    let [pending, running, ..] = states;
    assert_eq!(running.result().unwrap(), 6);
    assert_eq!(pending.result().unwrap(), 2);
}

fn f08_woken<C: Concurrent>() {
    let executor = C::make(1);
    let ([pending, running, ..], gate) = four_states(&executor);
    let failing = executor.submit(panics, 1);
    let canceller = pending.canceller();
    thread::scope(|scope| {
        scope.spawn(|| check_cancelled(&pending.result()));
        scope.spawn(|| assert_eq!(running.result().unwrap(), 9));
        scope.spawn(|| check_panicked(&Err::<(), _>(failing.exception().unwrap())));
        assert!(canceller.cancel());
        gate.open(9);
    });
}

/// The cancelled one is done, too.
fn f11_first_completed<C: Concurrent>() {
    let executor = C::make(2);
    let gates = [Gate::new(), Gate::new()];
    let [fast, slow] = gates.each_ref().map(|gate| gate.submit(&executor));
    gates.iter().for_each(|gate| gate.await_begun(1));
    let (slow_id, fast_id) = (slow.id(), fast.id());
    gates[0].open(1);
    let (done, not_done) = wait([fast, slow], ReturnWhen::FirstCompleted);
    assert_eq!((done[0].id(), not_done[0].id()), (fast_id, slow_id));
    let cancelled = Future::ready(Err(TaskError::Cancelled));
    let all = not_done.into_iter().chain([cancelled]);
    let (done, not_done) = wait(all, ReturnWhen::FirstCompleted);
    assert!(done[0].cancelled() && not_done[0].id() == slow_id);
}

fn f12_first_completed_some_already<C: Concurrent>() {
    let executor = C::make(1);
    let (states, gate) = four_states(&executor);
    let ids = states.each_ref().map(Future::id);
    let (done, not_done) = wait(states, ReturnWhen::FirstCompleted);
    assert!(done.iter().map(Future::id).eq([ids[2], ids[3]]));
    assert!(not_done.iter().map(Future::id).eq([ids[0], ids[1]]));
    gate.open(1);
}

fn f13_first_exception<C: Concurrent>() {
    let executor = C::make(3);
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let task = |(words, fails): (u32, bool)| {
        let value = Gate::pass(words);
        assert!(!fails, "the task's panic");
        value
    };
    let futures: Vec<_> = (0..3)
        .map(|n| executor.submit(task, (gates[n].words(), n == 1)))
        .collect();
    let ids: Vec<u64> = futures.iter().map(Future::id).collect();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(futures, ReturnWhen::FirstException));
        gates[0].open(1);
        executor.submit(double, 1).result().unwrap();
        gates[1].open(1);
        let (done, not_done) = waiter.join().unwrap();
        assert!(not_done.iter().any(|future| future.id() == ids[2]));
        assert!(done.iter().any(|future| future.id() == ids[1]));
    });
}

/// Cancelled ones do not count as exceptions.
fn f14_first_exception_some_already<C: Concurrent>() {
    let executor = C::make(1);
    let (states, gate) = four_states(&executor);
    let (done, not_done) = wait_timeout(states, ReturnWhen::FirstException, SOON);
    assert_eq!((done.len(), not_done.len()), (2, 2));
    // One that has failed does.
    let failed = Future::ready(Err(TaskError::Closed));
    let all = done.into_iter().chain(not_done).chain([failed]);
    let (done, not_done) = wait(all, ReturnWhen::FirstException);
    assert_eq!((done.len(), not_done.len()), (3, 2));
    // Without it all are waited for.
    let failed = |future: &Future<u32>| matches!(future.exception_timeout(SOON), Some(Some(error)) if !matches!(error, TaskError::Cancelled));
    let rest = done
        .into_iter()
        .chain(not_done)
        .filter(|future| !failed(future));
    let rest: Vec<_> = rest.collect();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(rest, ReturnWhen::FirstException));
        pause(SOON);
        gate.open(1);
        let (done, not_done) = waiter.join().unwrap();
        assert_eq!((done.len(), not_done.len()), (4, 0));
    });
}

fn f15_all_completed<C: Concurrent>() {
    let executor = C::make(1);
    let (states, gate) = four_states(&executor);
    let (done, not_done) = wait_timeout(states, ReturnWhen::AllCompleted, SOON);
    assert_eq!((done.len(), not_done.len()), (2, 2));
    gate.open(1);
    let failed = executor.submit(panics, 1);
    let all = done.into_iter().chain(not_done).chain([failed]);
    let (done, not_done) = wait(all, ReturnWhen::AllCompleted);
    assert_eq!((done.len(), not_done.len()), (5, 0));
}

fn f16_pending_calls_race<C: Concurrent>() {
    let executor = C::make(4);
    let gate = Gate::new();
    let futures: Vec<_> = (0..100).map(|_| gate.submit(&executor)).collect();
    gate.await_begun(4);
    thread::scope(|scope| {
        scope.spawn(|| gate.open(1));
        let (done, not_done) = wait(futures, ReturnWhen::AllCompleted);
        assert_eq!((done.len(), not_done.len()), (100, 0));
    });
}

fn f17_as_completed<C: Concurrent>() {
    let executor = C::make(1);
    for time in [Duration::ZERO, SOON] {
        let (states, gate) = four_states(&executor);
        let ids = states.each_ref().map(Future::id);
        let mut under_way = as_completed(states).timeout(time);
        // The finished ones first, also when there is no time.
        assert_eq!(under_way.next().unwrap().id(), ids[2]);
        assert_eq!(under_way.next().unwrap().id(), ids[3]);
        assert!(under_way.next().is_none());
        assert_eq!(under_way.unfinished().unwrap().unfinished, 2);
        // Before: of those that are done by then the order is that of their places.
        let mut rest = as_completed(under_way.into_pending());
        gate.open(1);
        assert_eq!(rest.next().unwrap().id(), ids[1]);
        assert_eq!(rest.next().unwrap().id(), ids[0]);
        assert!(rest.next().is_none());
    }
}

/// Lives as long as its outcome.
#[derive(Debug, Serialize, Deserialize)]
struct Value(Vec<u8>);

/// The future that is handed out is all that has its value, and callbacks are gone by then.
fn f19_free_reference<C: Concurrent>() {
    let executor = C::make(1);
    let owned = Arc::new(());
    let futures: Vec<_> = (0..5)
        .map(|n| {
            let future = executor.submit(|n: u8| Value(vec![n; 100]), n);
            let own = Arc::clone(&owned);
            future.add_done_callback(move |_| drop(own));
            future
        })
        .collect();
    let mut left = 5;
    for future in as_completed(futures) {
        left -= 1;
        assert!(Arc::strong_count(&owned) <= left + 1);
        assert_eq!(future.result().unwrap().0.len(), 100);
    }
    assert_eq!((left, Arc::strong_count(&owned)), (0, 1));
}

fn f20_timeout_message<C: Concurrent>() {
    let executor = C::make(1);
    let (states, gate) = four_states(&executor);
    let mut under_way = as_completed(states).timeout(Duration::ZERO);
    assert_eq!(under_way.by_ref().count(), 2);
    let unfinished = under_way.unfinished().unwrap();
    assert_eq!(unfinished.to_string(), "2 (of 4) futures unfinished");
    gate.open(1);
}
