//! The end of a pool: close, join, terminate, drop, and the end of the program around it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use procession_pool::{Pool, TaskError};
use procession_primitives::Process;
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, eventually, ledger, os, procfs, same};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::life;
use crate::support::agent::{self, Act, Bytes, Plan, Stage, check_all, items, work};
use crate::support::usable::check_usable;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("ends_busy", ends_busy),
    ("forked", forked),
    ("forked_behind", forked_behind),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![life:
        closed_pool_takes_nothing, join_needs_close, close_lets_everything_finish,
        close_during_a_map, close_and_submit_race, join_waits_for_the_last_outcome,
        join_sees_cells_come_back, deaths_during_the_drain, join_timeout,
        terminate_during_a_map, terminate_during_many_calls, terminate_then_join,
        terminate_with_large_tasks, terminate_twice, drop_with_running_tasks,
        drop_while_unwinding, drop_after_a_broken_call, drop_takes_grandchildren_along,
        many_short_pools, program_ends_with_a_busy_pool, pool_in_a_forked_child,
        pool_forked_behind_the_back,
    ]
    .into()
}

#[track_caller]
fn check_closed(pool: &Pool) {
    let error = pool.apply(|n: u8| n, 1).unwrap_err();
    assert!(matches!(error, TaskError::Closed), "{error:?}");
    let error = pool.map(|n: u8| n, [1, 2]).unwrap_err();
    assert!(matches!(error, TaskError::Closed), "{error:?}");
    let outcomes = pool.chunksize(2).map_results(|n: u8| n, 0..5);
    assert_eq!(outcomes.len(), 5);
    for outcome in outcomes {
        assert!(matches!(outcome, Err(TaskError::Closed)), "{outcome:?}");
    }
}

#[track_caller]
fn check_gone(pids: &[u32]) {
    for pid in pids {
        assert_eq!(procfs::state_and_parent(*pid), None, "worker {pid} is left");
    }
}

fn closed_pool_takes_nothing() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    check_usable(&pool);
    pool.close();
    check_closed(&pool);
    pool.close();
    pool.join().unwrap();
    check_gone(&pids);
    check_closed(&pool);
    pool.join().unwrap();
    assert!(pool.join_timeout(Duration::ZERO).unwrap());
    pool.terminate();
    pool.join().unwrap();
}

fn join_needs_close() {
    let pool = Pool::with_workers(1).unwrap();
    assert!(matches!(pool.join(), Err(TaskError::NotClosed)));
    let found = pool.join_timeout(Duration::from_secs(1));
    assert!(matches!(found, Err(TaskError::NotClosed)));
    check_usable(&pool);
}

/// F110: a full queue, and callers that wait.
fn close_lets_everything_finish() {
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    let plans: Vec<_> = (0..6).map(|_| agent::good(50)).collect();
    thread::scope(|scope| {
        let calls: Vec<_> = plans
            .iter()
            .map(|plans| {
                let wait = |(gate, id): (u32, u32)| {
                    ledger::note(id);
                    ledger::wait(gate);
                    id
                };
                let calls = plans.iter().map(move |plan| (gate, plan.id));
                let pool = &pool;
                scope.spawn(move || pool.chunksize(1).map(wait, calls))
            })
            .collect();
        // Each has its 50 tasks in the queue, or it would say `Closed`.
        eventually("tasks are queued", || {
            let ran = plans
                .iter()
                .flatten()
                .filter(|plan| ledger::get(plan.id) > 0);
            if ran.count() == 2 {
                Ok(())
            } else {
                Err("not yet".into())
            }
        });
        thread::sleep(Duration::from_millis(50));
        pool.close();
        ledger::set(gate, 1);
        pool.join().unwrap();
        for (call, plans) in calls.into_iter().zip(&plans) {
            let found = call.join().unwrap().unwrap();
            assert!(found.into_iter().eq(plans.iter().map(|plan| plan.id)));
        }
    });
}

/// A call that had begun is finished, however much of it was not yet with the workers.
fn close_during_a_map() {
    for chunksize in [1, 20] {
        let pool = Pool::with_workers(2).unwrap();
        let plans = agent::good(3000);
        let closed = ledger::reserve(1);
        let slowly = items(&plans).enumerate().map(|(at, item)| {
            if at == 50 {
                pool.close();
                ledger::set(closed, 1);
            }
            if at > 50 && at % 100 == 0 {
                // The workers have nothing to do meanwhile, and leave.
                thread::sleep(Duration::from_millis(3));
            }
            item
        });
        thread::scope(|scope| {
            // It may settle the workers that leave before the call does.
            scope.spawn(|| {
                ledger::wait(closed);
                pool.join().unwrap();
            });
            let outcomes = pool.chunksize(chunksize).map_results(work, slowly);
            check_all(&plans, &outcomes);
        });
        check_closed(&pool);
    }
}

/// F113: runs, or says that the pool is closed.
fn close_and_submit_race() {
    for round in 0..60 {
        let pool = Pool::with_workers(2).unwrap();
        let start = Barrier::new(4);
        let plans: Vec<_> = (0..3).map(|_| agent::good(20)).collect();
        thread::scope(|scope| {
            for plans in &plans {
                scope.spawn(|| {
                    start.wait();
                    let outcomes = pool.chunksize(3).map_results(work, items(plans));
                    if let Err(TaskError::Closed) = outcomes[0] {
                        for (plan, outcome) in plans.iter().zip(outcomes) {
                            assert!(matches!(outcome, Err(TaskError::Closed)), "{outcome:?}");
                            assert_eq!(ledger::get(plan.id), 0);
                        }
                    } else {
                        check_all(plans, &outcomes);
                    }
                });
            }
            start.wait();
            thread::sleep(Duration::from_micros(round * 10));
            pool.close();
            pool.join().unwrap();
        });
    }
}

/// Takes its time to be read, in the program.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Slow(u32);

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        thread::sleep(Duration::from_millis(100));
        u32::deserialize(d).map(Slow)
    }
}

/// The workers are long gone when the caller has read its outcomes.
fn join_waits_for_the_last_outcome() {
    let pool = Pool::with_workers(2).unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| pool.chunksize(1).map(Slow, 0..4));
        eventually("the call has begun", || {
            // Not before: it would say `Closed`.
            thread::sleep(Duration::from_millis(50));
            Ok(())
        });
        pool.close();
        pool.join().unwrap();
        assert_eq!(call.join().unwrap().unwrap(), [0, 1, 2, 3].map(Slow));
    });
}

fn join_sees_cells_come_back() {
    for round in 0..100 {
        let pool = Pool::with_workers(2).unwrap();
        let begun = ledger::reserve(1);
        thread::scope(|scope| {
            for _ in 0..3 {
                let note = |begun: u32| ledger::note(begun);
                let pool = &pool;
                scope.spawn(move || {
                    let _ = pool.apply(note, begun);
                });
            }
            ledger::wait(begun);
            if round % 2 == 0 {
                thread::yield_now();
            }
            pool.close();
            pool.join().unwrap();
        });
    }
}

fn deaths_during_the_drain() {
    for chunksize in [1, 6, 30] {
        let pool = Pool::with_workers(2).unwrap();
        let mut plans = agent::good(30);
        for plan in plans.iter_mut().step_by(4) {
            *plan = Plan::bad(plan.id, Stage::Run, Act::Exit(0));
        }
        let last = items(&plans).enumerate().map(|(at, item)| {
            if at == 29 {
                pool.close();
            }
            item
        });
        let outcomes = pool.chunksize(chunksize).map_results(work, last);
        check_all(&plans, &outcomes);
        pool.join().unwrap();
    }
}

fn join_timeout() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(2);
    thread::scope(|scope| {
        let wait = |words: u32| {
            ledger::note(words);
            ledger::wait(words + 1)
        };
        let call = scope.spawn(move || ());
        call.join().unwrap();
        let pool = &pool;
        let call = scope.spawn(move || pool.apply(wait, words));
        ledger::wait(words);
        pool.close();
        assert!(!pool.join_timeout(Duration::ZERO).unwrap());
        assert!(!pool.join_timeout(Duration::from_millis(20)).unwrap());
        ledger::set(words + 1, 1);
        assert!(pool.join_timeout(Duration::from_secs(1000)).unwrap());
        assert_eq!(call.join().unwrap().unwrap(), 1);
    });
}

/// Runs calls that do not end, terminates their pool, and returns what they came to.
fn terminated(callers: u32, chunksize: usize, size: usize) -> Vec<Result<u32, TaskError>> {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    let begun = ledger::reserve(1);
    let outcomes = thread::scope(|scope| {
        let endless = |(begun, bytes): (u32, Bytes)| {
            if bytes.0[0] == 0 {
                return 0;
            }
            ledger::note(begun);
            os::sleep_for_ever();
            1
        };
        let calls: Vec<_> = (0..callers)
            .map(|_| {
                let pool = &pool;
                // The first of each call comes to an end.
                let items = (0..100).map(move |n| (begun, Bytes(vec![n; size])));
                scope.spawn(move || pool.chunksize(chunksize).map_results(endless, items))
            })
            .collect();
        ledger::wait_for(begun, if chunksize < 100 { 2 } else { 1 });
        pool.terminate();
        check_gone(&pids);
        calls
            .into_iter()
            .flat_map(|call| call.join().unwrap())
            .collect()
    });
    pool.join().unwrap();
    check_closed(&pool);
    outcomes
}

fn check_terminated(callers: u32, outcomes: &[Result<u32, TaskError>]) {
    assert_eq!(outcomes.len(), callers as usize * 100);
    for outcome in outcomes {
        match outcome {
            Ok(value) => assert_eq!(*value, 0),
            Err(TaskError::Closed | TaskError::NoWorkers(_)) => {}
            // It ran.
            Err(TaskError::WorkerDied(death)) => assert_eq!(death.signal(), Some(9)),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn terminate_during_a_map() {
    for chunksize in [1, 10, 100] {
        check_terminated(1, &terminated(1, chunksize, 5));
    }
}

fn terminate_during_many_calls() {
    for chunksize in [1, 10] {
        check_terminated(8, &terminated(8, chunksize, 5));
    }
}

/// L12: what waits is given up.
fn terminate_then_join() {
    let pool = Pool::with_workers(2).unwrap();
    let begun = ledger::reserve(1);
    thread::scope(|scope| {
        let endless = |begun: u32| {
            ledger::note(begun);
            os::sleep_for_ever();
        };
        let pool = &pool;
        let call = scope.spawn(move || pool.map(endless, vec![begun; 10_000]));
        ledger::wait_for(begun, 2);
        pool.terminate();
        pool.join().unwrap();
        let error = call.join().unwrap().unwrap_err();
        // The first item in order: it ran.
        let TaskError::WorkerDied(death) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(death.signal(), Some(9));
    });
}

/// The runner looks whether their memory comes back.
fn terminate_with_large_tasks() {
    check_terminated(2, &terminated(2, 1, 200_000));
    check_terminated(2, &terminated(2, 4, 200_000));
}

fn terminate_twice() {
    let pool = Pool::with_workers(3).unwrap();
    let pids = pool.worker_pids();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| pool.terminate());
            scope.spawn(|| pool.close());
        }
    });
    check_gone(&pids);
    assert_eq!(pool.worker_pids(), []);
    pool.terminate();
    pool.join().unwrap();
    check_closed(&pool);
}

fn drop_with_running_tasks() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    let begun = ledger::reserve(1);
    // Only a call that was given up leaves tasks behind that run.
    let endless = |begun: u32| {
        ledger::note(begun);
        os::sleep_for_ever();
    };
    let broken = (0..10).map(|n| {
        if n == 9 {
            ledger::wait_for(begun, 2);
            panic!("the iterator's panic");
        }
        begun
    });
    let attempt = || pool.chunksize(1).map(endless, broken);
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
    drop(pool);
    check_gone(&pids);
}

fn drop_while_unwinding() {
    let attempt = || {
        let pool = Pool::with_workers(2).unwrap();
        let mut pids = pool.worker_pids();
        let broken = (0..10).map(|n| {
            if n == 7 {
                std::panic::panic_any(std::mem::take(&mut pids));
            }
            Bytes(vec![n; 100_000])
        });
        let _ = pool.chunksize(2).map(|bytes: Bytes| bytes, broken);
    };
    let payload = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
    check_gone(payload.downcast_ref::<Vec<u32>>().unwrap());
}

/// Large tasks of a call that was given up: queued, running, finished. The runner looks whether
/// their memory comes back.
fn drop_after_a_broken_call() {
    for chunksize in [1, 2] {
        let pool = Pool::with_workers(2).unwrap();
        let begun = ledger::reserve(1);
        let some = |(begun, bytes): (u32, Bytes)| {
            ledger::note(begun);
            if bytes.0[0] > 3 {
                os::sleep_for_ever();
            }
            bytes
        };
        let broken = (0..20).map(|n| {
            if n == 19 {
                ledger::wait_for(begun, 5);
                panic!("the iterator's panic");
            }
            (begun, Bytes(vec![n; 200_000]))
        });
        let attempt = || pool.chunksize(chunksize).map(some, broken);
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
        drop(pool);
    }
}

fn drop_takes_grandchildren_along() {
    let pool = Pool::with_workers(2).unwrap();
    let first = ledger::reserve(2);
    let start = |word: u32| {
        let _ = os::bare_fork(|| {
            let _ = rustix::process::setsid();
            ledger::set(word, std::process::id());
            os::sleep_for_ever();
            0
        });
        ledger::wait(word)
    };
    let found = pool.map(start, [first, first + 1]).unwrap();
    drop(pool);
    for pid in found {
        eventually(
            "the grandchild is gone",
            || match procfs::state_and_parent(pid) {
                None => Ok(()),
                state => Err(format!("{pid}: {state:?}")),
            },
        );
    }
}

/// F130.
fn many_short_pools() {
    for n in 0..150 {
        let pool = Pool::with_workers(1 + n % 2).unwrap();
        match n % 4 {
            0 => {}
            1 => check_usable(&pool),
            2 => {
                pool.close();
                pool.join().unwrap();
            }
            _ => pool.terminate(),
        }
    }
}

/// A pool that nobody drops.
static KEPT: OnceLock<Pool> = OnceLock::new();

fn ends_busy(arguments: &[String]) -> ExitCode {
    let pool = KEPT.get_or_init(|| Pool::with_workers(3).unwrap());
    let caller = thread::spawn(|| {
        let say = |()| {
            println!("begun");
            os::sleep_for_ever();
        };
        KEPT.get().unwrap().map_results(say, [(); 10])
    });
    let _ = caller;
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    same("workers", pool.worker_pids().len(), 3);
    match arguments[0].as_str() {
        "returns" => ExitCode::from(3),
        "exits" => std::process::exit(3),
        "panics" => panic!("the program's panic"),
        "aborts" => std::process::abort(),
        _ => os::exit_at_once(3),
    }
}

/// L25, F116, F117: whichever way it ends, and with whatever code, nothing of it is left.
fn program_ends_with_a_busy_pool() {
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;
    let (three, signal) = ((Some(3), None), |n| (None, Some(n)));
    let ways = [
        ("returns", three),
        ("exits", three),
        ("exits_at_once", three),
        ("panics", (Some(101), None)),
        ("aborts", signal(libc::SIGABRT)),
        ("killed", signal(libc::SIGKILL)),
        ("interrupted", signal(libc::SIGINT)),
    ];
    for (way, expected) in ways {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut program = Program::start_with("ends_busy", &[way], |command| {
            command.stdin(reader).stderr(Stdio::null());
        });
        for _ in 0..3 {
            program.expect("begun");
        }
        match way {
            "killed" => program.signal(Signal::KILL),
            "interrupted" => program.signal_group(Signal::INT),
            _ => writer.write_all(b"\n").unwrap(),
        }
        let status = program.finish();
        assert_eq!((status.code(), status.signal()), expected, "{way}");
    }
}

fn forked(_: &[String]) -> ExitCode {
    let mut pool = Some(Pool::with_workers(2).unwrap());
    check_usable(pool.as_ref().unwrap());
    let pids = pool.as_ref().unwrap().worker_pids();
    for _ in 0..3 {
        let child = Process::builder().fork(|| {
            check_closed(pool.as_ref().unwrap());
            // Its copy alone.
            drop(pool.take());
            // It may have pools of its own.
            check_usable(&Pool::with_workers(1).unwrap());
        });
        child.unwrap().join().unwrap();
        check_usable(pool.as_ref().unwrap());
    }
    let child = Process::builder().fork(|| pool.as_ref().unwrap().terminate());
    child.unwrap().join().unwrap();
    let pool = pool.unwrap();
    same("workers", pool.worker_pids(), pids);
    check_usable(&pool);
    pool.close();
    pool.join().unwrap();
    ExitCode::SUCCESS
}

/// A pool that belongs to another process.
fn pool_in_a_forked_child() {
    Program::start("forked", &[]).succeed();
}

fn forked_behind(_: &[String]) -> ExitCode {
    let mut pool = Some(Pool::with_workers(2).unwrap());
    check_usable(pool.as_ref().unwrap());
    let pids = pool.as_ref().unwrap().worker_pids();
    let child = os::bare_fork(|| {
        check_closed(pool.as_ref().unwrap());
        drop(pool.take());
        check_usable(&Pool::with_workers(1).unwrap());
        0
    });
    same("its end", os::exit_code_of(child), 0);
    let pool = pool.unwrap();
    same("workers", pool.worker_pids(), pids);
    check_usable(&pool);
    ExitCode::SUCCESS
}

fn pool_forked_behind_the_back() {
    Program::start("forked_behind", &[]).succeed();
}
