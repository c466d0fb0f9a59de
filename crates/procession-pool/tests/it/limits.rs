//! Want of processes, descriptors and memory: a clear error, nothing left, and on it goes.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use procession_pool::{Pool, PoolError, TaskError};
use procession_primitives::{FamilyError, Process, StartError};
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, eventually, heap_units, os, procfs, same};
use rustix::process::{Pid, Resource, Rlimit};

use crate::limits;
use crate::support::usable::check_usable;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("few_processes", few_processes),
    ("few_descriptors", few_descriptors),
    ("few_in_the_supervisor", few_in_the_supervisor),
    ("refills_refused", refills_refused),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![limits:
        no_more_processes, no_process_for_a_refill, no_more_descriptors,
        no_more_descriptors_in_the_supervisor,
    ]
    .into()
}

/// Nobody's user id: limits on processes do not hold for root.
const NOBODY: u32 = 65534;

fn limit(pid: u32, resource: Resource, current: u64) {
    let limits = rustix::process::getrlimit(resource);
    let current = Some(current);
    let pid = Pid::from_raw(pid.cast_signed());
    rustix::process::prlimit(pid, resource, Rlimit { current, ..limits }).unwrap();
}

fn supervisor() -> u32 {
    Process::spawn(|()| os::ppid(), ()).unwrap().join().unwrap()
}

fn users_tasks() -> u64 {
    let mine = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&format!("Uid:\t{NOBODY}\t"))
    };
    let tasks =
        |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let count: usize = procfs::pids().into_iter().filter(mine).map(tasks).sum();
    count as u64
}

/// Descriptors here and in the supervisor, memory, members.
fn possessions(supervisor: u32) -> (usize, usize, u32, usize) {
    (
        procfs::descriptors(std::process::id()),
        procfs::descriptors(supervisor),
        heap_units(),
        procfs::children_of(supervisor).len(),
    )
}

#[track_caller]
fn check_nothing_left(supervisor: u32, before: (usize, usize, u32, usize)) {
    eventually("nothing is left", || match possessions(supervisor) {
        now if now == before => Ok(()),
        now => Err(format!("{now:?}, {before:?} before")),
    });
}

fn settled(supervisor: u32) -> (usize, usize, u32, usize) {
    eventually("the supervisor is alone", || {
        match procfs::children_of(supervisor).as_slice() {
            [] => Ok(()),
            some => Err(format!("{some:?}")),
        }
    });
    possessions(supervisor)
}

fn few_processes(_: &[String]) -> ExitCode {
    let supervisor = supervisor();
    let before = settled(supervisor);
    for room in [0, 1, 4] {
        limit(supervisor, Resource::Nproc, users_tasks() + room);
        for _ in 0..3 {
            match Pool::with_workers(8) {
                Err(PoolError::Start(StartError::Refused(cause))) => {
                    same("the cause", cause.raw_os_error(), Some(libc::EAGAIN));
                }
                other => panic!("{other:?}"),
            }
            check_nothing_left(supervisor, before);
        }
        if room > 1 {
            check_usable(&Pool::with_workers(2).unwrap());
        }
    }
    limit(supervisor, Resource::Nproc, users_tasks() + 100);
    check_usable(&Pool::with_workers(8).unwrap());
    check_nothing_left(supervisor, before);
    ExitCode::SUCCESS
}

/// F02: fewer workers serve; none at all is an error, not a hang; and then they come back.
fn refills_refused(_: &[String]) -> ExitCode {
    let supervisor = supervisor();
    let pool = Pool::with_workers(4).unwrap();
    check_usable(&pool);
    limit(supervisor, Resource::Nproc, users_tasks().saturating_sub(3));
    let exit = |n: u32| {
        if n < 2 {
            os::exit_at_once(1);
        }
        n
    };
    let outcomes = pool.chunksize(1).map_results(exit, 0..100);
    same("outcomes", outcomes.len(), 100);
    for (n, outcome) in (0..100).zip(outcomes) {
        match outcome {
            Ok(value) => same("value", value, n),
            Err(TaskError::WorkerDied(death)) => {
                same("death", (n < 2, death.exit_code()), (true, Some(1)));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    check_usable(&pool);
    assert!(pool.worker_pids().len() < 4, "no limit");
    limit(supervisor, Resource::Nproc, 1);
    let outcomes = pool
        .chunksize(1)
        .map_results(|_: u32| -> () { os::exit_at_once(1) }, 0..10);
    let dead = |outcome: &&Result<(), TaskError>| matches!(outcome, Err(TaskError::WorkerDied(_)));
    let left = |outcome: &&Result<(), TaskError>| matches!(outcome, Err(TaskError::NoWorkers(_)));
    let (dead, left) = (
        outcomes.iter().filter(dead).count(),
        outcomes.iter().filter(left).count(),
    );
    same("outcomes", dead + left, 10);
    assert!(dead >= 1 && left >= 1, "{outcomes:?}");
    let error = pool.apply(|n: u8| n, 1).unwrap_err();
    assert!(matches!(error, TaskError::NoWorkers(_)), "{error:?}");
    limit(supervisor, Resource::Nproc, users_tasks() + 100);
    same("value", pool.apply(|n: u8| n, 1).unwrap(), 1);
    check_usable(&pool);
    same("workers", pool.worker_pids().len(), 4);
    ExitCode::SUCCESS
}

fn as_nobody(name: &str) {
    if !rustix::process::geteuid().is_root() {
        println!("  (skipped: only root can become somebody else)");
        return;
    }
    Program::start_with(name, &[], |command| {
        command.uid(NOBODY);
    })
    .succeed();
}

fn no_more_processes() {
    as_nobody("few_processes");
}

fn no_process_for_a_refill() {
    as_nobody("refills_refused");
}

fn is_want_of_descriptors(error: &PoolError) -> bool {
    let emfile = |error: &io::Error| error.raw_os_error() == Some(libc::EMFILE);
    match error {
        PoolError::Start(StartError::Descriptors(error)) => emfile(error),
        PoolError::Start(StartError::Family(FamilyError::System(_, error)))
        | PoolError::Family(FamilyError::System(_, error)) => emfile(error),
        _ => false,
    }
}

fn few_descriptors(_: &[String]) -> ExitCode {
    let me = std::process::id();
    let supervisor = supervisor();
    let before = settled(supervisor);
    let open = before.0 as u64;
    for room in [0, 1, 2, 5, 17] {
        limit(me, Resource::Nofile, open + room);
        // Each worker costs one.
        let error = Pool::with_workers(32).unwrap_err();
        assert!(is_want_of_descriptors(&error), "{error:?}");
        limit(me, Resource::Nofile, 1000);
        check_nothing_left(supervisor, before);
    }
    check_usable(&Pool::with_workers(32).unwrap());
    // Workers that cannot be replaced.
    let pool = Pool::with_workers(2).unwrap();
    check_usable(&pool);
    limit(me, Resource::Nofile, 3);
    let outcomes = pool
        .chunksize(1)
        .map_results(|_: u32| -> () { os::exit_at_once(1) }, 0..50);
    same("outcomes", outcomes.len(), 50);
    for outcome in outcomes {
        let told = matches!(
            outcome,
            Err(TaskError::WorkerDied(_) | TaskError::NoWorkers(_))
        );
        assert!(told, "{outcome:?}");
    }
    limit(me, Resource::Nofile, 1000);
    check_usable(&pool);
    drop(pool);
    check_nothing_left(supervisor, before);
    ExitCode::SUCCESS
}

fn no_more_descriptors() {
    Program::start("few_descriptors", &[]).succeed();
}

fn few_in_the_supervisor(_: &[String]) -> ExitCode {
    let supervisor = supervisor();
    let before = settled(supervisor);
    let open = before.1 as u64;
    for room in [0, 1, 2, 3, 8] {
        limit(supervisor, Resource::Nofile, open + room);
        let error = Pool::with_workers(32).unwrap_err();
        assert!(is_want_of_descriptors(&error), "{error:?}");
        limit(supervisor, Resource::Nofile, 1000);
        check_nothing_left(supervisor, before);
    }
    check_usable(&Pool::with_workers(32).unwrap());
    check_nothing_left(supervisor, before);
    ExitCode::SUCCESS
}

fn no_more_descriptors_in_the_supervisor() {
    Program::start("few_in_the_supervisor", &[]).succeed();
}
