//! The other side of a workload: a fork of this program that does its part when it is told to.
//!
//! # Safety
//!
//! This program has one thread when it forks, so the child can do whatever it could.
#![allow(unsafe_code, reason = "forks")]

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::time::{Duration, Instant};

use procession_bench::Pinned;

/// A process that does its part of each run. Ends when dropped, or with this process.
pub(crate) struct Partner {
    pid: libc::pid_t,
    go: PipeWriter,
    done: PipeReader,
}

impl Partner {
    /// `work` does so many rounds, on one CPU if it is named.
    pub(crate) fn new(cpu: Option<usize>, work: impl FnMut(u64)) -> Partner {
        let ((told, go), (done, tell)) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
        // SAFETY: there is one thread.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "a process starts");
        if pid == 0 {
            drop((go, done));
            serve(cpu, told, tell, work);
        }
        Partner { pid, go, done }
    }

    pub(crate) fn go(&mut self, rounds: u64) {
        let told = self.go.write_all(&rounds.to_ne_bytes());
        told.expect("the partner reads it");
    }

    pub(crate) fn wait(&mut self) {
        let done = self.done.read_exact(&mut [0]);
        done.expect("the partner says that it is done");
    }

    /// Runs `ours`, on a CPU of its own, beside the partner's part. How long both took.
    pub(crate) fn beside(&mut self, rounds: u64, ours: impl FnOnce()) -> Duration {
        let _pinned = Pinned::to(0);
        let start = Instant::now();
        self.go(rounds);
        ours();
        self.wait();
        start.elapsed()
    }
}

/// Has each partner do half of the rounds. How long all took.
pub(crate) fn halves(partners: &mut [Partner], rounds: u64) -> Duration {
    let start = Instant::now();
    for partner in &mut *partners {
        partner.go(rounds.div_ceil(2));
    }
    for partner in partners {
        partner.wait();
    }
    start.elapsed()
}

fn serve(
    cpu: Option<usize>,
    mut told: PipeReader,
    mut tell: PipeWriter,
    mut work: impl FnMut(u64),
) -> ! {
    // SAFETY: changes nothing but what happens to this process at its parent's end.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let _pinned = cpu.map(Pinned::to);
    let mut rounds = [0; 8];
    while told.read_exact(&mut rounds).is_ok() {
        work(u64::from_ne_bytes(rounds));
        if tell.write_all(&[0]).is_err() {
            break;
        }
    }
    // SAFETY: ends this process, without what its parent registered to be done at exit.
    unsafe { libc::_exit(0) }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // SAFETY: the child was not waited for, so the number is its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // SAFETY: writes nowhere.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}
