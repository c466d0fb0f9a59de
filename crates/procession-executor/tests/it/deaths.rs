//! Rows X01 to X21 of Python's tests: worker processes, and how they end.
//!
//! | row | case, and what differs |
//! |---|---|
//! | X01 | `x01_killed_child`: the victim alone fails; with `broken_on_crash` all: `broken::victim_running_and_pending`, `broken::later_ones` |
//! | X02 | `x02_map_chunksize`: 0 is 1, and there is no -1 |
//! | X03 | `x03_traceback`: message and place of the panic |
//! | X04 | `x04_resources_freed_in_workers`: at once, not within a second |
//! | X05 | `x05_saturation` |
//! | X06 | `x06_idle_process_reuse`: of a lazy executor, which may start one more; others start all workers at once |
//! | X07 | `x07_max_tasks_per_child`: any start method; a share is up to a quarter smaller, so of 3 it is 3 |
//! | X08 | does not apply: no start method is refused, so none is chosen instead |
//! | X09 | `x09_max_tasks_early_shutdown` |
//! | X10 | `x10_max_tasks_pending` |
//! | X11 | `x11_max_tasks_shutdown_no_wait`; a dropped executor waits, so that nothing is "garbage collected" |
//! | X12 | `x12_killed_while_a_worker_leaves`, `x12_no_replacement`: an error per task, and a new try for new ones |
//! | X13 | `x13_kill_workers`: there is one operation, and none is invalid |
//! | X14 | `x14_kill_a_running_task` |
//! | X15 | `x15_kill_dead_workers` |
//! | X16 | `x16_kill_workers_not_started` |
//! | X17 | `x17_kill_workers_stops_the_executor`: the workers are gone when it returns |
//! | X18 | `x18_exit_code_is_told` |
//! | X19 | `broken::victim_running_and_pending`: each has its own error, a value that does not grow |
//! | X20 | does not apply: no semaphores are counted |
//! | X21 | `x21_no_thread_for_the_keeper` |

use std::process::ExitCode;
use std::time::Duration;

use procession_executor::{Executor, Future, Phase, ProcessPoolExecutor, TaskError};
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, birth, cases, eventually, ledger, os, procfs, same};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::agent::{self, Act, Item, Plan, Stage, work};
use crate::common::{block_on, check_cancelled, check_closed, check_usable};
use crate::deaths;
use crate::workers::{hold, with_workers};

pub(crate) const PROGRAMS: &[(&str, Run)] = &[("without_threads", without_threads)];

pub(crate) fn cases() -> Vec<Case> {
    cases![deaths:
        x01_killed_child, x02_map_chunksize, x03_traceback, x04_resources_freed_in_workers,
        x05_saturation, x06_idle_process_reuse, x07_max_tasks_per_child,
        x09_max_tasks_early_shutdown, x10_max_tasks_pending, x11_max_tasks_shutdown_no_wait,
        x12_killed_while_a_worker_leaves, x12_no_replacement, x13_kill_workers,
        x14_kill_a_running_task, x15_kill_dead_workers, x16_kill_workers_not_started,
        x17_kill_workers_stops_the_executor, x18_exit_code_is_told,
        x21_no_thread_for_the_keeper,
    ]
    .into()
}

/// Signal, exit code and phase of a death.
#[track_caller]
fn death_of<T: std::fmt::Debug>(
    outcome: Result<T, TaskError>,
) -> (Option<i32>, Option<i32>, Phase) {
    match outcome {
        Err(TaskError::WorkerDied(death)) => (death.signal(), death.exit_code(), death.phase()),
        other => panic!("no death: {other:?}"),
    }
}

fn x01_killed_child() {
    let executor = with_workers(1);
    let words = ledger::reserve(3);
    let running = executor.submit(hold, (words, words + 2));
    let pending = executor.submit(hold, (words + 1, words + 2));
    os::send(ledger::wait(words), Signal::TERM);
    let found = death_of(running.result());
    assert_eq!(found, (Some(libc::SIGTERM), None, Phase::Running));
    ledger::set(words + 2, 1);
    assert_eq!(pending.result().unwrap(), words + 1);
    check_usable(&executor);
}

fn x02_map_chunksize() {
    let executor = with_workers(2);
    let power = |n: u64| n.pow(3);
    let serial: Vec<u64> = (0..40).map(power).collect();
    for chunksize in [6, 50, 40, 1, 0] {
        let found = executor.chunksize(chunksize).map(power, 0..40);
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), serial);
        let found = executor.chunksize(chunksize).map_unordered(power, 0..40);
        let mut found: Vec<_> = found.collect::<Result<_, _>>().unwrap();
        found.sort_unstable();
        assert_eq!(found, serial);
    }
}

fn x03_traceback() {
    let executor = with_workers(1);
    let plan = Plan::bad(ledger::reserve(1), Stage::Run, Act::PanicString);
    let outcome = executor.submit(work, Item(plan)).result();
    agent::check(&plan, &outcome);
    let Err(TaskError::Panicked(panic)) = outcome else {
        unreachable!()
    };
    let place = panic.location();
    assert!(place.file().ends_with("agent.rs"), "{place:?}");
    assert_eq!(place.line(), agent::STRING_LINE);
    assert!(panic.to_string().contains(agent::REASON), "{panic}");
}

/// Counts in its word when a worker drops it.
#[derive(Debug, Serialize, Deserialize)]
struct Precious(u32);

impl Drop for Precious {
    fn drop(&mut self) {
        if !ledger::is_program() {
            ledger::note(self.0);
        }
    }
}

fn x04_resources_freed_in_workers() {
    let executor = with_workers(2);
    let word = ledger::reserve(1);
    for n in 1..20 {
        let keep = |item: Precious| item.0;
        assert_eq!(
            executor.submit(keep, Precious(word)).result().unwrap(),
            word
        );
        assert_eq!(ledger::get(word), n);
    }
    let keep = |item: Precious| drop(item);
    let all = executor
        .chunksize(4)
        .map(keep, (0..10).map(|_| Precious(word)));
    assert_eq!(all.flatten().count(), 10);
    assert_eq!(ledger::get(word), 29);
}

fn x05_saturation() {
    let executor = with_workers(3);
    let words = ledger::reserve(46);
    let submit = |n| executor.submit(hold, (words + n, words + 45));
    let futures: Vec<_> = (0..45).map(submit).collect();
    (0..3).for_each(|n| assert_ne!(ledger::wait(words + n), 0));
    assert_eq!(executor.pool().worker_pids().len(), 3);
    assert_eq!(futures.iter().filter(|future| future.running()).count(), 3);
    ledger::set(words + 45, 1);
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), words + n);
    }
    assert_eq!(executor.pool().worker_pids().len(), 3);
}

/// Waits until all workers sleep: that is what they do when they have nothing to do.
fn all_sleep(executor: &ProcessPoolExecutor) {
    for pid in executor.pool().worker_pids() {
        eventually("it sleeps", || match procfs::state_and_parent(pid) {
            Some(('S', _)) => Ok(()),
            state => Err(format!("{pid}: {state:?}")),
        });
    }
}

/// Far fewer than tasks: one may be started while another is about to take the only task there is.
fn x06_idle_process_reuse() {
    let lazy = || {
        let builder = ProcessPoolExecutor::builder().workers(60).lazy();
        builder.build().unwrap()
    };
    let executor = lazy();
    assert_eq!(executor.pool().worker_pids(), []);
    for _ in 0..30 {
        let pid = executor.submit(|()| std::process::id(), ()).result();
        assert!(executor.pool().worker_pids().contains(&pid.unwrap()));
        all_sleep(&executor);
    }
    let workers = executor.pool().worker_pids().len();
    assert!(workers <= 10, "{workers} workers");
    let executor = lazy();
    for _ in 0..30 {
        let words = ledger::reserve(3);
        let pair = [0, 1].map(|n| executor.submit(hold, (words + n, words + 2)));
        (0..2).for_each(|n| assert_ne!(ledger::wait(words + n), 0));
        ledger::set(words + 2, 1);
        for future in pair {
            assert_ne!(future.result().unwrap(), 0);
        }
        all_sleep(&executor);
    }
    let workers = executor.pool().worker_pids().len();
    assert!((2..=20).contains(&workers), "{workers} workers");
}

fn limited(workers: usize, tasks: u64) -> ProcessPoolExecutor {
    let builder = ProcessPoolExecutor::builder().workers(workers);
    builder.max_tasks_per_child(tasks).build().unwrap()
}

fn x07_max_tasks_per_child() {
    let executor = limited(1, 3);
    let mut pids = Vec::new();
    for _ in 0..9 {
        let pid = executor.submit(|()| std::process::id(), ());
        pids.push(pid.result().unwrap());
    }
    for three in pids.chunks(3) {
        assert_eq!(three, [three[0]; 3]);
    }
    pids.dedup();
    assert_eq!(pids.len(), 3, "one after the other");
    // A chunk may outlive its worker.
    let pids: Result<Vec<_>, _> = {
        let view = executor.chunksize(7);
        view.map(|_: u32| std::process::id(), 0..7).collect()
    };
    let mut pids = pids.unwrap();
    pids.dedup();
    assert!((3..=4).contains(&pids.len()), "{pids:?}");
}

#[track_caller]
fn doubled(futures: Vec<Future<u32>>) {
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), 2 * n);
    }
}

fn submit(executor: &ProcessPoolExecutor, tasks: u32) -> Vec<Future<u32>> {
    (0..tasks)
        .map(|n| executor.submit(|n: u32| 2 * n, n))
        .collect()
}

fn x09_max_tasks_early_shutdown() {
    for _ in 0..5 {
        let executor = limited(3, 1);
        let futures = submit(&executor, 6);
        executor.shutdown();
        assert!(futures.iter().all(Future::done));
        doubled(futures);
    }
}

fn x10_max_tasks_pending() {
    for (workers, limit, tasks) in [(1, 2, 6), (2, 2, 8), (1, 1, 20), (4, 1, 50)] {
        let executor = limited(workers, limit);
        doubled(submit(&executor, tasks));
        // Those whose limit is reached, and that have to be replaced before anything else runs.
        doubled(submit(&executor, 1));
    }
}

fn x11_max_tasks_shutdown_no_wait() {
    for wait in 0..3 {
        let executor = limited(1, 1);
        let futures = submit(&executor, 3);
        match wait {
            0 => executor.shutdown_no_wait(),
            // The drop waits.
            1 => drop(executor),
            _ => {
                executor.shutdown_no_wait();
                drop(executor);
            }
        }
        assert!(wait == 0 || futures.iter().all(Future::done));
        doubled(futures);
    }
}

/// Forcefully shut down, while a worker that has done its share makes room.
fn x12_killed_while_a_worker_leaves() {
    for round in 0..20 {
        let executor = limited(1, 1);
        let words = ledger::reserve(7);
        ledger::set(words + 6, 1);
        let submit = |n| executor.submit(hold, (words + n, words + 6));
        let mut futures: Vec<_> = (0..6).map(submit).collect();
        if round % 2 == 0 {
            // Known, or only done.
            assert_eq!(futures.remove(0).result().unwrap(), words);
        } else {
            ledger::wait(words);
        }
        executor.kill_workers();
        for future in futures {
            match future.result() {
                Ok(word) => assert_ne!(ledger::get(word), 0),
                Err(TaskError::Cancelled) => {}
                Err(TaskError::WorkerDied(death)) => assert_eq!(death.signal(), Some(9)),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

/// The replacement cannot be started: each task says so, and new ones try again.
fn x12_no_replacement() {
    let executor = limited(1, 1);
    let gate = ledger::reserve(2);
    let first = executor.submit(hold, (gate + 1, gate));
    ledger::wait(gate + 1);
    let mut others: Vec<Future<u32>> = submit(&executor, 4);
    ledger::set(birth::HOW, 1 + 17);
    ledger::set(gate, 1);
    assert_eq!(first.result().unwrap(), gate + 1);
    let last = others.pop().unwrap();
    for future in others {
        let error = future.result().unwrap_err();
        assert!(matches!(error, TaskError::NoWorkers(_)), "{error:?}");
    }
    let error = block_on(last).unwrap_err();
    assert!(matches!(error, TaskError::NoWorkers(_)), "{error:?}");
    ledger::set(birth::HOW, 0);
    check_usable(&executor);
}

fn x13_kill_workers() {
    for workers in [1, 3] {
        let executor = with_workers(workers);
        let pids = executor.pool().worker_pids();
        assert_eq!(pids.len(), workers);
        executor.kill_workers();
        for pid in pids {
            assert_eq!(procfs::state_and_parent(pid), None, "it is gone");
        }
        assert_eq!(executor.pool().worker_pids(), []);
        executor.kill_workers();
        executor.shutdown();
    }
}

fn x14_kill_a_running_task() {
    let executor = with_workers(2);
    let words = ledger::reserve(4);
    let never = |(word, gate, after): (u32, u32, u32)| {
        ledger::note(word);
        ledger::wait(gate);
        ledger::note(after);
    };
    let running = executor.submit(never, (words, words + 1, words + 2));
    ledger::wait(words);
    executor.kill_workers();
    let found = death_of(running.result());
    assert_eq!(found, (Some(libc::SIGKILL), None, Phase::Running));
    ledger::set(words + 1, 1);
    executor.shutdown();
    assert_eq!(ledger::get(words + 2), 0, "it did not go on");
}

fn x15_kill_dead_workers() {
    let executor = with_workers(1);
    let outcome = executor.submit(os::raise, libc::SIGKILL).result();
    assert_eq!(death_of(outcome).0, Some(libc::SIGKILL));
    executor.kill_workers();
    // Dead ones that nobody has noticed.
    let executor = with_workers(2);
    let pids = executor.pool().worker_pids();
    pids.iter().for_each(|pid| os::send(*pid, Signal::KILL));
    procfs::await_end(&pids);
    executor.kill_workers();
    executor.shutdown();
}

fn x16_kill_workers_not_started() {
    let builder = ProcessPoolExecutor::builder().workers(2).lazy();
    let executor = builder.build().unwrap();
    executor.kill_workers();
    assert_eq!(executor.pool().worker_pids(), []);
    check_closed(&executor.submit(|n: u32| n, 1).result());
}

fn x17_kill_workers_stops_the_executor() {
    let executor = with_workers(2);
    let words = ledger::reserve(21);
    let submit = |n| executor.submit(hold, (words + n, words + 20));
    let futures: Vec<_> = (0..20).map(submit).collect();
    let pids = [ledger::wait(words), ledger::wait(words + 1)];
    executor.kill_workers();
    for pid in pids {
        assert_eq!(procfs::state_and_parent(pid), None, "it is gone");
    }
    check_closed(&executor.submit(|n: u32| n, 1).result());
    let mut mapped = executor.map(|n: u32| n, 0..3);
    assert!((0..3).all(|_| matches!(mapped.next(), Some(Err(TaskError::Closed)))));
    assert!(mapped.next().is_none());
    for (n, future) in futures.into_iter().enumerate() {
        match n {
            0 | 1 => assert_eq!(death_of(future.result()).0, Some(9)),
            _ => check_cancelled(&future.result()),
        }
    }
    // Waits for nothing.
    assert!(executor.shutdown_timeout(Duration::from_secs(1000)));
}

fn x18_exit_code_is_told() {
    let executor = with_workers(2);
    let future = executor.submit(|code: i32| -> () { os::exit_at_once(code) }, 99);
    let error = future.result().unwrap_err();
    assert!(error.to_string().contains("99"), "{error}");
    assert_eq!(death_of::<()>(Err(error)), (None, Some(99), Phase::Running));
}

/// What a program does that can start no thread any more.
fn without_threads(arguments: &[String]) -> ExitCode {
    let word: u32 = arguments[0].parse().unwrap();
    let executor = with_workers(2);
    os::without_call(libc::SYS_clone3);
    os::without_call(libc::SYS_clone);
    assert!(std::thread::Builder::new().spawn(|| ()).is_err());
    let future = executor.submit(|n: u32| n + 1, 1);
    future.add_done_callback(move |_| ledger::note(word));
    let found: Result<Vec<u32>, _> = executor.map(|n: u32| n, 0..10).collect();
    same("values", found.unwrap(), (0..10).collect());
    let death = executor.submit(os::raise, libc::SIGKILL).result();
    same("signal", death_of(death).0, Some(libc::SIGKILL));
    check_usable(&executor);
    executor.shutdown();
    same("callbacks", ledger::get(word), 1);
    same("value", future.result().unwrap(), 2);
    ExitCode::SUCCESS
}

/// Those who wait do what the keeper does otherwise.
fn x21_no_thread_for_the_keeper() {
    let word = ledger::reserve(1).to_string();
    Program::start("without_threads", &[&word]).succeed();
}
