//! How the supervisor makes a member: by forking itself, or by executing the program again.
//!
//! # Safety
//!
//! Forks. The supervisor has one thread, so the child may do anything.
#![allow(unsafe_code, reason = "forks the single-threaded supervisor")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Resource, Signal};

use super::{MINDER, Supervisor};
use crate::arena::MAX_MEMBERS;
use crate::door::Role;
use crate::family::{self, Control, Family};
use crate::member::{self, FLAG_DAEMON, FLAG_RELEASED, MemberCell, MemberId};
use crate::process;
use crate::protocol::{self, Method, Payload, Refusal, Reply, Start, Wait};
use crate::sys;

type Failure = (Refusal, io::Error);

/// What a new process is, in its own hands.
struct Newborn {
    id: MemberId,
    cell: &'static MemberCell,
    start: Start,
    socket: OwnedFd,
    /// What it reads after it has executed the program again, if it has to.
    letter: Option<OwnedFd>,
    descriptors: Vec<OwnedFd>,
}

impl Supervisor {
    pub(super) fn start(
        &mut self,
        parent: u32,
        start: Start,
        descriptors: Vec<OwnedFd>,
    ) -> (Reply, Option<OwnedFd>) {
        match self.try_start(parent, start, descriptors) {
            Ok((id, pid, pidfd)) => {
                let pid = pid.as_raw_nonzero().get().cast_unsigned();
                (Reply::Started { id, pid }, Some(pidfd))
            }
            Err(failure) => (failed(failure), None),
        }
    }

    fn try_start(
        &mut self,
        parent: u32,
        start: Start,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(MemberId, Pid, OwnedFd), Failure> {
        let socket = |error| (Refusal::Socket, error);
        let (ours, theirs) = family::socket_pair().map_err(socket)?;
        let (id, cell) = self.reserve(parent, start.daemon, &start.name)?;
        let letter = match start.method {
            Method::Spawn => Some(letter(id, &start).map_err(|error| {
                release_slot(cell);
                (Refusal::Descriptors, error)
            })?),
            _ => None,
        };
        let block = match start.argument {
            Payload::Block(block, _) => Some(block),
            Payload::Inline(_) => None,
        };
        if let Some(block) = block {
            process::pass_block(self.family, block, parent, id.slot());
        }
        let me = rustix::process::getpid();
        // SAFETY: the supervisor has one thread.
        let forked = unsafe { sys::fork() };
        let undo = |supervisor: &Self| {
            if let Some(block) = block {
                process::pass_block(supervisor.family, block, id.slot(), parent);
            }
            release_slot(cell);
        };
        let pid = match forked {
            Err(error) => {
                undo(self);
                return Err((Refusal::Fork, error));
            }
            Ok(None) => {
                let newborn = Newborn {
                    id,
                    cell,
                    start,
                    socket: theirs,
                    letter,
                    descriptors,
                };
                let code = self.be_born(me, newborn);
                std::process::exit(code)
            }
            Ok(Some(pid)) => pid,
        };
        cell.pid.store(
            pid.as_raw_nonzero().get().cast_unsigned(),
            Ordering::Relaxed,
        );
        self.children.insert(pid.as_raw_nonzero().get(), id.slot());
        let minded = self.mind(id, pid, &start, &descriptors, ours);
        match minded {
            Ok(pidfd) => Ok((id, pid, pidfd)),
            Err(failure) => {
                // Nobody would learn of it: it must not live. Reaped and settled as any other.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                cell.flags.fetch_or(FLAG_RELEASED, Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    /// The parent's side of a birth.
    fn mind(
        &mut self,
        id: MemberId,
        pid: Pid,
        start: &Start,
        descriptors: &[OwnedFd],
        socket: OwnedFd,
    ) -> Result<OwnedFd, Failure> {
        let failed = |error| (Refusal::Descriptors, error);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(|error| failed(error.into()))?;
        let limited = start.limits.impose(pid);
        limited.map_err(|error| (Refusal::Limits, error))?;
        if start.method == Method::Spawn {
            // Waits in the socket until the new program has entered.
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            protocol::send(&socket, &Reply::Done, &descriptors).map_err(failed)?;
        } else if start.limits.are_imposed() {
            protocol::send(&socket, &Reply::Done, &[]).map_err(failed)?;
        }
        self.add_line(u64::from(id.slot()), socket)
            .map_err(failed)?;
        Ok(pidfd)
    }

    /// The child's side of a birth. Returns its exit code.
    fn be_born(&self, supervisor: Pid, newborn: Newborn) -> i32 {
        let Newborn {
            id,
            cell,
            start,
            socket,
            letter,
            descriptors,
        } = newborn;
        cell.pid.store(std::process::id(), Ordering::Relaxed);
        if rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_err()
            || rustix::process::getppid() != Some(supervisor)
        {
            sys::exit_now(1);
        }
        if start.ignore_interrupts {
            // Before one that came already is let through. Outlives an `execve`.
            sys::ignore_signal(libc::SIGINT);
        }
        sys::unblock_signals();
        let _ = rustix::process::setrlimit(Resource::Nofile, self.descriptor_limit);
        // The supervisor's hook ends the process.
        drop(std::panic::take_hook());
        if let Some(letter) = letter {
            let error = self.execute(&socket, &letter);
            cell.start_error.store(
                error.raw_os_error().unwrap_or(libc::EIO).cast_unsigned(),
                Ordering::Relaxed,
            );
            sys::exit_now(127);
        }
        if start.limits.are_imposed() && protocol::receive::<Reply>(&socket, Wait::Forever).is_err()
        {
            sys::exit_now(1);
        }
        let mut keep: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        keep.push(socket.as_raw_fd());
        let arena = self.family.arena();
        keep.push(arena.fd().as_raw_fd());
        sys::close_all_but(&mut keep);
        match Family::enter(arena, id, Control::member(socket)) {
            Ok(family) => process::live(family, start, descriptors),
            Err(_) => 1,
        }
    }

    fn execute(&self, socket: &OwnedFd, letter: &OwnedFd) -> io::Error {
        let arena = self.family.arena().fd();
        let keep = [socket.as_raw_fd(), arena.as_raw_fd(), letter.as_raw_fd()];
        let environment = family::environment_for(Role::Member, &keep);
        let environment: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
        let arguments = family::arguments();
        let arguments: Vec<&CStr> = arguments.iter().map(CString::as_c_str).collect();
        sys::execute_now(self.exe.as_fd(), &keep, &arguments, &environment)
    }

    /// Enters the child that a member is about to fork itself.
    pub(super) fn adopt(
        &mut self,
        parent: u32,
        daemon: bool,
        name: &str,
        sockets: Vec<OwnedFd>,
    ) -> Reply {
        let Ok([child, minder]) = <[OwnedFd; 2]>::try_from(sockets) else {
            return Reply::Failed {
                what: Refusal::BadRequest,
                errno: libc::EPROTO,
            };
        };
        let (id, cell) = match self.reserve(parent, daemon, name) {
            Ok(reserved) => reserved,
            Err(failure) => return failed(failure),
        };
        let added = self
            .add_line(u64::from(id.slot()), child)
            .and_then(|()| self.add_line(MINDER + u64::from(id.slot()), minder));
        if let Err(error) = added {
            self.lines.remove(&u64::from(id.slot()));
            release_slot(cell);
            return failed((Refusal::Socket, error));
        }
        Reply::Started { id, pid: 0 }
    }

    /// Takes a free slot of the member table.
    fn reserve(
        &mut self,
        parent: u32,
        daemon: bool,
        name: &str,
    ) -> Result<(MemberId, &'static MemberCell), Failure> {
        let full = || {
            (
                Refusal::TableFull,
                io::Error::from_raw_os_error(libc::EAGAIN),
            )
        };
        let arena = self.family.arena();
        // The lowest one: whoever walks the table walks as little of it as possible.
        let (slot, cell) = (member::PROGRAM + 1..MAX_MEMBERS as u32)
            .find_map(|slot| {
                Some((
                    slot,
                    arena.member(slot).filter(|cell| is_spare(arena, cell))?,
                ))
            })
            .ok_or_else(full)?;
        let last = MemberId::new(slot, cell.generation.load(Ordering::Relaxed));
        if cell.state.load(Ordering::Relaxed) != member::FREE {
            process::discard_result(self.family, last, cell);
        }
        let generation = cell
            .generation
            .load(Ordering::Relaxed)
            .wrapping_add(1)
            .max(1);
        cell.set_name(name);
        cell.parent.store(parent, Ordering::Relaxed);
        let parents = arena
            .member(parent)
            .map_or(0, |cell| cell.generation.load(Ordering::Relaxed));
        cell.parent_generation.store(parents, Ordering::Relaxed);
        cell.flags
            .store(if daemon { FLAG_DAEMON } else { 0 }, Ordering::Relaxed);
        for word in [&cell.pid, &cell.start_error, &cell.phase, &cell.keeps] {
            word.store(0, Ordering::Relaxed);
        }
        for word in [&cell.status, &cell.result, &cell.result_len] {
            word.store(0, Ordering::Relaxed);
        }
        cell.generation.store(generation, Ordering::Relaxed);
        arena
            .header()
            .members_end
            .fetch_max(slot + 1, Ordering::Release);
        // Release: whoever sees the state sees the cell made ready.
        cell.state.store(member::STARTING, Ordering::Release);
        Ok((MemberId::new(slot, generation), cell))
    }
}

/// What an executed member reads when it has entered: who it is and what to run.
fn letter(id: MemberId, start: &Start) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(c"procession-start", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(sys::above_stdio(fd)?);
    file.write_all(&postcard::to_stdvec(&(id, start)).map_err(io::Error::other)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Whether nobody will ask for this cell's last user any more.
fn is_spare(arena: &crate::arena::Arena, cell: &MemberCell) -> bool {
    match cell.state.load(Ordering::Acquire) {
        member::FREE => true,
        member::EXITED => {
            let parent = arena.member_cell(cell.parent_id());
            cell.has(FLAG_RELEASED) || !parent.is_some_and(MemberCell::is_alive)
        }
        _ => false,
    }
}

/// Gives back a slot in which no process was made.
fn release_slot(cell: &MemberCell) {
    cell.state.store(member::FREE, Ordering::Release);
}

fn failed((what, error): Failure) -> Reply {
    Reply::Failed {
        what,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}
