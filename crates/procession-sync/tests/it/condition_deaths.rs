//! `Condition`, when those that wait, notify or hold the lock die.

use std::time::Duration;

use procession_sync::{Condition, LockError, Mutex, RLock, WaitError};
use procession_testkit::dice::dice;
use procession_testkit::{Case, cases, ledger, os, pause, stop};
use rustix::process::Signal;

use crate::condition_deaths;
use crate::support::{await_sleep, await_waiters, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![condition_deaths:
        killed_waiters_are_forgotten, notification_of_a_killed_one_is_passed_on,
        notified_ones_are_killed, notifier_is_killed, holder_dies_while_others_wait,
        holder_dies_with_a_recursive_lock, stopped_waiter_does_not_hold_others_up,
        unrelated_deaths, exec_while_waiting,
    ]
    .into()
}

type Room = (Mutex<u64>, Condition);

fn room() -> Room {
    (Mutex::new(0).unwrap(), Condition::new().unwrap())
}

/// Waits to be notified, and counts itself.
fn wait((lock, changed): Room) {
    let mut guard = lock.lock().unwrap();
    changed.wait(&mut guard).unwrap();
    *guard += 1;
}

fn await_sleepers((lock, changed): &Room, count: usize) {
    await_waiters(changed, count);
    drop(lock.lock().unwrap());
}

/// Python's `notify_all` never returns here.
fn killed_waiters_are_forgotten() {
    let room = room();
    let waiters = [0; 4].map(|_| start(wait, room.clone()));
    await_sleepers(&room, 4);
    waiters[..3].iter().for_each(kill);
    await_waiters(&room.1, 1);
    // One notification is enough: it goes to nobody dead.
    room.1.notify().unwrap();
    let [.., last] = waiters;
    last.join().unwrap();
    assert_eq!(*room.0.lock().unwrap(), 1);
}

/// The one that was notified is killed before it has the lock.
fn notification_of_a_killed_one_is_passed_on() {
    let room = room();
    for round in 0..5 {
        let first = start(wait, room.clone());
        await_sleepers(&room, 1);
        let second = start(wait, room.clone());
        await_sleepers(&room, 2);
        let guard = room.0.lock().unwrap();
        room.1.notify().unwrap();
        await_waiters(&room.1, 1);
        kill(&first);
        assert_eq!(*guard, round);
        drop(guard);
        second.join().unwrap();
    }
}

fn notified_ones_are_killed() {
    let room = room();
    for round in 0..15 {
        let mut waiters: Vec<_> = (0..4).map(|_| start(wait, room.clone())).collect();
        await_sleepers(&room, 4);
        room.1.notify().unwrap();
        room.1.notify().unwrap();
        let victim = waiters.swap_remove(round % 4);
        pause(Duration::from_micros(dice(150)));
        kill(&victim);
        // It died with the lock, at worst.
        let repair = || match room.0.lock() {
            Ok(guard) => drop(guard),
            Err(error) => error.into_guard().mark_consistent(),
        };
        let finished = |waiters: &[procession_primitives::Process<()>]| {
            waiters.iter().filter(|waiter| !waiter.is_alive()).count()
        };
        procession_testkit::eventually("two of four were woken", || {
            // Those that are told of the death end with a panic, which is an end.
            match finished(&waiters) {
                0 => Err("nobody".to_owned()),
                _ => Ok(()),
            }
        });
        repair();
        while finished(&waiters) < 3 {
            room.1.notify_all().unwrap();
        }
        for waiter in waiters {
            let _ = waiter.join();
        }
        repair();
    }
}

fn notify_and_die((_, changed): Room) {
    changed.notify_all().unwrap();
    os::raise(libc::SIGKILL);
}

fn notifier_is_killed() {
    for _ in 0..10 {
        let room = room();
        let waiters = [0; 2].map(|_| start(wait, room.clone()));
        await_sleepers(&room, 2);
        assert!(start(notify_and_die, room.clone()).join().is_err());
        for waiter in waiters {
            waiter.join().unwrap();
        }
    }
}

fn hold(((lock, _), held): (Room, u32)) {
    let _guard = lock.lock().unwrap();
    report_and_hang(held);
}

fn told((lock, changed): Room) -> (bool, bool) {
    let Ok(mut guard) = lock.lock() else {
        return (false, false);
    };
    let told = changed.wait(&mut guard) == Err(WaitError::OwnerDied);
    drop(guard);
    // For the one that was told the value is not in order from now on.
    (true, told)
}

/// All come back, and one of them is told.
fn holder_dies_while_others_wait() {
    let room = room();
    let waiters = [0; 3].map(|_| start(told, room.clone()));
    await_sleepers(&room, 3);
    let held = word();
    let holder = start(hold, (room.clone(), held));
    ledger::wait(held);
    kill(&holder);
    let found = waiters.map(|waiter| waiter.join().unwrap());
    assert!(found.iter().all(|(waited, _)| *waited), "{found:?}");
    let told = found.iter().filter(|(_, told)| *told).count();
    assert_eq!(told, 1, "{found:?}");
    assert!(matches!(room.0.lock(), Err(LockError::Inconsistent(_))));
}

fn hold_twice((lock, held): (RLock, u32)) {
    let _guards = [lock.acquire().unwrap(), lock.acquire().unwrap()];
    report_and_hang(held);
}

fn holder_dies_with_a_recursive_lock() {
    let (lock, changed, held) = (RLock::new().unwrap(), Condition::new().unwrap(), word());
    let waits = |(lock, changed): (RLock, Condition)| {
        let _outer = lock.acquire().unwrap();
        let mut inner = lock.acquire().unwrap();
        let told = changed.wait(&mut inner) == Err(WaitError::OwnerDied);
        (told, lock.count())
    };
    let waiter = start(waits, (lock.clone(), changed.clone()));
    await_waiters(&changed, 1);
    let holder = start(hold_twice, (lock.clone(), held));
    ledger::wait(held);
    kill(&holder);
    assert_eq!(waiter.join().unwrap(), (true, 2));
    assert!(lock.try_acquire().is_ok());
}

fn stopped_waiter_does_not_hold_others_up() {
    let room = room();
    let stopped = start(wait, room.clone());
    await_sleepers(&room, 1);
    await_sleep(&stopped);
    stop(stopped.pid());
    let other = start(wait, room.clone());
    await_sleepers(&room, 2);
    room.1.notify_all().unwrap();
    other.join().unwrap();
    os::send(stopped.pid(), Signal::CONT);
    stopped.join().unwrap();
    assert_eq!(*room.0.lock().unwrap(), 2);
}

/// Deaths of others end no wait.
fn unrelated_deaths() {
    let room = room();
    let waiter = start(wait, room.clone());
    await_sleepers(&room, 1);
    for _ in 0..5 {
        let victim = start(|_: Room| os::sleep_for_ever(), room.clone());
        kill(&victim);
    }
    await_sleepers(&room, 1);
    assert!(waiter.is_alive());
    assert_eq!(*room.0.lock().unwrap(), 0);
    room.1.notify().unwrap();
    waiter.join().unwrap();
}

fn wait_beside_an_exec((room, go): (Room, u32)) {
    let waiter = std::thread::spawn(move || wait(room));
    ledger::wait(go);
    let _still_waits = waiter;
    os::become_sleep();
}

/// A thread waits while its process turns to another program.
fn exec_while_waiting() {
    let (room, go) = (room(), word());
    let other = start(wait_beside_an_exec, (room.clone(), go));
    await_sleepers(&room, 1);
    let second = start(wait, room.clone());
    await_sleepers(&room, 2);
    ledger::set(go, 1);
    await_waiters(&room.1, 1);
    room.1.notify().unwrap();
    second.join().unwrap();
    kill(&other);
}
