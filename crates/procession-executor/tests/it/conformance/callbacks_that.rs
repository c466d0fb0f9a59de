//! What callbacks of futures may do.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use procession_executor::{Executor, Future, ReturnWhen, TaskError, as_completed, wait};
use procession_testkit::{Case, ledger};

use super::callbacks::log;
use super::{Concurrent, Contestant, suite};
use crate::common::{Gate, check_cancelled, check_usable, double, note};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "callbacks": that_panic, that_submit, that_map, that_drop_the_executor]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "callbacks":
        that_wait_for_others, that_wait_for_their_own, that_add_another, that_cancel, that_shut_down,
        that_look_at_their_own,
    ]
}

pub(crate) fn killing<C: Concurrent>() -> Vec<Case> {
    suite![C, "callbacks": that_kill]
}

/// F02, F89.
fn that_panic<C: Contestant>() {
    let executor = C::make(1);
    for _ in 0..3 {
        let future = executor.submit(double, 4);
        let (log, note) = log();
        let again = note.clone();
        future.add_done_callback(|_| panic!("the callback's panic"));
        future.add_done_callback(move |outcome| note(*outcome.as_ref().unwrap()));
        future.add_done_callback(|_| std::panic::panic_any(String::from("the callback's panic")));
        future.wait();
        // After the fact, in this thread.
        future.add_done_callback(|_| panic!("the callback's panic"));
        future.add_done_callback(move |outcome| again(*outcome.as_ref().unwrap()));
        assert_eq!(*log.lock().unwrap(), [8, 8]);
        assert_eq!(future.result().unwrap(), 8);
        check_usable(&executor);
    }
}

/// Each finished one submits the next: by its end 100 have run.
fn that_submit<C: Contestant>() {
    fn next(
        executor: &Arc<impl Executor + Send + Sync + 'static>,
        left: u32,
        tell: mpsc::Sender<u32>,
    ) {
        let again = Arc::clone(executor);
        let future = executor.submit(double, left);
        future.add_done_callback(move |outcome| match *outcome.as_ref().unwrap() {
            0 => {
                // The executor is dropped by who waits for this.
                drop(again);
                tell.send(0).unwrap();
            }
            _ => next(&again, left - 1, tell),
        });
    }
    let executor = Arc::new(C::make(2));
    let (tell, told) = mpsc::channel();
    next(&executor, 100, tell);
    assert_eq!(told.recv(), Ok(0));
    check_usable(&executor);
}

fn that_map<C: Contestant>() {
    let executor = Arc::new(C::make(2));
    let (tell, told) = mpsc::channel();
    let future = executor.submit(double, 1);
    let own = Arc::clone(&executor);
    future.add_done_callback(move |_| {
        let sum: u32 = own
            .chunksize(7)
            .map(double, 0..100)
            .map(Result::unwrap)
            .sum();
        let other: u32 = own.map_unordered(double, 0..100).map(Result::unwrap).sum();
        let futures: Vec<_> = (0..10).map(|n| own.submit(double, n)).collect();
        let third: u32 = as_completed(futures)
            .map(|future| future.result().unwrap())
            .sum();
        drop(own);
        tell.send((sum, other, third)).unwrap();
    });
    assert_eq!(told.recv(), Ok((9900, 9900, 90)));
    assert_eq!(future.result().unwrap(), 2);
}

/// The last one who has it goes with the callback: nobody waits then.
fn that_drop_the_executor<C: Contestant>() {
    for is_kept in [true, false] {
        let executor = C::make(2);
        let word = ledger::reserve(1);
        let (tell, told) = mpsc::channel();
        let gate = Gate::new();
        gate.open(1);
        let first = gate.submit(&executor);
        let behind: Vec<_> = (0..20).map(|_| executor.submit(note, word)).collect();
        first.add_done_callback(move |_| {
            drop(executor);
            tell.send(()).unwrap();
        });
        if is_kept {
            first.wait();
        }
        told.recv().unwrap();
        if is_kept {
            for future in behind {
                future.result().unwrap();
            }
        } else {
            drop((first, behind));
        }
        // Whatever was submitted is finished.
        ledger::wait_for(word, 20);
    }
}

fn that_wait_for_others<C: Concurrent>() {
    let executor = C::make(2);
    let (tell, told) = mpsc::channel();
    for n in 0..20_u32 {
        let gate = Gate::new();
        let (first, other) = (gate.submit(&executor), executor.submit(double, n));
        let tell = tell.clone();
        first.add_done_callback(move |_| tell.send(other.result().unwrap()).unwrap());
        gate.open(1);
        if n % 2 == 0 {
            first.result().unwrap();
        }
        assert_eq!(told.recv(), Ok(n * 2));
    }
}

/// An error, where it would wait for itself.
fn that_wait_for_their_own<C: Concurrent>() {
    let executor = C::make(1);
    for is_kept in [true, false] {
        let gate = Gate::new();
        let future = Arc::new(gate.submit(&executor));
        let (tell, told) = mpsc::channel();
        let own = Arc::clone(&future);
        future.add_done_callback(move |outcome| {
            assert_eq!(*outcome.as_ref().unwrap(), 6);
            own.wait();
            let in_time = own.wait_timeout(Duration::from_secs(3600));
            let found = own.result_timeout(Duration::from_secs(3600));
            let error = own.exception();
            let (done, _) = (own.done(), own.cancel());
            drop(own);
            tell.send((in_time, found, error, done)).unwrap();
        });
        gate.open(6);
        if is_kept {
            future.wait();
        }
        let (in_time, found, error, done) = told.recv().unwrap();
        assert!(!in_time && found.is_none() && !done);
        assert!(matches!(error, Some(TaskError::InCallback)), "{error:?}");
        future.wait();
        let future = Arc::into_inner(future).expect("the callback has dropped its own");
        assert_eq!(future.result().unwrap(), 6);
    }
    // By value, and among others.
    let gate = Gate::new();
    let future = gate.submit(&executor);
    let canceller = future.canceller();
    let place = Arc::new(Mutex::new(None));
    let (tell, told) = mpsc::channel();
    let own = Arc::clone(&place);
    future.add_done_callback(move |_| {
        let own: Future<u32> = own.lock().unwrap().take().unwrap();
        let (done, not_done) = wait([own, Future::ready(Ok(1))], ReturnWhen::AllCompleted);
        assert_eq!((done.len(), not_done.len()), (1, 1));
        let mut under_way = as_completed(not_done.into_iter().chain(done));
        let ready = under_way.next().unwrap().result();
        assert!(under_way.next().is_none());
        let own = under_way.into_pending().remove(0);
        tell.send((ready, own.result())).unwrap();
    });
    *place.lock().unwrap() = Some(future);
    gate.open(6);
    let (ready, own) = told.recv().unwrap();
    assert_eq!(ready.unwrap(), 1);
    assert!(matches!(own, Err(TaskError::InCallback)), "{own:?}");
    while !canceller.done() {
        thread::yield_now();
    }
}

/// It is called, too, after those that were there.
fn that_add_another<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let future = Arc::new(gate.submit(&executor));
    let (log, note) = log();
    let own = Arc::clone(&future);
    let first = note.clone();
    future.add_done_callback(move |_| {
        first(1);
        let inner = first.clone();
        own.add_done_callback(move |outcome| {
            assert_eq!(*outcome.as_ref().unwrap(), 4);
            inner(3);
        });
    });
    future.add_done_callback(move |_| note(2));
    gate.open(4);
    future.wait();
    assert_eq!(*log.lock().unwrap(), [1, 2, 3]);
    // Late, and within a late one.
    let (own, late) = (Arc::clone(&future), Arc::clone(&log));
    future.add_done_callback(move |_| {
        let inner = Arc::clone(&late);
        own.add_done_callback(move |_| inner.lock().unwrap().push(5));
        late.lock().unwrap().push(4);
    });
    assert_eq!(*log.lock().unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(future.result_timeout(Duration::MAX).unwrap().unwrap(), 4);
}

fn that_cancel<C: Concurrent>() {
    let executor = C::make(1);
    let gates = [Gate::new(), Gate::new()];
    let first = gates[0].submit(&executor);
    // Keeps the others from running meanwhile.
    let second = gates[1].submit(&executor);
    let queued: Vec<_> = (0..20).map(|n| executor.submit(double, n)).collect();
    let cancellers: Vec<_> = queued.iter().map(Future::canceller).collect();
    let (tell, told) = mpsc::channel();
    first.add_done_callback(move |_| {
        let cancelled = cancellers.iter().filter(|canceller| canceller.cancel());
        tell.send(cancelled.count()).unwrap();
    });
    gates[0].open(1);
    assert_eq!(told.recv(), Ok(20));
    for future in queued {
        assert!(future.cancelled());
        check_cancelled(&future.result());
    }
    gates[1].open(1);
    first.result().unwrap();
    second.result().unwrap();
}

/// What runs, and what waits behind it.
fn that_kill<C: Concurrent>() {
    for awaited in [true, false] {
        let executor = C::make(2);
        let gates = [Gate::new(), Gate::new()];
        let (first, running) = (gates[0].submit(&executor), gates[1].submit(&executor));
        gates.iter().for_each(|gate| gate.await_begun(1));
        let (tell, told) = mpsc::channel();
        first.add_done_callback(move |_| {
            let killed = running.kill();
            let outcome = running.result_timeout(Duration::ZERO);
            tell.send((killed, outcome)).unwrap();
        });
        gates[0].open(1);
        if awaited {
            first.wait();
        }
        let (killed, outcome) = told.recv().unwrap();
        assert_eq!((killed, outcome.is_some()), (C::CAN_KILL, C::CAN_KILL));
        if let Some(outcome) = outcome {
            check_cancelled(&outcome);
        }
        gates[1].open(1);
        assert_eq!(first.result().unwrap(), 1);
        check_usable(&executor);
    }
}

/// F90: it does not wait there.
fn that_shut_down<C: Concurrent>() {
    type End<E> = fn(&E);
    let ends: [End<C::Executor>; 5] = [
        |executor| executor.shutdown(),
        |executor| {
            let _ = executor.shutdown_timeout(Duration::from_secs(3600));
        },
        |executor| executor.shutdown_now(),
        |executor| executor.shutdown_no_wait(),
        |executor| {
            executor.shutdown_now();
            executor.shutdown();
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        for awaited in [true, false] {
            let executor = Arc::new(C::make(1));
            let gates = [Gate::new(), Gate::new()];
            let first = gates[0].submit(&executor);
            let second = gates[1].submit(&executor);
            let behind: Vec<_> = (0..20).map(|n| executor.submit(double, n)).collect();
            let (tell, told) = mpsc::channel();
            let own = Arc::clone(&executor);
            first.add_done_callback(move |_| {
                end(&own);
                let refused = own.try_submit(double, 1).is_err();
                drop(own);
                tell.send(refused).unwrap();
            });
            gates[0].open(1);
            if awaited {
                first.wait();
            }
            assert_eq!(told.recv(), Ok(true), "it takes no more");
            gates[1].open(2);
            first.result().unwrap();
            let outcome = second.result();
            // It may have begun before the end of the first was noticed.
            let is_cut = matches!(number, 2 | 4);
            let is_held = outcome.is_ok();
            match outcome {
                Ok(value) => assert_eq!(value, 2),
                Err(TaskError::Cancelled) if is_cut => {}
                other => panic!("{other:?}"),
            }
            for (n, future) in (0..).zip(behind) {
                match future.result() {
                    // Where the second one was cancelled, the worker may have begun one behind it before
                    // that was.
                    Ok(value) if !is_cut || !is_held => assert_eq!(value, n * 2),
                    outcome => check_cancelled(&outcome),
                }
            }
            executor.shutdown();
        }
    }
}

/// F06 within: not done before its callbacks are over.
fn that_look_at_their_own<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let future = gate.submit(&executor);
    let canceller = future.canceller();
    let (tell, told) = mpsc::channel();
    future.add_done_callback(move |_| {
        let found = (
            canceller.done(),
            canceller.cancelled(),
            canceller.cancel(),
            canceller.kill(),
        );
        tell.send(found).unwrap();
    });
    gate.open(1);
    assert_eq!(told.recv(), Ok((false, false, false, false)));
    future.wait();
    assert!(future.done() && !future.running());
    assert_eq!(future.result().unwrap(), 1);
}
