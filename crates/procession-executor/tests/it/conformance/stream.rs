//! `AsCompleted` as a stream.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use procession_executor::{AsCompleted, Executor, Future, InlineExecutor, as_completed};
use procession_testkit::{Case, eventually};

use super::{Concurrent, Contestant, suite};
use crate::common::{Count, Gate, block_on, check_cancelled, double};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "stream": nothing, each_once]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "stream": in_order, wakers_are_replaced, of_two_executors, and_an_iterator]
}

fn poll<T: Send + 'static>(stream: &mut AsCompleted<T>, waker: &Waker) -> Poll<Option<Future<T>>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(waker))
}

/// The next one, in a runtime.
fn next(stream: &mut AsCompleted<u32>) -> Option<Future<u32>> {
    block_on(std::future::poll_fn(|context| {
        poll(stream, context.waker())
    }))
}

fn nothing<C: Contestant>() {
    let mut none = as_completed(None::<Future<u32>>);
    let (_count, waker) = Count::new();
    assert!(matches!(poll(&mut none, &waker), Poll::Ready(None)));
    assert_eq!(none.len(), 0);
}

fn each_once<C: Contestant>() {
    let executor = C::make(2);
    let mut stream = as_completed((0..100).map(|n| executor.submit(double, n)));
    let mut found = Vec::new();
    while let Some(future) = next(&mut stream) {
        found.push(future.result().unwrap());
    }
    found.sort_unstable();
    assert!(found.into_iter().eq((0..100).map(double)));
}

fn in_order<C: Concurrent>() {
    let executor = C::make(3);
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let futures = gates.each_ref().map(|gate| gate.submit(&executor));
    let ids = futures.each_ref().map(Future::id);
    let mut stream = as_completed(futures);
    assert_eq!(Stream::size_hint(&stream), (3, Some(3)));
    for at in [1, 2, 0] {
        let (count, waker) = Count::new();
        assert!(poll(&mut stream, &waker).is_pending());
        gates[at].open(1);
        // Nobody waits: the waker alone tells.
        eventually("it is woken", || {
            (count.get() > 0).then_some(()).ok_or_else(String::new)
        });
        let Poll::Ready(Some(future)) = poll(&mut stream, &waker) else {
            panic!("it was woken");
        };
        assert_eq!(future.id(), ids[at]);
    }
    assert!(next(&mut stream).is_none());
}

fn wakers_are_replaced<C: Concurrent>() {
    let executor = C::make(1);
    let gate = Gate::new();
    let mut stream = as_completed([gate.submit(&executor), executor.submit(double, 4)]);
    let (first, waker) = Count::new();
    assert!(poll(&mut stream, &waker).is_pending());
    let (second, waker) = Count::new();
    assert!(poll(&mut stream, &waker).is_pending());
    gate.open(1);
    eventually("it is woken", || {
        (second.get() > 0).then_some(()).ok_or_else(String::new)
    });
    assert_eq!(first.get(), 0);
    assert_eq!(next(&mut stream).unwrap().result().unwrap(), 1);
    assert_eq!(next(&mut stream).unwrap().result().unwrap(), 8);
}

fn of_two_executors<C: Concurrent>() {
    let executor = C::make(1);
    let inline = InlineExecutor::new();
    let gate = Gate::new();
    let queued = gate.submit(&executor);
    gate.await_begun(1);
    let cancelled = executor.submit(double, 1);
    let canceller = cancelled.canceller();
    let mut stream = as_completed([queued, cancelled, inline.submit(double, 2)]);
    assert_eq!(next(&mut stream).unwrap().result().unwrap(), 4);
    assert!(canceller.cancel());
    check_cancelled(&next(&mut stream).unwrap().result());
    // One that comes later is watched, too.
    stream.push(executor.submit(double, 3));
    gate.open(5);
    assert_eq!(next(&mut stream).unwrap().result().unwrap(), 5);
    assert_eq!(next(&mut stream).unwrap().result().unwrap(), 6);
    assert!(next(&mut stream).is_none());
}

/// In turn; what was handed out by one is not by the other.
fn and_an_iterator<C: Concurrent>() {
    let executor = C::make(2);
    let futures = (0..40).map(|n| executor.submit(double, n));
    let mut both = as_completed(futures).timeout(Duration::from_secs(3600));
    let mut found = Vec::new();
    for _ in 0..20 {
        found.push(next(&mut both).unwrap().result().unwrap());
        found.push(both.next().unwrap().result().unwrap());
    }
    assert!(next(&mut both).is_none() && both.next().is_none());
    found.sort_unstable();
    assert!(found.into_iter().eq((0..40).map(double)));
}
