//! Outcomes as an iterator: their order, how far ahead items are taken, and what is left undone.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use procession_pool::{Elapsed, Pool, TaskError, current_task};
use procession_testkit::{Case, cases, eventually, heap_units, ledger, os};

use crate::imap;
use crate::support::agent::{self, Act, Bytes, Plan, Stage, items, work};
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![imap:
        nothing, order_is_that_of_the_items, unordered_is_as_they_finish, everything_once,
        takes_what_the_buffersize_says, takes_little_by_default, holds_little_of_large_values,
        endless_input, lengths, dropped_half_way, dropped_before_the_first, input_that_panics,
        next_timeout, slow_consumer, slow_consumer_has_workers_busy, close_lets_it_finish,
        closed_before, join_with_one_under_way, after_terminate,
        after_the_pool_was_dropped, errors_in_the_middle, deaths_in_the_middle,
        retries_keep_the_order, fail_fast, many_at_once, in_another_thread, input_uses_the_pool,
        nested,
    ]
    .into()
}

/// Counts what is taken.
fn counted(count: &Cell<u64>, items: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
    items.inspect(|_| count.set(count.get() + 1))
}

fn wait_and_return((gate, n): (u32, u64)) -> u64 {
    ledger::wait(gate);
    n
}

fn nothing() {
    let pool = Pool::with_workers(2).unwrap();
    for view in [pool.chunksize(1), pool.chunksize(9), pool.buffersize(3)] {
        assert!(view.imap(|n: u8| n, []).next().is_none());
        assert!(view.imap_unordered(|n: u8| n, []).next().is_none());
        let mut none = view.imap(|n: u8| n, []);
        assert!(matches!(none.next_timeout(Duration::ZERO), Ok(None)));
    }
}

fn order_is_that_of_the_items() {
    let pool = Pool::with_workers(3).unwrap();
    let slow_first = |n: u64| {
        thread::sleep(Duration::from_millis(10_u64.saturating_sub(n)));
        n
    };
    for view in [
        pool.chunksize(1),
        pool.chunksize(7),
        pool.buffersize(4),
        pool.buffersize(1).chunksize(50),
        pool.chunksize(usize::MAX),
        pool.seed(0),
    ] {
        let found: Result<Vec<_>, _> = view.imap(slow_first, 0..200).collect();
        assert!(found.unwrap().into_iter().eq(0..200), "{view:?}");
    }
}

/// The first item ends when all others have been handed on.
fn unordered_is_as_they_finish() {
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    let first_waits = |(gate, n): (u32, u64)| {
        if n == 0 {
            ledger::wait(gate);
        }
        n
    };
    let view = pool.chunksize(1);
    let mut outcomes = view.imap_unordered(first_waits, (0..50).map(|n| (gate, n)));
    let mut found: Vec<_> = (1..50).map(|_| outcomes.next().unwrap().unwrap()).collect();
    found.sort_unstable();
    assert!(found.into_iter().eq(1..50));
    assert!(matches!(
        outcomes.next_timeout(Duration::ZERO),
        Err(Elapsed)
    ));
    ledger::set(gate, 1);
    assert_eq!(outcomes.next().unwrap().unwrap(), 0);
    assert!(outcomes.next().is_none());
}

fn everything_once() {
    let pool = Pool::with_workers(3).unwrap();
    for chunksize in [1, 7, 1000] {
        let plans = agent::good(500);
        let view = pool.chunksize(chunksize);
        let outcomes: Vec<_> = view.imap(work, items(&plans)).collect();
        agent::check_all(&plans, &outcomes);
        let plans = agent::good(500);
        let outcomes = view.imap_unordered(work, items(&plans));
        let mut ids: Vec<_> = outcomes.map(|outcome| outcome.unwrap().0.id).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(plans.iter().map(|plan| plan.id)));
        assert!(plans.iter().all(|plan| ledger::get(plan.id) == 1));
    }
}

fn takes_what_the_buffersize_says() {
    let pool = Pool::with_workers(2).unwrap();
    for ordered in [true, false] {
        for (size, chunksize) in [(1, 1), (5, 1), (5, 2), (5, 50), (40, 7)] {
            let taken = Cell::new(0);
            let view = pool.buffersize(size).chunksize(chunksize);
            let input = counted(&taken, 0..100);
            let mut outcomes = if ordered {
                view.imap(|n: u64| n, input)
            } else {
                view.imap_unordered(|n: u64| n, input)
            };
            assert_eq!(taken.get(), size as u64, "before the first is handed out");
            for yielded in 1..=100 {
                assert!(outcomes.next().unwrap().is_ok());
                let most = (size as u64 + yielded).min(100);
                assert!(taken.get() <= most, "{} of {most}", taken.get());
            }
            assert_eq!((taken.get(), outcomes.count()), (100, 0));
        }
    }
    // 0 would never get anywhere: taken as 1.
    let found: Result<Vec<_>, _> = pool.buffersize(0).imap(|n: u64| n, 0..10).collect();
    assert!(found.unwrap().into_iter().eq(0..10));
}

/// Eight chunks per worker, until it is known how long items take.
fn takes_little_by_default() {
    let pool = Pool::with_workers(2).unwrap();
    let taken = Cell::new(0);
    let mut outcomes = pool.imap(|n: u64| n, counted(&taken, 0..));
    assert!((1..=16).contains(&taken.get()), "{}", taken.get());
    drop(outcomes.next());
    drop(outcomes);
    taken.set(0);
    let view = pool.chunksize(10);
    drop(view.imap(|n: u64| n, counted(&taken, 0..)));
    assert!((10..=160).contains(&taken.get()), "{}", taken.get());
}

/// 64 MiB of values, while the first item holds up all others.
fn holds_little_of_large_values() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(2);
    let large = |(words, n): (u32, u64)| {
        if n == 0 {
            ledger::wait(words);
        }
        ledger::note(words + 1);
        Bytes(vec![n as u8; 1 << 20])
    };
    let mut outcomes = pool.imap(large, (0..).map(|n| (words, n)));
    for _ in 0..100 {
        let none = outcomes.next_timeout(Duration::from_millis(1));
        assert!(matches!(none, Err(Elapsed)));
    }
    let ran = ledger::get(words + 1);
    assert!(ran <= 64, "{ran} MiB");
    ledger::set(words, 1);
    for n in 0..100 {
        assert_eq!(outcomes.next().unwrap().unwrap().0[5], n);
    }
}

fn endless_input() {
    let pool = Pool::with_workers(2).unwrap();
    for view in [pool.seed(0), pool.chunksize(3), pool.buffersize(2)] {
        let found: Result<Vec<_>, _> = view.imap(|n: u64| n * 2, 0..).take(2000).collect();
        assert!(found.unwrap().into_iter().eq((0..2000).map(|n| n * 2)));
        let found = view.imap_unordered(|n: u64| n * 2, 0..).take(2000);
        assert!(found.map(Result::unwrap).all(|value| value % 2 == 0));
    }
    check_usable(&pool);
}

fn lengths() {
    let pool = Pool::with_workers(2).unwrap();
    for view in [pool.seed(0), pool.chunksize(7), pool.buffersize(3)] {
        let mut outcomes = view.imap(|n: u32| n, 0..100);
        for left in (0..100).rev() {
            assert_eq!(outcomes.len(), left + 1, "{view:?}");
            assert_eq!(outcomes.size_hint(), (left + 1, Some(left + 1)));
            drop(outcomes.next());
        }
        assert_eq!((outcomes.len(), outcomes.next().is_none()), (0, true));
        let mut outcomes = view.imap_unordered(|n: u32| n, (0..100).filter(|n| n % 2 == 0));
        let mut left = 50;
        while let Some(outcome) = outcomes.next() {
            outcome.unwrap();
            left -= 1;
            let (least, most) = outcomes.size_hint();
            assert!(least <= left && most.is_some_and(|most| most >= left));
        }
        assert_eq!((left, outcomes.size_hint()), (0, (0, Some(0))));
        let endless = view.imap(|n: u32| n, std::iter::repeat(1));
        assert_eq!(endless.size_hint(), (usize::MAX, None));
    }
}

/// F91: what was not begun is never run, what runs is finished, and nothing of it is left.
fn dropped_half_way() {
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let before = heap_units();
    for (chunksize, ordered) in [(1, true), (1, false), (10, true)] {
        let words = ledger::reserve(2);
        let wait = |(words, n, body): (u32, u64, Bytes)| {
            if n >= 20 {
                ledger::note(words);
                ledger::wait(words + 1);
            }
            body
        };
        let view = pool.chunksize(chunksize);
        let input = (0..1000).map(|n| (words, n, Bytes(vec![1; 5000])));
        let mut outcomes = if ordered {
            view.imap(wait, input)
        } else {
            view.imap_unordered(wait, input)
        };
        for _ in 0..20 {
            assert_eq!(outcomes.next().unwrap().unwrap().0.len(), 5000);
        }
        // They are taken when outcomes are asked for.
        let _ = outcomes.next_timeout(Duration::ZERO);
        ledger::wait_for(words, 2);
        drop(outcomes);
        ledger::set(words + 1, 1);
        // Comes after whatever would still be in the queue.
        check_usable(&pool);
        let most = 2 * chunksize as u32;
        assert!(ledger::get(words) <= most, "{} ran", ledger::get(words));
    }
    // What was still running is swept up by later calls.
    eventually("the memory is back", || {
        warm_up(&pool);
        match heap_units() {
            now if now == before => Ok(()),
            now => Err(format!("{now} units, {before} before")),
        }
    });
}

fn dropped_before_the_first() {
    let pool = Pool::with_workers(1).unwrap();
    let words = ledger::reserve(3);
    thread::scope(|scope| {
        let busy = |words: u32| {
            ledger::note(words);
            ledger::wait(words + 1);
        };
        let pool = &pool;
        scope.spawn(move || pool.apply(busy, words).unwrap());
        ledger::wait(words);
        drop(pool.imap(ledger::note, vec![words + 2; 10]));
        ledger::set(words + 1, 1);
    });
    check_usable(&pool);
    assert_eq!(ledger::get(words + 2), 0, "dropped before any was begun");
}

fn input_that_panics() {
    let pool = Pool::with_workers(2).unwrap();
    for at in [0, 1, 30] {
        let input = (0..).inspect(|n| assert!(*n != at, "the input's panic"));
        let view = pool.chunksize(1);
        let mut outcomes = view.imap(|n: u64| n, input);
        for n in 0..at {
            assert_eq!(outcomes.next().unwrap().unwrap(), n);
        }
        let payload = catch_unwind(AssertUnwindSafe(|| outcomes.next())).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"the input's panic"));
        assert!(outcomes.next().is_none());
        drop(outcomes);
        check_usable(&pool);
    }
}

fn next_timeout() {
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    let view = pool.chunksize(1);
    let mut outcomes = view.imap(wait_and_return, (0..5_u32).map(|n| (gate, u64::from(n))));
    for time in [Duration::ZERO, Duration::from_millis(20)] {
        assert!(matches!(outcomes.next_timeout(time), Err(Elapsed)));
        assert_eq!(outcomes.len(), 5, "nothing is lost");
    }
    ledger::set(gate, 1);
    for n in 0..4 {
        let found = outcomes.next_timeout(Duration::MAX);
        assert_eq!(found.unwrap().unwrap().unwrap(), n);
    }
    assert_eq!(outcomes.next().unwrap().unwrap(), 4);
    assert!(matches!(outcomes.next_timeout(Duration::ZERO), Ok(None)));
}

/// F92: the workers get so far and no further.
fn slow_consumer() {
    let pool = Pool::with_workers(2).unwrap();
    let runs = ledger::reserve(1);
    let view = pool.chunksize(1).buffersize(10);
    let mut outcomes = view.imap(ledger::note, std::iter::repeat(runs));
    for handed_out in 0..25 {
        ledger::wait(runs);
        check_usable(&pool);
        assert!(ledger::get(runs) <= handed_out + 10, "nothing runs unasked");
        outcomes.next().unwrap().unwrap();
    }
}

/// While there are outcomes to be handed on, others are worked on.
fn slow_consumer_has_workers_busy() {
    let pool = Pool::with_workers(2).unwrap();
    let runs = ledger::reserve(1);
    let view = pool.chunksize(1).buffersize(10);
    let mut outcomes = view.imap(ledger::note, std::iter::repeat(runs));
    for handed_out in 0..25 {
        ledger::wait_for(runs, handed_out + 10);
        outcomes.next().unwrap().unwrap();
    }
}

/// A call that has begun is finished, what it has not yet taken included.
fn close_lets_it_finish() {
    for (chunksize, buffersize) in [(1, 4), (5, 20), (50, 10)] {
        let pool = Pool::with_workers(2).unwrap();
        let view = pool.chunksize(chunksize).buffersize(buffersize);
        let mut outcomes = view.imap(|n: u64| n, 0..500);
        for n in 0..3 {
            assert_eq!(outcomes.next().unwrap().unwrap(), n);
        }
        pool.close();
        for n in 3..500 {
            assert_eq!(outcomes.next().unwrap().unwrap(), n);
        }
        assert!(outcomes.next().is_none());
        drop(outcomes);
        pool.join().unwrap();
    }
}

fn closed_before() {
    let pool = Pool::with_workers(2).unwrap();
    pool.close();
    for ordered in [true, false] {
        let mut outcomes = if ordered {
            pool.imap(|n: u32| n, 0..5)
        } else {
            pool.imap_unordered(|n: u32| n, 0..5)
        };
        assert_eq!(outcomes.len(), 5);
        for left in (0..5).rev() {
            let outcome = outcomes.next().unwrap();
            assert!(matches!(outcome, Err(TaskError::Closed)), "{outcome:?}");
            assert_eq!(outcomes.len(), left);
        }
        assert!(outcomes.next().is_none());
    }
    pool.join().unwrap();
}

/// `join` of a pool whose call is under way, in the thread that would have to finish it: what was
/// taken has its outcome, what is taken later is refused.
fn join_with_one_under_way() {
    for ordered in [true, false] {
        let pool = Pool::with_workers(2).unwrap();
        let view = pool.chunksize(1).buffersize(4);
        let mut outcomes = if ordered {
            view.imap(|n: u64| n, 0..100)
        } else {
            view.imap_unordered(|n: u64| n, 0..100)
        };
        assert!(outcomes.next().unwrap().is_ok());
        pool.close();
        pool.join().unwrap();
        let rest: Vec<_> = outcomes.collect();
        assert_eq!(rest.len(), 99, "one outcome per item");
        let (taken, later) = rest.split_at(3);
        assert!(taken.iter().all(Result::is_ok));
        let refused = |outcome: &_| matches!(outcome, Ok(_) | Err(TaskError::Closed));
        assert!(later.iter().all(refused), "{later:?}");
        assert!(later[10..].iter().all(Result::is_err));
    }
}

#[track_caller]
fn check_ended(yielded: usize, outcomes: impl Iterator<Item = Result<u64, TaskError>>) {
    let outcomes: Vec<_> = outcomes.collect();
    assert_eq!(yielded + outcomes.len(), 100, "one outcome per item");
    for outcome in outcomes {
        match outcome {
            Ok(_) | Err(TaskError::Closed | TaskError::NoWorkers(_)) => {}
            Err(TaskError::WorkerDied(death)) => assert_eq!(death.signal(), Some(9)),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn endless_after_ten((begun, n): (u32, u64)) -> u64 {
    if n >= 10 {
        ledger::note(begun);
        os::sleep_for_ever();
    }
    n
}

fn after_terminate() {
    for chunksize in [1, 10, 100] {
        let pool = Pool::with_workers(2).unwrap();
        let begun = ledger::reserve(1);
        let view = pool.chunksize(chunksize);
        let mut outcomes = view.imap(endless_after_ten, (0..100).map(|n| (begun, n)));
        if chunksize < 100 {
            for n in 0..10 {
                assert_eq!(outcomes.next().unwrap().unwrap(), n);
            }
            let _ = outcomes.next_timeout(Duration::ZERO);
        }
        ledger::wait(begun);
        pool.terminate();
        check_ended(if chunksize < 100 { 10 } else { 0 }, outcomes);
    }
}

fn after_the_pool_was_dropped() {
    for ordered in [true, false] {
        let pool = Pool::with_workers(2).unwrap();
        let begun = ledger::reserve(1);
        let view = pool.chunksize(1);
        let input = (0..100).map(|n| (begun, n));
        let outcomes = if ordered {
            view.imap(endless_after_ten, input)
        } else {
            view.imap_unordered(endless_after_ten, input)
        };
        ledger::wait_for(begun, 2);
        drop(pool);
        check_ended(0, outcomes);
    }
}

fn errors_in_the_middle() {
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [1, 4, 100] {
        let mut plans = agent::good(60);
        for (at, (stage, act)) in [
            (Stage::ItemEncode, Act::Fail),
            (Stage::ItemEncode, Act::PanicStr),
            (Stage::ItemDecode, Act::Fail),
            (Stage::Run, Act::PanicStr),
            (Stage::Run, Act::PanicBomb),
            (Stage::ValueEncode, Act::PanicStr),
            (Stage::ValueDecode, Act::PanicStr),
            (Stage::ValueDecode, Act::Fail),
        ]
        .into_iter()
        .enumerate()
        {
            for at in [at * 3, 59 - at * 3] {
                plans[at] = Plan::bad(plans[at].id, stage, act);
            }
        }
        let view = pool.chunksize(chunksize);
        let outcomes: Vec<_> = view.imap(work, items(&plans)).collect();
        agent::check_all(&plans, &outcomes);
        plans.iter().for_each(|plan| ledger::set(plan.id, 0));
        let outcomes: Vec<_> = view.imap_unordered(work, items(&plans)).collect();
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!((outcomes.len(), failed), (60, 16));
    }
}

fn deaths_in_the_middle() {
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [1, 7] {
        let mut plans = agent::good(40);
        for (at, act) in [(0, Act::Exit(0)), (5, Act::Abort), (39, Act::Raise(9))] {
            plans[at] = Plan::bad(plans[at].id, Stage::Run, act);
        }
        let view = pool.chunksize(chunksize);
        let outcomes: Vec<_> = view.imap(work, items(&plans)).collect();
        agent::check_all(&plans, &outcomes);
    }
    check_usable(&pool);
}

fn retries_keep_the_order() {
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [1, 4, 50] {
        let first = ledger::reserve(50);
        let once = |(word, n): (u32, u64)| {
            ledger::note(word);
            let again = current_task().unwrap().attempt();
            assert_eq!(ledger::get(word), again + 1);
            match n % 10 {
                3 if again == 0 => panic!("the first attempt's panic"),
                7 if again < 2 => std::process::abort(),
                _ => n,
            }
        };
        let input = || (0..50_u32).map(move |n| (first + n, u64::from(n)));
        let view = pool.chunksize(chunksize).retries(2);
        let found: Result<Vec<_>, _> = view.imap(once, input()).collect();
        assert!(found.unwrap().into_iter().eq(0..50));
        (first..first + 50).for_each(|word| ledger::set(word, 0));
        let found: Result<Vec<_>, _> = view.imap_unordered(once, input()).collect();
        let mut found = found.unwrap();
        found.sort_unstable();
        assert!(found.into_iter().eq(0..50));
    }
}

/// One outcome for each item that was taken, and none of the others is run.
fn fail_fast() {
    let pool = Pool::with_workers(3).unwrap();
    let begun = ledger::reserve(1);
    let fail = |(begun, n): (u32, u64)| {
        ledger::note(begun);
        if n == 1 {
            ledger::wait_for(begun, 3);
            panic!("the item's panic");
        }
        os::sleep_for_ever();
    };
    let view = pool.fail_fast().chunksize(1).buffersize(20);
    let outcomes: Vec<_> = view.imap(fail, (0..20).map(|n| (begun, n))).collect();
    assert_eq!(outcomes.len(), 20);
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Err(TaskError::Panicked(_)) => assert_eq!(n, 1),
            Err(TaskError::Cancelled) => assert_ne!(n, 1),
            other => panic!("{other:?}"),
        }
    }
    check_usable(&pool);
    // Workers may have begun others before it was known.
    let ran = ledger::get(begun);
    assert!((3..12).contains(&ran), "{ran} were begun");
}

fn many_at_once() {
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.chunksize(3).buffersize(7);
    let mut calls: Vec<_> = (0..20_u64)
        .map(|call| view.imap(|n: u64| n, call * 1000..call * 1000 + 40))
        .collect();
    for n in 0..40 {
        for (call, outcomes) in (0..).zip(&mut calls) {
            assert_eq!(outcomes.next().unwrap().unwrap(), call * 1000 + n);
        }
    }
    assert!(calls.iter_mut().all(|outcomes| outcomes.next().is_none()));
}

fn in_another_thread() {
    let pool = Pool::with_workers(2).unwrap();
    let mut outcomes = pool.imap(|n: u64| n, 0..1000);
    assert_eq!(outcomes.next().unwrap().unwrap(), 0);
    let rest = thread::spawn(move || outcomes.map(Result::unwrap).collect::<Vec<_>>());
    check_usable(&pool);
    assert!(rest.join().unwrap().into_iter().eq(1..1000));
}

fn input_uses_the_pool() {
    let pool = Pool::with_workers(1).unwrap();
    let input = (0..100).map(|n: u64| pool.apply(|n: u64| n + 1, n).unwrap());
    let piped = pool.imap(|n: u64| n * 2, input).map(Result::unwrap);
    let found: Result<Vec<_>, _> = pool.imap(|n: u64| n + 1, piped).collect();
    assert!(found.unwrap().into_iter().eq((0..100).map(|n| n * 2 + 3)));
}

fn nested() {
    let pool = Pool::with_workers(2).unwrap();
    let sum = |n: u64| {
        let own = Pool::with_workers(2).unwrap();
        let values = own.imap(|n: u64| n * n, 0..n).map(Result::unwrap);
        values.sum::<u64>()
    };
    let found: Result<Vec<_>, _> = pool.imap(sum, 0..6).collect();
    assert_eq!(found.unwrap(), [0, 0, 1, 5, 14, 30]);
}
