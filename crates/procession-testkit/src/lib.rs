//! What the cross-process tests of all layers share; a dev-dependency only.
//!
//! A test program does without libtest (`harness = false`), and begins like this:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use procession_testkit::{Case, Runner, runner};
//!
//! fn adds_up() {
//!     assert_eq!(1 + 1, 2);
//! }
//!
//! fn main() -> ExitCode {
//!     procession_primitives::init();
//!     if let Some(code) = runner::divert(&[]) {
//!         return code;
//!     }
//!     Runner::new(vec![Case::new("arithmetic::adds_up", adds_up)]).run()
//! }
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`runner`] | tests one after the other: nothing is left of each, and a watchdog ends one that hangs |
//! | [`program`] | the test program started again, as a user's program that comes to an end |
//! | [`gate`] | processes that wait for the test, and tell it how far they are |
//! | [`ledger`] | words that all processes of a run reach, whoever is killed meanwhile |
//! | [`birth`] | members that die before they live |
//! | [`storm`] | callers work while a killer kills at random |
//! | [`sweep`], [`trace`] | a kill at chosen instructions |
//! | [`procfs`], [`segments`], [`os`] | `/proc`, `/dev/shm`, raw system calls |
//! | [`dice`] | numbers that differ from run to run |
#![allow(
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "a panic is how a test fails; nothing here is for users"
)]

mod baseline;
pub mod birth;
pub mod dice;
pub mod gate;
pub mod ledger;
pub mod os;
pub mod procfs;
pub mod program;
pub mod runner;
pub mod segments;
pub mod storm;
pub mod sweep;
pub mod trace;
mod watchdog;

use std::time::{Duration, Instant};

pub use runner::{Case, Runner};

/// Asks `look` again and again until it is content; panics with its last word in the end.
///
/// For what has no event to wait for: that somebody else's process is gone.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    // Not an expectation: only so that the failure can say why, before the watchdog strikes.
    let give_up = Instant::now() + Duration::from_secs(40);
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) if Instant::now() > give_up => panic!("{what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Stops a process, and waits until it is: the signal alone may find it on its way out of a sleep, with
/// a wake-up that was for somebody.
#[track_caller]
pub fn stop(pid: u32) {
    os::send(pid, rustix::process::Signal::STOP);
    eventually("it is stopped", || match procfs::state_and_parent(pid) {
        Some(('T', _)) => Ok(()),
        state => Err(format!("{state:?}")),
    });
}

/// How much of the family's memory belongs to somebody.
pub fn heap_units() -> u32 {
    let family = procession_primitives::Family::current().unwrap();
    family.arena().heap_usage(family).0
}

/// Waits until as much of the family's memory belongs to somebody as `before`.
#[track_caller]
pub fn heap_is_back(what: &str, before: u32) {
    let family = procession_primitives::Family::current().unwrap();
    eventually(what, || match heap_units() {
        now if now == before => Ok(()),
        now => {
            let text = family.arena().heap_text(family);
            Err(format!("{now} units, {before} before: {text:#?}"))
        }
    });
}

/// Panics with both sides if they differ, wherever it is called; usable in programs, too.
#[track_caller]
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) {
    assert!(
        found == expected,
        "{what}: found {found:?}, expected {expected:?}"
    );
}

/// Passes the time: shorter and more exact than a sleep.
pub fn pause(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}
