//! Programs that come to an end with tasks under way: E11, F116, F117.

use std::process::ExitCode;
use std::time::Duration;

use procession_executor::{Executor, Future};
use procession_testkit::gate::Ear;
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, ledger, os, procfs};
use rustix::process::Signal;

use crate::programs;
use crate::workers::{hold, with_workers};

pub(crate) const PROGRAMS: &[(&str, Run)] = &[("only_submits", only_submits), ("is_busy", is_busy)];

pub(crate) fn cases() -> Vec<Case> {
    cases![programs:
        e11_only_submits_and_returns, f116_ends_while_busy, f116_ends_while_it_drops,
        f117_killed_with_many_pending, f117_killed_while_it_submits,
        f117_killed_in_the_middle_of_a_callback,
    ]
    .into()
}

/// Its own words are the test's.
fn words(arguments: &[String]) -> u32 {
    arguments.last().unwrap().parse().unwrap()
}

const TASKS: u32 = 200;

fn slowly(word: u32) {
    std::thread::sleep(Duration::from_millis(1));
    ledger::note(word);
    if ledger::get(word) == TASKS {
        println!("apple");
    }
}

fn only_submits(arguments: &[String]) -> ExitCode {
    let word = words(arguments);
    let executor = with_workers(if arguments[0] == "one" { 1 } else { 2 });
    let mut futures: Vec<Future<()>> = Vec::new();
    for n in 0..TASKS {
        let future = executor.submit(slowly, word);
        match n % 3 {
            0 => {}
            1 => futures.push(future),
            _ => future.add_done_callback(move |_| ledger::note(word + 1)),
        }
    }
    println!("submitted");
    if arguments[0] == "panics" {
        panic!("the program's panic");
    }
    if arguments[0] == "no_wait" {
        executor.shutdown_no_wait();
    }
    ExitCode::SUCCESS
}

/// The tasks are done before it ends, and so are their callbacks; also where it panics.
fn e11_only_submits_and_returns() {
    for how in ["two", "one", "no_wait", "panics"] {
        let words = ledger::reserve(2);
        let ear = Ear::new();
        let stderr = ear.fd();
        let arguments = [how, &words.to_string()];
        let mut program = Program::start_with("only_submits", &arguments, |command| {
            command.stderr(stderr);
        });
        let mut lines = [program.line(), program.line()];
        lines.sort();
        assert_eq!(lines, ["apple", "submitted"]);
        assert_eq!(program.line(), "");
        let status = program.finish();
        let said = ear.until_end();
        match how {
            "panics" => assert_eq!(status.code(), Some(101)),
            _ => assert!(status.success() && said.is_empty(), "{status}: {said}"),
        }
        assert_eq!(ledger::get(words), TASKS);
        assert_eq!(ledger::get(words + 1), TASKS / 3);
    }
}

/// Has as many tasks under way as there are workers, many others behind them, and ends.
fn is_busy(arguments: &[String]) -> ExitCode {
    let how = arguments[0].as_str();
    let words = words(arguments);
    let executor = with_workers(2);
    let pending = |count: u32| -> Vec<_> {
        let submit = |n| executor.submit(hold, (words + n % 2, words + 2));
        (0..count).map(submit).collect()
    };
    let futures = pending(1000);
    ledger::wait(words);
    ledger::wait(words + 1);
    if how == "callback" {
        let first = executor.handle().clone();
        let (future, gate) = (&futures[0], words + 2);
        future.add_done_callback(move |_| {
            drop(first.submit(|n: u32| n, 1));
            println!("ready");
            os::sleep_for_ever();
        });
        ledger::set(gate, 1);
        os::sleep_for_ever();
    }
    println!("ready");
    match how {
        "exits" => std::process::exit(7),
        "aborts" => std::process::abort(),
        "forgets" => {
            std::mem::forget(executor);
            return ExitCode::from(7);
        }
        "exits_elsewhere" => {
            let _ = std::thread::spawn(|| std::process::exit(7)).join();
        }
        "drops" => drop(executor),
        "kills" => {
            executor.kill_workers();
            return ExitCode::from(7);
        }
        "submits" => loop {
            drop(pending(100));
        },
        // Until it is killed.
        _ => os::sleep_for_ever(),
    }
    drop(futures);
    ExitCode::SUCCESS
}

fn start_busy(how: &str) -> (Program, u32) {
    let words = ledger::reserve(3);
    let mut program = Program::start("is_busy", &[how, &words.to_string()]);
    program.expect("ready");
    (program, words)
}

/// Without the drop of the executor nothing is waited for, and nothing is left.
fn f116_ends_while_busy() {
    for how in ["exits", "exits_elsewhere", "forgets", "kills", "aborts"] {
        let (program, words) = start_busy(how);
        let status = program.finish();
        match how {
            "aborts" => assert_eq!(status.code(), None),
            _ => assert_eq!(status.code(), Some(7), "{how}: {status}"),
        }
        for word in words..words + 2 {
            assert_eq!(procfs::state_and_parent(ledger::get(word)), None);
        }
    }
}

/// Terminated while it waits for its tasks, as by an impatient user.
fn f116_ends_while_it_drops() {
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let (program, _) = start_busy("drops");
        program.signal(signal);
        assert_eq!(program.finish().code(), None);
    }
}

fn f117_killed_with_many_pending() {
    for _ in 0..3 {
        let (program, words) = start_busy("waits");
        let pids = [ledger::get(words), ledger::get(words + 1)];
        program.signal(Signal::KILL);
        assert!(!program.finish().success());
        for pid in pids {
            assert_eq!(procfs::state_and_parent(pid), None, "a worker is left");
        }
    }
}

fn f117_killed_while_it_submits() {
    for pause in 0..5 {
        let (program, _) = start_busy("submits");
        std::thread::sleep(Duration::from_millis(pause));
        program.signal(Signal::KILL);
        assert!(!program.finish().success());
    }
}

fn f117_killed_in_the_middle_of_a_callback() {
    let (program, _) = start_busy("callback");
    program.signal(Signal::KILL);
    assert!(!program.finish().success());
}
