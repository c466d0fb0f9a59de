//! A program that never calls `init()`: its children come in before `main`, and never get there.

use std::io::Write;
use std::process::{Command, ExitCode};

use procession_primitives::{Process, StartMethod};
use procession_testkit::{Case, Runner, os, runner};
use rustix::process::Signal;

/// A file that gets a line for each time that `main` runs.
const COUNTER: &str = "IT_MAIN_COUNTER";

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(COUNTER) {
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"main\n").unwrap();
        return work();
    }
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let own: [(&str, fn()); 2] = [
        ("forgot_init::works", || {
            assert_eq!(work(), ExitCode::SUCCESS)
        }),
        ("forgot_init::main_runs_once", main_runs_once),
    ];
    Runner::new(own.map(|(name, test)| Case::new(name, test)).into()).run()
}

fn work() -> ExitCode {
    for _ in 0..2 {
        for method in StartMethod::all() {
            let below = |n: u64| Process::spawn(|n: u64| n * n, n).unwrap().join().unwrap();
            let process = Process::builder().start_method(method).spawn(below, 5);
            assert_eq!(process.unwrap().join().unwrap(), 25);
            let start = Process::builder().start_method(method);
            let crash = start.spawn(os::raise, libc::SIGSEGV).unwrap();
            assert_eq!(crash.wait().exitcode(), -11);
        }
        let supervisor = Process::spawn(|()| os::ppid(), ()).unwrap().join().unwrap();
        let last = Process::spawn(|()| os::sleep_for_ever(), ()).unwrap();
        os::send(supervisor, Signal::KILL);
        assert!(last.wait().supervisor_died());
    }
    ExitCode::SUCCESS
}

fn main_runs_once() {
    let path = std::env::temp_dir().join(format!("procession-it-{}-forgot", std::process::id()));
    std::fs::write(&path, "").unwrap();
    let mut command = Command::new("/proc/self/exe");
    assert!(command.env(COUNTER, &path).status().unwrap().success());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text, "main\n");
}
