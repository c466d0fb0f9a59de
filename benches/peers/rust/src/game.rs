//! A word in shared memory that goes to another process and back (B9): the floors of a round trip.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};

use procession_bench::Trial;

use crate::kernel::rally;
use crate::words::{sleep, wake, word};

/// Each side looks until the other has moved.
pub(crate) fn spinning(trial: &Trial) {
    play(trial, |_, _| spin_loop(), |_| ());
}

/// Each side sleeps until the other has moved.
pub(crate) fn sleeping(trial: &Trial) {
    play(trial, sleep, wake);
}

/// Odd numbers are the partner's turn.
fn play(trial: &Trial, wait: fn(&AtomicU32, u32), tell: fn(&AtomicU32)) {
    let turn = word();
    let pass = |parity| {
        // Release: as one hands over data.
        turn.fetch_add(1, Ordering::Release);
        tell(turn);
        await_turn(turn, parity, wait);
    };
    rally(
        trial,
        |rounds| {
            for _ in 0..rounds {
                await_turn(turn, 1, wait);
                turn.fetch_add(1, Ordering::Release);
                tell(turn);
            }
        },
        || pass(0),
    );
}

fn await_turn(turn: &AtomicU32, parity: u32, wait: fn(&AtomicU32, u32)) {
    loop {
        // Acquire: as one takes data.
        let now = turn.load(Ordering::Acquire);
        if now % 2 == parity {
            return;
        }
        wait(turn, now);
    }
}
