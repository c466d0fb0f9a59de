//! Rows E: what any executor does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use procession_executor::{
    Executor, Future, PoolError, ProcessPoolExecutor, TaskError, ThreadPoolExecutor, TrySubmitError,
};
use procession_testkit::{Case, cases, eventually, ledger, pause};
use serde::{Deserialize, Serialize};

use super::{both, executors as parity};
use crate::common::{Gate, check_closed, double, note, occupy};
use crate::conformance::Concurrent;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = both![
        e01_submit,
        e02_map,
        e03_map_exception,
        e04_map_timeout,
        e05_map_buffersize,
        e06_shutdown_race,
        e07_no_stale_references,
        e09_free_reference,
        e10_run_after_shutdown,
        e13_hang_issue12364,
        e14_cancel_futures,
        e15_hang_gh83386,
        e16_hang_gh94440,
        e17_all_work_is_done,
        e19_cancel_futures_no_wait,
    ];
    cases.extend(cases![parity:
        e08_max_workers, e18_processes_on_demand, e20_initializer_of_processes,
        e20_initializer_of_threads, e21_failing_initializer_of_processes,
        e21_failing_initializer_of_threads,
    ]);
    cases
}

#[derive(Serialize, Deserialize)]
struct Named {
    base: u64,
    exponent: u32,
}

fn e01_submit<C: Concurrent>() {
    let executor = C::make(5);
    let power = |(base, exponent): (u64, u32)| base.pow(exponent);
    assert_eq!(executor.submit(power, (2, 8)).result().unwrap(), 256);
    let named = |named: Named| named.base.pow(named.exponent);
    let item = Named {
        base: 2,
        exponent: 8,
    };
    assert_eq!(executor.submit(named, item).result().unwrap(), 256);
}

fn e02_map<C: Concurrent>() {
    let executor = C::make(5);
    let pairs = || (0..10_u64).zip(0..10_u32);
    let expected = || pairs().map(|(base, exponent)| base.pow(exponent));
    for handle in [executor.handle().clone(), executor.chunksize(3)] {
        let found = handle.starmap(|base: u64, exponent| base.pow(exponent), pairs());
        assert!(found.map(Result::unwrap).eq(expected()));
    }
}

fn e03_map_exception<C: Concurrent>() {
    let executor = C::make(5);
    let pairs = [(1, 1), (2, 1), (3, 0), (4, 1_u32)];
    let mut map = executor.starmap(|a, b| (a / b, a % b), pairs);
    assert_eq!(map.next().unwrap().unwrap(), (1, 0));
    assert_eq!(map.next().unwrap().unwrap(), (2, 0));
    assert!(matches!(map.next(), Some(Err(TaskError::Panicked(_)))));
    // Where Python's is at its end.
    assert_eq!(map.next().unwrap().unwrap(), (4, 0));
}

fn e04_map_timeout<C: Concurrent>() {
    let executor = C::make(2);
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    gates[0].open(1);
    gates[1].open(1);
    let words: Vec<u32> = gates.iter().map(Gate::words).collect();
    let hurried = executor
        .chunksize(1)
        .map_timeout(Duration::from_millis(200));
    let mut map = hurried.map(Gate::pass, words);
    // Before it is asked: then those that are finished come, however late it is.
    gates[2].await_begun(1);
    let found: Vec<_> = map.by_ref().map(|outcome| outcome.ok()).collect();
    assert!(matches!(
        found.as_slice(),
        [Some(1), Some(1), None] | [Some(1), None] | [None]
    ));
    assert!(map.next().is_none());
}

fn e05_map_buffersize<C: Concurrent>() {
    let executor = C::make(2);
    let texts = executor.buffersize(2).map(|n: u32| n.to_string(), 0..);
    assert!(texts.take(3).map(Result::unwrap).eq(["0", "1", "2"]));
    let sums = executor
        .buffersize(2)
        .starmap(|a, b| a + b, (0..).zip(0_u32..));
    assert!(sums.take(3).map(Result::unwrap).eq([0, 2, 4]));
    assert!(executor.buffersize(2).map(double, []).next().is_none());
    let mut ints = 0..4;
    let map = executor.buffersize(2).map(double, ints.by_ref());
    executor.shutdown();
    drop(map);
    assert_eq!(ints.next(), Some(2), "exactly two were taken");
}

fn e06_shutdown_race<C: Concurrent>() {
    for workers in [1, 5] {
        let executor = C::make(workers);
        let map = executor.map(double, 0..workers as u32 + 1);
        executor.shutdown();
        assert!(
            map.map(Result::unwrap)
                .eq((0..workers as u32 + 1).map(double))
        );
    }
}

static LIVING: AtomicU32 = AtomicU32::new(0);

/// Is counted as long as it lives in this process.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Counted {
        LIVING.fetch_add(1, Ordering::Relaxed);
        Counted
    }
}

impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Counted::new())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

fn living() -> u32 {
    LIVING.load(Ordering::Relaxed)
}

/// Of the item, and of a value that nobody wants.
fn e07_no_stale_references<C: Concurrent>() {
    let executor = C::make(1);
    LIVING.store(0, Ordering::Relaxed);
    drop(executor.submit(|item: Counted| item, Counted::new()));
    eventually("all have been dropped", || match living() {
        0 => Ok(()),
        left => Err(format!("{left} are left")),
    });
}

fn e09_free_reference<C: Concurrent>() {
    let executor = C::make(2);
    LIVING.store(0, Ordering::Relaxed);
    let mut map = executor.chunksize(1).map(|_: u32| Counted::new(), 0..10);
    executor.shutdown();
    for left in (0..10).rev() {
        let value = map.next().unwrap().unwrap();
        drop(value);
        assert_eq!(living(), left);
    }
    assert!(map.next().is_none());
}

fn e08_max_workers() {
    for result in [
        ProcessPoolExecutor::with_workers(0).map(drop),
        ThreadPoolExecutor::with_workers(0).map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, PoolError::WorkerCount(0)));
        assert_eq!(error.to_string(), "a pool has 1 to 4000 workers, not 0");
    }
}

fn e10_run_after_shutdown<C: Concurrent>() {
    let executor = C::make(5);
    executor.shutdown();
    check_closed(&executor.submit(double, 2).result());
    let refused = executor.try_submit(double, 2);
    assert!(matches!(
        refused,
        Err(TrySubmitError::Closed(2, TaskError::Closed))
    ));
}

fn e13_hang_issue12364<C: Concurrent>() {
    let executor = C::make(5);
    let task = |n: u64| {
        pause(Duration::from_micros(200));
        n
    };
    let futures: Vec<_> = (0..50).map(|n| executor.submit(task, n)).collect();
    executor.shutdown();
    for (n, future) in (0..).zip(futures) {
        assert!(future.done());
        assert_eq!(future.result().unwrap(), n);
    }
}

fn e14_cancel_futures<C: Concurrent>() {
    let executor = C::make(5);
    let finished = executor.submit(double, 1);
    finished.wait();
    let (busy, gate) = occupy(&executor, 5);
    let queued: Vec<_> = (0..45).map(|n| executor.submit(double, n)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| executor.shutdown_now());
        queued.iter().for_each(Future::wait);
        gate.open(1);
    });
    // Where Python has more than 20, for some are with its workers.
    assert!(queued.iter().all(Future::cancelled));
    for future in busy.iter().chain([&finished]) {
        assert!(future.done() && !future.cancelled() && future.exception().is_none());
    }
}

fn e15_hang_gh83386<C: Concurrent>() {
    let word = ledger::reserve(1);
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let behind = executor.submit(note, word);
    executor.shutdown_no_wait();
    gate.open(1);
    drop((executor, busy, behind));
    assert_eq!(ledger::get(word), 1);
}

fn e16_hang_gh94440<C: Concurrent>() {
    for _ in 0..20 {
        let executor = C::make(1);
        let future = executor.submit(double, 1);
        future.cancel();
        executor.shutdown();
        assert!(future.done());
    }
}

fn e17_all_work_is_done<C: Concurrent>() {
    let word = ledger::reserve(1);
    let work = |executor: &C::Executor| {
        for _ in 0..10 {
            drop(executor.submit(note, word));
        }
    };
    let executor = C::make(5);
    work(&executor);
    executor.shutdown();
    assert_eq!(ledger::get(word), 10);
    let executor = C::make(5);
    work(&executor);
    drop(executor);
    assert_eq!(ledger::get(word), 20);
    let executor = C::make(5);
    work(&executor);
    executor.shutdown_no_wait();
    ledger::wait_for(word, 30);
}

/// Python's processes often hang.
fn e19_cancel_futures_no_wait<C: Concurrent>() {
    let executor = C::make(1);
    let (busy, gate) = occupy(&executor, 1);
    let queued: Vec<_> = (0..20).map(|n| executor.submit(double, n)).collect();
    for future in &queued {
        assert!(future.cancel());
    }
    executor.shutdown_no_wait();
    gate.open(1);
    drop(executor);
    assert!(busy.iter().all(Future::done) && queued.iter().all(Future::cancelled));
}

fn e18_processes_on_demand() {
    let executor = ProcessPoolExecutor::builder()
        .workers(5)
        .lazy()
        .build()
        .unwrap();
    assert_eq!(executor.pool().worker_pids().len(), 0);
    let (busy, gate) = occupy(&executor, 3);
    assert_eq!(executor.pool().worker_pids().len(), 3);
    gate.open(1);
    drop(busy);
    executor.shutdown();
    assert_eq!(executor.pool().worker_pids().len(), 0);
    let executor = ProcessPoolExecutor::with_workers(5).unwrap();
    assert_eq!(executor.pool().worker_pids().len(), 5);
    executor.shutdown();
    assert_eq!(executor.pool().worker_pids().len(), 0);
}

static STATUS: OnceLock<String> = OnceLock::new();

fn e20_initializer_of_processes() {
    let builder = ProcessPoolExecutor::builder().workers(2);
    let builder = builder.initializer(|text: String| STATUS.set(text), "initialised".to_owned());
    let executor = builder.build().unwrap();
    let found = executor
        .chunksize(1)
        .map(|()| STATUS.get().cloned(), [(); 20]);
    assert!(
        found
            .map(Result::unwrap)
            .all(|text| text.as_deref() == Some("initialised"))
    );
    assert!(STATUS.get().is_none(), "not here");
}

fn e20_initializer_of_threads() {
    thread_local! {
        static STATUS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    let builder = ThreadPoolExecutor::builder().workers(3);
    let executor = builder
        .initializer(|| STATUS.set(STATUS.get() + 1))
        .build()
        .unwrap();
    let gate = Gate::new();
    let task = |words: u32| {
        Gate::pass(words);
        STATUS.get()
    };
    let futures: Vec<_> = (0..20)
        .map(|_| executor.submit(task, gate.words()))
        .collect();
    gate.await_begun(3);
    gate.open(1);
    for future in futures {
        assert_eq!(future.result().unwrap(), 1, "once in each");
    }
    assert_eq!(STATUS.get(), 0);
}

fn e21_failing_initializer_of_processes() {
    let failures: [fn(u32) -> Result<(), String>; 2] = [
        |_| Err("error in initialiser".to_owned()),
        |_| panic!("the initialiser's panic"),
    ];
    for failure in failures {
        let builder = ProcessPoolExecutor::builder()
            .workers(2)
            .initializer(failure, 1);
        let executor = builder.build().unwrap();
        let futures: Vec<_> = (0..5).map(|n| executor.submit(double, n)).collect();
        let map = executor.map(double, 0..5);
        let is_it =
            |outcome: &Result<u32, TaskError>| matches!(outcome, Err(TaskError::InitFailed(_)));
        for future in futures {
            let outcome = future.result();
            assert!(is_it(&outcome), "{outcome:?}");
        }
        assert!(map.map(|outcome| is_it(&outcome)).eq([true; 5]));
        let later = executor.submit(double, 1).result();
        assert!(is_it(&later), "{later:?}");
        executor.shutdown();
    }
}

fn e21_failing_initializer_of_threads() {
    for panics in [false, true] {
        let gate = Gate::new();
        let words = gate.words();
        let builder = ThreadPoolExecutor::builder()
            .workers(2)
            .initializer(move || {
                // So that several are pending by then.
                Gate::pass(words);
                assert!(!panics, "the task's panic");
                Err::<(), _>("error in initialiser")
            });
        let executor = builder.build().unwrap();
        let futures: Vec<_> = (0..5).map(|n| executor.submit(double, n)).collect();
        gate.open(1);
        let text = if panics {
            "the task's panic"
        } else {
            "error in initialiser"
        };
        let is_it = |outcome: &Result<u32, TaskError>| matches!(outcome, Err(TaskError::NoWorkers(why)) if why.contains(text));
        for future in futures {
            let outcome = future.result();
            assert!(is_it(&outcome), "{outcome:?}");
        }
        let later = executor.submit(double, 1).result();
        assert!(is_it(&later), "{later:?}");
        assert!(executor.map(double, 0..3).all(|outcome| is_it(&outcome)));
        executor.shutdown();
    }
}
