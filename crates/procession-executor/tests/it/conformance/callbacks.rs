//! Callbacks of futures: when they are called, and with what.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use procession_executor::{Executor, Future, ReturnWhen, TaskError, as_completed, wait};
use procession_testkit::{Case, ledger};

use super::{Concurrent, Contestant, suite};
use crate::common::{
    Gate, check_cancelled, check_closed, check_panicked, check_usable, double, panics,
};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "callbacks":
        with_the_outcome, late_ones, after_it_was_taken, nobody_waits, of_failed_ones,
        the_future_is_gone, shut_down, drop_what_they_own,
    ]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "callbacks":
        in_order, before_those_who_wait, of_cancelled_ones, added_by_many_threads,
        late_ones_and_takers,
    ]
}

/// A place where callbacks leave what they were given.
pub(crate) fn log<T>() -> (
    Arc<Mutex<Vec<T>>>,
    impl Fn(T) + Clone + Send + Sync + 'static,
)
where
    T: Send + 'static,
{
    let log = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&log);
    (log, move |entry| own.lock().unwrap().push(entry))
}

fn with_the_outcome<C: Contestant>() {
    let executor = C::make(1);
    let (log, note) = log();
    let future = executor.submit(double, 4);
    future.add_done_callback(move |outcome| note(*outcome.as_ref().unwrap()));
    future.wait();
    assert_eq!(*log.lock().unwrap(), [8]);
    assert_eq!(future.result().unwrap(), 8);
    assert_eq!(log.lock().unwrap().len(), 1);
}

/// F03 of Python's tests: at once, in this thread.
fn late_ones<C: Contestant>() {
    let executor = C::make(1);
    let future = executor.submit(double, 4);
    future.wait();
    let here = thread::current().id();
    let calls = Arc::new(AtomicU32::new(0));
    for call in 1..4 {
        let count = Arc::clone(&calls);
        future.add_done_callback(move |outcome| {
            assert_eq!(*outcome.as_ref().unwrap(), 8);
            assert_eq!(thread::current().id(), here);
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(calls.load(Ordering::Relaxed), call);
    }
    let ready = Future::ready(Ok(3));
    let (log, note) = log();
    ready.add_done_callback(move |outcome| note(*outcome.as_ref().unwrap()));
    assert_eq!(*log.lock().unwrap(), [3]);
    assert_eq!(ready.result().unwrap(), 3);
    assert_eq!(future.result().unwrap(), 8);
}

fn after_it_was_taken<C: Contestant>() {
    let executor = C::make(1);
    let future = executor.submit(double, 4);
    future.result_timeout(Duration::MAX).unwrap().unwrap();
    let (log, note) = log();
    future.add_done_callback(move |outcome| note(matches!(outcome, Err(TaskError::Taken))));
    assert_eq!(*log.lock().unwrap(), [true]);
}

fn nobody_waits<C: Contestant>() {
    let executor = C::make(2);
    let (tell, told) = mpsc::channel();
    let futures: Vec<_> = (0..50).map(|n| executor.submit(double, n)).collect();
    for future in &futures {
        let tell = tell.clone();
        future.add_done_callback(move |outcome| tell.send(*outcome.as_ref().unwrap()).unwrap());
    }
    drop(tell);
    let mut found: Vec<u32> = told.iter().collect();
    found.sort_unstable();
    assert!(found.into_iter().eq((0..50).map(double)));
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
}

fn of_failed_ones<C: Contestant>() {
    let executor = C::make(1);
    let (log, note) = log();
    let future = executor.submit(panics, 4);
    future.add_done_callback(move |outcome| note(outcome.as_ref().err().cloned()));
    future.wait();
    let error = log.lock().unwrap().remove(0).unwrap();
    check_panicked(&Err::<(), _>(error));
    check_panicked(&future.result());
}

fn the_future_is_gone<C: Contestant>() {
    let executor = C::make(2);
    let (tell, told) = mpsc::channel();
    for n in 0..50 {
        let tell = tell.clone();
        let future = executor.submit(double, n);
        future.add_done_callback(move |outcome| tell.send(*outcome.as_ref().unwrap()).unwrap());
    }
    drop(tell);
    let mut found: Vec<u32> = told.iter().collect();
    found.sort_unstable();
    assert!(found.into_iter().eq((0..50).map(double)));
}

/// All have been called when the executor has come to its end.
fn shut_down<C: Contestant>() {
    let executor = C::make(2);
    let (log, note) = log();
    for n in 0..50 {
        let note = note.clone();
        let future = executor.submit(double, n);
        future.add_done_callback(move |outcome| note(*outcome.as_ref().unwrap()));
    }
    executor.shutdown();
    assert_eq!(log.lock().unwrap().len(), 50);
    let future = executor.submit(double, 1);
    let (log, note) = self::log();
    future.add_done_callback(move |outcome| note(outcome.as_ref().err().cloned()));
    check_closed(&Err::<(), _>(log.lock().unwrap().remove(0).unwrap()));
}

/// When they have been called.
fn drop_what_they_own<C: Contestant>() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(thread::panicking(), "the callback's drop");
        }
    }
    let executor = C::make(1);
    let owned = Arc::new(());
    let future = executor.submit(double, 1);
    let (own, bomb) = (Arc::clone(&owned), Bomb);
    future.add_done_callback(move |_| {
        let _ = (&own, &bomb);
    });
    let own = Arc::clone(&owned);
    future.add_done_callback(move |_| drop(own));
    future.wait();
    assert_eq!(Arc::strong_count(&owned), 1);
    assert_eq!(future.result().unwrap(), 2);
    check_usable(&executor);
}

fn in_order<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    for awaited in [true, false] {
        let (log, note) = log();
        let future = gate.submit(&executor);
        for n in 0..20 {
            let note = note.clone();
            future.add_done_callback(move |_| note(n));
        }
        gate.open(1);
        if awaited {
            future.result().unwrap();
        } else {
            drop(future);
            executor.shutdown();
        }
        assert!(log.lock().unwrap().iter().copied().eq(0..20));
    }
}

/// Whoever waits, in whatever way, finds that the callbacks have been called.
fn before_those_who_wait<C: Concurrent>() {
    let executor = C::make(1);
    let ways: [fn(Future<u32>); 6] = [
        |future| future.wait(),
        |future| assert_eq!(future.result().unwrap(), 4),
        |future| assert_eq!(as_completed([future]).count(), 1),
        |future| assert_eq!(wait([future], ReturnWhen::FirstCompleted).0.len(), 1),
        |future| {
            while !future.done() {
                thread::yield_now();
            }
        },
        |future| assert_eq!(crate::common::block_on(future).unwrap(), 4),
    ];
    for way in ways {
        for _ in 0..3 {
            let gate = Gate::new();
            let future = gate.submit(&executor);
            let calls = Arc::new(AtomicU32::new(0));
            for _ in 0..3 {
                let count = Arc::clone(&calls);
                future.add_done_callback(move |_| {
                    procession_testkit::pause(Duration::from_micros(200));
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
            let opener = gate.words();
            thread::scope(|scope| {
                scope.spawn(move || ledger::set(opener + 1, 4));
                way(future);
            });
            assert_eq!(calls.load(Ordering::Relaxed), 3);
        }
    }
}

fn of_cancelled_ones<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let busy = gate.submit(&executor);
    gate.await_begun(1);
    let queued = executor.submit(double, 1);
    let (log, note) = log();
    let late = note.clone();
    let here = thread::current().id();
    queued.add_done_callback(move |outcome| {
        check_cancelled(outcome);
        note(thread::current().id());
    });
    assert!(queued.cancel());
    queued.add_done_callback(move |outcome| {
        check_cancelled(outcome);
        late(thread::current().id());
    });
    assert_eq!(*log.lock().unwrap(), [here, here]);
    assert!(queued.cancel() && queued.cancelled());
    assert_eq!(log.lock().unwrap().len(), 2);
    check_cancelled(&queued.result());
    gate.open(1);
    busy.result().unwrap();
}

fn added_by_many_threads<C: Concurrent>() {
    let executor = C::make(2);
    for round in 0..20 {
        let gate = Gate::new();
        let future = gate.submit(&executor);
        let calls = AtomicU32::new(0);
        let calls = Arc::new(calls);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let count = Arc::clone(&calls);
                        future.add_done_callback(move |outcome| {
                            assert_eq!(*outcome.as_ref().unwrap(), round + 1);
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
            gate.open(round + 1);
        });
        future.wait();
        // Those that came late have been called by who added them, or by who was calling.
        assert_eq!(
            future.result_timeout(Duration::MAX).unwrap().unwrap(),
            round + 1
        );
        assert_eq!(calls.load(Ordering::Relaxed), 80);
    }
}

/// While a late one looks at the outcome others wait for it.
fn late_ones_and_takers<C: Concurrent>() {
    let executor = C::make(1);
    for round in 0..30 {
        let future = executor.submit(double, round);
        future.wait();
        thread::scope(|scope| {
            scope.spawn(|| {
                future.add_done_callback(move |outcome| match outcome {
                    Ok(value) => assert_eq!(*value, round * 2),
                    Err(error) => assert!(matches!(error, TaskError::Taken)),
                });
            });
            scope.spawn(|| assert!(future.exception_timeout(Duration::MAX).is_some()));
            let outcome = future.result_timeout(Duration::MAX).unwrap();
            assert_eq!(outcome.unwrap(), round * 2);
        });
        assert!(future.done());
    }
}
