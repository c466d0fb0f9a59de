//! Numbers for the threads of this process, small and used again.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// Numbers are 1 to this. Threads beyond share the last one.
const LAST: u32 = (1 << 16) - 1;

#[derive(Debug)]
struct Numbers {
    next: u32,
    free: Vec<u32>,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers {
    next: 1,
    free: Vec::new(),
});

/// Gives its thread's number back.
struct Lease;

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    static LEASE: Lease = const { Lease };
}

impl Drop for Lease {
    fn drop(&mut self) {
        let number = NUMBER.replace(0);
        if number != 0 && number != LAST {
            let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.free.push(number);
        }
    }
}

/// The calling thread's number, which no other living thread of this process has.
#[inline]
pub(crate) fn number() -> u32 {
    match NUMBER.get() {
        0 => assign(),
        number => number,
    }
}

#[cold]
fn assign() -> u32 {
    // A thread that is ending already has run its destructors: nobody would give a number back.
    if LEASE.try_with(|_| ()).is_err() {
        return LAST;
    }
    let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
    let number = numbers.free.pop().unwrap_or_else(|| {
        let number = numbers.next;
        numbers.next = (number + 1).min(LAST);
        number
    });
    NUMBER.set(number);
    number
}
