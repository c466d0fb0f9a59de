//! Futures that are awaited: polled by hand, raced, joined, dropped mid-way.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Wake, Waker};
use std::thread;

use procession_executor::{Executor, Future, TaskError};
use procession_testkit::{Case, eventually, ledger};

use super::{Concurrent, Contestant, suite};
use crate::common::{
    Count, Gate, block_on, check_cancelled, check_panicked, check_usable, double, note, occupy,
    panics, poll_with,
};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "awaits": one, many, after_the_end, among_threads]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "awaits":
        by_hand, wakers_are_replaced, raced, thousand_joined, dropped_mid_way, cancelled_mid_way,
        wakers_that_panic, beside_those_who_wait, in_callbacks, a_callback_first,
    ]
}

pub(crate) fn killing<C: Concurrent>() -> Vec<Case> {
    suite![C, "awaits": killed_mid_way]
}

fn one<C: Contestant>() {
    let executor = C::make(1);
    assert_eq!(block_on(executor.submit(double, 4)).unwrap(), 8);
    check_panicked(&block_on(executor.submit(panics, 4)));
    let sum = block_on(async {
        let first = executor.submit(double, 1).await?;
        let second = executor.submit(double, first).await?;
        Ok::<u32, TaskError>(first + second)
    });
    assert_eq!(sum.unwrap(), 6);
}

/// Polls all in turn, with one waker, until the last is ready.
fn join(mut futures: Vec<Future<u32>>) -> Vec<Result<u32, TaskError>> {
    let mut outcomes: Vec<_> = futures.iter().map(|_| None).collect();
    block_on(poll_fn(|context| {
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let Poll::Ready(ready) = poll_with(future, context.waker())
            {
                *outcome = Some(ready);
            }
        }
        match outcomes.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }));
    outcomes.into_iter().flatten().collect()
}

fn many<C: Contestant>() {
    let executor = C::make(2);
    let futures = (0..50).map(|n| executor.submit(double, n)).collect();
    let outcomes = join(futures);
    assert!(
        outcomes
            .into_iter()
            .map(Result::unwrap)
            .eq((0..50).map(double))
    );
}

fn after_the_end<C: Contestant>() {
    let executor = C::make(1);
    let (count, waker) = Count::new();
    let mut future = executor.submit(double, 1);
    future.wait();
    assert!(matches!(poll_with(&mut future, &waker), Poll::Ready(Ok(2))));
    let again = poll_with(&mut future, &waker);
    assert!(matches!(again, Poll::Ready(Err(TaskError::Taken))));
    assert_eq!(count.get(), 0);
}

fn among_threads<C: Contestant>() {
    let executor = C::make(2);
    thread::scope(|scope| {
        for number in 0..4_u32 {
            let executor = &executor;
            scope.spawn(move || {
                for n in number * 100..number * 100 + 30 {
                    assert_eq!(block_on(executor.submit(double, n)).unwrap(), n * 2);
                }
            });
        }
    });
}

fn is_woken(count: &Count) {
    eventually("it is woken", || match count.get() {
        0 => Err(String::new()),
        _ => Ok(()),
    });
}

/// Nobody waits: the waker alone tells.
fn by_hand<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let mut future = gate.submit(&executor);
    let (count, waker) = Count::new();
    for _ in 0..3 {
        assert!(poll_with(&mut future, &waker).is_pending());
    }
    assert_eq!(count.get(), 0);
    gate.open(4);
    is_woken(&count);
    assert!(matches!(poll_with(&mut future, &waker), Poll::Ready(Ok(4))));
    drop(future);
    executor.shutdown();
    assert_eq!(count.get(), 1);
    assert_eq!(Arc::strong_count(&count), 2, "its waker was dropped");
}

/// The last one counts.
fn wakers_are_replaced<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let mut future = gate.submit(&executor);
    let (first, waker) = Count::new();
    assert!(poll_with(&mut future, &waker).is_pending());
    drop(waker);
    let (second, waker) = Count::new();
    assert!(poll_with(&mut future, &waker).is_pending());
    assert_eq!(Arc::strong_count(&first), 1, "the one before was dropped");
    gate.open(4);
    is_woken(&second);
    assert_eq!(first.get(), 0);
    // In another thread.
    let value = thread::spawn(move || block_on(future)).join().unwrap();
    assert_eq!(value.unwrap(), 4);
}

/// Polls both until one is ready; the other one comes back.
fn race(first: Future<u32>, second: Future<u32>) -> (u32, Future<u32>) {
    let mut both = [Some(first), Some(second)];
    block_on(poll_fn(|context| {
        for at in [0, 1] {
            if let Some(future) = &mut both[at]
                && let Poll::Ready(outcome) = poll_with(future, context.waker())
            {
                both[at] = None;
                return Poll::Ready((outcome.unwrap(), both[1 - at].take().unwrap()));
            }
        }
        Poll::Pending
    }))
}

fn raced<C: Concurrent>() {
    let executor = C::make(2);
    for slow in [0, 1] {
        let gates = [Gate::new(), Gate::new()];
        let [first, second] = gates.each_ref().map(|gate| gate.submit(&executor));
        gates[1 - slow].open(7);
        let (value, other) = race(first, second);
        assert_eq!(value, 7);
        assert!(!other.done());
        gates[slow].open(8);
        if slow == 0 {
            assert_eq!(block_on(other).unwrap(), 8);
        } else {
            drop(other);
        }
    }
}

fn thousand_joined<C: Concurrent>() {
    let executor = C::make(2);
    let gate = Gate::new();
    let mut futures: Vec<_> = (0..2).map(|_| gate.submit(&executor)).collect();
    futures.extend((0..1000).map(|n| executor.submit(double, n)));
    gate.open(5);
    // One waker each, as tasks of a runtime have them.
    let counts: Vec<_> = futures.iter().map(|_| Count::new()).collect();
    let mut sum = 0;
    let mut left: Vec<_> = futures.into_iter().zip(counts).collect();
    while !left.is_empty() {
        left.retain_mut(|(future, (_, waker))| match poll_with(future, waker) {
            Poll::Ready(outcome) => {
                sum += outcome.unwrap();
                false
            }
            Poll::Pending => true,
        });
        // Every one of them is woken some time.
        if let Some((_, (count, _))) = left.last() {
            is_woken(count);
        }
    }
    assert_eq!(sum, 10 + 999_000);
}

fn dropped_mid_way<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let words = ledger::reserve(2);
    let (count, waker) = Count::new();
    let mut kept = executor.submit(note, words);
    assert!(poll_with(&mut kept, &waker).is_pending());
    drop(kept);
    let mut guarded = executor.submit(note, words + 1).cancel_on_drop();
    assert!(poll_with(&mut guarded, &waker).is_pending());
    drop(guarded);
    gate.open(1);
    drop(busy);
    executor.shutdown();
    assert_eq!((ledger::get(words), ledger::get(words + 1)), (1, 0));
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1, "nobody has its waker");
}

fn killed_mid_way<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let (_count, waker) = Count::new();
    let mut running = gate.submit(&executor).kill_on_drop();
    gate.await_begun(1);
    assert!(poll_with(&mut running, &waker).is_pending());
    drop(running);
    if !C::CAN_KILL {
        gate.open(1);
    }
    check_usable(&executor);
}

fn cancelled_mid_way<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let mut queued = executor.submit(double, 1);
    let (count, waker) = Count::new();
    assert!(poll_with(&mut queued, &waker).is_pending());
    let canceller = queued.canceller();
    thread::scope(|scope| {
        scope.spawn(|| assert!(canceller.cancel()));
        is_woken(&count);
    });
    assert_eq!(count.get(), 1);
    let Poll::Ready(outcome) = poll_with(&mut queued, &waker) else {
        panic!("it was woken");
    };
    check_cancelled(&outcome);
    gate.open(1);
    drop(busy);
}

struct Angry;

impl Wake for Angry {
    fn wake(self: Arc<Self>) {
        panic!("the test's waker");
    }
}

/// It harms nobody.
fn wakers_that_panic<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let mut future = gate.submit(&executor);
    let angry = Waker::from(Arc::new(Angry));
    assert!(poll_with(&mut future, &angry).is_pending());
    thread::scope(|scope| {
        scope.spawn(|| gate.open(3));
        future.wait();
    });
    assert_eq!(future.result().unwrap(), 3);
    let gate = Gate::new();
    let mut future = gate.submit(&executor);
    assert!(poll_with(&mut future, &angry).is_pending());
    drop(future);
    gate.open(1);
    check_usable(&executor);
}

/// One future, awaited and waited for, with callbacks.
fn beside_those_who_wait<C: Concurrent>() {
    let executor = C::make(1);
    for _ in 0..10 {
        let gate = Gate::new();
        let mut future = gate.submit(&executor);
        let (count, waker) = Count::new();
        let calls = Arc::new(AtomicU32::new(0));
        let own = Arc::clone(&calls);
        future.add_done_callback(move |_| {
            own.fetch_add(1, Ordering::Relaxed);
        });
        assert!(poll_with(&mut future, &waker).is_pending());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| future.wait());
            }
            gate.open(2);
        });
        is_woken(&count);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert_eq!(block_on(future).unwrap(), 2);
    }
}

/// Another one is awaited in a callback.
fn in_callbacks<C: Concurrent>() {
    let executor = C::make(2);
    let gate = Gate::new();
    let first = gate.submit(&executor);
    let ready = Arc::new(AtomicU32::new(0));
    let (mut second, own) = (executor.submit(double, 4), Arc::clone(&ready));
    second.wait();
    let (_count, waker) = Count::new();
    first.add_done_callback(move |_| {
        if let Poll::Ready(outcome) = poll_with(&mut second, &waker) {
            own.store(outcome.unwrap(), Ordering::Relaxed);
        }
    });
    gate.open(1);
    assert_eq!(block_on(first).unwrap(), 1);
    assert_eq!(ready.load(Ordering::Relaxed), 8);
}

/// A waker is woken when the callbacks are over.
fn a_callback_first<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let mut future = gate.submit(&executor);
    let (count, waker) = Count::new();
    let seen = Arc::new(AtomicU32::new(7));
    let (own, its) = (Arc::clone(&seen), Arc::clone(&count));
    assert!(poll_with(&mut future, &waker).is_pending());
    future.add_done_callback(move |_| own.store(its.get(), Ordering::Relaxed));
    gate.open(1);
    is_woken(&count);
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    assert_eq!(block_on(future).unwrap(), 1);
}
