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
mod requests;

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus};

use crate::arena::Arena;
use crate::family::{Control, Family};
use crate::image;
use crate::member::{self, FLAG_LEFT, FLAG_RELEASED, MemberId};
use crate::park;
use crate::protocol::{self, Reply, VERSION};
use crate::status::ExitStatus;
use crate::surroundings;
use crate::sys::{self, OomKills};

/// Epoll's names for what is not a member's socket.
const CHILDREN: u64 = u64::MAX;
const PROGRAM_END: u64 = u64::MAX - 1;
/// Added to a slot for the line of the member's minder.
const MINDER: u64 = 1 << 32;
/// Added to a slot for the pidfd of an adopted member whose minder was killed.
const ADOPTED: u64 = 2 << 32;

/// How long a member that has closed its line may take to end before it is looked at.
const SILENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Signals for whole groups of processes, on which the program decides. Blocked and not ignored:
/// one that is sent to a new process before it has come to life takes effect when it has.
/// `SIGCHLD` is read from a descriptor.
const BLOCKED: [i32; 5] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGCHLD,
];

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
    /// Adopted members, which are children of their minders, by slot.
    adopted: HashMap<u32, OwnedFd>,
    segments: HashMap<u32, Vec<Segment>>,
    /// Members that have closed their line, and may or may not be about to end.
    silent: Vec<u32>,
    /// The limit on descriptors that members get, as the program had it.
    descriptor_limit: Rlimit,
    /// Counted up to the last death by `SIGKILL`; not yet at the start, which it would slow down.
    oom_kills: Option<OomKills>,
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
    // A panic must not close the lines before the kernel marks this process dead.
    std::panic::set_hook(Box::new(|_| sys::exit_now(101)));
    sys::reset_signals(&BLOCKED);
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
        adopted: HashMap::new(),
        segments: HashMap::new(),
        silent: Vec::new(),
        descriptor_limit: raise_descriptor_limit(),
        oom_kills: None,
    };
    supervisor.watch(&supervisor.events, CHILDREN)?;
    supervisor.watch(&program, PROGRAM_END)?;
    protocol::send(&socket, &Reply::Hello { version: VERSION }, &[])?;
    supervisor.add_line(u64::from(member::PROGRAM), socket)?;
    supervisor.work();
    supervisor.end();
    Ok(())
}

/// The supervisor has a socket per member. Returns what the limit was.
fn raise_descriptor_limit() -> Rlimit {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    limit
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

    /// Waits for something to do: names of what is ready, or nothing if there was time for less
    /// urgent things.
    fn next_events(&self) -> Vec<u64> {
        let now = Timespec::default();
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 64];
        let mut ready = |timeout| match epoll::wait(&self.epoll, &mut space, timeout) {
            Ok((ready, _)) => ready.iter().map(|event| event.data.u64()).collect(),
            Err(_) => Vec::new(),
        };
        if !self.silent.is_empty() {
            // A member is about to end: that takes less than a sleep and a wake-up.
            let soon = park::spin(|| Some(ready(Some(&now))).filter(|names| !names.is_empty()));
            if let Some(names) = soon {
                return names;
            }
        }
        let quiet = self.silent.is_empty() && self.oom_kills.is_some();
        ready((!quiet).then_some(&SILENCE))
    }

    /// Serves until the program ends.
    fn work(&mut self) {
        loop {
            let names = self.next_events();
            if names.is_empty() {
                self.look_at_silent();
                self.oom_kills.get_or_insert_with(OomKills::read);
            }
            for name in names {
                match name {
                    PROGRAM_END => return,
                    CHILDREN => self.reap(),
                    line if line >= ADOPTED => self.bury(line as u32, ExitStatus::unknown()),
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

    /// The other side of a line has closed it.
    fn hang_up(&mut self, line: u64) {
        self.lines.remove(&line);
        let slot = line as u32;
        if line < MINDER {
            // As a rule it ends, and is reaped in a moment. Else: see `look_at_silent`.
            self.silent.push(slot);
            return;
        }
        // A minder that goes without a word was killed. The kernel kills its child too, but a
        // moment later: until then nothing that it holds may go to somebody else.
        match self.adopted.get(&slot) {
            Some(pidfd) => {
                let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
                if self.watch(pidfd, ADOPTED + u64::from(slot)).is_err() {
                    self.bury(slot, ExitStatus::unknown());
                }
            }
            None => self.bury(slot, ExitStatus::unknown()),
        }
    }

    /// Looks at members that have closed their line and did not end at once.
    ///
    /// One that runs another program now left the arena in the middle of whatever its threads did.
    /// One that closed descriptors which it did not know just lives on.
    fn look_at_silent(&mut self) {
        for slot in std::mem::take(&mut self.silent) {
            let arena = self.family.arena();
            let Some(cell) = arena.member(slot).filter(|cell| cell.is_alive()) else {
                continue;
            };
            if !sys::maps_arena(cell.pid.load(Ordering::Relaxed)) {
                // Release: whoever sees that it left sees what it did before.
                cell.flags.fetch_or(FLAG_LEFT, Ordering::Release);
                arena.release_locks(slot);
                if !self.family.sweep_for(slot) {
                    arena.header().objects.0.ask_for_sweep();
                    self.family.sweep_missed();
                }
                self.family.announce();
            }
        }
    }

    /// Reaps whoever has ended.
    fn reap(&mut self) {
        let mut space = [0_u8; 128];
        while rustix::io::read(&self.events, &mut space).is_ok_and(|read| read == space.len()) {}
        let mut ended = Vec::new();
        // Whether anybody is left who could be an orphan.
        let others = loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(death)) => ended.push(death),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
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
        if others && !ended.is_empty() {
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

    /// Whether the last death by SIGKILL was the kernel's doing, for want of memory.
    fn was_out_of_memory(&mut self) -> Option<bool> {
        match &mut self.oom_kills {
            Some(before) => before.have_grown(),
            before => {
                *before = Some(OomKills::read());
                None
            }
        }
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
        self.adopted.remove(&slot);
        self.silent.retain(|silent| *silent != slot);
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
            crate::process::discard_result(self.family, id, cell);
        }
    }

    /// Ends a member. It is settled when it is dead.
    fn kill(&mut self, slot: u32) {
        if let Some(pidfd) = self.adopted.get(&slot) {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
            return;
        }
        let Some(cell) = self.family.arena().member(slot) else {
            return;
        };
        let pid = cell.pid.load(Ordering::Relaxed).cast_signed();
        if self.children.get(&pid) == Some(&slot)
            && let Some(pid) = Pid::from_raw(pid)
        {
            // Our own child, not yet reaped: the number is still its.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
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
