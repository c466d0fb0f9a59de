//! Futures in the order in which they are completed, with a back-end that the test drives.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use procession_pool::TaskError;

use super::as_completed;
use crate::executor::Executor;
use crate::future::Future;
use crate::manual::Manual;

fn one(n: u32) -> u32 {
    n
}

fn values(futures: impl Iterator<Item = Future<u32>>) -> Vec<Option<u32>> {
    futures.map(|future| future.result().ok()).collect()
}

#[test]
fn those_that_are_done_come_first() {
    let (manual, handle) = Manual::new();
    let futures: Vec<_> = (0..5).map(|n| handle.submit(one, n)).collect();
    manual.settle(3, Err(TaskError::Closed));
    manual.run(1);
    assert!(futures[4].cancel());
    let completed = as_completed(futures);
    assert_eq!((completed.len(), completed.size_hint()), (5, (5, Some(5))));
    manual.run(1);
    manual.run(0);
    assert_eq!(values(completed), [Some(1), None, None, Some(2), Some(0)]);
}

#[test]
fn hands_out_what_comes_while_it_waits() {
    let (manual, handle) = Manual::new();
    let mut completed = as_completed((0..3).map(|n| handle.submit(one, n)));
    completed.push(handle.submit(one, 3));
    let others = Arc::clone(&manual);
    let waiter = thread::spawn(move || values(completed));
    for at in [3, 1, 0, 0] {
        others.run(at);
    }
    assert_eq!(waiter.join().unwrap(), [3, 1, 0, 2].map(Some));
}

#[test]
fn says_how_many_are_unfinished() {
    let (manual, handle) = Manual::new();
    let futures: Vec<_> = (0..4).map(|n| handle.submit(one, n)).collect();
    manual.run(0);
    manual.run(0);
    let mut completed = as_completed(futures).timeout(Duration::ZERO);
    assert_eq!(completed.by_ref().count(), 2);
    let unfinished = completed.unfinished().unwrap();
    assert_eq!(unfinished.to_string(), "2 (of 4) futures unfinished");
    assert_eq!(completed.size_hint(), (0, Some(0)));
    manual.run(0);
    assert!(completed.next().is_none());
    let left = completed.into_pending();
    assert_eq!(
        left.iter().map(Future::done).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn numbers_are_used_again() {
    let (manual, handle) = Manual::new();
    let mut completed = as_completed([handle.submit(one, 0)]);
    for n in 1..100 {
        manual.run(0);
        let future = completed.next().unwrap();
        assert_eq!(future.result().unwrap(), n - 1);
        completed.push(handle.submit(one, n));
    }
    assert_eq!(completed.len(), 1);
}

#[test]
fn a_set_that_is_gone_is_not_told() {
    let (manual, handle) = Manual::new();
    let mut futures = vec![handle.submit(one, 1)];
    for _ in 0..100 {
        futures = as_completed(futures).timeout(Duration::ZERO).into_pending();
    }
    manual.run(0);
    assert_eq!(values(as_completed(futures)), [Some(1)]);
}

#[cfg(feature = "stream")]
#[test]
fn is_a_stream() {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use futures_core::Stream;

    let (manual, handle) = Manual::new();
    let mut completed = as_completed((0..2).map(|n| handle.submit(one, n)));
    let mut context = Context::from_waker(Waker::noop());
    let mut poll = || Pin::new(&mut completed).poll_next(&mut context);
    assert!(poll().is_pending());
    manual.run(1);
    assert!(matches!(poll(), Poll::Ready(Some(future)) if future.done()));
    assert!(poll().is_pending());
    manual.run(0);
    assert!(matches!(poll(), Poll::Ready(Some(_))));
    assert!(matches!(poll(), Poll::Ready(None)));
}
