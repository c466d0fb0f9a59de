//! A process of its own that ends a test that hangs, after showing where everybody is.
//!
//! A process rather than a thread, so that the tests can fork a program with one thread.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::time::Timespec;

use crate::{ledger, os, procfs};

/// First argument of the watchdog process.
pub(crate) const ROLE: &str = "--be-the-watchdog";

/// How long one test may take.
const LIMIT: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// The watchdog, as the program under test sees it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    process: Child,
    line: ChildStdin,
}

impl Watchdog {
    pub(crate) fn start(marker: &str) -> Watchdog {
        let mut process = Command::new("/proc/self/exe")
            .args([ROLE, &std::process::id().to_string(), marker])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let line = process.stdin.take().unwrap();
        Watchdog { process, line }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn begin(&mut self, test: &str) {
        self.line.write_all(format!("{test}\n").as_bytes()).unwrap();
    }

    pub(crate) fn end(&mut self) {
        self.line.write_all(b"\n").unwrap();
    }

    pub(crate) fn dismiss(mut self) {
        drop(self.line);
        self.process.wait().unwrap();
    }
}

/// The watchdog's life: `arguments` are the program's pid and the family's environment entry.
pub(crate) fn watch(arguments: &[String]) {
    let [program, marker] = arguments else {
        panic!("the watchdog takes two arguments");
    };
    let program: u32 = program.parse().unwrap();
    let pid = Pid::from_raw(program.cast_signed()).unwrap();
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let line = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut test: Option<String> = None;
    loop {
        let mut polled = [
            PollFd::new(&line, PollFlags::IN),
            PollFd::new(&pidfd, PollFlags::IN),
        ];
        let limit = test.is_some().then_some(&LIMIT);
        match rustix::event::poll(&mut polled, limit) {
            Ok(0) => strike(program, marker, test.as_deref().unwrap_or_default()),
            Ok(_) if polled[0].revents().contains(PollFlags::IN) => {
                let mut text = [0; 4096];
                let Ok(count @ 1..) = rustix::io::read(&line, &mut text) else {
                    return;
                };
                let text = String::from_utf8_lossy(&text[..count]).into_owned();
                let last = text.lines().last().unwrap_or_default();
                test = (!last.is_empty()).then(|| last.to_owned());
            }
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

fn strike(program: u32, marker: &str, test: &str) {
    let me = std::process::id();
    let mut family = procfs::family(program, marker);
    family.retain(|pid| *pid != me);
    eprintln!("watchdog: {test} hangs\n{}", procfs::dump(&family));
    println!("test {test} ... FAILED (it hangs)\n\ntest result: FAILED. Ended by the watchdog");
    for pid in family {
        os::send(pid, Signal::KILL);
    }
    ledger::remove();
    std::process::exit(101);
}
