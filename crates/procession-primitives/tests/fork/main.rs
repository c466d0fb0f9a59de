//! The suite for `StartMethod::Fork`, in a program with one thread.

#[path = "../suite/mod.rs"]
mod suite;

use std::process::ExitCode;

use procession_primitives::{Process, ProcessError, StartError, StartMethod};
use procession_testkit::{Case, Runner, eventually, os, runner};

fn main() -> ExitCode {
    procession_primitives::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let mut cases = suite::for_method("fork", StartMethod::Fork);
    let own: [(&str, fn()); 5] = [
        ("fork::captures", captures),
        ("fork::memory_is_inherited", memory_is_inherited),
        ("fork::mixed_methods", mixed_methods),
        (
            "fork::a_threaded_program_is_refused",
            a_threaded_program_is_refused,
        ),
        ("fork::behind_the_back", behind_the_back),
    ];
    cases.extend(own.map(|(name, test)| Case::new(name, test)));
    Runner::new(cases).run()
}

fn captures() {
    let mut words = vec!["taken", "along"];
    let separator = String::from(" ");
    let process = Process::builder().fork(|| {
        words.push("changed");
        words.join(&separator)
    });
    assert_eq!(process.unwrap().join().unwrap(), "taken along changed");
    assert_eq!(words, ["taken", "along"]);
    let process = Process::builder().fork(|| -> u8 { panic!("{}", separator.len()) });
    let Err(ProcessError::Panicked(panic)) = process.unwrap().join() else {
        panic!("no panic")
    };
    assert_eq!(panic.message(), "1");
}

fn memory_is_inherited() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(1);
    COUNT.store(5, Ordering::Relaxed);
    let read = |()| COUNT.fetch_add(1, Ordering::Relaxed);
    let all = StartMethod::all();
    let found = all.map(|method| {
        let process = Process::builder().start_method(method).spawn(read, ());
        process.unwrap().join().unwrap()
    });
    assert_eq!(found, [1, 1, 5]);
    assert_eq!(COUNT.load(Ordering::Relaxed), 5);
}

/// Processes of each kind, started by processes of each kind.
fn mixed_methods() {
    fn below(path: Vec<usize>) -> Vec<usize> {
        match path.split_first() {
            None => vec![],
            Some((first, rest)) => {
                let method = StartMethod::all()[*first];
                let process = Process::builder()
                    .start_method(method)
                    .spawn(below, rest.to_vec());
                let mut found = process.unwrap().join().unwrap();
                found.insert(0, *first);
                found
            }
        }
    }
    for first in 0..3 {
        for second in 0..3 {
            for third in 0..3 {
                let path = vec![first, second, third];
                assert_eq!(below(path.clone()), path);
            }
        }
    }
}

fn a_threaded_program_is_refused() {
    let fork = || Process::builder().fork(|| 1);
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || receive.recv());
        let refused = fork();
        assert!(
            matches!(refused, Err(StartError::Threads(2))),
            "{refused:?}"
        );
        drop(send);
    });
    // A thread is still counted for a moment after it was joined.
    let process = eventually("the thread is gone", || {
        fork().map_err(|error| error.to_string())
    });
    assert_eq!(process.join().unwrap(), 1);
}

/// A copy of the program that it made itself is a program of its own.
fn behind_the_back() {
    let child = os::bare_fork(|| {
        let process = Process::spawn(|n: i32| n + 1, 41).unwrap();
        process.join().unwrap()
    });
    assert_eq!(os::exit_code_of(child), 42);
    assert_eq!(
        Process::spawn(|n: i32| n + 1, 1).unwrap().join().unwrap(),
        2
    );
}
