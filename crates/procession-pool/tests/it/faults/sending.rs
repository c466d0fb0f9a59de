//! B and C: items on their way to a worker.

use std::sync::{Arc, OnceLock, RwLock};
use std::thread;

use procession_pool::{Phase, Pool, TaskError};
use procession_testkit::{Case, cases, heap_is_back, heap_units, ledger, os};
use rustix::process::Signal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::faults::sending as faults;
use crate::support::agent::{self, Bytes};
use crate::support::kills::check_survivors;
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f22_large_items, f23_killed_while_the_item_is_written, f25_submitters_and_a_killer,
        f26_more_than_there_is_room_for, f27_encoding_ends_the_pool, f34_item_wants_too_much,
    ]
    .into()
}

fn f22_large_items() {
    let before = heap_units();
    let pool = Pool::with_workers(2).unwrap();
    let size = 100 << 20;
    let sum = |bytes: Bytes| (bytes.0.len(), bytes.0[0], *bytes.0.last().unwrap());
    let found = pool.apply(sum, Bytes(vec![7; size])).unwrap();
    assert_eq!(found, (size, 7, 7));
    // More than a window at once, there and back.
    let items = (0..4).map(|n| Bytes(vec![n; 30 << 20]));
    let found = pool.imap(|bytes: Bytes| bytes, items);
    for (n, bytes) in (0..4).zip(found) {
        let Bytes(bytes) = bytes.unwrap();
        assert!(bytes.len() == 30 << 20 && bytes.iter().all(|byte| *byte == n));
    }
    check_usable(&pool);
    drop(pool);
    heap_is_back("the memory is back", before);
}

/// Kills the workers of its pool in the middle of being encoded.
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
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    for size in [100, 100_000, 25 << 20] {
        let item = || Killing {
            victims: pool.worker_pids(),
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
        check(pool.apply(work, item()));
        check(pool.apply_async(work, item()).get());
        // Here the first is begun when the second is written.
        check(pool.map_results(work, [item()]).remove(0));
    }
    check_usable(&pool);
}

fn f25_submitters_and_a_killer() {
    let pool = Pool::with_workers(3).unwrap();
    thread::scope(|scope| {
        let submitters: Vec<_> = (0..8_usize)
            .map(|number| {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..6 {
                        let plans = agent::good(40);
                        let items = agent::items(&plans);
                        let outcomes = if (number + round) % 2 == 0 {
                            let handles: Vec<_> = items
                                .map(|item| pool.apply_async(agent::work, item))
                                .collect();
                            handles.into_iter().map(|handle| handle.get()).collect()
                        } else {
                            let view = pool.chunksize(1 + number);
                            view.map_results(agent::work, items)
                        };
                        let _died = check_survivors(&plans, &outcomes);
                    }
                })
            })
            .collect();
        let mut turn = 0;
        while !submitters.iter().all(|submitter| submitter.is_finished()) {
            let pids = pool.worker_pids();
            if let Some(pid) = pids.get(turn % pids.len().max(1)) {
                os::send(*pid, Signal::KILL);
            }
            turn += 1;
            thread::sleep(std::time::Duration::from_millis(2));
        }
    });
    check_usable(&pool);
}

/// Ten times what fits: each submission returns at once, and nothing is lost.
fn f26_more_than_there_is_room_for() {
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    let wait = |(gate, n): (u32, u32)| {
        ledger::wait(gate);
        n
    };
    let handles: Vec<_> = (0..20_000)
        .map(|n| pool.apply_async(wait, (gate, n)))
        .collect();
    assert!(handles.iter().all(|handle| !handle.ready()));
    ledger::set(gate, 1);
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.get().unwrap(), n);
    }
    check_usable(&pool);
}

/// The pool whose end is in an item.
static VICTIM: RwLock<Option<(Arc<Pool>, bool)>> = RwLock::new(None);

#[derive(Debug)]
struct Last(u32);

impl Serialize for Last {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 7
            && let Some((pool, close)) = &*VICTIM.read().unwrap()
        {
            if *close {
                pool.close();
            } else {
                pool.terminate();
            }
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Last {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u32::deserialize(deserializer).map(Last)
    }
}

/// An error or a value, and no dead-lock.
fn f27_encoding_ends_the_pool() {
    for close in [true, false] {
        for through in 0..4 {
            let pool = Arc::new(Pool::with_workers(2).unwrap());
            *VICTIM.write().unwrap() = Some((Arc::clone(&pool), close));
            let work = |item: Last| item.0;
            let items = || (0..20).map(Last);
            let outcomes: Vec<Result<u32, TaskError>> = match through {
                0 => pool.chunksize(3).map_results(work, items()),
                1 => pool.imap(work, items()).collect(),
                2 => items().map(|item| pool.apply(work, item)).collect(),
                _ => {
                    let handles: Vec<_> =
                        items().map(|item| pool.apply_async(work, item)).collect();
                    handles.into_iter().map(|handle| handle.get()).collect()
                }
            };
            assert_eq!(outcomes.len(), 20);
            for (n, outcome) in (0..20).zip(&outcomes) {
                match outcome {
                    Ok(value) => assert_eq!(*value, n),
                    Err(TaskError::Closed) => {}
                    // Hit in the middle of another one.
                    Err(TaskError::WorkerDied(death)) => {
                        assert_eq!((close, death.signal()), (false, Some(9)));
                    }
                    // The call found nobody left.
                    Err(TaskError::NoWorkers(_)) => assert!(!close),
                    Err(error) => panic!("{error:?}"),
                }
            }
            *VICTIM.write().unwrap() = None;
            pool.close();
            pool.join().unwrap();
        }
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
    let pool = Pool::with_workers(2).unwrap();
    for _ in 0..3 {
        let Err(TaskError::WorkerDied(death)) = pool.apply(|_: Greedy| (), Greedy) else {
            panic!("there was room");
        };
        let found = (death.signal(), death.phase());
        assert_eq!(found, (Some(libc::SIGABRT), Phase::Decoding));
    }
    check_usable(&pool);
}
