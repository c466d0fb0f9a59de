//! SIGKILL at any moment of short tasks: by the clock, and in every phase on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use procession_pool::{Phase, Pool};
use procession_testkit::dice::dice;
use procession_testkit::{Case, cases, heap_is_back, heap_units, ledger, os, pause, procfs};
use rustix::process::Signal;

use crate::kills;
use crate::support::agent::{self, Act, Plan, Stage, items, work};
use crate::support::kills::check_survivors;
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![kills:
        in_every_phase, while_starting, at_any_moment, at_any_moment_of_large_values,
        outcomes_before_the_kill_are_kept,
    ]
    .into()
}

fn in_every_phase() {
    let pool = Pool::with_workers(1).unwrap();
    let word = ledger::reserve(1);
    let phases = [
        (Stage::ItemDecode, Phase::Decoding, 0),
        (Stage::Run, Phase::Running, 1),
        (Stage::ItemDrop, Phase::Running, 1),
        (Stage::ValueEncode, Phase::Encoding, 1),
    ];
    for (stage, phase, runs) in phases {
        for at in [0, 2, 4] {
            let mut plans = agent::good(5);
            plans[at] = Plan::bad(plans[at].id, stage, Act::Wait(word)).sized(300);
            let outcomes = thread::scope(|scope| {
                let call = scope.spawn(|| pool.chunksize(5).map_results(work, items(&plans)));
                let pid = ledger::wait(word);
                assert_eq!(pool.worker_pids(), [pid]);
                ledger::set(word, 0);
                os::send(pid, Signal::KILL);
                call.join().unwrap()
            });
            agent::check_all(&plans, &outcomes);
            crate::deaths::check_killed(&outcomes[at], phase);
            assert_eq!(ledger::get(plans[at].id), runs);
        }
    }
    // Between two items: the value is sent, and its drop waits for the killer.
    for at in [0, 2, 4] {
        let mut plans = agent::good(5);
        plans[at] = Plan::bad(plans[at].id, Stage::ValueDrop, Act::Wait(word)).sized(300);
        let outcomes = thread::scope(|scope| {
            let call = scope.spawn(|| pool.chunksize(5).map_results(work, items(&plans)));
            os::send(ledger::wait(word), Signal::KILL);
            ledger::set(word, 0);
            call.join().unwrap()
        });
        agent::check_all(&plans, &outcomes);
    }
    // Idle.
    os::send(pool.worker_pids()[0], Signal::KILL);
    let plans = agent::good(5);
    agent::check_all(&plans, &pool.map_results(work, items(&plans)));
    check_usable(&pool);
}

/// Killed on the way from its birth to its first task: no item is lost, and only a begun one dies.
fn while_starting() {
    for round in 0..120 {
        let pool = Pool::with_workers(2).unwrap();
        let pids = pool.worker_pids();
        let plans = agent::good(8);
        let outcomes = thread::scope(|scope| {
            scope.spawn(|| {
                pause(Duration::from_micros(round * 15));
                pids.iter().for_each(|pid| os::send(*pid, Signal::KILL));
            });
            pool.chunksize(2).map_results(work, items(&plans))
        });
        assert!(check_survivors(&plans, &outcomes) <= 2);
        if round % 10 == 0 {
            procfs::await_end(&pids);
            check_usable(&pool);
        }
    }
}

fn sweep(pool: &Pool, rounds: u32, size: u32, most: u64) {
    warm_up(pool);
    let before = heap_units();
    let (mut died, mut last) = (0, Vec::new());
    for round in 0..rounds {
        let plans: Vec<Plan> = agent::good(6).iter().map(|plan| plan.sized(size)).collect();
        let pids = pool.worker_pids();
        last.clone_from(&pids);
        let off = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&off);
        let outcomes = thread::scope(|scope| {
            scope.spawn(move || {
                gone.store(true, Ordering::Release);
                pause(Duration::from_nanos(dice(most)));
                pids.iter().for_each(|pid| os::send(*pid, Signal::KILL));
            });
            while !off.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            let view = pool.chunksize(1 + round as usize % 6);
            view.map_results(work, items(&plans))
        });
        died += check_survivors(&plans, &outcomes);
    }
    println!("  ({died} items died in {rounds} rounds)");
    procfs::await_end(&last);
    check_usable(pool);
    warm_up(pool);
    heap_is_back("the memory is back", before);
}

fn at_any_moment() {
    sweep(&Pool::with_workers(1).unwrap(), 400, 1500, 400_000);
    sweep(&Pool::with_workers(3).unwrap(), 300, 150, 250_000);
}

fn at_any_moment_of_large_values() {
    sweep(&Pool::with_workers(1).unwrap(), 200, 300, 300_000);
    sweep(&Pool::with_workers(2).unwrap(), 200, 50_000, 20_000_000);
}

/// F50.
fn outcomes_before_the_kill_are_kept() {
    let pool = Pool::with_workers(1).unwrap();
    let word = ledger::reserve(1);
    for chunksize in [1, 10] {
        let mut plans = agent::good(10);
        plans[9] = Plan::bad(plans[9].id, Stage::Run, Act::Wait(word));
        let outcomes = thread::scope(|scope| {
            let call = scope.spawn(|| pool.chunksize(chunksize).map_results(work, items(&plans)));
            os::send(ledger::wait(word), Signal::KILL);
            ledger::set(word, 0);
            call.join().unwrap()
        });
        agent::check_all(&plans, &outcomes);
    }
}
