//! F: cancelled, killed and timed out at any moment.

use std::time::Duration;

use procession_executor::{Executor, Future, ReturnWhen, TaskError, wait};
use procession_testkit::dice::dice;
use procession_testkit::{Case, cases, heap_is_back, heap_units, ledger, os, pause};

use crate::agent::Bytes;
use crate::common::{check_cancelled, check_usable};
use crate::faults::races as faults;
use crate::workers::with_workers;

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f100_cancel_at_every_stage, f102_time_out_at_completion, f102_kill_at_completion,
        f103_cancel_the_queued_then_the_running, f104_cancel_all_large_ones, f106_fail_fast,
        f107_many_cancels,
    ]
    .into()
}

fn hold((id, gate): (u32, u32)) -> u32 {
    ledger::note(id);
    ledger::wait(gate);
    id
}

/// The truth table: what the calls say, and what the states are.
fn f100_cancel_at_every_stage() {
    let executor = with_workers(1);
    let ids = ledger::reserve(6);
    let gate = ids + 5;
    let submit = |n: u32| executor.submit(hold, (ids + n, gate));
    let state = |future: &Future<u32>| (future.running(), future.done(), future.cancelled());
    let running = submit(0);
    let [next, later] = [submit(1), submit(2)];
    ledger::wait(ids);
    assert_eq!(state(&running), (true, false, false));
    assert!(!running.cancel() && !running.cancel());
    // The next one may be prefetched by the worker: it counts as queued.
    assert_eq!(state(&next), (false, false, false));
    assert!(next.cancel() && next.cancel() && next.kill());
    assert!(later.kill() && later.cancel());
    for future in [next, later] {
        assert_eq!(state(&future), (false, true, true));
        check_cancelled(&future.result());
    }
    ledger::set(gate, 1);
    running.wait();
    assert!(!running.cancel() && !running.kill());
    assert_eq!(state(&running), (false, true, false));
    assert_eq!(running.result().unwrap(), ids);
    // Running, and meant to be ended.
    ledger::set(gate, 0);
    let running = submit(3);
    ledger::wait(ids + 3);
    assert!(running.kill() && running.kill() && running.cancel());
    assert_eq!(state(&running), (false, true, true));
    check_cancelled(&running.result());
    ledger::set(gate, 1);
    check_usable(&executor);
    assert_eq!(submit(4).result().unwrap(), ids + 4);
    let runs: Vec<u32> = (ids..ids + 5).map(ledger::get).collect();
    assert_eq!(runs, [1, 0, 0, 1, 1]);
}

fn wait_for_so_long((id, nanos): (u32, u64)) -> u32 {
    ledger::note(id);
    pause(Duration::from_nanos(nanos));
    id
}

/// The time is up about when the value is there: it is the one or the other.
fn f102_time_out_at_completion() {
    const LIMIT: u64 = 2_000_000;
    let limit = Duration::from_nanos(LIMIT);
    let executor = with_workers(2);
    let timed = executor.timeout(limit);
    let (mut there, mut late) = (0, 0);
    for round in 0..25 {
        let first = ledger::reserve(20);
        let near = |id| (id, LIMIT - 600_000 + dice(1_200_000));
        let items = (first..first + 20).map(near);
        let submit = |item| timed.submit(wait_for_so_long, item);
        let outcomes: Vec<_> = match round % 3 {
            0 => timed.chunksize(5).map(wait_for_so_long, items).collect(),
            1 => {
                let futures: Vec<_> = items.map(submit).collect();
                futures.into_iter().map(Future::result).collect()
            }
            _ => crate::ways::block_on_all(items.map(submit)),
        };
        assert_eq!(outcomes.len(), 20);
        for (id, outcome) in (first..).zip(outcomes) {
            match outcome {
                Ok(value) => {
                    assert_eq!((value, ledger::get(id)), (id, 1));
                    there += 1;
                }
                Err(TaskError::TimedOut(after)) => {
                    assert_eq!(after, limit);
                    assert!(ledger::get(id) <= 1);
                    late += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    println!("  ({there} in time, {late} late)");
    assert!(there > 0 && late > 0, "neither is a race");
    check_usable(&executor);
}

/// As above, by `kill` and `cancel`, which say which one it is.
fn f102_kill_at_completion() {
    let executor = with_workers(2);
    let (mut there, mut ended) = (0, 0);
    for round in 0..600 {
        let id = ledger::reserve(1);
        let future = executor.submit(wait_for_so_long, (id, 100_000));
        if round % 2 == 0 {
            ledger::wait(id);
        }
        pause(Duration::from_nanos(dice(160_000)));
        let killed = if round % 5 == 4 {
            future.cancel()
        } else {
            future.kill()
        };
        assert_eq!(future.cancelled(), killed);
        match future.result() {
            Ok(value) => {
                assert_eq!((killed, value, ledger::get(id)), (false, id, 1));
                there += 1;
            }
            Err(TaskError::Cancelled) => {
                assert!(killed && ledger::get(id) <= 1);
                ended += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    println!("  ({there} values, {ended} ended)");
    check_usable(&executor);
}

fn f103_cancel_the_queued_then_the_running() {
    let executor = with_workers(1);
    for _ in 0..20 {
        let ids = ledger::reserve(4);
        let [one, two, three] = [0, 1, 2].map(|n| executor.submit(hold, (ids + n, ids + 3)));
        ledger::wait(ids);
        assert!(two.cancel());
        assert!(one.kill());
        ledger::wait(ids + 2);
        ledger::set(ids + 3, 1);
        assert_eq!(three.result().unwrap(), ids + 2);
        check_cancelled(&one.result());
        check_cancelled(&two.result());
        assert_eq!(ledger::get(ids + 1), 0);
    }
}

fn f104_cancel_all_large_ones() {
    let before = heap_units();
    let executor = with_workers(2);
    let begun = ledger::reserve(1);
    let make = |(begun, n): (u32, u8)| {
        ledger::note(begun);
        Bytes(vec![n; 8 << 20])
    };
    let futures: Vec<_> = (0..50).map(|n| executor.submit(make, (begun, n))).collect();
    ledger::wait_for(begun, 3);
    for future in &futures {
        future.kill();
    }
    for future in futures {
        match future.result() {
            Ok(Bytes(bytes)) => assert_eq!(bytes.len(), 8 << 20),
            Err(TaskError::Cancelled) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    drop(executor);
    heap_is_back("the memory is back", before);
}

/// The first failure is enough: whoever waited for it ends the others.
fn f106_fail_fast() {
    let executor = with_workers(8);
    let begun = ledger::reserve(1);
    let work = |(begun, n): (u32, u32)| {
        ledger::note(begun);
        if n == 7 {
            ledger::wait_for(begun, 8);
            panic!("the task's panic");
        }
        os::sleep_for_ever();
    };
    let futures = (0..20).map(|n| executor.submit(work, (begun, n)));
    let (mut done, others) = wait(futures, ReturnWhen::FirstException);
    assert_eq!((done.len(), others.len()), (1, 19));
    let error = done.remove(0).result().unwrap_err();
    assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
    // From the last, so that none of them begins in place of another.
    for future in others.iter().rev() {
        assert!(future.kill());
    }
    for future in others {
        check_cancelled(&future.result());
    }
    assert!(
        ledger::get(begun) <= 9,
        "one may have come after the failure"
    );
    check_usable(&executor);
    assert_eq!(executor.pool().worker_pids().len(), 8);
}

fn f107_many_cancels() {
    let before = heap_units();
    let executor = with_workers(2);
    let ids = ledger::reserve(4);
    let submit = |n| executor.submit(hold, (ids + n, ids + 2));
    let busy: Vec<_> = (0..2).map(submit).collect();
    ledger::wait(ids);
    ledger::wait(ids + 1);
    let pids = executor.pool().worker_pids();
    let never = ids + 3;
    for round in 0..5 {
        let submit = |_| executor.submit(ledger::note, never);
        let mut futures: Vec<_> = (0..2000).map(submit).collect();
        if round % 2 == 0 {
            futures.reverse();
        }
        assert!(futures.iter().all(Future::cancel));
        futures
            .into_iter()
            .for_each(|future| check_cancelled(&future.result()));
        // By drops.
        (0..500)
            .map(submit)
            .for_each(|future| drop(future.cancel_on_drop()));
        (0..500)
            .map(submit)
            .for_each(|future| drop(future.kill_on_drop()));
    }
    ledger::set(ids + 2, 1);
    for future in busy {
        future.result().unwrap();
    }
    check_usable(&executor);
    assert_eq!(ledger::get(never), 0);
    assert_eq!(executor.pool().worker_pids(), pids, "no worker was hit");
    drop(executor);
    heap_is_back("the memory is back", before);
}
