//! Ctrl+C and the like, in programs that have pools: F70, F71 and F72.
//!
//! The first word of the ledger that a program gets counts the items that have begun; the second
//! one, once it is set, lets them go on.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::thread;
use std::time::Duration;

use procession_pool::{AsyncResult, InterruptGuard, Pool, TaskError};
use procession_pool::{handle_interrupts, handle_signals};
use procession_primitives::InterruptSignal;
use procession_testkit::program::{Program, Run, exit_at_panic};
use procession_testkit::{Case, cases, eventually, ledger, os, procfs, same};
use rustix::process::Signal;

use crate::interrupts;
use crate::support::usable::{check_usable, warm_up};

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("interrupted_map", interrupted_map),
    ("interrupted_long_map", interrupted_long_map),
    ("interrupted_imap", interrupted_imap),
    ("interrupted_submissions", interrupted_submissions),
    ("interrupted_idle", interrupted_idle),
    ("interrupted_start", interrupted_start),
    ("interrupted_creation", interrupted_creation),
    ("interrupted_join", interrupted_join),
    ("interrupted_pools", interrupted_pools),
    ("endless", endless),
    ("without_handlers", without_handlers),
    ("handlers_dropped", handlers_dropped),
    ("handlers_once", handlers_once),
    ("workers_alone", workers_alone),
    ("interrupted_right_away", interrupted_right_away),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![interrupts:
        during_a_map, during_a_long_map, during_imap, with_tasks_pending, idle,
        while_workers_start, while_pools_are_made, during_join, several_pools, only_the_program,
        second_one, other_signals, two_kinds, without_the_function, guard_dropped, one_guard,
        workers_alone_ignore_it, newborn_workers_alone, right_away,
    ]
    .into()
}

/// Exit status of a program that came to its end in its own way.
const IN_GOOD_ORDER: u8 = 7;

fn started(name: &str, arguments: &[&str]) -> (Program, u32) {
    let words = ledger::reserve(2);
    let first = words.to_string();
    let arguments = [&[first.as_str()], arguments].concat();
    (Program::start(name, &arguments), words)
}

#[track_caller]
fn check_end(status: ExitStatus, code: u8) {
    let found = (status.code(), status.signal());
    assert_eq!(found, (Some(i32::from(code)), None), "code and signal");
}

#[track_caller]
fn check_killed(status: ExitStatus, signal: i32) {
    let found = (status.code(), status.signal());
    assert_eq!(found, (None, Some(signal)), "code and signal");
}

/// Starts the program, sends its group `SIGINT` when it is ready, and sees it end in good order.
fn interrupt_once(name: &str, arguments: &[&str], begun: u32) {
    let (mut program, words) = started(name, arguments);
    program.expect("ready");
    ledger::wait_for(words, begun);
    program.signal_group(Signal::INT);
    check_end(program.finish(), IN_GOOD_ORDER);
}

// Of the programs.

const ALL: [InterruptSignal; 3] = [
    InterruptSignal::Interrupt,
    InterruptSignal::Terminate,
    InterruptSignal::HangUp,
];

fn handle(kind: &str) -> InterruptGuard {
    let guard = match kind {
        "interrupts" => handle_interrupts(),
        _ => handle_signals(&ALL),
    };
    guard.unwrap()
}

fn words(arguments: &[String]) -> u32 {
    exit_at_panic();
    arguments[0].parse().unwrap()
}

fn work((words, n): (u32, u64)) -> u64 {
    ledger::note(words);
    ledger::wait(words + 1);
    n
}

/// Lets the items go on when none is left that has not begun.
fn open_when_empty(pool: &Pool, words: u32) {
    eventually("nothing is queued", || {
        match (pool.apply(|n: u8| n, 1), pool.stats().queued) {
            (Err(TaskError::Closed), 0) => Ok(()),
            state => Err(format!("{state:?}")),
        }
    });
    ledger::set(words + 1, 1);
}

/// The pool takes no more, and comes to its end.
fn in_good_order(pool: &Pool, guard: &InterruptGuard) -> ExitCode {
    same("count", guard.count(), 1);
    let pids = pool.worker_pids();
    let error = pool.apply(|n: u8| n, 1).unwrap_err();
    assert!(matches!(error, TaskError::Closed), "{error:?}");
    pool.join().unwrap();
    same("workers", pool.worker_pids(), vec![]);
    for pid in pids {
        same("a worker", procfs::state_and_parent(pid), None);
    }
    ExitCode::from(IN_GOOD_ORDER)
}

/// How many have a value, which is right; the others were cancelled and did not run.
fn values(words: u32, outcomes: impl IntoIterator<Item = (u64, Result<u64, TaskError>)>) -> u32 {
    let mut values = 0;
    for (n, outcome) in outcomes {
        match outcome {
            Ok(value) => {
                same("value", value, n);
                values += 1;
            }
            Err(TaskError::Cancelled) => {}
            Err(error) => panic!("{n}: {error:?}"),
        }
    }
    same("items that ran", ledger::get(words), values);
    values
}

fn interrupted_map(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let chunksize = arguments[1].parse().unwrap();
    let guard = handle_interrupts().unwrap();
    let pool = Pool::with_workers(2).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            eventually("a signal came", || match guard.count() {
                0 => Err("not yet".into()),
                _ => Ok(()),
            });
            open_when_empty(&pool, words);
        });
        // All are with the pool when the signal comes.
        let end = std::iter::from_fn(|| {
            println!("ready");
            None
        });
        let items = (0..20).map(|n| (words, n)).chain(end);
        let outcomes = pool.chunksize(chunksize).map_results(work, items);
        same("outcomes", outcomes.len(), 20);
        // What has begun is finished: where chunks are, the rest of them.
        let expected = 2 * chunksize as u32;
        same("values", values(words, (0..).zip(outcomes)), expected);
    });
    in_good_order(&pool, &guard)
}

fn during_a_map() {
    for chunksize in ["1", "3"] {
        interrupt_once("interrupted_map", &[chunksize], 2);
    }
}

/// More items than are with the pool at a time.
fn interrupted_long_map(arguments: &[String]) -> ExitCode {
    const ITEMS: u64 = 1_000_000;
    let words = words(arguments);
    let guard = handle_interrupts().unwrap();
    let pool = Pool::with_workers(2).unwrap();
    println!("ready");
    // Nothing stops it but the signal.
    let quick = |(words, n): (u32, u64)| {
        ledger::note(words);
        if n > ITEMS / 100 {
            thread::sleep(Duration::from_millis(1));
        }
        n
    };
    let items = || (0..ITEMS).map(|n| (words, n));
    let count = if arguments[1] == "results" {
        let outcomes = pool.map_results(quick, items());
        same("outcomes", outcomes.len() as u64, ITEMS);
        values(words, (0..).zip(outcomes))
    } else {
        let error = pool.map(quick, items()).unwrap_err();
        assert!(matches!(error, TaskError::Cancelled), "{error:?}");
        ledger::get(words)
    };
    assert!(u64::from(count) < ITEMS);
    in_good_order(&pool, &guard)
}

fn during_a_long_map() {
    for call in ["map", "results"] {
        interrupt_once("interrupted_long_map", &[call], 1000);
    }
}

fn interrupted_imap(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle_interrupts().unwrap();
    let pool = Pool::with_workers(2).unwrap();
    println!("ready");
    let quick = |(words, n): (u32, u64)| {
        ledger::note(words);
        n
    };
    let (mut values, mut cancelled) = (Vec::new(), 0);
    let mut take = |outcome: Result<u64, TaskError>| match outcome {
        Ok(value) => {
            values.push(value);
            true
        }
        Err(TaskError::Cancelled) => {
            cancelled += 1;
            cancelled < 10_000
        }
        Err(error) => panic!("{error:?}"),
    };
    // Without end, but for the signal.
    let items = (0..).map(|n| (words, n));
    let view = pool.chunksize(arguments[2].parse().unwrap());
    if arguments[1] == "ordered" {
        for outcome in view.imap(quick, items) {
            if !take(outcome) {
                break;
            }
        }
    } else {
        for outcome in view.imap_unordered(quick, items) {
            if !take(outcome) {
                break;
            }
        }
        values.sort_unstable();
    }
    assert!(values.len() >= 100);
    same("values", values.len() as u32, ledger::get(words));
    // One that was cancelled may have come before one that had begun.
    assert!(values.is_sorted());
    values.dedup();
    same("different ones", values.len() as u32, ledger::get(words));
    in_good_order(&pool, &guard)
}

fn during_imap() {
    for order in ["ordered", "unordered"] {
        interrupt_once("interrupted_imap", &[order, "1"], 100);
    }
    interrupt_once("interrupted_imap", &["unordered", "16"], 1000);
}

/// What the handles of running items and those of the others come to.
fn check_handles(words: u32, handles: Vec<AsyncResult<u64>>, running: usize) {
    let queued = handles.len() - running;
    eventually("those that are queued have an outcome", || {
        match handles.iter().filter(|handle| handle.ready()).count() {
            ready if ready == queued => Ok(()),
            ready => Err(format!("{ready} of {queued}")),
        }
    });
    ledger::set(words + 1, 1);
    let outcomes = handles.into_iter().map(AsyncResult::get);
    let count = values(words, (0..).zip(outcomes));
    same("values", count as usize, running);
}

fn interrupted_submissions(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle(&arguments[1]);
    let pool = Pool::with_workers(2).unwrap();
    // More than the pool has room for at a time.
    let count = 5000;
    let handles = (0..count).map(|n| pool.apply_async(work, (words, n)));
    let handles = handles.collect();
    let whole = pool.map_async(work, (0..10).map(|n| (words, n)));
    println!("ready");
    check_handles(words, handles, 2);
    let error = whole.get().unwrap_err();
    assert!(matches!(error, TaskError::Cancelled), "{error:?}");
    in_good_order(&pool, &guard)
}

fn with_tasks_pending() {
    interrupt_once("interrupted_submissions", &["interrupts"], 2);
    interrupt_once("interrupted_submissions", &["all"], 2);
}

fn interrupted_idle(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle_interrupts().unwrap();
    let pool = Pool::with_workers(2).unwrap();
    if arguments[1] == "used" {
        check_usable(&pool);
    }
    ledger::note(words);
    println!("ready");
    eventually("it is closed", || match pool.apply(|n: u8| n, 1) {
        Err(TaskError::Closed | TaskError::Cancelled) => Ok(()),
        outcome => Err(format!("{outcome:?}")),
    });
    eventually("and says so", || match pool.apply(|n: u8| n, 1) {
        Err(TaskError::Closed) => Ok(()),
        outcome => Err(format!("{outcome:?}")),
    });
    // The next pool is not concerned by what was before.
    check_usable(&Pool::with_workers(1).unwrap());
    in_good_order(&pool, &guard)
}

fn idle() {
    for before in ["new", "used"] {
        interrupt_once("interrupted_idle", &[before], 1);
    }
}

/// Workers that do not get through their initialiser.
fn interrupted_start(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle_interrupts().unwrap();
    let wait = |words: u32| {
        ledger::note(words);
        ledger::wait(words + 1);
    };
    let pool = Pool::builder().workers(2).initializer(wait, words);
    let pool = pool.build().unwrap();
    // All are with the pool when the signal comes.
    let end = std::iter::from_fn(|| {
        println!("ready");
        None
    });
    let outcomes = pool.map_results(|n: u64| n, (0..10).chain(end));
    same("outcomes", outcomes.len(), 10);
    for outcome in outcomes {
        assert!(matches!(outcome, Err(TaskError::Cancelled)), "{outcome:?}");
    }
    ledger::set(words + 1, 1);
    in_good_order(&pool, &guard)
}

fn while_workers_start() {
    interrupt_once("interrupted_start", &[], 2);
}

fn interrupted_creation(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle_interrupts().unwrap();
    println!("ready");
    let mut last = false;
    loop {
        let pool = Pool::with_workers(2).unwrap();
        match pool.apply(|n: u64| n, 3) {
            Ok(value) => same("value", value, 3),
            Err(TaskError::Closed | TaskError::Cancelled) => {
                same("count", guard.count(), 1);
            }
            Err(error) => panic!("{error:?}"),
        }
        ledger::note(words);
        pool.close();
        pool.join().unwrap();
        if last {
            return ExitCode::from(IN_GOOD_ORDER);
        }
        last = guard.count() == 1;
    }
}

fn while_pools_are_made() {
    for made in 1..8 {
        interrupt_once("interrupted_creation", &[], made);
    }
}

fn interrupted_join(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle_interrupts().unwrap();
    let pool = Pool::with_workers(2).unwrap();
    let handles: Vec<_> = (0..20)
        .map(|n| pool.apply_async(work, (words, n)))
        .collect();
    pool.close();
    thread::scope(|scope| {
        let joins = scope.spawn(|| pool.join());
        assert!(!pool.join_timeout(Duration::from_millis(20)).unwrap());
        println!("ready");
        check_handles(words, handles, 2);
        joins.join().unwrap().unwrap();
    });
    in_good_order(&pool, &guard)
}

fn during_join() {
    interrupt_once("interrupted_join", &[], 2);
}

fn interrupted_pools(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle_interrupts().unwrap();
    let pools = [(); 3].map(|()| Pool::with_workers(1).unwrap());
    drop(Pool::with_workers(1).unwrap());
    thread::scope(|scope| {
        let calls = pools.each_ref().map(|pool| {
            let items = (0..10).map(move |n| (words, n));
            scope.spawn(|| pool.chunksize(1).map_results(work, items))
        });
        println!("ready");
        pools.iter().for_each(|pool| {
            eventually("it is closed", || match pool.apply(|n: u8| n, 1) {
                Err(TaskError::Closed | TaskError::Cancelled) => Ok(()),
                outcome => Err(format!("{outcome:?}")),
            });
            // Below, all go on at once.
            eventually("nothing is queued", || match pool.stats().queued {
                0 => Ok(()),
                queued => Err(queued.to_string()),
            });
        });
        ledger::set(words + 1, 1);
        for call in calls {
            let outcomes = call.join().unwrap();
            let first = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            same("values", first, 1);
        }
    });
    same("begun", ledger::get(words), 3);
    for pool in &pools[1..] {
        pool.join().unwrap();
    }
    in_good_order(&pools[0], &guard)
}

fn several_pools() {
    let (mut program, words) = started("interrupted_pools", &[]);
    program.expect("ready");
    ledger::wait_for(words, 3);
    program.signal_group(Signal::INT);
    check_end(program.finish(), IN_GOOD_ORDER);
}

/// As `kill` does, where a terminal reaches all.
fn only_the_program() {
    for (kind, signal) in [
        ("interrupts", Signal::INT),
        ("all", Signal::INT),
        ("all", Signal::TERM),
        ("all", Signal::HUP),
    ] {
        let (mut program, words) = started("interrupted_submissions", &[kind]);
        program.expect("ready");
        ledger::wait_for(words, 2);
        program.signal(signal);
        check_end(program.finish(), IN_GOOD_ORDER);
    }
}

/// Items that never come to an end, however often it is asked.
fn endless(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle(&arguments[1]);
    let pool = Pool::with_workers(2).unwrap();
    let endless = |words: u32| {
        ledger::note(words);
        os::sleep_for_ever();
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the first one came", || match guard.count() {
                0 => Err("not yet".into()),
                _ => Ok(()),
            });
            println!("once");
        });
        match arguments[2].as_str() {
            "map" => drop(pool.map_results(endless, vec![words; 10])),
            "imap" => drop(pool.imap(endless, vec![words; 10]).collect::<Vec<_>>()),
            "get" => {
                let handles = [(); 10].map(|()| pool.apply_async(endless, words));
                let _ = handles.map(|handle| drop(handle.get()));
            }
            _ => {
                let _handles = [(); 10].map(|()| pool.apply_async(endless, words));
                pool.close();
                pool.join().unwrap();
            }
        }
    });
    unreachable!("the items have no end")
}

fn check_second(kind: &str, call: &str, signals: [Signal; 2], code: u8) {
    let (mut program, words) = started("endless", &[kind, call]);
    ledger::wait_for(words, 2);
    // Workers ignore one of them alone.
    let send = |program: &Program, signal| match signal {
        Signal::INT => program.signal_group(signal),
        _ => program.signal(signal),
    };
    send(&program, signals[0]);
    program.expect("once");
    send(&program, signals[1]);
    check_end(program.finish(), code);
    assert_eq!(ledger::get(words), 2, "no other has begun");
}

/// The second one ends everything.
fn second_one() {
    for call in ["map", "imap", "get", "join"] {
        check_second("interrupts", call, [Signal::INT; 2], 130);
    }
}

/// F71: as for `SIGINT`, where it is wanted.
fn other_signals() {
    check_second("all", "map", [Signal::TERM; 2], 143);
    check_second("all", "get", [Signal::HUP; 2], 129);
    check_second("all", "join", [Signal::INT; 2], 130);
}

/// The last one counts.
fn two_kinds() {
    check_second("all", "map", [Signal::TERM, Signal::INT], 130);
    check_second("all", "imap", [Signal::INT, Signal::HUP], 129);
}

fn without_handlers(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    // Of other signals than those that come.
    let _guard = (arguments[1] == "others").then(|| handle_interrupts().unwrap());
    let pool = Pool::with_workers(2).unwrap();
    let items = (0..10).map(|n| (words, n));
    drop(pool.map_results(work, items));
    ExitCode::SUCCESS
}

/// The program dies of the signal, and its workers with it.
fn without_the_function() {
    for (handled, signal) in [
        ("none", Signal::INT),
        ("none", Signal::TERM),
        ("none", Signal::HUP),
        ("others", Signal::TERM),
        ("others", Signal::HUP),
    ] {
        for group in [true, false] {
            let (program, words) = started("without_handlers", &[handled]);
            ledger::wait_for(words, 2);
            if group {
                program.signal_group(signal);
            } else {
                program.signal(signal);
            }
            check_killed(program.finish(), signal.as_raw());
        }
    }
}

fn handlers_dropped(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let pool = Pool::with_workers(2).unwrap();
    let guard = handle_signals(&ALL).unwrap();
    same("count", guard.count(), 0);
    drop(guard);
    println!("ready");
    drop(pool.map_results(work, (0..10).map(|n| (words, n))));
    ExitCode::SUCCESS
}

fn guard_dropped() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (mut program, words) = started("handlers_dropped", &[]);
        program.expect("ready");
        ledger::wait_for(words, 2);
        program.signal_group(signal);
        check_killed(program.finish(), signal.as_raw());
    }
}

fn handlers_once(_: &[String]) -> ExitCode {
    exit_at_panic();
    let me = std::process::id();
    for round in 0..3 {
        let guard = handle_interrupts().unwrap();
        for refused in [handle_interrupts(), handle_signals(&ALL)] {
            same(
                "error",
                refused.unwrap_err().kind(),
                ErrorKind::AlreadyExists,
            );
        }
        let pool = Pool::with_workers(1).unwrap();
        check_usable(&pool);
        if round == 1 {
            os::send(me, Signal::INT);
            eventually("it is closed", || match pool.apply(|n: u8| n, 1) {
                Err(TaskError::Closed) => Ok(()),
                outcome => Err(format!("{outcome:?}")),
            });
        }
        same("count", guard.count(), u32::from(round == 1));
        drop(guard);
        // A pool lives longer than its guard.
        if round != 1 {
            check_usable(&pool);
        }
    }
    ExitCode::SUCCESS
}

fn one_guard() {
    Program::start("handlers_once", &[]).succeed();
}

fn workers_alone(arguments: &[String]) -> ExitCode {
    let words = words(arguments);
    let guard = handle_interrupts().unwrap();
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    let send = || pids.iter().for_each(|pid| os::send(*pid, Signal::INT));
    // All are through their start.
    let outcomes = pool.broadcast(|()| (), &());
    assert!(outcomes.iter().all(Result::is_ok));
    send();
    check_usable(&pool);
    thread::scope(|scope| {
        scope.spawn(|| {
            ledger::wait_for(words, 2);
            send();
            ledger::set(words + 1, 1);
        });
        let outcomes = pool
            .chunksize(1)
            .map_results(work, (0..20).map(|n| (words, n)));
        same("values", values(words, (0..).zip(outcomes)), 20);
    });
    same("workers", pool.worker_pids(), pids.clone());
    same("count", guard.count(), 0);
    // It goes to whom it is meant for.
    os::send(std::process::id(), Signal::INT);
    eventually("it is closed", || match pool.apply(|n: u8| n, 1) {
        Err(TaskError::Closed) => Ok(()),
        outcome => Err(format!("{outcome:?}")),
    });
    in_good_order(&pool, &guard)
}

/// F72.
fn workers_alone_ignore_it() {
    let (program, _) = started("workers_alone", &[]);
    check_end(program.finish(), IN_GOOD_ORDER);
}

/// F72, of workers that are being born.
fn newborn_workers_alone() {
    for _ in 0..50 {
        let pool = Pool::with_workers(2).unwrap();
        let pids = pool.worker_pids();
        pids.iter().for_each(|pid| os::send(*pid, Signal::INT));
        warm_up(&pool);
        assert_eq!(pool.worker_pids(), pids);
        assert_eq!(pool.stats().restarts, 0);
    }
}

fn interrupted_right_away(_: &[String]) -> ExitCode {
    exit_at_panic();
    let pool = Pool::with_workers(1).unwrap();
    let guard = handle_interrupts().unwrap();
    os::send(std::process::id(), Signal::INT);
    eventually("it is closed", || match pool.apply(|n: u8| n, 1) {
        Err(TaskError::Closed) => Ok(()),
        outcome => Err(format!("{outcome:?}")),
    });
    in_good_order(&pool, &guard)
}

/// No signal is lost from the moment on that the function has returned.
fn right_away() {
    for _ in 0..5 {
        let program = Program::start("interrupted_right_away", &[]);
        check_end(program.finish(), IN_GOOD_ORDER);
    }
}
