//! Members that die before they live.
#![allow(unsafe_code, reason = "registers a handler for forks")]

use crate::{ledger, os};

/// The word of the ledger that says how new members are to die: 0 not at all, below 1000 with
/// this exit code and one more, else by the signal of this number and 1000.
pub const HOW: u32 = 1;

/// The word of the ledger that counts those that are born while they are to die.
pub const COUNT: u32 = 2;

/// Lets the members that are born from now on die as the word [`HOW`] says.
///
/// To be called first in `main`, once the ledger is open: what the supervisor forks inherits it.
pub fn obey() {
    extern "C" fn born() {
        if !ledger::is_open() {
            return;
        }
        let how = ledger::get(HOW);
        if how == 0 {
            return;
        }
        ledger::note(COUNT);
        match how {
            1..1000 => os::exit_at_once(how as i32 - 1),
            _ => os::raise((how - 1000) as i32),
        }
    }
    // SAFETY: the handler makes async-signal-safe calls only.
    assert_eq!(unsafe { libc::pthread_atfork(None, None, Some(born)) }, 0);
}
