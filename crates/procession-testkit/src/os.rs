//! The raw system calls of the tests.
#![allow(unsafe_code, reason = "signals, crashes and the environment")]

use std::ffi::{CStr, OsStr, c_int};
use std::os::fd::RawFd;
use std::ptr;

use rustix::process::{Pid, Signal};

/// Sends `signal` to a process that may be gone by now.
pub fn send(pid: u32, signal: Signal) {
    // The first process of all, or a word that is no pid.
    assert!(pid > 1, "{signal:?} for process {pid}");
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// Sends `signal` to a process group.
pub fn send_group(leader: u32, signal: Signal) {
    let pid = Pid::from_raw(leader.cast_signed()).unwrap();
    rustix::process::kill_process_group(pid, signal).unwrap();
}

/// The parent of this process.
pub fn ppid() -> u32 {
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    parent.cast_unsigned()
}

/// Sleeps until a signal ends this process.
pub fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

/// Raises `signal` with its default effect.
pub fn raise(signal: c_int) {
    set_default(signal);
    // SAFETY: sends a signal to this thread.
    let _ = unsafe { libc::raise(signal) };
}

/// Ignores `signal`.
pub fn ignore(signal: c_int) {
    // SAFETY: sets no handler function.
    let _ = unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives `signal` its default effect.
pub fn set_default(signal: c_int) {
    // SAFETY: sets no handler function.
    let _ = unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Runs `handler` at each `signal`; system calls are interrupted by it.
pub fn handle(signal: c_int, handler: extern "C" fn(c_int)) {
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: the handlers of these tests make async-signal-safe calls only.
    let done = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// Blocks every signal in this thread.
pub fn block_all() {
    let mut all = std::mem::MaybeUninit::uninit();
    // SAFETY: initialises the set.
    let _ = unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: initialised above.
    let _ = unsafe { libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut()) };
}

/// Reads from an address that is mapped nowhere.
pub fn crash() {
    let nowhere = ptr::without_provenance::<u32>(16);
    // SAFETY: none. The first page is never mapped, which is what this is for.
    let _ = unsafe { ptr::read_volatile(nowhere) };
}

/// Ends the process without any handlers.
pub fn exit_at_once(code: c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Runs `handler` when this process exits.
pub fn at_exit(handler: extern "C" fn()) {
    // SAFETY: the handlers of these tests live for ever.
    assert_eq!(unsafe { libc::atexit(handler) }, 0);
}

/// Closes a descriptor that no object owns.
pub fn close(fd: RawFd) {
    // SAFETY: takes a number; the callers close standard descriptors, or what a test opened raw.
    let _ = unsafe { libc::close(fd) };
}

/// Duplicates `fd` to a number from `lowest` on, which programs executed from here inherit.
pub fn inheritable_copy(fd: RawFd, lowest: RawFd) -> RawFd {
    // SAFETY: takes numbers only.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD, lowest) };
    assert_ne!(copy, -1);
    copy
}

/// Whether a descriptor has this number.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// What `waitpid(-1, WNOHANG)` says: 0, a pid, or minus the error.
pub fn wait_for_any() -> i32 {
    // SAFETY: no place for a status.
    match unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) } {
        -1 => -std::io::Error::last_os_error().raw_os_error().unwrap(),
        pid => pid,
    }
}

/// Sets a variable of this process. Only where it has one thread, or no other looks.
pub fn set_variable(name: &str, value: impl AsRef<OsStr>) {
    // SAFETY: the callers' promise.
    unsafe { std::env::set_var(name, value) };
}

/// As [`set_variable`], for none.
pub fn remove_variable(name: &str) {
    // SAFETY: as in `set_variable`.
    unsafe { std::env::remove_var(name) };
}

/// Replaces this process by `sleep 1000`.
pub fn become_sleep() -> ! {
    let (path, seconds): (&CStr, &CStr) = (c"sleep", c"1000");
    // SAFETY: C strings, and a null pointer at the end of the list.
    let _ = unsafe {
        libc::execlp(
            path.as_ptr(),
            path.as_ptr(),
            seconds.as_ptr(),
            ptr::null::<libc::c_char>(),
        )
    };
    exit_at_once(98)
}

/// Forks behind the library's back. The child runs `child` and ends.
pub fn bare_fork(child: impl FnOnce() -> c_int) -> u32 {
    // SAFETY: called in programs with one thread.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => exit_at_once(child()),
        pid => pid.cast_unsigned(),
    }
}

/// Waits until child `pid`, whose end this program ignores, has ended.
pub fn wait_for_reaped(pid: u32) {
    // SAFETY: no place for a status, as there will be none.
    let waited = unsafe { libc::waitpid(pid.cast_signed(), ptr::null_mut(), 0) };
    assert_eq!(waited, -1);
}

/// The exit code of child `pid`.
pub fn exit_code_of(pid: u32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a place for it.
    let waited = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) };
    assert_eq!(waited, pid.cast_signed());
    assert!(libc::WIFEXITED(status), "wait status {status:#x}");
    libc::WEXITSTATUS(status)
}

/// Takes system call `number` away from this process and all that it starts, as an old kernel or
/// a sandbox would.
pub fn without_call(number: libc::c_long) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        // The number is the first field of what the filter sees.
        step(LOAD, 0, 0, 0),
        step(IF_EQUAL, 0, 1, number as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: plain numbers.
    let closed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(closed, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the filter lives until the call returns.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    assert_eq!(filtered, 0, "{}", std::io::Error::last_os_error());
}

/// Writes to whatever open descriptor has this number. Whether that went.
pub fn write_to(fd: c_int, bytes: &[u8]) -> bool {
    // SAFETY: reads `bytes` only.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) >= 0 }
}
