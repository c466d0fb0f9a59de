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

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::builder::{Plan, abandon, refusal, started};
use super::entry::{self, Failure, Outcome};
use super::{Process, StartError};
use crate::family::{self, Control, Family};
use crate::interrupts;
use crate::member::MemberId;
use crate::object;
use crate::panic;
use crate::park;
use crate::protocol::{self, Refusal, Request, Wait};
use crate::status::ExitStatus;
use crate::sys::{self, ChildAction, SignalMask};

/// The minder's pid, in the process that has to reap it.
#[derive(Debug)]
pub(super) struct Minder(Pid);

/// Minders that were still there when their handle went.
static LEFT: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// How long a minder may take to go after its child: it has orphans to see off.
const GOES_WITHIN: Duration = Duration::from_millis(100);

impl Minder {
    /// Reaps the minder of a child that has ended, if it goes soon; else at a later start.
    pub(super) fn reap(self) {
        if let Ok(pidfd) = rustix::process::pidfd_open(self.0, PidfdFlags::empty()) {
            let _ = family::wait_readable(&pidfd, GOES_WITHIN);
        }
        self.leave();
    }

    /// Leaves the minder to be reaped at a later start.
    pub(super) fn leave(self) {
        let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(self.0);
        drop(left);
        sweep();
    }
}

/// Reaps the minders that have gone since.
fn sweep() {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.retain(|&pid| !sys::reap_silent_child(pid));
}

pub(super) fn spawn<R: Serialize + DeserializeOwned>(
    family: &'static Family,
    plan: Plan,
    function: impl FnOnce() -> R,
) -> Result<Process<R>, StartError> {
    // A thread that was joined may be listed for a moment longer.
    let alone = park::spin(|| matches!(sys::thread_count(), Ok(1)).then_some(1));
    match alone.map_or_else(sys::thread_count, Ok) {
        Ok(1) => {}
        Ok(count) => return Err(StartError::Threads(count)),
        Err(error) => return Err(StartError::Descriptors(error)),
    }
    sweep();
    let pair = || family::socket_pair().map_err(StartError::Descriptors);
    let (child_ours, child_theirs) = pair()?;
    let (minder_ours, minder_theirs) = pair()?;
    let (report_in, report_out) = pair()?;
    let request = Request::Adopt {
        daemon: plan.daemon,
        name: plan.name.clone(),
    };
    let answer = family.ask(&request, &[child_theirs.as_fd(), minder_theirs.as_fd()])?;
    drop((child_theirs, minder_theirs));
    let (id, _) = started(answer.message)?;
    // The child inherits our handles.
    object::bequeath(family, id);
    // What lies in std's buffer must not be written twice.
    let _ = io::stdout().flush();
    // The minder must not die of what is meant for the program, nor run its handlers.
    let mask = SignalMask::block_all();
    // SAFETY: one thread, checked above.
    let cloned = unsafe { sys::clone_silent() };
    if let Ok(None) = cloned {
        drop(report_in);
        let sockets = Sockets {
            child: child_ours,
            minder: minder_ours,
            report: report_out,
        };
        mind(family, id, plan, sockets, mask, function);
    }
    mask.restore();
    drop((child_ours, minder_ours, report_out));
    let refused = |error| {
        abandon(family, id);
        StartError::Refused(error)
    };
    let minder = cloned.map_err(refused)?.map(Minder);
    let report = protocol::receive::<Report>(&report_in, Wait::Forever);
    let failed = match report {
        Ok(report) => match (report.message, report.descriptors.into_iter().next()) {
            (Ok(pid), Some(pidfd)) => {
                if let Some(cell) = family.arena().member_cell(id) {
                    // The child does so too, but may not have come to it.
                    cell.pid.store(pid, Ordering::Relaxed);
                }
                return Ok(Process {
                    family,
                    id,
                    pid,
                    pidfd,
                    name: plan.name,
                    daemon: plan.daemon,
                    minder,
                    taken: Mutex::new(false),
                    value: PhantomData,
                });
            }
            (Ok(_), None) => StartError::Descriptors(rustix::io::Errno::MFILE.into()),
            (Err((what, errno)), _) => refusal(what, io::Error::from_raw_os_error(errno)),
        },
        Err(error) => StartError::Refused(error),
    };
    abandon(family, id);
    if let Some(minder) = minder {
        minder.reap();
    }
    Err(failed)
}

/// What a minder says of the child: its process id, or why there is none.
type Report = Result<u32, (Refusal, i32)>;

/// The minder's and the child's ends of the lines.
struct Sockets {
    child: OwnedFd,
    minder: OwnedFd,
    report: OwnedFd,
}

/// The minder's whole life.
fn mind<R: Serialize>(
    family: &'static Family,
    id: MemberId,
    plan: Plan,
    sockets: Sockets,
    mask: SignalMask,
    function: impl FnOnce() -> R,
) -> ! {
    let me = rustix::process::getpid();
    let _ = rustix::process::set_child_subreaper(Some(me));
    let action = ChildAction::set_default();
    let events = sys::child_events();
    // Where the child waits for its limits.
    let gate = plan.limits.are_imposed().then(io::pipe).transpose();
    // SAFETY: the minder has one thread.
    let forked = unsafe { sys::fork() };
    let Sockets {
        child: child_socket,
        minder: socket,
        report,
    } = sockets;
    let (child, events) = match (forked, events) {
        (Ok(None), _) => {
            drop((socket, report));
            pass(gate);
            action.restore();
            family.leave_line();
            be_born(family, me, id, plan, child_socket, mask, function)
        }
        (Ok(Some(child)), Ok(events)) => (child, events),
        (Ok(Some(child)), Err(error)) => {
            let _ = rustix::process::kill_process(child, Signal::KILL);
            give_up(&report, Refusal::Fork, &error)
        }
        (Err(error), _) => give_up(&report, Refusal::Fork, &error),
    };
    if let Err((what, error)) = limit(child, &plan, gate) {
        let _ = rustix::process::kill_process(child, Signal::KILL);
        give_up(&report, what, &error)
    }
    sys::close_all_but(&mut [socket.as_raw_fd(), report.as_raw_fd(), events.as_raw_fd()]);
    let pid = child.as_raw_nonzero().get().cast_unsigned();
    let told = rustix::process::pidfd_open(child, PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|pidfd| protocol::send(&report, &Report::Ok(pid), &[pidfd.as_fd()]));
    if told.is_err() {
        let _ = rustix::process::kill_process(child, Signal::KILL);
    }
    drop(report);
    watch(child, &socket, &events);
    sys::exit_now(0)
}

/// A pipe, if one is needed and there could be one.
type Gate = io::Result<Option<(PipeReader, PipeWriter)>>;

/// The minder's side of the limits.
fn limit(child: Pid, plan: &Plan, gate: Gate) -> Result<(), (Refusal, io::Error)> {
    let gate = gate.map_err(|error| (Refusal::Descriptors, error))?;
    let limited = plan.limits.impose(child);
    limited.map_err(|error| (Refusal::Limits, error))?;
    match gate {
        Some((_, mut writer)) => writer.write_all(b"!"),
        None => Ok(()),
    }
    .map_err(|error| (Refusal::Fork, error))
}

/// The child's side of the limits: waits until it has them.
fn pass(gate: Gate) {
    let passed = match gate {
        Ok(None) => Ok(()),
        Ok(Some((mut reader, writer))) => {
            drop(writer);
            reader.read_exact(&mut [0])
        }
        Err(error) => Err(error),
    };
    if passed.is_err() {
        sys::exit_now(1);
    }
}

fn give_up(report: &OwnedFd, what: Refusal, error: &io::Error) -> ! {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let _ = protocol::send(report, &Report::Err((what, errno)), &[]);
    sys::exit_now(1)
}

/// Waits until the child, and all that descend from it, are gone. Tells the supervisor of the
/// child's end.
fn watch(child: Pid, socket: &OwnedFd, events: &OwnedFd) {
    let mut ended = false;
    let mut listening = true;
    loop {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == child => {
                    ended = true;
                    kill_children();
                    let status = read(status).to_word();
                    let _ = protocol::send(socket, &Request::Ended { status }, &[]);
                    listening = false;
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if ended {
            kill_children();
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

fn kill_children() {
    for pid in sys::children().into_iter().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
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
    mask: SignalMask,
    function: impl FnOnce() -> R,
) -> ! {
    let told = plan.surroundings(family);
    if rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_err()
        || rustix::process::getppid() != Some(minder)
    {
        sys::exit_now(1);
    }
    let Ok(family) = Family::enter(family.arena(), id, Control::member(socket)) else {
        sys::exit_now(1)
    };
    if announce(family).is_err() {
        sys::exit_now(1);
    }
    interrupts::leave_inherited();
    if plan.ignore_interrupts {
        // Before one that came already is let through.
        sys::ignore_signal(libc::SIGINT);
    }
    mask.restore();
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    panic::install_hook();
    let Some(mut outcome) = Outcome::new(family) else {
        sys::exit_now(101)
    };
    let arranged = entry::arrange(plan.streams, told, &mut plan.given.into_iter());
    let own = family.arena().member_cell(family.me());
    match arranged.and_then(|()| plan.limits.accept(own)) {
        Err(error) => outcome.deliver::<R>(Err(Failure::Function(error.to_string()))),
        Ok(()) => {
            outcome.start();
            let value = panic::catch(function).map_err(Failure::Panicked);
            outcome.deliver(value);
        }
    }
    let code = outcome.commit();
    super::join_at_exit();
    let _ = io::stdout().flush();
    // Not `exit`: the handlers registered so far are the parent's.
    sys::exit_now(code)
}

/// Gives the supervisor a handle of this process, so that it can see its death whatever happens
/// to the minder.
fn announce(family: &'static Family) -> io::Result<()> {
    if let Some(cell) = family.arena().member_cell(family.me()) {
        cell.pid.store(std::process::id(), Ordering::Relaxed);
    }
    let me = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let answer = family.ask(&Request::Born, &[me.as_fd()]);
    answer.map(drop).map_err(io::Error::other)
}
