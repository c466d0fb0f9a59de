//! What the cross-process tests share: a runner with a watchdog, a ledger, `/proc`, raw system calls.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod agent;
pub(crate) mod dice;
pub(crate) mod kills;
pub(crate) mod ledger;
pub(crate) mod os;
pub(crate) mod procfs;
pub(crate) mod program;
pub(crate) mod runner;
pub(crate) mod storm;
pub(crate) mod sweep;
pub(crate) mod watchdog;

use std::time::{Duration, Instant};

/// Asks `look` again and again until it is content; panics with its last word in the end.
///
/// For what has no event to wait for: that somebody else's process is gone.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
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

/// How much of the family's memory belongs to somebody.
pub(crate) fn heap_units() -> u32 {
    let family = procession_primitives::Family::current().unwrap();
    family.arena().heap_usage(family).0
}

/// Panics with both sides if they differ, wherever it is called; usable in programs, too.
#[track_caller]
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) {
    assert!(
        found == expected,
        "{what}: found {found:?}, expected {expected:?}"
    );
}
