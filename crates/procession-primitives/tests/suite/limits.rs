//! Niceness, CPUs and memory of a process.

use std::hint::black_box;

use procession_primitives::{
    Death, Phase, Process, ProcessError, StartError, StartMethod, active_children, own_memory,
};
use procession_testkit::gate::{Bell, Ear, Entrance, Gate, pass, ring};
use procession_testkit::{eventually, os, procfs};
use rustix::process::{Signal, WaitOptions, getpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::{death, quiet, with};

const LIMIT: u64 = 128 << 20;
const TOO_MUCH: usize = 1 << 30;

pub(super) fn niceness(method: StartMethod) {
    let nice = || getpriority_process(None).unwrap();
    let own = nice();
    for (more, expected) in [(0, own), (3, own + 3), (1000, 19)] {
        let process = with(method).nice(more).spawn(
            |()| {
                let inherited = std::thread::spawn(|| getpriority_process(None).unwrap());
                (
                    getpriority_process(None).unwrap(),
                    inherited.join().unwrap(),
                )
            },
            (),
        );
        assert_eq!(process.unwrap().join().unwrap(), (expected, expected));
    }
    assert_eq!(nice(), own);
    let process = with(method).spawn(|()| getpriority_process(None).unwrap(), ());
    assert_eq!(process.unwrap().join().unwrap(), own);
}

fn usable() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

pub(super) fn cpus(method: StartMethod) {
    let all = usable();
    for cpu in &all {
        let process = with(method).cpus([*cpu]).spawn(|()| usable(), ()).unwrap();
        assert_eq!(process.join().unwrap(), [*cpu]);
    }
    let process = with(method).cpus(all.clone()).spawn(|()| usable(), ());
    assert_eq!(process.unwrap().join().unwrap(), all);
    let process = with(method).spawn(|()| usable(), ()).unwrap();
    assert_eq!(process.join().unwrap(), all);
    assert_eq!(usable(), all);
}

pub(super) fn cpus_that_there_are_not(method: StartMethod) {
    let last = CpuSet::MAX_CPU - 1;
    assert!(!usable().contains(&last), "a larger machine than expected");
    for cpus in [
        vec![],
        vec![last],
        vec![usable()[0], last],
        vec![last + 1],
        vec![usize::MAX],
    ] {
        let refused = with(method)
            .cpus(cpus.clone())
            .nice(1)
            .spawn(|()| os::sleep_for_ever(), ());
        let Err(StartError::Limits(error)) = refused else {
            panic!("{cpus:?}: {refused:?}");
        };
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{cpus:?}");
    }
    eventually("nothing of them is left", || {
        match active_children().as_slice() {
            [] => Ok(()),
            some => Err(format!("{some:?}")),
        }
    });
    assert!(
        with(method)
            .spawn(|()| procfs::pids().len(), ())
            .unwrap()
            .join()
            .is_ok()
    );
}

#[track_caller]
fn died_of_memory(death: Death, phase: Phase) {
    assert_eq!(death.signal(), Some(libc::SIGABRT), "{death}");
    assert_eq!(death.out_of_memory(), Some(true), "{death}");
    assert_eq!(death.phase(), phase, "{death}");
    assert!(death.to_string().contains("out of memory"), "{death}");
}

fn take(bytes: usize) -> usize {
    black_box(vec![1_u8; bytes]).len()
}

pub(super) fn memory_limit(method: StartMethod) {
    let limited = || quiet(method).memory_limit(LIMIT);
    let hungry = limited().spawn(take, TOO_MUCH).unwrap();
    died_of_memory(death(hungry.join()), Phase::Running);
    let verbose = limited()
        .env("RUST_BACKTRACE", "1")
        .spawn(take, TOO_MUCH)
        .unwrap();
    died_of_memory(death(verbose.join()), Phase::Running);
    let by_and_by = limited().spawn(
        |()| {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![1_u8; 10_000]));
            }
        },
        (),
    );
    died_of_memory(death::<()>(by_and_by.unwrap().join()), Phase::Running);
    let elsewhere = limited().spawn(
        |()| {
            std::thread::spawn(|| take(TOO_MUCH)).join().unwrap();
        },
        (),
    );
    died_of_memory(death(elsewhere.unwrap().join()), Phase::Running);
    let content = limited().spawn(take, LIMIT as usize / 2).unwrap();
    assert_eq!(content.join().unwrap(), LIMIT as usize / 2);
    // One that sees to it itself.
    let careful = limited().spawn(
        |()| Vec::<u8>::new().try_reserve_exact(TOO_MUCH).is_err(),
        (),
    );
    assert!(careful.unwrap().join().unwrap());
}

pub(super) fn other_ends_under_a_memory_limit(method: StartMethod) {
    let limited = || quiet(method).memory_limit(LIMIT);
    let mut ear = Ear::new();
    let aborted = limited().spawn(|()| -> () { std::process::abort() }, ());
    let raised = limited().spawn(os::raise, libc::SIGABRT);
    let crashed = limited().spawn(|()| os::crash(), ());
    let sent = limited()
        .spawn(
            |bell| {
                ring(bell);
                // Leaves a failed allocation behind as the last error.
                let _ = Vec::<u8>::new().try_reserve_exact(TOO_MUCH);
                loop {
                    std::hint::spin_loop();
                }
            },
            ear.bell(),
        )
        .unwrap();
    ear.hear(1);
    os::send(sent.pid(), Signal::ABORT);
    let copied = limited().spawn(
        |()| {
            let child = os::bare_fork(|| take(TOO_MUCH) as i32);
            let child = rustix::process::Pid::from_raw(child.cast_signed());
            rustix::process::waitpid(child, WaitOptions::empty()).unwrap();
            std::process::abort()
        },
        (),
    );
    for (process, signal) in [
        (aborted.unwrap(), libc::SIGABRT),
        (raised.unwrap(), libc::SIGABRT),
        (crashed.unwrap(), libc::SIGSEGV),
        (sent, libc::SIGABRT),
        (copied.unwrap(), libc::SIGABRT),
    ] {
        let death = death(process.join());
        assert_eq!(death.signal(), Some(signal));
        assert_ne!(death.out_of_memory(), Some(true), "{death}");
    }
    let panicked = limited()
        .env("RUST_BACKTRACE", "1")
        .spawn(|()| -> () { panic!("as ever") }, ());
    match panicked.unwrap().join() {
        // A fork has read the variable before it was set.
        Err(ProcessError::Panicked(panic)) if method != StartMethod::Fork => {
            assert!(panic.backtrace().is_some());
        }
        outcome => assert!(
            matches!(outcome, Err(ProcessError::Panicked(_))),
            "{outcome:?}"
        ),
    }
    // Without a limit a failed allocation is an abort like any other.
    let unlimited = quiet(method).spawn(take, 1 << 47).unwrap();
    let death = death(unlimited.join());
    assert_eq!(
        (death.signal(), death.out_of_memory()),
        (Some(libc::SIGABRT), None)
    );
}

/// What a limited process starts: its own fork has the limit, others have not.
pub(super) fn memory_limits_are_inherited_by_forks(method: StartMethod) {
    let process = with(method).memory_limit(LIMIT).spawn(
        |()| {
            let start = |method| quiet(method).spawn(take, TOO_MUCH).unwrap().join();
            let fork = match start(StartMethod::Fork) {
                Err(ProcessError::Died(death)) => death.out_of_memory(),
                _ => None,
            };
            (fork, start(StartMethod::ForkServer).ok())
        },
        (),
    );
    assert_eq!(
        process.unwrap().join().unwrap(),
        (Some(true), Some(TOO_MUCH))
    );
}

pub(super) fn memory_limit_while_decoding(method: StartMethod) {
    let process = quiet(method)
        .memory_limit(LIMIT / 2)
        .spawn(|bytes: Vec<u8>| bytes.len(), vec![1; LIMIT as usize]);
    died_of_memory(death(process.unwrap().join()), Phase::Decoding);
    // There is no memory at all: whatever comes first fails.
    let process = quiet(method).memory_limit(0).spawn(take, 1 << 20).unwrap();
    let death = death(process.join());
    assert_eq!(death.out_of_memory(), Some(true), "{death}");
    assert_eq!(
        Process::spawn(take, TOO_MUCH).unwrap().join().unwrap(),
        TOO_MUCH
    );
}

/// Memory that counts for sure: more than the kernel may be behind.
const MUCH: usize = 64 << 20;

#[track_caller]
fn about(found: u64, expected: u64) {
    let slack = MUCH as u64 / 2;
    assert!(
        found.abs_diff(expected) < slack,
        "{found} instead of {expected}"
    );
}

pub(super) fn memory_from_outside(method: StartMethod) {
    let (mut ear, gate) = (Ear::new(), Gate::new());
    let start = |touched: usize, reserved: usize| {
        let hold = |(bell, entrance, touched, reserved): (Bell, Entrance, usize, usize)| {
            let memory = black_box((vec![1_u8; touched], Vec::<u8>::with_capacity(reserved)));
            ring(bell);
            pass(entrance);
            memory.0.len()
        };
        let argument = (ear.bell(), gate.entrance(), touched, reserved);
        with(method).spawn(hold, argument).unwrap()
    };
    let processes = [start(0, 0), start(2 * MUCH, 0), start(0, 2 * MUCH)];
    ear.hear(3);
    let [none, touched, reserved] = [0, 1, 2].map(|n: usize| processes[n].memory().unwrap());
    about(touched.resident(), none.resident() + 2 * MUCH as u64);
    about(touched.peak(), none.peak() + 2 * MUCH as u64);
    about(touched.data(), none.data() + 2 * MUCH as u64);
    about(reserved.resident(), none.resident());
    about(reserved.data(), none.data() + 2 * MUCH as u64);
    let [_, touched, _] = &processes;
    touched.kill().unwrap();
    touched.wait();
    assert_eq!(touched.memory(), None);
    let mut gate = gate;
    gate.open(2);
    for process in &processes {
        process.wait();
        assert_eq!(process.memory(), None);
    }
}

pub(super) fn memory_from_inside(method: StartMethod) {
    let look = |()| {
        let look = || own_memory().unwrap();
        let before = look();
        let descriptors = procfs::descriptors(std::process::id());
        let memory = black_box(vec![1_u8; 2 * MUCH]);
        let during = look();
        drop(memory);
        let after = look();
        assert_eq!(descriptors, procfs::descriptors(std::process::id()));
        // A copy is another process.
        let copy = os::bare_fork(|| {
            let own = black_box(vec![1_u8; 2 * MUCH]);
            i32::from(look() > own.len() as u64)
        });
        assert_eq!(os::exit_code_of(copy), 1);
        (before, during, after)
    };
    let (before, during, after) = with(method).spawn(look, ()).unwrap().join().unwrap();
    about(during, before + 2 * MUCH as u64);
    about(after, before);
}
