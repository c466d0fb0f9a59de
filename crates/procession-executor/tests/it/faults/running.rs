//! D: what a function does to its worker, or somebody else while it runs.

use std::time::Duration;

use procession_executor::{Executor, Future, Phase, ProcessPoolExecutor, TaskError, as_completed};
use procession_testkit::{Case, cases, eventually, ledger, os, procfs};
use rustix::process::Signal;

use crate::agent::{self, Act, Item, Plan, Stage, Value, work};
use crate::common::check_usable;
use crate::faults::running as faults;
use crate::workers::{hold, with_workers};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f45_further_signals, f46_signals_from_outside, f47_two_of_four, f47_all_at_once,
        f50_outcomes_before_the_kill_are_kept, f51_endless_loop, f52_deaf_to_signals,
        f55_one_slow_item_in_a_chunk, f57_grandchildren, f59_closes_its_descriptors,
        f64_leaking_function,
    ]
    .into()
}

#[track_caller]
fn death_of<R: std::fmt::Debug>(outcome: &Result<R, TaskError>) -> (Option<i32>, Phase) {
    match outcome {
        Err(TaskError::WorkerDied(death)) => (death.signal(), death.phase()),
        other => panic!("no death: {other:?}"),
    }
}

#[track_caller]
fn check_timed_out<R: std::fmt::Debug>(outcome: &Result<R, TaskError>, limit: Duration) {
    let right = matches!(outcome, Err(TaskError::TimedOut(after)) if *after == limit);
    assert!(right, "{outcome:?}");
}

fn f45_further_signals() {
    let executor = with_workers(2);
    let signals = [libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGSYS];
    let submit = |signal| executor.submit(os::raise, signal);
    let futures: Vec<_> = signals.into_iter().map(submit).collect();
    for (signal, future) in signals.into_iter().zip(futures) {
        assert_eq!(death_of(&future.result()), (Some(signal), Phase::Running));
    }
    let plan = Plan::bad(ledger::reserve(1), Stage::Run, Act::Overflow);
    agent::check(&plan, &executor.submit(work, Item(plan)).result());
    check_usable(&executor);
}

/// The exact signal, one task.
fn f46_signals_from_outside() {
    let executor = with_workers(2);
    for signal in [Signal::KILL, Signal::TERM, Signal::HUP, Signal::USR1] {
        let words = ledger::reserve(8);
        // The others pass.
        ledger::set(words + 7, 1);
        let submit = |n| executor.submit(hold, (words + n, words + if n == 3 { 6 } else { 7 }));
        let futures: Vec<_> = (0..6).map(submit).collect();
        os::send(ledger::wait(words + 3), signal);
        for (n, future) in (0..6).zip(futures) {
            match n {
                3 => {
                    let expected = (Some(signal.as_raw()), Phase::Running);
                    assert_eq!(death_of(&future.result()), expected);
                }
                _ => assert_eq!(future.result().unwrap(), words + n),
            }
        }
    }
    // Interrupts from the keyboard are for the program alone.
    let pids = executor.pool().worker_pids();
    pids.iter().for_each(|pid| os::send(*pid, Signal::INT));
    check_usable(&executor);
    assert_eq!(executor.pool().worker_pids(), pids);
}

/// Two outcomes, and the two others go on.
fn f47_two_of_four() {
    let executor = with_workers(4);
    let words = ledger::reserve(5);
    let submit = |n| executor.submit(hold, (words + n, words + 4));
    let futures: Vec<_> = (0..4).map(submit).collect();
    let pids: Vec<u32> = (0..4).map(|n| ledger::wait(words + n)).collect();
    os::send(pids[1], Signal::KILL);
    os::send(pids[2], Signal::KILL);
    procfs::await_end(&pids[1..3]);
    ledger::set(words + 4, 1);
    for (n, future) in (0..).zip(futures) {
        match n {
            1 | 2 => assert_eq!(death_of(&future.result()), (Some(9), Phase::Running)),
            _ => assert_eq!(future.result().unwrap(), words + n),
        }
    }
    check_usable(&executor);
    assert_eq!(executor.pool().worker_pids().len(), 4);
}

fn f47_all_at_once() {
    let executor = with_workers(4);
    for _ in 0..5 {
        let words = ledger::reserve(21);
        let submit = |n| executor.submit(hold, (words + n, words + 20));
        let futures: Vec<_> = (0..20).map(submit).collect();
        let pids: Vec<u32> = (0..4).map(|n| ledger::wait(words + n)).collect();
        // Some may pass, and take the next one, before they are hit.
        ledger::set(words + 20, 1);
        pids.iter().for_each(|pid| os::send(*pid, Signal::KILL));
        let mut died = 0;
        for future in as_completed(futures) {
            match future.result() {
                Ok(word) => assert!((words..words + 20).contains(&word)),
                outcome => {
                    assert_eq!(death_of(&outcome).0, Some(9));
                    died += 1;
                }
            }
        }
        assert!(died <= 4, "{died} died with four workers");
        procfs::await_end(&pids);
        check_usable(&executor);
    }
}

/// What was finished is kept, though nobody had looked at it.
fn f50_outcomes_before_the_kill_are_kept() {
    let executor = with_workers(1);
    let word = ledger::reserve(1);
    let mut plans = agent::good(10);
    plans[9] = Plan::bad(plans[9].id, Stage::Run, Act::Wait(word));
    let submit = |plan: &Plan| executor.submit(work, Item(*plan));
    let futures: Vec<Future<Value>> = plans.iter().map(submit).collect();
    os::send(ledger::wait(word), Signal::KILL);
    let outcomes: Vec<_> = futures.into_iter().map(Future::result).collect();
    agent::check_all(&plans, &outcomes);
    // In a chunk.
    let mut plans = agent::good(10);
    plans[9] = Plan::bad(plans[9].id, Stage::Run, Act::Raise(libc::SIGKILL));
    let outcomes: Vec<_> = executor
        .chunksize(10)
        .map(work, agent::items(&plans))
        .collect();
    agent::check_all(&plans, &outcomes);
}

fn spin(word: u32) {
    ledger::note(word);
    while ledger::get(word) != u32::MAX {
        std::hint::spin_loop();
    }
}

fn f51_endless_loop() {
    let limit = Duration::from_millis(20);
    let executor = with_workers(1);
    for retries in [0, 2] {
        let timed = executor.timeout(limit).retries(retries);
        let word = ledger::reserve(1);
        check_timed_out(&timed.submit(spin, word).result(), limit);
        assert_eq!(ledger::get(word), 1 + retries);
        let word = ledger::reserve(1);
        check_timed_out(&timed.map(spin, [word]).next().unwrap(), limit);
        assert_eq!(ledger::get(word), 1 + retries);
        check_usable(&executor);
    }
}

/// One that can only be killed does not hold up the end of others.
fn f52_deaf_to_signals() {
    let limit = Duration::from_millis(300);
    let executor = with_workers(4);
    let deaf = |n: u32| {
        os::block_all();
        os::ignore(libc::SIGTERM);
        if n.is_multiple_of(3) {
            os::sleep_for_ever();
        }
        n
    };
    let timed = executor.timeout(limit);
    let futures: Vec<_> = (0..9).map(|n| timed.submit(deaf, n)).collect();
    for (n, future) in (0..9).zip(futures) {
        match n % 3 {
            0 => check_timed_out(&future.result(), limit),
            _ => assert_eq!(future.result().unwrap(), n),
        }
    }
    check_usable(&executor);
}

fn f55_one_slow_item_in_a_chunk() {
    let limit = Duration::from_millis(300);
    let executor = with_workers(2);
    let first = ledger::reserve(100);
    let work = |(id, slow): (u32, bool)| {
        ledger::note(id);
        if slow {
            os::sleep_for_ever();
        }
        id
    };
    let items = (0..100).map(|n| (first + n, n == 50));
    let outcomes = executor.timeout(limit).chunksize(100).map(work, items);
    let mut count = 0;
    for (n, outcome) in (0..).zip(outcomes) {
        assert_eq!(ledger::get(first + n), 1);
        match n {
            50 => check_timed_out(&outcome, limit),
            _ => assert_eq!(outcome.unwrap(), first + n),
        }
        count += 1;
    }
    assert_eq!(count, 100);
    check_usable(&executor);
}

/// A task with a descendant of its own, which is far away.
fn has_a_child(word: u32) {
    let _ = os::bare_fork(|| {
        let _ = rustix::process::setsid();
        ledger::set(word, std::process::id());
        os::sleep_for_ever();
        0
    });
    os::sleep_for_ever();
}

/// Gone with the task, whoever ends it. The runner looks, too.
fn f57_grandchildren() {
    let executor = with_workers(1);
    let ends: [fn(&ProcessPoolExecutor, &Future<()>); 2] = [
        |_, future| assert!(future.kill()),
        |executor, _| os::send(executor.pool().worker_pids()[0], Signal::KILL),
    ];
    for end in ends {
        let word = ledger::reserve(1);
        let future = executor.submit(has_a_child, word);
        let pid = ledger::wait(word);
        end(&executor, &future);
        assert!(future.result().is_err());
        eventually(
            "the grandchild is gone",
            || match procfs::state_and_parent(pid) {
                None => Ok(()),
                state => Err(format!("{pid}: {state:?}")),
            },
        );
    }
    check_usable(&executor);
    let word = ledger::reserve(1);
    let future = executor.submit(has_a_child, word);
    let pid = ledger::wait(word);
    executor.kill_workers();
    procfs::await_end(&[pid]);
    assert_eq!(death_of(&future.result()).0, Some(9));
}

/// Outcomes do not go through descriptors: the value is there, and the worker goes on.
fn f59_closes_its_descriptors() {
    let executor = with_workers(2);
    let wild = |n: u32| {
        (3..256).for_each(os::close);
        n
    };
    let futures: Vec<_> = (0..6).map(|n| executor.submit(wild, n)).collect();
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n);
    }
    check_usable(&executor);
}

/// Recycled between two tasks; none lost, none dead.
fn f64_leaking_function() {
    let builder = ProcessPoolExecutor::builder().workers(2);
    let executor = builder.memory_limit(200 << 20).build().unwrap();
    let leak = |n: u32| {
        std::mem::forget(std::hint::black_box(vec![n as u8 | 1; 30 << 20]));
        std::process::id()
    };
    let futures: Vec<_> = (0..20).map(|n| executor.submit(leak, n)).collect();
    let pids: Result<Vec<u32>, _> = futures.into_iter().map(Future::result).collect();
    let mut pids = pids.unwrap();
    pids.sort_unstable();
    pids.dedup();
    assert!(pids.len() >= 3, "{pids:?}");
    check_usable(&executor);
    assert_eq!(executor.pool().stats().restarts, 0, "leaving is no death");
}
