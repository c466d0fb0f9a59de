//! `as_completed`: in the order in which they are completed.

use std::thread;
use std::time::Duration;

use procession_executor::{
    Executor, Future, InlineExecutor, ReturnWhen, TaskError, ThreadPoolExecutor, as_completed, wait,
};
use procession_testkit::Case;

use super::{Concurrent, Contestant, suite};
use crate::common::{Gate, check_cancelled, check_usable, double, panics};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "completed":
        nothing, each_once, done_ones_first, pushed, lengths, dropped_half_way, with_failed_ones,
        no_reference_is_kept, ready_ones_only,
    ]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "completed":
        in_order, no_time, some_time, cancelled_ones, pushed_while_waiting, of_two_executors,
        in_many_threads, a_set_that_is_never_empty, finished_while_nobody_looked, twice,
        moved_to_another_thread,
    ]
}

/// Gates, and a future at each.
fn gated(executor: &impl Executor, count: usize) -> (Vec<Gate>, Vec<Future<u32>>) {
    let gates: Vec<Gate> = (0..count).map(|_| Gate::new()).collect();
    let futures = gates.iter().map(|gate| gate.submit(executor)).collect();
    (gates, futures)
}

fn nothing<C: Contestant>() {
    let mut none = as_completed(Vec::<Future<u32>>::new());
    assert!(none.is_empty() && none.next().is_none());
    assert!(none.next().is_none() && none.unfinished().is_none());
    assert!(none.into_pending().is_empty());
    let mut none = as_completed(None::<Future<u32>>).timeout(Duration::ZERO);
    assert!(none.next().is_none() && none.unfinished().is_none());
}

fn each_once<C: Contestant>() {
    let executor = C::make(2);
    let futures: Vec<_> = (0..300).map(|n| executor.submit(double, n)).collect();
    let mut found: Vec<u32> = as_completed(futures).map(|f| f.result().unwrap()).collect();
    found.sort_unstable();
    assert!(found.into_iter().eq((0..300).map(double)));
}

/// In the order in which they were given.
fn done_ones_first<C: Contestant>() {
    let executor = C::make(2);
    let futures: Vec<_> = (0..20).map(|n| executor.submit(double, n)).collect();
    futures.iter().for_each(Future::wait);
    let found = as_completed(futures).map(|future| {
        assert!(future.done());
        future.result().unwrap()
    });
    assert!(found.eq((0..20).map(double)));
}

fn pushed<C: Contestant>() {
    let executor = C::make(2);
    let mut under_way = as_completed([executor.submit(double, 1)]);
    let mut found = Vec::new();
    while let Some(future) = under_way.next() {
        let value = future.result().unwrap();
        found.push(value);
        if value < 10_000 {
            under_way.push(executor.submit(double, value));
        }
    }
    assert!(found.into_iter().eq((1..15).map(|n| 1 << n)));
    // Also after it was empty.
    assert!(under_way.next().is_none());
    under_way.push(executor.submit(double, 2));
    under_way.push(Future::ready(Ok(4)));
    assert!(under_way.map(|future| future.result().unwrap()).eq([4, 4]));
}

fn lengths<C: Contestant>() {
    let executor = C::make(2);
    let mut under_way = as_completed((0..10).map(|n| executor.submit(double, n)));
    for left in (0..10).rev() {
        let now = under_way.len();
        assert_eq!(under_way.size_hint(), (now, Some(now)));
        under_way.next().unwrap().result().unwrap();
        assert_eq!(under_way.len(), left);
        assert_eq!(under_way.is_empty(), left == 0);
    }
    under_way.push(executor.submit(double, 1));
    assert_eq!((under_way.len(), under_way.is_empty()), (1, false));
    let pending = under_way.into_pending();
    assert_eq!(pending.len(), 1);
    assert!(
        pending
            .into_iter()
            .all(|future| future.result().unwrap() == 2)
    );
}

fn dropped_half_way<C: Contestant>() {
    let executor = C::make(2);
    for taken in [0, 1, 50] {
        let futures: Vec<_> = (0..100).map(|n| executor.submit(double, n)).collect();
        let mut under_way = as_completed(futures);
        assert_eq!(under_way.by_ref().take(taken).count(), taken);
        drop(under_way);
        check_usable(&executor);
    }
}

fn with_failed_ones<C: Contestant>() {
    let executor = C::make(2);
    let futures = (0..30).map(|n| match n % 3 {
        0 => executor.submit(double, n),
        1 => executor.submit(panics, n),
        _ => Future::ready(Err(TaskError::Cancelled)),
    });
    let mut found = [0; 3];
    for future in as_completed(futures) {
        match future.result() {
            Ok(_) => found[0] += 1,
            Err(TaskError::Panicked(_)) => found[1] += 1,
            Err(TaskError::Cancelled) => found[2] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, [10, 10, 10]);
}

/// F19 of Python's tests: a value goes with its future.
fn no_reference_is_kept<C: Contestant>() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static VALUES: AtomicU32 = AtomicU32::new(0);
    /// Counts those that are decoded and not dropped.
    struct Counted;
    impl serde::Serialize for Counted {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    impl<'de> serde::Deserialize<'de> for Counted {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            VALUES.fetch_add(1, Ordering::Relaxed);
            <()>::deserialize(deserializer).map(|()| Counted)
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            VALUES.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let executor = C::make(1);
    let task = |_: u32| {
        // Where that is this process, it is dropped here, too.
        VALUES.fetch_add(1, Ordering::Relaxed);
        Counted
    };
    VALUES.store(0, Ordering::Relaxed);
    let futures: Vec<_> = (0..10).map(|n| executor.submit(task, n)).collect();
    let (futures, _) = wait(futures, ReturnWhen::AllCompleted);
    executor.shutdown();
    assert_eq!(VALUES.load(Ordering::Relaxed), 10);
    let mut under_way = as_completed(futures);
    for left in (0..10).rev() {
        drop(under_way.next().unwrap());
        assert_eq!(VALUES.load(Ordering::Relaxed), left);
    }
}

/// Without an executor there is nobody to wait for.
fn ready_ones_only<C: Contestant>() {
    let mut ready = as_completed((0..4).map(|n| Future::ready(Ok(n))));
    assert_eq!(ready.next().unwrap().result().unwrap(), 0);
    ready.push(Future::ready(Ok(9)));
    let rest: Vec<u32> = ready.map(|future| future.result().unwrap()).collect();
    assert_eq!(rest, [1, 2, 3, 9]);
}

fn in_order<C: Concurrent>() {
    let executor = C::make(4);
    let (gates, futures) = gated(&executor, 4);
    let order: [usize; 4] = [2, 0, 3, 1];
    let numbers: Vec<u64> = futures.iter().map(Future::id).collect();
    let mut under_way = as_completed(futures);
    for at in order {
        gates[at].open(1);
        assert_eq!(under_way.next().unwrap().id(), numbers[at]);
    }
    assert!(under_way.next().is_none());
    // The same though nobody asks meanwhile.
    let (gates, futures) = gated(&executor, 4);
    let cancellers: Vec<_> = futures.iter().map(Future::canceller).collect();
    let numbers: Vec<u64> = futures.iter().map(Future::id).collect();
    let under_way = as_completed(futures);
    for at in order {
        gates[at].open(1);
        while !cancellers[at].done() {
            thread::yield_now();
        }
    }
    let found = under_way.map(|future| future.id());
    assert!(found.eq(order.map(|at| numbers[at])));
}

#[track_caller]
fn check_text<T: Send + 'static>(of: &procession_executor::AsCompleted<T>, text: &str) {
    assert_eq!(of.unfinished().unwrap().to_string(), text);
}

/// F17 and F20 of Python's tests: the finished ones first.
fn no_time<C: Concurrent>() {
    let executor = C::make(3);
    let (gates, futures) = gated(&executor, 4);
    gates[1].open(1);
    gates[2].open(1);
    futures[1..3].iter().for_each(Future::wait);
    let mut under_way = as_completed(futures).timeout(Duration::ZERO);
    assert_eq!(under_way.size_hint(), (0, Some(4)));
    assert!(under_way.unfinished().is_none());
    assert_eq!(under_way.by_ref().count(), 2);
    check_text(&under_way, "2 (of 4) futures unfinished");
    let unfinished = under_way.unfinished().unwrap();
    assert_eq!((unfinished.unfinished, unfinished.total), (2, 4));
    assert!(under_way.next().is_none() && under_way.len() == 2);
    assert_eq!(under_way.size_hint(), (0, Some(0)));
    gates[0].open(5);
    gates[3].open(5);
    let pending = under_way.into_pending();
    assert_eq!(pending.len(), 2);
    assert!(
        pending
            .into_iter()
            .all(|future| future.result().unwrap() == 5)
    );
}

fn some_time<C: Concurrent>() {
    let executor = C::make(2);
    let (gates, futures) = gated(&executor, 3);
    let mut under_way = as_completed(futures).timeout(Duration::from_millis(3));
    assert!(under_way.next().is_none());
    check_text(&under_way, "3 (of 3) futures unfinished");
    drop(under_way);
    let futures: Vec<_> = gates[1..]
        .iter()
        .map(|gate| gate.submit(&executor))
        .collect();
    gates.iter().for_each(|gate| gate.open(1));
    let mut under_way = as_completed(futures).timeout(Duration::MAX);
    assert_eq!(under_way.by_ref().count(), 2);
    assert!(under_way.unfinished().is_none());
}

fn cancelled_ones<C: Concurrent>() {
    let executor = C::make(1);
    let (gates, futures) = gated(&executor, 4);
    gates[0].await_begun(1);
    let cancellers: Vec<_> = futures.iter().map(Future::canceller).collect();
    assert!(cancellers[3].cancel());
    let mut under_way = as_completed(futures);
    check_cancelled(&under_way.next().unwrap().result());
    assert!(cancellers[2].cancel());
    check_cancelled(&under_way.next().unwrap().result());
    let canceller = cancellers[1].clone();
    thread::scope(|scope| {
        scope.spawn(|| assert!(canceller.cancel()));
        let future = under_way.next().unwrap();
        assert_eq!(future.id(), canceller.id());
        check_cancelled(&future.result());
    });
    gates[0].open(3);
    assert_eq!(under_way.next().unwrap().result().unwrap(), 3);
    assert!(under_way.next().is_none());
}

fn pushed_while_waiting<C: Concurrent>() {
    let executor = C::make(2);
    let (gates, mut futures) = gated(&executor, 2);
    let late = futures.pop().unwrap();
    let number = late.id();
    let mut under_way = as_completed(futures).timeout(Duration::from_secs(3600));
    gates[1].open(1);
    late.wait();
    under_way.push(late);
    assert_eq!(under_way.next().unwrap().id(), number);
    let later = executor.submit(double, 1);
    let number = later.id();
    under_way.push(later);
    assert_eq!(under_way.next().unwrap().id(), number);
    gates[0].open(1);
    under_way.next().unwrap().result().unwrap();
    assert!(under_way.next().is_none());
}

fn of_two_executors<C: Concurrent>() {
    let executor = C::make(1);
    let other = ThreadPoolExecutor::with_workers(1).unwrap();
    let inline = InlineExecutor::new();
    let gates = [Gate::new(), Gate::new()];
    let futures = [gates[0].submit(&executor), gates[1].submit(&other)];
    let numbers = futures.each_ref().map(Future::id);
    let mut under_way = as_completed(futures);
    under_way.push(inline.submit(double, 1));
    assert_eq!(under_way.next().unwrap().result().unwrap(), 2);
    gates[1].open(1);
    assert_eq!(under_way.next().unwrap().id(), numbers[1]);
    gates[0].open(1);
    assert_eq!(under_way.next().unwrap().id(), numbers[0]);
    assert!(under_way.next().is_none());
    for round in 0..20 {
        under_way.push(executor.submit(double, round));
        under_way.push(other.submit(double, round));
        for _ in 0..2 {
            assert_eq!(under_way.next().unwrap().result().unwrap(), round * 2);
        }
    }
    // First those of one, then of several, while it waits.
    let gate = Gate::new();
    let mut under_way = as_completed([gate.submit(&executor)]);
    under_way.push(other.submit(double, 4));
    assert_eq!(under_way.next().unwrap().result().unwrap(), 8);
    gate.open(1);
    assert_eq!(under_way.count(), 1);
}

fn in_many_threads<C: Concurrent>() {
    let executor = C::make(2);
    thread::scope(|scope| {
        for number in 0..8_u32 {
            let executor = &executor;
            scope.spawn(move || {
                for round in 0..5 {
                    let base = number * 1000 + round * 100;
                    let futures: Vec<_> = (base..base + 50)
                        .map(|n| executor.submit(double, n))
                        .collect();
                    let found = as_completed(futures).map(|future| future.result().unwrap());
                    let mut found: Vec<u32> = found.collect();
                    found.sort_unstable();
                    assert!(found.into_iter().eq((base..base + 50).map(double)));
                }
            });
        }
    });
}

/// A window of futures that moves on, which takes numbers again.
fn a_set_that_is_never_empty<C: Concurrent>() {
    let executor = C::make(2);
    let mut under_way = as_completed((0..10).map(|n| executor.submit(double, n)));
    let mut found = Vec::new();
    for n in 10..500 {
        found.push(under_way.next().unwrap().result().unwrap());
        under_way.push(executor.submit(double, n));
        assert_eq!(under_way.len(), 10);
    }
    found.extend(under_way.map(|future| future.result().unwrap()));
    found.sort_unstable();
    assert!(found.into_iter().eq((0..500).map(double)));
}

fn finished_while_nobody_looked<C: Concurrent>() {
    let executor = C::make(1);
    let (gates, futures) = gated(&executor, 4);
    let cancellers: Vec<_> = futures.iter().map(Future::canceller).collect();
    let mut under_way = as_completed(futures).timeout(Duration::ZERO);
    gates[..3].iter().for_each(|gate| gate.open(1));
    // The only worker has come to the fourth.
    gates[3].await_begun(1);
    C::await_news(&cancellers[..3]);
    assert_eq!(under_way.by_ref().count(), 3);
    check_text(&under_way, "1 (of 4) futures unfinished");
}

/// Those that are left come into another one.
fn twice<C: Concurrent>() {
    let executor = C::make(1);
    let (gates, mut futures) = gated(&executor, 20);
    for (n, gate) in (0..).zip(&gates) {
        gate.open(n + 1);
        let mut under_way = as_completed(futures);
        assert_eq!(under_way.next().unwrap().result().unwrap(), n + 1);
        futures = under_way.into_pending();
    }
    assert!(futures.is_empty());
}

fn moved_to_another_thread<C: Concurrent>() {
    let executor = C::make(2);
    let mut under_way = as_completed((0..50).map(|n| executor.submit(double, n)));
    under_way.next().unwrap().result().unwrap();
    let rest = thread::spawn(move || under_way.filter(Future::done).count());
    assert_eq!(rest.join().unwrap(), 49);
}
