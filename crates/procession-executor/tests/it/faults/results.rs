//! E: values on their way back, and what those do who get them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use procession_executor::{Executor, Future, Phase, ProcessPoolExecutor, TaskError, as_completed};
use procession_testkit::{Case, cases, eventually, heap_is_back, heap_units, ledger, os};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::agent::Bytes;
use crate::common::{check_cancelled, check_closed, check_usable};
use crate::faults::results as faults;
use crate::workers::{warm_up, with_workers};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f83_killed_in_the_middle_of_a_large_value, f87_retires_after_a_large_value,
        f88_error_that_cannot_be_decoded, f89_callback_panics, f90_callback_uses_the_executor,
        f90_callback_ends_the_executor, f91_map_dropped_half_way,
        f91_as_completed_dropped_half_way, f96_consumer_panics, f134_value_that_nobody_reads,
    ]
    .into()
}

/// A large value whose encoder dies half-way, for some.
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
    let executor = with_workers(3);
    for size in [200_000, 5 << 20] {
        let make = |(n, size): (u32, usize)| Torn(n, size);
        let submit = |n| executor.submit(make, (n, size));
        let futures: Vec<_> = (0..10).map(submit).collect();
        let items = (0..10).map(|n| (n, size));
        let mapped: Vec<_> = executor.chunksize(4).map(make, items).collect();
        let outcomes = futures.into_iter().map(Future::result);
        for (n, outcome) in (0..10).cycle().zip(outcomes.chain(mapped)) {
            match outcome {
                Ok(Torn(value, len)) => assert_eq!((value, len, n % 5 == 2), (n, size, false)),
                Err(TaskError::WorkerDied(death)) => {
                    let found = (n % 5, death.signal(), death.phase());
                    assert_eq!(found, (2, Some(9), Phase::Encoding));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    check_usable(&executor);
    drop(executor);
    heap_is_back("half values are gone", before);
}

fn f87_retires_after_a_large_value() {
    let builder = ProcessPoolExecutor::builder().workers(2);
    let executor = builder.max_tasks_per_child(1).build().unwrap();
    let large = |n: u8| (std::process::id(), Bytes(vec![n; 1 << 20]));
    let futures: Vec<_> = (0..20).map(|n| executor.submit(large, n)).collect();
    let mut pids = Vec::new();
    for (n, future) in (0..).zip(futures) {
        let (pid, Bytes(bytes)) = future.result().unwrap();
        assert!(bytes.len() == 1 << 20 && bytes.iter().all(|byte| *byte == n));
        pids.push(pid);
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 20, "one worker per task");
    check_usable(&executor);
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
    let executor = with_workers(2);
    let fail = |n: u32| if n == 3 { Err(Foreign) } else { Ok(n) };
    let futures: Vec<_> = (0..8).map(|n| executor.submit(fail, n)).collect();
    let mapped: Vec<_> = executor.chunksize(4).map(fail, 0..8).collect();
    let outcomes = futures.into_iter().map(Future::result).chain(mapped);
    for (n, outcome) in (0..8).cycle().zip(outcomes) {
        match outcome {
            Ok(value) => assert_eq!(value.unwrap(), n),
            Err(TaskError::ValueDecode(_)) => assert_eq!(n, 3),
            Err(error) => panic!("{error:?}"),
        }
    }
    check_usable(&executor);
}

fn f89_callback_panics() {
    let executor = with_workers(2);
    let called = Arc::new(AtomicU32::new(0));
    let futures: Vec<_> = (0..50)
        .map(|n| {
            let future = executor.submit(|n: u32| n, n);
            let (one, two) = (Arc::clone(&called), Arc::clone(&called));
            future.add_done_callback(move |_| {
                one.fetch_add(1, Ordering::Relaxed);
                panic!("the callback's panic");
            });
            future.add_done_callback(move |value| {
                two.fetch_add(1000 + *value.as_ref().unwrap(), Ordering::Relaxed);
            });
            future
        })
        .collect();
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.result().unwrap(), n);
    }
    assert_eq!(called.load(Ordering::Relaxed), 50 + 50_000 + 49 * 25);
    check_usable(&executor);
}

/// What a callback does, in the thread that waits and in the keeper.
fn in_a_callback(inside: impl Fn(ProcessPoolExecutor) + Send + Sync + 'static) {
    let inside = Arc::new(inside);
    for wait in [true, false] {
        let executor = with_workers(2);
        let (tell, told) = mpsc::channel();
        let gate = ledger::reserve(1);
        let future = executor.submit(ledger::wait, gate);
        let inside = Arc::clone(&inside);
        future.add_done_callback(move |outcome| {
            assert_eq!(*outcome.as_ref().unwrap(), 1);
            inside(executor);
            tell.send(()).unwrap();
        });
        ledger::set(gate, 1);
        if wait {
            assert_eq!(future.result().unwrap(), 1);
        }
        told.recv().expect("the callback was content");
    }
}

/// Submits, waits for others, maps, cancels, kills; and drops the executor in the end.
fn f90_callback_uses_the_executor() {
    in_a_callback(|executor| {
        let same = executor.submit(|n: u32| n, 7).result().unwrap();
        assert_eq!(same, 7);
        let found: Result<Vec<u32>, _> = executor.map(|n: u32| 2 * n, 0..20).collect();
        assert!(found.unwrap().into_iter().eq((0..20).map(|n| 2 * n)));
        let gate = ledger::reserve(1);
        let futures: Vec<_> = (0..5)
            .map(|_| executor.submit(ledger::wait, gate))
            .collect();
        for future in &futures[2..] {
            assert!(future.cancel());
        }
        for future in &futures[..2] {
            assert!(future.kill());
        }
        for future in as_completed(futures) {
            check_cancelled(&future.result());
        }
    });
}

/// A shutdown does not wait there: the callback may run for what it would wait for.
fn f90_callback_ends_the_executor() {
    let ends: [fn(&ProcessPoolExecutor); 5] = [
        |executor| executor.shutdown(),
        |executor| executor.shutdown_now(),
        |executor| executor.shutdown_no_wait(),
        |executor| {
            let _ = executor.shutdown_timeout(Duration::from_secs(1000));
        },
        ProcessPoolExecutor::kill_workers,
    ];
    for end in ends {
        in_a_callback(move |executor| {
            end(&executor);
            check_closed(&executor.submit(|n: u32| n, 1).result());
        });
    }
}

/// What nobody will ask for is not begun, and its memory comes back.
fn f91_map_dropped_half_way() {
    let executor = with_workers(2);
    warm_up(&executor);
    let before = heap_units();
    for ordered in [true, false] {
        let first = ledger::reserve(3000);
        let work = |(id, bytes): (u32, Bytes)| {
            ledger::note(id);
            (id, bytes)
        };
        let items = (first..first + 3000).map(|id| (id, Bytes(vec![1; 10_000])));
        let view = executor.chunksize(1);
        let mut map = match ordered {
            true => view.map(work, items),
            false => view.map_unordered(work, items),
        };
        for _ in 0..20 {
            map.next().unwrap().unwrap();
        }
        drop(map);
        check_usable(&executor);
        let ran = (first..first + 3000).filter(|id| ledger::get(*id) > 0);
        let ran = ran.count();
        assert!(ran < 1000, "{ran} of 3000 ran");
        eventually("the memory is back", || {
            warm_up(&executor);
            match heap_units() {
                now if now == before => Ok(()),
                now => Err(format!("{now}, {before} before")),
            }
        });
    }
}

/// The tasks go on; their outcomes are dropped.
fn f91_as_completed_dropped_half_way() {
    let executor = with_workers(2);
    let word = ledger::reserve(1);
    let futures: Vec<_> = (0..500)
        .map(|_| executor.submit(ledger::note, word))
        .collect();
    let mut completed = as_completed(futures);
    for _ in 0..100 {
        completed.next().unwrap().result().unwrap();
    }
    drop(completed);
    eventually("all have run", || match ledger::get(word) {
        500 => Ok(()),
        ran => Err(format!("{ran}")),
    });
    executor.shutdown();
}

/// With the thread go its iterator and its futures; the executor is dropped while it unwinds.
fn f96_consumer_panics() {
    for way in 0..3 {
        let executor = with_workers(2);
        let before = executor.pool().worker_pids();
        let ended = catch_unwind(AssertUnwindSafe(|| match way {
            0 => executor.map(|n: u32| n, 0..1000).for_each(|outcome| {
                assert!(outcome.unwrap() < 100, "the consumer's panic");
            }),
            1 => {
                let futures = (0..200).map(|n| executor.submit(|n: u32| n, n));
                for (at, future) in as_completed(futures).enumerate() {
                    future.result().unwrap();
                    assert!(at < 100, "the consumer's panic");
                }
            }
            _ => thread::scope(|scope| {
                let futures = (0..200).map(|n| executor.submit(|n: u32| n, n));
                let futures: Vec<_> = futures.collect();
                let consumer = scope.spawn(move || {
                    for future in futures {
                        assert!(future.result().unwrap() < 100, "the consumer's panic");
                    }
                });
                std::panic::resume_unwind(consumer.join().unwrap_err());
            }),
        }));
        assert!(ended.is_err(), "it did not panic");
        check_usable(&executor);
        assert_eq!(executor.pool().worker_pids(), before);
    }
    let first = ledger::reserve(50);
    let ended = catch_unwind(|| {
        let executor = with_workers(2);
        for id in first..first + 50 {
            drop(executor.submit(ledger::note, id));
        }
        panic!("the caller's panic");
    });
    assert!(ended.is_err());
    let ran = (first..first + 50).filter(|id| ledger::get(*id) == 1);
    assert_eq!(ran.count(), 50, "the drop waits also then");
}

fn f134_value_that_nobody_reads() {
    let executor = with_workers(2);
    warm_up(&executor);
    let large = |n: u8| Bytes(vec![n; 1 << 20]);
    let before = heap_units();
    for n in 0..20 {
        drop(executor.submit(large, n));
        drop(executor.chunksize(2).map(large, [n, n, n, n]));
        let read = executor.submit(large, n);
        read.wait();
        drop(read);
        let done = executor.submit(large, n);
        eventually("it is done", || {
            done.done().then_some(()).ok_or_else(String::new)
        });
        drop(done);
        let mut polled = executor.submit(large, n);
        let (_count, waker) = crate::common::Count::new();
        let _ = crate::common::poll_with(&mut polled, &waker);
        drop(polled);
    }
    eventually("the memory is back", || {
        warm_up(&executor);
        match heap_units() {
            now if now <= before => Ok(()),
            now => Err(format!("{now}, {before} before")),
        }
    });
}
