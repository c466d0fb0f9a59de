//! Many callers of one pool, many pools, pools within pools, iterators with a life of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use procession_pool::Pool;
use procession_testkit::{Case, cases, eventually, heap_is_back, heap_units, ledger, os};

use crate::support::agent::{self, Bytes};
use crate::support::usable::{check_usable, warm_up};
use crate::threads;

pub(crate) fn cases() -> Vec<Case> {
    cases![threads:
        eight_threads, more_tasks_than_cells, a_crowd, several_pools, nested_pools,
        nested_in_a_worker_that_dies, pool_moves_between_threads, iterator_panics,
        iterator_panics_with_much_on_the_way, iterator_uses_the_pool,
        iterators_that_want_cells, iterator_drops_items_that_panic, items_are_dropped,
    ]
    .into()
}

fn eight_threads() {
    let pool = Pool::with_workers(3).unwrap();
    thread::scope(|scope| {
        for number in 0..8_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..20 {
                    let base = number * 1_000_000 + round * 1000;
                    if round % 2 == 0 {
                        let view = pool.chunksize(1 + (round + number) as usize);
                        let found = view.map(|n: u64| n + 1, base..base + 300).unwrap();
                        assert!(found.into_iter().eq(base + 1..base + 301));
                    } else {
                        for n in base..base + 100 {
                            assert_eq!(pool.apply(|n: u64| n + 1, n).unwrap(), n + 1);
                        }
                    }
                }
            });
        }
    });
    check_usable(&pool);
}

fn more_tasks_than_cells() {
    let pool = Pool::with_workers(2).unwrap();
    thread::scope(|scope| {
        for number in 0..6_u64 {
            let pool = &pool;
            scope.spawn(move || {
                let range = number * 100_000..number * 100_000 + 10_000;
                let found = pool.chunksize(1).map(|n: u64| n, range.clone()).unwrap();
                assert!(found.into_iter().eq(range));
            });
        }
    });
    check_usable(&pool);
}

/// More callers at once than the pool has room for.
fn a_crowd() {
    const CALLERS: u32 = 2300;
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    thread::scope(|scope| {
        for number in 0..CALLERS {
            let pool = &pool;
            let builder = thread::Builder::new().stack_size(128 << 10);
            let call = move || {
                let wait = |(gate, number): (u32, u32)| {
                    ledger::wait(gate);
                    number
                };
                let found = if number % 2 == 0 {
                    pool.apply(wait, (gate, number)).unwrap()
                } else {
                    pool.map(wait, [(gate, number)]).unwrap()[0]
                };
                assert_eq!(found, number);
            };
            builder.spawn_scoped(scope, call).unwrap();
        }
        ledger::set(gate, 1);
    });
    check_usable(&pool);
}

fn several_pools() {
    let pools: Vec<Pool> = (1..=4).map(|n| Pool::with_workers(n).unwrap()).collect();
    thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(move || {
                for _ in 0..10 {
                    let found = pool.map(|n: u32| n * 2, 0..500).unwrap();
                    assert!(found.into_iter().eq((0..500).map(|n| n * 2)));
                }
            });
        }
    });
    drop(pools);
    // One after the other.
    for n in 0..50 {
        let pool = Pool::with_workers(1 + n % 3).unwrap();
        assert_eq!(pool.apply(|n: usize| n, n).unwrap(), n);
    }
}

fn inner(n: u32) -> u32 {
    let pool = Pool::with_workers(2).unwrap();
    pool.map(|n: u32| n + 1, 0..n).unwrap().into_iter().sum()
}

fn nested_pools() {
    let pool = Pool::with_workers(2).unwrap();
    let found = pool.map(inner, 0..10).unwrap();
    assert!(found.into_iter().eq((0..10).map(|n| n * (n + 1) / 2)));
    // Three levels.
    let outer = |n: u32| Pool::with_workers(1).unwrap().apply(inner, n).unwrap();
    assert_eq!(pool.map(outer, [4, 5]).unwrap(), [10, 15]);
}

/// F67: what the dead worker had started is gone, too; the runner looks for it.
fn nested_in_a_worker_that_dies() {
    let pool = Pool::with_workers(1).unwrap();
    let gate = ledger::reserve(1);
    let outcome = thread::scope(|scope| {
        let call = scope.spawn(|| {
            let outer = |gate: u32| {
                let pool = Pool::with_workers(3).unwrap();
                let inner = |gate: u32| {
                    ledger::note(gate);
                    os::sleep_for_ever();
                };
                pool.map(inner, [gate; 3]).unwrap();
            };
            pool.apply(outer, gate)
        });
        ledger::wait_for(gate, 3);
        let pid = pool.worker_pids()[0];
        os::send(pid, rustix::process::Signal::KILL);
        call.join().unwrap()
    });
    crate::deaths::check_killed(&outcome, procession_pool::Phase::Running);
    check_usable(&pool);
}

fn pool_moves_between_threads() {
    let mut pool = Pool::with_workers(2).unwrap();
    for n in 0..5 {
        pool = thread::spawn(move || {
            assert_eq!(pool.apply(|n: u32| n, n).unwrap(), n);
            pool
        })
        .join()
        .unwrap();
    }
    thread::spawn(move || drop(pool)).join().unwrap();
}

fn panicking_at(at: u64, len: u64) -> impl Iterator<Item = u64> {
    (0..len).inspect(move |n| assert!(*n != at, "the iterator's panic"))
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or_default()
}

fn iterator_panics() {
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [1, 2, 100] {
        for at in [0, 2, 49, 99] {
            let view = pool.chunksize(chunksize);
            let attempt = || view.map(|n: u64| n, panicking_at(at, 100));
            let payload = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
            assert_eq!(message(&*payload), "the iterator's panic");
            let attempt = || pool.map_results(|n: u64| n, panicking_at(at, 100));
            let payload = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
            assert_eq!(message(&*payload), "the iterator's panic");
            check_usable(&pool);
        }
    }
}

/// What was on the way holds memory, which must come back with the pool at the latest.
fn iterator_panics_with_much_on_the_way() {
    let before = heap_units();
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let with_pool = heap_units();
    let gate = ledger::reserve(1);
    let slow = |(gate, bytes): (u32, Bytes)| {
        ledger::wait(gate);
        bytes
    };
    let items = || panicking_at(40, 50).map(move |n| (gate, Bytes(vec![n as u8; 100_000])));
    for chunksize in [1, 3] {
        ledger::set(gate, 0);
        let attempt = || pool.chunksize(chunksize).map(slow, items());
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
        ledger::set(gate, 1);
        eventually("the memory is back", || {
            check_usable(&pool);
            match heap_units() {
                now if now == with_pool => Ok(()),
                now => Err(format!("{now} units, {with_pool} before")),
            }
        });
    }
    // Now the pool goes while they run.
    ledger::set(gate, 0);
    let attempt = || pool.chunksize(1).map(slow, items());
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
    drop(pool);
    heap_is_back("the memory is back", before);
}

fn iterator_uses_the_pool() {
    let pool = Pool::with_workers(1).unwrap();
    for chunksize in [1, 10, 500] {
        let applied = (0..300_u64).map(|n| pool.apply(|n: u64| n * 2, n).unwrap());
        let found = pool.chunksize(chunksize).map(|n: u64| n + 1, applied);
        assert!(found.unwrap().into_iter().eq((0..300).map(|n| n * 2 + 1)));
        let mapped = (0..30_u64).flat_map(|n| pool.map(|n: u64| n * 2, 0..n).unwrap());
        let found = pool.chunksize(chunksize).map(|n: u64| n + 1, mapped);
        let expected = (0..30_u64).flat_map(|n| (0..n).map(|n| n * 2 + 1));
        assert!(found.unwrap().into_iter().eq(expected));
    }
}

/// Every caller has as much on the way as it may, and then its iterator wants to use the pool.
fn iterators_that_want_cells() {
    const CALLERS: u32 = 4;
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(3);
    let (gate, taken, full) = (words, words + 1, words + 2);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let items = (0..600_u32).map(|n| {
                    ledger::note(taken);
                    // With 2 cells more for each, that makes 2048.
                    if n == 510 {
                        ledger::note(full);
                        ledger::wait(gate);
                        assert_eq!(pool.apply(|n: u32| n, n).unwrap(), n);
                    }
                    (gate, n)
                });
                let wait = |(gate, n): (u32, u32)| {
                    ledger::wait(gate);
                    n
                };
                let found = pool.chunksize(1).map(wait, items).unwrap();
                assert!(found.into_iter().eq(0..600));
            });
        }
        // Until all have got there, or the pool has stopped them earlier.
        let mut before = 0;
        ledger::wait(taken);
        while ledger::get(full) < CALLERS && before != ledger::get(taken) {
            before = ledger::get(taken);
            thread::sleep(Duration::from_millis(200));
        }
        ledger::set(gate, 1);
    });
    check_usable(&pool);
}

/// An item whose drop panics in the caller, after it was encoded.
fn iterator_drops_items_that_panic() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Mine(u32);
    impl Drop for Mine {
        fn drop(&mut self) {
            assert!(self.0 != 30 || !ledger::is_program(), "the item's drop");
        }
    }
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [1, 100] {
        let attempt = || {
            let view = pool.chunksize(chunksize);
            view.map_results(|item: Mine| item.0, (0..60).map(Mine))
        };
        let payload = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
        assert_eq!(message(&*payload), "the item's drop");
        check_usable(&pool);
    }
}

/// L17: nothing keeps items or values.
fn items_are_dropped() {
    use std::sync::Arc;
    let token = Arc::new(());
    let pool = Pool::with_workers(2).unwrap();
    let held = (0..100_u32).map({
        let token = Arc::clone(&token);
        move |n| {
            let _item = Arc::clone(&token);
            n
        }
    });
    drop(pool.map(|n: u32| n, held).unwrap());
    assert_eq!(Arc::strong_count(&token), 1);
    let plans = agent::good(10);
    let outcomes = pool.map_results(agent::work, agent::items(&plans));
    agent::check_all(&plans, &outcomes);
}
