//! The floor of a queue whose ends have locks (B6): a pair of CAS at each end, a message, a position.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession_bench::{Pinned, Trial, paced};

/// Words of the ring; a message has two.
const WORDS: u64 = 2048;
/// Pauses after nothing was found, as many as the queue makes in a stream.
const HOLD_OFF: u32 = 96;

/// Words that only one end writes, away from those of the other.
#[derive(Default)]
#[repr(align(128))]
struct End {
    lock: AtomicU64,
    /// How far the other end was when this one last looked.
    seen: AtomicU64,
}

#[derive(Default)]
#[repr(align(128))]
struct Mark(AtomicU64);

impl End {
    /// Tries `work` with the lock until it comes to something.
    fn with(&self, work: impl Fn() -> bool) {
        loop {
            let (acquire, release) = (Ordering::Acquire, Ordering::Release);
            let taken = self.lock.compare_exchange(0, 7, acquire, Ordering::Relaxed);
            let done = work();
            let freed = self.lock.compare_exchange(7, 0, release, Ordering::Relaxed);
            assert!(taken.is_ok() && freed.is_ok());
            if done {
                return;
            }
            (0..HOLD_OFF).for_each(|_| spin_loop());
        }
    }

    /// Whether `fits` is true of how far the other end has come.
    fn sees(&self, other: &Mark, fits: impl Fn(u64) -> bool) -> bool {
        if fits(self.seen.load(Ordering::Relaxed)) {
            return true;
        }
        let at = other.0.load(Ordering::Acquire);
        self.seen.store(at, Ordering::Relaxed);
        fits(at)
    }
}

pub(crate) fn short(trial: &Trial) {
    let rate = 1e3 / paced(between_threads);
    trial.emit(trial.record("Queue<u64>, one by one", "M/s", rate));
}

/// One producer and one consumer, each on its CPU.
fn between_threads(rounds: u64) -> Duration {
    let (producer, consumer) = (End::default(), End::default());
    let (tail, head) = (Mark::default(), Mark::default());
    let ring: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
    let word = |place: u64| &ring[(place % WORDS) as usize];
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _pinned = Pinned::to(1);
            for _ in 0..rounds {
                consumer.with(|| {
                    let at = head.0.load(Ordering::Relaxed);
                    let some = consumer.sees(&tail, |tail| tail != at);
                    if some {
                        black_box(word(at).load(Ordering::Relaxed));
                        black_box(word(at + 1).load(Ordering::Relaxed));
                        head.0.store(at + 2, Ordering::Release);
                    }
                    some
                });
            }
        });
        let _pinned = Pinned::to(0);
        for n in 0..rounds {
            producer.with(|| {
                let at = tail.0.load(Ordering::Relaxed);
                let room = producer.sees(&head, |head| at - head < WORDS);
                if room {
                    word(at).store(8, Ordering::Relaxed);
                    word(at + 1).store(black_box(n), Ordering::Relaxed);
                    tail.0.store(at + 2, Ordering::Release);
                }
                room
            });
        }
    });
    start.elapsed()
}
