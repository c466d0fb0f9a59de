//! What executors and kills use up: nothing.

use procession_executor::{Executor, TaskError};
use procession_testkit::{Case, eventually, heap_units, ledger, os, procfs};
use rustix::process::Signal;

use crate::common::{check_cancelled, check_usable};
use crate::workers::{hold, warm_up, with_workers};

/// What there is of ours.
fn possessions() -> (usize, u32) {
    (procfs::descriptors(std::process::id()), heap_units())
}

#[track_caller]
fn everything_is_back(before: (usize, u32), mut settle: impl FnMut()) {
    eventually("everything is back", || {
        settle();
        match possessions() {
            now if now == before => Ok(()),
            now => Err(format!("{now:?}, {before:?} before")),
        }
    });
}

/// F130 and F131: the thousands are in the storm.
pub(crate) fn cases() -> [Case; 2] {
    [
        Case::new("wear::f130_many_executors", || make_and_drop(60)),
        Case::new("wear::f131_many_kills", || kill_futures(100)),
    ]
}

/// Executors that come and go, each with something under way.
pub(crate) fn make_and_drop(executors: u32) {
    warm_up(&with_workers(2));
    let before = possessions();
    for n in 0..executors {
        let executor = with_workers(1 + n as usize % 2);
        match n % 6 {
            0 => {}
            1 => check_usable(&executor),
            2 => drop(executor.submit(|n: u32| n, 1)),
            3 => drop(executor.submit(|()| os::raise(libc::SIGKILL), ())),
            4 => {
                let futures = (0..20).map(|n| executor.submit(|n: u32| n, n));
                let futures: Vec<_> = futures.collect();
                executor.kill_workers();
                drop(futures);
            }
            _ => {
                let mut map = executor.map(|n: u32| n, 0..100);
                assert_eq!(map.next().unwrap().unwrap(), 0);
                drop(executor);
                // Its handle is there, and nobody else.
                drop(map);
            }
        }
    }
    everything_is_back(before, || ());
}

/// Running futures that are killed one by one, in every way there is.
pub(crate) fn kill_futures(kills: u32) {
    let executor = with_workers(2);
    let gate = ledger::reserve(1);
    let hit = |n: u32| {
        let id = ledger::recycle(1);
        let future = executor.submit(hold, (id, gate));
        let pid = ledger::wait(id);
        match n % 3 {
            0 => {
                assert!(future.kill());
                check_cancelled(&future.result());
            }
            1 => drop(future.kill_on_drop()),
            _ => {
                os::send(pid, Signal::KILL);
                let outcome = future.result();
                assert!(
                    matches!(outcome, Err(TaskError::WorkerDied(_))),
                    "{outcome:?}"
                );
            }
        }
    };
    // The keeper is there for good.
    (0..3).for_each(hit);
    warm_up(&executor);
    let before = possessions();
    (0..kills).for_each(hit);
    check_usable(&executor);
    everything_is_back(before, || warm_up(&executor));
}
