//! `Lock` and `RLock`: what the tests of Python's ask for.

use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use procession_sync::{Lock, LockError, RLock};
use procession_testkit::{Case, cases, ledger};

use crate::lock;
use crate::support::{await_waits, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![lock:
        lock_s01, rlock_s02, lock_held_by_a_child_s04, text_of_a_lock_s05, text_of_an_rlock_s05,
        release_by_others, rlock_is_free_after_the_last_release, rlock_of_a_dead_holder_counts_anew,
        deadlines_in_the_past, guards_in_any_order, forgotten_guard,
    ]
    .into()
}

fn lock_s01() {
    let lock = Lock::new().unwrap();
    assert!(!lock.locked());
    let guard = lock.acquire().unwrap();
    assert!(lock.locked());
    assert!(matches!(lock.try_acquire(), Err(LockError::WouldBlock)));
    assert!(matches!(lock.acquire(), Err(LockError::Deadlock)));
    let soon = Duration::from_millis(1);
    assert!(matches!(
        lock.acquire_timeout(soon),
        Err(LockError::Deadlock)
    ));
    drop(guard);
    assert!(!lock.locked());
    assert!(lock.release().is_err());
    // S03: the guard says that it is held.
    let _guard = lock.try_acquire().unwrap();
    assert!(lock.locked());
}

fn rlock_s02() {
    let lock = RLock::new().unwrap();
    let one = lock.acquire().unwrap();
    let two = lock.try_acquire().unwrap();
    mem::forget(lock.acquire_timeout(Duration::ZERO).unwrap());
    assert_eq!((lock.count(), lock.locked()), (3, true));
    lock.release().unwrap();
    drop(one);
    assert_eq!((lock.count(), lock.locked()), (1, true));
    drop(two);
    assert_eq!((lock.count(), lock.locked()), (0, false));
    assert!(lock.release().is_err());
}

fn hold((lock, held): (Lock, u32)) {
    let _guard = lock.acquire().unwrap();
    report_and_hang(held);
}

fn hold_twice((lock, held): (RLock, u32)) {
    let _guards = [lock.acquire().unwrap(), lock.acquire().unwrap()];
    report_and_hang(held);
}

fn lock_held_by_a_child_s04() {
    let (lock, recursive, words) = (
        Lock::new().unwrap(),
        RLock::new().unwrap(),
        [word(), word()],
    );
    let one = start(hold, (lock.clone(), words[0]));
    let other = start(hold_twice, (recursive.clone(), words[1]));
    words.iter().for_each(|word| _ = ledger::wait(*word));
    assert!(lock.locked() && recursive.locked());
    assert_eq!(recursive.count(), 2);
    let seen = start(
        |(lock, recursive): (Lock, RLock)| lock.locked() && recursive.count() == 2,
        (lock.clone(), recursive.clone()),
    );
    assert!(seen.join().unwrap());
    kill(&one);
    kill(&other);
    assert!(!lock.locked() && !recursive.locked());
    assert_eq!(recursive.count(), 0);
}

fn text_of_a_lock_s05() {
    let lock = Lock::new().unwrap();
    assert!(format!("{lock:?}").contains("owner: none"), "{lock:?}");
    let guard = lock.acquire().unwrap();
    assert!(
        format!("{lock:?}").contains("owner: this thread"),
        "{lock:?}"
    );
    let elsewhere = thread::scope(|scope| scope.spawn(|| format!("{lock:?}")).join().unwrap());
    let me = format!("pid {}, thread", std::process::id());
    assert!(elsewhere.contains(&me), "{elsewhere}");
    let child = start(|lock: Lock| format!("{lock:?}"), lock.clone());
    let elsewhere = child.join().unwrap();
    assert!(elsewhere.contains(&me), "{elsewhere}");
    let other = start(|lock: Lock| drop(lock.acquire()), lock.clone());
    await_waits(1);
    assert!(format!("{lock:?}").contains("waiters: 1"), "{lock:?}");
    drop(guard);
    other.join().unwrap();
    let held = word();
    let other = start(hold, (lock.clone(), held));
    ledger::wait(held);
    let theirs = format!("pid {}, thread", other.pid());
    assert!(format!("{lock:?}").contains(&theirs), "{lock:?}");
    kill(&other);
    assert!(format!("{lock:?}").contains("dead"), "{lock:?}");
}

fn text_of_an_rlock_s05() {
    let lock = RLock::new().unwrap();
    assert!(format!("{lock:?}").contains("count: 0"), "{lock:?}");
    let _guards = [lock.acquire().unwrap(), lock.acquire().unwrap()];
    let text = format!("{lock:?}");
    assert!(
        text.contains("this thread") && text.contains("count: 2"),
        "{text}"
    );
}

/// By a thread and by a process that do not hold it.
fn release_by_others() {
    let (lock, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let (one, other) = (lock.acquire().unwrap(), recursive.acquire().unwrap());
    let release =
        |(lock, recursive): (Lock, RLock)| (lock.release().is_err(), recursive.release().is_err());
    let both = (lock.clone(), recursive.clone());
    assert_eq!(start(release, both.clone()).join().unwrap(), (true, true));
    let released = thread::spawn(move || release(both)).join().unwrap();
    assert_eq!(released, (true, true));
    assert!(lock.locked() && recursive.locked());
    drop((one, other));
    assert!(!lock.locked() && !recursive.locked());
}

fn rlock_is_free_after_the_last_release() {
    let lock = RLock::new().unwrap();
    let outer = lock.acquire().unwrap();
    let inner = lock.acquire().unwrap();
    let other = start(|lock: RLock| drop(lock.acquire().unwrap()), lock.clone());
    await_waits(1);
    drop(outer);
    let third = start(|lock: RLock| lock.try_acquire().is_ok(), lock.clone());
    assert!(!third.join().unwrap(), "it is held once more");
    drop(inner);
    other.join().unwrap();
}

fn rlock_of_a_dead_holder_counts_anew() {
    let (lock, held) = (RLock::new().unwrap(), word());
    let other = start(hold_twice, (lock.clone(), held));
    ledger::wait(held);
    kill(&other);
    let Err(LockError::OwnerDied(guard)) = lock.acquire() else {
        panic!("it was held");
    };
    assert_eq!(lock.count(), 1);
    let again = lock.acquire().unwrap();
    assert_eq!(lock.count(), 2);
    drop((guard, again));
    assert!(!lock.locked());
}

/// A time that has passed is as good as none to wait.
fn deadlines_in_the_past() {
    let (lock, held) = (Lock::new().unwrap(), word());
    let past = Instant::now();
    drop(lock.acquire_deadline(past).unwrap());
    let other = start(hold, (lock.clone(), held));
    ledger::wait(held);
    assert!(matches!(
        lock.acquire_deadline(past),
        Err(LockError::TimedOut)
    ));
    kill(&other);
    assert!(matches!(
        lock.acquire_deadline(past),
        Err(LockError::OwnerDied(_))
    ));
    // A time-out beyond the clock's end is none.
    drop(lock.acquire_timeout(Duration::MAX).unwrap());
}

fn guards_in_any_order() {
    let locks = [0; 8].map(|_| Lock::new().unwrap());
    let mut guards: Vec<_> = locks.iter().map(|lock| lock.acquire().unwrap()).collect();
    guards.swap(0, 5);
    guards.swap(2, 7);
    drop(guards);
    assert!(locks.iter().all(|lock| !lock.locked()));
}

fn forgotten_guard() {
    let lock = Lock::new().unwrap();
    mem::forget(lock.acquire().unwrap());
    let copy = lock.clone();
    drop(lock);
    assert!(copy.locked());
    copy.release().unwrap();
    assert!(!copy.locked());
}
