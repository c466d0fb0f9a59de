//! G to I: the life of an executor, its end in the middle of something, what it uses and gives back.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use procession_executor::{
    Executor, Future, Phase, ProcessPoolExecutor, TaskError, TrySubmitError,
};
use procession_testkit::dice::dice;
use procession_testkit::{Case, cases, ledger, os, pause, procfs};
use rustix::process::Signal;

use crate::agent::{self, Act, Item, Plan, Stage, Value, work};
use crate::common::{check_cancelled, check_usable};
use crate::faults::ends as faults;
use crate::workers::{hold, with_workers};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f110_shutdown_finishes_everything, f111_kill_workers_with_many_pending,
        f112_ended_by_all_at_once, f112_dropped_while_unwinding, f113_submit_and_end_race,
        f114_deaths_while_it_ends, f114_shutdown_timeout_is_kept, f115_futures_outlive_the_executor,
        f122_supervisor_killed, f125_all_reach_their_limit, f127_poison, f129_leaving_is_no_crash,
        f154_bounded_submitters,
    ]
    .into()
}

fn submit_all(executor: &ProcessPoolExecutor, plans: &[Plan]) -> Vec<Future<Value>> {
    let submit = |plan: &Plan| executor.submit(work, Item(*plan));
    plans.iter().map(submit).collect()
}

#[track_caller]
fn check_results(plans: &[Plan], futures: Vec<Future<Value>>) {
    let outcomes: Vec<_> = futures.into_iter().map(Future::result).collect();
    agent::check_all(plans, &outcomes);
}

fn f110_shutdown_finishes_everything() {
    for end in 0..3 {
        let executor = with_workers(2);
        let gate = ledger::reserve(1);
        let held: Vec<_> = (0..2)
            .map(|_| executor.submit(ledger::wait, gate))
            .collect();
        let plans = agent::good(300);
        let futures = submit_all(&executor, &plans);
        thread::scope(|scope| {
            let ends = scope.spawn(move || match end {
                0 => executor.shutdown(),
                1 => assert!(executor.shutdown_timeout(Duration::from_secs(1000))),
                _ => drop(executor),
            });
            assert!(!futures.iter().any(Future::done));
            ledger::set(gate, 1);
            ends.join().unwrap();
        });
        assert!(futures.iter().all(Future::done), "it has waited");
        check_results(&plans, futures);
        held.into_iter()
            .for_each(|future| assert_eq!(future.result().unwrap(), 1));
    }
}

/// Running ones have died, the others were never begun; those without a cell, too.
fn f111_kill_workers_with_many_pending() {
    let executor = with_workers(2);
    let first = ledger::reserve(5001);
    let submit = |id| executor.submit(hold, (id, first + 5000));
    let futures: Vec<_> = (first..first + 5000).map(submit).collect();
    ledger::wait(first);
    ledger::wait(first + 1);
    executor.kill_workers();
    for (id, future) in (first..).zip(futures) {
        match future.result() {
            Err(TaskError::WorkerDied(death)) => {
                assert_eq!((death.signal(), death.phase()), (Some(9), Phase::Running));
                assert!(id < first + 2);
            }
            Err(TaskError::Cancelled) => assert_eq!(ledger::get(id), 0),
            other => panic!("{other:?}"),
        }
    }
    executor.shutdown();
}

/// What may come of a task whose executor is ended by somebody who may kill.
#[track_caller]
fn check_ended(plan: &Plan, outcome: &Result<Value, TaskError>) {
    match outcome {
        Err(TaskError::Closed | TaskError::Cancelled) => assert_eq!(ledger::get(plan.id), 0),
        Err(TaskError::WorkerDied(death)) => assert_eq!(death.signal(), Some(9)),
        outcome => agent::check(plan, outcome),
    }
}

fn f112_ended_by_all_at_once() {
    for round in 0..20 {
        let executor = with_workers(2);
        let start = Barrier::new(8);
        let plans = agent::good(50);
        let futures = submit_all(&executor, &plans);
        thread::scope(|scope| {
            for number in 0..8 {
                let (executor, start) = (&executor, &start);
                scope.spawn(move || {
                    start.wait();
                    match (number + round) % 5 {
                        0 => executor.kill_workers(),
                        1 => executor.shutdown_no_wait(),
                        2 => executor.shutdown_now(),
                        3 => {
                            let _ = executor.shutdown_timeout(Duration::from_micros(100));
                        }
                        _ => executor.shutdown(),
                    }
                });
            }
        });
        assert!(futures.iter().all(Future::done), "one of them has waited");
        for (plan, future) in plans.iter().zip(futures) {
            check_ended(plan, &future.result());
        }
        executor.shutdown();
    }
}

fn f112_dropped_while_unwinding() {
    let plans = agent::good(50);
    let mut futures = Vec::new();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let executor = with_workers(2);
        futures = submit_all(&executor, &plans);
        panic!("the caller's panic");
    }));
    assert!(ended.is_err());
    assert!(futures.iter().all(Future::done), "the drop has waited");
    check_results(&plans, futures);
}

/// Runs, or says that the executor is closed; whoever submits.
fn f113_submit_and_end_race() {
    for round in 0..60 {
        let executor = with_workers(2);
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for number in 0..3 {
                let (executor, start) = (&executor, &start);
                scope.spawn(move || {
                    let plans = agent::good(20);
                    start.wait();
                    let outcomes: Vec<_> = match number {
                        0 => executor.map(work, agent::items(&plans)).collect(),
                        1 => crate::ways::block_on_all(submit_all(executor, &plans)),
                        _ => {
                            let futures = submit_all(executor, &plans);
                            futures.into_iter().map(Future::result).collect()
                        }
                    };
                    assert_eq!(outcomes.len(), 20);
                    for (plan, outcome) in plans.iter().zip(&outcomes) {
                        match (round % 3, outcome) {
                            (0, Err(TaskError::Cancelled | TaskError::WorkerDied(_)))
                            | (1, Err(TaskError::Cancelled)) => {}
                            (2, Err(TaskError::Cancelled | TaskError::WorkerDied(_))) => {
                                panic!("{outcome:?}")
                            }
                            _ => {}
                        }
                        check_ended(plan, outcome);
                    }
                });
            }
            start.wait();
            pause(Duration::from_micros(dice(600)));
            match round % 3 {
                0 => executor.kill_workers(),
                1 => executor.shutdown_now(),
                _ => executor.shutdown_no_wait(),
            }
            executor.shutdown();
        });
    }
}

/// Workers that die while the executor is waited for: the rest of the tasks runs elsewhere.
fn f114_deaths_while_it_ends() {
    for workers in [1, 3] {
        let executor = with_workers(workers);
        let gate = ledger::reserve(1);
        let mut plans = agent::good(40);
        for plan in plans.iter_mut().step_by(6) {
            *plan = Plan::bad(plan.id, Stage::Run, Act::Exit(3));
        }
        let held: Vec<_> = (0..workers)
            .map(|_| executor.submit(ledger::wait, gate))
            .collect();
        let futures = submit_all(&executor, &plans);
        executor.shutdown_no_wait();
        ledger::set(gate, 1);
        executor.shutdown();
        assert!(futures.iter().all(Future::done), "shut down");
        check_results(&plans, futures);
        held.into_iter()
            .for_each(|future| assert_eq!(future.result().unwrap(), 1));
    }
}

/// A task that never ends is not waited for longer than was asked; what comes after says so.
fn f114_shutdown_timeout_is_kept() {
    let executor = with_workers(1);
    let words = ledger::reserve(3);
    let running = executor.submit(hold, (words, words + 2));
    let pending = executor.submit(hold, (words + 1, words + 2));
    ledger::wait(words);
    assert!(!executor.shutdown_timeout(Duration::ZERO));
    assert!(!executor.shutdown_timeout(Duration::from_millis(5)));
    assert!(!running.done() && !pending.done());
    thread::scope(|scope| {
        // Cancels at once, and waits for the one that runs.
        scope.spawn(|| executor.shutdown_now());
        check_cancelled(&pending.result());
        assert!(running.kill());
    });
    check_cancelled(&running.result());
    assert!(executor.shutdown_timeout(Duration::ZERO));
}

fn f115_futures_outlive_the_executor() {
    for round in 0..20 {
        let executor = with_workers(2);
        let plans = agent::good(100);
        let futures = submit_all(&executor, &plans);
        let handle = executor.handle().clone();
        pause(Duration::from_micros(round * 50));
        drop(executor);
        assert!(futures.iter().all(Future::done), "what comes later?");
        let late = handle.submit(|n: u32| n, 1).result();
        assert!(matches!(late, Err(TaskError::Closed)), "{late:?}");
        check_results(&plans, futures);
    }
}

/// What ran has that for its cause; the rest runs, with a new one.
fn f122_supervisor_killed() {
    let executor = with_workers(2);
    for _ in 0..2 {
        let words = ledger::reserve(31);
        let submit = |n| executor.submit(hold, (words + n, words + 30));
        let futures: Vec<_> = (0..30).map(submit).collect();
        let pid = ledger::wait(words);
        let (_, supervisor) = procfs::state_and_parent(pid).unwrap();
        os::send(supervisor, Signal::KILL);
        procfs::await_end(&[supervisor, pid]);
        ledger::set(words + 30, 1);
        let mut died = 0;
        for (n, future) in (0..).zip(futures) {
            match future.result() {
                Ok(word) => assert_eq!(word, words + n),
                Err(TaskError::WorkerDied(death)) => {
                    assert!(death.status().supervisor_died(), "{death}");
                    died += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!((1..=2).contains(&died), "{died} died with two workers");
        check_usable(&executor);
    }
}

fn f125_all_reach_their_limit() {
    for limit in [1, 2, 7] {
        let builder = ProcessPoolExecutor::builder().workers(4);
        let executor = builder.max_tasks_per_child(limit).build().unwrap();
        let plans = agent::good(80);
        check_results(&plans, submit_all(&executor, &plans));
        let plans = agent::good(80);
        let view = executor.chunksize(10);
        let outcomes: Vec<_> = view.map(work, agent::items(&plans)).collect();
        agent::check_all(&plans, &outcomes);
        check_usable(&executor);
        assert_eq!(executor.pool().stats().restarts, 0, "leaving is no death");
    }
}

/// One that kills whoever touches it has its three; the others do not notice.
fn f127_poison() {
    let executor = with_workers(2);
    let view = executor.crash_limit(3).retries(1);
    for count in [1000, 10_000] {
        let word = ledger::reserve(1);
        let work = |(word, n): (u32, u32)| {
            if n == 777 {
                ledger::note(word);
                os::raise(libc::SIGSEGV);
            }
            n
        };
        let items = (0..count).map(|n| (word, n));
        let outcomes: Vec<_> = if count == 1000 {
            let futures: Vec<_> = items.map(|item| view.submit(work, item)).collect();
            futures.into_iter().map(Future::result).collect()
        } else {
            view.map(work, items).collect()
        };
        assert_eq!(outcomes.len(), count as usize);
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Err(TaskError::CrashLimit(deaths)) => {
                    assert_eq!((n, deaths.len()), (777, 3));
                    for death in &deaths {
                        let found = (death.signal(), death.phase());
                        assert_eq!(found, (Some(libc::SIGSEGV), Phase::Running));
                    }
                    let mut pids: Vec<u32> = deaths.iter().map(|death| death.pid()).collect();
                    pids.dedup();
                    assert_eq!(pids.len(), 3);
                }
                outcome => assert_eq!(outcome.unwrap(), n),
            }
        }
        assert_eq!(ledger::get(word), 3);
    }
    check_usable(&executor);
}

/// Workers that leave by themselves cost no attempt.
fn f129_leaving_is_no_crash() {
    let builder = ProcessPoolExecutor::builder().workers(2);
    let executor = builder.max_tasks_per_child(1).build().unwrap();
    let plans = agent::good(60);
    let view = executor.crash_limit(1);
    let outcomes: Vec<_> = view.chunksize(6).map(work, agent::items(&plans)).collect();
    agent::check_all(&plans, &outcomes);
    let plans = agent::good(40);
    let submit = |plan: &Plan| view.submit(work, Item(*plan));
    let futures: Vec<_> = plans.iter().map(submit).collect();
    check_results(&plans, futures);
    assert_eq!(executor.pool().stats().restarts, 0);
    // A worker that is told to leave while others have work.
    executor.pool().resize(1).unwrap();
    let plans = agent::good(40);
    check_results(&plans, submit_all(&executor, &plans));
}

/// However many are submitted, no more are under way than may be.
fn f154_bounded_submitters() {
    const MOST: usize = 20;
    let builder = ProcessPoolExecutor::builder().workers(2);
    let executor = builder.max_pending(MOST).build().unwrap();
    let gate = ledger::reserve(1);
    let held: Vec<_> = (0..MOST)
        .map(|_| executor.submit(ledger::wait, gate))
        .collect();
    match executor.try_submit(|n: u32| n, 5) {
        Err(TrySubmitError::Full(5)) => {}
        other => panic!("{other:?}"),
    }
    thread::scope(|scope| {
        let word = ledger::reserve(1);
        let executor = &executor;
        let submitters: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..500 {
                        drop(executor.submit(ledger::note, word));
                    }
                })
            })
            .collect();
        assert_eq!(ledger::get(word), 0, "there is no room");
        ledger::set(gate, 1);
        for submitter in submitters {
            submitter.join().unwrap();
        }
        executor.shutdown();
        assert_eq!(ledger::get(word), 2000);
    });
    held.into_iter()
        .for_each(|future| assert_eq!(future.result().unwrap(), 1));
}
