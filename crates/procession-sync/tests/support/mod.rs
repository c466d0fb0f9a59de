//! What the tests of this crate share.
#![allow(dead_code, reason = "not every test program uses all of it")]

pub(crate) mod exclusive;
pub(crate) mod storm;

use std::fmt::Debug;

use procession_primitives::{Family, Process};
use procession_testkit::{eventually, ledger, os, procfs};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The family of this run.
pub(crate) fn family() -> &'static Family {
    Family::current().unwrap()
}

/// Waits until `count` threads of the family wait for something of this layer.
#[track_caller]
pub(crate) fn await_waits(count: usize) {
    eventually("threads wait", || match family().waits().len() {
        found if found == count => Ok(()),
        found => Err(format!("{found} wait, not {count}")),
    });
}

/// Waits until `count` threads wait for `object`, as its text form says.
#[track_caller]
pub(crate) fn await_waiters(object: &impl Debug, count: usize) {
    eventually("threads wait for the object", || {
        let text = format!("{object:?}");
        match text.contains(&format!("waiters: {count}")) {
            true => Ok(()),
            false => Err(text),
        }
    });
}

/// Waits until there are `count` shared objects.
#[track_caller]
pub(crate) fn await_objects(what: &str, count: usize) {
    eventually(what, || match family().object_count() {
        found if found == count => Ok(()),
        found => Err(format!("{found} objects, not {count}")),
    });
}

/// Starts a process that runs `function`.
#[track_caller]
pub(crate) fn start<A, R>(function: fn(A) -> R, argument: A) -> Process<R>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    Process::spawn(function, argument).unwrap()
}

/// Kills it, and waits until that is known to all.
#[track_caller]
pub(crate) fn kill<R: Serialize + DeserializeOwned>(process: &Process<R>) {
    process.kill().unwrap();
    process.wait();
}

/// Waits until the process sleeps: that it waits is to be known already.
#[track_caller]
pub(crate) fn await_sleep<R>(process: &Process<R>) {
    let pid = process.pid();
    eventually("it sleeps", || match procfs::state_and_parent(pid) {
        Some(('S', _)) => Ok(()),
        state => Err(format!("{state:?}")),
    });
}

/// Sets the word of the ledger, and sleeps until the process is killed.
pub(crate) fn report_and_hang(word: u32) {
    ledger::set(word, 1);
    os::sleep_for_ever();
}

/// A word of the ledger, 0 until the end of the test.
pub(crate) fn word() -> u32 {
    ledger::reserve(1)
}
