//! What a wait waits for.

use std::thread;
use std::time::Duration;

use procession_pool::TaskError;

use super::{ReturnWhen, wait, wait_timeout};
use crate::executor::Executor;
use crate::future::Future;
use crate::manual::Manual;

fn ids(futures: &[Future<u32>]) -> Vec<u64> {
    futures.iter().map(Future::id).collect()
}

fn one(n: u32) -> u32 {
    n
}

#[test]
fn looks_before_it_waits() {
    let (manual, handle) = Manual::new();
    let futures: Vec<_> = (0..4).map(|n| handle.submit(one, n)).collect();
    let all = ids(&futures);
    assert!(futures[1].cancel());
    manual.run(2);
    let (done, not_done) = wait(futures, ReturnWhen::FirstCompleted);
    assert_eq!(ids(&done), [all[1], all[3]]);
    assert_eq!(ids(&not_done), [all[0], all[2]]);
}

#[test]
fn a_cancelled_one_is_no_exception() {
    let (manual, handle) = Manual::new();
    let futures: Vec<_> = (0..4).map(|n| handle.submit(one, n)).collect();
    let all = ids(&futures);
    assert!(futures[0].cancel());
    let waiter = thread::spawn(move || wait(futures, ReturnWhen::FirstException));
    manual.settle(0, Ok(1));
    manual.settle(0, Err(TaskError::Closed));
    let (done, not_done) = waiter.join().unwrap();
    assert_eq!(ids(&done), all[..3]);
    assert_eq!(ids(&not_done), all[3..]);
    // It has one now.
    let (done, _) = wait(done.into_iter().chain(not_done), ReturnWhen::FirstException);
    assert_eq!(done.len(), 3);
}

#[test]
fn without_an_exception_it_waits_for_all() {
    for when in [ReturnWhen::FirstException, ReturnWhen::AllCompleted] {
        let (manual, handle) = Manual::new();
        let futures: Vec<_> = (0..3).map(|n| handle.submit(one, n)).collect();
        let waiter = thread::spawn(move || wait(futures, when));
        for _ in 0..3 {
            manual.run(0);
        }
        let (done, not_done) = waiter.join().unwrap();
        assert_eq!((done.len(), not_done.len()), (3, 0));
    }
    assert!(
        wait(Vec::<Future<u32>>::new(), ReturnWhen::FirstCompleted)
            .0
            .is_empty()
    );
}

#[test]
fn several_back_ends_and_no_time() {
    let (first, one_handle) = Manual::new();
    let (second, other_handle) = Manual::new();
    let futures = [one_handle.submit(one, 1), other_handle.submit(one, 2)];
    let (done, not_done) = wait_timeout(futures, ReturnWhen::AllCompleted, Duration::ZERO);
    assert_eq!((done.len(), not_done.len()), (0, 2));
    let waiter = thread::spawn(move || wait(not_done, ReturnWhen::AllCompleted));
    second.run(0);
    first.run(0);
    assert_eq!(waiter.join().unwrap().0.len(), 2);
}

#[test]
fn a_callback_does_not_wait_for_its_own_future() {
    let (manual, handle) = Manual::new();
    let future = handle.submit(one, 1);
    let (sender, receiver) = std::sync::mpsc::channel::<Future<u32>>();
    let (answer, answered) = std::sync::mpsc::channel();
    future.add_done_callback(move |_| {
        let own = receiver.recv().unwrap();
        let (done, not_done) = wait([own], ReturnWhen::AllCompleted);
        assert_eq!(crate::as_completed(not_done).count() + done.len(), 0);
        answer.send(()).unwrap();
    });
    sender.send(future).unwrap();
    manual.run(0);
    answered.recv().unwrap();
}
