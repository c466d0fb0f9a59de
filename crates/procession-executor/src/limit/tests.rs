//! Room for so many futures, and those who wait for it.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::executor::{Executor, TrySubmitError};
use crate::manual::Manual;

fn one(n: u32) -> u32 {
    n
}

#[test]
fn refuses_and_waits_when_full() {
    let (manual, handle) = Manual::new();
    let handle = handle.with_max_pending(2);
    let futures = [handle.submit(one, 0), handle.clone().submit(one, 1)];
    let refused = handle.try_submit(one, 2).unwrap_err();
    assert!(matches!(refused, TrySubmitError::Full(2)));
    let refused = handle.submit_timeout(one, 3, Duration::ZERO);
    assert_eq!(refused.unwrap_err().into_item(), 3);

    let waiters: Vec<_> = (0..3)
        .map(|n| {
            let handle = handle.clone();
            thread::spawn(move || handle.submit(one, n))
        })
        .collect();
    assert_eq!(manual.len(), 2);
    // Each one that is completed lets one in.
    for _ in 0..3 {
        manual.run(0);
        while manual.len() < 2 {
            thread::yield_now();
        }
    }
    for waiter in waiters {
        drop(waiter.join().unwrap());
    }
    assert!(futures[1].done() && handle.try_submit(one, 4).is_err());
}

#[test]
fn a_cancelled_one_gives_its_place_back() {
    let (_manual, handle) = Manual::new();
    let handle = handle.with_max_pending(0);
    let future = handle.submit(one, 0);
    assert!(handle.try_submit(one, 1).is_err());
    assert!(future.cancel());
    let future = handle.try_submit(one, 1).unwrap();
    // Also a late callback gives back nothing that was given back before.
    future.cancel();
    future.add_done_callback(|_| {});
    let _first = handle.try_submit(one, 2).unwrap();
    assert!(handle.try_submit(one, 3).is_err());
}

#[test]
fn a_callback_does_not_wait() {
    let (manual, handle) = Manual::new();
    let handle = handle.with_max_pending(1);
    let future = handle.submit(one, 0);
    let (sender, receiver) = channel();
    let inner = handle.clone();
    future.add_done_callback(move |_| {
        sender.send(inner.submit(one, 1)).unwrap();
    });
    manual.run(0);
    let second = receiver.recv().unwrap();
    assert!(handle.try_submit(one, 2).is_err());
    manual.run(0);
    assert_eq!(second.result().unwrap(), 1);
    assert!(handle.try_submit(one, 2).is_ok());
}

#[test]
fn nobody_is_forgotten() {
    let executor = crate::ThreadPoolExecutor::builder()
        .workers(2)
        .max_pending(1);
    let executor = Arc::new(executor.build().unwrap());
    let submitters: Vec<_> = (0..4)
        .map(|_| {
            let executor = Arc::clone(&executor);
            thread::spawn(move || {
                for n in 0..200 {
                    let future = executor.submit(one, n);
                    if n % 2 == 0 {
                        let _ = executor.submit_timeout(one, n, Duration::from_micros(50));
                    }
                    assert_eq!(future.result().unwrap(), n);
                }
            })
        })
        .collect();
    for submitter in submitters {
        submitter.join().unwrap();
    }
}
