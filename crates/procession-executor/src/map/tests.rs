//! How far ahead a map goes, and what it hands out.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use procession_pool::TaskError;
use serde::{Deserialize, Serialize, Serializer};

use crate::executor::Executor;
use crate::inline::InlineExecutor;
use crate::manual::Manual;
use crate::threads::ThreadPoolExecutor;

fn same(n: u32) -> u32 {
    n
}

/// An iterator, and how many items it has given.
fn counted(most: u32) -> (impl Iterator<Item = u32>, Rc<Cell<u32>>) {
    let taken = Rc::new(Cell::new(0));
    let count = Rc::clone(&taken);
    let items = (0..most).inspect(move |_| count.set(count.get() + 1));
    (items, taken)
}

#[test]
fn is_the_same_whatever_the_chunks() {
    let executor = ThreadPoolExecutor::with_workers(4).unwrap();
    let expected: Vec<u32> = (0..500).collect();
    for chunksize in [0, 1, 7, 499, 500, 501] {
        for buffersize in [0, 1, 100, 10_000] {
            let tuned = executor.chunksize(chunksize).buffersize(buffersize);
            let values: Result<Vec<_>, _> = tuned.map(same, 0..500).collect();
            assert_eq!(values.unwrap(), expected, "{chunksize} {buffersize}");
            let values = tuned.map_unordered(same, 0..500);
            let mut values = values.collect::<Result<Vec<_>, _>>().unwrap();
            values.sort_unstable();
            assert_eq!(values, expected, "{chunksize} {buffersize}");
        }
    }
    let values: Result<Vec<_>, _> = executor.map(same, 0..20_000).collect();
    assert!(values.unwrap().into_iter().eq(0..20_000));
    assert_eq!(executor.map(same, []).count(), 0);
}

#[test]
fn takes_as_many_as_it_may() {
    let (manual, handle) = Manual::new();
    let (items, taken) = counted(100);
    let mut map = handle.buffersize(2).map(same, items);
    assert_eq!(taken.get(), 2);
    for n in 0..10 {
        manual.run(0);
        assert_eq!(map.next().unwrap().unwrap(), n);
        assert_eq!(taken.get(), n + 3);
    }
    let (items, taken) = counted(100);
    let _map = handle.buffersize(10).chunksize(4).map(same, items);
    assert_eq!(taken.get(), 8);
    let (items, taken) = counted(100);
    let _map = handle.buffersize(3).chunksize(4).map(same, items);
    assert_eq!(taken.get(), 4);
    let (items, taken) = counted(1000);
    let _map = handle.map(same, items);
    assert_eq!(taken.get(), 64);
}

#[test]
fn runs_without_being_asked() {
    let (manual, handle) = Manual::new();
    let map = handle.map(same, 0..10);
    assert_eq!((manual.len(), map.size_hint()), (10, (10, Some(10))));
}

#[test]
fn errors_stand_at_their_places() {
    let executor = InlineExecutor::new();
    for chunksize in [1, 3, 10] {
        let tuned = executor.chunksize(chunksize);
        let outcomes = tuned.map(|n: u32| 12 / (n % 3), 0..7);
        let values: Vec<_> = outcomes.map(Result::ok).collect();
        let expected = [None, Some(12), Some(6)];
        let expected: Vec<_> = expected.into_iter().cycle().take(7).collect();
        assert_eq!(values, expected);
    }
}

#[derive(Deserialize)]
struct Odd(u32);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 2 {
            0 => Err(serde::ser::Error::custom("even")),
            _ => self.0.serialize(serializer),
        }
    }
}

#[test]
fn items_that_cannot_be_encoded_have_their_places_too() {
    let executor = InlineExecutor::new();
    for chunksize in [1, 4] {
        let tuned = executor.chunksize(chunksize);
        let outcomes: Vec<_> = tuned.map(|odd: Odd| odd.0, (0..6).map(Odd)).collect();
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(value) => assert!(n % 2 == 1 && value == n),
                Err(error) => assert!(n % 2 == 0 && matches!(error, TaskError::ItemEncode(_))),
            }
        }
    }
}

#[test]
fn a_panic_of_the_items_comes_after_those_before() {
    let executor = InlineExecutor::new();
    let items = || (0..10).inspect(|n| assert!(*n < 5, "for the test of items"));
    for chunksize in [1, 3] {
        let mut map = executor.chunksize(chunksize).map(same, items());
        let values: Vec<_> = map.by_ref().take(5).flatten().collect();
        assert_eq!(values, [0, 1, 2, 3, 4]);
        assert!(catch_unwind(AssertUnwindSafe(|| map.next())).is_err());
        assert!(map.next().is_none());
    }
}

#[test]
fn ends_when_its_time_is_up() {
    let (manual, handle) = Manual::new();
    let mut map = handle.map_timeout(Duration::ZERO).map(same, 0..4);
    assert_eq!(map.size_hint(), (0, Some(4)));
    manual.run(0);
    assert!(matches!(map.next(), Some(Ok(0))));
    assert!(matches!(map.next(), Some(Err(TaskError::Unfinished))));
    assert_eq!(manual.len(), 0);
    assert!(map.next().is_none());

    let handle = handle.buffersize(2).with_max_pending(1);
    let _future = handle.submit(same, 1);
    let mut map = handle.map_timeout(Duration::ZERO).map(same, 0..4);
    assert!(matches!(map.next(), Some(Err(TaskError::Unfinished))));
    assert!(map.next().is_none());
}

#[test]
fn drop_cancels_what_has_not_begun() {
    for unordered in [false, true] {
        let (manual, handle) = Manual::new();
        let map = match unordered {
            false => handle.chunksize(2).map(same, 0..10),
            true => handle.chunksize(2).map_unordered(same, 0..10),
        };
        assert_eq!(manual.len(), 5);
        drop(map);
        assert_eq!(manual.len(), 0);
    }
}

#[test]
fn unordered_comes_as_it_comes() {
    let (manual, handle) = Manual::new();
    let mut map = handle.map_unordered(same, 0..4);
    for at in [2, 0, 1] {
        manual.run(at);
    }
    let values: Vec<_> = map.by_ref().take(3).flatten().collect();
    assert_eq!(values, [2, 0, 3]);
}

#[test]
fn a_limit_lets_it_go_on() {
    let executor = ThreadPoolExecutor::builder().workers(2).max_pending(1);
    let executor = executor.build().unwrap();
    let values: Result<Vec<_>, _> = executor.map(same, 0..100).collect();
    assert!(values.unwrap().into_iter().eq(0..100));
    // The place that it took for an end that was not known is free again.
    assert!(executor.try_submit(same, 1).is_ok());
}

#[test]
fn the_end_of_the_executor_is_an_error_of_each_item() {
    let executor = InlineExecutor::new();
    let map = executor.buffersize(2).map(same, 0..5);
    executor.shutdown();
    let outcomes: Vec<_> = map
        .map(|outcome| outcome.map_err(|error| error.to_string()))
        .collect();
    let closed = Err(TaskError::Closed.to_string());
    assert_eq!(outcomes[..2], [Ok(0), Ok(1)]);
    assert!(outcomes[2..].iter().all(|outcome| *outcome == closed));
    assert_eq!(outcomes.len(), 5);
}
