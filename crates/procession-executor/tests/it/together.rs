//! Many threads use one executor at once, in all its ways; each future has one outcome, and the right
//! one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use procession_executor::{
    Executor, Future, Handle, ReturnWhen, TaskError, as_completed, wait, wait_timeout,
};
use procession_testkit::{Case, ledger};

use crate::common::{block_on, check_panicked, check_usable};
use crate::conformance::{Concurrent, Processes, Remote, Threads};

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, run: fn()| Case::new(format!("together::{name}"), run);
    vec![
        case("processes", eight_threads::<Processes>),
        case("threads", eight_threads::<Threads>),
        case("remote", eight_threads::<Remote>),
        case("processes_handed_around", handed_around::<Processes>),
        case("threads_handed_around", handed_around::<Threads>),
        case("remote_handed_around", handed_around::<Remote>),
    ]
}

const THREADS: u32 = 8;
const ROUNDS: u32 = 32;
const TASKS: u32 = 40;

/// A task with a word of its own, which counts how often it ran. Every seventh fails.
fn work((word, n): (u32, u32)) -> u32 {
    ledger::note(word);
    assert!(!n.is_multiple_of(7), "the task's panic");
    n * 3
}

/// The tasks of one round, and what came of them.
struct Oracle {
    words: u32,
    base: u32,
    /// Outcomes that each task has had.
    had: Vec<AtomicU32>,
    cancelled: Vec<AtomicU32>,
}

impl Oracle {
    fn new(base: u32) -> Oracle {
        let zeros = || (0..TASKS).map(|_| AtomicU32::new(0)).collect();
        Oracle {
            words: ledger::reserve(TASKS),
            base,
            had: zeros(),
            cancelled: zeros(),
        }
    }

    fn item(&self, at: u32) -> (u32, u32) {
        (self.words + at, self.base + at)
    }

    fn submit(&self, executor: &Handle) -> Vec<(u32, Future<u32>)> {
        (0..TASKS)
            .map(|at| (at, executor.submit(work, self.item(at))))
            .collect()
    }

    /// This is the outcome of this task.
    #[track_caller]
    fn take(&self, at: u32, outcome: Result<u32, TaskError>) {
        let n = self.base + at;
        self.had[at as usize].fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(value) => assert!(value == n * 3 && !n.is_multiple_of(7)),
            Err(TaskError::Cancelled) => {
                self.cancelled[at as usize].fetch_add(1, Ordering::Relaxed);
            }
            outcome => {
                assert!(n.is_multiple_of(7), "{n} came to {outcome:?}");
                check_panicked(&outcome);
            }
        }
    }

    /// Each has had one outcome, and has run unless it was cancelled.
    #[track_caller]
    fn judge(&self) {
        for at in 0..TASKS {
            assert_eq!(self.had[at as usize].load(Ordering::Relaxed), 1);
            let cancelled = self.cancelled[at as usize].load(Ordering::Relaxed);
            assert_eq!(ledger::get(self.words + at), 1 - cancelled);
        }
    }
}

/// The ways to come by outcomes, one per round.
fn one_round(executor: &Handle, kind: u32, base: u32) {
    let oracle = Arc::new(Oracle::new(base));
    match kind {
        0 => {
            for (at, future) in oracle.submit(executor) {
                oracle.take(at, future.result());
            }
        }
        1 => {
            let (places, futures): (Vec<u32>, Vec<_>) = oracle.submit(executor).into_iter().unzip();
            let ids: Vec<u64> = futures.iter().map(Future::id).collect();
            for future in as_completed(futures) {
                let at = ids.iter().position(|id| *id == future.id()).unwrap();
                oracle.take(places[at], future.result());
            }
        }
        2 => {
            let items = (0..TASKS).map(|at| oracle.item(at));
            let chunksize = 1 + base as usize % 5;
            for (at, outcome) in (0..).zip(executor.chunksize(chunksize).map(work, items)) {
                oracle.take(at, outcome);
            }
        }
        3 => {
            for (at, future) in oracle.submit(executor) {
                let cancelled = at % 2 == 0 && future.cancel();
                let outcome = future.result();
                assert_eq!(cancelled, matches!(outcome, Err(TaskError::Cancelled)));
                oracle.take(at, outcome);
            }
        }
        4 => wait_for_all(&oracle, executor),
        5 => {
            for (at, future) in oracle.submit(executor) {
                oracle.take(at, block_on(future));
            }
        }
        6 => {
            let told = Arc::new(Mutex::new(0));
            let futures = oracle.submit(executor);
            let futures: Vec<_> = futures
                .into_iter()
                .map(|(at, future)| {
                    let (oracle, told) = (Arc::clone(&oracle), Arc::clone(&told));
                    future.add_done_callback(move |outcome| {
                        oracle.take(at, outcome.as_ref().copied().map_err(Clone::clone));
                        *told.lock().unwrap() += 1;
                    });
                    future
                })
                .collect();
            wait(futures, ReturnWhen::AllCompleted);
            assert_eq!(*told.lock().unwrap(), TASKS);
        }
        _ => {
            let items = (0..TASKS).map(|at| oracle.item(at));
            let found = executor.buffersize(9).map_unordered(work, items);
            let (good, bad): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
            let expected = (base..base + TASKS).filter(|n| !n.is_multiple_of(7));
            let mut good: Vec<u32> = good.into_iter().map(Result::unwrap).collect();
            good.sort_unstable();
            assert!(good.into_iter().eq(expected.map(|n| n * 3)));
            bad.iter().for_each(check_panicked);
            for at in 0..TASKS {
                assert_eq!(ledger::get(oracle.words + at), 1);
            }
            return;
        }
    }
    oracle.judge();
}

fn wait_for_all(oracle: &Oracle, executor: &Handle) {
    let (places, mut left): (Vec<u32>, Vec<_>) = oracle.submit(executor).into_iter().unzip();
    let ids: Vec<u64> = left.iter().map(Future::id).collect();
    for mode in [ReturnWhen::FirstCompleted, ReturnWhen::FirstException]
        .into_iter()
        .cycle()
    {
        let hurry = wait_timeout(left, mode, Duration::from_micros(50));
        let (done, not_done) = match hurry {
            (done, not_done) if done.is_empty() => wait(not_done, mode),
            both => both,
        };
        for future in done {
            let at = ids.iter().position(|id| *id == future.id()).unwrap();
            oracle.take(places[at], future.result());
        }
        left = not_done;
        if left.is_empty() {
            return;
        }
    }
}

fn eight_threads<C: Concurrent>() {
    let executor = C::make(3);
    let limited = executor.handle().clone().with_max_pending(50);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (executor, limited) = (executor.handle(), &limited);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let base = (number * ROUNDS + round) * 1000;
                    let handle = if round % 3 == 0 { limited } else { executor };
                    one_round(handle, (number + round) % 8, base);
                }
            });
        }
    });
    check_usable(&executor);
}

/// Submitted by one thread, cancelled by another, waited for by a third, looked at by a fourth.
fn handed_around<C: Concurrent>() {
    let executor = C::make(2);
    for round in 0..50 {
        let oracle = Oracle::new(round * 1000);
        let futures = oracle.submit(executor.handle());
        let cancellers: Vec<_> = futures
            .iter()
            .map(|(_, future)| future.canceller())
            .collect();
        let answers: Vec<AtomicU32> = (0..TASKS).map(|_| AtomicU32::new(0)).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for (at, canceller) in cancellers.iter().enumerate().rev().step_by(2) {
                    answers[at].fetch_or(u32::from(canceller.cancel()), Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                for (at, canceller) in cancellers.iter().enumerate().step_by(3) {
                    answers[at].fetch_or(u32::from(canceller.cancel()), Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                while !cancellers.iter().all(|canceller| canceller.done()) {
                    assert!(
                        !cancellers
                            .iter()
                            .any(|one| one.cancelled() && one.running())
                    );
                }
            });
            for (at, future) in futures {
                oracle.take(at, future.result());
            }
        });
        for (cancelled, answer) in oracle.cancelled.iter().zip(&answers) {
            let (cancelled, answer) = (
                cancelled.load(Ordering::Relaxed),
                answer.load(Ordering::Relaxed),
            );
            assert_eq!(cancelled, answer);
        }
        oracle.judge();
    }
    check_usable(&executor);
}
