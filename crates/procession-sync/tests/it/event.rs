//! `Event`: set, cleared, waited for, and whoever sets it killed.

use std::thread;
use std::time::{Duration, Instant};

use procession_sync::{Atomic, Event};
use procession_testkit::{Case, cases, ledger, os, stop};
use rustix::process::Signal;

use crate::event;
use crate::support::{await_sleep, await_waits, kill, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![event:
        event_s16, text_s17, wakes_processes_and_threads, set_and_cleared_at_once,
        killed_waiters, killed_after_setting, stopped_waiter_sees_that_it_was_set,
        back_and_forth, deaths_do_not_set_it,
    ]
    .into()
}

fn event_s16() {
    let event = Event::new().unwrap();
    assert!(!event.is_set());
    assert!(!event.wait_timeout(Duration::ZERO));
    let (begun, timeout) = (Instant::now(), Duration::from_millis(20));
    assert!(!event.wait_timeout(timeout));
    assert!(begun.elapsed() >= timeout);
    event.set();
    event.set();
    assert!(event.is_set() && event.wait() && event.wait_timeout(Duration::ZERO));
    event.clear();
    assert!(!event.is_set() && !event.wait_timeout(Duration::ZERO));
    assert!(!event.wait_deadline(Instant::now()));
    let child = start(|event: Event| event.set(), event.clone());
    assert!(event.wait());
    child.join().unwrap();
}

fn text_s17() {
    let event = Event::new().unwrap();
    assert!(format!("{event:?}").contains("set: false"), "{event:?}");
    event.set();
    assert!(format!("{event:?}").contains("set: true"), "{event:?}");
}

fn wakes_processes_and_threads() {
    let event = Event::new().unwrap();
    let others = [0; 3].map(|_| start(|event: Event| event.wait(), event.clone()));
    thread::scope(|scope| {
        let threads = [0; 2].map(|_| scope.spawn(|| event.wait()));
        await_waits(5);
        event.set();
        assert!(threads.into_iter().all(|one| one.join().unwrap()));
    });
    assert!(others.into_iter().all(|one| one.join().unwrap()));
}

/// Whoever waits when it is set comes back, also if it is cleared before anybody looks.
fn set_and_cleared_at_once() {
    let event = Event::new().unwrap();
    for _ in 0..50 {
        let others = [0; 2].map(|_| start(|event: Event| event.wait(), event.clone()));
        await_waits(2);
        others.iter().for_each(await_sleep);
        event.set();
        event.clear();
        assert!(others.into_iter().all(|one| one.join().unwrap()));
        assert!(!event.is_set());
    }
}

fn killed_waiters() {
    let event = Event::new().unwrap();
    let waiters = [0; 4].map(|_| start(|event: Event| event.wait(), event.clone()));
    await_waits(4);
    waiters[..3].iter().for_each(kill);
    assert!(!event.is_set());
    event.set();
    let [.., last] = waiters;
    assert!(last.join().unwrap());
}

fn set_and_die(event: Event) {
    event.set();
    os::raise(libc::SIGKILL);
}

fn killed_after_setting() {
    for _ in 0..20 {
        let event = Event::new().unwrap();
        let waiter = start(|event: Event| event.wait(), event.clone());
        await_waits(1);
        assert!(start(set_and_die, event.clone()).join().is_err());
        assert!(waiter.join().unwrap());
    }
}

fn stopped_waiter_sees_that_it_was_set() {
    let event = Event::new().unwrap();
    let waiter = start(|event: Event| event.wait(), event.clone());
    await_waits(1);
    await_sleep(&waiter);
    stop(waiter.pid());
    event.set();
    event.clear();
    os::send(waiter.pid(), Signal::CONT);
    assert!(waiter.join().unwrap());
}

/// Nothing is lost in a thousand turns of two processes.
fn back_and_forth() {
    let answer = |(there, back): (Event, Event)| {
        for _ in 0..1000 {
            there.wait();
            there.clear();
            back.set();
        }
    };
    let [there, back] = [0; 2].map(|_| Event::new().unwrap());
    let other = start(answer, (there.clone(), back.clone()));
    for _ in 0..1000 {
        there.set();
        back.wait();
        back.clear();
    }
    other.join().unwrap();
}

fn waits_and_notes((event, done): (Event, u32)) {
    event.wait();
    ledger::set(done, 1);
}

fn deaths_do_not_set_it() {
    let (event, done) = (Event::new().unwrap(), word());
    let waiter = start(waits_and_notes, (event.clone(), done));
    await_waits(1);
    let deaths = Atomic::new(0_u32).unwrap();
    for _ in 0..5 {
        let victim = start(|_: Atomic<u32>| os::sleep_for_ever(), deaths.clone());
        kill(&victim);
    }
    await_waits(1);
    assert_eq!(ledger::get(done), 0);
    event.set();
    waiter.join().unwrap();
}
