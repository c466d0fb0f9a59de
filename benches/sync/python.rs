//! Python's `multiprocessing`, in a process that runs `peers/sync.py`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::contest::Contender;

const SCRIPT: &str = include_str!("../peers/sync.py");

/// A Python program that runs one workload, as often as it is told.
struct Python {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Python {
    /// None where there is no Python.
    fn start(workload: &str) -> Option<Python> {
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT, workload])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take()?));
        let mut python = Python {
            child,
            stdin,
            stdout,
        };
        python.run(1).map(|_| python)
    }

    fn run(&mut self, rounds: u64) -> Option<Duration> {
        writeln!(self.stdin.as_mut()?, "{rounds}").ok()?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).ok()?;
        line.trim().parse().ok().map(Duration::from_nanos)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// What Python takes for `workload` of the script.
pub(crate) fn contender(name: &'static str, workload: &str) -> Contender {
    let python = Python::start(workload);
    let run = python.map(|mut python| -> Box<dyn FnMut(u64) -> Duration> {
        Box::new(move |rounds| python.run(rounds).expect("Python goes on"))
    });
    Contender::optional(name, run)
}
