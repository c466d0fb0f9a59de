//! The ways in which futures are waited for.

use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use procession_executor::{Future, ReturnWhen, TaskError, as_completed, wait};
use procession_testkit::eventually;

/// How somebody learns of outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One after the other.
    Result,
    AsCompleted,
    Wait,
    /// All at once, by a runtime of one thread.
    Await,
    /// By callbacks alone: the futures are dropped.
    Callback,
    /// By `done` alone, again and again.
    Poll,
    /// Not at all: the futures are dropped.
    Nobody,
}

pub(crate) const WAYS: [Way; 7] = [
    Way::Result,
    Way::AsCompleted,
    Way::Wait,
    Way::Await,
    Way::Callback,
    Way::Poll,
    Way::Nobody,
];

/// Gives each outcome to `check` with the number of its future, once. Nothing where nobody waits.
#[track_caller]
pub(crate) fn judge<T: Send + 'static>(
    way: Way,
    futures: Vec<Future<T>>,
    check: impl Fn(usize, &Result<T, TaskError>) + Send + Sync + 'static,
) {
    let count = futures.len();
    match way {
        Way::Result => {
            for (number, future) in futures.into_iter().enumerate() {
                check(number, &future.result());
            }
        }
        Way::AsCompleted => {
            let ids: Vec<u64> = futures.iter().map(Future::id).collect();
            let mut seen = vec![false; count];
            for future in as_completed(futures) {
                let number = ids.iter().position(|id| *id == future.id()).unwrap();
                assert!(!std::mem::replace(&mut seen[number], true), "told twice");
                assert!(future.done());
                check(number, &future.result());
            }
            assert!(seen.into_iter().all(|seen| seen), "one was left out");
        }
        Way::Wait => {
            let (done, not_done) = wait(futures, ReturnWhen::AllCompleted);
            assert_eq!((done.len(), not_done.len()), (count, 0));
            for (number, future) in done.into_iter().enumerate() {
                check(number, &future.try_result().expect("it is done"));
            }
        }
        Way::Await => {
            for (number, outcome) in block_on_all(futures).iter().enumerate() {
                check(number, outcome);
            }
        }
        Way::Callback => {
            let (tell, told) = mpsc::channel();
            let check = Arc::new(check);
            for (number, future) in futures.into_iter().enumerate() {
                let (check, tell) = (Arc::clone(&check), tell.clone());
                future.add_done_callback(move |outcome| {
                    check(number, outcome);
                    let _ = tell.send(());
                });
            }
            drop(tell);
            let content = told.into_iter().count();
            assert_eq!(content, count, "a callback was not called, or not content");
        }
        Way::Poll => {
            for (number, future) in futures.into_iter().enumerate() {
                eventually("it is done", || {
                    future.done().then_some(()).ok_or_else(String::new)
                });
                check(number, &future.try_result().expect("it is done"));
            }
        }
        Way::Nobody => drop(futures),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The outcomes of all of them, in their order.
pub(crate) fn block_on_all<F: std::future::Future + Unpin>(
    futures: impl IntoIterator<Item = F>,
) -> Vec<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut futures: Vec<_> = futures.into_iter().map(Some).collect();
    let mut outcomes: Vec<_> = futures.iter().map(|_| None).collect();
    loop {
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if let Some(pending) = future
                && let Poll::Ready(ready) = std::pin::Pin::new(pending).poll(&mut context)
            {
                *outcome = Some(ready);
                *future = None;
            }
        }
        if futures.iter().all(Option::is_none) {
            return outcomes.into_iter().flatten().collect();
        }
        thread::park();
    }
}
