//! Locks of others, and what a lock cannot do without (B10).

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use procession_bench::{Pinned, Trial, paced};

use crate::partner::Partner;
use crate::words::{RobustMutex, word};

const CROWD: u32 = 200;

fn emit(trial: &Trial, workload: &str, nanos: f64) {
    trial.emit(trial.record(workload, "ns", nanos));
}

/// Nanoseconds of `operation`, on one CPU.
fn alone(mut operation: impl FnMut()) -> f64 {
    paced(|rounds| {
        let _pinned = Pinned::to(0);
        let start = Instant::now();
        for _ in 0..rounds {
            operation();
        }
        start.elapsed()
    })
}

/// Nanoseconds of `operation` by two processes, half of the rounds each.
fn shared(operation: impl Fn()) -> f64 {
    let work = |rounds| (0..rounds).for_each(|_| operation());
    let mut partner = Partner::new(Some(1), work);
    paced(|rounds| {
        let half = rounds.div_ceil(2);
        partner.beside(half, || work(half))
    })
}

pub(crate) fn pthread(trial: &Trial) {
    let mutex = RobustMutex::new();
    emit(
        trial,
        "Lock, uncontended",
        alone(|| black_box(mutex).take()),
    );
    emit(trial, "Lock, 2 processes", shared(|| mutex.take()));
    crowd(trial, mutex);
}

/// Two hundred processes that want one mutex.
fn crowd(trial: &Trial, mutex: RobustMutex) {
    let (end, own) = (word(), (0..CROWD).map(|_| word()).collect::<Vec<_>>());
    let partner = |count: &'static AtomicU32| {
        Partner::new(None, move |_| {
            while end.load(Ordering::Relaxed) == 0 {
                mutex.take();
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut partners: Vec<_> = own.iter().map(|count| partner(count)).collect();
    let begun = Instant::now();
    partners.iter_mut().for_each(|partner| partner.go(1));
    thread::sleep(Duration::from_millis(trial.size(3_000, 1_000)));
    end.store(1, Ordering::Relaxed);
    let nanos = begun.elapsed().as_nanos() as f64;
    partners.iter_mut().for_each(Partner::wait);
    let counts = own.iter().map(|count| count.load(Ordering::Relaxed));
    let total: u32 = counts.sum();
    emit(trial, "Lock, 200 processes", nanos / f64::from(total));
}

pub(crate) fn std_mutex(trial: &Trial) {
    let mutex = Mutex::new(0_u64);
    let take = || *black_box(&mutex).lock().expect("nobody panicked") += 1;
    emit(trial, "Lock, uncontended", alone(take));
    let nanos = paced(|rounds| {
        let half = rounds.div_ceil(2);
        let work = |cpu| {
            let _pinned = Pinned::to(cpu);
            (0..half).for_each(|_| take());
        };
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| work(1));
            work(0);
        });
        start.elapsed()
    });
    emit(trial, "Lock, 2 processes", nanos);
}

pub(crate) fn pair_of_cas(trial: &Trial) {
    let word = word();
    let swap =
        |from, to, order| black_box(word).compare_exchange(from, to, order, Ordering::Relaxed);
    let nanos = alone(|| {
        assert!(swap(0, 7, Ordering::Acquire).is_ok());
        assert!(swap(7, 0, Ordering::Release).is_ok());
    });
    emit(trial, "Lock, uncontended", nanos);
}

/// The other way to let go, after which somebody who is about to sleep is seen.
pub(crate) fn cas_store_fence(trial: &Trial) {
    let word = word();
    let nanos = alone(|| {
        let word = black_box(word);
        let taken = word.compare_exchange(0, 7, Ordering::Acquire, Ordering::Relaxed);
        word.store(0, Ordering::Release);
        fence(Ordering::SeqCst);
        assert!(taken.is_ok() && black_box(word).load(Ordering::Relaxed) == 0);
    });
    emit(trial, "Lock, uncontended", nanos);
}

pub(crate) fn fetch_add(trial: &Trial) {
    let word = word();
    let add = || _ = black_box(word).fetch_add(1, Ordering::Relaxed);
    emit(trial, "Lock, uncontended", alone(add));
    emit(trial, "Lock, 2 processes", shared(add));
}
