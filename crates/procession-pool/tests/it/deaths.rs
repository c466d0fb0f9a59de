//! Workers that die by themselves or are killed, at every stage of an item's way.

use std::thread;

use procession_pool::{Phase, Pool, TaskError};
use procession_primitives::Process;
use procession_testkit::{Case, birth, cases, eventually, heap_units, ledger, os, procfs, stop};
use rustix::process::Signal;

use crate::deaths;
use crate::support::agent::{self, Act, Plan, Stage, check_all, items, work};
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![deaths:
        every_stage_every_way, mixed_with_errors, only_deaths, killed_from_outside,
        through_apply_and_map, after_a_large_value, while_dropping_a_value, all_at_once,
        killed_while_idle, killed_while_idle_under_load, at_birth_for_ever, at_birth_now_and_then,
        two_deaths_before_it_looks, deaths_are_seen_by_others, stopped_then_killed,
        supervisor_killed, supervisor_killed_again_and_again, nothing_is_used_up,
        grandchildren_go_too, dead_workers_pid,
    ]
    .into()
}

const ACTS: [Act; 11] = [
    Act::Exit(0),
    Act::Exit(42),
    Act::ExitNow(0),
    Act::ExitNow(255),
    Act::Abort,
    Act::Crash,
    Act::Overflow,
    Act::PanicTwice,
    Act::Raise(libc::SIGKILL),
    Act::Raise(libc::SIGTERM),
    Act::Raise(libc::SIGFPE),
];

const STAGES: [Stage; 4] = [
    Stage::ItemDecode,
    Stage::Run,
    Stage::ItemDrop,
    Stage::ValueEncode,
];

fn deaths() -> impl Iterator<Item = (Stage, Act)> {
    STAGES
        .into_iter()
        .flat_map(|stage| ACTS.map(|act| (stage, act)))
}

#[track_caller]
pub(crate) fn check_killed<R: std::fmt::Debug>(outcome: &Result<R, TaskError>, phase: Phase) {
    let Err(TaskError::WorkerDied(death)) = outcome else {
        panic!("not killed: {outcome:?}")
    };
    let found = (death.signal(), death.exit_code(), death.phase());
    assert_eq!(found, (Some(libc::SIGKILL), None, phase));
}

/// The present supervisor. One that has just been killed may take the question along.
fn supervisor() -> u32 {
    let asked = || Process::spawn(|()| os::ppid(), ()).ok()?.join().ok();
    eventually("a supervisor", || asked().ok_or_else(String::new))
}

fn every_stage_every_way() {
    for workers in [1, 4] {
        let pool = Pool::with_workers(workers).unwrap();
        for (number, (stage, act)) in deaths().enumerate() {
            for chunksize in [1, 5, 16] {
                let mut plans = agent::good(16);
                let at = [0, 15, number % 16][(number + chunksize) % 3];
                plans[at] = Plan::bad(plans[at].id, stage, act);
                let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
                check_all(&plans, &outcomes);
            }
        }
        check_usable(&pool);
        assert_eq!(pool.worker_pids().len(), workers);
    }
}

fn mixed_with_errors() {
    let pool = Pool::with_workers(3).unwrap();
    let errors = [Stage::ItemEncode, Stage::ItemDecode, Stage::ValueDecode];
    for chunksize in [1, 13, 300] {
        let mut plans = agent::good(300);
        for (number, (stage, act)) in deaths().enumerate() {
            let at = number * 5 % 300;
            plans[at] = Plan::bad(plans[at].id, stage, act);
            plans[at + 2] = Plan::bad(plans[at + 2].id, errors[number % 3], Act::PanicStr);
            plans[at + 3] = plans[at + 3].sized(number as u32 * 100);
        }
        let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
        check_all(&plans, &outcomes);
    }
    check_usable(&pool);
}

/// Not one item survives; there are more deaths than a pool would try starts.
fn only_deaths() {
    for workers in [1, 3] {
        let pool = Pool::with_workers(workers).unwrap();
        for chunksize in [1, 40] {
            let mut plans = agent::good(40);
            for (plan, (stage, act)) in plans.iter_mut().zip(deaths()) {
                *plan = Plan::bad(plan.id, stage, act);
            }
            let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
            check_all(&plans, &outcomes);
        }
        check_usable(&pool);
    }
}

/// Kills whoever asks for it, `count` times, through the word.
fn kill_callers(word: u32, count: usize) {
    for _ in 0..count {
        let pid = ledger::wait(word);
        ledger::set(word, 0);
        os::send(pid, Signal::KILL);
    }
}

fn killed_from_outside() {
    let pool = Pool::with_workers(2).unwrap();
    let word = ledger::reserve(1);
    for stage in STAGES {
        for chunksize in [1, 4, 12] {
            let mut plans = agent::good(12);
            for at in [0, 11] {
                plans[at] = Plan::bad(plans[at].id, stage, Act::Wait(word));
            }
            // One after the other: both use the one word.
            plans[11].act = Act::Raise(libc::SIGKILL);
            let outcomes = thread::scope(|scope| {
                scope.spawn(|| kill_callers(word, 1));
                pool.chunksize(chunksize).map_results(work, items(&plans))
            });
            check_all(&plans, &outcomes);
        }
    }
    check_usable(&pool);
}

fn through_apply_and_map() {
    let pool = Pool::with_workers(1).unwrap();
    for (stage, act) in deaths() {
        let plan = Plan::bad(agent::good(1)[0].id, stage, act);
        agent::check(&plan, &pool.apply(work, agent::Item(plan)));
        let mut plans = agent::good(5);
        plans[2] = Plan::bad(plans[2].id, stage, act);
        let found = pool.chunksize(5).map(work, items(&plans));
        agent::check(&plans[2], &found.map(|_| panic!("a death was planned")));
        assert_eq!(ledger::get(plans[4].id), 1, "those after it have run");
    }
    check_usable(&pool);
}

/// What was finished before is kept, wherever the output lies by then.
fn after_a_large_value() {
    let pool = Pool::with_workers(2).unwrap();
    for stage in [Stage::Run, Stage::ValueEncode] {
        for size in [10, 100, 180, 192, 500, 70_000, 400_000] {
            let mut plans = agent::good(8);
            for at in [0, 4, 7] {
                plans[at] = plans[at].sized(size);
            }
            for at in [2, 6] {
                let bad = Plan::bad(plans[at].id, stage, Act::Raise(libc::SIGKILL));
                plans[at] = bad.sized(size);
            }
            let outcomes = pool.chunksize(8).map_results(work, items(&plans));
            check_all(&plans, &outcomes);
        }
    }
}

/// The value was sent by then: the death costs nothing.
fn while_dropping_a_value() {
    let pool = Pool::with_workers(2).unwrap();
    for act in ACTS {
        for chunksize in [1, 3, 10] {
            let mut plans = agent::good(10);
            for at in [0, 4, 9] {
                plans[at] = Plan::bad(plans[at].id, Stage::ValueDrop, act);
            }
            let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
            check_all(&plans, &outcomes);
        }
        let plan = Plan::bad(agent::good(1)[0].id, Stage::ValueDrop, act);
        agent::check(&plan, &pool.apply(work, agent::Item(plan)));
    }
    check_usable(&pool);
}

/// F47.
fn all_at_once() {
    let pool = Pool::with_workers(4).unwrap();
    for _ in 0..5 {
        let first = ledger::reserve(44);
        let running = |id: u32| {
            ledger::note(id);
            if id % 11 == 3 {
                os::sleep_for_ever();
            }
            id
        };
        // Four that never end, others with and before them.
        let ids = (first..).filter(|id| id % 11 != 3).take(40);
        let (low, high): (Vec<u32>, Vec<u32>) = ids.partition(|id| id % 2 == 0);
        let sleepers = (first..).filter(|id| id % 11 == 3).take(4);
        let all: Vec<u32> = low
            .into_iter()
            .chain(sleepers.clone())
            .chain(high)
            .collect();
        let outcomes = thread::scope(|scope| {
            let call = scope.spawn(|| pool.chunksize(1).map_results(running, all.clone()));
            sleepers
                .clone()
                .for_each(|id| assert_eq!(ledger::wait(id), 1));
            for pid in pool.worker_pids() {
                os::send(pid, Signal::KILL);
            }
            call.join().unwrap()
        });
        for (id, outcome) in all.iter().zip(&outcomes) {
            if id % 11 == 3 {
                check_killed(outcome, Phase::Running);
            } else {
                assert_eq!(outcome.as_ref().unwrap(), id);
            }
            assert_eq!(ledger::get(*id), 1);
        }
        check_usable(&pool);
    }
}

fn killed_while_idle() {
    for workers in [1, 3] {
        let pool = Pool::with_workers(workers).unwrap();
        for round in 0..30 {
            let pids = pool.worker_pids();
            let some = if round % 2 == 0 { workers } else { 1 };
            for pid in &pids[..some] {
                os::send(*pid, Signal::KILL);
            }
            if round % 3 == 0 {
                // Dead and buried when the call comes; else only just hit.
                for pid in &pids[..some] {
                    eventually("it is gone", || match procfs::state_and_parent(*pid) {
                        None => Ok(()),
                        state => Err(format!("{state:?}")),
                    });
                }
            }
            if round % 2 == 0 {
                assert_eq!(pool.apply(|n: u32| n, round).unwrap(), round);
            } else {
                let found = pool.map(|n: u32| n, 0..10).unwrap();
                assert!(found.into_iter().eq(0..10));
            }
        }
        check_usable(&pool);
    }
}

/// No item is lost to the death of a worker that had none.
fn killed_while_idle_under_load() {
    let pool = Pool::with_workers(3).unwrap();
    let mut pid = 0;
    for _ in 0..200 {
        pid = pool.worker_pids()[0];
        thread::scope(|scope| {
            scope.spawn(|| os::send(pid, Signal::KILL));
            let outcomes = pool.chunksize(2).map_results(|n: u32| n, 0..6);
            for (n, outcome) in (0..6).zip(outcomes) {
                match outcome {
                    Ok(value) => assert_eq!(value, n),
                    Err(TaskError::WorkerDied(death)) => {
                        // Or the one before, which went as slowly.
                        assert_eq!(death.signal(), Some(9));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    procfs::await_end(&[pid]);
    check_usable(&pool);
}

/// F11: an error after a bounded number of attempts, and a fresh start when the cause is gone.
fn at_birth_for_ever() {
    for how in [1, 2, 1000 + libc::SIGKILL, 1000 + libc::SIGSEGV] {
        ledger::set(birth::COUNT, 0);
        ledger::set(birth::HOW, how.cast_unsigned());
        let pool = Pool::with_workers(2).unwrap();
        let outcomes = pool.map_results(|n: u32| n, 0..100);
        assert_eq!(outcomes.len(), 100);
        for outcome in outcomes {
            assert!(
                matches!(outcome, Err(TaskError::NoWorkers(_))),
                "{outcome:?}"
            );
        }
        let error = pool.map(|n: u32| n, 0..100).unwrap_err();
        assert!(matches!(error, TaskError::NoWorkers(_)), "{error}");
        let error = pool.apply(|n: u32| n, 1).unwrap_err();
        assert!(matches!(error, TaskError::NoWorkers(_)), "{error}");
        let births = ledger::get(birth::COUNT);
        assert!((2..200).contains(&births), "{births} attempts");
        ledger::set(birth::HOW, 0);
        assert_eq!(
            pool.apply(|n: u32| n, 1).unwrap(),
            1,
            "after the cause is gone"
        );
        check_usable(&pool);
        // A pool that once worked.
        ledger::set(birth::HOW, how.cast_unsigned());
        let mut plans = agent::good(50);
        plans[3] = Plan::bad(plans[3].id, Stage::Run, Act::Exit(1));
        plans[40] = Plan::bad(plans[40].id, Stage::Run, Act::Exit(1));
        let outcomes = pool.chunksize(1).map_results(work, items(&plans));
        assert_eq!(outcomes.len(), 50);
        agent::check(&plans[3], &outcomes[3]);
        for (plan, outcome) in plans.iter().zip(&outcomes) {
            let none = matches!(outcome, Err(TaskError::NoWorkers(_)));
            if !none || ledger::get(plan.id) != 0 {
                agent::check(plan, outcome);
            }
        }
        ledger::set(birth::HOW, 0);
        check_usable(&pool);
    }
}

/// F04: while the cause comes and goes, no item is lost.
fn at_birth_now_and_then() {
    let pool = Pool::with_workers(2).unwrap();
    for round in 0..10 {
        let mut plans = agent::good(60);
        for plan in plans.iter_mut().step_by(20) {
            *plan = Plan::bad(plan.id, Stage::Run, Act::Abort);
        }
        let before = ledger::get(birth::COUNT);
        ledger::set(birth::HOW, 2);
        let outcomes = thread::scope(|scope| {
            scope.spawn(move || {
                ledger::wait_for(birth::COUNT, before + 1 + round % 3);
                ledger::set(birth::HOW, 0);
            });
            pool.chunksize(1).map_results(work, items(&plans))
        });
        check_all(&plans, &outcomes);
    }
    check_usable(&pool);
}

/// A task that a death has ended, and that its call has not collected when the worker's
/// replacement dies as well, is collected once.
fn two_deaths_before_it_looks() {
    let pool = Pool::with_workers(1).unwrap();
    for _ in 0..3 {
        let plans = agent::good(6);
        let bad = Plan::bad(plans[0].id, Stage::Run, Act::Exit(3));
        let others = agent::good(3).into_iter();
        let mut others = others.map(|plan| Plan::bad(plan.id, Stage::Run, Act::Exit(4)));
        let mut plans = plans;
        plans[0] = bad;
        let list = plans.clone();
        let between = list.into_iter().enumerate().map(|(at, plan)| {
            if at == 1 {
                for other in others.by_ref() {
                    agent::check(&other, &pool.apply(work, agent::Item(other)));
                }
            }
            agent::Item(plan)
        });
        let outcomes = pool.chunksize(1).map_results(work, between);
        check_all(&plans, &outcomes);
        check_usable(&pool);
    }
}

/// Each of many callers settles the deaths of all.
fn deaths_are_seen_by_others() {
    let pool = Pool::with_workers(2).unwrap();
    thread::scope(|scope| {
        for number in 0..6_usize {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..12 {
                    let mut plans = agent::good(12);
                    let all: Vec<_> = deaths().collect();
                    let (stage, act) = all[(number * 7 + round) % all.len()];
                    plans[round] = Plan::bad(plans[round].id, stage, act);
                    let view = pool.chunksize(1 + (number + round) % 4);
                    let outcomes = view.map_results(work, items(&plans));
                    check_all(&plans, &outcomes);
                }
            });
        }
    });
    check_usable(&pool);
}

fn stopped_then_killed() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    for pid in &pids {
        stop(*pid);
    }
    let outcomes = thread::scope(|scope| {
        let call = scope.spawn(|| pool.map_results(|n: u32| n, 0..100));
        for pid in &pids {
            os::send(*pid, Signal::KILL);
        }
        call.join().unwrap()
    });
    for (n, outcome) in (0..100).zip(outcomes) {
        // They had nothing in hand when they were stopped.
        assert_eq!(outcome.unwrap(), n);
    }
    check_usable(&pool);
}

/// What ran when the supervisor was killed has that for its cause; the rest runs.
fn supervisor_killed() {
    for chunksize in [1, 10] {
        let pool = Pool::with_workers(2).unwrap();
        let supervisor = supervisor();
        let plans = agent::good(100);
        let gate = ledger::reserve(1);
        let slow = |(gate, id): (u32, u32)| {
            ledger::note(id);
            if ledger::get(gate) == 0 {
                ledger::note(gate);
                os::sleep_for_ever();
            }
            id
        };
        let outcomes = thread::scope(|scope| {
            let calls = plans.iter().map(|plan| (gate, plan.id));
            let view = pool.chunksize(chunksize);
            let call = scope.spawn(move || view.map_results(slow, calls));
            ledger::wait(gate);
            os::send(supervisor, Signal::KILL);
            call.join().unwrap()
        });
        assert_eq!(outcomes.len(), 100);
        let mut died = 0;
        for (plan, outcome) in plans.iter().zip(&outcomes) {
            match outcome {
                Ok(id) => {
                    assert_eq!(*id, plan.id);
                    assert_eq!(ledger::get(plan.id), 1);
                }
                Err(TaskError::WorkerDied(death)) => {
                    assert!(death.status().supervisor_died(), "{death}");
                    assert_eq!((death.signal(), death.exit_code()), (None, None));
                    assert!(ledger::get(plan.id) <= 1);
                    died += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(
            (1..=2).contains(&died),
            "{died} items died with two workers"
        );
        check_usable(&pool);
        assert_ne!(self::supervisor(), supervisor);
    }
}

fn supervisor_killed_again_and_again() {
    let pool = Pool::with_workers(2).unwrap();
    for round in 0..15 {
        let supervisor = supervisor();
        let pids = pool.worker_pids();
        let plans = agent::good(300);
        let outcomes = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(std::time::Duration::from_micros(round * 400));
                os::send(supervisor, Signal::KILL);
            });
            pool.map_results(work, items(&plans))
        });
        assert_eq!(outcomes.len(), 300);
        for (plan, outcome) in plans.iter().zip(&outcomes) {
            match outcome {
                Err(TaskError::WorkerDied(death)) => {
                    assert!(death.status().supervisor_died(), "{death}");
                    assert!(ledger::get(plan.id) <= 1);
                }
                outcome => agent::check(plan, outcome),
            }
        }
        // They follow it at their own pace.
        procfs::await_end(&[supervisor]);
        procfs::await_end(&pids);
        check_usable(&pool);
    }
}

/// F131: descriptors, memory and members after hundreds of deaths.
fn nothing_is_used_up() {
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let look = || {
        let me = std::process::id();
        let heap = heap_units();
        (
            procfs::descriptors(me),
            heap,
            procfs::children_of(supervisor()).len(),
        )
    };
    let before = look();
    for _ in 0..400 {
        let outcome = pool.apply(|()| -> () { os::exit_at_once(7) }, ());
        assert!(matches!(outcome, Err(TaskError::WorkerDied(_))));
    }
    check_usable(&pool);
    warm_up(&pool);
    eventually("everything is back", || match look() {
        now if now == before => Ok(()),
        now => Err(format!("{now:?}, {before:?} before")),
    });
}

/// F57: with a worker go its descendants, however far they went away. The runner looks, too.
fn grandchildren_go_too() {
    let pool = Pool::with_workers(1).unwrap();
    let first = ledger::reserve(3);
    let start = |first: u32| -> () {
        for number in 0..3 {
            let child = os::bare_fork(|| {
                if number > 0 {
                    let _ = rustix::process::setsid();
                }
                if number > 1 {
                    let word = first + number;
                    let _ = os::bare_fork(|| {
                        ledger::set(word, std::process::id());
                        os::sleep_for_ever();
                        0
                    });
                    return 0;
                }
                ledger::set(first + number, std::process::id());
                os::sleep_for_ever();
                0
            });
            let _ = child;
            ledger::wait(first + number);
        }
        os::exit_at_once(5);
    };
    let outcome = pool.apply(start, first);
    let Err(TaskError::WorkerDied(death)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(death.exit_code(), Some(5));
    for word in first..first + 3 {
        let pid = ledger::get(word);
        eventually(
            "the grandchild is gone",
            || match procfs::state_and_parent(pid) {
                None => Ok(()),
                state => Err(format!("{pid}: {state:?}")),
            },
        );
    }
    check_usable(&pool);
}

fn dead_workers_pid() {
    let pool = Pool::with_workers(1).unwrap();
    for _ in 0..3 {
        let pids = pool.worker_pids();
        let outcome = pool.apply(|()| -> () { std::process::abort() }, ());
        let Err(TaskError::WorkerDied(death)) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(pids, [death.pid()]);
        assert_eq!(death.out_of_memory(), death.status().out_of_memory());
        assert_eq!(
            pool.apply(|()| std::process::id(), ()).unwrap(),
            pool.worker_pids()[0]
        );
        assert_ne!(pids, pool.worker_pids());
    }
}
