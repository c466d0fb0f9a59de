//! `Semaphore` and `BoundedSemaphore`: permits, and those of the dead.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use procession_primitives::Process;
use procession_sync::{AcquireError, Atomic, BoundedSemaphore, ReleaseError, Semaphore};
use procession_testkit::dice::dice;
use procession_testkit::{Case, cases, ledger, os, pause, stop};

use crate::semaphore;
use crate::support::{await_waits, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![semaphore:
        semaphore_s06, bounded_semaphore_s07, timeouts_s08, permits_between_processes,
        at_most_so_many_inside, permits_of_the_killed_come_back, forgotten_permits_do_not,
        killed_waiting, woken_ones_are_killed, stopped_holder_keeps_its_permit,
        exec_with_a_permit, more_processes_than_places, many_permits_at_once, most_permits,
        permits_of_threads, forked_copy_of_a_permit,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);

fn semaphore_s06() {
    let semaphore = Semaphore::new(2).unwrap();
    assert_eq!(semaphore.value(), 2);
    let one = semaphore.acquire().unwrap();
    assert_eq!((semaphore.value(), semaphore.locked()), (1, false));
    let other = semaphore.acquire().unwrap();
    assert_eq!((semaphore.value(), semaphore.locked()), (0, true));
    assert_eq!(
        semaphore.try_acquire().unwrap_err(),
        AcquireError::WouldBlock
    );
    drop(one);
    drop(other);
    assert_eq!(semaphore.value(), 2);
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 3);
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 4);
    assert!(
        format!("{semaphore:?}").contains("value: 4"),
        "{semaphore:?}"
    );
}

fn bounded_semaphore_s07() {
    let semaphore = BoundedSemaphore::new(2).unwrap();
    assert_eq!(semaphore.release(), Err(ReleaseError::TooMany));
    assert_eq!(semaphore.value(), 2);
    let one = semaphore.acquire().unwrap();
    // A held permit is one of those that there are.
    assert_eq!(semaphore.release(), Err(ReleaseError::TooMany));
    semaphore.acquire().unwrap().forget();
    assert_eq!(
        semaphore.try_acquire().unwrap_err(),
        AcquireError::WouldBlock
    );
    assert_eq!(semaphore.release_many(2), Err(ReleaseError::TooMany));
    assert_eq!(semaphore.value(), 0);
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 1);
    drop(one);
    assert_eq!(semaphore.value(), 2);
    assert_eq!(semaphore.release(), Err(ReleaseError::TooMany));
}

fn timeouts_s08() {
    let semaphore = Semaphore::new(0).unwrap();
    assert_eq!(
        semaphore.try_acquire().unwrap_err(),
        AcquireError::WouldBlock
    );
    for timeout in [Duration::ZERO, SHORT] {
        let begun = std::time::Instant::now();
        assert_eq!(
            semaphore.acquire_timeout(timeout).unwrap_err(),
            AcquireError::TimedOut
        );
        assert!(begun.elapsed() >= timeout);
    }
    // Waiters that gave up are no longer counted on.
    semaphore.release().unwrap();
    drop(semaphore.acquire_timeout(Duration::ZERO).unwrap());
    assert_eq!(semaphore.value(), 1);
}

/// As a signal: one takes and forgets, another one gives.
fn permits_between_processes() {
    let (there, back) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let echo = |(there, back): (Semaphore, Semaphore)| {
        for _ in 0..1000 {
            there.acquire().unwrap().forget();
            back.release().unwrap();
        }
    };
    let other = start(echo, (there.clone(), back.clone()));
    for _ in 0..1000 {
        there.release().unwrap();
        back.acquire().unwrap().forget();
    }
    other.join().unwrap();
    assert_eq!((there.value(), back.value()), (0, 0));
}

fn inside((semaphore, now, most): (Semaphore, Atomic<u32>, Atomic<u32>)) {
    for _ in 0..1000 {
        let _permit = semaphore.acquire().unwrap();
        most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
        pause(Duration::from_nanos(dice(2000)));
        now.fetch_sub(1, Relaxed);
    }
}

fn at_most_so_many_inside() {
    let semaphore = Semaphore::new(2).unwrap();
    let [now, most] = [0; 2].map(|_| Atomic::new(0_u32).unwrap());
    let argument = || (semaphore.clone(), now.clone(), most.clone());
    let others = [0; 3].map(|_| start(inside, argument()));
    thread::scope(|scope| {
        let _threads = [0; 2].map(|_| scope.spawn(|| inside(argument())));
    });
    for other in others {
        other.join().unwrap();
    }
    assert!(most.load(Relaxed) <= 2, "{most:?} at once");
    assert_eq!((now.load(Relaxed), semaphore.value()), (0, 2));
}

fn hold((semaphore, count, held): (Semaphore, u32, u32)) {
    let _permits: Vec<_> = (0..count).map(|_| semaphore.acquire().unwrap()).collect();
    report_and_hang(held);
}

fn holder(semaphore: &Semaphore, count: u32) -> Process<()> {
    let held = word();
    let process = start(hold, (semaphore.clone(), count, held));
    ledger::wait(held);
    process
}

fn take(semaphore: Semaphore) {
    drop(semaphore.acquire().unwrap());
}

fn permits_of_the_killed_come_back() {
    let semaphore = Semaphore::new(5).unwrap();
    let own = semaphore.acquire().unwrap();
    let (one, other) = (holder(&semaphore, 2), holder(&semaphore, 1));
    assert_eq!(semaphore.value(), 1);
    let last = holder(&semaphore, 1);
    let waiter = start(take, semaphore.clone());
    await_waits(1);
    kill(&one);
    waiter.join().unwrap();
    assert_eq!(semaphore.value(), 2);
    kill(&other);
    kill(&last);
    assert_eq!(semaphore.value(), 4);
    drop(own);
    assert_eq!(semaphore.value(), 5);
}

fn forget((semaphore, held): (Semaphore, u32)) {
    semaphore.acquire().unwrap().forget();
    let _permit = semaphore.acquire().unwrap();
    report_and_hang(held);
}

fn forgotten_permits_do_not() {
    let (semaphore, held) = (Semaphore::new(3).unwrap(), word());
    let other = start(forget, (semaphore.clone(), held));
    ledger::wait(held);
    kill(&other);
    assert_eq!(semaphore.value(), 2);
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 3);
}

fn killed_waiting() {
    let semaphore = Semaphore::new(0).unwrap();
    let waiters = [0; 4].map(|_| start(take, semaphore.clone()));
    await_waits(4);
    for waiter in &waiters {
        kill(waiter);
    }
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 1);
    take(semaphore);
}

/// One permit for many that wait; whoever is woken may be killed, and somebody else comes in.
fn woken_ones_are_killed() {
    let semaphore = Semaphore::new(0).unwrap();
    for round in 0..20 {
        let mut waiters: Vec<_> = (0..4).map(|_| start(take, semaphore.clone())).collect();
        await_waits(4);
        semaphore.release().unwrap();
        let victim = waiters.swap_remove(round % 4);
        pause(Duration::from_micros(dice(150)));
        kill(&victim);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(semaphore.value(), 1);
        semaphore.acquire().unwrap().forget();
    }
}

fn stopped_holder_keeps_its_permit() {
    let semaphore = Semaphore::new(1).unwrap();
    let other = holder(&semaphore, 1);
    stop(other.pid());
    start(|()| (), ()).join().unwrap();
    assert_eq!(
        semaphore.try_acquire().unwrap_err(),
        AcquireError::WouldBlock
    );
    assert_eq!(
        semaphore.acquire_timeout(SHORT).unwrap_err(),
        AcquireError::TimedOut
    );
    kill(&other);
    assert_eq!(semaphore.value(), 1);
}

fn exec((semaphore, held): (Semaphore, u32)) {
    let _permit = semaphore.acquire().unwrap();
    ledger::set(held, 1);
    os::become_sleep();
}

fn exec_with_a_permit() {
    let (semaphore, held) = (Semaphore::new(1).unwrap(), word());
    let other = start(exec, (semaphore.clone(), held));
    ledger::wait(held);
    drop(semaphore.acquire().unwrap());
    assert!(other.is_alive());
    kill(&other);
    assert_eq!(semaphore.value(), 1);
}

/// Each has a permit, so the object needs a block to note them all.
fn more_processes_than_places() {
    let semaphore = Semaphore::new(12).unwrap();
    let holders: Vec<_> = (0..12).map(|_| holder(&semaphore, 1)).collect();
    assert_eq!(semaphore.value(), 0);
    for (index, one) in holders.iter().enumerate() {
        kill(one);
        assert_eq!(semaphore.value(), index as u64 + 1);
    }
    let again: Vec<_> = (0..6).map(|_| holder(&semaphore, 2)).collect();
    assert_eq!(semaphore.value(), 0);
    again.iter().for_each(kill);
    assert_eq!(semaphore.value(), 12);
}

fn many_permits_at_once() {
    let semaphore = Semaphore::new(0).unwrap();
    let waiters = [0; 5].map(|_| start(take, semaphore.clone()));
    await_waits(5);
    semaphore.release_many(5).unwrap();
    for waiter in waiters {
        waiter.join().unwrap();
    }
    assert_eq!(semaphore.value(), 5);
    semaphore.release_many(0).unwrap();
    assert_eq!(semaphore.value(), 5);
}

fn most_permits() {
    let semaphore = Semaphore::new(u32::MAX).unwrap();
    assert_eq!(semaphore.value(), u64::from(u32::MAX));
    semaphore.release_many(u32::MAX).unwrap();
    assert_eq!(semaphore.value(), 2 * u64::from(u32::MAX));
    let none = BoundedSemaphore::new(0).unwrap();
    assert_eq!(none.release(), Err(ReleaseError::TooMany));
    assert_eq!(none.try_acquire().unwrap_err(), AcquireError::WouldBlock);
}

/// A permit may be dropped by another thread than took it.
fn permits_of_threads() {
    let semaphore = Semaphore::new(2).unwrap();
    let permit = semaphore.acquire().unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| semaphore.acquire().unwrap());
        scope.spawn(move || drop(permit));
        drop(other.join().unwrap());
    });
    assert_eq!(semaphore.value(), 2);
}

fn forked_copy_of_a_permit() {
    let semaphore = Semaphore::new(1).unwrap();
    let mut permit = Some(semaphore.acquire().unwrap());
    let child = Process::builder().fork(|| {
        permit = None;
        semaphore.value()
    });
    assert_eq!(child.unwrap().join().unwrap(), 0);
    assert_eq!(semaphore.value(), 0);
    drop(permit);
    assert_eq!(semaphore.value(), 1);
}
