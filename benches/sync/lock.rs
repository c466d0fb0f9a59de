//! Locks (B10) and what is made of them.

use std::hint::black_box;
use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use procession_sync::{Atomic, Condition, Event, Lock, Mutex, Queue, RwLock, Semaphore};

use crate::contest::{Contender, Contest};
use crate::partner::{Line, Partner, Pinned, serve};
use crate::pthread::RobustMutex;
use crate::python;

/// `operation` again and again, on one CPU.
fn alone(name: &'static str, mut operation: impl FnMut() + 'static) -> Contender {
    Contender::new(name, move |rounds| {
        let _pinned = Pinned::to(0);
        let start = Instant::now();
        for _ in 0..rounds {
            operation();
        }
        start.elapsed()
    })
}

/// B10, nobody else.
pub(crate) fn uncontended(contest: &mut Contest) {
    contest.hold("B10_lock_uncontended", None, || {
        let lock = Lock::new().expect("a lock");
        let mutex = Mutex::new(0_u64).expect("a mutex");
        let robust = RobustMutex::new().map();
        let inner = std::sync::Mutex::new(0_u64);
        let (word, other) = (AtomicU64::new(0), AtomicU64::new(0));
        vec![
            alone("procession_lock", move || {
                let _held = black_box(&lock).acquire().expect("nobody died");
            }),
            alone("procession_mutex_u64", move || {
                *black_box(&mutex).lock().expect("nobody died") += 1;
            }),
            alone("pthread_robust", move || black_box(&robust).with(|| ())),
            alone("std_mutex", move || {
                *black_box(&inner).lock().expect("nobody panicked") += 1;
            }),
            alone("pair_of_cas", move || {
                let swap = |from, to, order| {
                    black_box(&word).compare_exchange(from, to, order, Ordering::Relaxed)
                };
                assert!(swap(0, 7, Ordering::Acquire).is_ok());
                assert!(swap(7, 0, Ordering::Release).is_ok());
            }),
            // The other way to let go, after which somebody who is about to sleep is seen.
            alone("cas_store_fence_load", move || {
                let (word, order) = (black_box(&other), Ordering::Acquire);
                let taken = word.compare_exchange(0, 7, order, Ordering::Relaxed);
                word.store(0, Ordering::Release);
                fence(Ordering::SeqCst);
                assert!(taken.is_ok() && black_box(word).load(Ordering::Relaxed) == 0);
            }),
            python::contender("python_lock", "lock"),
        ]
    });
}

fn contend((line, lock): (Line, Lock)) {
    serve(line, Some(1), |rounds| lock_often(&lock, rounds));
}

fn lock_often(lock: &Lock, rounds: u64) {
    for _ in 0..rounds {
        let _held = lock.acquire().expect("nobody died");
    }
}

fn contend_robust((line, mutex): (Line, RobustMutex)) {
    let mutex = mutex.map();
    serve(line, Some(1), |rounds| {
        (0..rounds).for_each(|_| mutex.with(|| ()))
    });
}

fn add((line, number): (Line, Atomic<u64>)) {
    serve(line, Some(1), |rounds| add_often(&number, rounds));
}

fn add_often(number: &AtomicU64, rounds: u64) {
    for _ in 0..rounds {
        number.fetch_add(1, Ordering::Relaxed);
    }
}

/// Half of the rounds by `ours`, half by `partner` at the same time.
fn shared(name: &'static str, partner: Partner, ours: impl Fn(u64) + 'static) -> Contender {
    Contender::new(name, move |rounds| {
        let _pinned = Pinned::to(0);
        let half = rounds.div_ceil(2);
        partner.beside(half, || ours(half))
    })
}

/// B10, two processes; nanoseconds of one of the acquisitions of both.
pub(crate) fn contended(contest: &mut Contest) {
    contest.hold("B10_lock_2_processes", None, || {
        let lock = Lock::new().expect("a lock");
        let partner = Partner::new(contend, lock.clone());
        let ours = shared("procession_lock", partner, move |rounds| {
            lock_often(&lock, rounds)
        });
        let robust = RobustMutex::new();
        let (mapped, partner) = (robust.map(), Partner::new(contend_robust, robust));
        let robust = shared("pthread_robust", partner, move |rounds| {
            (0..rounds).for_each(|_| mapped.with(|| ()))
        });
        let number = Atomic::new(0_u64).expect("a number");
        let partner = Partner::new(add, number.clone());
        let floor = shared("fetch_add", partner, move |rounds| {
            add_often(&number, rounds)
        });
        vec![
            ours,
            robust,
            Contender::new("std_mutex_2_threads", between_threads),
            floor,
            python::contender("python_lock", "contended_lock"),
        ]
    });
}

fn between_threads(rounds: u64) -> Duration {
    let (mutex, half) = (std::sync::Mutex::new(0_u64), rounds.div_ceil(2));
    let work = |cpu| {
        let _pinned = Pinned::to(cpu);
        for _ in 0..half {
            *mutex.lock().expect("nobody panicked") += 1;
        }
    };
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| work(1));
        work(0);
    });
    start.elapsed()
}

/// What one process does alone.
pub(crate) fn others(contest: &mut Contest) {
    contest.hold("alone", None, || {
        let semaphore = Semaphore::new(4).expect("a semaphore");
        let shared = RwLock::new(0_u64).expect("a lock");
        let (event, is_set) = (Event::new().expect("an event"), Event::new());
        let is_set = is_set.expect("an event");
        is_set.set();
        let inner = std::sync::RwLock::new(0_u64);
        let queue = Queue::<u64>::bounded(1024).expect("a queue");
        let many = Queue::<u64>::bounded(1024).expect("a queue");
        vec![
            alone("semaphore_acquire_release", move || {
                let _permit = black_box(&semaphore).acquire().expect("a permit");
            }),
            alone("rwlock_read", move || {
                black_box(*black_box(&shared).read().expect("nobody died"));
            }),
            alone("std_rwlock_read", move || {
                black_box(*black_box(&inner).read().expect("nobody panicked"));
            }),
            alone("event_set_clear", move || {
                black_box(&event).set();
                event.clear();
            }),
            alone("event_is_set", move || {
                black_box(black_box(&is_set).is_set());
            }),
            alone("queue_put_get", move || {
                black_box(&queue).put(black_box(7)).expect("room");
                black_box(queue.get().expect("a message"));
            }),
            alone("queue_put_get_many_of_256", move || {
                many.put_many(black_box(0..256)).expect("room");
                black_box(many.get_many(256).expect("messages"));
            }),
            alone("lock_new_drop", || {
                black_box(Lock::new().expect("a lock"));
            }),
        ]
    });
}

type Turn = (Mutex<u64>, Condition);

/// Waits until it is the turn of `parity`, and passes it on.
fn pass((turn, changed): &Turn, parity: u64) {
    let mut turn = turn.lock().expect("nobody died");
    let mine = changed.wait_for(&mut turn, |turn| **turn % 2 == parity);
    mine.expect("nobody died");
    *turn += 1;
    changed.notify().expect("it is ours");
}

fn pass_often((line, turn): (Line, Turn)) {
    serve(line, Some(1), |rounds| {
        (0..rounds).for_each(|_| pass(&turn, 1))
    });
}

/// A round trip by a condition.
pub(crate) fn condition(contest: &mut Contest) {
    contest.hold("condition_round_trip", None, || {
        let turn: Turn = (
            Mutex::new(0).expect("a mutex"),
            Condition::new().expect("a condition"),
        );
        let partner = Partner::new(pass_often, turn.clone());
        let ours = move |rounds| {
            let _pinned = Pinned::to(0);
            partner.beside(rounds, || (0..rounds).for_each(|_| pass(&turn, 0)))
        };
        vec![
            Contender::new("procession", ours),
            Contender::new("std_condvar_2_threads", pass_between_threads),
        ]
    });
}

fn pass_between_threads(rounds: u64) -> Duration {
    let turn = (std::sync::Mutex::new(0_u64), Condvar::new());
    let work = |parity| {
        let _pinned = Pinned::to(parity as usize);
        for _ in 0..rounds {
            let guard = turn.0.lock().expect("nobody panicked");
            let mine = turn.1.wait_while(guard, |turn| *turn % 2 != parity);
            *mine.expect("nobody panicked") += 1;
            turn.1.notify_one();
        }
    };
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| work(1));
        work(0);
    });
    start.elapsed()
}
