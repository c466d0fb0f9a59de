//! The storm: callers map while a killer kills random workers; an oracle checks every outcome.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession_pool::{Phase, Pool, TaskError};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::dice::dice;
use super::runner::{check_usable, warm_up};
use super::{eventually, heap_units, ledger, os, procfs};

const CALLERS: u64 = 4;
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
    let start = Instant::now();
    while start.elapsed().as_nanos() < u128::from(order.nanos) {
        std::hint::spin_loop();
    }
    (order.id, vec![order.id as u8; order.size as usize])
}

#[derive(Default)]
struct Tally {
    ok: AtomicU64,
    died: AtomicU64,
    kills: AtomicU64,
}

/// A storm of so many seconds.
pub(crate) fn blow(seconds: u64) {
    let before = heap_units();
    let pool = Pool::with_workers(WORKERS).unwrap();
    warm_up(&pool);
    let with_pool = heap_units();
    let over = AtomicBool::new(false);
    let tally = Tally::default();
    let killed = Mutex::new(Vec::new());
    let until = Instant::now() + Duration::from_secs(seconds);
    thread::scope(|scope| {
        let killed = &killed;
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| {
                let (pool, tally) = (&pool, &tally);
                scope.spawn(move || {
                    while Instant::now() < until {
                        call(pool, number, tally);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(1000 + dice(19_000)));
                let pids = pool.worker_pids();
                // Now and then all at once.
                let most = if dice(20) == 0 { pids.len() } else { 1 };
                let first = dice(pids.len() as u64) as usize;
                for pid in pids.iter().cycle().skip(first).take(most) {
                    os::send(*pid, Signal::KILL);
                    killed.lock().unwrap().push(*pid);
                    tally.kills.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let ended: Vec<_> = callers
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        over.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    // The last ones may still be on their way out.
    let killed = killed.into_inner().unwrap();
    procfs::await_end(&killed[killed.len().saturating_sub(10)..]);
    check_usable(&pool);
    // Each worker has memory of its own: all must be there again.
    warm_up(&pool);
    eventually("the memory of the calls is back", || match heap_units() {
        now if now == with_pool => Ok(()),
        now => Err(format!("{now} units, {with_pool} before")),
    });
    drop(pool);
    eventually("the memory of the pool is back", || match heap_units() {
        now if now == before => Ok(()),
        now => Err(format!("{now} units, {before} before")),
    });
    println!(
        "  ({} items, {} died, {} kills)",
        tally.ok.load(Ordering::Relaxed) + tally.died.load(Ordering::Relaxed),
        tally.died.load(Ordering::Relaxed),
        tally.kills.load(Ordering::Relaxed),
    );
}

fn call(pool: &Pool, caller: u64, tally: &Tally) {
    let count = 1 + dice(200) as u32;
    let first = reserve(count);
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
    let outcomes = match (caller + dice(4)) % 4 {
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

/// Words of the ledger; from the start again in a long storm, when those there are long judged.
fn reserve(count: u32) -> u32 {
    const RING: u32 = 8_000_000;
    static FIRST: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let base = *FIRST.get_or_init(|| ledger::reserve(RING + 1000));
    let next = NEXT.fetch_add(u64::from(count), Ordering::Relaxed);
    let first = base + (next % u64::from(RING)) as u32;
    (first..first + count).for_each(|id| ledger::set(id, 0));
    first
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
