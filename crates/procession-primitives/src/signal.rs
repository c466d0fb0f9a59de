//! Signal handlers, each as short as can be: they run in the middle of anything.
//!
//! # Safety
//!
//! What a handler does is async-signal-safe: it reads and writes atomics and makes system calls.
#![allow(unsafe_code, reason = "signal handlers are set by raw calls")]

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::member::{FLAG_OUT_OF_MEMORY, MemberCell};
use crate::sys;

/// What the kernel calls with the signal, where it came from, and the interrupted registers.
pub(crate) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// What a process does at a signal.
#[derive(Clone, Copy)]
pub(crate) struct Action(libc::sigaction);

impl Action {
    /// What this process does at `signal` now.
    pub(crate) fn of(signal: c_int) -> io::Result<Action> {
        // SAFETY: all zeros is a valid `sigaction`.
        let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks; `now` is initialised.
        match unsafe { libc::sigaction(signal, ptr::null(), &raw mut now) } {
            0 => Ok(Action(now)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        self.0.sa_sigaction == libc::SIG_DFL
    }

    pub(crate) fn is_ignored(&self) -> bool {
        self.0.sa_sigaction == libc::SIG_IGN
    }

    /// Calls `handler` at a signal, on the thread's signal stack if it has one.
    pub(crate) fn calling(handler: Handler, flags: c_int) -> Action {
        // SAFETY: all zeros is a valid `sigaction`: an empty mask, among others.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
        Action(action)
    }

    /// Has this process do so at `signal` from now on.
    pub(crate) fn set(&self, signal: c_int) -> io::Result<()> {
        // SAFETY: made by `calling` from a function that lives for ever, or in force before.
        match unsafe { libc::sigaction(signal, &raw const self.0, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Runs `work` in a handler such that whatever it interrupts finds its last error as it was.
pub(crate) fn preserving_errno(work: impl FnOnce()) {
    let errno = sys::errno();
    work();
    // SAFETY: only returns an address.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own errno.
    unsafe { *place = errno };
}

/// The flags of this process's own entry in the member table, for [`on_abort`].
static FLAGS: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
/// The process whose entry that is: a copy of it made by a bare `fork` has none.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Has a failed allocation of this process marked in its `cell`, unless the program handles
/// `SIGABRT` itself.
pub(crate) fn mark_want_of_memory(cell: &'static MemberCell) {
    FLAGS.store(ptr::from_ref(&cell.flags).cast_mut(), Ordering::Relaxed);
    // Release: pairs with `on_abort`.
    OWNER.store(std::process::id(), Ordering::Release);
    if Action::of(libc::SIGABRT).is_ok_and(|action| action.is_default()) {
        // Refused, it costs a reason for a death.
        let _ = Action::calling(on_abort, libc::SA_RESETHAND).set(libc::SIGABRT);
    }
}

/// Whether [`mark_want_of_memory`] was called in this process or in one that it is a fork of.
pub(crate) fn marks_want_of_memory() -> bool {
    OWNER.load(Ordering::Relaxed) != 0
}

/// What aborts after a failed allocation leaves `ENOMEM` as the last error of its thread.
extern "C" fn on_abort(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let failed = sys::errno() == libc::ENOMEM;
    let me = std::process::id();
    // SAFETY: the kernel passes where the signal came from.
    let info = unsafe { &*info };
    // SAFETY: whoever sends a signal by number fills the field in; else it is another number.
    let from = unsafe { info.si_pid() };
    // Acquire: whoever sees the owner sees its entry.
    if failed && from.cast_unsigned() == me && OWNER.load(Ordering::Acquire) == me {
        let flags = FLAGS.load(Ordering::Relaxed);
        // SAFETY: null, or a word of the arena, which stays mapped while the process lives.
        if let Some(flags) = unsafe { flags.as_ref() } {
            flags.fetch_or(FLAG_OUT_OF_MEMORY, Ordering::Relaxed);
        }
    }
    // Blocked until this returns, and then, with `SA_RESETHAND`, the end.
    // SAFETY: takes a number.
    let _ = unsafe { libc::raise(libc::SIGABRT) };
}
