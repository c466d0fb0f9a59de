//! `broken_on_crash`: the death of a worker breaks the executor, as Python's does.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use procession_executor::{
    Death, Executor, Future, Phase, ProcessPoolBuilder, ProcessPoolExecutor, TaskError,
    TrySubmitError,
};
use procession_testkit::{Case, cases, eventually, ledger, os, procfs};
use rustix::process::Signal;

use crate::broken;
use crate::common::check_usable;
use crate::ways::{WAYS, Way, judge};
use crate::workers::{hold, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![broken:
        victim_running_and_pending, what_was_finished_is_kept, waited_for_in_every_way,
        later_ones, in_chunks, idle_worker_killed, idle_worker_killed_that_nobody_notices,
        at_once_in_two_workers, supervisor_killed, not_by_time_outs_and_kills,
        not_by_workers_that_leave, kill_workers_is_no_crash, submitters_that_wait_for_room,
        submitters_meanwhile, shutdown_while_it_breaks, callback_submits, hook_is_told,
        a_retry_comes_too_late,
    ]
    .into()
}

fn builder(workers: usize) -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder()
        .workers(workers)
        .broken_on_crash(true)
}

fn brittle(workers: usize) -> ProcessPoolExecutor {
    builder(workers).build().unwrap()
}

fn exit_with(code: i32) {
    os::exit_at_once(code);
}

#[track_caller]
fn death_of<T: std::fmt::Debug>(outcome: &Result<T, TaskError>) -> Death {
    match outcome {
        Err(TaskError::WorkerDied(death)) => (**death).clone(),
        other => panic!("no death: {other:?}"),
    }
}

/// It tells of that death.
#[track_caller]
fn check_broken(error: &TaskError, by: &Death) {
    let TaskError::Broken(death) = error else {
        panic!("not broken: {error:?}")
    };
    let look = |death: &Death| {
        (
            death.pid(),
            death.signal(),
            death.exit_code(),
            death.phase(),
        )
    };
    assert_eq!(look(death), look(by));
}

#[track_caller]
fn check_all_broken<T: std::fmt::Debug + Send + 'static>(futures: Vec<Future<T>>, by: &Death) {
    for future in futures {
        check_broken(&future.result().unwrap_err(), by);
    }
}

/// X01, X19: the victim knows what it died of; each other one has an error of its own that says so,
/// whether it ran or not.
fn victim_running_and_pending() {
    for round in 0..5 {
        let executor = brittle(2);
        let words = ledger::reserve(13);
        let gate = words + 12;
        let mut futures: Vec<_> = (0..12)
            .map(|n| executor.submit(hold, (words + n, gate)))
            .collect();
        let pids = [ledger::wait(words), ledger::wait(words + 1)];
        let victim = round % 2;
        os::send(pids[victim], Signal::TERM);
        let death = death_of(&futures.remove(victim).result());
        let found = (death.pid(), death.signal(), death.phase());
        assert_eq!(found, (pids[victim], Some(15), Phase::Running));
        check_all_broken(futures, &death);
        procfs::await_end(&pids);
        for n in 2..12 {
            assert_eq!(ledger::get(words + n), 0, "it was never begun");
        }
        executor.shutdown();
    }
}

fn what_was_finished_is_kept() {
    let executor = brittle(1);
    let exit = |n: u32| {
        if n == 5 {
            os::exit_at_once(3);
        }
        n
    };
    // Nobody has looked at the first ones when it breaks.
    let futures: Vec<_> = (0..12).map(|n| executor.submit(exit, n)).collect();
    let outcomes: Vec<_> = futures.into_iter().rev().map(Future::result).collect();
    let death = death_of(&outcomes[6]);
    assert_eq!(death.exit_code(), Some(3));
    for (n, outcome) in (0..12).zip(outcomes.iter().rev()) {
        match n {
            0..5 => assert_eq!(*outcome.as_ref().unwrap(), n),
            5 => {}
            _ => check_broken(outcome.as_ref().unwrap_err(), &death),
        }
    }
}

fn waited_for_in_every_way() {
    for way in WAYS {
        let executor = brittle(2);
        let words = ledger::reserve(9);
        let gate = words + 8;
        let futures: Vec<_> = (0..8)
            .map(|n| executor.submit(hold, (words + n, gate)))
            .collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                ledger::wait(words + 1);
                os::send(ledger::wait(words), Signal::ABORT);
            });
            judge(way, futures, |at, outcome| match (at, outcome) {
                (0, Err(TaskError::WorkerDied(death))) | (1.., Err(TaskError::Broken(death))) => {
                    assert_eq!(death.signal(), Some(libc::SIGABRT));
                }
                _ => panic!("{at}: {outcome:?}"),
            });
            if way == Way::Nobody {
                // It ends although the gate is closed.
                executor.shutdown();
            }
        });
        procfs::await_end(&[ledger::get(words), ledger::get(words + 1)]);
    }
}

/// Python's "cannot schedule new futures": for ever, and the cause is told.
fn later_ones() {
    let executor = brittle(2);
    let death = death_of(&executor.submit(exit_with, 99).result());
    assert_eq!(death.exit_code(), Some(99));
    for _ in 0..3 {
        let future = executor.submit(|n: u32| n, 1);
        assert!(future.done());
        check_broken(&future.result().unwrap_err(), &death);
        match executor.try_submit(|n: u32| n, 7) {
            Err(TrySubmitError::Closed(7, error)) => check_broken(&error, &death),
            other => panic!("{other:?}"),
        }
        let outcomes: Vec<_> = executor.chunksize(2).map(|n: u32| n, 0..5).collect();
        assert_eq!(outcomes.len(), 5);
        for outcome in outcomes {
            check_broken(&outcome.unwrap_err(), &death);
        }
    }
    executor.shutdown();
    let error = executor.submit(|n: u32| n, 1).result().unwrap_err();
    check_broken(&error, &death);
}

/// Of a chunk the items that had their values keep them, the one in hand died, the rest is broken.
fn in_chunks() {
    for chunksize in [1, 4, 40] {
        let executor = brittle(1);
        let work = |n: u32| {
            if n == 17 {
                os::raise(libc::SIGKILL);
            }
            n
        };
        let outcomes: Vec<_> = executor.chunksize(chunksize).map(work, 0..40).collect();
        assert_eq!(outcomes.len(), 40);
        let death = death_of(&outcomes[17]);
        for (n, outcome) in (0..).zip(&outcomes) {
            match n {
                0..17 => assert_eq!(*outcome.as_ref().unwrap(), n, "chunks of {chunksize}"),
                17 => assert_eq!(death.signal(), Some(9)),
                _ => check_broken(outcome.as_ref().unwrap_err(), &death),
            }
        }
    }
}

/// Nothing was in its hand: no victim, and broken all the same.
fn idle_worker_killed() {
    for workers in [1, 3] {
        let executor = brittle(workers);
        warm_up(&executor);
        let pid = executor.pool().worker_pids()[0];
        os::send(pid, Signal::KILL);
        procfs::await_end(&[pid]);
        eventually("it is broken", || {
            let error = match executor.submit(|n: u32| n, 1).result() {
                Ok(1) => return Err("another worker had it".to_owned()),
                other => other.unwrap_err(),
            };
            let TaskError::Broken(death) = error else {
                panic!("{error:?}")
            };
            let found = (death.pid(), death.signal(), death.phase());
            assert_eq!(found, (pid, Some(9), Phase::Idle));
            Ok(())
        });
    }
}

/// Before anything was submitted.
fn idle_worker_killed_that_nobody_notices() {
    let executor = brittle(1);
    let pids = executor.pool().worker_pids();
    os::send(pids[0], Signal::KILL);
    procfs::await_end(&pids);
    match executor.submit(|n: u32| n, 1).result() {
        Err(TaskError::Broken(death)) => assert_eq!(death.pid(), pids[0]),
        other => panic!("{other:?}"),
    }
}

/// The death that comes first is the cause for all but the one in hand of the other.
fn at_once_in_two_workers() {
    for _ in 0..10 {
        let executor = brittle(2);
        let words = ledger::reserve(7);
        let futures: Vec<_> = (0..6)
            .map(|n| executor.submit(hold, (words + n, words + 6)))
            .collect();
        let pids = [ledger::wait(words), ledger::wait(words + 1)];
        os::send(pids[0], Signal::KILL);
        os::send(pids[1], Signal::KILL);
        let mut died = 0;
        for (n, future) in futures.into_iter().enumerate() {
            match future.result() {
                Err(TaskError::WorkerDied(death)) => {
                    assert!(n < 2 && death.pid() == pids[n], "{n}: {death}");
                    died += 1;
                }
                Err(TaskError::Broken(death)) => assert!(pids.contains(&death.pid())),
                other => panic!("{other:?}"),
            }
        }
        assert!(died > 0);
    }
}

fn supervisor_killed() {
    let executor = brittle(2);
    let words = ledger::reserve(4);
    let submit = |n| executor.submit(hold, (words + n, words + 3));
    let futures: Vec<_> = (0..3).map(submit).collect();
    let pids = [ledger::wait(words), ledger::wait(words + 1)];
    let (_, supervisor) = procfs::state_and_parent(pids[0]).unwrap();
    os::send(supervisor, Signal::KILL);
    for future in futures {
        match future.result() {
            Err(TaskError::WorkerDied(death) | TaskError::Broken(death)) => {
                assert!(death.status().supervisor_died(), "{death}");
            }
            other => panic!("{other:?}"),
        }
    }
    procfs::await_end(&pids);
}

fn not_by_time_outs_and_kills() {
    let limit = Duration::from_millis(20);
    let executor = brittle(2);
    for _ in 0..5 {
        let words = ledger::reserve(3);
        let outcome = executor.timeout(limit).submit(hold, (words, words + 2));
        let killed = executor.submit(hold, (words + 1, words + 2));
        ledger::wait(words + 1);
        assert!(killed.kill());
        assert!(matches!(killed.result(), Err(TaskError::Cancelled)));
        match outcome.result() {
            Err(TaskError::TimedOut(after)) => assert_eq!(after, limit),
            other => panic!("{other:?}"),
        }
        let dropped = executor.submit(hold, (words + 1, words + 2)).kill_on_drop();
        drop(dropped);
        check_usable(&executor);
    }
}

fn not_by_workers_that_leave() {
    let executor = builder(2).max_tasks_per_child(3).build().unwrap();
    for _ in 0..3 {
        check_usable(&executor);
    }
    let executor = builder(2).idle_timeout(Duration::from_micros(500)).build();
    let executor = executor.unwrap();
    for _ in 0..3 {
        check_usable(&executor);
        eventually("they have left", || {
            match executor.pool().worker_pids().as_slice() {
                [] => Ok(()),
                some => {
                    // Whoever works finds out.
                    let _ = executor.submit(|n: u32| n, 1).result().unwrap();
                    Err(format!("{some:?}"))
                }
            }
        });
    }
}

fn kill_workers_is_no_crash() {
    let executor = brittle(2);
    let words = ledger::reserve(7);
    let submit = |n| executor.submit(hold, (words + n, words + 6));
    let futures: Vec<_> = (0..6).map(submit).collect();
    (0..2).for_each(|n| assert_ne!(ledger::wait(words + n), 0));
    executor.kill_workers();
    for (n, future) in futures.into_iter().enumerate() {
        match future.result() {
            Err(TaskError::WorkerDied(death)) => assert!(n < 2 && death.signal() == Some(9)),
            Err(TaskError::Cancelled) => assert!(n >= 2),
            other => panic!("{other:?}"),
        }
    }
    let error = executor.submit(|n: u32| n, 1).result().unwrap_err();
    assert!(matches!(error, TaskError::Closed), "{error:?}");
}

/// Whoever waits for a place gets one, and the news.
fn submitters_that_wait_for_room() {
    let executor = builder(1).max_pending(1).build().unwrap();
    let words = ledger::reserve(2);
    let running = executor.submit(hold, (words, words + 1));
    let pid = ledger::wait(words);
    thread::scope(|scope| {
        let waits = || {
            let future = executor.submit(|n: u32| n, 1);
            future.result().unwrap_err()
        };
        let submitters: Vec<_> = (0..4).map(|_| scope.spawn(waits)).collect();
        os::send(pid, Signal::KILL);
        let death = death_of(&running.result());
        for submitter in submitters {
            check_broken(&submitter.join().unwrap(), &death);
        }
    });
}

/// Whoever submits while it breaks has one outcome: a value, or that it is broken.
fn submitters_meanwhile() {
    for round in 0..10 {
        let executor = brittle(2);
        let words = ledger::reserve(4);
        thread::scope(|scope| {
            for number in 0..3 {
                let executor = &executor;
                scope.spawn(move || {
                    let mut counts = [0; 2];
                    while counts[1] < 20 {
                        ledger::note(words + number);
                        let future = executor.submit(|n: u32| n, 5);
                        match future.result() {
                            Ok(value) => assert_eq!(value, 5),
                            Err(TaskError::Broken(death)) => {
                                assert_eq!(death.exit_code(), Some(7));
                                counts[1] += 1;
                            }
                            // In hand of the other worker, or of this one.
                            Err(TaskError::WorkerDied(death)) => {
                                panic!("not the victim: {death}")
                            }
                            Err(error) => panic!("{error:?}"),
                        }
                        counts[0] += 1;
                    }
                });
            }
            ledger::wait_for(words, 5 + round * 10);
            let death = death_of(&executor.submit(exit_with, 7).result());
            assert_eq!(death.exit_code(), Some(7));
        });
    }
}

/// D08: it ends, whatever it waits for.
fn shutdown_while_it_breaks() {
    for _ in 0..5 {
        let executor = brittle(2);
        let words = ledger::reserve(7);
        let submit = |n| executor.submit(hold, (words + n, words + 6));
        let futures: Vec<_> = (0..6).map(submit).collect();
        thread::scope(|scope| {
            scope.spawn(|| executor.shutdown());
            ledger::wait(words + 1);
            os::send(ledger::wait(words), Signal::KILL);
        });
        assert!(futures.iter().all(Future::done), "shut down");
        let mut futures = futures.into_iter();
        let death = death_of(&futures.next().unwrap().result());
        check_all_broken(futures.collect(), &death);
    }
}

/// F90: a callback of the one that broke it uses the executor, on the thread that breaks it down.
fn callback_submits() {
    let executor = brittle(2);
    let (tell, told) = mpsc::channel();
    let handle = executor.handle().clone();
    let future = executor.submit(exit_with, 1);
    future.add_done_callback(move |_| {
        let error = handle.submit(|n: u32| n, 1).result().unwrap_err();
        handle.shutdown();
        tell.send(error).unwrap();
    });
    drop(future);
    let error = told.recv().unwrap();
    let right = matches!(error, TaskError::Broken(_) | TaskError::Closed);
    assert!(right, "{error:?}");
}

fn hook_is_told() {
    let (tell, told) = mpsc::channel();
    let hook = move |event: &procession_pool::Event| {
        if let procession_pool::Event::WorkerDied { death, .. } = event {
            tell.send(death.exit_code()).unwrap();
        }
    };
    let executor = builder(2).on_event(hook).build().unwrap();
    let _ = executor.submit(exit_with, 4).result().unwrap_err();
    assert_eq!(told.recv().unwrap(), Some(4));
}

/// An item that may be tried again is not: nobody is left to do it.
fn a_retry_comes_too_late() {
    let executor = brittle(2);
    for outcome in [
        executor.retries(3).submit(exit_with, 5).result(),
        executor.crash_limit(3).submit(exit_with, 5).result(),
    ] {
        match outcome {
            Err(TaskError::WorkerDied(death) | TaskError::Broken(death)) => {
                assert_eq!(death.exit_code(), Some(5));
            }
            other => panic!("{other:?}"),
        }
    }
}
