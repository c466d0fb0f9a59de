//! G: the life of a pool, and its end in the middle of something.

use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use procession_pool::{Phase, Pool, TaskError};
use procession_testkit::dice::dice;
use procession_testkit::program::Program;
use procession_testkit::{Case, cases, ledger, os, pause};
use rustix::process::Signal;

use crate::faults::ends as faults;
use crate::support::agent::{self, Act, Plan, Stage, items, work};
use crate::support::usable::check_usable;

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f111_terminate_with_submitted_tasks, f112_ended_by_all_at_once, f113_submit_and_end_race,
        f114_deaths_while_it_ends, f115_pool_dropped_before_its_handles,
        f117_program_killed_while_it_starts_workers, f119_program_stopped_for_a_while,
        f120_program_becomes_another, f123_idle_worker_leaves_when_work_comes,
        f125_all_reach_their_limit, f126_resize_under_load, f127_poison, f129_leaving_is_no_crash,
    ]
    .into()
}

fn note_and_sleep(id: u32) -> u32 {
    ledger::note(id);
    os::sleep_for_ever();
    id
}

/// Running ones have died, the others were never begun; in the backlog, too.
fn f111_terminate_with_submitted_tasks() {
    let pool = Pool::with_workers(2).unwrap();
    let first = ledger::reserve(5000);
    let handles: Vec<_> = (first..first + 5000)
        .map(|id| pool.apply_async(note_and_sleep, id))
        .collect();
    let many = pool.chunksize(2).map_async(note_and_sleep, [first; 100]);
    ledger::wait(first);
    ledger::wait(first + 1);
    pool.terminate();
    for (id, handle) in (first..).zip(handles) {
        match handle.get() {
            Err(TaskError::WorkerDied(death)) => {
                let found = (death.signal(), death.phase(), ledger::get(id));
                assert_eq!(found, (Some(9), Phase::Running, 1));
            }
            Err(TaskError::Closed) => assert_eq!(ledger::get(id), 0),
            other => panic!("{other:?}"),
        }
    }
    let outcome = many.get();
    assert!(matches!(outcome, Err(TaskError::Closed)), "{outcome:?}");
    pool.join().unwrap();
}

fn f112_ended_by_all_at_once() {
    for round in 0..20 {
        let pool = Pool::with_workers(2).unwrap();
        let start = Barrier::new(8);
        let plans = agent::good(50);
        let handles: Vec<_> = items(&plans)
            .map(|item| pool.apply_async(work, item))
            .collect();
        thread::scope(|scope| {
            for number in 0..8 {
                let (pool, start) = (&pool, &start);
                scope.spawn(move || {
                    start.wait();
                    match (number + round) % 3 {
                        0 => pool.terminate(),
                        1 => pool.close(),
                        _ => {
                            pool.close();
                            pool.join().unwrap();
                        }
                    }
                });
            }
        });
        for (plan, handle) in plans.iter().zip(handles) {
            match handle.get() {
                Err(TaskError::Closed | TaskError::NoWorkers(_)) => {
                    assert_eq!(ledger::get(plan.id), 0);
                }
                Err(TaskError::WorkerDied(death)) => assert_eq!(death.signal(), Some(9)),
                outcome => agent::check(plan, &outcome),
            }
        }
    }
}

/// Runs, or says that the pool is closed; whoever submits.
fn f113_submit_and_end_race() {
    for round in 0..60 {
        let pool = Pool::with_workers(2).unwrap();
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for number in 0..3 {
                let (pool, start) = (&pool, &start);
                scope.spawn(move || {
                    let plans = agent::good(20);
                    start.wait();
                    let outcomes: Vec<_> = if number == 0 {
                        pool.imap_unordered(work, items(&plans)).collect()
                    } else {
                        let submit = |item| pool.apply_async(work, item);
                        let handles: Vec<_> = items(&plans).map(submit).collect();
                        handles.into_iter().map(|handle| handle.get()).collect()
                    };
                    assert_eq!(outcomes.len(), 20);
                    for outcome in outcomes {
                        match outcome {
                            Ok(agent::Value(plan, _)) => assert_eq!(ledger::get(plan.id), 1),
                            Err(TaskError::Closed | TaskError::NoWorkers(_)) => {}
                            Err(TaskError::WorkerDied(death)) => {
                                assert_eq!((death.signal(), round % 2), (Some(9), 0));
                            }
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                });
            }
            start.wait();
            pause(Duration::from_micros(dice(600)));
            if round % 2 == 0 {
                pool.terminate();
            } else {
                pool.close();
            }
            pool.join().unwrap();
        });
    }
}

/// Workers that die while the pool is waited for: the rest of the tasks runs elsewhere.
fn f114_deaths_while_it_ends() {
    for workers in [1, 3] {
        let pool = Pool::with_workers(workers).unwrap();
        let gate = ledger::reserve(1);
        let mut plans = agent::good(40);
        for plan in plans.iter_mut().step_by(6) {
            *plan = Plan::bad(plan.id, Stage::Run, Act::Exit(3));
        }
        let held: Vec<_> = (0..workers)
            .map(|_| pool.apply_async(ledger::wait, gate))
            .collect();
        let handles: Vec<_> = items(&plans)
            .map(|item| pool.apply_async(work, item))
            .collect();
        pool.close();
        ledger::set(gate, 1);
        pool.join().unwrap();
        held.into_iter()
            .for_each(|handle| assert_eq!(handle.get().unwrap(), 1));
        for (plan, handle) in plans.iter().zip(handles) {
            assert!(handle.ready(), "joined");
            agent::check(plan, &handle.get());
        }
    }
}

fn f115_pool_dropped_before_its_handles() {
    for round in 0..20 {
        let pool = Pool::with_workers(2).unwrap();
        let plans = agent::good(100);
        let handles: Vec<_> = items(&plans)
            .map(|item| pool.apply_async(work, item))
            .collect();
        let many = pool.map_async(|n: u32| n, 0..1000);
        pause(Duration::from_micros(round * 50));
        thread::scope(|scope| {
            let waits = scope.spawn(|| many.get());
            drop(pool);
            match waits.join().unwrap() {
                Ok(values) => assert_eq!(values.len(), 1000),
                Err(TaskError::Closed | TaskError::WorkerDied(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        });
        for (plan, handle) in plans.iter().zip(handles) {
            assert!(handle.ready(), "what comes later?");
            match handle.get() {
                Err(TaskError::Closed) => assert_eq!(ledger::get(plan.id), 0),
                Err(TaskError::WorkerDied(death)) => assert_eq!(death.signal(), Some(9)),
                outcome => agent::check(plan, &outcome),
            }
        }
    }
}

pub(super) fn starts_workers(_: &[String]) -> ExitCode {
    println!("begun");
    let slowly = |(): ()| {
        println!("starting");
        os::sleep_for_ever();
    };
    let pool = Pool::builder().workers(6).initializer(slowly, ());
    let pool = pool.build().unwrap();
    let _ = pool.apply(|n: u8| n, 1);
    ExitCode::SUCCESS
}

fn f117_program_killed_while_it_starts_workers() {
    for starting in 0..6 {
        let mut program = Program::start("starts_workers", &[]);
        program.expect("begun");
        (0..starting).for_each(|_| program.expect("starting"));
        program.signal(Signal::KILL);
        assert!(!program.finish().success());
    }
}

pub(super) fn is_stopped(_: &[String]) -> ExitCode {
    let pool = Pool::with_workers(2).unwrap();
    let slow = |n: u32| {
        if n == 0 {
            println!("begun");
        }
        thread::sleep(Duration::from_millis(5));
        n
    };
    let limit = Duration::from_millis(700);
    let pids = pool.worker_pids();
    let found = pool.timeout(limit).chunksize(1).map(slow, 0..100).unwrap();
    let right = found.into_iter().eq(0..100) && pool.worker_pids() == pids;
    ExitCode::from(u8::from(!right))
}

/// The workers go on, and nobody is killed for the time in which the program was stopped.
fn f119_program_stopped_for_a_while() {
    let mut program = Program::start("is_stopped", &[]);
    program.expect("begun");
    program.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(900));
    program.signal(Signal::CONT);
    program.succeed();
}

pub(super) fn becomes_another(_: &[String]) -> ExitCode {
    let pool = Pool::with_workers(2).unwrap();
    check_usable(&pool);
    let busy = pool.map_async(|(): ()| os::sleep_for_ever(), [(); 2]);
    println!("ready");
    let _ = std::io::stdin().read_line(&mut String::new());
    let _kept = (pool, busy);
    os::become_sleep()
}

/// Nobody of us is left in the other program's company.
fn f120_program_becomes_another() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut program = Program::start_with("becomes_another", &[], |command| {
        command.stdin(reader);
    });
    program.expect("ready");
    drop(writer);
    program.gone_but(&[program.pid()]);
    program.signal(Signal::KILL);
    program.finish();
}

/// Work comes at about the moment in which a worker gives up waiting for it.
fn f123_idle_worker_leaves_when_work_comes() {
    let idle = Duration::from_micros(800);
    for workers in [1, 3] {
        let pool = Pool::builder().workers(workers).idle_timeout(idle);
        let pool = pool.build().unwrap();
        for n in 0..150 {
            pause(Duration::from_micros(600 + dice(400)));
            match n % 3 {
                0 => assert_eq!(pool.apply(|n: u32| n, n).unwrap(), n),
                1 => assert_eq!(pool.apply_async(|n: u32| n, n).get().unwrap(), n),
                _ => {
                    let found = pool.chunksize(1).map(|n: u32| n, 0..5).unwrap();
                    assert_eq!(found, [0, 1, 2, 3, 4]);
                }
            }
        }
        check_usable(&pool);
        assert_eq!(pool.stats().restarts, 0, "leaving is no death");
    }
}

fn f125_all_reach_their_limit() {
    for limit in [1, 2, 7] {
        let pool = Pool::builder().workers(4).max_tasks_per_worker(limit);
        let pool = pool.build().unwrap();
        for chunksize in [1, 10] {
            let plans = agent::good(160);
            let outcomes = pool.chunksize(chunksize).map_results(work, items(&plans));
            agent::check_all(&plans, &outcomes);
        }
        let plans = agent::good(80);
        let handles: Vec<_> = items(&plans)
            .map(|item| pool.apply_async(work, item))
            .collect();
        for (plan, handle) in plans.iter().zip(handles) {
            agent::check(plan, &handle.get());
        }
        check_usable(&pool);
        assert_eq!(pool.stats().restarts, 0, "leaving is no death");
    }
}

fn f126_resize_under_load() {
    let pool = Pool::with_workers(2).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|number| {
                let (pool, over) = (&pool, &over);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let plans = agent::good(60);
                        let outcomes: Vec<_> = if number == 0 {
                            let submit = |item| pool.apply_async(work, item);
                            let handles: Vec<_> = items(&plans).map(submit).collect();
                            handles.into_iter().map(|handle| handle.get()).collect()
                        } else {
                            pool.chunksize(number * 5).map_results(work, items(&plans))
                        };
                        agent::check_all(&plans, &outcomes);
                    }
                })
            })
            .collect();
        for round in 0..100 {
            pool.resize([1, 8, 2, 5][round % 4]).unwrap();
            thread::sleep(Duration::from_millis(3));
        }
        over.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
    });
    for workers in [1, 6] {
        pool.resize(workers).unwrap();
        check_usable(&pool);
        procession_testkit::eventually("as many as wanted", || {
            check_usable(&pool);
            match pool.worker_pids().len() {
                found if found == workers => Ok(()),
                found => Err(format!("{found} instead of {workers}")),
            }
        });
    }
    assert_eq!(pool.stats().restarts, 0, "nobody died");
}

/// One that kills whoever touches it has its three; the others do not notice.
fn f127_poison() {
    let pool = Pool::with_workers(2).unwrap();
    for submit in [false, true] {
        let word = ledger::reserve(1);
        let work = |(word, n): (u32, u32)| {
            if n == 777 {
                ledger::note(word);
                os::raise(libc::SIGSEGV);
            }
            n
        };
        let count = if submit { 1000 } else { 10_000 };
        let items = (0..count).map(|n| (word, n));
        let view = pool.crash_limit(3).retries(1);
        let outcomes = if submit {
            let handles: Vec<_> = items.map(|item| view.apply_async(work, item)).collect();
            handles.into_iter().map(|handle| handle.get()).collect()
        } else {
            view.map_results(work, items)
        };
        for (n, outcome) in (0..count).zip(outcomes) {
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
    check_usable(&pool);
}

/// Workers that leave by themselves cost no attempt.
fn f129_leaving_is_no_crash() {
    let idle = Duration::from_millis(1);
    let pool = Pool::builder().workers(3).max_tasks_per_worker(3);
    let pool = pool.idle_timeout(idle).crash_limit(1).build().unwrap();
    for round in 0..30 {
        let plans = agent::good(25);
        let outcomes = pool.chunksize(4).map_results(work, items(&plans));
        agent::check_all(&plans, &outcomes);
        pool.resize(1 + round % 3).unwrap();
    }
    check_usable(&pool);
    assert_eq!((pool.stats().restarts, pool.stats().retries), (0, 0));
}
