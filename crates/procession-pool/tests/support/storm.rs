//! The storm: callers map while a killer kills random workers; an oracle checks every outcome.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use procession_pool::{Phase, Pool, TaskError};
use procession_testkit::dice::dice;
use procession_testkit::{heap_is_back, heap_units, ledger, pause, storm};
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
