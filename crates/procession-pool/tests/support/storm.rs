//! Storms: calls of all kinds while workers are killed at random; an oracle checks every outcome.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use procession_pool::{Phase, Pool, TaskError};
use procession_testkit::dice::dice;
use procession_testkit::{eventually, heap_is_back, heap_units, ledger, os, pause, procfs, storm};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::usable::{check_usable, warm_up};

const CALLERS: usize = 4;
const WORKERS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    id: u32,
    /// How long it takes.
    nanos: u32,
    /// Bytes of the value.
    size: u32,
}

fn deliver(order: Order) -> (u32, Vec<u8>) {
    ledger::note(order.id);
    pause(Duration::from_nanos(u64::from(order.nanos)));
    (order.id, vec![order.id as u8; order.size as usize])
}

#[derive(Default)]
struct Tally {
    ok: AtomicU64,
    died: AtomicU64,
}

/// A storm of so many seconds.
pub(crate) fn blow(seconds: u64) {
    let before = heap_units();
    let pool = Pool::with_workers(WORKERS).unwrap();
    warm_up(&pool);
    let with_pool = heap_units();
    let tally = Tally::default();
    let kills = storm::blow(
        seconds,
        CALLERS,
        |caller| call(&pool, caller, &tally),
        || pool.worker_pids(),
    );
    check_usable(&pool);
    // Each worker has memory of its own: all must be there again.
    warm_up(&pool);
    heap_is_back("the memory of the calls is back", with_pool);
    drop(pool);
    heap_is_back("the memory of the pool is back", before);
    let (ok, died) = (tally.ok.into_inner(), tally.died.into_inner());
    println!("  ({} items, {died} died, {kills} kills)", ok + died);
}

fn call(pool: &Pool, caller: usize, tally: &Tally) {
    let count = 1 + dice(200) as u32;
    let first = ledger::recycle(count);
    let largest = [20, 250, 100_000][dice(3) as usize];
    let orders: Vec<Order> = (first..first + count)
        .map(|id| Order {
            id,
            nanos: dice(200_000) as u32,
            size: if dice(10) == 0 {
                dice(largest) as u32
            } else {
                5
            },
        })
        .collect();
    let outcomes = match (caller as u64 + dice(4)) % 4 {
        0 => orders
            .iter()
            .map(|order| pool.apply(deliver, *order))
            .collect(),
        1 => pool.map_results(deliver, orders.clone()),
        _ => pool
            .chunksize(1 + dice(30) as usize)
            .map_results(deliver, orders.clone()),
    };
    assert_eq!(outcomes.len(), orders.len(), "one outcome per item");
    for (order, outcome) in orders.iter().zip(&outcomes) {
        judge(order, outcome, tally);
    }
}

fn judge(order: &Order, outcome: &Result<(u32, Vec<u8>), TaskError>, tally: &Tally) {
    let runs = ledger::get(order.id);
    match outcome {
        Ok((id, body)) => {
            assert_eq!(*id, order.id);
            assert_eq!(*body, vec![order.id as u8; order.size as usize]);
            assert_eq!(runs, 1, "runs of {order:?}");
            tally.ok.fetch_add(1, Ordering::Relaxed);
        }
        Err(TaskError::WorkerDied(death)) => {
            assert_eq!(
                (death.signal(), death.exit_code()),
                (Some(9), None),
                "{death}"
            );
            match death.phase() {
                Phase::Decoding => assert_eq!(runs, 0, "{order:?}"),
                Phase::Running => assert!(runs <= 1, "{order:?} ran {runs} times"),
                Phase::Encoding => assert_eq!(runs, 1, "{order:?}"),
                phase => panic!("an item died {phase}"),
            }
            tally.died.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => panic!("{order:?}: {error:?}"),
    }
}

/// Which call tasks go through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Through {
    Map,
    Imap,
    Submit,
}

fn take_a_millisecond(id: u32) -> u32 {
    ledger::note(id);
    pause(Duration::from_millis(1));
    id
}

/// F49: tasks of a millisecond, tried up to eleven times each, while a random worker is killed
/// every 20 ms on average. Each has its value, once, and has run at least once.
pub(crate) fn poisson(through: Through, tasks: u32) {
    const MEAN: f64 = 0.02;
    let pool = Pool::with_workers(WORKERS).unwrap();
    let over = AtomicBool::new(false);
    let first = ledger::reserve(tasks);
    let ids = first..first + tasks;
    let (outcomes, kills) = thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut killed = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let chance = (1 + dice(1_000_000)) as f64 / 1_000_000.0;
                thread::sleep(Duration::from_secs_f64(-chance.ln() * MEAN));
                let pids = pool.worker_pids();
                if !pids.is_empty() {
                    let pid = pids[dice(pids.len() as u64) as usize];
                    os::send(pid, Signal::KILL);
                    killed.push(pid);
                }
            }
            killed
        });
        let view = pool.retries(10);
        let outcomes: Vec<_> = match through {
            Through::Map => view.map_results(take_a_millisecond, ids.clone()),
            Through::Imap => {
                let found = view.imap_unordered(take_a_millisecond, ids.clone());
                let mut found: Vec<_> = found.collect();
                found.sort_by_key(|outcome| outcome.as_ref().ok().copied());
                found
            }
            Through::Submit => {
                let submit = |id| view.apply_async(take_a_millisecond, id);
                let handles: Vec<_> = ids.clone().map(submit).collect();
                handles.into_iter().map(|handle| handle.get()).collect()
            }
        };
        over.store(true, Ordering::Relaxed);
        (outcomes, killer.join().unwrap())
    });
    assert_eq!(outcomes.len() as u32, tasks, "one outcome per task");
    let mut runs = 0;
    for (id, outcome) in ids.zip(outcomes) {
        assert_eq!(outcome.unwrap(), id);
        assert!((1..=11).contains(&ledger::get(id)));
        runs += ledger::get(id);
    }
    println!("  ({tasks} tasks, {runs} runs, {} kills)", kills.len());
    procfs::await_end(&kills[kills.len().saturating_sub(5)..]);
    check_usable(&pool);
}

/// Time-outs, kills and cancels of handles, retries, half-read iterators and a changing number of
/// workers, all on one pool, while workers are killed.
pub(crate) fn clash(seconds: u64) {
    let before = heap_units();
    let pool = Pool::with_workers(WORKERS).unwrap();
    let tally = Tally::default();
    let kills = storm::blow(
        seconds,
        6,
        |caller| match caller {
            0 => time_out(&pool, &tally),
            1 | 2 => kill_handles(&pool, &tally),
            3 => try_again(&pool, &tally),
            4 => leave_half_way(&pool, &tally),
            _ => {
                pool.resize(1 + dice(5) as usize).unwrap();
                thread::sleep(Duration::from_micros(dice(10_000)));
            }
        },
        || pool.worker_pids(),
    );
    pool.resize(WORKERS).unwrap();
    check_usable(&pool);
    drop(pool);
    heap_is_back("the memory of the pool is back", before);
    let (ok, not) = (tally.ok.into_inner(), tally.died.into_inner());
    println!("  ({ok} values, {not} others, {kills} kills)");
}

fn orders(count: u32, nanos: u64) -> Vec<Order> {
    let first = ledger::recycle(count);
    let order = |id| Order {
        id,
        nanos: dice(nanos) as u32,
        size: dice(300) as u32,
    };
    (first..first + count).map(order).collect()
}

fn time_out(pool: &Pool, tally: &Tally) {
    let limit = Duration::from_millis(4);
    let orders = orders(20, 5_000_000);
    let view = pool.timeout(limit).chunksize(1 + dice(5) as usize);
    let outcomes = if dice(2) == 0 {
        view.map_results(deliver, orders.clone())
    } else {
        let submit = |order: &Order| view.apply_async(deliver, *order);
        let handles: Vec<_> = orders.iter().map(submit).collect();
        handles.into_iter().map(|handle| handle.get()).collect()
    };
    assert_eq!(outcomes.len(), orders.len(), "one outcome per item");
    for (order, outcome) in orders.iter().zip(&outcomes) {
        if let Err(TaskError::TimedOut(after)) = outcome {
            assert_eq!(*after, limit);
            assert!(ledger::get(order.id) <= 1, "{order:?}");
            tally.died.fetch_add(1, Ordering::Relaxed);
        } else {
            judge(order, outcome, tally);
        }
    }
}

fn kill_handles(pool: &Pool, tally: &Tally) {
    let orders = orders(30, 200_000);
    let submit = |order: &Order| pool.apply_async(deliver, *order);
    let handles: Vec<_> = orders.iter().map(submit).collect();
    pause(Duration::from_nanos(dice(2_000_000)));
    let hit = |handle: &procession_pool::AsyncResult<_>| match dice(4) {
        0 => handle.kill(),
        1 => handle.cancel(),
        _ => false,
    };
    let hits: Vec<bool> = handles.iter().map(hit).collect();
    for ((order, handle), hit) in orders.iter().zip(handles).zip(hits) {
        let outcome = handle.get();
        if let Err(TaskError::Cancelled) = outcome {
            assert!(hit && ledger::get(order.id) <= 1, "{order:?}");
            tally.died.fetch_add(1, Ordering::Relaxed);
        } else {
            assert!(!hit, "{order:?}: {outcome:?}");
            judge(order, &outcome, tally);
        }
    }
}

fn try_again(pool: &Pool, tally: &Tally) {
    let orders = orders(60, 100_000);
    let view = pool.retries(30).chunksize(1 + dice(20) as usize);
    for (order, outcome) in orders.iter().zip(view.map_results(deliver, orders.clone())) {
        let (id, body) = outcome.unwrap();
        assert_eq!((id, body.len()), (order.id, order.size as usize));
        assert!((1..=31).contains(&ledger::get(id)), "{order:?}");
        tally.ok.fetch_add(1, Ordering::Relaxed);
    }
}

fn leave_half_way(pool: &Pool, tally: &Tally) {
    let orders = orders(100, 50_000);
    let view = pool.chunksize(1 + dice(8) as usize);
    let asked = dice(110) as usize;
    let found = view.imap(deliver, orders.clone()).take(asked);
    let mut count = 0;
    for (order, outcome) in orders.iter().zip(found) {
        judge(order, &outcome, tally);
        count += 1;
    }
    assert_eq!(count, asked.min(100), "one outcome per item");
}

/// F130.
pub(crate) fn make_and_drop(pools: u32) {
    warm_up(&Pool::with_workers(2).unwrap());
    let me = std::process::id();
    let look = || (procfs::descriptors(me), heap_units());
    let before = look();
    for n in 0..pools {
        let pool = Pool::with_workers(1 + n as usize % 2).unwrap();
        match n % 5 {
            0 => {}
            1 => check_usable(&pool),
            2 => drop(pool.apply_async(|n: u32| n, 1)),
            3 => {
                let _ = pool.apply(|()| -> () { os::exit_at_once(1) }, ());
            }
            _ => assert_eq!(pool.map_async(|n: u32| n, 0..5).get().unwrap().len(), 5),
        }
    }
    eventually("everything is back", || match look() {
        now if now == before => Ok(()),
        now => Err(format!("{now:?}, {before:?} before")),
    });
}

/// F131, of items that are ended one by one.
pub(crate) fn kill_items(kills: u32) {
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let me = std::process::id();
    let look = || (procfs::descriptors(me), heap_units());
    let hang = |id: u32| {
        ledger::note(id);
        os::sleep_for_ever();
    };
    // The keeper is there for good.
    assert!(pool.apply_async(hang, ledger::reserve(1)).kill());
    warm_up(&pool);
    let before = look();
    for _ in 0..kills {
        let id = ledger::recycle(1);
        let pending = pool.apply_async(hang, id);
        ledger::wait(id);
        assert!(pending.kill());
        let outcome = pending.get();
        assert!(matches!(outcome, Err(TaskError::Cancelled)), "{outcome:?}");
    }
    check_usable(&pool);
    eventually("everything is back", || {
        warm_up(&pool);
        match look() {
            now if now == before => Ok(()),
            now => Err(format!("{now:?}, {before:?} before")),
        }
    });
}
