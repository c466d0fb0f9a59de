//! `max_pending`: so many futures without an outcome, and no more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use procession_executor::{
    Executor, Future, Handle, ReturnWhen, TaskError, TrySubmitError, as_completed, wait,
};
use procession_testkit::{Case, ledger, pause};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Concurrent, Contestant, suite};
use crate::common::{Gate, check_closed, check_usable, double, note, panics};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "limit": places_come_back, of_none_is_one, maps, texts]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "limit":
        says_no, waits, never_more, counted_anew, callbacks_go_beyond, many_threads,
        maps_wait_for_places, freed_by_cancel, gone_futures_count, while_it_shuts_down,
    ]
}

fn limited(executor: &impl Executor, most: usize) -> Handle {
    executor.handle().clone().with_max_pending(most)
}

/// An item that cannot be encoded.
#[derive(Debug)]
struct Unsent;

impl Serialize for Unsent {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

impl<'de> Deserialize<'de> for Unsent {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Unsent)
    }
}

/// However a future ends: with a limit of one, the next is refused if it does not.
fn places_come_back<C: Contestant>() {
    let executor = C::make(1);
    let one = limited(&executor, 1);
    for _ in 0..3 {
        assert_eq!(one.try_submit(double, 1).unwrap().result().unwrap(), 2);
        let failed = one.try_submit(panics, 1).unwrap();
        failed.wait();
        let unsent = one.try_submit(|_: Unsent| (), Unsent).unwrap();
        assert!(matches!(unsent.exception(), Some(TaskError::ItemEncode(_))));
        let waited = one.try_submit(double, 2).unwrap();
        assert_eq!(as_completed([waited]).count(), 1);
        let waited = one.try_submit(double, 2).unwrap();
        assert_eq!(wait([waited], ReturnWhen::FirstException).0.len(), 1);
        let waited = one.try_submit(double, 2).unwrap();
        assert_eq!(crate::common::block_on(waited).unwrap(), 4);
        assert_eq!(one.map(double, 0..10).filter(Result::is_ok).count(), 10);
        let unsent = one
            .chunksize(2)
            .map(|_: Unsent| (), [Unsent, Unsent, Unsent]);
        assert_eq!(unsent.filter(Result::is_err).count(), 3);
        assert_eq!(one.map(double, []).count(), 0);
        drop(one.chunksize(3).map(double, 0..10));
        check_usable(&one);
    }
    executor.shutdown();
    for _ in 0..3 {
        check_closed(&one.submit(double, 1).result());
        let refused = one.try_submit(double, 5);
        assert!(matches!(
            refused,
            Err(TrySubmitError::Closed(5, TaskError::Closed))
        ));
        one.map(double, 0..3)
            .for_each(|outcome| check_closed(&outcome));
    }
}

fn of_none_is_one<C: Contestant>() {
    let executor = C::make(1);
    let none = limited(&executor, 0);
    assert_eq!(none.try_submit(double, 1).unwrap().result().unwrap(), 2);
    check_usable(&none);
}

fn maps<C: Contestant>() {
    let executor = C::make(2);
    for most in [1, 2, 5] {
        for chunksize in [1, 3, 50] {
            let handle = limited(&executor, most).chunksize(chunksize);
            let found = handle.map(double, 0..60);
            assert!(found.map(Result::unwrap).eq((0..60).map(double)));
            let mut found: Vec<_> = handle
                .map_unordered(double, 0..60)
                .map(Result::unwrap)
                .collect();
            found.sort_unstable();
            assert!(found.into_iter().eq((0..60).map(double)));
        }
    }
}

fn texts<C: Contestant>() {
    let full = TrySubmitError::Full(1_u32);
    assert!(!full.to_string().is_empty() && format!("{full:?}") == "Full(..)");
    assert_eq!(full.into_item(), 1);
    let executor = C::make(1);
    executor.shutdown();
    let closed = executor.try_submit(double, 3).unwrap_err();
    assert!(format!("{closed:?}").starts_with("Closed(.."));
    assert_eq!(closed.to_string(), TaskError::Closed.to_string());
    let closed = executor
        .submit_timeout(double, 3, Duration::ZERO)
        .unwrap_err();
    assert_eq!(closed.into_item(), 3);
    let closed = executor
        .submit_deadline(double, 4, Instant::now())
        .unwrap_err();
    assert_eq!(closed.into_item(), 4);
}

#[track_caller]
fn check_full(outcome: Result<Future<u32>, TrySubmitError<u32>>, item: u32) {
    let refused = outcome.unwrap_err();
    assert!(matches!(refused, TrySubmitError::Full(_)), "{refused:?}");
    assert_eq!(refused.into_item(), item);
}

fn says_no<C: Concurrent>() {
    let executor = C::make(1);
    let two = limited(&executor, 2);
    let gates = [Gate::new(), Gate::new()];
    let futures = gates.each_ref().map(|gate| gate.submit(&two));
    let (tiny, long_ago) = (Duration::from_millis(2), Instant::now());
    for n in 0..5 {
        check_full(two.try_submit(double, n), n);
        check_full(two.submit_timeout(double, n, Duration::ZERO), n);
        check_full(two.submit_timeout(double, n, tiny), n);
        check_full(two.submit_deadline(double, n, long_ago), n);
        check_full(two.submit_deadline(double, n, Instant::now() + tiny), n);
        check_full(two.clone().chunksize(3).try_submit(double, n), n);
    }
    // Without the limit.
    let [first, second] = futures;
    let beside = executor.try_submit(double, 1).unwrap();
    gates[0].open(1);
    first.result().unwrap();
    let third = two.try_submit(double, 1).unwrap();
    check_full(two.try_submit(double, 1), 1);
    gates[1].open(1);
    for future in [second, beside, third] {
        future.result().unwrap();
    }
    two.try_submit(double, 1).unwrap().result().unwrap();
}

fn waits<C: Concurrent>() {
    let executor = C::make(1);
    let one = limited(&executor, 1);
    let submits: [fn(&Handle, u32) -> Future<u32>; 3] = [
        |handle, n| handle.submit(double, n),
        |handle, n| handle.submit_timeout(double, n, Duration::MAX).unwrap(),
        |handle, n| {
            let deadline = Instant::now() + Duration::from_secs(3600);
            handle.submit_deadline(double, n, deadline).unwrap()
        },
    ];
    for (n, submit) in (0..).zip(submits) {
        let gate = Gate::new();
        let first = gate.submit(&one);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let one = &one;
            scope.spawn(move || {
                let second = submit(one, n);
                tell.send(()).unwrap();
                assert_eq!(second.result().unwrap(), n * 2);
            });
            pause(Duration::from_millis(2));
            assert!(told.try_recv().is_err(), "there was no room");
            gate.open(1);
            told.recv().unwrap();
        });
        first.result().unwrap();
    }
    // Each waits for the one before, which nobody else looks at.
    let futures: Vec<_> = (0..100).map(|n| one.submit(double, n)).collect();
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
}

/// Four workers would take four.
fn never_more<C: Concurrent>() {
    let executor = C::make(4);
    let two = limited(&executor, 2);
    let gate = Gate::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    drop(gate.submit(&two));
                }
            });
        }
        gate.await_begun(2);
        pause(Duration::from_millis(5));
        assert_eq!(gate.begun(), 2);
        gate.open(1);
    });
    executor.shutdown();
    assert_eq!(gate.begun(), 20);
}

/// Clones share it, others do not.
fn counted_anew<C: Concurrent>() {
    let executor = C::make(1);
    let one = limited(&executor, 1);
    let other = one.clone().with_max_pending(1);
    let clone = one.clone();
    let gate = Gate::new();
    let first = gate.submit(&one);
    check_full(clone.try_submit(double, 1), 1);
    let second = other.try_submit(double, 1).unwrap();
    check_full(other.try_submit(double, 1), 1);
    gate.open(1);
    first.result().unwrap();
    clone.try_submit(double, 1).unwrap().result().unwrap();
    second.result().unwrap();
}

/// It may be the callback for which a place would become free.
fn callbacks_go_beyond<C: Concurrent>() {
    let executor = C::make(2);
    let one = limited(&executor, 1);
    for awaited in [true, false] {
        let gate = Gate::new();
        let first = gate.submit(&one);
        let (tell, told) = mpsc::channel();
        let own = one.clone();
        first.add_done_callback(move |_| {
            let futures: Vec<_> = (0..10).map(|n| own.submit(double, n)).collect();
            let tried = own.try_submit(double, 10).unwrap();
            let sum: u32 = own.map(double, 0..10).map(Result::unwrap).sum();
            drop(own);
            tell.send((futures, tried, sum)).unwrap();
        });
        gate.open(1);
        if awaited {
            first.wait();
        }
        let (futures, tried, sum) = told.recv().unwrap();
        assert_eq!(sum, 90);
        for (n, future) in (0..).zip(futures) {
            assert_eq!(future.result().unwrap(), n * 2);
        }
        assert_eq!(tried.result().unwrap(), 20);
        first.result().unwrap();
        // As many places as before.
        let gate = Gate::new();
        let again = one.try_submit(Gate::pass, gate.words()).unwrap();
        check_full(one.try_submit(double, 1), 1);
        gate.open(1);
        again.result().unwrap();
    }
}

/// Nobody is forgotten.
fn many_threads<C: Concurrent>() {
    let executor = C::make(2);
    let few = limited(&executor, 3);
    let accepted = AtomicU32::new(0);
    thread::scope(|scope| {
        for number in 0..8 {
            let (few, accepted) = (&few, &accepted);
            scope.spawn(move || {
                for n in 0..40 {
                    let future = match (n + number) % 4 {
                        0 => few.submit(double, n),
                        1 => few.submit_timeout(double, n, Duration::MAX).unwrap(),
                        2 => match few.submit_timeout(double, n, Duration::from_micros(200)) {
                            Ok(future) => future,
                            Err(refused) => few.submit(double, refused.into_item()),
                        },
                        _ => match few.try_submit(double, n) {
                            Ok(future) => future,
                            Err(refused) => few.submit(double, refused.into_item()),
                        },
                    };
                    accepted.fetch_add(1, Ordering::Relaxed);
                    if n % 3 == 0 {
                        drop(future);
                    } else {
                        assert_eq!(future.result().unwrap(), n * 2);
                    }
                }
            });
        }
    });
    assert_eq!(accepted.load(Ordering::Relaxed), 320);
    executor.shutdown();
}

/// Without a place nothing is submitted, also no map; the input is not touched.
fn maps_wait_for_places<C: Concurrent>() {
    let executor = C::make(2);
    let one = limited(&executor, 1);
    for unordered in [false, true] {
        let gate = Gate::new();
        let first = gate.submit(&one);
        let taken = std::cell::Cell::new(0);
        let items = (0..20).inspect(|_| taken.set(taken.get() + 1));
        let hurried = one.map_timeout(Duration::from_millis(2));
        let mut map: Box<dyn Iterator<Item = _>> = match unordered {
            false => Box::new(hurried.map(double, items)),
            true => Box::new(hurried.map_unordered(double, items)),
        };
        assert_eq!(taken.get(), 0);
        assert!(matches!(map.next(), Some(Err(TaskError::Unfinished))));
        assert!(map.next().is_none() && taken.get() == 0);
        thread::scope(|scope| {
            let one = &one;
            scope.spawn(move || {
                let found = one.chunksize(1).map(double, 0..20);
                assert!(found.map(Result::unwrap).eq((0..20).map(double)));
            });
            gate.open(1);
        });
        first.result().unwrap();
    }
}

fn freed_by_cancel<C: Concurrent>() {
    let executor = C::make(1);
    let busy = Gate::new();
    let running = busy.submit(&executor);
    busy.await_begun(1);
    let one = limited(&executor, 1);
    for n in 0..10 {
        let queued = one.try_submit(double, n).unwrap();
        check_full(one.try_submit(double, n), n);
        assert!(queued.cancel());
    }
    for _ in 0..10 {
        drop(one.try_submit(double, 1).unwrap().cancel_on_drop());
        drop(one.chunksize(5).map(double, 0..5));
    }
    // Who waits for room is told.
    let queued = one.try_submit(double, 1).unwrap();
    thread::scope(|scope| {
        let next = scope.spawn(|| one.submit(double, 4));
        assert!(queued.cancel());
        let next = next.join().unwrap();
        busy.open(1);
        assert_eq!(next.result().unwrap(), 8);
    });
    running.result().unwrap();
}

/// A future that was dropped is still under way.
fn gone_futures_count<C: Concurrent>() {
    let executor = C::make(1);
    let one = limited(&executor, 1);
    let gate = Gate::new();
    drop(gate.submit(&one));
    check_full(one.try_submit(double, 1), 1);
    gate.open(1);
    // Nobody but this one notices that it ends.
    assert_eq!(one.submit(double, 1).result().unwrap(), 2);
    for n in 0..50 {
        drop(one.submit(double, n));
    }
    one.submit(double, 1).result().unwrap();
}

/// Who waits for room finds the executor closed.
fn while_it_shuts_down<C: Concurrent>() {
    let executor = C::make(1);
    let one = limited(&executor, 1);
    let word = ledger::reserve(1);
    let gate = Gate::new();
    let first = gate.submit(&one);
    let refused = Arc::new(AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            let (one, refused) = (&one, Arc::clone(&refused));
            scope.spawn(move || match one.submit(note, word).result() {
                Ok(()) => {}
                outcome => {
                    check_closed(&outcome);
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        executor.shutdown_no_wait();
        gate.open(1);
    });
    first.result().unwrap();
    executor.shutdown();
    assert_eq!(ledger::get(word) + refused.load(Ordering::Relaxed), 4);
}
