//! What only one of the executors has.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use procession_executor::{
    Executor, Future, InlineExecutor, PoolError, Priority, ProcessPoolExecutor, TaskError,
    ThreadPoolExecutor, TrySubmitError, as_completed,
};
use procession_testkit::{Case, cases, eventually, ledger, os, procfs};

use super::own;
use crate::common::{Gate, check_cancelled, check_closed, check_usable, double, note, occupy};

pub(crate) fn cases() -> Vec<Case> {
    cases![own:
        limits_of_builders, numbers_of_workers, kill_workers, kill_workers_in_a_callback,
        pool_and_executor, a_program_of_handles, inline_at_the_call, inline_within_inline,
        inline_in_many_threads, slow_callbacks, slow_callbacks_of_threads, threads_within_threads,
        shutdown_within_a_task, executors_in_workers, all_three_together,
        futures_of_a_dropped_executor_keep_no_worker, urgent_ones_first,
    ]
    .into()
}

fn is_full(outcome: &Result<Future<u32>, TrySubmitError<u32>>) -> bool {
    matches!(outcome, Err(TrySubmitError::Full(_)))
}

fn limits_of_builders() {
    fn check(executor: impl Executor) {
        let gate = Gate::new();
        let futures = [gate.submit(&executor), gate.submit(&executor)];
        assert!(is_full(&executor.try_submit(double, 1)));
        assert!(is_full(&executor.retries(1).try_submit(double, 1)));
        gate.open(1);
        for future in futures {
            future.result().unwrap();
        }
        check_usable(&executor);
    }
    let builder = ProcessPoolExecutor::builder().workers(1).max_pending(2);
    check(builder.build().unwrap());
    let builder = ThreadPoolExecutor::builder().workers(1).max_pending(2);
    check(builder.build().unwrap());
}

/// E08 of Python's tests.
fn numbers_of_workers() {
    for none in [0, 1 << 20] {
        let error = ProcessPoolExecutor::with_workers(none).unwrap_err();
        assert!(matches!(error, PoolError::WorkerCount(count) if count == none));
        let error = ThreadPoolExecutor::with_workers(none).unwrap_err();
        assert!(matches!(error, PoolError::WorkerCount(count) if count == none));
    }
    let executor = ProcessPoolExecutor::new().unwrap();
    assert_eq!(
        executor.pool().workers(),
        procession_executor::cpu_count().get()
    );
    check_usable(&executor);
}

fn endless(begun: u32) {
    ledger::note(begun);
    os::sleep_for_ever();
}

fn is_gone(pid: u32) -> bool {
    procfs::state_and_parent(pid).is_none_or(|(state, _)| state == 'Z')
}

fn kill_workers() {
    for _ in 0..2 {
        let executor = ProcessPoolExecutor::with_workers(2).unwrap();
        let (begun, word) = (ledger::reserve(1), ledger::reserve(1));
        let running: Vec<_> = (0..2).map(|_| executor.submit(endless, begun)).collect();
        let queued: Vec<_> = (0..20).map(|_| executor.submit(note, word)).collect();
        let map = executor.chunksize(3).map(note, [word; 10]);
        ledger::wait_for(begun, 2);
        let pids = executor.pool().worker_pids();
        executor.kill_workers();
        assert_eq!(executor.pool().worker_pids(), []);
        assert!(pids.into_iter().all(is_gone));
        for future in running {
            let outcome = future.result();
            let Err(TaskError::WorkerDied(death)) = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(death.signal(), Some(libc::SIGKILL));
        }
        for future in queued {
            check_cancelled(&future.result());
        }
        map.for_each(|outcome| check_cancelled(&outcome));
        check_closed(&executor.submit(double, 1).result());
        executor.kill_workers();
        executor.shutdown();
        assert_eq!(ledger::get(word), 0);
    }
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    executor.kill_workers();
    let executor = ProcessPoolExecutor::with_workers(1).unwrap();
    executor.shutdown();
    executor.kill_workers();
}

fn kill_workers_in_a_callback() {
    for awaited in [true, false] {
        let executor = std::sync::Arc::new(ProcessPoolExecutor::with_workers(2).unwrap());
        let gate = Gate::new();
        let begun = ledger::reserve(1);
        let first = gate.submit(&executor);
        let running: Vec<_> = (0..3).map(|_| executor.submit(endless, begun)).collect();
        ledger::wait_for(begun, 1);
        let own = std::sync::Arc::clone(&executor);
        let (tell, told) = std::sync::mpsc::channel();
        first.add_done_callback(move |_| {
            own.kill_workers();
            drop(own);
            tell.send(()).unwrap();
        });
        gate.open(1);
        if awaited {
            first.wait();
        }
        told.recv().unwrap();
        assert_eq!(first.result().unwrap(), 1);
        for future in running {
            let outcome = future.result();
            let is_told = matches!(
                outcome,
                Err(TaskError::WorkerDied(_) | TaskError::Cancelled)
            );
            assert!(is_told, "{outcome:?}");
        }
        assert_eq!(executor.pool().worker_pids(), []);
    }
}

/// The same workers, by both of their interfaces.
fn pool_and_executor() {
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let future = executor.submit(double, 1);
    assert_eq!(executor.pool().apply(double, 2).unwrap(), 4);
    let handle = executor.pool().apply_async(double, 3);
    assert_eq!(future.result().unwrap(), 2);
    assert_eq!(handle.get().unwrap(), 6);
    let found = executor.pool().map(double, 0..50).unwrap();
    assert!(found.into_iter().eq((0..50).map(double)));
    executor.pool().resize(1).unwrap();
    check_usable(&executor);
    executor.pool().resize(3).unwrap();
    check_usable(&executor);
    executor.pool().close();
    check_closed(&executor.submit(double, 1).result());
}

/// Which one it is is known when the program runs.
fn a_program_of_handles() {
    let processes = ProcessPoolExecutor::with_workers(1).unwrap();
    let threads = ThreadPoolExecutor::with_workers(1).unwrap();
    let inline = InlineExecutor::default();
    let handles = [&processes as &dyn AsHandle, &threads, &inline].map(AsHandle::get);
    for handle in &handles {
        check_usable(handle);
    }
    let futures = handles
        .iter()
        .flat_map(|handle| (0..10).map(|n| handle.submit(double, n)));
    let sum: u32 = as_completed(futures)
        .map(|future| future.result().unwrap())
        .sum();
    assert_eq!(sum, 3 * 90);
}

/// What a user would write to keep executors of several kinds.
trait AsHandle {
    fn get(&self) -> procession_executor::Handle;
}

impl<E: Executor> AsHandle for E {
    fn get(&self) -> procession_executor::Handle {
        self.handle().clone()
    }
}

fn inline_at_the_call() {
    let executor = InlineExecutor::new();
    let word = ledger::reserve(1);
    let future = executor.submit(note, word);
    assert!(future.done() && ledger::get(word) == 1);
    let here = executor.submit(
        |()| procession_testkit::dice::dice(2) + u64::from(std::process::id()) * 2,
        (),
    );
    assert_eq!(here.result().unwrap() / 2, u64::from(std::process::id()));
    let map = executor
        .chunksize(1)
        .buffersize(3)
        .map(note, std::iter::repeat(word));
    assert_eq!(ledger::get(word), 4);
    drop(map);
    assert_eq!(ledger::get(word), 4);
}

/// A task has no executor but one that it can find.
fn inline_within_inline() {
    thread_local! {
        static EXECUTOR: InlineExecutor = InlineExecutor::new();
    }
    fn sum(n: u32) -> u32 {
        match n {
            0 => 0,
            n => {
                n + EXECUTOR
                    .with(|executor| executor.submit(sum, n - 1))
                    .result()
                    .unwrap()
            }
        }
    }
    assert_eq!(sum(20), 210);
    // Within its own task it does not wait for itself.
    let end = |()| EXECUTOR.with(|executor| executor.shutdown_timeout(Duration::from_secs(3600)));
    assert!(
        !EXECUTOR
            .with(|executor| executor.submit(end, ()))
            .result()
            .unwrap()
    );
    assert!(EXECUTOR.with(|executor| executor.shutdown_timeout(Duration::ZERO)));
}

fn inline_in_many_threads() {
    let executor = InlineExecutor::new();
    let gate = Gate::new();
    thread::scope(|scope| {
        let busy = scope.spawn(|| gate.submit(&executor));
        gate.await_begun(1);
        // The others are not held up.
        check_usable(&executor);
        assert!(!executor.shutdown_timeout(Duration::ZERO));
        assert!(!executor.shutdown_timeout(Duration::from_millis(1)));
        let end = scope.spawn(|| executor.shutdown());
        gate.open(3);
        end.join().unwrap();
        assert_eq!(busy.join().unwrap().result().unwrap(), 3);
    });
}

/// Others get their outcomes meanwhile.
fn check_slow_callback(executor: &impl Executor) {
    let gate = Gate::new();
    let first = gate.submit(executor);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    first.add_done_callback(move |_| {
        tell.send(()).unwrap();
        released.recv().unwrap();
    });
    gate.open(1);
    told.recv().unwrap();
    assert!(!first.done() && !first.wait_timeout(Duration::ZERO));
    for n in 0..50 {
        assert_eq!(executor.submit(double, n).result().unwrap(), n * 2);
    }
    check_usable(executor);
    assert!(!executor.shutdown_timeout(Duration::ZERO));
    release.send(()).unwrap();
    assert_eq!(first.result().unwrap(), 1);
    executor.shutdown();
}

fn slow_callbacks() {
    check_slow_callback(&ProcessPoolExecutor::with_workers(1).unwrap());
}

fn slow_callbacks_of_threads() {
    check_slow_callback(&ThreadPoolExecutor::with_workers(2).unwrap());
}

/// A task that submits to its own executor, and waits.
fn threads_within_threads() {
    static EXECUTOR: std::sync::Mutex<Option<procession_executor::Handle>> =
        std::sync::Mutex::new(None);
    fn sum(n: u32) -> u32 {
        let handle = EXECUTOR.lock().unwrap().clone().unwrap();
        match n {
            0 => 0,
            n => n + handle.submit(sum, n - 1).result().unwrap(),
        }
    }
    // One for each that waits, and one that runs.
    let executor = ThreadPoolExecutor::with_workers(9).unwrap();
    *EXECUTOR.lock().unwrap() = Some(executor.handle().clone());
    assert_eq!(executor.submit(sum, 8).result().unwrap(), 36);
    EXECUTOR.lock().unwrap().take();
}

/// In one of its own threads it would wait for itself.
fn shutdown_within_a_task() {
    static EXECUTOR: std::sync::Mutex<Option<procession_executor::Handle>> =
        std::sync::Mutex::new(None);
    let executor = ThreadPoolExecutor::with_workers(2).unwrap();
    *EXECUTOR.lock().unwrap() = Some(executor.handle().clone());
    let end = |()| {
        let handle = EXECUTOR.lock().unwrap().take().unwrap();
        handle.shutdown();
        handle.shutdown_timeout(Duration::from_secs(3600))
    };
    assert!(!executor.submit(end, ()).result().unwrap());
    check_closed(&executor.submit(double, 1).result());
    executor.shutdown();
}

/// F67: whoever is a worker may have executors, too.
fn executors_in_workers() {
    fn sum(workers: usize) -> u32 {
        let inner = ProcessPoolExecutor::with_workers(workers).unwrap();
        let threads = ThreadPoolExecutor::with_workers(workers).unwrap();
        let other: u32 = threads.map(double, 0..10).map(Result::unwrap).sum();
        other + inner.map(double, 0..10).map(Result::unwrap).sum::<u32>()
    }
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let found = executor.map(sum, [1, 2, 1, 2]);
    assert!(found.map(Result::unwrap).eq([180; 4]));
    let threads = ThreadPoolExecutor::with_workers(2).unwrap();
    let found = threads.map(sum, [1, 2, 1, 2]);
    assert!(found.map(Result::unwrap).eq([180; 4]));
}

fn all_three_together() {
    let processes = ProcessPoolExecutor::with_workers(1).unwrap();
    let threads = ThreadPoolExecutor::with_workers(1).unwrap();
    let inline = InlineExecutor::new();
    // Each number goes through all of them.
    let first = processes.map(double, 0..100).map(Result::unwrap);
    let second = threads.map(double, first).map(Result::unwrap);
    let third = inline.map(double, second).map(Result::unwrap);
    assert!(third.eq((0..100).map(|n| n * 8)));
    let (busy, gate) = occupy(&processes, 1);
    let (also, other) = occupy(&threads, 1);
    let names: HashSet<u64> = busy.iter().chain(&also).map(Future::id).collect();
    gate.open(1);
    other.open(1);
    let found: HashSet<u64> = as_completed(busy.into_iter().chain(also))
        .map(|f| f.id())
        .collect();
    assert_eq!(found, names);
}

/// Nor anything else: outcomes that nobody takes are all that is left.
fn futures_of_a_dropped_executor_keep_no_worker() {
    let executor = ProcessPoolExecutor::with_workers(2).unwrap();
    let futures: Vec<_> = (0..10).map(|n| executor.submit(double, n)).collect();
    let pids = executor.pool().worker_pids();
    assert_eq!(pids.len(), 2);
    drop(executor);
    eventually("its workers are gone", || {
        let left: Vec<_> = pids.iter().filter(|pid| !is_gone(**pid)).collect();
        left.is_empty()
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n * 2);
    }
}

fn urgent_ones_first() {
    fn check(executor: impl Executor) {
        let (busy, gate) = occupy(&executor, 1);
        let turn = |word: u32| {
            ledger::note(word);
            ledger::get(word)
        };
        let word = ledger::reserve(1);
        let submit = |priority| {
            let view = executor.priority(priority);
            [(); 3].map(|()| view.submit(turn, word))
        };
        let (low, normal) = (submit(Priority::Low), submit(Priority::Normal));
        let high = submit(Priority::High);
        gate.open(1);
        let turns = |futures: [Future<u32>; 3]| futures.map(|future| future.result().unwrap());
        assert_eq!(
            [high, normal, low].map(turns),
            [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
        );
        drop(busy);
    }
    check(ProcessPoolExecutor::with_workers(1).unwrap());
    check(ThreadPoolExecutor::with_workers(1).unwrap());
}
