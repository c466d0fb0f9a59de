//! `StartMethod::Fork`: a child that inherits the memory of the process that asks for it.
//!
//! The child cannot be the supervisor's, so it gets a *minder* of its own: a second fork that
//! only watches. It is the child's parent, adopts its orphans, tells the supervisor how it ended,
//! and kills it when the supervisor is gone.
//!
//! # Safety
//!
//! Forks a process with one thread: nobody else can hold a lock in it.
#![allow(unsafe_code, reason = "forks the calling process")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::builder::{Plan, started};
use super::entry::{Failure, Outcome};
use super::{Process, StartError};
use crate::family::{self, Control, Family};
use crate::member::MemberId;
use crate::panic;
use crate::protocol::{self, Request};
use crate::status::ExitStatus;
use crate::sys;

/// The minder's pid, in the process that has to reap it.
#[derive(Debug)]
pub(super) struct Minder(Pid);

/// Minders whose handle went before they did.
static LEFT: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

impl Minder {
    /// Reaps the minder of a child that has ended: it ends right after telling of that.
    pub(super) fn reap(self) {
        sys::reap_silent_child(self.0, true);
    }

    /// Leaves the minder of a living child to be reaped at a later start.
    pub(super) fn leave(self) {
        let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|&pid| !sys::reap_silent_child(pid, false));
        left.push(self.0);
    }
}

pub(super) fn spawn<R: Serialize + DeserializeOwned>(
    family: &'static Family,
    plan: Plan,
    function: impl FnOnce() -> R,
) -> Result<Process<R>, StartError> {
    match sys::thread_count() {
        1 => {}
        count => return Err(StartError::Threads(count)),
    }
    let pair = || family::socket_pair().map_err(StartError::Descriptors);
    let (child_ours, child_theirs) = pair()?;
    let (minder_ours, minder_theirs) = pair()?;
    let (report_in, report_out) = pair()?;
    let request = Request::Adopt {
        daemon: plan.daemon,
        name: plan.name.clone(),
    };
    let (reply, _) = family.ask(&request, &[child_theirs.as_fd(), minder_theirs.as_fd()])?;
    drop((child_theirs, minder_theirs));
    let (id, _) = started(reply)?;
    // What lies in std's buffer must not be written twice.
    let _ = io::Write::flush(&mut io::stdout());
    // SAFETY: one thread, checked above.
    let minder = unsafe { sys::clone_silent() }.map_err(StartError::Refused)?;
    let Some(minder) = minder else {
        drop(report_in);
        mind(
            family,
            id,
            plan,
            child_ours,
            minder_ours,
            report_out,
            function,
        );
    };
    let minder = Minder(minder);
    drop((child_ours, minder_ours, report_out));
    let report = protocol::receive::<Result<u32, i32>>(&report_in);
    let (pid, pidfd) = match report {
        Ok((Ok(pid), fds)) => (pid, fds.into_iter().next()),
        Ok((Err(errno), _)) => {
            return Err(StartError::Refused(io::Error::from_raw_os_error(errno)));
        }
        Err(error) => return Err(StartError::Refused(error)),
    };
    let pidfd = pidfd.ok_or_else(|| StartError::Descriptors(rustix::io::Errno::MFILE.into()))?;
    Ok(Process {
        family,
        id,
        pid,
        pidfd,
        name: plan.name,
        daemon: plan.daemon,
        minder: Some(minder),
        taken: Mutex::new(false),
        value: PhantomData,
    })
}

/// The minder's whole life.
fn mind<R: Serialize>(
    family: &'static Family,
    id: MemberId,
    plan: Plan,
    child_socket: OwnedFd,
    socket: OwnedFd,
    report: OwnedFd,
    function: impl FnOnce() -> R,
) -> ! {
    let me = rustix::process::getpid();
    let _ = rustix::process::set_child_subreaper(Some(me));
    let events = sys::child_events();
    // SAFETY: the minder has one thread.
    let forked = unsafe { sys::fork() };
    let (child, events) = match (forked, events) {
        (Ok(None), _) => {
            drop((socket, report));
            be_born(family, me, id, plan, child_socket, function)
        }
        (Ok(Some(child)), Ok(events)) => (child, events),
        (Ok(Some(child)), Err(error)) => {
            let _ = rustix::process::kill_process(child, Signal::KILL);
            give_up(&report, &error)
        }
        (Err(error), _) => give_up(&report, &error),
    };
    let mut keep = [socket.as_raw_fd(), report.as_raw_fd(), events.as_raw_fd()];
    sys::close_all_but(&mut keep);
    let pid = child.as_raw_nonzero().get().cast_unsigned();
    let told = rustix::process::pidfd_open(child, PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|pidfd| protocol::send(&report, &Ok::<u32, i32>(pid), &[pidfd.as_fd()]));
    if told.is_err() {
        let _ = rustix::process::kill_process(child, Signal::KILL);
    }
    drop(report);
    let _ = protocol::send(&socket, &Request::Forked { pid }, &[]);
    let status = watch(child, &socket, &events);
    let _ = protocol::send(
        &socket,
        &Request::Ended {
            status: status.to_word(),
        },
        &[],
    );
    sys::exit_now(0)
}

fn give_up(report: &OwnedFd, error: &io::Error) -> ! {
    let _ = protocol::send(
        report,
        &Err::<u32, i32>(error.raw_os_error().unwrap_or(libc::EIO)),
        &[],
    );
    sys::exit_now(1)
}

/// Waits until the child, and all that descend from it, are gone.
fn watch(child: Pid, socket: &OwnedFd, events: &OwnedFd) -> ExitStatus {
    let mut ended = None;
    let mut listening = true;
    loop {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == child => ended = Some(read(status)),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return ended.unwrap_or_else(ExitStatus::unknown),
            }
        }
        if ended.is_some() {
            for pid in sys::children().into_iter().filter_map(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        let mut polled = [
            PollFd::new(events, PollFlags::IN),
            PollFd::new(socket, PollFlags::IN),
        ];
        let watched = if listening { 2 } else { 1 };
        let _ = rustix::event::poll(&mut polled[..watched], None);
        if listening && !polled[1].revents().is_empty() {
            // The supervisor has hung up: the family is over, or this child's parent is.
            listening = false;
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        let mut space = [0_u8; 128];
        let _ = rustix::io::read(events, &mut space);
    }
}

fn read(status: WaitStatus) -> ExitStatus {
    match status.terminating_signal() {
        Some(signal) => ExitStatus::signaled(signal, status.as_raw() & 0x80 != 0),
        None => ExitStatus::exited(status.exit_status().unwrap_or(255)),
    }
}

/// The child's whole life.
fn be_born<R: Serialize>(
    family: &'static Family,
    minder: Pid,
    id: MemberId,
    plan: Plan,
    socket: OwnedFd,
    function: impl FnOnce() -> R,
) -> ! {
    if rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_err()
        || rustix::process::getppid() != Some(minder)
    {
        sys::exit_now(1);
    }
    sys::unblock_signals();
    let told = plan.surroundings(family);
    let Ok(family) = Family::enter(family.arena(), id, Control::Connected(socket)) else {
        sys::exit_now(1)
    };
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    panic::install_hook();
    if plan.ignore_interrupts {
        sys::ignore_signal(libc::SIGINT);
    }
    let Some(mut outcome) = Outcome::new(family) else {
        sys::exit_now(101)
    };
    let arranged = super::entry::arrange(plan.streams, told, &mut plan.given.into_iter());
    match arranged {
        Err(error) => outcome.deliver::<R>(Err(Failure::Function(error.to_string()))),
        Ok(()) => {
            outcome.start();
            let value = panic::catch(function).map_err(Failure::Panicked);
            outcome.deliver(value);
        }
    }
    let code = outcome.commit();
    super::join_at_exit();
    let _ = io::Write::flush(&mut io::stdout());
    // Not `exit`: the handlers registered so far are the parent's.
    sys::exit_now(code)
}
