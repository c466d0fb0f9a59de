//! What goes wrong without a death: panics, and everything that cannot be encoded or decoded.

use procession_pool::{Pool, TaskError};
use procession_testkit::{Case, cases, ledger};

use crate::errors;
use crate::support::agent::{self, Act, Plan, Stage, check_all, items, work};
use crate::support::usable::check_usable;

pub(crate) fn cases() -> Vec<Case> {
    cases![errors:
        every_stage_every_way, all_at_once, only_failures, through_apply, through_map,
        drop_of_a_value, after_a_large_value, large_panics, a_type_that_does_not_fit,
    ]
    .into()
}

const ACTS: [Act; 5] = [
    Act::Fail,
    Act::PanicStr,
    Act::PanicString,
    Act::PanicOther,
    Act::PanicBomb,
];

const STAGES: [Stage; 6] = [
    Stage::ItemEncode,
    Stage::ItemDecode,
    Stage::Run,
    Stage::ItemDrop,
    Stage::ValueEncode,
    Stage::ValueDecode,
];

/// All combinations that go wrong.
fn failures() -> impl Iterator<Item = (Stage, Act)> {
    STAGES
        .into_iter()
        .flat_map(|stage| ACTS.map(|act| (stage, act)))
        // A function has its own ways to fail.
        .filter(|(stage, act)| *act != Act::Fail || !matches!(stage, Stage::Run | Stage::ItemDrop))
}

fn every_stage_every_way() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    for (number, (stage, act)) in failures().enumerate() {
        for chunksize in [1, 4, 30] {
            let mut plans = agent::good(30);
            // The first, the last, one in between.
            for at in [0, 29, number % 30] {
                plans[at] = Plan::bad(plans[at].id, stage, act);
            }
            let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
            check_all(&plans, &outcomes);
        }
    }
    check_usable(&pool);
    assert_eq!(pool.worker_pids(), pids, "no worker was lost");
}

fn mixed(count: u32) -> Vec<Plan> {
    let all: Vec<_> = failures().collect();
    let mut plans = agent::good(count);
    for (number, plan) in plans.iter_mut().enumerate() {
        if number % 3 == 0 {
            let (stage, act) = all[number / 3 % all.len()];
            *plan = Plan::bad(plan.id, stage, act);
        }
    }
    plans
}

fn all_at_once() {
    let pool = Pool::with_workers(3).unwrap();
    let pids = pool.worker_pids();
    for chunksize in [1, 7, 400] {
        let plans = mixed(400);
        let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
        check_all(&plans, &outcomes);
    }
    let plans = mixed(400);
    check_all(&plans, &pool.map_results(work, items(&plans)));
    assert_eq!(pool.worker_pids(), pids, "no worker was lost");
}

/// F21: a hundred that cannot be encoded, then a hundred good ones.
fn only_failures() {
    let pool = Pool::with_workers(2).unwrap();
    for (stage, act) in failures() {
        let mut plans = agent::good(200);
        for plan in &mut plans[..100] {
            *plan = Plan::bad(plan.id, stage, act);
        }
        check_all(&plans, &pool.map_results(work, items(&plans)));
    }
}

fn through_apply() {
    let pool = Pool::with_workers(1).unwrap();
    let pids = pool.worker_pids();
    for (stage, act) in failures() {
        let plan = Plan::bad(agent::good(1)[0].id, stage, act);
        agent::check(&plan, &pool.apply(work, agent::Item(plan)));
        let plan = agent::good(1)[0];
        agent::check(&plan, &pool.apply(work, agent::Item(plan)));
    }
    assert_eq!(pool.worker_pids(), pids, "no worker was lost");
}

/// The error of the first item in order, after all have run.
fn through_map() {
    let pool = Pool::with_workers(2).unwrap();
    for (stage, act) in failures() {
        let mut plans = agent::good(40);
        plans[11] = Plan::bad(plans[11].id, stage, act);
        plans[25] = Plan::bad(plans[25].id, Stage::Run, Act::PanicStr);
        for view in [pool.chunksize(1), pool.chunksize(20)] {
            let found: Result<Vec<_>, TaskError> = view.map(work, items(&plans));
            let outcome = found.map(|_| panic!("an error was planned"));
            agent::check(&plans[11], &outcome);
            for plan in &plans {
                let runs = ledger::get(plan.id);
                let skipped = matches!(plan.stage, Stage::ItemEncode | Stage::ItemDecode);
                assert_eq!(runs, u32::from(!skipped), "{plan:?}");
                ledger::set(plan.id, 0);
            }
        }
    }
}

/// A value whose drop panics in the worker was sent by then: it counts.
fn drop_of_a_value() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    for act in &ACTS[1..] {
        for chunksize in [1, 5, 30] {
            let mut plans = agent::good(30);
            for at in [0, 13, 29] {
                plans[at] = Plan::bad(plans[at].id, Stage::ValueDrop, *act);
            }
            let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
            check_all(&plans, &outcomes);
        }
    }
    assert_eq!(pool.worker_pids(), pids, "no worker was lost");
}

/// Half a large value is written when its encoding fails; nothing of it stays.
fn after_a_large_value() {
    let pool = Pool::with_workers(2).unwrap();
    for act in ACTS {
        for size in [100, 191, 192, 500, 70_000, 300_000] {
            let mut plans = agent::good(6);
            plans[0] = plans[0].sized(size);
            for at in [1, 5] {
                plans[at] = Plan::bad(plans[at].id, Stage::ValueEncode, act).sized(size);
            }
            plans[3] = plans[3].sized(size);
            for chunksize in [1, 6] {
                let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
                check_all(&plans, &outcomes);
                plans.iter().for_each(|plan| ledger::set(plan.id, 0));
            }
        }
    }
}

/// L16: errors of a megabyte each; the call waits for all.
fn large_panics() {
    let pool = Pool::with_workers(2).unwrap();
    let fail = |n: u32| -> u32 {
        if n.is_multiple_of(2) {
            panic!("{}", "x".repeat(1 << 20))
        }
        n
    };
    for chunksize in [1, 8] {
        let outcomes = pool.chunksize(chunksize).map_results(fail, 0..8);
        for (n, outcome) in (0..8).zip(outcomes) {
            match outcome {
                Ok(value) => assert_eq!((n % 2, value), (1, n)),
                Err(TaskError::Panicked(panic)) => assert_eq!(panic.message().len(), 1 << 20),
                Err(error) => panic!("{error}"),
            }
        }
    }
    pool.close();
    pool.join().unwrap();
}

/// A type whose two directions disagree.
fn a_type_that_does_not_fit() {
    #[derive(Debug)]
    struct Odd;
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            (1_u8, "longer than it should be").serialize(s)
        }
    }
    impl<'de> serde::Deserialize<'de> for Odd {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            u8::deserialize(d).map(|_| Odd)
        }
    }
    let pool = Pool::with_workers(1).unwrap();
    let outcomes = pool.map_results(|_: Odd| 1, [Odd, Odd]);
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(TaskError::ItemDecode(_))),
            "{outcome:?}"
        );
    }
    let outcomes = pool.map_results(|_: u8| Odd, 0..2);
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(TaskError::ValueDecode(_))),
            "{outcome:?}"
        );
    }
    check_usable(&pool);
}
