//! B and C: items on their way to a worker.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use procession_executor::{Executor, Future, Phase, TaskError};
use procession_testkit::{Case, cases, heap_is_back, heap_units, ledger, os};
use rustix::process::Signal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::agent::{self, Act, Bytes, Item, Plan, Stage, Value, work};
use crate::common::check_usable;
use crate::faults::sending as faults;
use crate::kills::check_survivors;
use crate::ways::block_on_all;
use crate::workers::{warm_up, with_workers};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f21_hundred_bad_then_hundred_good, f22_large_items, f23_killed_while_the_item_is_written,
        f25_submitters_and_a_killer, f26_more_than_there_is_room_for, f33_decode_never_ends,
        f34_item_wants_too_much,
    ]
    .into()
}

fn f21_hundred_bad_then_hundred_good() {
    let executor = with_workers(2);
    let pids = executor.pool().worker_pids();
    let mut plans = agent::good(200);
    for plan in &mut plans[..100] {
        *plan = Plan::bad(plan.id, Stage::ItemEncode, Act::Fail);
    }
    let submit = |plan: &Plan| executor.submit(work, Item(*plan));
    let futures: Vec<Future<Value>> = plans.iter().map(submit).collect();
    assert!(futures[..100].iter().all(Future::done), "at once");
    let outcomes: Vec<_> = futures.into_iter().map(Future::result).collect();
    agent::check_all(&plans, &outcomes);
    assert_eq!(executor.pool().worker_pids(), pids);
    for plan in &mut plans {
        *plan = Plan {
            id: ledger::reserve(1),
            ..*plan
        };
    }
    let mapped: Vec<_> = executor.map(work, agent::items(&plans)).collect();
    for (plan, outcome) in plans.iter().zip(&mapped) {
        match outcome {
            Ok(value) => assert_eq!(value.0, *plan),
            _ => agent::check(plan, outcome),
        }
    }
}

fn f22_large_items() {
    let before = heap_units();
    let executor = with_workers(2);
    let size = 100 << 20;
    let ends = |Bytes(bytes): Bytes| (bytes.len(), bytes[0], *bytes.last().unwrap());
    let found = executor.submit(ends, Bytes(vec![7; size])).result();
    assert_eq!(found.unwrap(), (size, 7, 7));
    // More than what a map has under way at once, there and back.
    let items = (0..4).map(|n| Bytes(vec![n; 30 << 20]));
    let found = executor.map(|bytes: Bytes| bytes, items);
    for (n, bytes) in (0..4).zip(found) {
        let Bytes(bytes) = bytes.unwrap();
        assert!(bytes.len() == 30 << 20 && bytes.iter().all(|byte| *byte == n));
    }
    drop(executor);
    heap_is_back("the memory is back", before);
}

/// Kills the workers of its executor in the middle of being encoded.
struct Killing {
    victims: Vec<u32>,
    size: usize,
    id: u32,
}

impl Serialize for Killing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Second<'a>(&'a Killing);
        impl Serialize for Second<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                for pid in &self.0.victims {
                    os::send(*pid, Signal::KILL);
                }
                serializer.serialize_bytes(&vec![2; self.0.size])
            }
        }
        let first = Bytes(vec![1; self.size]);
        (self.id, first, Second(self)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Killing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, first, second) = <(u32, Bytes, Bytes)>::deserialize(deserializer)?;
        Ok(Killing {
            victims: Vec::new(),
            size: first.0.len() + second.0.len(),
            id,
        })
    }
}

/// Not begun, so not failed: it runs once, in a new worker.
fn f23_killed_while_the_item_is_written() {
    let executor = with_workers(2);
    warm_up(&executor);
    for size in [100, 100_000, 10 << 20] {
        let item = || Killing {
            victims: executor.pool().worker_pids(),
            size,
            id: ledger::reserve(1),
        };
        let work = |item: Killing| {
            ledger::note(item.id);
            (item.id, item.size)
        };
        let check = |found: Result<(u32, usize), TaskError>| {
            let (id, found) = found.unwrap();
            assert_eq!((found, ledger::get(id)), (2 * size, 1));
        };
        check(executor.submit(work, item()).result());
        block_on_all([executor.submit(work, item())])
            .into_iter()
            .for_each(check);
        executor.map(work, [item()]).for_each(check);
    }
    check_usable(&executor);
}

fn f25_submitters_and_a_killer() {
    let executor = with_workers(3);
    thread::scope(|scope| {
        let submitters: Vec<_> = (0..8_usize)
            .map(|number| {
                let executor = &executor;
                scope.spawn(move || {
                    for round in 0..4 {
                        let plans = agent::good(30);
                        let items = agent::items(&plans);
                        let submit = |item| executor.submit(work, item);
                        let outcomes: Vec<_> = match (number + round) % 3 {
                            0 => {
                                let futures: Vec<_> = items.map(submit).collect();
                                futures.into_iter().map(Future::result).collect()
                            }
                            1 => block_on_all(items.map(submit).collect::<Vec<_>>()),
                            _ => executor.chunksize(1 + number).map(work, items).collect(),
                        };
                        let _died = check_survivors(&plans, &outcomes);
                    }
                })
            })
            .collect();
        let mut turn = 0;
        while !submitters.iter().all(|submitter| submitter.is_finished()) {
            let pids = executor.pool().worker_pids();
            if let Some(pid) = pids.get(turn % pids.len().max(1)) {
                os::send(*pid, Signal::KILL);
            }
            turn += 1;
            thread::sleep(Duration::from_millis(2));
        }
    });
    check_usable(&executor);
}

/// More than there are cells: each submission returns at once, and nothing is lost, whoever waits.
fn f26_more_than_there_is_room_for() {
    let executor = with_workers(2);
    let gate = ledger::reserve(1);
    let wait = |(gate, n): (u32, u32)| {
        ledger::wait(gate);
        n
    };
    let mut futures: Vec<_> = (0..15_000)
        .map(|n| executor.submit(wait, (gate, n)))
        .collect();
    assert!(!futures.iter().any(Future::done));
    ledger::set(gate, 1);
    let awaited = futures.split_off(10_000);
    let dropped = futures.split_off(5000);
    drop(dropped);
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n);
    }
    for (n, value) in (10_000..).zip(block_on_all(awaited)) {
        assert_eq!(value.unwrap(), n);
    }
    check_usable(&executor);
}

/// The time of an item runs while it is decoded, too.
fn f33_decode_never_ends() {
    let limit = Duration::from_millis(20);
    let executor = with_workers(1);
    let word = ledger::reserve(2);
    let plan = Plan::bad(word, Stage::ItemDecode, Act::Wait(word + 1));
    for _ in 0..3 {
        let futures = [0, 1, 2].map(|at| match at {
            1 => executor.timeout(limit).submit(work, Item(plan)),
            _ => executor.submit(work, Item(Plan::good(ledger::reserve(1)))),
        });
        for (at, future) in futures.into_iter().enumerate() {
            match future.result() {
                Ok(_) => assert_ne!(at, 1),
                Err(TaskError::TimedOut(after)) => assert_eq!((at, after), (1, limit)),
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(ledger::get(word), 0, "it never ran");
    }
}

/// More than any machine has.
#[derive(Debug, Serialize)]
struct Greedy;

impl<'de> Deserialize<'de> for Greedy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        static KEPT: OnceLock<Vec<u8>> = OnceLock::new();
        <()>::deserialize(deserializer)?;
        let much = KEPT.get_or_init(|| Vec::with_capacity(1 << 47));
        assert!(much.is_empty());
        Ok(Greedy)
    }
}

fn f34_item_wants_too_much() {
    let executor = with_workers(2);
    for outcome in [
        executor.submit(|_: Greedy| (), Greedy).result(),
        executor.map(|_: Greedy| (), [Greedy]).next().unwrap(),
    ] {
        let Err(TaskError::WorkerDied(death)) = outcome else {
            panic!("there was room");
        };
        let found = (death.signal(), death.phase());
        assert_eq!(found, (Some(libc::SIGABRT), Phase::Decoding));
    }
    check_usable(&executor);
}
