//! `Once` and `OnceLock`: one does it, and another one if that one dies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use procession_sync::{Atomic, Once, OnceLock};
use procession_testkit::{Case, cases, ledger, os, stop};

use crate::once;
use crate::support::{await_waits, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![once:
        runs_once, once_lock_is_written_once, killed_while_it_runs, panic_while_it_runs,
        exec_while_it_runs, killed_waiter, stopped_runner_is_waited_for, recursion_panics,
        large_value, killed_half_way_through_a_value,
    ]
    .into()
}

type Parts = (Once, Atomic<u32>);

fn parts() -> Parts {
    (Once::new().unwrap(), Atomic::new(0).unwrap())
}

fn run((once, runs): Parts) {
    once.call_once(|| {
        runs.fetch_add(1, Relaxed);
        thread::sleep(Duration::from_millis(2));
        runs.fetch_add(100, Relaxed);
    })
    .unwrap();
    assert_eq!(runs.load(Relaxed), 101);
    assert!(once.is_completed());
}

fn runs_once() {
    let parts = parts();
    assert!(!parts.0.is_completed());
    let others = [0; 4].map(|_| start(run, parts.clone()));
    thread::scope(|scope| {
        let _threads = [0; 3].map(|_| scope.spawn(|| run(parts.clone())));
    });
    for other in others {
        other.join().unwrap();
    }
    assert!(format!("{:?}", parts.0).contains("completed: true"));
}

fn once_lock_is_written_once() {
    let lock = OnceLock::<u64>::new().unwrap();
    assert_eq!(lock.get(), None);
    let write = |(lock, mine): (OnceLock<u64>, u64)| *lock.get_or_init(|| mine).unwrap();
    let others = [1, 2, 3].map(|one| start(write, (lock.clone(), one)));
    let found = others.map(|other| other.join().unwrap());
    assert!(found.iter().all(|one| Some(one) == lock.get()), "{found:?}");
    assert_eq!(lock.set(9).unwrap(), Err(9));
    let fresh = OnceLock::<u64>::new().unwrap();
    assert_eq!(fresh.set(9).unwrap(), Ok(()));
    assert_eq!((fresh.get(), fresh == lock), (Some(&9), false));
}

fn hang((once, _, word): (Once, Atomic<u32>, u32)) {
    once.call_once(|| report_and_hang(word)).unwrap();
}

/// The one that did it is gone; exactly one of those that waited does it again.
fn killed_while_it_runs() {
    let (parts, running) = (parts(), word());
    let first = start(hang, (parts.0.clone(), parts.1.clone(), running));
    ledger::wait(running);
    let others = [0; 3].map(|_| start(run, parts.clone()));
    await_waits(3);
    assert!(!parts.0.is_completed());
    kill(&first);
    for other in others {
        other.join().unwrap();
    }
    run(parts);
}

fn panic_while_it_runs() {
    let parts = parts();
    let first = catch_unwind(AssertUnwindSafe(|| {
        parts.0.call_once(|| panic!("as it should"))
    }));
    assert!(first.is_err() && !parts.0.is_completed());
    let panics = |(once, _): Parts| once.call_once(|| panic!("as it should")).is_ok();
    assert!(start(panics, parts.clone()).join().is_err());
    run(parts);
}

fn exec((once, running): (Once, u32)) {
    once.call_once(|| {
        ledger::set(running, 1);
        os::become_sleep();
    })
    .unwrap();
}

fn exec_while_it_runs() {
    let (parts, running) = (parts(), word());
    let first = start(exec, (parts.0.clone(), running));
    ledger::wait(running);
    run(parts);
    kill(&first);
}

fn killed_waiter() {
    let (parts, running) = (parts(), word());
    let first = start(hang, (parts.0.clone(), parts.1.clone(), running));
    ledger::wait(running);
    let [one, other] = [0; 2].map(|_| start(run, parts.clone()));
    await_waits(2);
    kill(&one);
    kill(&first);
    other.join().unwrap();
}

fn stopped_runner_is_waited_for() {
    let (parts, running) = (parts(), word());
    let first = start(hang, (parts.0.clone(), parts.1.clone(), running));
    ledger::wait(running);
    stop(first.pid());
    let other = start(run, parts.clone());
    await_waits(1);
    start(|()| (), ()).join().unwrap();
    await_waits(1);
    assert_eq!(parts.1.load(Relaxed), 0);
    kill(&first);
    other.join().unwrap();
}

fn recursion_panics() {
    let parts = parts();
    let inner = catch_unwind(AssertUnwindSafe(|| {
        parts.0.call_once(|| parts.0.call_once(|| ()).unwrap())
    }));
    assert!(inner.is_err());
    run(parts);
}

type Large = OnceLock<[u64; 10_000]>;

fn large_value() {
    let lock = Large::new().unwrap();
    let other = start(
        |lock: Large| {
            lock.get_or_init(|| [7; 10_000])
                .unwrap()
                .iter()
                .sum::<u64>()
        },
        lock.clone(),
    );
    assert_eq!(other.join().unwrap(), 70_000);
    assert_eq!(lock.get(), Some(&[7; 10_000]));
}

fn hang_in_a_value((lock, running): (Large, u32)) {
    lock.get_or_init(|| {
        report_and_hang(running);
        [1; 10_000]
    })
    .unwrap();
}

fn killed_half_way_through_a_value() {
    let (lock, running) = (Large::new().unwrap(), word());
    let first = start(hang_in_a_value, (lock.clone(), running));
    ledger::wait(running);
    kill(&first);
    assert_eq!(lock.get(), None);
    assert_eq!(lock.get_or_init(|| [3; 10_000]).unwrap(), &[3; 10_000]);
}
