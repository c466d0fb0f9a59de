//! The product: every place of a failure with every way to fail and every way to wait, with one
//! worker and with two. Each has one exact outcome, and the executor goes on.

use std::thread;
use std::time::Duration;

use procession_executor::{Executor, Future, ProcessPoolExecutor, TaskError};
use procession_testkit::{Case, eventually, ledger, os};
use rustix::process::Signal;

use crate::agent::{self, Act, Item, Plan, Stage, Value, work};
use crate::common::check_usable;
use crate::ways::{WAYS, Way, judge};
use crate::workers::with_workers;

/// How long an item may take that takes for ever.
const LIMIT: Duration = Duration::from_millis(25);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for workers in [1, 2] {
        for way in WAYS {
            let name = format!("product::{way:?}_{workers}").to_lowercase();
            cases.push(Case::new(name, move || all_of_it(way, workers)));
        }
    }
    cases
}

/// Who ends the item.
#[derive(Debug, Clone, Copy)]
enum End {
    Itself(Act),
    TimeOut,
    /// `Future::kill`.
    Kill,
    /// SIGKILL from somewhere else.
    Outside,
}

const ENDS: [End; 8] = [
    End::Itself(Act::Exit(0)),
    End::Itself(Act::ExitNow(42)),
    End::Itself(Act::Abort),
    End::Itself(Act::Crash),
    End::Itself(Act::Raise(libc::SIGKILL)),
    End::TimeOut,
    End::Kill,
    End::Outside,
];

const STAGES: [Stage; 5] = [
    Stage::ItemDecode,
    Stage::Run,
    Stage::ItemDrop,
    Stage::ValueEncode,
    // The value is there by then.
    Stage::ValueDrop,
];

fn all_of_it(way: Way, workers: usize) {
    let executor = with_workers(workers);
    for stage in STAGES {
        for end in ENDS {
            // Nobody would end it: its outcome is there.
            if stage != Stage::ValueDrop || !matches!(end, End::Kill) {
                one(&executor, stage, end, way);
            }
        }
        assert_eq!(executor.pool().worker_pids().len(), workers);
    }
    check_usable(&executor);
}

/// An item that fails, between two that do not.
fn one(executor: &ProcessPoolExecutor, stage: Stage, end: End, way: Way) {
    let word = ledger::reserve(1);
    let mut plans = agent::good(3);
    let act = match end {
        End::Itself(act) => act,
        _ => Act::Wait(word),
    };
    plans[1] = Plan::bad(plans[1].id, stage, act);
    let timed = executor.timeout(LIMIT);
    let futures: Vec<Future<Value>> = plans
        .iter()
        .enumerate()
        .map(|(at, plan)| match end {
            End::TimeOut if at == 1 => timed.submit(work, Item(*plan)),
            _ => executor.submit(work, Item(*plan)),
        })
        .collect();
    let canceller = futures[1].canceller();
    let judged = plans.clone();
    thread::scope(|scope| {
        scope.spawn(move || match end {
            End::Kill => {
                ledger::wait(word);
                assert!(canceller.kill(), "{stage:?}: it was not killed");
            }
            End::Outside => os::send(ledger::wait(word), Signal::KILL),
            End::Itself(_) | End::TimeOut => {}
        });
        judge(way, futures, move |at, outcome| match at {
            1 => check(&judged[1], end, outcome),
            _ => agent::check(&judged[at], outcome),
        });
    });
    for plan in &plans {
        let runs = u32::from(plan.stage != Stage::ItemDecode);
        eventually("it has run", || match ledger::get(plan.id) {
            found if found == runs => Ok(()),
            found => Err(format!("{plan:?} by {end:?}: {found} runs")),
        });
    }
}

#[track_caller]
fn check(plan: &Plan, end: End, outcome: &Result<Value, TaskError>) {
    if plan.stage == Stage::ValueDrop {
        return agent::check(plan, outcome);
    }
    match (end, outcome) {
        (End::TimeOut, Err(TaskError::TimedOut(limit))) => assert_eq!(*limit, LIMIT),
        (End::Kill, Err(TaskError::Cancelled)) => {}
        (End::Itself(_) | End::Outside, _) => return agent::check(plan, outcome),
        _ => panic!("{plan:?} ended by {end:?} came to {outcome:?}"),
    }
    let decoded = u32::from(plan.stage != Stage::ItemDecode);
    assert_eq!(ledger::get(plan.id), decoded, "runs of {plan:?}");
}
