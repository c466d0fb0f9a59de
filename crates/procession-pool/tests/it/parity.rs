//! What CPython's own tests check of its `Pool`, row by row.
//!
//! | row | what differs here, or where else it is checked |
//! |---|---|
//! | L01 | there are no keyword arguments: a struct has names |
//! | L04 | also `errors::every_stage_every_way` |
//! | L06, L09, L10 | a panic of the input is the caller's own and reaches him as such; where Python loses the values that share a chunk with it, imap hands them on first |
//! | L11 | -1 is no `usize` |
//! | L13 | also `map::few_items`, `imap::nothing` |
//! | L14, L18 | there is no `with`: a pool is terminated when it is dropped, and a view that outlives it says `Closed` |
//! | L15 | no text of source: a panic has its place, and a backtrace where that is asked for |
//! | L16 | also `errors::large_panics` |
//! | L17 | also `threads::items_are_dropped` |
//! | L19 | by design nothing warns of a pool that is dropped: its drop terminates it, and is documented to |
//! | L21 | also `errors::every_stage_every_way` |
//! | L24 | -1, 0.5 and "12" are no `u64`; 0 is taken as 1, as with chunksizes |
//! | L25 | also `life::program_ends_with_a_busy_pool` |
//! | L26 | an initialiser that is no function does not compile |
//! | L27 | by `limits::no_more_processes` and `limits::no_more_descriptors`: the error, and that nothing is left |

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use procession_pool::{Pool, PoolError, TaskError};
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, ledger, os, same};
use serde::{Deserialize, Serialize};

use crate::parity;
use crate::support::agent::{self, Act, Plan, Stage};
use crate::support::usable::check_usable;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("pool_in_a_global", pool_in_a_global),
    ("large_pool", large_pool),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![parity:
        l01_apply, l02_map_and_starmap, l03_callbacks, l04_item_that_cannot_be_sent,
        l05_no_items_with_a_chunksize, l06_input_that_panics, l07_async_and_timeout, l08_imap,
        l09_input_of_imap_that_panics, l10_imap_unordered, l11_number_of_workers, l12_terminate,
        l13_no_items, l14_after_the_end, l15_where_it_failed, l16_no_failfast,
        l17_arguments_and_values_are_dropped, l18_use_of_a_terminated_pool,
        l20_error_reaches_both, l21_values_that_cannot_be_sent, l22_lifetime_of_workers,
        l23_lifetime_and_an_early_close, l24_lifetimes_that_make_no_sense, l25_pool_in_a_global,
        l26_initializer, l28_large_pool,
    ]
    .into()
}

fn square(x: u64) -> u64 {
    x * x
}

#[derive(Serialize, Deserialize)]
struct Named {
    base: u64,
    exponent: u32,
}

fn l01_apply() {
    let pool = Pool::with_workers(4).unwrap();
    assert_eq!(pool.apply(square, 5).unwrap(), 25);
    let power = |(base, exponent): (u64, u32)| base.pow(exponent);
    assert_eq!(pool.apply(power, (2, 10)).unwrap(), 1024);
    let named = |named: Named| named.base.pow(named.exponent);
    let item = |base| Named { base, exponent: 3 };
    assert_eq!(pool.apply(named, item(4)).unwrap(), 64);
    assert_eq!(pool.apply_async(named, item(5)).get().unwrap(), 125);
}

fn l02_map_and_starmap() {
    let pool = Pool::with_workers(4).unwrap();
    let squares = |count| (0..count).map(square).collect::<Vec<_>>();
    assert_eq!(pool.map(square, 0..10).unwrap(), squares(10));
    let twenty = pool.chunksize(20);
    assert_eq!(twenty.map(square, 0..100).unwrap(), squares(100));
    assert_eq!(pool.map_async(square, 0..10).get().unwrap(), squares(10));
    let found = twenty.map_async(square, 0..100).get();
    assert_eq!(found.unwrap(), squares(100));
    let pairs = |count: u64| (0..count).zip((0..count).rev());
    let products = |count| pairs(count).map(|(a, b)| a * b).collect::<Vec<_>>();
    let found = pool.starmap(|a, b| a * b, pairs(10));
    assert_eq!(found.unwrap(), products(10));
    let found = twenty.starmap(|a, b| a * b, pairs(100));
    assert_eq!(found.unwrap(), products(100));
    let found = twenty.starmap_async(|a, b| a * b, pairs(100)).get();
    assert_eq!(found.unwrap(), products(100));
}

fn l03_callbacks() {
    let pool = Pool::with_workers(2).unwrap();
    let (values, errors) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    for (items, expected) in [(vec![1_u32], (1, 0)), (vec![1, 7], (1, 1))] {
        let (done, failed) = (Arc::clone(&values), Arc::clone(&errors));
        let fail = |n: u32| {
            assert!(n != 7, "the item's panic");
            n
        };
        let handle = pool
            .map_async(fail, items)
            .on_done(move |values| {
                assert_eq!(*values, [1]);
                done.fetch_add(1, Ordering::Relaxed);
            })
            .on_error(move |error| {
                assert!(matches!(error, TaskError::Panicked(_)));
                failed.fetch_add(1, Ordering::Relaxed);
            });
        handle.wait();
        let found = (
            values.load(Ordering::Relaxed),
            errors.load(Ordering::Relaxed),
        );
        assert_eq!(found, expected);
    }
}

fn l04_item_that_cannot_be_sent() {
    let pool = Pool::with_workers(2).unwrap();
    let plan = Plan::bad(agent::good(1)[0].id, Stage::ItemEncode, Act::Fail);
    let items = || agent::items(&[plan]).collect::<Vec<_>>();
    let error = pool.map(agent::work, items()).unwrap_err();
    assert!(matches!(error, TaskError::ItemEncode(_)), "{error:?}");
    let error = pool.map_async(agent::work, items()).get().unwrap_err();
    assert!(matches!(error, TaskError::ItemEncode(_)), "{error:?}");
    let item = items().remove(0);
    let error = pool.apply_async(agent::work, item).get().unwrap_err();
    assert!(matches!(error, TaskError::ItemEncode(_)), "{error:?}");
    check_usable(&pool);
}

fn l05_no_items_with_a_chunksize() {
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.chunksize(1);
    let none = view.map_async(square, []);
    assert!(none.ready(), "nothing to wait for");
    assert_eq!(none.get().unwrap(), []);
    assert_eq!(view.map(square, []).unwrap(), []);
}

/// Panics at `at`, which may be its own length.
fn breaks_at(at: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..=count).map_while(move |n| {
        assert!(n != at, "the input's panic");
        (n < count).then_some(n)
    })
}

/// Panics when it is asked for its length.
struct Boundless;

impl Iterator for Boundless {
    type Item = u64;
    fn next(&mut self) -> Option<u64> {
        None
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        panic!("the input's panic")
    }
}

#[track_caller]
fn check_panics<T>(call: impl FnOnce() -> T) {
    let payload = catch_unwind(AssertUnwindSafe(call)).err().expect("a panic");
    assert_eq!(payload.downcast_ref(), Some(&"the input's panic"));
}

fn l06_input_that_panics() {
    let pool = Pool::with_workers(2).unwrap();
    for at in [0, 3, 10] {
        check_panics(|| pool.map(square, breaks_at(at, 10)));
        check_panics(|| pool.chunksize(2).map(square, breaks_at(at, 10)));
        check_panics(|| pool.map_results(square, breaks_at(at, 10)));
        check_panics(|| pool.map_async(square, breaks_at(at, 10)));
    }
    check_panics(|| pool.map(square, Boundless));
    check_panics(|| pool.map_results(square, Boundless));
    check_panics(|| pool.map_async(square, Boundless));
    check_usable(&pool);
}

fn l07_async_and_timeout() {
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    assert_eq!(pool.apply_async(square, 7).get().unwrap(), 49);
    let mut long = pool.apply_async(ledger::wait, gate);
    assert!(long.get_timeout(Duration::from_millis(20)).is_none());
    assert!(!long.wait_timeout(Duration::ZERO));
    ledger::set(gate, 9);
    assert_eq!(long.get().unwrap(), 9);
}

fn l08_imap() {
    let pool = Pool::with_workers(4).unwrap();
    let found: Result<Vec<_>, _> = pool.imap(square, 0..10).collect();
    assert!(found.unwrap().into_iter().eq((0..10).map(square)));
    let view = pool.chunksize(100);
    let mut outcomes = view.imap(square, 0..1000);
    for n in 0..1000 {
        assert_eq!(outcomes.next().unwrap().unwrap(), square(n));
    }
    assert!(outcomes.next().is_none());
    assert!(outcomes.next().is_none());
}

fn l09_input_of_imap_that_panics() {
    let pool = Pool::with_workers(4).unwrap();
    for (chunksize, at, count) in [(1, 0, 3), (1, 3, 10), (2, 7, 20), (4, 7, 20), (4, 20, 20)] {
        let view = pool.chunksize(chunksize);
        let mut outcomes = view.imap(square, breaks_at(at, count));
        for n in 0..at {
            assert_eq!(outcomes.next().unwrap().unwrap(), square(n));
        }
        check_panics(|| outcomes.next());
        assert!(outcomes.next().is_none());
    }
    check_usable(&pool);
}

fn l10_imap_unordered() {
    let pool = Pool::with_workers(4).unwrap();
    for view in [pool.chunksize(1), pool.chunksize(100)] {
        let found: Result<Vec<_>, _> = view.imap_unordered(square, 0..1000).collect();
        let mut found = found.unwrap();
        found.sort_unstable();
        assert!(found.into_iter().eq((0..1000).map(square)));
    }
    for (chunksize, at) in [(1, 0), (1, 3), (2, 7), (4, 7)] {
        let view = pool.chunksize(chunksize);
        let mut outcomes = view.imap_unordered(square, breaks_at(at, 20));
        let mut found: Vec<_> = (0..at).map(|_| outcomes.next().unwrap().unwrap()).collect();
        found.sort_unstable();
        assert!(found.into_iter().eq((0..at).map(square)));
        check_panics(|| outcomes.next());
    }
    check_usable(&pool);
}

fn l11_number_of_workers() {
    let error = Pool::with_workers(0).unwrap_err();
    assert!(matches!(error, PoolError::WorkerCount(0)), "{error:?}");
    let pool = Pool::with_workers(3).unwrap();
    assert_eq!(pool.workers(), 3);
    assert_eq!(pool.worker_pids().len(), 3);
}

fn l12_terminate() {
    let pool = Pool::with_workers(3).unwrap();
    let begun = ledger::reserve(1);
    let endless = |begun: u32| {
        ledger::note(begun);
        os::sleep_for_ever();
    };
    let many = pool.chunksize(1).map_async(endless, vec![begun; 10_000]);
    ledger::wait_for(begun, 3);
    pool.terminate();
    pool.join().unwrap();
    assert_eq!(ledger::get(begun), 3);
    let error = many.get().unwrap_err();
    let TaskError::WorkerDied(death) = &error else {
        panic!("the first item ran, {error:?}");
    };
    assert_eq!(death.signal(), Some(libc::SIGKILL));
}

fn l13_no_items() {
    let pool = Pool::with_workers(2).unwrap();
    for view in [pool.chunksize(1), pool.chunksize(10), pool.retries(2)] {
        assert_eq!(view.map(square, []).unwrap(), []);
        assert!(view.map_results(square, []).is_empty());
        assert_eq!(view.imap(square, []).count(), 0);
        assert_eq!(view.imap_unordered(square, []).count(), 0);
        assert_eq!(view.map_async(square, []).get().unwrap(), []);
        let none: [(u64, u32); 0] = [];
        assert_eq!(view.starmap(|a, b| a.pow(b), none).unwrap(), []);
        assert_eq!(view.starmap_async(|a, b| a.pow(b), none).get().unwrap(), []);
    }
}

fn l14_after_the_end() {
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.chunksize(1);
    assert_eq!(pool.map_async(square, 0..3).get().unwrap(), [0, 1, 4]);
    drop(pool);
    let many = view.map_async(square, 0..3);
    assert!(many.ready());
    assert!(matches!(many.get(), Err(TaskError::Closed)));
    assert!(matches!(view.map(square, 0..3), Err(TaskError::Closed)));
}

const FAILING_LINE: u32 = line!() + 2;
fn fail(number: u32) -> u32 {
    panic!("{number}{}", "'s panic")
}

fn l15_where_it_failed() {
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.chunksize(1);
    let check = |error: TaskError| {
        let TaskError::Panicked(panic) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(panic.message(), "123's panic");
        let place = panic.location();
        assert_eq!((place.file(), place.line()), (file!(), FAILING_LINE));
        assert!(error.to_string().contains("123's panic"), "{error}");
        assert!(error.to_string().contains(file!()), "{error}");
    };
    check(pool.apply(fail, 123).unwrap_err());
    check(pool.map(fail, [123]).unwrap_err());
    check(pool.apply_async(fail, 123).get().unwrap_err());
    check(pool.map_async(fail, [123]).get().unwrap_err());
    check(view.imap(fail, [123]).next().unwrap().unwrap_err());
}

/// The call waits for both, large as their errors are.
fn l16_no_failfast() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(2);
    let fail = |(words, slow): (u32, bool)| {
        ledger::note(words);
        if slow {
            // Until the first one has failed, and then some.
            ledger::wait_for(words, 2);
            std::thread::sleep(Duration::from_millis(50));
        }
        ledger::note(words + 1);
        panic!("{}{}", "x".repeat(1 << 20), "'s panic");
    };
    let check = |found: Result<Vec<()>, TaskError>, runs| {
        assert_eq!(ledger::get(words + 1), runs);
        match found {
            Err(TaskError::Panicked(panic)) => assert!(panic.message().len() > 1 << 20),
            other => panic!("{other:?}"),
        }
    };
    let items = [(words, false), (words, true)];
    let view = pool.chunksize(1);
    check(view.map(fail, items), 2);
    check(view.map_async(fail, items).get(), 4);
    pool.close();
    pool.join().unwrap();
}

fn l17_arguments_and_values_are_dropped() {
    #[derive(Default)]
    #[allow(dead_code, reason = "counts itself")]
    struct Counted(Arc<()>);
    impl Serialize for Counted {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <()>::deserialize(deserializer).map(|()| Counted::default())
        }
    }
    let pool = Pool::with_workers(2).unwrap();
    let token = Arc::new(());
    let items = || (0..10).map(|_| Counted(Arc::clone(&token)));
    let handle = pool.map_async(drop::<Counted>, items());
    assert_eq!(Arc::strong_count(&token), 1, "they were sent");
    handle.get().unwrap();
    let one = pool.apply_async(drop::<Counted>, Counted(Arc::clone(&token)));
    assert_eq!(Arc::strong_count(&token), 1, "it was sent");
    let (kept, also) = (Arc::clone(&token), Arc::clone(&token));
    let one = one
        .on_done(move |()| drop(Arc::clone(&kept)))
        .on_error(move |_| drop(Arc::clone(&also)));
    one.get().unwrap();
    assert_eq!(Arc::strong_count(&token), 1, "no callback is kept");
}

fn l18_use_of_a_terminated_pool() {
    let pool = Pool::with_workers(2).unwrap();
    pool.terminate();
    let closed = |error| matches!(error, TaskError::Closed);
    assert!(closed(pool.apply(square, 1).unwrap_err()));
    assert!(closed(pool.apply_async(square, 1).get().unwrap_err()));
    assert!(closed(pool.map_async(square, [1]).get().unwrap_err()));
    assert!(closed(pool.imap(square, [1]).next().unwrap().unwrap_err()));
    assert!(closed(pool.broadcast(square, &1).remove(0).unwrap_err()));
    assert!(pool.resize(3).is_ok());
    assert_eq!(pool.worker_pids(), []);
}

fn l20_error_reaches_both() {
    let pool = Pool::with_workers(2).unwrap();
    let told = Arc::new(OnceLock::new());
    let tell = Arc::clone(&told);
    let handle = pool
        .apply_async(fail, 5)
        .on_error(move |error| tell.set(error.to_string()).unwrap());
    let error = handle.get().unwrap_err();
    assert_eq!(told.get(), Some(&error.to_string()));
    assert!(matches!(error, TaskError::Panicked(_)));
}

fn l21_values_that_cannot_be_sent() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    for _ in 0..20 {
        let plan = Plan::bad(agent::good(1)[0].id, Stage::ValueEncode, Act::PanicStr);
        let outcome = pool.apply_async(agent::work, agent::Item(plan)).get();
        agent::check(&plan, &outcome);
    }
    assert_eq!(pool.worker_pids(), pids, "no worker was lost");
    check_usable(&pool);
}

fn l22_lifetime_of_workers() {
    let pool = Pool::builder()
        .workers(3)
        .max_tasks_per_worker(10)
        .build()
        .unwrap();
    let first = pool.worker_pids();
    let view = pool.chunksize(1);
    let handles: Vec<_> = (0..100).map(|n| pool.apply_async(square, n)).collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.get().unwrap(), square(n));
    }
    let found = view.map(square, 0..100).unwrap();
    assert!(found.into_iter().eq((0..100).map(square)));
    procession_testkit::eventually("all workers are there, and new", || {
        view.map(square, 0..100).unwrap();
        let pids = pool.worker_pids();
        if pids.len() == 3 && !pids.iter().any(|pid| first.contains(pid)) {
            Ok(())
        } else {
            Err(format!("{first:?}, then {pids:?}"))
        }
    });
}

fn l23_lifetime_and_an_early_close() {
    let pool = Pool::builder()
        .workers(3)
        .max_tasks_per_worker(1)
        .build()
        .unwrap();
    let gate = ledger::reserve(1);
    let slow = |(gate, n): (u32, u32)| {
        ledger::wait(gate);
        n
    };
    let handles: Vec<_> = (0..6)
        .map(|n| pool.chunksize(1).apply_async(slow, (gate, n)))
        .collect();
    pool.close();
    ledger::set(gate, 1);
    pool.join().unwrap();
    for (n, handle) in (0..).zip(handles) {
        assert!(handle.ready());
        assert_eq!(handle.get().unwrap(), n);
    }
}

fn l24_lifetimes_that_make_no_sense() {
    let builder = Pool::builder().workers(1).max_tasks_per_worker(0);
    let pool = builder.build().unwrap();
    let pids = pool.map(|_: u32| std::process::id(), 0..3).unwrap();
    assert!(pids[0] != pids[1] && pids[1] != pids[2], "{pids:?}");
}

static GLOBAL: OnceLock<Pool> = OnceLock::new();

fn pool_in_a_global(arguments: &[String]) -> ExitCode {
    let pool = match arguments[0].as_str() {
        "static" => GLOBAL.get_or_init(|| Pool::with_workers(2).unwrap()),
        "leaked" => Box::leak(Box::new(Pool::with_workers(2).unwrap())),
        _ => Pool::global().unwrap(),
    };
    same("value", pool.apply(square, 3).unwrap(), 9);
    // With a keeper, and a task that nobody waits for.
    same("value", pool.apply_async(square, 4).get().unwrap(), 16);
    drop(pool.apply_async(|()| os::sleep_for_ever(), ()));
    ExitCode::SUCCESS
}

/// Runs a program that is to end well and say nothing.
fn succeed_quietly(name: &str, arguments: &[&str]) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let program = Program::start_with(name, arguments, |command| {
        command.stderr(Stdio::from(writer));
    });
    program.succeed();
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

fn l25_pool_in_a_global() {
    for way in ["static", "leaked", "global"] {
        succeed_quietly("pool_in_a_global", &[way]);
    }
}

fn l26_initializer() {
    let runs = ledger::reserve(1);
    let builder = Pool::builder().workers(1);
    let pool = builder.initializer(ledger::note, runs).build().unwrap();
    check_usable(&pool);
    assert_eq!(ledger::get(runs), 1);
}

fn large_pool(_: &[String]) -> ExitCode {
    let pool = Pool::with_workers(200).unwrap();
    let squares = pool.map(square, 0..1000).unwrap();
    same("sum", squares.iter().sum(), 332_833_500_u64);
    let squares = pool.map_async(square, 0..1000).get().unwrap();
    same("sum", squares.iter().sum(), 332_833_500_u64);
    let squares = pool.imap_unordered(square, 0..1000);
    same("sum", squares.map(Result::unwrap).sum(), 332_833_500_u64);
    pool.close();
    pool.join().unwrap();
    ExitCode::SUCCESS
}

fn l28_large_pool() {
    succeed_quietly("large_pool", &[]);
}
