//! E: results, callbacks and iterators.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use procession_pool::{Phase, Pool, TaskError};
use procession_testkit::{Case, cases, eventually, heap_is_back, heap_units, ledger, os};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::faults::results as faults;
use crate::support::agent::Bytes;
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f83_killed_in_the_middle_of_a_large_value, f87_retires_after_a_large_value,
        f88_error_that_cannot_be_decoded, f89_callback_panics, f90_callback_uses_the_pool, f90_join_in_a_callback,
        f91_iterator_dropped_half_way, f92_slow_consumer, f94_endless_input,
        f96_consumer_panics,
    ]
    .into()
}

/// A value whose worker is killed when half of it is written.
struct Torn(u32, usize);

impl Serialize for Torn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Fall(bool);
        impl Serialize for Fall {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.0 {
                    os::raise(libc::SIGKILL);
                }
                serializer.serialize_unit()
            }
        }
        let half = Bytes(vec![self.0 as u8; self.1 / 2]);
        (self.0, &half, Fall(self.0 % 5 == 2), &half).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Torn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (n, one, (), other) = <(u32, Bytes, (), Bytes)>::deserialize(deserializer)?;
        let right = |bytes: &Bytes| bytes.0.iter().all(|byte| *byte == n as u8);
        assert!(right(&one) && right(&other));
        Ok(Torn(n, one.0.len() + other.0.len()))
    }
}

fn f83_killed_in_the_middle_of_a_large_value() {
    let before = heap_units();
    let pool = Pool::with_workers(3).unwrap();
    for (size, chunksize) in [(200_000, 1), (200_000, 4), (20 << 20, 3)] {
        let work = |(n, size): (u32, usize)| Torn(n, size);
        let items = (0..10).map(|n| (n, size));
        let outcomes = pool.chunksize(chunksize).map_results(work, items);
        for (n, outcome) in (0..10).zip(outcomes) {
            match outcome {
                Ok(Torn(value, len)) => assert_eq!((value, len), (n, size)),
                Err(TaskError::WorkerDied(death)) => {
                    let found = (n % 5, death.signal(), death.phase());
                    assert_eq!(found, (2, Some(9), Phase::Encoding));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    check_usable(&pool);
    drop(pool);
    heap_is_back("half values are gone", before);
}

fn f87_retires_after_a_large_value() {
    let pool = Pool::builder().workers(2).max_tasks_per_worker(1);
    let pool = pool.build().unwrap();
    let large = |n: u8| (std::process::id(), Bytes(vec![n; 1 << 20]));
    for size in [1, 5] {
        let found = pool.chunksize(size).map(large, 0..20).unwrap();
        let mut pids: Vec<u32> = found.iter().map(|(pid, _)| *pid).collect();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 20, "one worker per item");
        for (n, (_, Bytes(bytes))) in (0..).zip(found) {
            assert!(bytes.len() == 1 << 20 && bytes.iter().all(|byte| *byte == n));
        }
    }
    check_usable(&pool);
}

/// An error of the user's that only the worker can read.
#[derive(Debug, Serialize)]
struct Foreign;

impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("unknown here"))
    }
}

/// Its text is lost, as postcard has none for it; that it was an error of decoding is not.
fn f88_error_that_cannot_be_decoded() {
    let pool = Pool::with_workers(2).unwrap();
    let fail = |n: u32| if n == 3 { Err(Foreign) } else { Ok(n) };
    let outcomes = pool.chunksize(4).map_results(fail, 0..8);
    for (n, outcome) in (0..8).zip(outcomes) {
        match outcome {
            Ok(value) => assert_eq!(value.unwrap(), n),
            Err(error) => {
                let decode = matches!(error, TaskError::ValueDecode(_));
                assert!(n == 3 && decode, "{n}: {error:?}");
            }
        }
    }
    check_usable(&pool);
}

fn f89_callback_panics() {
    let pool = Pool::with_workers(2).unwrap();
    let called = Arc::new(AtomicU32::new(0));
    let handles: Vec<_> = (0..50_u32)
        .map(|n| {
            let (one, two) = (Arc::clone(&called), Arc::clone(&called));
            pool.apply_async(|n: u32| n, n)
                .on_done(move |_| {
                    one.fetch_add(1, Ordering::Relaxed);
                    panic!("the callback's panic");
                })
                .on_done(move |value| {
                    two.fetch_add(1000 + *value, Ordering::Relaxed);
                })
        })
        .collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.get().unwrap(), n);
    }
    assert_eq!(called.load(Ordering::Relaxed), 50 + 50_000 + 49 * 25);
    check_usable(&pool);
}

/// A callback submits, waits for others, cancels, and ends the pool.
fn f90_callback_uses_the_pool() {
    for end in 0..3 {
        let pool = Arc::new(Pool::with_workers(2).unwrap());
        let (told, tell) = mpsc::channel();
        let gate = ledger::reserve(1);
        let inside = Arc::clone(&pool);
        let pending = pool.apply_async(|n: u32| n, 1).on_done(move |n| {
            let same = inside.apply(|n: u32| n + 1, *n).unwrap();
            let next = inside.apply_async(|n: u32| n + 1, same).get().unwrap();
            let doubled = inside.map(|n: u32| 2 * n, 0..next).unwrap();
            let blocked = inside.map_async(ledger::wait, vec![gate; 20]);
            assert!(blocked.kill());
            let outcome = blocked.get();
            assert!(matches!(outcome, Err(TaskError::Cancelled)), "{outcome:?}");
            match end {
                0 => {}
                1 => inside.close(),
                _ => inside.terminate(),
            }
            told.send(doubled).unwrap();
        });
        assert_eq!(pending.get().unwrap(), 1);
        assert_eq!(tell.recv().unwrap(), [0, 2, 4]);
        pool.close();
        pool.join().unwrap();
    }
}

fn f90_join_in_a_callback() {
    let pool = Arc::new(Pool::with_workers(2).unwrap());
    let (told, tell) = mpsc::channel();
    let inside = Arc::clone(&pool);
    let pending = pool.apply_async(|n: u32| n, 1).on_done(move |_| {
        inside.close();
        told.send(inside.join()).unwrap();
    });
    assert_eq!(pending.get().unwrap(), 1);
    let joined = tell.recv().unwrap();
    assert!(matches!(joined, Err(TaskError::InCallback)), "{joined:?}");
    pool.join().unwrap();
}

/// What nobody will ask for is not begun, and its memory comes back.
fn f91_iterator_dropped_half_way() {
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let before = heap_units();
    for ordered in [true, false] {
        let first = ledger::reserve(3000);
        let work = |(id, bytes): (u32, Bytes)| {
            ledger::note(id);
            (id, bytes)
        };
        let items = (first..first + 3000).map(|id| (id, Bytes(vec![1; 10_000])));
        let view = pool.chunksize(1);
        let mut iterator = match ordered {
            true => view.imap(work, items),
            false => view.imap_unordered(work, items),
        };
        for _ in 0..20 {
            iterator.next().unwrap().unwrap();
        }
        drop(iterator);
        check_usable(&pool);
        let ran = (first..first + 3000)
            .filter(|id| ledger::get(*id) > 0)
            .count();
        assert!(ran < 1000, "{ran} of 3000 ran");
        eventually("the memory is back", || {
            warm_up(&pool);
            match heap_units() {
                now if now == before => Ok(()),
                now => Err(format!("{now}, {before} before")),
            }
        });
    }
}

/// However long nobody asks, so many are taken and no more.
fn f92_slow_consumer() {
    let pool = Pool::with_workers(2).unwrap();
    let taken = AtomicU32::new(0);
    let items = (0..1000_u32).inspect(|_| {
        taken.fetch_add(1, Ordering::Relaxed);
    });
    let mut iterator = pool.buffersize(10).imap(|n: u32| n, items);
    for n in 0..1000 {
        assert!(taken.load(Ordering::Relaxed) <= n + 10);
        if n % 100 == 0 {
            // For what would come of itself.
            std::thread::sleep(Duration::from_millis(5));
            assert!(taken.load(Ordering::Relaxed) <= n + 10);
        }
        assert_eq!(iterator.next().unwrap().unwrap(), n);
    }
    assert!(iterator.next().is_none());
    // By bytes: 64 MiB and a few items.
    let taken = AtomicU32::new(0);
    let items = (0..1000_u32).map(|_| {
        taken.fetch_add(1, Ordering::Relaxed);
        Bytes(vec![1; 4 << 20])
    });
    let mut iterator = pool.imap(|bytes: Bytes| bytes, items);
    for _ in 0..3 {
        iterator.next().unwrap().unwrap();
    }
    std::thread::sleep(Duration::from_millis(5));
    let most = taken.load(Ordering::Relaxed);
    assert!(most <= 40, "{most} items of 4 MiB");
}

fn f94_endless_input() {
    let pool = Pool::with_workers(2).unwrap();
    for ordered in [true, false] {
        let mut iterator = match ordered {
            true => pool.imap(|n: u64| n, 0..),
            false => pool.imap_unordered(|n: u64| n, 0..),
        };
        let mut found: Vec<u64> = iterator.by_ref().take(2000).map(Result::unwrap).collect();
        drop(iterator);
        if ordered {
            assert!(found.iter().copied().eq(0..2000));
        }
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 2000);
        check_usable(&pool);
    }
    pool.close();
    pool.join().unwrap();
}

fn f96_consumer_panics() {
    let seen = Mutex::new(Vec::new());
    let attempt = || {
        let pool = Pool::with_workers(2).unwrap();
        *seen.lock().unwrap() = pool.worker_pids();
        for outcome in pool.chunksize(3).imap_unordered(|n: u32| n, 0..) {
            assert!(outcome.unwrap() < 500, "the consumer's panic");
        }
    };
    let payload = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
    assert!(payload.is::<&str>() || payload.is::<String>());
    let pids = seen.into_inner().unwrap_or_default();
    procession_testkit::procfs::await_end(&pids);
}
