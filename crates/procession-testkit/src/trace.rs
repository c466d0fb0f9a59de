//! A process that goes one instruction at a time.
#![allow(unsafe_code, reason = "ptrace")]

use std::marker::PhantomData;
use std::ptr;

use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;

use crate::os;

/// A process that this thread traces. Not `Send`: the kernel lets no other thread do it.
#[derive(Debug)]
pub struct Traced(libc::pid_t, PhantomData<*const ()>);

impl Traced {
    /// Stops `pid` and ties it and this thread to one CPU, where a step costs a fraction. `None`
    /// where the system does not allow it.
    pub fn attach(pid: u32) -> Option<Traced> {
        let traced = Traced(pid.cast_signed(), PhantomData);
        // SAFETY: attaches to another process; changes none of our memory.
        if unsafe { libc::ptrace(libc::PTRACE_ATTACH, traced.0, 0, 0) } != 0 {
            return None;
        }
        if !traced.stopped() {
            return None;
        }
        let mut one = CpuSet::new();
        one.set(rustix::thread::sched_getcpu());
        for pid in [None, Pid::from_raw(traced.0)] {
            let _ = rustix::thread::sched_setaffinity(pid, &one);
        }
        Some(traced)
    }

    /// Waits until it has stopped. False if it is gone.
    fn stopped(&self) -> bool {
        let mut status = 0;
        // SAFETY: `status` is a place for it.
        let waited = unsafe { libc::waitpid(self.0, ptr::from_mut(&mut status), libc::__WALL) };
        waited == self.0 && libc::WIFSTOPPED(status)
    }

    /// One instruction. False if it is gone.
    pub fn step(&self) -> bool {
        // SAFETY: the process is stopped and traced by this thread.
        let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, 0) };
        stepped == 0 && self.stopped()
    }

    /// Kills it here.
    pub fn kill(self) {
        os::send(self.0.cast_unsigned(), Signal::KILL);
        while self.stopped() {}
    }

    /// Lets it go on.
    pub fn release(self) {
        // SAFETY: as in `step`.
        let _ = unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) };
    }
}

/// Lets process `tracer` trace this one where the system asks for that.
pub fn allow(tracer: u32) {
    // SAFETY: plain numbers.
    let _ = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::from(tracer)) };
}
