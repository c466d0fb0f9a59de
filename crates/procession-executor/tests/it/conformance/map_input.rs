//! What `map` takes from its input, and inputs that misbehave.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use procession_executor::{Executor, TaskError};
use procession_testkit::{Case, ledger, pause};
use serde::{Deserialize, Serialize, Serializer};

use super::{Concurrent, Contestant, suite};
use crate::common::{Gate, check_usable, double, occupy};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "map_input":
        taken_exactly, taken_in_whole_chunks, endless, panics, panics_at_once,
        cannot_be_encoded, dropped_with_the_map, uses_the_executor, endless_with_a_consumer_that_is_slow,
    ]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "map_input": taken_while_nothing_runs, slow_consumer, endless_in_time]
}

/// An input that counts what is taken from it.
fn counted(taken: &Cell<usize>) -> impl Iterator<Item = u32> {
    (0..).inspect(|_| taken.set(taken.get() + 1))
}

/// E05 of Python's tests.
fn taken_exactly<C: Contestant>() {
    let executor = C::make(2);
    for buffersize in [1, 2, 5] {
        for unordered in [false, true] {
            let taken = Cell::new(0);
            let view = executor.chunksize(1).buffersize(buffersize);
            let items = counted(&taken);
            let mut next: Box<dyn Iterator<Item = _>> = match unordered {
                false => Box::new(view.map(double, items)),
                true => Box::new(view.map_unordered(double, items)),
            };
            for asked in 0..20 {
                assert_eq!(taken.get(), buffersize + asked);
                next.next().unwrap().unwrap();
            }
        }
    }
    // As it is in Python's tests: nothing is taken after the end.
    let mut ints = 0..4;
    let map = executor.buffersize(2).map(double, ints.by_ref());
    drop(map);
    executor.shutdown();
    assert_eq!(ints.next(), Some(2));
}

fn taken_in_whole_chunks<C: Contestant>() {
    let executor = C::make(2);
    for (chunksize, buffersize, at_first) in [(3, 6, 6), (3, 8, 6), (3, 2, 3), (3, 1, 3), (4, 4, 4)]
    {
        let taken = Cell::new(0);
        let view = executor.chunksize(chunksize).buffersize(buffersize);
        let mut map = view.map(double, counted(&taken));
        assert_eq!(taken.get(), at_first);
        for n in 0..40 {
            assert_eq!(map.next().unwrap().unwrap(), n * 2);
            let handed_out = n as usize + 1;
            // As many whole chunks as there is room for, at least one.
            let most = handed_out + buffersize.max(chunksize);
            assert!(taken.get() <= most && taken.get().is_multiple_of(chunksize));
            assert!(taken.get() + chunksize > handed_out + buffersize);
            assert!(taken.get() > handed_out);
        }
    }
}

fn endless<C: Contestant>() {
    let executor = C::make(2);
    for view in [
        executor.handle().clone(),
        executor.buffersize(2),
        executor.chunksize(6),
        executor.chunksize(6).buffersize(2),
    ] {
        let found = view.map(double, 0..).take(200);
        assert!(found.map(Result::unwrap).eq((0..200).map(double)));
        let found = view.map_unordered(double, 0..).take(200);
        assert_eq!(found.filter(Result::is_ok).count(), 200);
    }
    check_usable(&executor);
}

/// After the outcomes of all that came before, and once.
fn panics<C: Contestant>() {
    let executor = C::make(2);
    for chunksize in [1, 3, 50] {
        for buffersize in [1, 1000] {
            let view = executor.chunksize(chunksize).buffersize(buffersize);
            let items = (0..).inspect(|n| assert!(*n != 10, "the input's panic"));
            let mut map = view.map(double, items);
            for n in 0..10 {
                assert_eq!(map.next().unwrap().unwrap(), n * 2);
            }
            let panicked = catch_unwind(AssertUnwindSafe(|| map.next().is_some())).unwrap_err();
            assert_eq!(panicked.downcast_ref(), Some(&"the input's panic"));
            assert!(map.next().is_none() && map.next().is_none());
        }
    }
    // One that is dropped before anybody has heard of it.
    drop(executor.map(
        double,
        (0..3).inspect(|n| assert!(*n != 1, "the input's panic")),
    ));
    check_usable(&executor);
}

fn panics_at_once<C: Contestant>() {
    let executor = C::make(1);
    let mut map = executor.map(double, (0..3).inspect(|_| panic!("the input's panic")));
    assert!(catch_unwind(AssertUnwindSafe(|| map.next().is_some())).is_err());
    assert!(map.next().is_none());
    check_usable(&executor);
}

/// Numbers of which some cannot be encoded.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Picky(u32);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 5 {
            0 => Err(serde::ser::Error::custom("no")),
            1 => panic!("the item's panic"),
            _ => serializer.serialize_u32(self.0),
        }
    }
}

fn cannot_be_encoded<C: Contestant>() {
    let executor = C::make(2);
    let check = |n: u32, outcome: Result<u32, TaskError>| match (n % 5, outcome) {
        (0 | 1, Err(TaskError::ItemEncode(_))) => {}
        (2.., Ok(found)) => assert_eq!(found, n),
        (_, other) => panic!("{n} came to {other:?}"),
    };
    for chunksize in [1, 3, 50] {
        for buffersize in [1, 4, 1000] {
            let view = executor.chunksize(chunksize).buffersize(buffersize);
            let outcomes: Vec<_> = view.map(|n: Picky| n.0, (0..42).map(Picky)).collect();
            assert_eq!(outcomes.len(), 42);
            for (n, outcome) in (0..).zip(outcomes) {
                check(n, outcome);
            }
            let outcomes = view.map_unordered(|n: Picky| n.0, (0..42).map(Picky));
            let (good, bad): (Vec<_>, Vec<_>) = outcomes.partition(Result::is_ok);
            assert_eq!((good.len(), bad.len()), (24, 18));
        }
    }
    // None can.
    let outcomes: Vec<_> = executor.map(|n: Picky| n.0, [0, 5, 6].map(Picky)).collect();
    assert_eq!(outcomes.len(), 3);
    for (n, outcome) in [0, 5, 6].into_iter().zip(outcomes) {
        check(n, outcome);
    }
    check_usable(&executor);
}

fn dropped_with_the_map<C: Contestant>() {
    let executor = C::make(1);
    let owned = Arc::new(());
    let own = Arc::clone(&owned);
    let mut map = executor
        .buffersize(2)
        .map(double, (0..).inspect(move |_| drop(Arc::clone(&own))));
    map.next().unwrap().unwrap();
    assert_eq!(Arc::strong_count(&owned), 2);
    drop(map);
    assert_eq!(Arc::strong_count(&owned), 1);
}

fn uses_the_executor<C: Contestant>() {
    let executor = C::make(2);
    let items = (0..20).map(|n| executor.submit(double, n).result().unwrap());
    let found = executor.chunksize(3).buffersize(6).map(double, items);
    assert!(found.map(Result::unwrap).eq((0..20).map(|n| n * 4)));
    // A map of a map.
    let inner = executor.map(double, 0..20).map(Result::unwrap);
    let outer = executor.map(double, inner);
    assert!(outer.map(Result::unwrap).eq((0..20).map(|n| n * 4)));
}

/// Outcomes are always there when they are asked for, but the time is up.
fn endless_with_a_consumer_that_is_slow<C: Contestant>() {
    let executor = C::make(1);
    let hurried = executor.map_timeout(Duration::from_millis(3)).buffersize(4);
    for unordered in [false, true] {
        let mut map: Box<dyn Iterator<Item = _>> = match unordered {
            false => Box::new(hurried.map(double, 0..)),
            true => Box::new(hurried.map_unordered(double, 0..)),
        };
        let mut is_over = false;
        for outcome in map.by_ref().take(2000) {
            pause(Duration::from_micros(100));
            is_over = match outcome {
                Ok(_) => continue,
                Err(error) => matches!(error, TaskError::Unfinished),
            };
            break;
        }
        assert!(is_over && map.next().is_none());
    }
}

fn taken_while_nothing_runs<C: Concurrent>() {
    let executor = C::make(2);
    let (busy, gate) = occupy(&executor, 2);
    let taken = Cell::new(0);
    let mut map = executor
        .chunksize(1)
        .buffersize(3)
        .map(double, counted(&taken));
    assert_eq!(taken.get(), 3);
    let tiny = Duration::from_millis(2);
    assert!(!busy[0].wait_timeout(tiny));
    assert_eq!(taken.get(), 3);
    gate.open(1);
    map.next().unwrap().unwrap();
    assert_eq!(taken.get(), 4);
    drop(map);
}

/// However long the consumer takes, no more is taken.
fn slow_consumer<C: Concurrent>() {
    let executor = C::make(2);
    let ran = ledger::reserve(1);
    let taken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&taken);
    let items = (0..).map(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        ran
    });
    let mut map = executor.chunksize(1).buffersize(4).map(ledger::note, items);
    for handed_out in 1..20 {
        map.next().unwrap().unwrap();
        ledger::wait_for(ran, handed_out + 4);
        assert_eq!(taken.load(Ordering::Relaxed), handed_out + 4);
        assert_eq!(ledger::get(ran), handed_out + 4);
    }
}

/// An endless input ends when the time is up.
fn endless_in_time<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let items = std::iter::repeat_with(|| gate.words());
    let mut map = executor
        .map_timeout(Duration::from_millis(3))
        .map(Gate::pass, items);
    assert!(matches!(map.next(), Some(Err(TaskError::Unfinished))));
    assert!(map.next().is_none());
    gate.open(1);
}
