//! Threads: how many, which names, and how they end.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use procession_pool::{PoolError, TaskError};

use super::ThreadPoolExecutor;
use crate::executor::Executor;
use crate::future::Future;
use crate::manual::Gate;

fn same(n: u32) -> u32 {
    n
}

fn name(_: ()) -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

fn with(workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::with_workers(workers).unwrap()
}

#[test]
fn a_number_of_workers_has_bounds() {
    for count in [0, 1 << 20] {
        let refused = ThreadPoolExecutor::with_workers(count);
        assert!(matches!(refused, Err(PoolError::WorkerCount(n)) if n == count));
    }
    let slots = ThreadPoolExecutor::new()
        .unwrap()
        .handle()
        .backend()
        .hints()
        .slots;
    assert_eq!(slots, (procession_pool::cpu_count().get() + 4).min(32));
}

#[test]
fn threads_start_on_demand_and_are_used_again() {
    let builder = ThreadPoolExecutor::builder().workers(8);
    let executor = builder.thread_name_prefix("Spe\0cial").build().unwrap();
    for _ in 0..200 {
        assert_eq!(executor.submit(name, ()).result().unwrap(), "Special_0");
    }

    static GATE: Gate = Gate::new();
    let blocked = |(): ()| {
        GATE.pass();
        name(())
    };
    let executor = with(4);
    let futures: Vec<_> = (0..60).map(|_| executor.submit(blocked, ())).collect();
    assert!(format!("{executor:?}").contains("threads: 4"));
    GATE.open();
    let names = futures.into_iter().map(|future| future.result().unwrap());
    let names: HashSet<String> = names.collect();
    assert!(names.len() <= 4);
    let numbers: Vec<_> = names
        .iter()
        .map(|name| name.rsplit_once('_').unwrap())
        .collect();
    for (prefix, number) in numbers {
        assert!(prefix.starts_with("ThreadPoolExecutor-"), "{prefix}");
        assert!(number.parse::<usize>().unwrap() < 4);
    }
}

/// A callback runs on the thread that counts as free: the task for which it waits needs another one.
#[test]
fn a_callback_may_wait_for_another_task() {
    static GATE: Gate = Gate::new();
    let executor = with(2);
    let first = executor.submit(|(): ()| GATE.pass(), ());
    let (sender, receiver) = channel();
    let handle = executor.handle().clone();
    first.add_done_callback(move |_| {
        sender.send(handle.submit(same, 1).result()).unwrap();
    });
    GATE.open();
    assert!(matches!(receiver.recv().unwrap(), Ok(1)));
}

#[test]
fn a_callback_takes_no_thread_from_what_was_submitted() {
    static GATE: Gate = Gate::new();
    let executor = Arc::new(with(2));
    let first = executor.submit(|(): ()| GATE.pass(), ());
    let (sender, receiver) = channel::<Future<u32>>();
    first.add_done_callback(move |_| {
        // Submitted by another thread, before or after this callback began.
        assert!(matches!(receiver.recv().unwrap().result(), Ok(2)));
    });
    GATE.open();
    sender.send(executor.submit(same, 2)).unwrap();
    first.wait();
}

#[test]
fn what_has_not_begun_can_be_cancelled() {
    static GATE: Gate = Gate::new();
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let executor = with(1);
    let (sender, receiver) = channel();
    let running = executor.submit(|(): ()| GATE.pass(), ());
    let queued: Vec<_> = (0..100)
        .map(|_| executor.submit(|(): ()| RUN.fetch_add(1, Ordering::Relaxed), ()))
        .collect();
    queued[0].add_done_callback(move |outcome| {
        let cancelled = matches!(outcome, Err(TaskError::Cancelled));
        sender.send(cancelled).unwrap();
    });
    let both = [queued[0].canceller(), queued[0].canceller()];
    let both = both.map(|canceller| thread::spawn(move || canceller.cancel()));
    assert_eq!(both.map(|one| one.join().unwrap()), [true, true]);
    assert!(receiver.recv().unwrap());
    assert!(queued.iter().all(Future::cancel) && queued.iter().all(Future::cancelled));
    while !running.running() {
        thread::yield_now();
    }
    assert!(!running.cancel() && !running.kill());
    GATE.open();
    assert!(running.result().is_ok());
    executor.shutdown();
    assert_eq!(RUN.load(Ordering::Relaxed), 0);
}

#[test]
fn cancel_and_run_exclude_each_other() {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let executor = with(2);
    let mut cancelled = 0;
    for _ in 0..2000 {
        let future = executor.submit(|(): ()| RUN.fetch_add(1, Ordering::Relaxed), ());
        let told = future.cancel();
        cancelled += usize::from(told);
        assert_eq!(matches!(future.result(), Err(TaskError::Cancelled)), told);
    }
    executor.shutdown();
    assert_eq!(RUN.load(Ordering::Relaxed), 2000 - cancelled);
}

#[test]
fn shutdown_finishes_cancels_or_leaves() {
    let executor = with(2);
    let futures: Vec<_> = (0..50).map(|n| executor.submit(same, n)).collect();
    executor.shutdown();
    assert!(futures.iter().all(Future::done));
    executor.shutdown();
    let refused = executor.submit(same, 1);
    assert!(refused.done() && matches!(refused.result(), Err(TaskError::Closed)));

    static GATE: Gate = Gate::new();
    let executor = with(1);
    let blocked = |(): ()| GATE.pass();
    let futures: Vec<_> = (0..20).map(|_| executor.submit(blocked, ())).collect();
    while !futures[0].running() {
        thread::yield_now();
    }
    executor.shutdown_no_wait();
    assert!(!executor.shutdown_timeout(Duration::ZERO));
    thread::scope(|scope| {
        let ended = scope.spawn(|| executor.shutdown_now());
        futures[19].wait();
        GATE.open();
        ended.join().unwrap();
    });
    let cancelled: Vec<_> = futures.iter().map(Future::cancelled).collect();
    assert!(!cancelled[0] && cancelled[1..].iter().all(|cancelled| *cancelled));
    assert!(executor.shutdown_timeout(Duration::ZERO));
}

#[test]
fn an_own_thread_and_a_callback_do_not_wait_for_the_end() {
    static OWN: std::sync::OnceLock<crate::Handle> = std::sync::OnceLock::new();
    let executor = with(1);
    let _ = OWN.set(executor.handle().clone());
    let inside = executor.submit(
        |(): ()| {
            OWN.get().unwrap().shutdown();
            OWN.get()
                .unwrap()
                .shutdown_timeout(Duration::from_secs(3600))
        },
        (),
    );
    assert!(!inside.result().unwrap());

    static GATE: Gate = Gate::new();
    let executor = with(1);
    let future = executor.submit(|(): ()| GATE.pass(), ());
    let (sender, receiver) = channel();
    future.add_done_callback(move |_| {
        drop(executor);
        sender.send(()).unwrap();
    });
    GATE.open();
    receiver.recv().unwrap();
}

#[test]
fn tries_again_what_may_end_otherwise() {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let third = |n: u32| {
        assert!(
            RUN.fetch_add(1, Ordering::Relaxed) % 3 == 2,
            "for the test of retries"
        );
        n
    };
    let executor = with(1);
    let tuned = executor.retries(2).backoff(Duration::from_micros(10));
    assert!(matches!(tuned.submit(third, 7).result(), Ok(7)));
    let never = tuned.retry_if(|error| !matches!(error, TaskError::Panicked(_)));
    assert!(matches!(
        never.submit(third, 7).result(),
        Err(TaskError::Panicked(_))
    ));
    let panics = tuned.retry_if(|_| panic!("for the test of retries"));
    assert!(matches!(
        panics.submit(third, 7).result(),
        Err(TaskError::Panicked(_))
    ));
    assert_eq!(RUN.load(Ordering::Relaxed), 5);
}

#[test]
fn an_initialiser_runs_in_each_thread_and_may_fail() {
    thread_local!(static READY: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
    let builder = ThreadPoolExecutor::builder().workers(2);
    let executor = builder
        .initializer(|| READY.set(READY.get() + 1))
        .build()
        .unwrap();
    let seen: Result<Vec<_>, _> = executor.map(|(): ()| READY.get(), [(); 20]).collect();
    assert_eq!(seen.unwrap(), [1; 20]);

    static GATE: Gate = Gate::new();
    let builder = ThreadPoolExecutor::builder().workers(2);
    let failing = || {
        GATE.pass();
        panic!("for the test of initialisers")
    };
    let executor = builder.initializer::<()>(failing).build().unwrap();
    let futures: Vec<_> = (0..10).map(|n| executor.submit(same, n)).collect();
    GATE.open();
    for future in futures.into_iter().chain([executor.submit(same, 1)]) {
        let Err(TaskError::NoWorkers(why)) = future.result() else {
            panic!("it should have failed");
        };
        assert!(why.contains("for the test of initialisers"), "{why}");
    }
}
