//! What the tests of executors share: tasks that wait for the test, and a small async runtime.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use procession_executor::{Executor, Future, ProcessPoolExecutor, TaskError};
use procession_testkit::ledger;

/// What the panics of these tests say, so that they are not printed.
const PLANNED: [&str; 4] = ["'s panic", "'s drop", "'s waker", "divide by zero"];

/// Keeps the panics that tests of this program plan from being printed.
pub(crate) fn hush() {
    let present = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if !PLANNED.iter().any(|planned| text.ends_with(planned)) {
            present(info);
        }
    }));
}

/// Rule I5 of the fault list, for the family as a whole.
pub(crate) fn still_works() {
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    check_usable(&executor);
}

/// Rule I5 of the fault list: 64 tasks.
#[track_caller]
pub(crate) fn check_usable(executor: &impl Executor) {
    let futures: Vec<_> = (0..32).map(|n| executor.submit(double, n)).collect();
    let doubled = executor.chunksize(3).map(double, 32..64);
    let doubled: Vec<u32> = doubled.collect::<Result<_, _>>().unwrap();
    assert!(doubled.into_iter().eq((32..64).map(|n| n * 2)));
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
}

pub(crate) fn double(n: u32) -> u32 {
    n * 2
}

/// Counts itself in this word.
pub(crate) fn note(word: u32) {
    ledger::note(word);
}

pub(crate) fn panics(_: u32) -> u32 {
    panic!("the task's panic")
}

/// Not seven.
pub(crate) fn but_seven(n: u32) -> u32 {
    assert!(n != 7, "the task's panic");
    n
}

#[track_caller]
pub(crate) fn check_cancelled<T: std::fmt::Debug>(outcome: &Result<T, TaskError>) {
    assert!(matches!(outcome, Err(TaskError::Cancelled)), "{outcome:?}");
}

#[track_caller]
pub(crate) fn check_closed<T: std::fmt::Debug>(outcome: &Result<T, TaskError>) {
    assert!(matches!(outcome, Err(TaskError::Closed)), "{outcome:?}");
}

#[track_caller]
pub(crate) fn check_panicked<T: std::fmt::Debug>(outcome: &Result<T, TaskError>) {
    let Err(TaskError::Panicked(panic)) = outcome else {
        panic!("no panic: {outcome:?}");
    };
    assert_eq!(panic.message(), "the task's panic");
}

/// A gate that tasks wait at: their value is what it was opened with.
///
/// It opens when it is dropped, so that a test that fails ends: made after its executor, it is dropped
/// before it.
#[derive(Debug)]
pub(crate) struct Gate(u32);

impl Gate {
    /// Closed.
    pub(crate) fn new() -> Gate {
        Gate(ledger::reserve(2))
    }

    /// What a task of [`Self::pass`] gets.
    pub(crate) fn words(&self) -> u32 {
        self.0
    }

    /// Waits at the gate of these words.
    pub(crate) fn pass(words: u32) -> u32 {
        ledger::note(words);
        ledger::wait(words + 1)
    }

    /// A task that waits at it.
    pub(crate) fn submit(&self, executor: &impl Executor) -> Future<u32> {
        executor.submit(Gate::pass, self.0)
    }

    /// So many have come.
    pub(crate) fn begun(&self) -> u32 {
        ledger::get(self.0)
    }

    /// Waits until so many have come.
    pub(crate) fn await_begun(&self, count: u32) {
        ledger::wait_for(self.0, count);
    }

    pub(crate) fn open(&self, value: u32) {
        ledger::set(self.0 + 1, value);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if ledger::get(self.0 + 1) == 0 {
            self.open(1);
        }
    }
}

/// Has so many tasks wait at a gate, and waits until all have begun.
pub(crate) fn occupy(executor: &impl Executor, workers: u32) -> (Vec<Future<u32>>, Gate) {
    let gate = Gate::new();
    let futures = (0..workers).map(|_| gate.submit(executor)).collect();
    gate.await_begun(workers);
    (futures, gate)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks this thread until `done`, as back-ends do it.
pub(crate) fn park(
    register: &mut dyn FnMut(Waker),
    deadline: Option<Instant>,
    done: &dyn Fn() -> bool,
) -> bool {
    register(Waker::from(Arc::new(Unpark(thread::current()))));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match left {
            _ if done() => return true,
            Some(Duration::ZERO) => return false,
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}

/// A runtime of one thread and one task.
pub(crate) fn block_on<F: std::future::Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A waker that counts how often it is woken.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU32);

impl Count {
    pub(crate) fn new() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Polls once.
pub(crate) fn poll_with<T: Send + 'static>(
    future: &mut Future<T>,
    waker: &Waker,
) -> Poll<Result<T, TaskError>> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}
