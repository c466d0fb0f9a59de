//! Rows D01 to D11 of Python's tests: what is lost on its way must not hang anybody.
//!
//! Where Python breaks the whole executor, here the one task fails, and the executor is as good as
//! new; `broken::*` has the other behaviour.
//!
//! | row | case, and what differs |
//! |---|---|
//! | D01 | `d01_error_at_item_encode` |
//! | D02 | `d02_failures_at_item_decode`: an error or a panic costs the task, a death the worker, too |
//! | D03 | `d03_crash_in_the_function` |
//! | D04 | `d04_exit_in_the_function`: a death that tells the code; `exit` cannot be caught |
//! | D05 | `d05_panic_in_the_function` |
//! | D06 | `d06_failures_at_value_encode` |
//! | D07 | `d07_errors_at_value_decode`: whoever calls `exit` there ends the program |
//! | D08 | `d08_shutdown_and_a_crash` |
//! | D09 | `d09_not_encodable_after_shutdown`: encoding comes before anything else, in the caller |
//! | D10 | `d10_crash_with_large_items` |
//! | D11 | `d11_more_tasks_than_room`: there is no channel to be full, but a number of cells |

use std::thread;

use procession_executor::{Executor, Future, ProcessPoolExecutor, TaskError, TrySubmitError};
use procession_testkit::{Case, cases, ledger, os};

use crate::agent::{self, Act, Bytes, Item, Plan, Stage, Value, work};
use crate::common::{check_closed, check_usable};
use crate::crashes;
use crate::workers::with_workers;

pub(crate) fn cases() -> Vec<Case> {
    cases![crashes:
        d01_error_at_item_encode, d02_failures_at_item_decode, d03_crash_in_the_function,
        d04_exit_in_the_function, d05_panic_in_the_function, d06_failures_at_value_encode,
        d07_errors_at_value_decode, d08_shutdown_and_a_crash, d09_not_encodable_after_shutdown,
        d10_crash_with_large_items, d11_more_tasks_than_room,
    ]
    .into()
}

const ERRORS: [Act; 4] = [Act::Fail, Act::PanicStr, Act::PanicString, Act::PanicOther];

const DEATHS: [Act; 6] = [
    Act::Exit(0),
    Act::Exit(42),
    Act::ExitNow(255),
    Act::Abort,
    Act::Crash,
    Act::Raise(libc::SIGKILL),
];

/// One that fails among others, as a future, in a chunk and first of all.
fn through(executor: &ProcessPoolExecutor, stage: Stage, act: Act) {
    for at in [3, 0] {
        let mut plans = agent::good(6);
        plans[at] = Plan::bad(plans[at].id, stage, act);
        let submit = |plan: &Plan| executor.submit(work, Item(*plan));
        let futures: Vec<Future<Value>> = plans.iter().map(submit).collect();
        let outcomes: Vec<_> = futures.into_iter().map(Future::result).collect();
        agent::check_all(&plans, &outcomes);
    }
    for chunksize in [1, 4] {
        let mut plans = agent::good(6);
        plans[2] = Plan::bad(plans[2].id, stage, act);
        let view = executor.chunksize(chunksize);
        let outcomes: Vec<_> = view.map(work, agent::items(&plans)).collect();
        agent::check_all(&plans, &outcomes);
    }
}

fn every(stage: Stage, acts: &[Act], workers_survive: bool) {
    for workers in [1, 2] {
        let executor = with_workers(workers);
        let pids = executor.pool().worker_pids();
        for act in acts {
            through(&executor, stage, *act);
        }
        check_usable(&executor);
        let now = executor.pool().worker_pids();
        assert_eq!(now.len(), workers);
        assert_eq!(now == pids, workers_survive, "{pids:?} before, {now:?}");
    }
}

fn d01_error_at_item_encode() {
    every(Stage::ItemEncode, &ERRORS, true);
}

fn d02_failures_at_item_decode() {
    every(Stage::ItemDecode, &ERRORS, true);
    every(Stage::ItemDecode, &DEATHS, false);
}

fn d03_crash_in_the_function() {
    let ends = [Act::Crash, Act::Abort, Act::Overflow, Act::PanicTwice];
    every(Stage::Run, &ends, false);
}

fn d04_exit_in_the_function() {
    let ends = [
        Act::Exit(0),
        Act::Exit(42),
        Act::ExitNow(0),
        Act::ExitNow(7),
    ];
    every(Stage::Run, &ends, false);
    every(Stage::ItemDrop, &ends, false);
}

fn d05_panic_in_the_function() {
    let panics = [
        Act::PanicStr,
        Act::PanicString,
        Act::PanicOther,
        Act::PanicBomb,
    ];
    every(Stage::Run, &panics, true);
    every(Stage::ItemDrop, &[Act::PanicStr], true);
}

fn d06_failures_at_value_encode() {
    every(Stage::ValueEncode, &ERRORS, true);
    every(Stage::ValueEncode, &DEATHS, false);
}

fn d07_errors_at_value_decode() {
    every(Stage::ValueDecode, &ERRORS, true);
}

fn d08_shutdown_and_a_crash() {
    for workers in [1, 2] {
        let executor = with_workers(workers);
        let gate = ledger::reserve(1);
        let held: Vec<_> = (0..workers)
            .map(|_| executor.submit(ledger::wait, gate))
            .collect();
        let mut plans = agent::good(20);
        for at in [0, 7, 19] {
            plans[at] = Plan::bad(plans[at].id, Stage::Run, Act::Crash);
        }
        let submit = |plan: &Plan| executor.submit(work, Item(*plan));
        let futures: Vec<Future<Value>> = plans.iter().map(submit).collect();
        thread::scope(|scope| {
            let ends = scope.spawn(|| executor.shutdown());
            ledger::set(gate, 1);
            ends.join().unwrap();
        });
        assert!(futures.iter().all(Future::done), "shut down");
        let outcomes: Vec<_> = futures.into_iter().map(Future::result).collect();
        agent::check_all(&plans, &outcomes);
        held.into_iter()
            .for_each(|future| assert_eq!(future.result().unwrap(), 1));
    }
}

fn d09_not_encodable_after_shutdown() {
    let executor = with_workers(1);
    let gate = ledger::reserve(1);
    let held = executor.submit(ledger::wait, gate);
    executor.shutdown_no_wait();
    let plan = Plan::bad(ledger::reserve(1), Stage::ItemEncode, Act::Fail);
    agent::check(&plan, &executor.submit(work, Item(plan)).result());
    match executor.try_submit(|n: u32| n, 7) {
        Err(TrySubmitError::Closed(7, TaskError::Closed)) => {}
        other => panic!("{other:?}"),
    }
    check_closed(&executor.submit(|n: u32| n, 1).result());
    ledger::set(gate, 1);
    assert_eq!(held.result().unwrap(), 1);
    executor.shutdown();
}

/// Those who were being sent, and those who wait behind them, run elsewhere.
fn d10_crash_with_large_items() {
    let executor = with_workers(2);
    for at in [0, 5, 9] {
        let crash = |(Bytes(bytes), dies): (Bytes, bool)| {
            if dies {
                os::crash();
            }
            bytes.len()
        };
        let size = (4 << 20) + 1;
        let item = |n| (Bytes(vec![n as u8; size]), n == at);
        let futures: Vec<_> = (0..10).map(|n| executor.submit(crash, item(n))).collect();
        let mapped: Vec<_> = executor
            .chunksize(3)
            .map(crash, (0..10).map(item))
            .collect();
        let outcomes = futures.into_iter().map(Future::result);
        for (n, outcome) in (0..10).cycle().zip(outcomes.chain(mapped)) {
            match outcome {
                Ok(len) => assert_eq!((n != at, len), (true, size)),
                Err(TaskError::WorkerDied(death)) => {
                    assert_eq!((n, death.signal()), (at, Some(libc::SIGSEGV)));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    check_usable(&executor);
}

fn d11_more_tasks_than_room() {
    let executor = with_workers(2);
    let gate = ledger::reserve(1);
    let held: Vec<_> = (0..2)
        .map(|_| executor.submit(ledger::wait, gate))
        .collect();
    let futures: Vec<_> = (0..10_000)
        .map(|n| executor.submit(|n: u32| n, n))
        .collect();
    assert!(!futures.iter().any(Future::done));
    ledger::set(gate, 1);
    // The last first, so that nobody waits for those before.
    for (n, future) in (0..10_000).rev().zip(futures.into_iter().rev()) {
        assert_eq!(future.result().unwrap(), n);
    }
    held.into_iter()
        .for_each(|future| assert_eq!(future.result().unwrap(), 1));
}
