//! The family: one program and all the processes that it starts.
//!
//! A family begins when the program first uses it and ends with the program.
//!
//! # Safety
//!
//! Keeps the one pointer to the process's family. Families are leaked, so it never dangles.
#![allow(
    unsafe_code,
    reason = "keeps the process-wide family behind an atomic pointer"
)]

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::arena::{Arena, Block};
use crate::door::{self, Role};
use crate::image;
use crate::member::{self, FLAG_CLAIMED, FLAG_RELEASED, MemberId};
use crate::memory;
use crate::park::OWNER_DIED;
use crate::protocol::{self, Received, Reply, Request, Wait};
use crate::status::ExitStatus;
use crate::sys;

/// How long a new supervisor may take to reach its door. Ten times what a loaded machine needs.
const HELLO_WITHIN: Duration = Duration::from_secs(60);

/// How long a killed process may take to be gone.
const DEATH_WITHIN: Duration = Duration::from_secs(1);

static FAMILY: AtomicPtr<Family> = AtomicPtr::new(ptr::null_mut());
static FOUNDING: Mutex<()> = Mutex::new(());

/// This process's membership in its family.
#[derive(Debug)]
pub struct Family {
    arena: &'static Arena,
    me: MemberId,
    /// 1 here, 0 in a process forked behind our back.
    sentinel: &'static AtomicU8,
    pub(crate) control: Mutex<Control>,
}

/// The line to the supervisor.
#[derive(Debug)]
pub(crate) enum Control {
    /// The program has not needed a supervisor yet, or the last one died.
    Absent,
    Connected(Line),
    /// This *is* the supervisor: it asks nobody.
    Myself,
}

/// A connection to a supervisor.
#[derive(Debug)]
pub(crate) struct Line {
    socket: OwnedFd,
    /// The supervisor's pidfd, for the program, which has to see it dead.
    supervisor: Option<OwnedFd>,
}

impl Control {
    /// The line of a member, which ends with its supervisor.
    pub(crate) fn member(socket: OwnedFd) -> Control {
        Control::Connected(Line {
            socket,
            supervisor: None,
        })
    }
}

/// The family cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FamilyError {
    /// This process was started as a child, but neither the start-up hook nor
    /// [`init`](crate::init) took it over: `init()` must be the first line of `main`.
    InitNotCalled,
    /// A process started as supervisor did not get to [`init`](crate::init), or runs another
    /// build of the program.
    SupervisorNotReady(io::Error),
    /// The supervisor was killed while it was asked for something.
    SupervisorDied,
    /// A system call failed; the text says for what it was.
    System(&'static str, io::Error),
}

impl fmt::Display for FamilyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InitNotCalled => f.write_str(
                "this is a child process that was never taken over: call procession::init() first in main",
            ),
            Self::SupervisorNotReady(error) => write!(
                f,
                "the supervisor did not start (is procession::init() the first line of main?): {error}"
            ),
            Self::SupervisorDied => f.write_str("the family's supervisor was killed"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for FamilyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::SupervisorNotReady(error) | Self::System(_, error) => Some(error),
            _ => None,
        }
    }
}

impl Family {
    /// The family of this process, founded now if it has none.
    ///
    /// # Errors
    ///
    /// [`FamilyError::InitNotCalled`] in a child that ran past its entry;
    /// [`FamilyError::System`] if there is no memory or a needed system call is missing.
    pub fn current() -> Result<&'static Family, FamilyError> {
        match Self::existing() {
            Some(family) => Ok(family),
            None => Self::found(),
        }
    }

    /// The family of this process, if it has one already.
    #[inline]
    pub(crate) fn existing() -> Option<&'static Family> {
        // Acquire: pairs with the Release of `enter`.
        let family = FAMILY.load(Ordering::Acquire);
        // SAFETY: null or leaked by `enter`.
        let family = unsafe { family.as_ref() }?;
        // A copy of the program made by a bare `fork` is a program of its own.
        (family.sentinel.load(Ordering::Relaxed) != 0).then_some(family)
    }

    #[cold]
    fn found() -> Result<&'static Family, FamilyError> {
        let _founding = FOUNDING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = Self::existing() {
            return Ok(family);
        }
        if door::is_unopened() {
            return Err(FamilyError::InitNotCalled);
        }
        let failed = |error| FamilyError::System("shared memory for the family", error);
        let arena = Arena::create(image::build_id()).map_err(failed)?;
        let me = MemberId::new(member::PROGRAM, 1);
        if let Some(cell) = arena.member(me.slot()) {
            cell.set_name("MainProcess");
            cell.generation.store(1, Ordering::Relaxed);
            cell.pid.store(std::process::id(), Ordering::Relaxed);
            cell.state.store(member::RUNNING, Ordering::Relaxed);
        }
        let family = Self::enter(arena, me, Control::Absent).map_err(failed)?;
        sys::on_exit(crate::process::join_at_exit);
        Ok(family)
    }

    /// Makes this process member `me` of the family that shares `arena`.
    pub(crate) fn enter(
        arena: &'static Arena,
        me: MemberId,
        control: Control,
    ) -> io::Result<&'static Family> {
        let sentinel = sys::fork_sentinel()?;
        sentinel.store(1, Ordering::Relaxed);
        let family = Box::leak(Box::new(Family {
            arena,
            me,
            sentinel,
            control: Mutex::new(control),
        }));
        // Release: whoever sees the pointer sees the family.
        FAMILY.store(ptr::from_mut(family), Ordering::Release);
        // SAFETY: just leaked; only shared references exist from here on.
        Ok(unsafe { &*ptr::from_ref(family) })
    }

    /// The memory that all members share.
    #[must_use]
    #[inline]
    pub fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// Which member this process is.
    #[must_use]
    #[inline]
    pub fn me(&self) -> MemberId {
        self.me
    }

    /// Whether this process is the member that `self` speaks of, and not a fork of it.
    #[must_use]
    #[inline]
    pub fn is_present(&self) -> bool {
        self.sentinel.load(Ordering::Relaxed) != 0
    }

    /// Closes a forked child's copy of the line, which would keep the program's open.
    pub(crate) fn leave_line(&self) {
        *self.lock_control() = Control::Absent;
    }

    /// The supervisor's life word, in the process that has to act on its death.
    pub(crate) fn watched_life(&self) -> Option<&'static AtomicU32> {
        (self.me.slot() == member::PROGRAM && self.is_present())
            .then(|| &self.arena.header().life.0)
    }

    pub(crate) fn lock_control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the supervisor, starting one if there is none. Waits for the answer.
    pub(crate) fn ask(
        &'static self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Received<Reply>, FamilyError> {
        let failed = |error| FamilyError::System("asking the supervisor", error);
        let encode = |request: &Request| postcard::to_stdvec(request).map_err(io::Error::other);
        let mut bytes = encode(request).map_err(failed)?;
        let mut _large = None;
        if bytes.len() > protocol::MAX_PACKET {
            let mut block = Block::new(self, bytes.len())
                .map_err(io::Error::other)
                .map_err(failed)?;
            block.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
            bytes = encode(&Request::Large(block.id(), bytes.len() as u64)).map_err(failed)?;
            _large = Some(block);
        }
        let mut control = self.lock_control();
        loop {
            if matches!(*control, Control::Absent) {
                *control = Control::Connected(self.start_supervisor()?);
            }
            let Control::Connected(line) = &*control else {
                return Err(FamilyError::SupervisorDied);
            };
            match protocol::send_bytes(&line.socket, &bytes, descriptors, Wait::Forever) {
                Ok(()) => {}
                Err(error) if !is_disconnect(&error) => return Err(failed(error)),
                Err(_) => {
                    self.lose_supervisor(&mut control)?;
                    // It had not taken the request: ask the next one.
                    continue;
                }
            }
            // Asleep, not looking, though a fork takes about as long as a sleep and a wake-up: a new
            // process is put on a CPU where nothing runs, and two that are put on one stay there for
            // a while.
            let received = protocol::receive(&line.socket, Wait::Forever);
            return match received {
                Ok(answer) => {
                    self.claim(&answer.message);
                    Ok(answer)
                }
                Err(error) if !is_disconnect(&error) => Err(failed(error)),
                Err(_) => {
                    self.lose_supervisor(&mut control)?;
                    // It may have begun. Whatever it made has died with it.
                    Err(FamilyError::SupervisorDied)
                }
            };
        }
    }

    /// Notes, while the line is held, that a child is in this process's hands.
    fn claim(&self, answer: &Reply) {
        if let Reply::Started { id, .. } = answer
            && let Some(cell) = self.arena.member_cell(*id)
        {
            cell.flags.fetch_or(FLAG_CLAIMED, Ordering::Relaxed);
        }
    }

    /// Starts the program's own executable again, as supervisor.
    fn start_supervisor(&self) -> Result<Line, FamilyError> {
        let system = |what| move |error: rustix::io::Errno| FamilyError::System(what, error.into());
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let exe = rustix::fs::open("/proc/self/exe", flags, rustix::fs::Mode::empty())
            .map_err(system("opening /proc/self/exe"))?;
        let (ours, theirs) = socket_pair().map_err(|e| FamilyError::System("a socket pair", e))?;
        let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(system("a pidfd (Linux 5.3) of this process"))?;
        let exe = sys::above_stdio(exe).map_err(|e| FamilyError::System("a descriptor", e))?;
        let pidfd = sys::above_stdio(pidfd).map_err(|e| FamilyError::System("a descriptor", e))?;
        let arena = self.arena.fd();
        let keep = [
            theirs.as_raw_fd(),
            arena.as_raw_fd(),
            exe.as_raw_fd(),
            pidfd.as_raw_fd(),
        ];
        let environment = environment_for(Role::Supervisor, &keep);
        let environment: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
        let arguments = arguments();
        let arguments: Vec<&CStr> = arguments.iter().map(CString::as_c_str).collect();
        let pid = sys::spawn_detached(exe.as_fd(), &keep, &arguments, &environment)
            .map_err(|error| FamilyError::System("starting the supervisor", error))?;
        drop(theirs);
        // At once, while its number is still its.
        let supervisor =
            pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let line = Line {
            socket: ours,
            supervisor,
        };
        line.greet()?;
        // What this process made before the new supervisor knew of it.
        memory::for_each_live(|name, device, inode| {
            let told = protocol::send(&line.socket, &segment(name, device, inode, true), &[]);
            let _ = told.and_then(|()| protocol::receive::<Reply>(&line.socket, Wait::Forever));
        });
        Ok(line)
    }

    /// Acts on the death of the supervisor, for a thread that was woken by it.
    #[cold]
    pub(crate) fn bury_supervisor(&self) {
        let mut control = self.lock_control();
        // Another thread may have been faster.
        if self.arena.header().life.0.load(Ordering::Acquire) & OWNER_DIED != 0 {
            self.bury(&mut control);
        }
    }

    /// The line is broken: sees to it that the supervisor is dead, and acts on that.
    fn lose_supervisor(&self, control: &mut Control) -> Result<(), FamilyError> {
        if self.me.slot() != member::PROGRAM {
            // This member ends with its supervisor.
            return Err(FamilyError::SupervisorDied);
        }
        if let Control::Connected(Line {
            supervisor: Some(pidfd),
            ..
        }) = control
        {
            let _ = rustix::process::pidfd_send_signal(&*pidfd, Signal::KILL);
            let _ = wait_readable(&*pidfd, DEATH_WITHIN);
        }
        self.bury(control);
        Ok(())
    }

    /// Its members die with a supervisor; they are settled here.
    fn bury(&self, control: &mut Control) {
        *control = Control::Absent;
        let members = self
            .arena
            .members()
            .filter(|(id, cell)| id.slot() > member::PROGRAM && cell.is_unheard_of());
        let dead: Vec<u32> = members
            .map(|(id, cell)| {
                await_death(cell.pid.load(Ordering::Relaxed));
                id.slot()
            })
            .collect();
        // First all locks, then the rest.
        self.arena.release_locks(member::SUPERVISOR);
        dead.iter().for_each(|&slot| self.arena.release_locks(slot));
        self.arena.settle_heap(member::SUPERVISOR, None);
        dead.iter()
            .for_each(|&slot| self.settle(slot, ExitStatus::supervisor_killed()));
        // Children that were made when the supervisor died, and that nobody has heard of.
        for (id, cell) in self.arena.members() {
            if cell.parent_id() == self.me && !cell.has(FLAG_CLAIMED) {
                cell.flags.fetch_or(FLAG_RELEASED, Ordering::Relaxed);
                crate::process::discard_result(self, id, cell);
            }
        }
        // Release: after this a new supervisor may take the table over.
        self.arena.header().life.0.store(0, Ordering::Release);
        self.announce();
    }
}

impl Line {
    /// Waits until the new supervisor is ready.
    fn greet(&self) -> Result<(), FamilyError> {
        let hello = wait_readable(&self.socket, HELLO_WITHIN)
            .and_then(|()| protocol::receive(&self.socket, Wait::Forever));
        let refused = match hello.map(|hello| hello.message) {
            Ok(Reply::Hello {
                version: protocol::VERSION,
            }) => return Ok(()),
            Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "it speaks another version"),
            Err(error) if is_disconnect(&error) => {
                io::Error::new(error.kind(), "it ended before it was ready")
            }
            Err(error) => error,
        };
        if let Some(supervisor) = &self.supervisor {
            // It may run the program's `main`, where it has no business.
            let _ = rustix::process::pidfd_send_signal(supervisor, Signal::KILL);
        }
        Err(FamilyError::SupervisorNotReady(refused))
    }
}

/// Tells the supervisor, started if need be, which named segment to remove when this process dies.
pub(crate) fn register_segment(name: &str, device: u64, inode: u64, remove: bool) {
    // Without a supervisor the name outlives a kill, until a later program's sweep.
    if let Ok(family) = Family::current() {
        let _ = family.ask(&segment(name, device, inode, remove), &[]);
    }
}

fn segment(name: &str, device: u64, inode: u64, remove: bool) -> Request {
    Request::Segment {
        name: name.to_owned(),
        device,
        inode,
        remove,
    }
}

/// Sees to it that `pid`, a member of a dead supervisor, is dead.
///
/// The kernel kills it too, at its parent's death; unless it has changed its user id since.
fn await_death(pid: u32) {
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else {
        return;
    };
    let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    // With the handle in hand the number cannot change owners: is it still ours?
    let maps = sys::maps_arena(pid.as_raw_nonzero().get().cast_unsigned());
    if maps {
        let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
    }
    if maps || sys::is_dying(pid) {
        // Bounded: a process in an uninterruptible sleep does nothing more, but does not end.
        let _ = wait_readable(&handle, DEATH_WITHIN);
    }
}

/// Waits until `fd` is readable or its other side is gone.
pub(crate) fn wait_readable(fd: impl AsFd, within: Duration) -> io::Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::time::Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut polled = [PollFd::new(&fd, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof
    )
}

/// Two connected packet sockets, neither on a standard descriptor.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
    Ok((sys::above_stdio(one)?, sys::above_stdio(other)?))
}

/// This program's arguments, for its copies.
pub(crate) fn arguments() -> Vec<CString> {
    std::env::args_os()
        .filter_map(|a| CString::new(a.into_vec()).ok())
        .collect()
}

/// This program's environment, plus what a child needs to find its way.
pub(crate) fn environment_for(role: Role, descriptors: &[i32]) -> Vec<CString> {
    let own = std::env::vars_os().filter_map(|(name, value)| {
        let mut entry = name.into_vec();
        entry.push(b'=');
        entry.extend(value.into_vec());
        CString::new(entry).ok()
    });
    own.chain([door::entry(role, descriptors)]).collect()
}
