//! Workers: how many, for how long, with what limits and preparations, and what they share.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use procession_pool::{
    InitFailure, MAX_DEPTH, Pool, PoolError, TaskError, cpu_count, worker_index,
};
use procession_testkit::dice::dice;
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, eventually, ledger, os, pause, procfs, same};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::agent::Bytes;
use crate::support::usable::{check_usable, warm_up};
use crate::workers;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[("global_pool", global_pool)];

pub(crate) fn cases() -> Vec<Case> {
    cases![workers:
        resize_up_and_down, resize_refused, resize_under_load, resize_spares_what_is_in_hand,
        idle_ones_leave, idle_ones_are_called, lazy_ones, lazy_ones_one_by_one, global,
        lifetime_in_items, lifetime_in_a_chunk, memory_of_one_item, memory_that_leaks, niceness,
        pinned, environment, directory, initializer_of_each, initializer_with_a_large_argument,
        initializer_that_fails, initializer_that_panics, initializer_that_exits,
        initializer_that_fails_at_first, initializer_with_what_it_cannot_have,
        start_timeout_now_and_then, start_timeout_for_ever, finalizer, finalizer_not_when_killed,
        finalizer_that_panics, broadcast_to_all, broadcast_while_busy, broadcast_with_a_death,
        broadcast_to_lazy_ones, broadcast_by_many, broadcast_that_fails, restart_limit,
        nested_too_deep, context_is_decoded_once_per_worker, context_that_cannot_be_sent,
        context_and_deaths, context_outlives_its_call, state_once_per_worker_and_call, state_is_made_anew,
        state_that_cannot_be_made,
    ]
    .into()
}

#[track_caller]
fn count_is(pool: &Pool, count: usize) {
    eventually("there are as many workers", || {
        match pool.worker_pids().len() {
            found if found == count => Ok(()),
            found => Err(format!("{found} instead of {count}")),
        }
    });
}

fn resize_up_and_down() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    for count in [5, 1, 3, 3, 2, 20, 2] {
        pool.resize(count).unwrap();
        assert_eq!(pool.workers(), count);
        count_is(&pool, count);
        check_usable(&pool);
        assert!(
            pids.starts_with(&pool.worker_pids()[..1]),
            "the first stays"
        );
    }
    assert_eq!(pool.stats().restarts, 0, "nobody died");
    pool.close();
    pool.join().unwrap();
}

fn resize_refused() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    for count in [0, 257, usize::MAX] {
        match pool.resize(count) {
            Err(PoolError::WorkerCount(found)) => assert_eq!(found, count),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((pool.workers(), pool.worker_pids()), (2, pids));
}

/// F126.
fn resize_under_load() {
    let pool = Pool::with_workers(2).unwrap();
    let runs = ledger::reserve(1);
    let ended = AtomicU32::new(0);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..2)
            .map(|call| {
                let (pool, ended) = (&pool, &ended);
                scope.spawn(move || {
                    let mut items = 0;
                    while ended.load(Ordering::Relaxed) == 0 {
                        let view = pool.chunksize(1 + call * 4);
                        let some = |(n, runs): (u32, u32)| {
                            ledger::note(runs);
                            n
                        };
                        let found = view.map(some, (0..200).map(|n| (n, runs))).unwrap();
                        assert!(found.into_iter().eq(0..200));
                        items += 200;
                    }
                    items
                })
            })
            .collect();
        for round in 0..100 {
            let count = [1, 4, 2, 6, 3][round % 5];
            pool.resize(count).unwrap();
            pool.apply(|n: usize| n, round).unwrap();
        }
        ended.store(1, Ordering::Relaxed);
        let items: u32 = calls.into_iter().map(|call| call.join().unwrap()).sum();
        assert_eq!(ledger::get(runs), items, "each ran once");
    });
    pool.resize(2).unwrap();
    count_is(&pool, 2);
    assert_eq!(pool.stats().restarts, 0, "nobody died");
    check_usable(&pool);
}

fn resize_spares_what_is_in_hand() {
    let pool = Pool::with_workers(4).unwrap();
    let words = ledger::reserve(2);
    let wait = |words: u32| {
        ledger::note(words);
        ledger::wait(words + 1)
    };
    let many = pool.chunksize(1).map_async(wait, [words; 8]);
    ledger::wait_for(words, 4);
    pool.resize(1).unwrap();
    ledger::set(words + 1, 3);
    assert_eq!(many.get().unwrap(), [3; 8]);
    count_is(&pool, 1);
    assert_eq!(ledger::get(words), 8);
}

fn idle_ones_leave() {
    let builder = Pool::builder().workers(3);
    let pool = builder.idle_timeout(Duration::from_millis(20)).build();
    let pool = pool.unwrap();
    for _ in 0..3 {
        count_is(&pool, 0);
        assert_eq!(pool.workers(), 3);
        check_usable(&pool);
        assert!(!pool.worker_pids().is_empty());
        assert_eq!(pool.apply_async(|n: u8| n, 1).get().unwrap(), 1);
    }
    assert_eq!(pool.stats().restarts, 0, "nobody died");
    count_is(&pool, 0);
    pool.close();
    pool.join().unwrap();
}

/// F123: on the very moment that it leaves.
fn idle_ones_are_called() {
    let builder = Pool::builder().workers(2);
    let pool = builder.idle_timeout(Duration::from_micros(300)).build();
    let pool = pool.unwrap();
    for n in 0..150 {
        pause(Duration::from_nanos(200_000 + dice(200_000)));
        match n % 3 {
            0 => assert_eq!(pool.apply(|n: u32| n, n).unwrap(), n),
            1 => assert_eq!(pool.map(|n: u32| n, [n; 3]).unwrap(), [n; 3]),
            _ => assert_eq!(pool.apply_async(|n: u32| n, n).get().unwrap(), n),
        }
    }
}

fn lazy_ones() {
    let pool = Pool::builder().workers(3).lazy().build().unwrap();
    assert_eq!((pool.workers(), pool.worker_pids().len()), (3, 0));
    pool.apply(|()| (), ()).unwrap();
    assert!(!pool.worker_pids().is_empty());
    warm_up(&pool);
    assert_eq!(pool.worker_pids().len(), 3);
    let unused = Pool::builder().workers(3).lazy().build().unwrap();
    unused.close();
    unused.join().unwrap();
    let late = Pool::builder().workers(2).lazy().build().unwrap();
    let many = late.map_async(|n: u32| n, 0..100);
    late.close();
    late.join().unwrap();
    assert!(many.ready() && many.get().unwrap().into_iter().eq(0..100));
}

fn lazy_ones_one_by_one() {
    for _ in 0..5 {
        let pool = Pool::builder().workers(3).lazy().build().unwrap();
        pool.apply(|()| (), ()).unwrap();
        assert_eq!(pool.worker_pids().len(), 1, "one is enough");
    }
}

fn global_pool(_: &[String]) -> ExitCode {
    let pool = Pool::global().unwrap();
    same("workers", pool.workers(), cpu_count().get());
    same("processes", pool.worker_pids().len(), 0);
    check_usable(pool);
    same("pool", std::ptr::from_ref(Pool::global().unwrap()), pool);
    // In a task it is the worker's own.
    let nested = |n: u32| {
        let parent = os::ppid();
        let inner = Pool::global().unwrap().apply(|()| os::ppid(), ()).unwrap();
        (n, parent == inner)
    };
    same("value", pool.apply(nested, 7).unwrap().0, 7);
    ExitCode::SUCCESS
}

fn global() {
    let mut program = Program::start("global_pool", &[]);
    assert_eq!(program.line(), "");
    program.succeed();
}

/// F125: not all at once, and nobody does more than its share.
fn lifetime_in_items() {
    let builder = Pool::builder().workers(2).max_tasks_per_worker(40);
    let pool = builder.build().unwrap();
    for chunksize in [1, 7] {
        let view = pool.chunksize(chunksize);
        let pids = view.map(|_: u32| std::process::id(), 0..1000).unwrap();
        let mut shares = HashMap::new();
        pids.iter()
            .for_each(|pid| *shares.entry(*pid).or_insert(0_u32) += 1);
        assert!(shares.len() >= 25, "{shares:?}");
        assert!(shares.values().all(|share| *share <= 40), "{shares:?}");
        let present = pool.worker_pids();
        let whole = shares.iter().filter(|(pid, _)| !present.contains(pid));
        // The first two may have begun before.
        let short = whole.filter(|(_, share)| **share < 30).count();
        assert!(short <= 2, "{shares:?}");
    }
    assert_eq!(pool.stats().restarts, 0, "nobody died");
}

/// In the middle of a chunk another one goes on.
fn lifetime_in_a_chunk() {
    for most in [1, 2, 10] {
        let builder = Pool::builder().workers(2).max_tasks_per_worker(most);
        let pool = builder.build().unwrap();
        let runs = ledger::reserve(200);
        let some = |word: u32| {
            ledger::note(word);
            (word, std::process::id())
        };
        let found = pool.chunksize(50).map(some, runs..runs + 200).unwrap();
        let mut shares = HashMap::new();
        for (word, (found, pid)) in (runs..).zip(found) {
            assert_eq!((found, ledger::get(word)), (word, 1));
            *shares.entry(pid).or_insert(0_u64) += 1;
        }
        assert!(shares.values().all(|share| *share <= most), "{shares:?}");
    }
}

const LIMIT: u64 = 128 << 20;

/// F65, without a cgroup.
fn memory_of_one_item() {
    let pool = Pool::builder().workers(2).memory_limit(LIMIT);
    let pool = pool.build().unwrap();
    let hungry = |n: usize| {
        let size = if n == 13 { 1 << 30 } else { 1 << 10 };
        let body = std::hint::black_box(vec![1_u8; size]);
        body.len() - size + n
    };
    for chunksize in [1, 10] {
        let outcomes = pool.chunksize(chunksize).map_results(hungry, 0..30);
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(value) => assert_eq!(value, n),
                Err(TaskError::WorkerDied(death)) => {
                    assert_eq!((n, death.out_of_memory()), (13, Some(true)));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    check_usable(&pool);
    let error = pool.apply(|()| -> () { std::process::abort() }, ());
    let Err(TaskError::WorkerDied(death)) = error else {
        panic!("{error:?}");
    };
    assert_ne!(death.out_of_memory(), Some(true), "it had enough");
}

/// F64.
fn memory_that_leaks() {
    let pool = Pool::builder().workers(2).memory_limit(LIMIT);
    let pool = pool.build().unwrap();
    let leak = |n: u32| {
        std::mem::forget(std::hint::black_box(vec![1_u8; 8 << 20]));
        (n, std::process::id())
    };
    let found = pool.chunksize(1).map(leak, 0..60).unwrap();
    let mut pids: Vec<u32> = found.iter().map(|(_, pid)| *pid).collect();
    assert!(found.iter().map(|(n, _)| *n).eq(0..60));
    pids.sort_unstable();
    pids.dedup();
    assert!(pids.len() >= 5, "{pids:?}");
    assert_eq!(pool.stats().restarts, 0, "nobody died");
}

fn own_niceness() -> i32 {
    rustix::process::getpriority_process(None).unwrap()
}

fn niceness() {
    let pool = Pool::builder().workers(2).nice(3).build().unwrap();
    let expected = (own_niceness() + 3).min(19);
    assert_eq!(
        pool.map(|()| own_niceness(), [(); 5]).unwrap(),
        [expected; 5]
    );
}

/// CPUs that this thread may run on.
fn own_cpus() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap().trim().to_owned()
}

fn pinned() {
    let own = own_cpus();
    let first: usize = own.split([',', '-']).next().unwrap().parse().unwrap();
    let last: usize = own.split([',', '-']).next_back().unwrap().parse().unwrap();
    let pool = Pool::builder().workers(3).pin([first, last]).build();
    let pool = pool.unwrap();
    let found = pool.broadcast(|()| own_cpus(), &());
    let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
    assert_eq!(found, [first, last, first].map(|cpu| cpu.to_string()));
    let pool = Pool::builder().workers(1).pin([]).build().unwrap();
    assert_eq!(pool.apply(|()| own_cpus(), ()).unwrap(), own, "on any");
}

fn environment() {
    let builder = Pool::builder().workers(1);
    let builder = builder.env("OMP_NUM_THREADS", "1").env("A_NAME", "a");
    let pool = builder.env("A_NAME", "b").build().unwrap();
    let variable = |name: String| std::env::var(name).ok();
    let look = |name: &str| pool.apply(variable, name.to_owned()).unwrap();
    assert_eq!(look("OMP_NUM_THREADS").as_deref(), Some("1"));
    assert_eq!(look("A_NAME").as_deref(), Some("b"), "the last one counts");
    assert_eq!(look("PATH"), std::env::var("PATH").ok());
    assert!(std::env::var("A_NAME").is_err());
    // The next one has it, too.
    pool.apply(|()| -> () { std::process::abort() }, ())
        .unwrap_err();
    assert_eq!(look("A_NAME").as_deref(), Some("b"));
}

fn directory() {
    let folder = std::env::temp_dir().canonicalize().unwrap();
    let pool = Pool::builder().workers(1).current_dir(&folder);
    let pool = pool.build().unwrap();
    let look = |()| std::env::current_dir().unwrap();
    assert_eq!(pool.apply(look, ()).unwrap(), folder);
    let plain = Pool::with_workers(1).unwrap();
    let own = std::env::current_dir().unwrap();
    assert_eq!(plain.apply(look, ()).unwrap(), own);
}

static PREPARED: OnceLock<u32> = OnceLock::new();

fn prepare(word: u32) {
    ledger::note(word);
    PREPARED.set(word).unwrap();
}

fn initializer_of_each() {
    let runs = ledger::reserve(1);
    let builder = Pool::builder().workers(3).initializer(prepare, runs);
    let pool = builder.build().unwrap();
    let found = pool.broadcast(|()| PREPARED.get().copied(), &());
    assert_eq!(found.len(), 3);
    assert!(found.into_iter().all(|one| one.unwrap() == Some(runs)));
    assert_eq!(ledger::get(runs), 3);
    for n in 1..4 {
        pool.apply(|()| -> () { std::process::abort() }, ())
            .unwrap_err();
        let found = pool.broadcast(|()| PREPARED.get().copied(), &());
        assert!(found.into_iter().all(|one| one.unwrap() == Some(runs)));
        assert_eq!(ledger::get(runs), 3 + n, "the new one, too");
    }
}

fn initializer_with_a_large_argument() {
    static BODY: OnceLock<Bytes> = OnceLock::new();
    let body = Bytes((0..10_000_000).map(|n| n as u8).collect());
    let keep = |body: Bytes| BODY.set(body).map_err(|_| "twice");
    let builder = Pool::builder().workers(2).initializer(keep, body);
    let pool = builder.build().unwrap();
    let at = |n: usize| BODY.get().unwrap().0[n];
    let places = [0, 5_000_000, 9_999_999];
    assert_eq!(pool.map(at, places).unwrap(), places.map(|n| n as u8));
}

/// Makes calls of every kind, which all fail.
#[track_caller]
fn check_all_fail(pool: &Pool, is_it: impl Fn(&TaskError) -> bool) {
    let check = |error: TaskError| assert!(is_it(&error), "{error:?}");
    check(pool.apply(|n: u8| n, 1).unwrap_err());
    check(pool.map(|n: u8| n, 0..5).unwrap_err());
    check(pool.apply_async(|n: u8| n, 1).get().unwrap_err());
    check(pool.map_async(|n: u8| n, 0..5).get().unwrap_err());
    check(pool.imap(|n: u8| n, 0..5).next().unwrap().unwrap_err());
    let outcomes = pool.map_results(|n: u8| n, 0..50);
    assert_eq!(outcomes.len(), 50);
    outcomes.into_iter().for_each(|one| check(one.unwrap_err()));
    pool.close();
    pool.join().unwrap();
}

/// F06, F11.
fn initializer_that_fails() {
    let runs = ledger::reserve(1);
    let fail = |runs: u32| {
        ledger::note(runs);
        Err::<(), _>("no model")
    };
    let pool = Pool::builder().workers(2).initializer(fail, runs);
    check_all_fail(&pool.build().unwrap(), |error| match error {
        TaskError::InitFailed(failure) => match &**failure {
            InitFailure::Failed(text) => text == "no model",
            _ => false,
        },
        _ => false,
    });
    let tries = ledger::get(runs);
    assert!((2..=100).contains(&tries), "{tries} tries");
}

/// F07.
fn initializer_that_panics() {
    let fail = |()| -> () { panic!("the initialiser's panic") };
    let pool = Pool::builder().workers(1).initializer(fail, ());
    check_all_fail(&pool.build().unwrap(), |error| match error {
        TaskError::InitFailed(failure) => match &**failure {
            InitFailure::Panicked(panic) => {
                let place = panic.location();
                panic.message() == "the initialiser's panic" && place.file() == file!()
            }
            _ => false,
        },
        _ => false,
    });
}

/// F08: a death, not a success.
fn initializer_that_exits() {
    let runs = ledger::reserve(1);
    let exit = |runs: u32| -> () {
        ledger::note(runs);
        std::process::exit(0)
    };
    let pool = Pool::builder().workers(1).initializer(exit, runs);
    check_all_fail(&pool.build().unwrap(), |error| {
        matches!(error, TaskError::NoWorkers(_) | TaskError::InitFailed(_))
    });
    let tries = ledger::get(runs);
    assert!((2..=150).contains(&tries), "{tries} tries");
}

/// F10: nothing is lost.
fn initializer_that_fails_at_first() {
    let runs = ledger::reserve(1);
    let sometimes = |runs: u32| {
        ledger::note(runs);
        match ledger::get(runs) {
            1 => Err("not yet"),
            2 => panic!("the initialiser's panic"),
            3 => std::process::exit(0),
            _ => Ok(()),
        }
    };
    let pool = Pool::builder().workers(1).initializer(sometimes, runs);
    let pool = pool.build().unwrap();
    check_usable(&pool);
    assert_eq!(pool.apply_async(|n: u8| n, 1).get().unwrap(), 1);
    assert_eq!(ledger::get(runs), 4);
}

/// Cannot be encoded, or not be decoded.
struct Odd {
    goes_out: bool,
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.goes_out {
            true => serializer.serialize_unit(),
            false => Err(serde::ser::Error::custom("as planned")),
        }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("as planned"))
    }
}

fn initializer_with_what_it_cannot_have() {
    let builder = Pool::builder().initializer(|_: Odd| (), Odd { goes_out: false });
    let error = builder.build().unwrap_err();
    assert!(matches!(error, PoolError::Argument(_)), "{error:?}");
    let builder = Pool::builder().workers(1);
    let builder = builder.initializer(|_: Odd| (), Odd { goes_out: true });
    check_all_fail(&builder.build().unwrap(), |error| match error {
        TaskError::InitFailed(failure) => matches!(**failure, InitFailure::Decode(_)),
        _ => false,
    });
}

/// F05, F09.
fn start_timeout_now_and_then() {
    let runs = ledger::reserve(1);
    let hang = |runs: u32| {
        ledger::note(runs);
        if ledger::get(runs) <= 2 {
            os::sleep_for_ever();
        }
    };
    let builder = Pool::builder().workers(2).initializer(hang, runs);
    let pool = builder.start_timeout(Duration::from_millis(100)).build();
    let pool = pool.unwrap();
    check_usable(&pool);
    assert!(ledger::get(runs) >= 3);
}

fn start_timeout_for_ever() {
    let limit = Duration::from_millis(10);
    let hang = |()| os::sleep_for_ever();
    let builder = Pool::builder().workers(1).initializer(hang, ());
    let pool = builder.start_timeout(limit).build().unwrap();
    check_all_fail(&pool, |error| match error {
        TaskError::InitFailed(failure) => match **failure {
            InitFailure::TimedOut(after) => after == limit,
            _ => false,
        },
        _ => false,
    });
}

fn note_the_end() {
    ledger::note(*PREPARED.get().unwrap());
}

/// When the pool was closed or made smaller, when a worker has done its share, or nothing to do.
fn finalizer() {
    let with = |word: u32| {
        let builder = Pool::builder().workers(3);
        builder.initializer(prepare, word).finalizer(note_the_end)
    };
    let word = ledger::reserve(1);
    let pool = with(word).build().unwrap();
    warm_up(&pool);
    assert_eq!(ledger::get(word), 3);
    pool.resize(2).unwrap();
    ledger::wait_for(word, 4);
    pool.close();
    pool.join().unwrap();
    assert_eq!(ledger::get(word), 6);
    let word = ledger::reserve(1);
    let pool = with(word).max_tasks_per_worker(1).build().unwrap();
    pool.map(|n: u32| n, 0..10).unwrap();
    // Each item's worker has come and gone.
    ledger::wait_for(word, 20);
    drop(pool);
    let word = ledger::reserve(1);
    let idle = Duration::from_millis(5);
    let pool = with(word).idle_timeout(idle).build().unwrap();
    ledger::wait_for(word, 6);
    count_is(&pool, 0);
}

fn finalizer_not_when_killed() {
    for way in 0..3 {
        let word = ledger::reserve(1);
        let builder = Pool::builder().workers(1).initializer(prepare, word);
        let pool = builder.finalizer(note_the_end).build().unwrap();
        check_usable(&pool);
        match way {
            0 => pool.terminate(),
            1 => drop(pool.apply(|()| -> () { std::process::exit(0) }, ())),
            _ => drop(
                pool.timeout(Duration::from_millis(5))
                    .apply(|()| os::sleep_for_ever(), ()),
            ),
        }
        drop(pool);
        assert!(ledger::get(word) <= 2, "initialised, and no more");
    }
}

fn finalizer_that_panics() {
    let word = ledger::reserve(1);
    let fail = || -> () {
        note_the_end();
        panic!("the finaliser's panic");
    };
    let builder = Pool::builder().workers(2).initializer(prepare, word);
    let builder = builder.max_tasks_per_worker(2).finalizer(fail);
    let pool = builder.build().unwrap();
    assert_eq!(pool.map(|n: u32| n, 0..20).unwrap().len(), 20);
    pool.close();
    pool.join().unwrap();
    assert!(ledger::get(word) >= 20);
    assert_eq!(pool.stats().restarts, 0, "it leaves all the same");
}

fn broadcast_to_all() {
    let pool = Pool::with_workers(4).unwrap();
    let word = ledger::reserve(1);
    let who = |(word, text): (u32, String)| {
        ledger::note(word);
        (worker_index(), std::process::id(), text)
    };
    for round in 1..=20 {
        let outcomes = pool.broadcast(who, &(word, "x".repeat(round as usize * 50)));
        assert_eq!(ledger::get(word), round * 4, "once each");
        let pids = pool.worker_pids();
        assert_eq!(outcomes.len(), 4);
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let (found, pid, text) = outcome.unwrap();
            assert_eq!((found, pid), (Some(index), pids[index]));
            assert_eq!(text.len(), round as usize * 50);
        }
    }
}

fn broadcast_while_busy() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(3);
    let busy = |words: u32| {
        ledger::note(words);
        ledger::wait(words + 1)
    };
    let many = pool.chunksize(1).map_async(busy, [words; 20]);
    ledger::wait_for(words, 2);
    thread::scope(|scope| {
        let call = scope.spawn(|| pool.broadcast(ledger::note, &(words + 2)));
        assert_eq!(ledger::get(words + 2), 0, "all are busy");
        ledger::set(words + 1, 1);
        assert!(call.join().unwrap().into_iter().all(|one| one.is_ok()));
    });
    assert_eq!(ledger::get(words + 2), 2);
    assert_eq!(many.get().unwrap(), [1; 20]);
}

fn broadcast_with_a_death() {
    let pool = Pool::with_workers(3).unwrap();
    let die = |()| {
        if worker_index() == Some(1) {
            std::process::abort();
        }
        std::process::id()
    };
    for _ in 0..5 {
        let outcomes = pool.broadcast(die, &());
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(_) => assert_ne!(index, 1),
                Err(TaskError::WorkerDied(death)) => {
                    assert_eq!((index, death.signal()), (1, Some(libc::SIGABRT)));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        check_usable(&pool);
    }
    // Killed by somebody before it has a look.
    for pid in pool.worker_pids() {
        os::send(pid, rustix::process::Signal::KILL);
    }
    let outcomes = pool.broadcast(|n: u32| n, &7);
    assert_eq!(outcomes.len(), 3);
    for outcome in outcomes {
        match outcome {
            Ok(value) => assert_eq!(value, 7),
            Err(error) => assert!(matches!(error, TaskError::WorkerDied(_)), "{error:?}"),
        }
    }
}

fn broadcast_to_lazy_ones() {
    let pool = Pool::builder().workers(3).lazy().build().unwrap();
    let indices = pool.broadcast(|()| worker_index(), &());
    let indices: Vec<_> = indices.into_iter().map(Result::unwrap).collect();
    assert_eq!(indices, [Some(0), Some(1), Some(2)]);
    assert_eq!(pool.worker_pids().len(), 3);
    let builder = Pool::builder().workers(2);
    let pool = builder.idle_timeout(Duration::from_micros(300)).build();
    let pool = pool.unwrap();
    for _ in 0..50 {
        pause(Duration::from_nanos(200_000 + dice(200_000)));
        let outcomes = pool.broadcast(|n: u8| n, &3);
        assert!(outcomes.into_iter().all(|one| one.unwrap() == 3));
    }
}

fn broadcast_by_many() {
    let pool = Pool::with_workers(3).unwrap();
    let word = ledger::reserve(1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let outcomes = pool.broadcast(ledger::note, &word);
                    assert!(outcomes.len() == 3 && outcomes.iter().all(Result::is_ok));
                }
            });
            scope.spawn(|| check_usable(&pool));
        }
    });
    assert_eq!(ledger::get(word), 240);
}

fn broadcast_that_fails() {
    let pool = Pool::with_workers(2).unwrap();
    let panics = pool.broadcast(|()| -> () { panic!("the item's panic") }, &());
    assert!(matches!(
        &panics[..],
        [Err(TaskError::Panicked(_)), Err(TaskError::Panicked(_))]
    ));
    let refused = pool.broadcast(|_: Odd| (), &Odd { goes_out: false });
    assert_eq!(refused.len(), 2);
    for outcome in refused {
        assert!(
            matches!(outcome, Err(TaskError::ItemEncode(_))),
            "{outcome:?}"
        );
    }
    pool.close();
    for outcome in pool.broadcast(|()| (), &()) {
        assert!(matches!(outcome, Err(TaskError::Closed)), "{outcome:?}");
    }
    pool.join().unwrap();
}

fn restart_limit() {
    for most in [0, 3] {
        let pool = Pool::builder().workers(1).restart_limit(most);
        let pool = pool.build().unwrap();
        let die = |_: u32| -> () { std::process::abort() };
        let outcomes = pool.chunksize(1).map_results(die, 0..20);
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Err(TaskError::WorkerDied(_)) => assert!(n <= most, "{n}"),
                Err(TaskError::RestartLimit(found)) => {
                    assert_eq!(found, most);
                    assert!(n > most, "{n}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pool.stats().restarts, most);
        check_all_fail(&pool, |error| {
            matches!(error, TaskError::RestartLimit(_) | TaskError::Closed)
        });
    }
    // What leaves in good order, or was ended by the pool, does not count.
    let builder = Pool::builder().workers(1).restart_limit(0);
    let pool = builder.max_tasks_per_worker(1).build().unwrap();
    assert_eq!(pool.map(|n: u32| n, 0..5).unwrap().len(), 5);
    let view = pool.timeout(Duration::from_millis(5));
    let error = view.apply(|()| os::sleep_for_ever(), ()).unwrap_err();
    assert!(matches!(error, TaskError::TimedOut(_)), "{error:?}");
    check_usable(&pool);
}

/// F12.
fn nested_too_deep() {
    fn deeper(level: u32) -> u32 {
        match Pool::with_workers(1) {
            Ok(pool) => pool.apply(deeper, level + 1).unwrap(),
            Err(PoolError::TooDeep) => level,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(deeper(0), MAX_DEPTH);
}

/// Counts how often it is encoded, and how often decoded.
struct Counted(u32);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ledger::note(self.0);
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = u32::deserialize(deserializer)?;
        ledger::note(word + 1);
        Ok(Counted(word))
    }
}

fn context_is_decoded_once_per_worker() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(3);
    let met = |context: &Counted, n: u32| {
        if n < 2 {
            // So that both take part.
            ledger::note(context.0 + 2);
            ledger::wait_for(context.0 + 2, 2);
        }
        n + context.0
    };
    for chunksize in [1, 20] {
        (words..words + 3).for_each(|word| ledger::set(word, 0));
        let view = pool.chunksize(chunksize);
        let items = (0..200).map(|n| {
            if n == 20 {
                1
            } else {
                n.max(2) * u32::from(n != 0)
            }
        });
        let expected: Vec<_> = items.clone().map(|n| n + words).collect();
        assert_eq!(
            view.map_with(&Counted(words), met, items).unwrap(),
            expected
        );
        assert_eq!(ledger::get(words), 1, "sent once");
        assert_eq!(ledger::get(words + 1), 2, "decoded once per worker");
    }
}

fn context_that_cannot_be_sent() {
    let pool = Pool::with_workers(2).unwrap();
    let outcomes = pool.map_with_results(&Odd { goes_out: false }, |_, n: u32| n, 0..9);
    assert_eq!(outcomes.len(), 9);
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(TaskError::ItemEncode(_))),
            "{outcome:?}"
        );
    }
    let outcomes = pool.map_with_results(&Odd { goes_out: true }, |_, n: u32| n, 0..9);
    assert_eq!(outcomes.len(), 9);
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(TaskError::ItemDecode(_))),
            "{outcome:?}"
        );
    }
    check_usable(&pool);
}

fn context_and_deaths() {
    let pool = Pool::with_workers(2).unwrap();
    let table: Vec<u64> = (0..50_000).collect();
    let look = |table: &Vec<u64>, n: usize| {
        if n % 30 == 7 {
            std::process::abort();
        }
        table[n * 100]
    };
    for chunksize in [1, 9] {
        let view = pool.chunksize(chunksize);
        let outcomes = view.map_with_results(&table, look, 0..100);
        for (n, outcome) in outcomes.into_iter().enumerate() {
            assert_eq!(outcome.ok(), (n % 30 != 7).then_some(n as u64 * 100));
        }
    }
}

static MADE: AtomicU32 = AtomicU32::new(0);

/// How often a state was made in this worker.
fn make() -> u32 {
    MADE.fetch_add(1, Ordering::Relaxed) + 1
}

/// A long text whose decoding tells that it has begun, and waits, before it reads the text.
struct Slow {
    words: u32,
    text: String,
}

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.words, Waiting, &self.text).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (words, Waiting, text) = Deserialize::deserialize(deserializer)?;
        Ok(Slow { words, text })
    }
}

struct Waiting;

impl Serialize for Waiting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Waiting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = SLOW.load(Ordering::Relaxed);
        ledger::note(words);
        ledger::wait(words + 1);
        <()>::deserialize(deserializer).map(|()| Waiting)
    }
}

/// The words of [`Slow`], for its worker.
static SLOW: AtomicU32 = AtomicU32::new(0);

/// A call that is given up while a worker still reads the context.
fn context_outlives_its_call() {
    let words = ledger::reserve(3);
    let builder = Pool::builder().workers(1);
    let builder = builder.initializer(|words| SLOW.store(words, Ordering::Relaxed), words);
    let pool = builder.build().unwrap();
    let size = 3 << 20;
    let text = "x".repeat(size);
    let given_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let items = (0..2).inspect(|n| {
            if *n == 1 {
                ledger::wait(words);
                panic!("no more items");
            }
        });
        let look = |slow: &Slow, _: u32| {
            let whole = slow.text.bytes().all(|byte| byte == b'x');
            ledger::set(slow.words + 2, if whole { 1 } else { 2 });
        };
        pool.chunksize(1)
            .map_with(&Slow { words, text }, look, items)
    }));
    assert!(given_up.is_err());
    // Whoever gets its memory writes to it.
    let other = Pool::with_workers(1).unwrap();
    assert_eq!(
        other
            .map(|text: String| text.len(), vec!["y".repeat(size); 3])
            .unwrap(),
        [size; 3]
    );
    ledger::note(words + 1);
    assert_eq!(
        ledger::wait(words + 2),
        1,
        "the context changed while it was read"
    );
    pool.close();
    pool.join().unwrap();
}

fn state_once_per_worker_and_call() {
    let pool = Pool::with_workers(2).unwrap();
    let look = |state: &mut u32, _: u32| (std::process::id(), *state);
    for (round, chunksize) in [(1, 1), (2, 13)] {
        // Whoever had no part in the round before lags behind.
        let found = pool
            .chunksize(chunksize)
            .map_init(make, look, 0..200)
            .unwrap();
        let mut states = HashMap::new();
        for (pid, state) in found {
            assert_eq!(*states.entry(pid).or_insert(state), state, "one per call");
            assert!(state <= round);
        }
    }
    let one = Pool::with_workers(1).unwrap();
    let count = |seen: &mut u32, _: u32| {
        *seen += 1;
        *seen
    };
    for _ in 0..3 {
        let found = one.chunksize(7).map_init(|| 0, count, 0..50).unwrap();
        assert!(found.into_iter().eq(1..=50));
    }
}

fn state_is_made_anew() {
    let pool = Pool::with_workers(1).unwrap();
    let sometimes = |state: &mut u32, n: u32| {
        assert!(n % 5 != 2, "the item's panic");
        *state
    };
    let view = pool.chunksize(4);
    let error = view.map_init(make, sometimes, 0..20).unwrap_err();
    assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
    let made = pool.apply(|()| MADE.load(Ordering::Relaxed), ()).unwrap();
    assert_eq!(made, 5, "once, and after each of four panics");
}

fn state_that_cannot_be_made() {
    let pool = Pool::with_workers(1).unwrap();
    let pids = pool.worker_pids();
    let fail = || -> u32 { panic!("the state's panic") };
    let error = pool.map_init(fail, |_, n: u32| n, 0..5).unwrap_err();
    let TaskError::Panicked(panic) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(panic.message(), "the state's panic");
    let die = || -> u32 { std::process::abort() };
    let error = pool.map_init(die, |_, n: u32| n, 0..5).unwrap_err();
    assert!(matches!(error, TaskError::WorkerDied(_)), "{error:?}");
    check_usable(&pool);
    assert_ne!(pool.worker_pids(), pids);
    assert!(procfs::state_and_parent(pids[0]).is_none());
}
