//! F: cancelled, killed and timed out at any moment.

use std::time::Duration;

use procession_pool::{AsyncResult, Pool, TaskError};
use procession_testkit::dice::dice;
use procession_testkit::{Case, cases, eventually, heap_is_back, heap_units, ledger, os, pause};

use crate::faults::races as faults;
use crate::support::agent::Bytes;
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f100_cancel_at_every_stage, f102_time_out_at_completion, f102_kill_at_completion,
        f103_cancel_the_queued_then_the_running, f104_cancel_all_large_ones,
        f105_deadline_while_queued, f106_fail_fast, f107_many_cancels,
        f109_one_of_several_on_a_worker,
    ]
    .into()
}

fn cancelled<T: Send + 'static + std::fmt::Debug>(handle: AsyncResult<T>) {
    let outcome = handle.get();
    assert!(matches!(outcome, Err(TaskError::Cancelled)), "{outcome:?}");
}

fn hold((id, gate): (u32, u32)) -> u32 {
    ledger::note(id);
    ledger::wait(gate);
    id
}

fn f100_cancel_at_every_stage() {
    let pool = Pool::with_workers(1).unwrap();
    let ids = ledger::reserve(6);
    let gate = ids + 5;
    let submit = |n: u32| pool.apply_async(hold, (ids + n, gate));
    let running = submit(0);
    let [next, later] = [submit(1), submit(2)];
    ledger::wait(ids);
    // Running, next, queued; each twice.
    assert!(!running.cancel() && !running.cancel());
    assert!(next.cancel() && !next.cancel() && !next.kill());
    assert!(later.kill() && !later.cancel());
    cancelled(next);
    cancelled(later);
    ledger::set(gate, 1);
    running.wait();
    assert!(!running.cancel() && !running.kill());
    assert_eq!(running.successful(), Some(true));
    assert_eq!(running.get().unwrap(), ids);
    // Running, and meant to be ended.
    ledger::set(gate, 0);
    let running = submit(3);
    ledger::wait(ids + 3);
    assert!(running.kill() && !running.kill());
    cancelled(running);
    ledger::set(gate, 1);
    check_usable(&pool);
    assert_eq!(submit(4).get().unwrap(), ids + 4);
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
    const LIMIT: u64 = 3_000_000;
    let limit = Duration::from_nanos(LIMIT);
    let pool = Pool::with_workers(2).unwrap();
    let (mut there, mut late) = (0, 0);
    for round in 0..40 {
        let first = ledger::reserve(20);
        let items = || {
            let near = |id| (id, LIMIT - 600_000 + dice(1_200_000));
            (first..first + 20).map(near)
        };
        let view = pool.timeout(limit);
        let outcomes: Vec<_> = match round % 3 {
            0 => view.chunksize(5).map_results(wait_for_so_long, items()),
            1 => view.imap(wait_for_so_long, items()).collect(),
            _ => {
                let handles: Vec<_> = items()
                    .map(|item| view.apply_async(wait_for_so_long, item))
                    .collect();
                handles.into_iter().map(|handle| handle.get()).collect()
            }
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
    check_usable(&pool);
}

/// As above, with a kill of the handle, which says which one it is.
fn f102_kill_at_completion() {
    let pool = Pool::with_workers(2).unwrap();
    let (mut there, mut ended) = (0, 0);
    for round in 0..600 {
        let id = ledger::reserve(1);
        let handle = pool.apply_async(wait_for_so_long, (id, 100_000));
        if round % 2 == 0 {
            ledger::wait(id);
        }
        pause(Duration::from_nanos(dice(160_000)));
        let killed = if round % 5 == 4 {
            handle.cancel()
        } else {
            handle.kill()
        };
        match handle.get() {
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
    check_usable(&pool);
}

fn f103_cancel_the_queued_then_the_running() {
    let pool = Pool::with_workers(1).unwrap();
    for _ in 0..20 {
        let ids = ledger::reserve(4);
        let [one, two, three] = [0, 1, 2].map(|n| pool.apply_async(hold, (ids + n, ids + 3)));
        ledger::wait(ids);
        assert!(two.cancel());
        assert!(one.kill());
        ledger::wait(ids + 2);
        ledger::set(ids + 3, 1);
        assert_eq!(three.get().unwrap(), ids + 2);
        cancelled(one);
        cancelled(two);
        assert_eq!(ledger::get(ids + 1), 0);
    }
}

fn f104_cancel_all_large_ones() {
    let before = heap_units();
    let pool = Pool::with_workers(2).unwrap();
    let begun = ledger::reserve(1);
    let make = |(begun, n): (u32, u8)| {
        ledger::note(begun);
        Bytes(vec![n; 8 << 20])
    };
    let handles: Vec<_> = (0..50)
        .map(|n| pool.apply_async(make, (begun, n)))
        .collect();
    ledger::wait_for(begun, 3);
    for handle in &handles {
        handle.kill();
    }
    for handle in handles {
        match handle.get() {
            Ok(Bytes(bytes)) => assert_eq!(bytes.len(), 8 << 20),
            Err(TaskError::Cancelled) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    pool.close();
    pool.join().unwrap();
    drop(pool);
    heap_is_back("the memory is back", before);
}

/// The time of an item runs from its begin: who does not want to wait for that takes it back.
fn f105_deadline_while_queued() {
    let limit = Duration::from_millis(400);
    let pool = Pool::with_workers(1).unwrap();
    let ids = ledger::reserve(4);
    let running = pool.apply_async(hold, (ids, ids + 3));
    ledger::wait(ids);
    // Longer in the queue than it may run.
    let timed = pool.timeout(limit).apply_async(hold, (ids + 1, ids + 3));
    let mut late = pool.apply_async(hold, (ids + 2, ids + 3));
    assert!(late.get_timeout(limit * 2).is_none());
    assert!(late.cancel());
    cancelled(late);
    assert!(!timed.ready());
    ledger::set(ids + 3, 1);
    assert_eq!(running.get().unwrap(), ids);
    assert_eq!(timed.get().unwrap(), ids + 1);
    assert_eq!(ledger::get(ids + 2), 0, "it never ran");
    check_usable(&pool);
}

fn f106_fail_fast() {
    let pool = Pool::with_workers(8).unwrap();
    for submit in [true, false] {
        let begun = ledger::reserve(1);
        let work = |(begun, n): (u32, u32)| {
            ledger::note(begun);
            if n == 7 {
                ledger::wait_for(begun, 8);
                panic!("as planned");
            }
            os::sleep_for_ever();
        };
        let items = (0..20).map(|n| (begun, n));
        let view = pool.chunksize(1).fail_fast();
        if submit {
            let error = view.map_async(work, items).get().unwrap_err();
            assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
        } else {
            let outcomes = view.map_results(work, items);
            assert_eq!(outcomes.len(), 20);
            for (n, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Err(TaskError::Panicked(_)) => assert_eq!(n, 7),
                    Err(TaskError::Cancelled) => assert_ne!(n, 7),
                    other => panic!("{other:?}"),
                }
            }
        }
        check_usable(&pool);
        assert!(ledger::get(begun) < 20, "the last ones are left alone");
        assert_eq!(pool.worker_pids().len(), 8);
    }
}

fn f107_many_cancels() {
    let before = heap_units();
    let pool = Pool::with_workers(2).unwrap();
    let ids = ledger::reserve(3);
    let busy: Vec<_> = (0..2)
        .map(|n| pool.apply_async(hold, (ids + n, ids + 2)))
        .collect();
    ledger::wait(ids);
    ledger::wait(ids + 1);
    let pids = pool.worker_pids();
    let never = ledger::reserve(1);
    for _ in 0..5 {
        let handles: Vec<_> = (0..2000)
            .map(|_| pool.apply_async(ledger::note, never))
            .collect();
        for handle in &handles {
            assert!(handle.cancel());
        }
        handles.into_iter().for_each(cancelled);
    }
    ledger::set(ids + 2, 1);
    for handle in busy {
        handle.get().unwrap();
    }
    assert_eq!(ledger::get(never), 0);
    check_usable(&pool);
    assert_eq!(pool.worker_pids(), pids, "no worker was hit");
    drop(pool);
    heap_is_back("the memory is back", before);
}

/// A worker has one task at a time: those that wait for it are touched no more than others.
fn f109_one_of_several_on_a_worker() {
    let pool = Pool::with_workers(1).unwrap();
    let ids = ledger::reserve(31);
    let gate = ids + 30;
    let handles: Vec<_> = (0..30)
        .map(|n| pool.apply_async(hold, (ids + n, gate)))
        .collect();
    ledger::wait(ids);
    let (hit, others): (Vec<_>, Vec<_>) =
        (0..).zip(handles).partition(|(n, _): &(u32, _)| n % 7 == 0);
    for (n, handle) in &hit {
        assert!(if *n == 0 {
            handle.kill()
        } else {
            handle.cancel()
        });
    }
    ledger::set(gate, 1);
    for (n, handle) in others {
        assert_eq!(handle.get().unwrap(), ids + n);
        assert_eq!(ledger::get(ids + n), 1);
    }
    for (n, handle) in hit {
        cancelled(handle);
        assert_eq!(ledger::get(ids + n), u32::from(n == 0));
    }
    // Of one call: what of it has not begun goes, and the other call does not notice.
    let gate = ledger::reserve(1);
    let one = pool.chunksize(1).map_async(hold, vec![(ids, gate); 10]);
    let other = pool.chunksize(1).map_async(hold, vec![(ids, gate); 10]);
    eventually("it runs", || {
        (ledger::get(ids) > 1).then_some(()).ok_or_else(String::new)
    });
    assert!(one.kill());
    cancelled(one);
    ledger::set(gate, 1);
    assert_eq!(other.get().unwrap(), vec![ids; 10]);
    warm_up(&pool);
}
