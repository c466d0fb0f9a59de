//! The few system calls and kernel files that rustix has no function for.
//!
//! # Safety
//!
//! Raw calls into libc. What runs between `clone` or `fork` and `exec` is async-signal-safe.
#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// A random number from the kernel.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(8) => u64::from_ne_bytes(bytes),
        // Only ever used to tell families apart: time and pid do as well.
        _ => {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            (now.tv_nsec as u64) << 32 ^ rustix::process::getpid().as_raw_nonzero().get() as u64
        }
    }
}

/// The same descriptor with a number of 3 or above, for programs started without 0, 1 or 2.
pub(crate) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= 3 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

/// How often the kernel has killed for want of memory, as far as it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OomKills {
    /// On the whole machine.
    machine: Option<u64>,
    /// In this process's control group.
    group: Option<u64>,
}

impl OomKills {
    /// Reads the counters.
    pub(crate) fn read() -> OomKills {
        OomKills {
            machine: OomKills::of_machine(),
            group: OomKills::of_group(),
        }
    }

    fn of_machine() -> Option<u64> {
        OomKills::count(&std::fs::read_to_string("/proc/vmstat").ok()?)
    }

    fn of_group() -> Option<u64> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let events = format!("/sys/fs/cgroup{path}/memory.events");
        OomKills::count(&std::fs::read_to_string(events).ok()?)
    }

    fn count(text: &str) -> Option<u64> {
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix("oom_kill "))?;
        count.trim().parse().ok()
    }

    /// Whether the kernel has killed one of ours since the counters were read; `None` if it does not tell.
    pub(crate) fn have_grown(&mut self) -> Option<bool> {
        let machine = OomKills::of_machine();
        if machine.is_some() && machine == self.machine {
            return Some(false);
        }
        // Somebody was killed for it: one of ours, or one in another container.
        let group = OomKills::of_group();
        let before = std::mem::replace(self, OomKills { machine, group });
        Some(group? > before.group?)
    }
}

/// Whether process `pid` still has the arena mapped. False when it ends or runs another program.
pub(crate) fn maps_arena(pid: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"));
    maps.is_ok_and(|maps| maps.contains("memfd:procession-arena"))
}

/// Whether process `pid` is on its way out: its memory is gone, its number not yet.
pub(crate) fn is_dying(pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero();
    std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.is_empty())
}

/// Forks. The child runs on with a copy of everything.
///
/// # Safety
///
/// The process has one thread, or the child only makes async-signal-safe calls.
pub(crate) unsafe fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the caller's promise.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Forks a child that sends no signal at its end and that the program's own `wait` does not see.
///
/// libc does not know of it, so the child only makes system calls and forks again.
///
/// # Safety
///
/// The process has one thread.
pub(crate) unsafe fn clone_silent() -> io::Result<Option<Pid>> {
    // SAFETY: no flags: a plain fork without an exit signal.
    match unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// Reaps a child made by [`clone_silent`] if it has ended. Whether it is gone.
pub(crate) fn reap_silent_child(pid: Pid) -> bool {
    let options = libc::__WALL | libc::WNOHANG;
    // SAFETY: asks for one process, without a place for its status.
    let reaped = unsafe { libc::waitpid(pid.as_raw_nonzero().get(), ptr::null_mut(), options) };
    reaped != 0
}

/// Ends this process at once: no handlers, no flushing.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Runs `at_exit` when the process ends by `exit` or by returning from `main`.
pub(crate) fn on_exit(at_exit: extern "C" fn()) {
    // SAFETY: registers a function that lives for ever; a refusal only loses the courtesy.
    let _ = unsafe { libc::atexit(at_exit) };
}

/// Closes every descriptor from 3 on that is not in `keep`.
pub(crate) fn close_all_but(keep: &mut [RawFd]) {
    keep.sort_unstable();
    let mut from = 3;
    for &fd in keep.iter() {
        if fd > from {
            close_range(from, fd - 1);
        }
        from = from.max(fd + 1);
    }
    close_range(from, c_int::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: takes numbers only. Callers own no descriptor object in this range any more.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done != 0 {
        // Linux 5.9 has the call; some sandboxes refuse it.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let end = limit.unwrap_or(4096).min(1 << 20) as RawFd;
        for fd in first..=last.min(end) {
            // SAFETY: as above.
            let _ = unsafe { libc::close(fd) };
        }
    }
}

/// Opens `/dev/null` on each of 0, 1, 2 that is closed.
pub(crate) fn fill_stdio() {
    for fd in 0..3 {
        // SAFETY: only asks whether the number is open.
        let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1;
        if !open {
            // SAFETY: opens the lowest free number, which is `fd`; it is meant to stay open.
            let _ = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// The standard descriptor `fd` of this process, which may be closed.
pub(crate) fn standard(fd: RawFd) -> BorrowedFd<'static> {
    debug_assert!((0..3).contains(&fd));
    // SAFETY: no object owns a standard descriptor, so none is used behind its owner's back.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Puts `source` on the standard descriptor `target` of this process.
pub(crate) fn put_on(source: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: replaces a standard descriptor, which no object owns.
    match unsafe { libc::dup2(source.as_raw_fd(), target) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes ownership of a descriptor whose number came with this process.
///
/// # Safety
///
/// Nothing else in this process owns `fd`.
pub(crate) unsafe fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only asks whether the number is open.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the caller promises that it is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives all signals their default disposition, and then blocks just `blocked`.
///
/// Apart from those of std, which tell of a stack overflow. This process was started with all of
/// them blocked, so none slips through.
pub(crate) fn reset_signals(blocked: &[c_int]) {
    for signal in 1..=64 {
        if ![libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS].contains(&signal) {
            set_disposition(signal, libc::SIG_DFL);
        }
    }
    set_mask(blocked);
}

/// Ignores `signal`.
pub(crate) fn ignore_signal(signal: c_int) {
    set_disposition(signal, libc::SIG_IGN);
}

fn set_disposition(signal: c_int, handler: libc::sighandler_t) {
    // SAFETY: sets no handler function. Numbers that libc keeps for itself are refused.
    let _ = unsafe { libc::signal(signal, handler) };
}

fn set_mask(blocked: &[c_int]) {
    let set = signal_set(blocked);
    // SAFETY: `set` was initialised by `signal_set`.
    let _ = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) };
}

fn signal_set(signals: &[c_int]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: initialises the set.
    let _ = unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised above.
    let mut set = unsafe { set.assume_init() };
    for &signal in signals {
        // SAFETY: an initialised set.
        let _ = unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// This thread's signal mask, as it was before everything was blocked.
#[derive(Clone, Copy)]
pub(crate) struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// Blocks all signals.
    pub(crate) fn block_all() -> SignalMask {
        let mut all = signal_set(&[]);
        // SAFETY: an initialised set.
        let _ = unsafe { libc::sigfillset(&raw mut all) };
        let mut old = signal_set(&[]);
        // SAFETY: two initialised sets.
        let _ = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut old) };
        SignalMask(old)
    }

    /// Makes the mask what it was.
    pub(crate) fn restore(self) {
        // SAFETY: an initialised set.
        let _ =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// What this process did with `SIGCHLD` before it was given its default disposition.
#[derive(Clone, Copy)]
pub(crate) struct ChildAction(libc::sigaction);

impl ChildAction {
    /// Gives `SIGCHLD` its default disposition: ignored, it would not even be queued.
    pub(crate) fn set_default() -> ChildAction {
        // SAFETY: all zeros is a valid `sigaction`: the default disposition, no flags.
        let default: libc::sigaction = unsafe { std::mem::zeroed() };
        let mut old = default;
        // SAFETY: two initialised actions.
        let _ = unsafe { libc::sigaction(libc::SIGCHLD, &raw const default, &raw mut old) };
        ChildAction(old)
    }

    /// Makes the disposition what it was.
    pub(crate) fn restore(self) {
        // SAFETY: an action that was in force in this program.
        let _ = unsafe { libc::sigaction(libc::SIGCHLD, &raw const self.0, ptr::null_mut()) };
    }
}

/// Makes `SIGCHLD`, which is blocked, readable from a descriptor.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    let set = signal_set(&[libc::SIGCHLD]);
    // SAFETY: a new descriptor from an initialised set.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Unblocks all signals again, in a process forked after [`child_events`].
pub(crate) fn unblock_signals() {
    set_mask(&[]);
}

/// The children of this single-threaded process, by pid.
pub(crate) fn children() -> Vec<i32> {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    if let Ok(list) = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")) {
        return list
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
    }
    // A kernel without that file: ask every process for its parent.
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| parent_of(pid) == Some(me)).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// How many threads this process has.
pub(crate) fn thread_count() -> io::Result<usize> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace());
    let count = fields.and_then(|mut fields| fields.nth(17)?.parse().ok());
    count.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The kernel's list of locks to mark when a thread dies, with one entry.
#[repr(C)]
struct RobustList {
    next: *mut c_void,
    offset: libc::c_long,
    pending: *mut c_void,
    entry: *mut c_void,
}

/// Asks the kernel to set `FUTEX_OWNER_DIED` in `word`, and to wake a sleeper, when this thread dies.
///
/// The word must hold this thread's id and `FUTEX_WAITERS` for that. Replaces libc's own list, so
/// only for the supervisor, which takes no robust mutexes.
pub(crate) fn mark_on_death(word: &'static std::sync::atomic::AtomicU32) -> io::Result<()> {
    let list = Box::leak(Box::new(RobustList {
        next: ptr::null_mut(),
        offset: 0,
        pending: ptr::null_mut(),
        entry: ptr::null_mut(),
    }));
    let head = ptr::from_mut(list);
    let entry = (&raw mut list.entry).cast::<c_void>();
    list.next = entry;
    list.entry = head.cast();
    list.offset = (word.as_ptr().addr() as libc::c_long).wrapping_sub(entry.addr() as libc::c_long);
    // The kernel's head has three words; the entry is our fourth.
    let len = std::mem::offset_of!(RobustList, entry);
    // SAFETY: the list is leaked and circular as the kernel wants it.
    match unsafe { libc::syscall(libc::SYS_set_robust_list, head, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A page that reads as 0 in a process that was forked from this one.
pub(crate) fn fork_sentinel() -> io::Result<&'static std::sync::atomic::AtomicU8> {
    let len = rustix::param::page_size();
    let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
    let flags = rustix::mm::MapFlags::PRIVATE;
    // SAFETY: a new private mapping.
    let page = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, protection, flags) }?;
    // SAFETY: advice on the page made above.
    unsafe { rustix::mm::madvise(page, len, rustix::mm::Advice::LinuxWipeOnFork) }?;
    // SAFETY: mapped, zeroed and never unmapped.
    Ok(unsafe { &*page.cast::<std::sync::atomic::AtomicU8>() })
}

/// Everything that the process between this one and a detached child needs, made beforehand.
struct Detached<'a> {
    exe: RawFd,
    keep: &'a [RawFd],
    argv: &'a [*const c_char],
    envp: &'a [*const c_char],
    errno: c_int,
    pid: c_int,
}

/// Executes `exe` in a process that is nobody's child: the user's own `wait` never meets it.
///
/// `keep` stay open in it, under the same numbers. Does not copy this process, so its size does
/// not matter, nor do its threads.
pub(crate) fn spawn_detached(
    exe: BorrowedFd<'_>,
    keep: &[RawFd],
    argv: &[&CStr],
    envp: &[&CStr],
) -> io::Result<Option<Pid>> {
    let pointers = |strings: &[&CStr]| {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([ptr::null()])
            .collect::<Vec<_>>()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    let mut plan = Detached {
        exe: exe.as_raw_fd(),
        keep,
        argv: &argv,
        envp: &envp,
        errno: 0,
        pid: 0,
    };
    let mut stack = vec![0_u128; 4096];
    // A signal handler of the program must not run in a process that shares its memory.
    let mask = SignalMask::block_all();
    // No exit signal: the go-between is invisible to the program's SIGCHLD handling and `wait`.
    // It returns here when it is gone, so the borrowed stack and plan outlive it.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let plan_at = (&raw mut plan).cast::<c_void>();
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    // SAFETY: `go_between` makes system calls only, on its own stack, and ends by `_exit`.
    let pid = unsafe { libc::clone(go_between, top, flags, plan_at) };
    let failed = (pid == -1).then(io::Error::last_os_error);
    let mut status = 0;
    if pid != -1 {
        // SAFETY: reaps the go-between, which has ended; `__WALL` because it has no exit signal.
        while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
    mask.restore();
    if libc::WIFSIGNALED(status) {
        // Killed from outside, so the child proper may still be using all of this.
        std::mem::forget((stack, argv, envp));
        return Err(io::Error::other("the go-between was killed"));
    }
    // The clones wrote to the plan behind the compiler's back.
    // SAFETY: `plan` is alive and initialised.
    let errno = unsafe { ptr::read_volatile(&raw const plan.errno) };
    // SAFETY: as above.
    let pid = unsafe { ptr::read_volatile(&raw const plan.pid) };
    match (failed, errno) {
        (Some(error), _) => Err(error),
        (None, 0) => Ok(Pid::from_raw(pid)),
        (None, errno) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Starts the child proper and ends, which makes that one nobody's child.
extern "C" fn go_between(plan: *mut c_void) -> c_int {
    let mut stack = [0_u128; 2048];
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: as in `spawn_detached`.
    let pid = unsafe { libc::clone(execute, top, flags, plan) };
    // SAFETY: `plan` is the `Detached` of `spawn_detached`, which waits for us.
    let plan = unsafe { &mut *plan.cast::<Detached<'_>>() };
    match pid {
        -1 => plan.errno = errno(),
        pid => plan.pid = pid,
    }
    0
}

extern "C" fn execute(plan: *mut c_void) -> c_int {
    // SAFETY: as in `go_between`; it waits for us, so nobody else touches the plan.
    let plan = unsafe { &mut *plan.cast::<Detached<'_>>() };
    for &fd in plan.keep {
        // SAFETY: this process has its own descriptor table; takes numbers only.
        let _ = unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
    let (argv, envp) = (plan.argv.as_ptr(), plan.envp.as_ptr());
    let path = c"".as_ptr();
    // SAFETY: null-terminated arrays of C strings that `spawn_detached` holds.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            plan.exe,
            path,
            argv,
            envp,
            libc::AT_EMPTY_PATH,
        )
    };
    plan.errno = errno();
    127
}

/// The last error of this thread.
pub(crate) fn errno() -> c_int {
    // SAFETY: only returns an address.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own errno.
    unsafe { *errno }
}

/// Replaces this process by `exe`. Returns the error if that fails.
pub(crate) fn execute_now(
    exe: BorrowedFd<'_>,
    keep: &[RawFd],
    argv: &[&CStr],
    envp: &[&CStr],
) -> io::Error {
    let argv: Vec<_> = argv
        .iter()
        .map(|s| s.as_ptr())
        .chain([ptr::null()])
        .collect();
    let envp: Vec<_> = envp
        .iter()
        .map(|s| s.as_ptr())
        .chain([ptr::null()])
        .collect();
    let mut plan = Detached {
        exe: exe.as_raw_fd(),
        keep,
        argv: &argv,
        envp: &envp,
        errno: 0,
        pid: 0,
    };
    execute((&raw mut plan).cast());
    io::Error::from_raw_os_error(plan.errno)
}
