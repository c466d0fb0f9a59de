//! The two doors by which a child process enters: [`init`] in `main`, and a start-up hook.
//!
//! A program that calls [`init`] first in `main` has its children come in there, with the whole
//! of std's runtime set up. Where nobody calls it (tests, doctests, benches, examples) the hook,
//! which the loader runs before `main`, takes the child over. Either way the child never gets
//! into the user's `main`.
//!
//! # Safety
//!
//! Reads the environment before `main`, and places a function where the loader runs it.
#![allow(unsafe_code, reason = "a hook that the loader calls before main")]

use std::ffi::{CStr, CString, c_char};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys;

/// Says to a new process that it is one of ours: door, role and descriptors.
const VARIABLE: &CStr = c"PROCESSION_CHILD";

static INIT_CALLED: AtomicBool = AtomicBool::new(false);

/// What a new process is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Supervisor,
    Member,
}

/// Takes over this process if it was started as a child; returns at once in the program itself.
///
/// Call it first in `main`: what stands before it runs again in each child that is started by
/// executing the program (the supervisor, and processes of
/// [`StartMethod::Spawn`](crate::StartMethod::Spawn)). Where nobody calls it, children are taken
/// over before `main` instead; see the crate's documentation for what differs.
///
/// # Examples
///
/// ```no_run
/// fn main() -> procession_primitives::Result<()> {
///     procession_primitives::init();
///     let process = procession_primitives::Process::spawn(|n: u64| n * n, 10)?;
///     assert_eq!(process.join()?, 100);
///     Ok(())
/// }
/// ```
pub fn init() {
    INIT_CALLED.store(true, Ordering::Relaxed);
    if let Some(visitor) = Visitor::announced()
        && visitor.door == Door::Main
    {
        visitor.enter();
    }
}

/// Whether this process was meant to be a child, and is running the program's code instead.
pub(crate) fn is_unopened() -> bool {
    std::env::var_os(VARIABLE.to_str().unwrap_or_default()).is_some()
}

/// The environment entry that makes a new process enter as `role`, with these descriptors open.
pub(crate) fn entry(role: Role, descriptors: &[RawFd]) -> CString {
    let door = if INIT_CALLED.load(Ordering::Relaxed) {
        "main"
    } else {
        "early"
    };
    let role = match role {
        Role::Supervisor => "supervisor",
        Role::Member => "member",
    };
    let numbers: Vec<String> = descriptors.iter().map(ToString::to_string).collect();
    let name = VARIABLE.to_str().unwrap_or_default();
    let entry = format!("{name}={door}:{role}:{}", numbers.join(","));
    CString::new(entry).unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Main,
    Early,
}

/// A process that was started as a child and has not entered yet.
struct Visitor {
    door: Door,
    role: Role,
    descriptors: Vec<RawFd>,
}

impl Visitor {
    fn announced() -> Option<Visitor> {
        let value = raw_variable()?.to_str().ok()?;
        let mut parts = value.split(':');
        let door = match parts.next()? {
            "main" => Door::Main,
            "early" => Door::Early,
            _ => return None,
        };
        let role = match parts.next()? {
            "supervisor" => Role::Supervisor,
            "member" => Role::Member,
            _ => return None,
        };
        let descriptors = parts
            .next()?
            .split(',')
            .map(|n| n.parse().ok())
            .collect::<Option<_>>()?;
        Some(Visitor {
            door,
            role,
            descriptors,
        })
    }

    fn enter(self) -> ! {
        // So that what this process executes is not taken for a child.
        // SAFETY: before any other thread of this process.
        unsafe { std::env::remove_var(VARIABLE.to_str().unwrap_or_default()) };
        sys::fill_stdio();
        sys::ignore_signal(libc::SIGPIPE);
        let role = self.role;
        // A panic must not unwind into the loader.
        let code = std::panic::catch_unwind(move || match role {
            Role::Supervisor => crate::supervisor::run(&self.descriptors),
            Role::Member => crate::process::enter_executed(&self.descriptors),
        });
        std::process::exit(code.unwrap_or(101))
    }
}

/// The variable, read without std: before `main` std must not be touched in the program itself.
fn raw_variable() -> Option<&'static CStr> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: libc's own list, set before any constructor runs.
    let mut at = unsafe { environ };
    if at.is_null() {
        return None;
    }
    loop {
        // SAFETY: the list ends with a null pointer, and we stop there.
        let entry = unsafe { *at };
        if entry.is_null() {
            return None;
        }
        // SAFETY: entries are C strings that live until somebody changes the environment, which
        // nobody does while a child has not entered.
        let entry = unsafe { CStr::from_ptr(entry) };
        let bytes = entry.to_bytes_with_nul();
        if let Some(value) = bytes.strip_prefix(VARIABLE.to_bytes())
            && let Some(value) = value.strip_prefix(b"=")
        {
            return CStr::from_bytes_with_nul(value).ok();
        }
        // SAFETY: not yet at the end.
        at = unsafe { at.add(1) };
    }
}

/// Run by the loader before `main` in every process that contains this crate.
extern "C" fn hook() {
    if let Some(visitor) = Visitor::announced()
        && visitor.door == Door::Early
    {
        visitor.enter();
    }
}

#[used]
// SAFETY: the section holds pointers to functions without arguments that they need.
#[unsafe(link_section = ".init_array")]
static HOOK: extern "C" fn() = hook;
