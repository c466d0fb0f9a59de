//! Locks (B10).

use std::hint::black_box;
use std::time::{Duration, Instant};

use procession_bench::Pinned;
use procession_sync::Lock;

use super::partner::{Line, Partner, serve};

/// `operation` again and again, on one CPU.
fn alone(mut operation: impl FnMut()) -> impl FnMut(u64) -> Duration {
    move |rounds| {
        let _pinned = Pinned::to(0);
        let start = Instant::now();
        for _ in 0..rounds {
            operation();
        }
        start.elapsed()
    }
}

/// B10, nobody else wants it.
pub(crate) fn uncontended() -> impl FnMut(u64) -> Duration {
    let lock = Lock::new().expect("a lock");
    alone(move || {
        let _held = black_box(&lock).acquire().expect("nobody died");
    })
}

fn contend((line, lock): (Line, Lock)) {
    serve(line, Some(1), |rounds| acquire(&lock, rounds));
}

fn acquire(lock: &Lock, rounds: u64) {
    for _ in 0..rounds {
        let _held = lock.acquire().expect("nobody died");
    }
}

/// B10, two processes; half of the rounds each.
pub(crate) fn contended() -> impl FnMut(u64) -> Duration {
    let lock = Lock::new().expect("a lock");
    let partner = Partner::new(contend, lock.clone());
    move |rounds| {
        let half = rounds.div_ceil(2);
        partner.beside(half, || acquire(&lock, half))
    }
}
