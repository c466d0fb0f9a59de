//! D: what a function does to its worker, or somebody else while it runs.
//!
//! # Safety
//!
//! Maps a file and reads behind its end, in a worker, which is the point.
#![allow(unsafe_code, reason = "reads behind the end of a mapped file")]

use std::process::ExitCode;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::Duration;

use procession_pool::{Phase, Pool, TaskError, current_task};
use procession_testkit::program::Program;
use procession_testkit::{Case, cases, eventually, ledger, os, procfs, same};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Resource, Signal};

use crate::faults::running as faults;
use crate::support::usable::check_usable;

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f45_bus_error, f46_signals_from_outside, f47_two_of_four, f51_endless_loop,
        f52_deaf_to_signals, f54_notice_is_heeded, f55_one_slow_item_in_a_chunk,
        f57_grandchildren_of_a_timed_out_item, f62_changed_surroundings, f64_leaking_function,
        f65_out_of_memory, f67_nested_pool_of_a_timed_out_item, f68_task_waits_on_its_own_pool,
    ]
    .into()
}

fn read_behind_the_end((): ()) -> u8 {
    let file = rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let (read, shared) = (ProtFlags::READ, MapFlags::SHARED);
    // SAFETY: a new mapping.
    let mapped = unsafe { rustix::mm::mmap(ptr::null_mut(), 4096, read, shared, &file, 0) };
    os::set_default(libc::SIGBUS);
    // SAFETY: none: the file has no such byte.
    unsafe { ptr::read_volatile(mapped.unwrap().cast()) }
}

#[track_caller]
fn signal_of<R: std::fmt::Debug>(outcome: &Result<R, TaskError>) -> (Option<i32>, Phase) {
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

fn f45_bus_error() {
    let pool = Pool::with_workers(2).unwrap();
    let outcome = pool.apply(read_behind_the_end, ());
    assert_eq!(signal_of(&outcome), (Some(libc::SIGBUS), Phase::Running));
    for signal in [libc::SIGILL, libc::SIGFPE, libc::SIGSYS, libc::SIGXCPU] {
        let outcome = pool.apply(os::raise, signal);
        assert_eq!(signal_of(&outcome), (Some(signal), Phase::Running));
    }
    check_usable(&pool);
}

fn wait_for_the_end(word: u32) {
    ledger::set(word, std::process::id());
    os::sleep_for_ever();
}

/// The exact signal, one task. Interrupts from the keyboard are for the program alone.
fn f46_signals_from_outside() {
    let pool = Pool::with_workers(2).unwrap();
    for signal in [
        Signal::KILL,
        Signal::TERM,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
    ] {
        for wait in [true, false] {
            let words = ledger::reserve(2);
            let outcomes = thread::scope(|scope| {
                scope.spawn(|| os::send(ledger::wait(words), signal));
                let work = |(word, fatal): (u32, bool)| {
                    if fatal {
                        wait_for_the_end(word);
                    }
                    ledger::note(word + 1);
                };
                let items = (0..9).map(|n| (words, n == 4));
                if wait {
                    return pool.chunksize(3).map_results(work, items);
                }
                let handles: Vec<_> = items.map(|item| pool.apply_async(work, item)).collect();
                handles.into_iter().map(|handle| handle.get()).collect()
            });
            for (n, outcome) in outcomes.iter().enumerate() {
                if n == 4 {
                    let expected = (Some(signal.as_raw()), Phase::Running);
                    assert_eq!(signal_of(outcome), expected);
                } else {
                    outcome.as_ref().unwrap();
                }
            }
            assert_eq!(ledger::get(words + 1), 8, "each has run once");
        }
    }
    let pids = pool.worker_pids();
    pids.iter().for_each(|pid| os::send(*pid, Signal::INT));
    check_usable(&pool);
    assert_eq!(pool.worker_pids(), pids);
}

/// Two outcomes, and the two others go on.
fn f47_two_of_four() {
    let pool = Pool::with_workers(4).unwrap();
    let words = ledger::reserve(5);
    let wait = |(word, gate): (u32, u32)| {
        ledger::set(word, std::process::id());
        ledger::wait(gate);
    };
    let outcomes = thread::scope(|scope| {
        let items = (0..4).map(|n| (words + n, words + 4));
        let call = scope.spawn(|| pool.chunksize(1).map_results(wait, items));
        let pids: Vec<u32> = (0..4).map(|n| ledger::wait(words + n)).collect();
        os::send(pids[1], Signal::KILL);
        os::send(pids[2], Signal::KILL);
        procfs::await_end(&pids[1..3]);
        ledger::set(words + 4, 1);
        call.join().unwrap()
    });
    for (n, outcome) in outcomes.iter().enumerate() {
        match n {
            1 | 2 => assert_eq!(signal_of(outcome), (Some(9), Phase::Running)),
            _ => *outcome.as_ref().unwrap(),
        }
    }
    check_usable(&pool);
    assert_eq!(pool.worker_pids().len(), 4);
}

fn spin(word: u32) {
    ledger::note(word);
    let nothing = AtomicU32::new(0);
    while nothing.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        std::hint::spin_loop();
    }
}

fn f51_endless_loop() {
    let limit = Duration::from_millis(50);
    let pool = Pool::with_workers(1).unwrap();
    for retries in [0, 2] {
        let word = ledger::reserve(1);
        let view = pool.timeout(limit).retries(retries);
        check_timed_out(&view.apply(spin, word), limit);
        assert_eq!(ledger::get(word), 1 + retries);
        let word = ledger::reserve(1);
        check_timed_out(&view.apply_async(spin, word).get(), limit);
        assert_eq!(ledger::get(word), 1 + retries);
        check_usable(&pool);
    }
}

/// One that can only be killed does not hold up the end of others.
fn f52_deaf_to_signals() {
    let limit = Duration::from_millis(300);
    let pool = Pool::with_workers(4).unwrap();
    let deaf = |n: u32| {
        os::block_all();
        os::ignore(libc::SIGTERM);
        if n.is_multiple_of(3) {
            os::sleep_for_ever();
        }
        n
    };
    let outcomes = pool.timeout(limit).chunksize(1).map_results(deaf, 0..12);
    for (n, outcome) in (0..12).zip(&outcomes) {
        match n % 3 {
            0 => check_timed_out(outcome, limit),
            _ => assert_eq!(*outcome.as_ref().unwrap(), n),
        }
    }
    check_usable(&pool);
}

/// A function that returns when it is told to keeps its worker, and its value counts.
fn f54_notice_is_heeded() {
    let pool = Pool::with_workers(1).unwrap();
    let pids = pool.worker_pids();
    let heed = |n: u32| {
        while !current_task().unwrap().should_stop() {
            thread::sleep(Duration::from_millis(1));
        }
        n
    };
    let view = pool.timeout(Duration::from_millis(20));
    let view = view.grace(Duration::from_secs(1000));
    assert_eq!(view.apply(heed, 7).unwrap(), 7);
    assert_eq!(view.apply_async(heed, 8).get().unwrap(), 8);
    assert_eq!(view.chunksize(2).map(heed, [1, 2]).unwrap(), [1, 2]);
    assert_eq!(pool.worker_pids(), pids, "nobody was killed");
}

fn f55_one_slow_item_in_a_chunk() {
    let limit = Duration::from_millis(300);
    let pool = Pool::with_workers(2).unwrap();
    for slow in [0, 50, 99] {
        let first = ledger::reserve(100);
        let work = |(id, slow): (u32, bool)| {
            ledger::note(id);
            if slow {
                os::sleep_for_ever();
            }
            id
        };
        let items = (0..100).map(|n| (first + n, n == slow));
        let outcomes = pool.timeout(limit).chunksize(100).map_results(work, items);
        for (n, outcome) in (0..).zip(&outcomes) {
            assert_eq!(ledger::get(first + n), 1);
            match n == slow {
                true => check_timed_out(outcome, limit),
                false => assert_eq!(*outcome.as_ref().unwrap(), first + n),
            }
        }
        assert_eq!(outcomes.len(), 100);
    }
    check_usable(&pool);
}

/// Gone with the item, however far they went. The runner looks, too.
fn f57_grandchildren_of_a_timed_out_item() {
    let limit = Duration::from_millis(200);
    let pool = Pool::with_workers(1).unwrap();
    let word = ledger::reserve(1);
    let start = |word: u32| {
        let _ = os::bare_fork(|| {
            let _ = rustix::process::setsid();
            ledger::set(word, std::process::id());
            os::sleep_for_ever();
            0
        });
        os::sleep_for_ever();
    };
    check_timed_out(&pool.timeout(limit).apply(start, word), limit);
    // It may have been killed before it had a grandchild.
    if ledger::get(word) != 0 {
        gone(ledger::get(word));
    }
    check_usable(&pool);
}

fn gone(pid: u32) {
    eventually("it is gone", || match procfs::state_and_parent(pid) {
        None => Ok(()),
        state => Err(format!("{pid}: {state:?}")),
    });
}

/// Directory, a variable's presence, file mask, descriptors, blocked signals.
type Surroundings = (String, bool, u32, u64, u64);

fn look((): ()) -> Surroundings {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    (
        std::env::current_dir().unwrap().display().to_string(),
        std::env::var_os("PROCESSION_IT_CHANGED").is_some(),
        mask.bits(),
        rustix::process::getrlimit(Resource::Nofile)
            .current
            .unwrap(),
        procfs::own_mask("SigBlk"),
    )
}

fn change((): ()) -> Surroundings {
    std::env::set_current_dir("/").unwrap();
    os::set_variable("PROCESSION_IT_CHANGED", "yes");
    rustix::process::umask(rustix::fs::Mode::from_bits_retain(0o123));
    let limits = rustix::process::getrlimit(Resource::Nofile);
    let current = Some(200);
    let less = rustix::process::Rlimit { current, ..limits };
    rustix::process::setrlimit(Resource::Nofile, less).unwrap();
    os::block_all();
    look(())
}

/// They stay with the worker, and no longer: one item per worker is clean.
fn f62_changed_surroundings() {
    let pool = Pool::with_workers(1).unwrap();
    let clean = pool.apply(look, ()).unwrap();
    let changed = pool.apply(change, ()).unwrap();
    assert_eq!(
        (changed.0.as_str(), changed.1, changed.2, changed.3),
        ("/", true, 0o123, 200)
    );
    assert_eq!(pool.apply(look, ()).unwrap(), changed);
    let pool = Pool::builder().workers(1).max_tasks_per_worker(1);
    let pool = pool.build().unwrap();
    for _ in 0..3 {
        assert_eq!(pool.apply(change, ()).unwrap(), changed);
        assert_eq!(pool.apply(look, ()).unwrap(), clean);
    }
    let both = pool
        .chunksize(4)
        .map(|n: u32| [look, change][n as usize % 2](()), 0..4);
    let both = both.unwrap();
    assert_eq!((&both[2], &both[3]), (&clean, &changed));
}

/// Recycled between two items, also of one chunk; none lost, none dead.
fn f64_leaking_function() {
    let pool = Pool::builder().workers(2).memory_limit(300 << 20);
    let pool = pool.build().unwrap();
    let leak = |n: u32| {
        std::mem::forget(std::hint::black_box(vec![n as u8 | 1; 50 << 20]));
        std::process::id()
    };
    for size in [1, 12] {
        let mut pids = pool.chunksize(size).map(leak, 0..24).unwrap();
        pids.sort_unstable();
        pids.dedup();
        // At 225 MiB they make room.
        assert!(pids.len() >= 4, "{pids:?}");
    }
    check_usable(&pool);
    assert_eq!(pool.stats().restarts, 0, "leaving is no death");
}

/// The one that wants too much dies of it, and says so.
fn f65_out_of_memory() {
    let pool = Pool::builder().workers(2).memory_limit(200 << 20);
    let pool = pool.build().unwrap();
    let take = |mebibytes: usize| {
        vec![1_u8; mebibytes << 20]
            .iter()
            .map(|n| u64::from(*n))
            .sum()
    };
    let outcomes: Vec<Result<u64, TaskError>> =
        pool.chunksize(3).map_results(take, [1, 400, 2, 3, 500, 4]);
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Err(TaskError::WorkerDied(death)) => {
                assert!([1, 4].contains(&n), "{death}");
                let found = (death.signal(), death.out_of_memory(), death.phase());
                assert_eq!(found, (Some(libc::SIGABRT), Some(true), Phase::Running));
            }
            other => assert_eq!(*other.as_ref().unwrap(), [1, 0, 2, 3, 0, 4][n] << 20),
        }
    }
    assert_eq!(outcomes.iter().flatten().count(), 4);
    // A death without such a cause.
    let outcome = pool.apply(|()| -> () { std::process::abort() }, ());
    let Err(TaskError::WorkerDied(death)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_ne!(death.out_of_memory(), Some(true));
    check_usable(&pool);
}

fn inner_pool(words: u32) {
    let pool = Pool::with_workers(2).unwrap();
    let sleep = |word: u32| wait_for_the_end(word);
    pool.chunksize(1).map(sleep, [words, words + 1]).unwrap();
}

/// The inner workers go with the outer one.
fn f67_nested_pool_of_a_timed_out_item() {
    let pool = Pool::with_workers(1).unwrap();
    let words = ledger::reserve(2);
    let pending = pool.apply_async(inner_pool, words);
    let pids = [ledger::wait(words), ledger::wait(words + 1)];
    assert!(pending.kill());
    let outcome = pending.get();
    assert!(matches!(outcome, Err(TaskError::Cancelled)), "{outcome:?}");
    pids.into_iter().for_each(gone);
    check_usable(&pool);
}

pub(super) fn own_pool_in_a_task(_: &[String]) -> ExitCode {
    let ask = |n: u32| {
        let pool = Pool::global().unwrap();
        pool.apply(|n: u32| (n, std::process::id()), n).unwrap()
    };
    let pool = Pool::global().unwrap();
    let count = pool.workers() as u32 * 3;
    let found = pool.chunksize(1).map(ask, 0..count).unwrap();
    let mine = pool.worker_pids();
    for (n, (same_n, pid)) in (0..).zip(found) {
        same("item", same_n, n);
        assert!(!mine.contains(&pid), "a worker waits for itself");
    }
    ExitCode::SUCCESS
}

/// A pool cannot be sent, and the one for all is another one in a task: nobody waits for himself.
fn f68_task_waits_on_its_own_pool() {
    Program::start("own_pool_in_a_task", &[]).succeed();
}
