//! `map` and its like: order, chunks, errors, ends.

use std::time::Duration;

use procession_executor::{Executor, Handle, Map, TaskError};
use procession_testkit::{Case, ledger};

use super::{Concurrent, Contestant, suite};
use crate::common::{
    Gate, but_seven, check_closed, check_panicked, check_usable, double, note, occupy,
};

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "map":
        in_order, without_order, starmap, nothing, errors_at_their_position, goes_on_after_errors,
        begins_at_the_call, after_the_end, dropped_half_way, size_hints, fused, many_at_once,
        large_items, no_time_with_all_done,
    ]
}

pub(crate) fn concurrent<C: Concurrent>() -> Vec<Case> {
    suite![C, "map":
        as_they_come, out_of_order_inside, dropped_before_it_began, no_time, some_time,
        shutdown_under_way, shutdown_before_it_is_asked, moved_to_another_thread, beside_futures,
    ]
}

/// With chunks that are chosen and that are not, and windows.
fn ways(executor: &impl Executor) -> Vec<Handle> {
    let mut ways = vec![executor.handle().clone()];
    for chunksize in [0, 1, 3, 6, 50, 10_000] {
        ways.push(executor.chunksize(chunksize));
        for buffersize in [0, 1, 2, 7] {
            ways.push(executor.chunksize(chunksize).buffersize(buffersize));
        }
    }
    for buffersize in [0, 1, 2, 7, 1000] {
        ways.push(executor.buffersize(buffersize));
    }
    ways
}

fn in_order<C: Contestant>() {
    let executor = C::make(2);
    for way in ways(&executor) {
        for count in [1, 2, 40, 101] {
            let found = way.map(double, 0..count);
            assert!(
                found.map(Result::unwrap).eq((0..count).map(double)),
                "{way:?}"
            );
        }
    }
    let found = executor.map(double, 0..5000);
    assert!(found.map(Result::unwrap).eq((0..5000).map(double)));
}

fn without_order<C: Contestant>() {
    let executor = C::make(2);
    for way in ways(&executor) {
        let found = way.map_unordered(double, 0..101);
        let mut found: Vec<u32> = found.map(Result::unwrap).collect();
        found.sort_unstable();
        assert!(found.into_iter().eq((0..101).map(double)), "{way:?}");
    }
}

fn starmap<C: Contestant>() {
    let executor = C::make(2);
    let triples = (0..30_u32).map(|n| (n, u64::from(n) + 1, n.to_string()));
    let found = executor
        .chunksize(4)
        .starmap(|a: u32, b: u64, c: String| format!("{a} {b} {c}"), triples);
    assert!(
        found
            .map(Result::unwrap)
            .eq((0..30).map(|n| format!("{n} {} {n}", n + 1)))
    );
    let mut divided = executor.starmap(|a, b| a / b, [(6, 2), (1, 0), (8, 2_u32)]);
    assert_eq!(divided.next().unwrap().unwrap(), 3);
    assert!(matches!(divided.next(), Some(Err(TaskError::Panicked(_)))));
    assert_eq!(divided.next().unwrap().unwrap(), 4);
    assert!(divided.next().is_none());
}

fn nothing<C: Contestant>() {
    let executor = C::make(1);
    for way in ways(&executor) {
        let mut none = way.map(double, []);
        assert_eq!(none.size_hint(), (0, Some(0)));
        assert!(none.next().is_none() && none.next().is_none());
        assert!(way.map_unordered(double, None).next().is_none());
        assert!(way.starmap(|a, b| a + b, [(1, 2_u32); 0]).next().is_none());
        drop(way.map(double, []));
    }
}

#[track_caller]
fn check_but_seven<I>(map: Map<I, u32>, count: u32)
where
    I: Iterator<Item = u32>,
{
    let outcomes: Vec<_> = map.collect();
    assert_eq!(outcomes.len(), count as usize);
    for (n, outcome) in (0..).zip(outcomes) {
        match n {
            7 => check_panicked(&outcome),
            _ => assert_eq!(outcome.unwrap(), n),
        }
    }
}

fn errors_at_their_position<C: Contestant>() {
    let executor = C::make(2);
    for way in ways(&executor) {
        check_but_seven(way.map(but_seven, 0..20), 20);
    }
}

fn goes_on_after_errors<C: Contestant>() {
    let executor = C::make(2);
    for chunksize in [1, 3, 50] {
        let mut map = executor
            .chunksize(chunksize)
            .map(but_seven, [7, 1, 7, 7, 2, 7]);
        let mut found = Vec::new();
        for outcome in &mut map {
            found.push(outcome.ok());
        }
        assert_eq!(found, [None, Some(1), None, None, Some(2), None]);
        // As Python: all at once, or the first error.
        let all: Result<Vec<u32>, _> = executor.map(but_seven, 0..20).collect();
        check_panicked(&all);
    }
    check_usable(&executor);
}

/// H01 of Python's tests: though nobody asks for an outcome.
fn begins_at_the_call<C: Contestant>() {
    let executor = C::make(2);
    let word = ledger::reserve(2);
    let map = executor.map(note, [word; 10]);
    let unordered = executor.map_unordered(note, [word + 1; 10]);
    ledger::wait_for(word, 10);
    ledger::wait_for(word + 1, 10);
    drop((map, unordered));
    executor.shutdown();
    assert_eq!((ledger::get(word), ledger::get(word + 1)), (10, 10));
}

fn after_the_end<C: Contestant>() {
    let executor = C::make(1);
    executor.shutdown();
    for chunksize in [1, 3, 50] {
        let handle = executor.chunksize(chunksize);
        let outcomes: Vec<_> = handle.map(double, 0..5).collect();
        assert_eq!(outcomes.len(), 5);
        outcomes.iter().for_each(check_closed);
        let outcomes: Vec<_> = handle.map_unordered(double, 0..5).collect();
        assert_eq!(outcomes.len(), 5);
        outcomes.iter().for_each(check_closed);
    }
}

fn dropped_half_way<C: Contestant>() {
    let executor = C::make(2);
    for chunksize in [1, 3, 50] {
        for taken in [0, 1, 30] {
            let word = ledger::reserve(1);
            let task = |(word, n): (u32, u32)| {
                ledger::note(word);
                n
            };
            let items = (0..).map(|n| (word, n));
            let mut map = executor
                .chunksize(chunksize)
                .buffersize(60)
                .map(task, items);
            let found = map.by_ref().take(taken).map(Result::unwrap);
            assert!(found.eq(0..taken as u32));
            drop(map);
            check_usable(&executor);
            assert!(ledger::get(word) as usize <= taken + 60);
        }
    }
}

fn size_hints<C: Contestant>() {
    let executor = C::make(2);
    for way in ways(&executor) {
        let mut map = way.map(but_seven, 0..20);
        for left in (0..=20).rev() {
            assert_eq!(map.size_hint(), (left, Some(left)), "{way:?}");
            assert_eq!(map.next().is_some(), left > 0);
        }
    }
    let unknown = executor
        .buffersize(3)
        .map(double, (0..20).filter(|n| n % 2 == 0));
    assert_eq!(unknown.size_hint().0, 3);
    assert!(unknown.size_hint().1.is_some_and(|most| most >= 10));
    let endless = executor.buffersize(3).map(double, 0..);
    assert!(endless.size_hint().0 >= 3);
}

fn fused<C: Contestant>() {
    let executor = C::make(1);
    let (mut n, mut asked) = (0, false);
    let items = std::iter::from_fn(|| {
        assert!(!asked, "asked after its end");
        n += 1;
        asked = n > 3;
        (n <= 3).then_some(n)
    });
    let mut map = executor.map(double, items);
    assert_eq!(map.by_ref().count(), 3);
    assert!(map.next().is_none() && map.next().is_none());
}

fn many_at_once<C: Contestant>() {
    let executor = C::make(2);
    let mut maps: Vec<_> = (0..20)
        .map(|n| {
            executor
                .chunksize(1 + n as usize % 5)
                .map(double, n..n + 30)
        })
        .collect();
    for round in 0..30 {
        for (n, map) in (0..).zip(&mut maps) {
            assert_eq!(map.next().unwrap().unwrap(), double(n + round));
        }
    }
    assert!(maps.iter_mut().all(|map| map.next().is_none()));
}

fn large_items<C: Contestant>() {
    let executor = C::make(2);
    let texts = |n: u32| "x".repeat(n as usize * 50_000);
    for way in [executor.handle().clone(), executor.chunksize(5)] {
        let found = way.map(|text: String| text + "y", (0..24).map(texts));
        for (n, found) in (0..).zip(found) {
            assert_eq!(found.unwrap().len(), texts(n).len() + 1);
        }
    }
}

/// What is there is handed out, however late it is.
fn no_time_with_all_done<C: Contestant>() {
    let executor = C::make(1);
    let words = ledger::reserve(1);
    let mut map = executor
        .chunksize(1)
        .map_timeout(Duration::ZERO)
        .map(note, [words; 3]);
    ledger::wait_for(words, 3);
    executor.shutdown();
    for _ in 0..3 {
        map.next().unwrap().unwrap();
    }
    assert!(map.next().is_none());
}

fn as_they_come<C: Concurrent>() {
    let executor = C::make(2);
    let gates: Vec<Gate> = (0..10).map(|_| Gate::new()).collect();
    // Two run at a time: the one that is let through, and the first one.
    let words = gates.iter().map(Gate::words);
    let mut map = executor
        .chunksize(1)
        .map_unordered(Gate::pass, words.collect::<Vec<_>>());
    for (n, gate) in (0..).zip(&gates).skip(1) {
        gate.open(n);
        assert_eq!(map.next().unwrap().unwrap(), n);
    }
    gates[0].open(100);
    assert_eq!(map.next().unwrap().unwrap(), 100);
    assert!(map.next().is_none());
}

/// Handed out in order, whichever is finished first.
fn out_of_order_inside<C: Concurrent>() {
    let executor = C::make(2);
    let gates = [Gate::new(), Gate::new()];
    let words = [gates[0].words(), gates[1].words()];
    let mut map = executor.chunksize(1).map(Gate::pass, words);
    gates[0].await_begun(1);
    gates[1].open(2);
    // The second one's worker is free again.
    executor.submit(double, 1).result().unwrap();
    gates[0].open(1);
    assert_eq!(map.next().unwrap().unwrap(), 1);
    assert_eq!(map.next().unwrap().unwrap(), 2);
    assert!(map.next().is_none());
}

fn dropped_before_it_began<C: Concurrent>() {
    let executor = C::make(2);
    for chunksize in [1, 3, 50] {
        let (busy, gate) = occupy(&executor, 2);
        let word = ledger::reserve(2);
        drop(executor.chunksize(chunksize).map(note, [word; 40]));
        drop(
            executor
                .chunksize(chunksize)
                .map_unordered(note, [word; 40]),
        );
        let kept = executor.chunksize(chunksize).map(note, [word + 1; 4]);
        gate.open(1);
        assert_eq!(kept.filter(Result::is_ok).count(), 4);
        drop(busy);
        check_usable(&executor);
        assert_eq!(ledger::get(word), 0, "chunks of {chunksize}");
    }
}

#[track_caller]
fn check_unfinished<T: std::fmt::Debug>(outcome: Option<Result<T, TaskError>>) {
    assert!(
        matches!(outcome, Some(Err(TaskError::Unfinished))),
        "{outcome:?}"
    );
}

fn no_time<C: Concurrent>() {
    for chunksize in [1, 3] {
        let executor = C::make(1);
        let gate = Gate::new();
        let words = ledger::reserve(1);
        let task = |(gate, word): (u32, u32)| {
            ledger::note(word);
            Gate::pass(gate)
        };
        let items = (0..30).map(|_| (gate.words(), words));
        let hurried = executor.chunksize(chunksize).map_timeout(Duration::ZERO);
        let mut map = hurried.map(task, items);
        gate.await_begun(1);
        check_unfinished(map.next());
        assert!(map.next().is_none() && map.next().is_none());
        gate.open(1);
        executor.shutdown();
        // What had begun was finished, nothing else began.
        assert!(ledger::get(words) as usize <= chunksize);
        drop(map);
    }
}

/// E04 of Python's tests.
fn some_time<C: Concurrent>() {
    let executor = C::make(2);
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    gates[0].open(5);
    gates[1].open(6);
    let words: Vec<u32> = gates.iter().map(Gate::words).collect();
    for unordered in [false, true] {
        let hurried = executor.chunksize(1).map_timeout(Duration::from_millis(60));
        let outcomes: Vec<_> = match unordered {
            false => hurried.map(Gate::pass, words.clone()).collect(),
            true => hurried.map_unordered(Gate::pass, words.clone()).collect(),
        };
        // On a machine that is busy elsewhere even those that can be finished may not be in time.
        let (last, before) = outcomes.split_last().unwrap();
        check_unfinished(Some(last.as_ref().map_err(Clone::clone)));
        assert!(
            before.len() <= 2 && before.iter().all(Result::is_ok),
            "{before:?}"
        );
    }
}

/// E06 of Python's tests: what was submitted is finished.
fn shutdown_under_way<C: Concurrent>() {
    let executor = C::make(2);
    let gate = Gate::new();
    let words = (0..30).map(|_| gate.words());
    let mut map = executor.chunksize(1).buffersize(5).map(Gate::pass, words);
    executor.shutdown_no_wait();
    gate.open(3);
    for _ in 0..5 {
        assert_eq!(map.next().unwrap().unwrap(), 3);
    }
    let rest: Vec<_> = map.collect();
    assert_eq!(rest.len(), 25);
    rest.iter().for_each(check_closed);
}

fn shutdown_before_it_is_asked<C: Concurrent>() {
    let executor = C::make(2);
    let map = executor.map(double, 0..3);
    executor.shutdown();
    assert!(map.map(Result::unwrap).eq([0, 2, 4]));
}

fn moved_to_another_thread<C: Concurrent>() {
    let executor = C::make(2);
    let mut map = executor.map(double, 0..100);
    assert_eq!(map.next().unwrap().unwrap(), 0);
    let rest = std::thread::spawn(move || map.map(Result::unwrap).collect::<Vec<u32>>());
    assert!(rest.join().unwrap().into_iter().eq((1..100).map(double)));
}

/// A map and futures of the same executor, waited for in turn.
fn beside_futures<C: Concurrent>() {
    let executor = C::make(2);
    let mut map = executor.chunksize(2).map(double, 0..50);
    for n in 0..50 {
        let future = executor.submit(double, n);
        assert_eq!(map.next().unwrap().unwrap(), n * 2);
        assert_eq!(future.result().unwrap(), n * 2);
    }
}
