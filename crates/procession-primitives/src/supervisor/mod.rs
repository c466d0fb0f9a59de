//! The supervisor: makes every process of the family, reaps it and settles what it held.
//!
//! It is the program's own executable started again, single-threaded, and nobody's child, so that
//! the program's own `wait` and signal handling never meet it. It sleeps in `epoll`, on
//!
//! - `SIGCHLD`: a member, or an orphan that a dead member left, has ended;
//! - the program's pidfd: the program has ended, so everything ends;
//! - one socket per member: requests.
//!
//! Whoever is a child of the supervisor without being a member was a descendant of a dead one (a
//! living member adopts its own orphans), and is killed.

mod birth;

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::arena::{Arena, BlockId};
use crate::family::{Control, Family};
use crate::image;
use crate::member::{self, FLAG_RELEASED, MemberId};
use crate::park;
use crate::protocol::{self, Refusal, Reply, Request, VERSION};
use crate::status::ExitStatus;
use crate::surroundings;
use crate::sys;

/// Epoll's names for what is not a member's socket.
const CHILDREN: u64 = u64::MAX;
const PROGRAM_END: u64 = u64::MAX - 1;
/// Added to a slot for the line of the member's minder.
const MINDER: u64 = 1 << 32;

/// Signals for whole groups of processes: the program decides, and the supervisor follows it.
const IGNORED: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// A named segment to be removed when its creator dies.
#[derive(PartialEq)]
struct Segment {
    name: String,
    device: u64,
    inode: u64,
}

struct Supervisor {
    family: &'static Family,
    exe: OwnedFd,
    epoll: OwnedFd,
    events: OwnedFd,
    /// Sockets by epoll name.
    lines: HashMap<u64, OwnedFd>,
    /// Slots of the members that are this process's children, by pid.
    children: HashMap<i32, u32>,
    segments: HashMap<u32, Vec<Segment>>,
    /// Where the last search for a free slot ended.
    rover: u32,
    oom_kills: Option<u64>,
}

/// Enters the supervisor's life. `descriptors`: control socket, arena, executable, program's pidfd.
pub(crate) fn run(descriptors: &[RawFd]) -> i32 {
    match serve(descriptors) {
        Ok(()) => 0,
        // The program sees the socket close; there is nobody else to tell.
        Err(_) => 1,
    }
}

fn serve(descriptors: &[RawFd]) -> io::Result<()> {
    let [socket, arena, exe, program] = take(descriptors)?;
    sys::close_all_but(&mut descriptors.to_vec());
    sys::reset_signals();
    for signal in IGNORED {
        sys::ignore_signal(signal);
    }
    sys::ignore_signal(libc::SIGPIPE);
    let _ = rustix::thread::set_name(c"procession");
    let me = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(me))?;
    let arena = Arena::attach(arena, image::build_id())?;
    let family = Family::enter(arena, MemberId::new(member::SUPERVISOR, 0), Control::Myself)?;
    let life = &arena.header().life.0;
    // Release: a program that sees the id sees a table that this supervisor may use.
    life.store(
        me.as_raw_nonzero().get().cast_unsigned() | park::WAITERS,
        Ordering::Release,
    );
    sys::mark_on_death(life)?;
    surroundings::publish(arena);
    let mut supervisor = Supervisor {
        family,
        exe,
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        events: sys::child_events()?,
        lines: HashMap::new(),
        children: HashMap::new(),
        segments: HashMap::new(),
        rover: member::PROGRAM,
        oom_kills: sys::oom_kills(),
    };
    supervisor.watch(&supervisor.events, CHILDREN)?;
    supervisor.watch(&program, PROGRAM_END)?;
    protocol::send(&socket, &Reply::Hello { version: VERSION }, &[])?;
    supervisor.add_line(u64::from(member::PROGRAM), socket)?;
    supervisor.work();
    supervisor.end();
    Ok(())
}

fn take(descriptors: &[RawFd]) -> io::Result<[OwnedFd; 4]> {
    let mut owned = Vec::new();
    for &fd in descriptors {
        owned.push(crate::process::own_inherited(fd)?);
    }
    owned
        .try_into()
        .map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl Supervisor {
    fn watch(&self, fd: impl AsFd, name: u64) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(name),
            EventFlags::IN,
        )?)
    }

    fn add_line(&mut self, name: u64, socket: OwnedFd) -> io::Result<()> {
        self.watch(&socket, name)?;
        self.lines.insert(name, socket);
        Ok(())
    }

    /// Serves until the program ends.
    fn work(&mut self) {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 64];
        loop {
            let Ok((ready, _)) = epoll::wait(&self.epoll, &mut space, None) else {
                continue;
            };
            let names: Vec<u64> = ready.iter().map(|event| event.data.u64()).collect();
            for name in names {
                match name {
                    PROGRAM_END => return,
                    CHILDREN => self.reap(),
                    line => {
                        if !self.hear(line) && line == u64::from(member::PROGRAM) {
                            // The program has closed its line or become another program.
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Answers one request. False if that line is closed.
    fn hear(&mut self, line: u64) -> bool {
        let Some(socket) = self.lines.get(&line) else {
            return true;
        };
        let (request, descriptors) = match protocol::receive::<Request>(socket) {
            Ok(heard) => heard,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.hang_up(line);
                return false;
            }
            Err(error) => {
                let what = match error.raw_os_error() {
                    Some(libc::ECONNRESET) => {
                        self.hang_up(line);
                        return false;
                    }
                    Some(libc::EMFILE) => Refusal::Descriptors,
                    _ => Refusal::BadRequest,
                };
                let errno = error.raw_os_error().unwrap_or(libc::EPROTO);
                self.answer(line, &Reply::Failed { what, errno }, None);
                return true;
            }
        };
        self.act(line, request, descriptors);
        true
    }

    fn act(&mut self, line: u64, request: Request, descriptors: Vec<OwnedFd>) {
        let slot = line as u32;
        match request {
            Request::Start(start) if line < MINDER => {
                let (reply, pidfd) = self.start(slot, *start, descriptors);
                self.answer(line, &reply, pidfd);
            }
            Request::Large(block, len) if line < MINDER => {
                match self.read_large(slot, block, len) {
                    Some(request) => self.act(line, request, descriptors),
                    None => self.answer(line, &bad_request(), None),
                }
            }
            Request::Adopt { daemon, name } if line < MINDER => {
                let reply = self.adopt(slot, daemon, &name, descriptors);
                self.answer(line, &reply, None);
            }
            Request::Forked { pid } if line >= MINDER => {
                if let Some(cell) = self.family.arena().member(slot) {
                    cell.pid.store(pid, Ordering::Relaxed);
                }
            }
            Request::Ended { status } if line >= MINDER => {
                self.bury(slot, ExitStatus::from_word(status));
            }
            Request::Segment {
                name,
                device,
                inode,
                remove,
            } => {
                let segment = Segment {
                    name,
                    device,
                    inode,
                };
                let segments = self.segments.entry(slot).or_default();
                segments.retain(|known| *known != segment);
                if remove {
                    segments.push(segment);
                }
                self.answer(line, &Reply::Done, None);
            }
            _ => self.answer(line, &bad_request(), None),
        }
    }

    fn answer(&mut self, line: u64, reply: &Reply, descriptor: Option<OwnedFd>) {
        let Some(socket) = self.lines.get(&line) else {
            return;
        };
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        // A member that no longer listens is dead or about to be.
        let _ = protocol::send(socket, reply, &descriptors);
    }

    fn read_large(&self, slot: u32, block: BlockId, len: u64) -> Option<Request> {
        let owner = self
            .family
            .arena()
            .member(slot)?
            .generation
            .load(Ordering::Relaxed);
        let bytes =
            crate::process::read_block(self.family, block, MemberId::new(slot, owner), len)?;
        match postcard::from_bytes(&bytes).ok()? {
            Request::Large(..) => None,
            request => Some(request),
        }
    }

    fn hang_up(&mut self, line: u64) {
        self.lines.remove(&line);
        if line >= MINDER && line < PROGRAM_END {
            // A minder that goes without a word was killed, and its child with it.
            self.bury(line as u32, ExitStatus::unknown());
        }
    }

    /// Reaps whoever has ended.
    fn reap(&mut self) {
        let mut space = [0_u8; 128];
        while rustix::io::read(&self.events, &mut space).is_ok_and(|read| read == space.len()) {}
        let mut ended = Vec::new();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            ended.push((pid, status));
        }
        for (pid, _) in &ended {
            // First forget the dead, so that the search below finds orphans only.
            if let Some(&slot) = self.children.get(&pid.as_raw_nonzero().get()) {
                self.lines.remove(&u64::from(slot));
            }
        }
        let dead: Vec<(u32, WaitStatus)> = ended
            .iter()
            .filter_map(|(pid, status)| {
                Some((self.children.remove(&pid.as_raw_nonzero().get())?, *status))
            })
            .collect();
        if !ended.is_empty() {
            self.kill_orphans();
        }
        for (slot, status) in dead {
            let status = self.read_status(slot, status);
            self.bury(slot, status);
        }
    }

    fn read_status(&mut self, slot: u32, status: WaitStatus) -> ExitStatus {
        if let Some(signal) = status.terminating_signal() {
            let core = status.as_raw() & 0x80 != 0;
            let memory = (signal == libc::SIGKILL)
                .then(|| self.was_out_of_memory())
                .flatten();
            return ExitStatus::signaled(signal, core).with_out_of_memory(memory);
        }
        let code = status.exit_status().unwrap_or(255);
        let cell = self.family.arena().member(slot);
        match cell.map_or(0, |cell| cell.start_error.load(Ordering::Relaxed)) {
            0 => ExitStatus::exited(code),
            errno => ExitStatus::not_started(errno.cast_signed()),
        }
    }

    fn was_out_of_memory(&mut self) -> Option<bool> {
        let now = sys::oom_kills()?;
        let before = self.oom_kills.replace(now)?;
        Some(now > before)
    }

    /// Settles a dead member, and ends those that it started.
    fn bury(&mut self, slot: u32, status: ExitStatus) {
        let arena = self.family.arena();
        let Some(cell) = arena.member(slot) else {
            return;
        };
        let id = MemberId::new(slot, cell.generation.load(Ordering::Relaxed));
        self.lines.remove(&u64::from(slot));
        self.lines.remove(&(MINDER + u64::from(slot)));
        remove_segments(self.segments.remove(&slot));
        self.family.settle(slot, status);
        let below: Vec<u32> = arena
            .members()
            .filter(|(_, cell)| cell.parent_id() == id && cell.is_alive())
            .map(|(id, _)| id.slot())
            .collect();
        for slot in below {
            self.kill(slot);
        }
        // Pairs with the fence in `release`: one of the two sees that both are true.
        std::sync::atomic::fence(Ordering::SeqCst);
        if cell.has(FLAG_RELEASED) {
            crate::process::discard_result(self.family, cell);
        }
    }

    /// Ends a member: directly, or through the minder whose child it is.
    fn kill(&mut self, slot: u32) {
        let child = self
            .children
            .iter()
            .find(|(_, of)| **of == slot)
            .map(|(&pid, _)| pid);
        if let Some(pid) = child.and_then(Pid::from_raw) {
            // Our own child, not yet reaped: the number is still its.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        if self.lines.remove(&(MINDER + u64::from(slot))).is_some() {
            self.bury(slot, ExitStatus::signaled(libc::SIGKILL, false));
        }
    }

    fn kill_orphans(&self) {
        for pid in sys::children() {
            if !self.children.contains_key(&pid)
                && let Some(pid) = Pid::from_raw(pid)
            {
                // A child of ours that we have not reaped: the number is still its.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }

    /// The program has ended: nobody and nothing of the family stays.
    fn end(mut self) {
        self.lines.clear();
        for pid in self.children.keys().copied().filter_map(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        for (_, segments) in self.segments.drain() {
            remove_segments(Some(segments));
        }
        self.children.clear();
        let _ = crate::memory::SharedMemory::remove_stale();
        // Each death may hand us orphans, until no child is left.
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::empty()) {
            self.kill_orphans();
        }
    }
}

fn remove_segments(segments: Option<Vec<Segment>>) {
    for segment in segments.unwrap_or_default() {
        crate::memory::unlink_if(&segment.name, segment.device, segment.inode);
    }
}

fn bad_request() -> Reply {
    Reply::Failed {
        what: Refusal::BadRequest,
        errno: libc::EPROTO,
    }
}
