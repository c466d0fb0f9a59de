//! Ctrl+C, counted and waited for.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use procession_primitives::{InterruptSignal, Interrupts, Process, StartMethod, exit_now};
use procession_testkit::gate::{Bell, Ear, Entrance, Gate, pass, ring};
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, os, same};
use rustix::process::Signal;

use crate::interrupts;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("interrupts_itself_once", interrupts_itself_once),
    ("interrupts_itself_twice", interrupts_itself_twice),
    ("one_at_a_time", one_at_a_time),
    ("stops_waiting", stops_waiting),
    ("listens_to_all", listens_to_all),
    ("was_told_to_ignore_it", was_told_to_ignore_it),
    ("has_a_handler_already", has_a_handler_already),
    ("has_members", has_members),
    ("is_interrupted_with_members", is_interrupted_with_members),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![interrupts:
        once, twice, programs_of_their_own, from_outside, with_members,
    ]
    .into()
}

fn interrupt_myself() {
    os::send(std::process::id(), Signal::INT);
}

fn interrupts_itself_once(_: &[String]) -> ExitCode {
    let interrupts = Interrupts::install().unwrap();
    same("count", interrupts.count(), 0);
    same("last", interrupts.last(), None);
    interrupt_myself();
    same("wait", interrupts.wait(0), 1);
    same("count", interrupts.count(), 1);
    same("last", interrupts.last(), Some(InterruptSignal::Interrupt));
    println!("once");
    drop(interrupts);
    // Now it means what it meant before.
    interrupt_myself();
    os::sleep_for_ever();
    ExitCode::SUCCESS
}

fn once() {
    let mut program = Program::start("interrupts_itself_once", &[]);
    program.expect("once");
    same("signal", program.finish().signal(), Some(libc::SIGINT));
}

/// The first interrupt winds down, the second ends everything at once.
fn interrupts_itself_twice(_: &[String]) -> ExitCode {
    let mut ear = Ear::new();
    let stubborn = Process::builder().ignore_interrupts(true).spawn(
        |bell: Bell| {
            ring(bell);
            os::sleep_for_ever();
        },
        ear.bell(),
    );
    ear.hear(1);
    let interrupts = Interrupts::install().unwrap();
    std::thread::spawn(move || {
        let seen = interrupts.wait(0);
        println!("{seen}");
        interrupt_myself();
        println!("{}", interrupts.wait(seen));
        exit_now(interrupts.last().unwrap().exit_status())
    });
    interrupt_myself();
    // For ever.
    stubborn.unwrap().wait();
    ExitCode::SUCCESS
}

fn twice() {
    let mut program = Program::start("interrupts_itself_twice", &[]);
    program.expect("1");
    program.expect("2");
    same("code", program.finish().code(), Some(130));
}

fn one_at_a_time(_: &[String]) -> ExitCode {
    let first = Interrupts::install().unwrap();
    let refused = Interrupts::install_for(&[InterruptSignal::HangUp]);
    same(
        "error",
        refused.unwrap_err().kind(),
        ErrorKind::AlreadyExists,
    );
    interrupt_myself();
    same("wait", first.wait(0), 1);
    first.stop();
    first.stop();
    same("wait", first.wait(1), 1);
    same("wait", first.wait(7), 1);
    let twice = [InterruptSignal::Interrupt, InterruptSignal::Interrupt];
    let second = Interrupts::install_for(&twice).unwrap();
    same("count", second.count(), 0);
    // Has nothing to say any more.
    drop(first);
    interrupt_myself();
    same("wait", second.wait(0), 1);
    interrupt_myself();
    same("wait", second.wait(1), 2);
    ExitCode::SUCCESS
}

fn stops_waiting(_: &[String]) -> ExitCode {
    let interrupts = Arc::new(Interrupts::install().unwrap());
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let interrupts = Arc::clone(&interrupts);
            std::thread::spawn(move || (interrupts.wait(0), interrupts.wait(1)))
        })
        .collect();
    interrupt_myself();
    same("wait", interrupts.wait(0), 1);
    interrupts.stop();
    for waiter in waiters {
        same("wait", waiter.join().unwrap(), (1, 1));
    }
    ExitCode::SUCCESS
}

fn was_told_to_ignore_it(_: &[String]) -> ExitCode {
    os::ignore(libc::SIGINT);
    let both = [InterruptSignal::Interrupt, InterruptSignal::HangUp];
    let interrupts = Interrupts::install_for(&both).unwrap();
    interrupt_myself();
    os::send(std::process::id(), Signal::HUP);
    same("wait", interrupts.wait(0), 1);
    same("last", interrupts.last(), Some(InterruptSignal::HangUp));
    drop(interrupts);
    interrupt_myself();
    ExitCode::SUCCESS
}

fn has_a_handler_already(_: &[String]) -> ExitCode {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: libc::c_int) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
    os::handle(libc::SIGINT, count);
    let interrupts = Interrupts::install().unwrap();
    interrupt_myself();
    same("count", interrupts.count(), 1);
    same("its own", COUNT.load(Ordering::Relaxed), 0);
    drop(interrupts);
    interrupt_myself();
    same("its own", COUNT.load(Ordering::Relaxed), 1);
    ExitCode::SUCCESS
}

fn programs_of_their_own() {
    for name in [
        "one_at_a_time",
        "stops_waiting",
        "was_told_to_ignore_it",
        "has_a_handler_already",
        "has_members",
    ] {
        Program::start(name, &[]).succeed();
    }
}

fn listens_to_all(_: &[String]) -> ExitCode {
    let all = [
        InterruptSignal::Interrupt,
        InterruptSignal::Terminate,
        InterruptSignal::HangUp,
    ];
    let interrupts = Interrupts::install_for(&all).unwrap();
    println!("ready");
    for seen in 0..3 {
        interrupts.wait(seen);
        println!("{:?}", interrupts.last().unwrap());
    }
    ExitCode::from(interrupts.last().unwrap().exit_status() as u8)
}

fn from_outside() {
    let mut program = Program::start("listens_to_all", &[]);
    program.expect("ready");
    for (signal, name) in [
        (Signal::INT, "Interrupt"),
        (Signal::HUP, "HangUp"),
        (Signal::TERM, "Terminate"),
    ] {
        program.signal(signal);
        program.expect(name);
    }
    same("code", program.finish().code(), Some(143));
}

fn ring_and_sleep(bell: Bell) {
    ring(bell);
    os::sleep_for_ever();
}

/// Members have no handler, whether they were made before or after it was set.
fn has_members(_: &[String]) -> ExitCode {
    let mut ear = Ear::new();
    let start = |method| {
        let builder = Process::builder().start_method(method);
        builder.spawn(ring_and_sleep, ear.bell()).unwrap()
    };
    let mut members: Vec<_> = StartMethod::all().map(start).into();
    let interrupts = Interrupts::install().unwrap();
    members.extend(StartMethod::all().map(start));
    ear.hear(members.len());
    for member in members {
        member.interrupt().unwrap();
        same("the end", member.wait().exitcode(), -libc::SIGINT);
    }
    same("count", interrupts.count(), 0);
    // And can have their own.
    for method in StartMethod::all() {
        let builder = Process::builder().start_method(method);
        let process = builder.spawn(
            |()| {
                let own = Interrupts::install().unwrap();
                interrupt_myself();
                own.wait(0)
            },
            (),
        );
        same("wait", process.unwrap().join().unwrap(), 1);
    }
    same("count", interrupts.count(), 0);
    interrupt_myself();
    same("wait", interrupts.wait(0), 1);
    ExitCode::SUCCESS
}

fn is_interrupted_with_members(_: &[String]) -> ExitCode {
    let interrupts = Interrupts::install().unwrap();
    let (mut ear, mut gate) = (Ear::new(), Gate::new());
    let start = |method| {
        let builder = Process::builder().start_method(method);
        let work = |(bell, entrance): (Bell, Entrance)| {
            ring(bell);
            pass(entrance);
            5
        };
        let argument = (ear.bell(), gate.entrance());
        builder.ignore_interrupts(true).spawn(work, argument)
    };
    let members = StartMethod::all().map(|method| start(method).unwrap());
    ear.hear(members.len());
    println!("ready");
    same("wait", interrupts.wait(0), 1);
    gate.open(members.len());
    for member in members {
        same("value", member.join().unwrap(), 5);
    }
    ExitCode::SUCCESS
}

/// A terminal interrupts all processes of its group.
fn with_members() {
    let mut program = Program::start("is_interrupted_with_members", &[]);
    program.expect("ready");
    program.signal_group(Signal::INT);
    program.succeed();
}
