//! Rows H: what only threads do.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use procession_executor::{Executor, ProcessPoolExecutor, TaskError, ThreadPoolExecutor};
use procession_testkit::{Case, cases, ledger};

use super::threads as parity;
use crate::common::{Gate, double, note};

pub(crate) fn cases() -> Vec<Case> {
    cases![parity:
        h01_map_submits_without_iteration, h02_default_workers, h03_saturation,
        h03_idle_thread_reuse, h04_map_timeout_cancels, h05_thread_names, h06_pools_beside_threads,
    ]
    .into()
}

fn h01_map_submits_without_iteration() {
    let executor = ThreadPoolExecutor::with_workers(5).unwrap();
    let word = ledger::reserve(1);
    let map = executor.map(note, [word; 10]);
    executor.shutdown();
    assert_eq!(ledger::get(word), 10);
    drop(map);
}

fn h02_default_workers() {
    let executor = ThreadPoolExecutor::new().unwrap();
    let expected = (procession_executor::cpu_count().get() + 4).min(32);
    // As many run at once, and no more.
    let gate = Gate::new();
    let name = |words: u32| {
        Gate::pass(words);
        thread::current().name().unwrap_or_default().to_owned()
    };
    let count = 2 * expected;
    let futures: Vec<_> = (0..count)
        .map(|_| executor.submit(name, gate.words()))
        .collect();
    gate.await_begun(expected as u32);
    gate.open(1);
    let names: HashSet<String> = futures.into_iter().map(|f| f.result().unwrap()).collect();
    assert_eq!(names.len(), expected);
}

fn name_at(words: u32) -> String {
    Gate::pass(words);
    thread::current().name().unwrap_or_default().to_owned()
}

fn h03_saturation() {
    let executor = ThreadPoolExecutor::with_workers(4).unwrap();
    let gate = Gate::new();
    let futures: Vec<_> = (0..60)
        .map(|_| executor.submit(name_at, gate.words()))
        .collect();
    gate.await_begun(4);
    assert_eq!(gate.begun(), 4);
    gate.open(1);
    let names: HashSet<String> = futures.into_iter().map(|f| f.result().unwrap()).collect();
    assert_eq!(names.len(), 4);
}

fn h03_idle_thread_reuse() {
    let executor = ThreadPoolExecutor::with_workers(5).unwrap();
    let gate = Gate::new();
    gate.open(1);
    let names: HashSet<String> = (0..200)
        .map(|_| executor.submit(name_at, gate.words()).result().unwrap())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// What runs is finished, what was to come after it does not begin.
fn h04_map_timeout_cancels() {
    let executor = ThreadPoolExecutor::with_workers(1).unwrap();
    let gate = Gate::new();
    let words = ledger::reserve(3);
    let task = |(gate, word): (u32, u32)| {
        ledger::note(word);
        Gate::pass(gate)
    };
    let items = (0..3).map(|n| (gate.words(), words + n));
    let mut map = executor
        .chunksize(1)
        .map_timeout(Duration::ZERO)
        .map(task, items);
    gate.await_begun(1);
    assert!(matches!(map.next(), Some(Err(TaskError::Unfinished))));
    gate.open(1);
    executor.shutdown();
    assert_eq!([0, 1, 2].map(|n| ledger::get(words + n)), [1, 0, 0]);
}

fn h05_thread_names() {
    let names = |executor: &ThreadPoolExecutor| {
        let gate = Gate::new();
        let futures: Vec<_> = (0..5)
            .map(|_| executor.submit(name_at, gate.words()))
            .collect();
        gate.await_begun(5);
        gate.open(1);
        let names = futures.into_iter().map(|future| future.result().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let builder = ThreadPoolExecutor::builder()
        .workers(5)
        .thread_name_prefix("SpecialPool");
    let special = names(&builder.build().unwrap());
    assert!(
        special.iter().eq(&(0..5)
            .map(|n| format!("SpecialPool_{n}"))
            .collect::<Vec<_>>())
    );
    let usual = names(&ThreadPoolExecutor::with_workers(5).unwrap());
    let (prefix, last) = usual[0].rsplit_once('_').unwrap();
    let number = prefix.strip_prefix("ThreadPoolExecutor-").unwrap();
    assert!(number.parse::<u32>().is_ok() && last == "0");
    assert!(
        usual
            .iter()
            .eq(&(0..5).map(|n| format!("{prefix}_{n}")).collect::<Vec<_>>())
    );
}

fn h06_pools_beside_threads() {
    let threads = ThreadPoolExecutor::with_workers(2).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                threads.submit(double, 1).result().unwrap();
            }
        });
        for n in 0..50 {
            let processes = ProcessPoolExecutor::with_workers(1).unwrap();
            assert_eq!(processes.submit(double, n).result().unwrap(), n * 2);
        }
        over.store(true, Ordering::Relaxed);
    });
}
