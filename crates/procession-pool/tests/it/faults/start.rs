//! A: the start of workers.

use std::io::Write;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use procession_pool::{Event, InitFailure, MAX_DEPTH, Pool, PoolError, TaskError};
use procession_testkit::program::Program;
use procession_testkit::{Case, cases, eventually, ledger, os, procfs, same};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::faults::start as faults;
use crate::support::usable::check_usable;

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f06_initializer_fails, f07_initializer_panics, f10_every_workers_first_attempt,
        f11_restart_limit, f12_pools_in_pools, f14_noise_at_the_start, f15_streams_closed,
        f16_locks_held_at_the_start, f19_odd_signals,
    ]
    .into()
}

fn refuse((): ()) -> Result<(), String> {
    Err("no model".into())
}

fn explode((): ()) {
    panic!("as planned")
}

/// Every call says the same, those that wait and those that come later, and at once.
#[track_caller]
fn check_failed(pool: &Pool, is_it: fn(&InitFailure) -> bool) {
    let check = |error: &TaskError| match error {
        TaskError::InitFailed(failure) => assert!(is_it(failure), "{failure:?}"),
        error => panic!("{error:?}"),
    };
    let outcomes = pool.map_results(|n: u32| n, 0..40);
    assert_eq!(outcomes.len(), 40);
    for outcome in outcomes {
        check(&outcome.unwrap_err());
    }
    for _ in 0..3 {
        check(&pool.apply(|n: u32| n, 1).unwrap_err());
        check(&pool.apply_async(|n: u32| n, 1).get().unwrap_err());
    }
    assert_eq!(pool.worker_pids(), []);
}

fn f06_initializer_fails() {
    for workers in [1, 4] {
        let pool = Pool::builder().workers(workers).initializer(refuse, ());
        let pool = pool.build().unwrap();
        check_failed(
            &pool,
            |failure| matches!(failure, InitFailure::Failed(text) if text == "no model"),
        );
    }
}

fn f07_initializer_panics() {
    for workers in [1, 4] {
        let pool = Pool::builder().workers(workers).initializer(explode, ());
        let pool = pool.build().unwrap();
        check_failed(&pool, |failure| match failure {
            InitFailure::Panicked(panic) => {
                panic.message() == "as planned" && panic.location().file() == file!()
            }
            _ => false,
        });
    }
}

fn once((first, word): (u32, u32)) -> Result<(), String> {
    let index = procession_pool::worker_index().unwrap() as u32;
    ledger::note(first + index);
    ledger::note(word);
    match ledger::get(first + index) {
        1 => Err("not the first time".into()),
        _ => Ok(()),
    }
}

fn f10_every_workers_first_attempt() {
    let pool = Pool::builder().workers(4);
    let words = ledger::reserve(5);
    let failures = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&failures);
    let count = move |event: &Event| {
        *seen.lock().unwrap() += u32::from(matches!(event, Event::InitFailed { .. }));
    };
    let pool = pool.initializer(once, (words, words + 4)).on_event(count);
    let pool = pool.build().unwrap();
    let found = pool.chunksize(1).map(|n: u32| n, 0..200).unwrap();
    assert!(found.into_iter().eq(0..200));
    eventually("each has tried twice", || {
        check_usable(&pool);
        match ledger::get(words + 4) {
            8 => Ok(()),
            tries => Err(format!("{tries} tries")),
        }
    });
    eventually("all failures are told", || {
        match *failures.lock().unwrap() {
            4 => Ok(()),
            failures => {
                check_usable(&pool);
                Err(format!("{failures} failures"))
            }
        }
    });
    assert_eq!(pool.stats().restarts, 4);
}

/// So many deaths and no more, then the same error for all.
fn f11_restart_limit() {
    for workers in [1, 4] {
        let pool = Pool::builder().workers(workers).restart_limit(5);
        let pool = pool.build().unwrap();
        let view = pool.chunksize(1);
        let outcomes = view.map_results(|_: u32| -> () { os::exit_at_once(3) }, 0..60);
        let mut died = 0;
        for outcome in &outcomes {
            match outcome {
                Err(TaskError::WorkerDied(death)) => {
                    assert_eq!(death.exit_code(), Some(3));
                    died += 1;
                }
                Err(TaskError::RestartLimit(5)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(died, workers + 5, "first and later lives");
        assert_eq!(outcomes.len(), 60);
        for _ in 0..3 {
            let error = pool.apply(|n: u8| n, 1).unwrap_err();
            assert!(matches!(error, TaskError::RestartLimit(5)), "{error:?}");
        }
        assert_eq!(pool.worker_pids(), []);
    }
}

fn nest(depth: u32) -> u32 {
    match Pool::with_workers(1) {
        Ok(pool) => pool.apply(nest, depth + 1).unwrap(),
        Err(PoolError::TooDeep) => depth,
        Err(error) => panic!("{error}"),
    }
}

fn f12_pools_in_pools() {
    assert_eq!(nest(0), MAX_DEPTH);
}

fn make_noise((): ()) {
    let line = "x".repeat(1023);
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    for _ in 0..1024 {
        writeln!(out, "{line}").unwrap();
        writeln!(err, "{line}").unwrap();
    }
}

pub(super) fn noisy_start(_: &[String]) -> ExitCode {
    let pool = Pool::builder().workers(1).initializer(make_noise, ());
    check_usable(&pool.build().unwrap());
    println!("end");
    ExitCode::SUCCESS
}

fn f14_noise_at_the_start() {
    let mut program = Program::start_with("noisy_start", &[], |command| {
        command.stderr(Stdio::null());
    });
    let mut bytes = 0;
    loop {
        match program.line().as_str() {
            "end" => break,
            line => bytes += line.len() + 1,
        }
    }
    assert_eq!(bytes, 1 << 20);
    program.succeed();
}

pub(super) fn without_streams(_: &[String]) -> ExitCode {
    (0..3).for_each(os::close);
    let pool = Pool::with_workers(2).unwrap();
    let shout = |n: u32| {
        // Whatever has these numbers now, it is nobody's protocol.
        for fd in 0..3 {
            let _ = os::write_to(fd, b"noise");
        }
        n
    };
    let found = pool.chunksize(1).map(shout, 0..50).unwrap();
    let right = found.into_iter().eq(0..50);
    check_usable(&pool);
    ExitCode::from(if right { 7 } else { 1 })
}

fn f15_streams_closed() {
    let program = Program::start("without_streams", &[]);
    assert_eq!(program.finish().code(), Some(7));
}

/// What another thread holds at the start is free in the worker.
fn f16_locks_held_at_the_start() {
    let (held, is_held) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let holder = thread::spawn(move || {
        let _error = std::io::stderr().lock();
        let _output = std::io::stdout().lock();
        held.send(()).unwrap();
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            std::hint::black_box(vec![0_u8; 4096]);
        }
    });
    is_held.recv().unwrap();
    let pool = Pool::with_workers(2).unwrap();
    let speak = |n: u32| {
        let _error = std::io::stderr().lock();
        let _output = std::io::stdout().lock();
        if n.is_multiple_of(5) {
            os::exit_at_once(1);
        }
        std::hint::black_box(vec![0_u8; 4096]).len()
    };
    let outcomes = pool.chunksize(1).map_results(speak, 0..20);
    for (n, outcome) in (0..20).zip(outcomes) {
        assert_eq!(outcome.is_err(), n % 5 == 0);
    }
    stop.send(()).unwrap();
    holder.join().unwrap();
    check_usable(&pool);
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Masks {
    blocked: u64,
    ignored: u64,
    caught: u64,
}

fn masks() -> Masks {
    let [blocked, ignored, caught] = ["SigBlk", "SigIgn", "SigCgt"].map(procfs::own_mask);
    Masks {
        blocked,
        ignored,
        caught,
    }
}

pub(super) fn odd_signals(_: &[String]) -> ExitCode {
    let bit = |signal: i32| 1_u64 << (signal - 1);
    os::set_default(libc::SIGPIPE);
    os::ignore(libc::SIGTERM);
    os::ignore(libc::SIGHUP);
    os::block_all();
    let pool = Pool::with_workers(2).unwrap();
    let Masks {
        blocked, ignored, ..
    } = pool.apply(|()| masks(), ()).unwrap();
    same("blocked", blocked, 0);
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD, libc::SIGUSR1] {
        same("ignored", ignored & bit(signal), 0);
    }
    same("interrupts", ignored & bit(libc::SIGINT), bit(libc::SIGINT));
    // Deaths while large items are on their way: nobody gets a SIGPIPE.
    for _ in 0..30 {
        let exit = |bytes: Vec<u8>| -> usize {
            if bytes[0] == 3 {
                os::exit_at_once(1);
            }
            bytes.len()
        };
        let items = (0..8_u8).map(|n| vec![n; 100_000]);
        let outcomes = pool.chunksize(2).map_results(exit, items);
        same("outcomes", outcomes.iter().flatten().count(), 7);
    }
    let pid = pool.worker_pids()[0];
    os::send(pid, Signal::TERM);
    procfs::await_end(&[pid]);
    check_usable(&pool);
    ExitCode::SUCCESS
}

fn f19_odd_signals() {
    Program::start("odd_signals", &[]).succeed();
}
