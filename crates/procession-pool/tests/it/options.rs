//! The options of calls: limits, attempts, urgency, and what a task can ask about itself.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use procession_pool::{Pool, Priority, TaskError, View, current_task, worker_index};
use procession_testkit::{Case, cases, ledger, os, pause};
use rustix::time::{ClockId, clock_gettime};

use crate::options;
use crate::support::agent::{self, Act, Plan, Stage, items, work};
use crate::support::usable::check_usable;

pub(crate) fn cases() -> Vec<Case> {
    cases![options: retry_if_that_panics,
        timeout_of_one, timeout_in_a_chunk, timeout_covers_decoding, timeout_leaves_the_quick_alone,
        timeout_at_the_last_moment, grace_for_those_who_ask, grace_for_those_who_do_not,
        time_left, retries_end_in_a_value, retries_end_in_the_last_error, retries_of_one_in_a_chunk,
        some_errors_are_final, retry_if, backoff, crash_limit, crash_limit_and_retries,
        poison_among_many, fail_fast_of_map, fail_fast_of_map_results, fail_fast_without_failure,
        urgent_first, the_least_urgent_has_its_turn, seeds, index_and_attempt, worker_indices,
        outside_of_a_task, views_compose, defaults_of_the_builder,
    ]
    .into()
}

const LIMIT: Duration = Duration::from_millis(40);

fn endless(begun: u32) {
    ledger::note(begun);
    os::sleep_for_ever();
}

#[track_caller]
fn check_timed_out<T: std::fmt::Debug>(outcome: Result<T, TaskError>, limit: Duration) {
    match outcome {
        Err(TaskError::TimedOut(after)) => assert_eq!(after, limit),
        other => panic!("{other:?}"),
    }
}

fn timeout_of_one() {
    let pool = Pool::with_workers(2).unwrap();
    let begun = ledger::reserve(1);
    let view = pool.timeout(LIMIT);
    let pids: HashSet<_> = pool.worker_pids().into_iter().collect();
    check_timed_out(view.apply(endless, begun), LIMIT);
    check_timed_out(view.map(endless, [begun]), LIMIT);
    check_timed_out(view.map_results(endless, [begun]).remove(0), LIMIT);
    check_timed_out(view.imap(endless, [begun]).next().unwrap(), LIMIT);
    check_timed_out(view.starmap(|a, ()| endless(a), [(begun, ())]), LIMIT);
    assert_eq!(ledger::get(begun), 5);
    check_usable(&pool);
    let now: HashSet<_> = pool.worker_pids().into_iter().collect();
    assert!(now != pids && now.len() == 2, "replaced");
}

/// F55: the others of its chunk have their values, whichever it is.
fn timeout_in_a_chunk() {
    let pool = Pool::with_workers(1).unwrap();
    let view = pool.timeout(Duration::from_millis(300)).chunksize(50);
    let slow = |(n, at, runs): (u32, u32, u32)| {
        ledger::note(runs + n);
        if n == at {
            os::sleep_for_ever();
        }
        n
    };
    for at in [0, 30, 49] {
        let runs = ledger::reserve(50);
        let outcomes = view.map_results(slow, (0..50).map(|n| (n, at, runs)));
        for (n, outcome) in (0..).zip(outcomes) {
            if n == at {
                check_timed_out(outcome, Duration::from_millis(300));
            } else {
                assert_eq!(outcome.unwrap(), n);
            }
            assert_eq!(ledger::get(runs + n), 1);
        }
    }
}

/// F33.
fn timeout_covers_decoding() {
    let pool = Pool::with_workers(1).unwrap();
    let view = pool.timeout(LIMIT);
    let word = ledger::reserve(1);
    for stage in [Stage::ItemDecode, Stage::ItemDrop, Stage::ValueEncode] {
        let plan = Plan::bad(agent::good(1)[0].id, stage, Act::Wait(word));
        check_timed_out(view.apply(work, agent::Item(plan)), LIMIT);
    }
    check_usable(&pool);
}

fn timeout_leaves_the_quick_alone() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    for limit in [Duration::from_secs(1000), Duration::MAX] {
        let view = pool.timeout(limit);
        assert_eq!(view.map(|n: u32| n, 0..2000).unwrap().len(), 2000);
        assert_eq!(view.apply(|n: u32| n, 3).unwrap(), 3);
        assert_eq!(view.apply_async(|n: u32| n, 3).get().unwrap(), 3);
    }
    assert_eq!(pool.worker_pids(), pids);
}

/// F102: one outcome, and if it is none the item was ended.
fn timeout_at_the_last_moment() {
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.timeout(Duration::from_micros(2000)).chunksize(1);
    let nearly = |n: u64| {
        pause(Duration::from_micros(1600 + n * 10));
        n
    };
    let outcomes = view.map_results(nearly, (0..60).cycle().take(180));
    let mut ended = 0;
    for (n, outcome) in (0..60).cycle().zip(outcomes) {
        match outcome {
            Ok(value) => assert_eq!(value, n),
            Err(error) => {
                check_timed_out(Err::<(), _>(error), Duration::from_micros(2000));
                ended += 1;
            }
        }
    }
    println!("  ({ended} of 180 were ended)");
    check_usable(&pool);
}

/// F54.
fn grace_for_those_who_ask() {
    let pool = Pool::with_workers(1).unwrap();
    let pids = pool.worker_pids();
    let polite = |n: u32| {
        let task = current_task().unwrap();
        let early = task.should_stop();
        while !task.should_stop() {
            thread::yield_now();
        }
        (n, early, task.time_left())
    };
    let view = pool.timeout(LIMIT).grace(Duration::from_secs(1000));
    let expected = |n| (n, false, Some(Duration::ZERO));
    assert_eq!(view.apply(polite, 3).unwrap(), expected(3));
    let found = view.chunksize(3).map(polite, 0..3).unwrap();
    assert_eq!(found, [0, 1, 2].map(expected), "each has its own time");
    assert_eq!(view.apply_async(polite, 4).get().unwrap(), expected(4));
    assert_eq!(pool.worker_pids(), pids, "its values count");
}

fn grace_for_those_who_do_not() {
    let pool = Pool::with_workers(1).unwrap();
    let begun = ledger::reserve(1);
    let view = pool.timeout(LIMIT).grace(Duration::from_millis(30));
    let sum = Duration::from_millis(70);
    check_timed_out(view.apply(endless, begun), sum);
    check_timed_out(view.apply_async(endless, begun).get(), sum);
}

fn time_left() {
    let pool = Pool::with_workers(1).unwrap();
    let left = |()| {
        let task = current_task().unwrap();
        (task.time_left(), task.should_stop())
    };
    assert_eq!(pool.apply(left, ()).unwrap(), (None, false));
    let limit = Duration::from_secs(1000);
    let (found, stop) = pool.timeout(limit).apply(left, ()).unwrap();
    assert!(found.is_some_and(|left| left <= limit), "{found:?}");
    assert!(found.is_some_and(|left| left > limit / 2), "{found:?}");
    assert!(!stop);
}

/// Fails until the attempt of this number.
fn until((word, attempt): (u32, u32)) -> u32 {
    ledger::note(word);
    let now = current_task().unwrap().attempt();
    assert_eq!(ledger::get(word), now + 1);
    match now {
        _ if now >= attempt => now,
        1 => std::process::abort(),
        2 => {
            os::sleep_for_ever();
            0
        }
        _ => panic!("the attempt's panic"),
    }
}

fn retries_end_in_a_value() {
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.retries(3).timeout(Duration::from_millis(200));
    let words = ledger::reserve(8);
    assert_eq!(view.apply(until, (words, 3)).unwrap(), 3);
    let items = (0..4).map(|n| (words + 1 + n, n));
    assert_eq!(view.map(until, items).unwrap(), [0, 1, 2, 3]);
    assert_eq!(
        view.starmap(|a, b| until((a, b)), [(words + 5, 2)])
            .unwrap(),
        [2]
    );
}

fn retries_end_in_the_last_error() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(3);
    let error = pool.retries(0).apply(until, (words, 9)).unwrap_err();
    assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
    let error = pool.retries(1).apply(until, (words + 1, 9)).unwrap_err();
    assert!(matches!(error, TaskError::WorkerDied(_)), "{error:?}");
    let view = pool.timeout(LIMIT).retries(2);
    check_timed_out(view.apply(until, (words + 2, 9)), LIMIT);
    assert_eq!([0, 1, 2].map(|n| ledger::get(words + n)), [1, 2, 3]);
}

fn retries_of_one_in_a_chunk() {
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [1, 10, 100] {
        let words = ledger::reserve(100);
        let view = pool.chunksize(chunksize).retries(2);
        let items = (0..100).map(|n| (words + n, u32::from(n % 9 == 4) * (1 + n % 2)));
        let outcomes = view.map_results(until, items.clone());
        for ((word, attempt), outcome) in items.zip(outcomes) {
            assert_eq!(outcome.unwrap(), attempt);
            assert_eq!(ledger::get(word), attempt + 1, "others run once");
        }
    }
}

/// What another attempt cannot change.
fn some_errors_are_final() {
    let pool = Pool::with_workers(1).unwrap();
    let bad = [
        Stage::ItemEncode,
        Stage::ItemDecode,
        Stage::ValueEncode,
        Stage::ValueDecode,
    ];
    for view in [pool.retries(3), pool.crash_limit(3)] {
        let mut plans = agent::good(8);
        for (plan, stage) in plans.iter_mut().zip(bad) {
            *plan = Plan::bad(plan.id, stage, Act::Fail);
        }
        agent::check_all(&plans, &view.map_results(work, items(&plans)));
    }
}

fn retry_if() {
    let pool = Pool::with_workers(1).unwrap();
    let words = ledger::reserve(2);
    let died = |error: &TaskError| matches!(error, TaskError::WorkerDied(_));
    let view = pool.retries(5).retry_if(died);
    let error = view.apply(until, (words, 9)).unwrap_err();
    assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
    assert_eq!(ledger::get(words), 1);
    let twice = |word: u32| {
        ledger::note(word);
        if ledger::get(word) < 3 {
            std::process::abort();
        }
    };
    view.apply(twice, words + 1).unwrap();
    assert_eq!(ledger::get(words + 1), 3);
}

fn millis() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// The pauses double.
fn backoff() {
    let pool = Pool::with_workers(1).unwrap();
    let view = pool.retries(2).backoff(Duration::from_millis(40));
    let times = ledger::reserve(3);
    let fail = |times: u32| {
        let attempt = current_task().unwrap().attempt();
        ledger::set(times + attempt, millis() as u32);
        assert_eq!(attempt, 2, "the attempt's panic");
    };
    let check = || {
        let at = [0, 1, 2].map(|attempt| ledger::get(times + attempt));
        let pauses = (at[1].wrapping_sub(at[0]), at[2].wrapping_sub(at[1]));
        assert!(pauses.0 >= 39 && pauses.1 >= 79, "{pauses:?}");
    };
    view.apply(fail, times).unwrap();
    check();
    view.apply_async(fail, times).get().unwrap();
    check();
    view.imap(fail, [times]).next().unwrap().unwrap();
    check();
}

#[track_caller]
fn check_crash_limit<T: std::fmt::Debug>(outcome: Result<T, TaskError>, most: usize) {
    let Err(TaskError::CrashLimit(deaths)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(deaths.len(), most);
    assert!(
        deaths
            .iter()
            .all(|death| death.signal() == Some(libc::SIGABRT))
    );
    let pids: HashSet<u32> = deaths.iter().map(procession_pool::Death::pid).collect();
    assert_eq!(pids.len(), most, "each another worker");
}

fn poison(runs: u32) {
    ledger::note(runs);
    std::process::abort();
}

fn crash_limit() {
    let pool = Pool::with_workers(2).unwrap();
    for most in [1, 2, 4] {
        let runs = ledger::reserve(1);
        check_crash_limit(pool.crash_limit(most).apply(poison, runs), most);
        assert_eq!(ledger::get(runs) as usize, most);
    }
    check_crash_limit(pool.crash_limit(0).apply(poison, ledger::reserve(1)), 1);
}

/// Deaths are no retries, and retries are for what is no death.
fn crash_limit_and_retries() {
    let pool = Pool::with_workers(1).unwrap();
    let view = pool.crash_limit(3).retries(1);
    let fail = |words: u32| {
        let attempt = current_task().unwrap().attempt();
        ledger::note(words);
        match attempt {
            0 | 2 => std::process::abort(),
            1 => panic!("the attempt's panic"),
            _ => attempt,
        }
    };
    assert_eq!(view.apply(fail, ledger::reserve(1)).unwrap(), 3);
    let runs = ledger::reserve(1);
    let error = pool.crash_limit(3).apply(fail, runs).unwrap_err();
    assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
    assert_eq!(ledger::get(runs), 2);
}

/// F127.
fn poison_among_many() {
    let pool = Pool::with_workers(2).unwrap();
    let some = |(n, runs): (u32, u32)| {
        if n == 777 {
            poison(runs);
        }
        n
    };
    for view in [pool.crash_limit(3), pool.crash_limit(3).chunksize(100)] {
        let runs = ledger::reserve(1);
        let outcomes = view.map_results(some, (0..3000).map(|n| (n, runs)));
        for (n, outcome) in (0..).zip(outcomes) {
            match n {
                777 => check_crash_limit(outcome, 3),
                _ => assert_eq!(outcome.unwrap(), n),
            }
        }
        assert_eq!(ledger::get(runs), 3);
    }
}

/// One fails when two others sleep for ever.
fn failing((begun, n): (u32, u32)) {
    ledger::note(begun);
    if n == 2 {
        ledger::wait_for(begun, 3);
        panic!("the item's panic");
    }
    os::sleep_for_ever();
}

#[track_caller]
fn check_begun(begun: u32) {
    // Workers may have begun others before it was known.
    let ran = ledger::get(begun);
    assert!((3..12).contains(&ran), "{ran} were begun");
}

/// F106.
fn fail_fast_of_map() {
    let pool = Pool::with_workers(3).unwrap();
    let begun = ledger::reserve(1);
    let view = pool.fail_fast().chunksize(1);
    let error = view.map(failing, (0..).map(|n| (begun, n))).unwrap_err();
    assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
    check_usable(&pool);
    check_begun(begun);
}

fn fail_fast_of_map_results() {
    let pool = Pool::with_workers(3).unwrap();
    let begun = ledger::reserve(1);
    let view = pool.fail_fast().chunksize(1);
    let outcomes = view.map_results(failing, (0..5000).map(|n| (begun, n)));
    assert_eq!(outcomes.len(), 5000, "one outcome per item");
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Err(TaskError::Panicked(_)) => assert_eq!(n, 2),
            Err(TaskError::Cancelled) => assert_ne!(n, 2),
            other => panic!("{other:?}"),
        }
    }
    check_usable(&pool);
    check_begun(begun);
}

fn fail_fast_without_failure() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    let view = pool.fail_fast();
    let once = |word: u32| {
        ledger::note(word);
        assert!(ledger::get(word) > 1, "the first attempt's panic");
    };
    assert_eq!(view.map(|n: u32| n, 0..3000).unwrap().len(), 3000);
    let word = ledger::reserve(1);
    view.retries(1).map(once, [word]).unwrap();
    assert_eq!(ledger::get(word), 2, "what a retry mends is no failure");
    assert_eq!(pool.worker_pids(), pids);
}

fn urgent_first() {
    let pool = Pool::with_workers(1).unwrap();
    let words = ledger::reserve(3);
    let busy = pool.apply_async(
        |words: u32| {
            ledger::note(words);
            ledger::wait(words + 1);
        },
        words,
    );
    ledger::wait(words);
    let number = |order: u32| {
        ledger::note(order);
        ledger::get(order)
    };
    let order = words + 2;
    thread::scope(|scope| {
        let pool = &pool;
        let low = pool.priority(Priority::Low).map_async(number, [order; 2]);
        let normal = pool.map_async(number, [order; 2]);
        let high = pool.priority(Priority::High);
        let high = scope.spawn(move || {
            let handles = high.imap(number, [order; 2]);
            // They are submitted by now.
            ledger::set(words + 1, 1);
            handles.map(Result::unwrap).collect::<Vec<_>>()
        });
        assert_eq!(high.join().unwrap(), [1, 2]);
        assert_eq!(normal.get().unwrap(), [3, 4]);
        assert_eq!(low.get().unwrap(), [5, 6]);
    });
    busy.get().unwrap();
}

/// F151.
fn the_least_urgent_has_its_turn() {
    let pool = Pool::with_workers(1).unwrap();
    let runs = ledger::reserve(1);
    let high = pool.priority(Priority::High).chunksize(1);
    let mut stream = high.imap(ledger::note, std::iter::repeat(runs));
    for _ in 0..50 {
        stream.next().unwrap().unwrap();
    }
    let low = pool.priority(Priority::Low).apply_async(ledger::get, runs);
    let mut after = 0;
    while !low.ready() && after < 10_000 {
        stream.next().unwrap().unwrap();
        after += 1;
    }
    assert!(after < 10_000, "it waits for ever");
    assert!(low.get().unwrap() >= 50);
}

fn drawn(view: &View, count: usize) -> Vec<u64> {
    let seed = |()| current_task().unwrap().seed();
    view.map(seed, vec![(); count]).unwrap()
}

fn seeds() {
    let (one, three) = (
        Pool::with_workers(1).unwrap(),
        Pool::with_workers(3).unwrap(),
    );
    let expected = drawn(&one, 300);
    let distinct: HashSet<_> = expected.iter().collect();
    assert_eq!(distinct.len(), 300);
    for pool in [&one, &three] {
        for view in [
            pool.seed(0),
            pool.chunksize(1),
            pool.chunksize(7),
            pool.retries(1),
        ] {
            assert_eq!(drawn(&view, 300), expected);
            assert_eq!(drawn(&view, 5), expected[..5]);
        }
        let seed = |()| current_task().unwrap().seed();
        let lazy: Result<Vec<_>, _> = pool.imap(seed, vec![(); 300]).collect();
        assert_eq!(lazy.unwrap(), expected);
        let late = pool.chunksize(11).map_async(seed, vec![(); 300]);
        assert_eq!(late.get().unwrap(), expected);
        let other = drawn(&pool.seed(7), 300);
        assert!(other.iter().all(|seed| !expected.contains(seed)));
        assert_eq!(drawn(&pool.seed(7).chunksize(3), 300), other);
    }
}

fn index_and_attempt() {
    let pool = Pool::with_workers(2).unwrap();
    let indices = |()| {
        let task = current_task().unwrap();
        (task.index(), task.attempt())
    };
    let expected: Vec<_> = (0..200).map(|n| (n, 0)).collect();
    for view in [pool.chunksize(1), pool.chunksize(13), pool.seed(1)] {
        assert_eq!(view.map(indices, [(); 200]).unwrap(), expected);
        let lazy: Result<Vec<_>, _> = view.imap(indices, [(); 200]).collect();
        assert_eq!(lazy.unwrap(), expected);
        assert_eq!(view.map_async(indices, [(); 200]).get().unwrap(), expected);
    }
    assert_eq!(pool.apply(indices, ()).unwrap(), (0, 0));
    // Of an item that is tried again, and of those that share a chunk with one that dies.
    let again = |n: u64| {
        let task = current_task().unwrap();
        assert_eq!(task.index(), n);
        if n % 7 == 3 && task.attempt() == 0 {
            std::process::abort();
        }
        task.attempt()
    };
    let found = pool.chunksize(10).retries(1).map(again, 0..50).unwrap();
    assert!(found.into_iter().eq((0..50).map(|n| u32::from(n % 7 == 3))));
}

fn worker_indices() {
    let pool = Pool::with_workers(3).unwrap();
    let met = ledger::reserve(1);
    let meet = |met: u32| {
        ledger::note(met);
        ledger::wait_for(met, 3);
        (worker_index(), std::process::id())
    };
    let found = pool.chunksize(1).map(meet, [met; 3]).unwrap();
    let indices: HashSet<_> = found.iter().map(|(index, _)| index.unwrap()).collect();
    assert_eq!(indices, HashSet::from([0, 1, 2]));
    for (index, pid) in found {
        assert_eq!(pool.worker_pids()[index.unwrap()], pid);
    }
    // Who takes the place of a dead one has its index.
    let one = Pool::with_workers(1).unwrap();
    for _ in 0..3 {
        assert_eq!(one.apply(|()| worker_index(), ()).unwrap(), Some(0));
        one.apply(|()| -> () { std::process::abort() }, ())
            .unwrap_err();
    }
}

fn outside_of_a_task() {
    assert!(worker_index().is_none());
    assert!(current_task().is_none());
    let pool = Pool::with_workers(1).unwrap();
    pool.apply(|()| (), ()).unwrap();
    assert!(current_task().is_none());
    // From another thread of the worker.
    let elsewhere = |n: u64| {
        let thread = thread::spawn(move || current_task().unwrap().index() == n);
        thread.join().unwrap()
    };
    assert!(
        pool.map(elsewhere, 0..5)
            .unwrap()
            .into_iter()
            .all(|right| right)
    );
}

fn views_compose() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(4);
    let all = pool
        .retries(1)
        .timeout(LIMIT)
        .grace(Duration::from_millis(10))
        .chunksize(2)
        .seed(3)
        .crash_limit(2);
    let limit = LIMIT + Duration::from_millis(10);
    check_timed_out(all.apply(endless, words), limit);
    assert_eq!(ledger::get(words), 2, "time-outs are tried again");
    check_crash_limit(all.apply(poison, words + 1), 2);
    // The last one counts.
    let once = all.retries(0);
    check_timed_out(once.apply(endless, words + 2), limit);
    assert_eq!(ledger::get(words + 2), 1);
    // The pool itself has none of this.
    let outcome = pool.apply(poison, words + 3);
    assert!(
        matches!(outcome, Err(TaskError::WorkerDied(_))),
        "{outcome:?}"
    );
    assert_eq!(ledger::get(words + 3), 1);
    let left = |()| current_task().unwrap().time_left();
    assert_eq!(pool.apply(left, ()).unwrap(), None);
    assert!(all.clone().apply(left, ()).unwrap().is_some());
    assert_eq!(drawn(&pool, 3), drawn(&pool.seed(0), 3));
    assert!(!format!("{all:?}").is_empty());
}

fn defaults_of_the_builder() {
    let pool = Pool::builder()
        .workers(1)
        .task_timeout(LIMIT)
        .grace(Duration::from_millis(10))
        .retries(1)
        .crash_limit(2)
        .backoff(Duration::from_millis(1))
        .chunksize(3)
        .build()
        .unwrap();
    let words = ledger::reserve(3);
    let limit = LIMIT + Duration::from_millis(10);
    check_timed_out(pool.apply(endless, words), limit);
    check_timed_out(pool.apply_async(endless, words).get(), limit);
    assert_eq!(ledger::get(words), 4);
    check_crash_limit(pool.apply(poison, words + 1), 2);
    // A view has its own.
    let view = pool.timeout(LIMIT * 2).grace(Duration::ZERO).retries(0);
    check_timed_out(view.apply(endless, words + 2), LIMIT * 2);
    assert_eq!(ledger::get(words + 2), 1);
    assert_eq!(pool.map(|n: u32| n, 0..100).unwrap().len(), 100);
}

/// Whoever is asked may panic: that means no, and harms nobody.
fn retry_if_that_panics() {
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.retries(3).retry_if(|_| panic!("no answer"));
    let odd = |n: u32| if n == 3 { panic!("odd") } else { n };
    let is_first = |outcome: &Result<u32, TaskError>| matches!(outcome, Err(TaskError::Panicked(panic)) if panic.message() == "odd");
    let outcomes = view.map_results(odd, 0..6);
    assert!(is_first(&outcomes[3]), "{:?}", outcomes[3]);
    assert_eq!(outcomes.iter().flatten().count(), 5);
    let pending = [view.apply_async(odd, 3), view.apply_async(odd, 4)];
    let [failed, fine] = pending.map(procession_pool::AsyncResult::get);
    assert!(is_first(&failed), "{failed:?}");
    assert_eq!(fine.unwrap(), 4);
    assert_eq!(pool.stats().retries, 0);
}
