//! Helper programs: this test program started again, to be a user's program that comes to an end.
//!
//! What they do is in the list that [`divert`](crate::runner::divert) gets.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::{eventually, os, procfs};

/// What a helper program does with its arguments.
pub type Run = fn(&[String]) -> ExitCode;

/// First argument of a helper program.
pub const ROLE: &str = "--be-the-program";

const MARKER: &str = "PROCESSION_IT_PROGRAM";

/// Whether this process was started as a helper program.
pub fn is_one() -> bool {
    std::env::args().nth(1).as_deref() == Some(ROLE)
}

/// Ends this process at the first panic, after its message.
///
/// For helper programs whose assertions must not wait for processes that wait for the program.
pub fn exit_at_panic() {
    let present = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        present(info);
        os::exit_at_once(101);
    }));
}

/// Does what `programs` has under the name in `arguments`.
pub(crate) fn run(programs: &[(&str, Run)], arguments: &[String]) -> ExitCode {
    let (name, rest) = arguments.split_first().expect("the name of a program");
    let found = programs.iter().find(|(known, _)| known == name);
    let (_, run) = found.expect("a program of that name");
    run(rest)
}

/// A running helper program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    marker: String,
    folder: PathBuf,
}

impl Program {
    /// In a process group of its own, with its own folder for temporary files.
    pub fn start(name: &str, arguments: &[&str]) -> Program {
        Self::start_with(name, arguments, |_| {})
    }

    /// As [`start`](Self::start), after `change` has had the command.
    pub fn start_with(
        name: &str,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Program {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let value = format!("{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(format!("procession-it-{value}"));
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(ROLE)
            .arg(name)
            .args(arguments)
            .env(MARKER, &value)
            .env("TMPDIR", &folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let marker = format!("{MARKER}={value}");
        Program {
            child,
            output,
            marker,
            folder,
        }
    }

    /// The process itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its folder for temporary files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The next line of output; empty at its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Panics if the next line of output is another.
    pub fn expect(&mut self, line: &str) {
        let found = self.line();
        assert_eq!(found, line, "the program said something else");
    }

    /// All processes of the program that are there now.
    pub fn family(&self) -> Vec<u32> {
        procfs::with_variable(&self.marker)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        os::send(self.pid(), signal);
    }

    /// Sends a signal to its process group, as a terminal would.
    pub fn signal_group(&self, signal: Signal) {
        os::send_group(self.pid(), signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Waits until no process of the program is left but `except`, nor any temporary file.
    pub fn gone_but(&self, except: &[u32]) {
        eventually("the program's family is gone", || {
            let mut left = self.family();
            left.retain(|pid| !except.contains(pid));
            if left.is_empty() {
                Ok(())
            } else {
                Err(procfs::dump(&left))
            }
        });
        let files: Vec<_> = std::fs::read_dir(&self.folder).unwrap().collect();
        assert!(files.is_empty(), "files are left: {files:?}");
    }

    /// Waits for its end and that of its family.
    pub fn finish(mut self) -> ExitStatus {
        let status = self.wait();
        self.gone_but(&[]);
        status
    }

    /// Waits for its end, which must be a success.
    pub fn succeed(self) {
        let status = self.finish();
        assert!(status.success(), "the program ended with {status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.family() {
            os::send(pid, Signal::KILL);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
