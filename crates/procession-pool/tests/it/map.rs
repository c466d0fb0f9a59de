//! Items in, values out: every shape and size, in order.

use std::collections::BTreeMap;

use procession_pool::{Pool, PoolError, cpu_count, python_chunksize};
use procession_testkit::{Case, cases};
use serde::{Deserialize, Serialize};

use crate::map;
use crate::support::agent::{Bytes, Message};
use crate::support::usable::check_usable;

pub(crate) fn cases() -> Vec<Case> {
    cases![map:
        order, few_items, many_items, unsized_iterators, wrong_size_hints, every_size,
        sizes_of_chunks, huge_items, huge_values, many_large_items, nothing_at_all, kinds_of_types,
        kinds_of_functions, worker_counts, two_hundred_workers, first_error_of_map,
        views_and_chunksizes,
    ]
    .into()
}

fn order() {
    let pool = Pool::with_workers(3).unwrap();
    // Later items are done first.
    let slow_first = |n: u64| {
        std::thread::sleep(std::time::Duration::from_millis(10_u64.saturating_sub(n)));
        n
    };
    let expected: Vec<u64> = (0..100).collect();
    assert_eq!(pool.map(slow_first, 0..100).unwrap(), expected);
    for chunksize in [1, 3, 20, 99, 100, 101, usize::MAX] {
        let view = pool.chunksize(chunksize);
        assert_eq!(view.map(slow_first, 0..100).unwrap(), expected);
    }
}

fn few_items() {
    let pool = Pool::with_workers(2).unwrap();
    for view in [pool.chunksize(1), pool.chunksize(7)] {
        assert_eq!(view.map(|n: u8| n, []).unwrap(), []);
        assert!(view.map_results(|n: u8| n, []).is_empty());
        assert_eq!(view.map(|n: u8| n + 1, [1]).unwrap(), [2]);
    }
    assert_eq!(pool.map(|n: u8| n, []).unwrap(), []);
    assert!(pool.map_results(|n: u8| n, std::iter::empty()).is_empty());
    assert_eq!(pool.map(|n: u8| n + 1, Some(1)).unwrap(), [2]);
    assert_eq!(pool.apply(|n: u8| n + 1, 1).unwrap(), 2);
    check_usable(&pool);
}

fn many_items() {
    let pool = Pool::with_workers(4).unwrap();
    let expected: Vec<u64> = (0..100_000).map(|n| n * 3).collect();
    assert!(pool.map(|n: u64| n * 3, 0..100_000).unwrap() == expected);
    for chunksize in [1, 7, 1000] {
        let found = pool.chunksize(chunksize).map(|n: u64| n * 3, 0..100_000);
        assert!(found.unwrap() == expected, "chunksize {chunksize}");
    }
    let outcomes = pool.map_results(|n: u64| n * 3, 0..100_000);
    assert!(outcomes.into_iter().map(Result::unwrap).eq(expected));
}

fn unsized_iterators() {
    let pool = Pool::with_workers(2).unwrap();
    let mut left = 3000_u32;
    let countdown = std::iter::from_fn(|| {
        left = left.checked_sub(1)?;
        Some(left)
    });
    let found = pool.map(|n: u32| n, countdown).unwrap();
    assert!(found.into_iter().eq((0..3000).rev()));
    let found = pool.map(|n: u32| n, (0..9000).filter(|n| n % 3 == 0));
    assert_eq!(found.unwrap().len(), 3000);
    // Goes on after its end: it is not asked again.
    let mut calls = 0;
    let unfused = std::iter::from_fn(|| {
        calls += 1;
        (calls != 5).then_some(calls)
    });
    assert_eq!(pool.map(|n: i32| n, unfused).unwrap(), [1, 2, 3, 4]);
    assert_eq!(calls, 5);
    let words = BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]);
    let found = pool.map(|(n, word): (i32, String)| format!("{n}{word}"), words);
    assert_eq!(found.unwrap(), ["1one", "2two"]);
}

/// Says what it likes of its length.
struct Liar<I>(I, (usize, Option<usize>));

impl<I: Iterator> Iterator for Liar<I> {
    type Item = I::Item;
    fn next(&mut self) -> Option<I::Item> {
        self.0.next()
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.1
    }
}

fn wrong_size_hints() {
    let pool = Pool::with_workers(2).unwrap();
    for hint in [(0, Some(0)), (1, Some(1)), (100_000, None), (10, Some(3))] {
        for chunksize in [1, 10, 5000] {
            let view = pool.chunksize(chunksize);
            let found = view.map(|n: u32| n, Liar(0..2000, hint)).unwrap();
            assert!(found.into_iter().eq(0..2000));
            let found = view.map_results(|n: u32| n, Liar(0..2000, hint));
            assert!(found.into_iter().map(Result::unwrap).eq(0..2000));
        }
        let found = pool.map(|n: u32| n, Liar(0..20_000, hint)).unwrap();
        assert!(found.into_iter().eq(0..20_000));
    }
}

/// Around the limit up to which items and values lie in their cell: every size, both ways.
fn every_size() {
    let pool = Pool::with_workers(2).unwrap();
    let turned = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    let made = |len: usize| (0..len).map(|n| (n * 7) as u8).collect::<Vec<u8>>();
    let items: Vec<Vec<u8>> = (0..=400).map(made).collect();
    let expected: Vec<Vec<u8>> = items.iter().cloned().map(turned).collect();
    for chunksize in [1, 2, 3, 16, 401] {
        let found = pool.chunksize(chunksize).map(turned, items.clone());
        assert!(found.unwrap() == expected, "chunksize {chunksize}");
    }
    for (item, expected) in items.iter().zip(&expected) {
        assert_eq!(&pool.apply(turned, item.clone()).unwrap(), expected);
    }
    // Only the values grow; only the items are large.
    let grown = pool.chunksize(1).map(|len: usize| vec![3_u8; len], 0..=400);
    assert!(grown.unwrap().iter().map(Vec::len).eq(0..=400));
    let shrunk = pool.chunksize(1).map(|item: Vec<u8>| item.len(), items);
    assert!(shrunk.unwrap().into_iter().eq(0..=400));
}

/// Around the sizes of the blocks, 64 KiB.
fn sizes_of_chunks() {
    let pool = Pool::with_workers(2).unwrap();
    let near = [65_520, 65_528, 65_536, 65_544, 131_064, 131_072, 200_000];
    for len in near.into_iter().flat_map(|len| len - 12..len + 4) {
        let found = pool
            .apply(|bytes: Bytes| bytes, Bytes(vec![9; len]))
            .unwrap();
        assert_eq!(found.0.len(), len);
    }
    // A chunk's output that outgrows block after block.
    let lens: Vec<usize> = (0..200).map(|n| n * 137 % 5000).collect();
    let grow = |len: usize| Bytes(vec![(len % 251) as u8; len]);
    let found = pool.chunksize(200).map(grow, lens.clone()).unwrap();
    assert!(found.into_iter().eq(lens.into_iter().map(grow)));
}

const HUGE: usize = 64 << 20;

fn huge_items() {
    let pool = Pool::with_workers(2).unwrap();
    let made = (0..3_u8).map(|n| Bytes(vec![n; HUGE + usize::from(n)]));
    let count = |bytes: Bytes| (bytes.0.len(), bytes.0[0], bytes.0[bytes.0.len() - 1]);
    let found = pool.map(count, made.clone()).unwrap();
    assert_eq!(found, [(HUGE, 0, 0), (HUGE + 1, 1, 1), (HUGE + 2, 2, 2)]);
    let found = pool.chunksize(3).map(count, made).unwrap();
    assert_eq!(found, [(HUGE, 0, 0), (HUGE + 1, 1, 1), (HUGE + 2, 2, 2)]);
    check_usable(&pool);
}

fn huge_values() {
    let pool = Pool::with_workers(2).unwrap();
    let make = |n: u8| Bytes(vec![n; HUGE + usize::from(n)]);
    for found in [pool.map(make, 0..3), pool.chunksize(3).map(make, 0..3)] {
        let found = found.unwrap();
        assert!(found.iter().map(|bytes| bytes.0.len()).eq(HUGE..HUGE + 3));
        assert!(found.iter().map(|bytes| bytes.0[HUGE / 2]).eq(0..3));
    }
    let echo = pool.apply(|bytes: Bytes| bytes, Bytes(vec![7; HUGE]));
    assert!(echo.unwrap().0 == vec![7; HUGE]);
    check_usable(&pool);
}

/// More than what may be with the workers at once, small ones among them.
fn many_large_items() {
    let pool = Pool::with_workers(2).unwrap();
    let sizes = (0..400_usize).map(|n| if n % 3 == 0 { n } else { n * 4000 });
    let echo = |bytes: Bytes| bytes;
    for view in [pool.chunksize(1), pool.chunksize(50)] {
        let found = view.map(echo, sizes.clone().map(|len| Bytes(vec![1; len])));
        assert!(found.unwrap().iter().map(|b| b.0.len()).eq(sizes.clone()));
    }
    let found = pool.map(echo, sizes.clone().map(|len| Bytes(vec![1; len])));
    assert!(found.unwrap().iter().map(|b| b.0.len()).eq(sizes));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Unit;

fn nothing_at_all() {
    let pool = Pool::with_workers(2).unwrap();
    for view in [pool.chunksize(1), pool.chunksize(64)] {
        assert_eq!(view.map(|()| (), vec![(); 1000]).unwrap(), [(); 1000]);
        assert_eq!(view.map(|_: Unit| Unit, [Unit; 500]).unwrap(), [Unit; 500]);
        assert_eq!(view.map(|()| 3_u8, [(); 9]).unwrap(), [3; 9]);
        assert_eq!(view.map(|_: u64| (), 0..99).unwrap(), [(); 99]);
    }
    assert_eq!(pool.map(|()| (), vec![(); 100_000]).unwrap().len(), 100_000);
    let outcomes = pool.map_results(|()| (), vec![(); 1000]);
    assert!(outcomes.iter().all(Result::is_ok) && outcomes.len() == 1000);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Named { name: String, value: Option<f64> },
    Node(Box<Tree>, Vec<Tree>),
}

fn echo<T: Message>(value: T) -> T {
    value
}

fn check_echo<T: Message + Clone + PartialEq + std::fmt::Debug>(pool: &Pool, items: Vec<T>) {
    assert_eq!(pool.map(echo, items.clone()).unwrap(), items);
    let applied: Vec<T> = items
        .iter()
        .map(|one| pool.apply(echo, one.clone()).unwrap())
        .collect();
    assert_eq!(applied, items);
}

fn kinds_of_types() {
    let pool = Pool::with_workers(2).unwrap();
    check_echo(&pool, vec![String::new(), "ä€𝄞\0".into(), "x".repeat(5000)]);
    check_echo(&pool, vec![u128::MAX, 0]);
    check_echo(&pool, vec![i64::MIN, i64::MAX, -1]);
    check_echo(&pool, vec![f64::MIN_POSITIVE, -0.0, f64::INFINITY]);
    check_echo(&pool, vec![Ok(3_u8), Err("no".to_owned())]);
    check_echo(&pool, vec![Some(None), None, Some(Some('x'))]);
    check_echo(
        &pool,
        vec![(1_u8, (true, [2_i32; 5]), vec![vec![(); 3]; 2])],
    );
    check_echo(&pool, vec![BTreeMap::from([("k".to_owned(), vec![1_u64])])]);
    let leaf = Tree::Named {
        name: "leaf".into(),
        value: Some(0.5),
    };
    let mut tree = Tree::Node(Box::new(Tree::Leaf), vec![leaf; 30]);
    for _ in 0..100 {
        tree = Tree::Node(Box::new(tree), vec![Tree::Leaf]);
    }
    check_echo(&pool, vec![tree, Tree::Leaf]);
}

fn twice(n: u32) -> u32 {
    n * 2
}

fn kinds_of_functions() {
    let pool = Pool::with_workers(2).unwrap();
    assert_eq!(pool.map(twice, [1, 2]).unwrap(), [2, 4]);
    assert_eq!(pool.map(u32::count_ones, [1, 7]).unwrap(), [1, 3]);
    assert_eq!(pool.map(echo::<u8>, [1, 7]).unwrap(), [1, 7]);
    assert_eq!(pool.map(<u8 as Into<u64>>::into, [1, 7]).unwrap(), [1, 7]);
    // Chosen at run time; one after the other on the same workers.
    let functions: [fn(u32) -> u32; 3] = [twice, |n| n + 1, u32::swap_bytes];
    for function in functions.into_iter().cycle().take(30) {
        assert_eq!(pool.apply(function, 5).unwrap(), function(5));
        assert!(
            pool.map(function, 0..50)
                .unwrap()
                .into_iter()
                .eq((0..50).map(function))
        );
    }
}

fn worker_counts() {
    for count in [0, 4001, 1 << 20, usize::MAX] {
        match Pool::with_workers(count) {
            Err(PoolError::WorkerCount(found)) => assert_eq!(found, count),
            other => panic!("{other:?}"),
        }
    }
    for count in [1, 2, 5] {
        let pool = Pool::with_workers(count).unwrap();
        assert_eq!((pool.workers(), pool.worker_pids().len()), (count, count));
        check_usable(&pool);
    }
    let pool = Pool::new().unwrap();
    assert_eq!(pool.workers(), cpu_count().get());
    check_usable(&pool);
}

fn two_hundred_workers() {
    let pool = Pool::with_workers(200).unwrap();
    let squares = pool.map(|x: u64| x * x, 0..1000).unwrap();
    assert_eq!(squares.iter().sum::<u64>(), 332_833_500);
    let mut pids = pool.worker_pids();
    pids.dedup();
    assert_eq!(pids.len(), 200);
}

fn first_error_of_map() {
    let pool = Pool::with_workers(2).unwrap();
    let fail = |n: u32| {
        assert!(n % 10 != 7, "item {n}");
        n
    };
    for chunksize in [1, 4, 100] {
        let error = pool.chunksize(chunksize).map(fail, 0..100).unwrap_err();
        assert!(error.to_string().ends_with("item 7"), "{error}");
    }
    let outcomes = pool.map_results(fail, 0..100);
    for (n, outcome) in (0..100).zip(outcomes) {
        assert_eq!(outcome.ok(), (n % 10 != 7).then_some(n));
    }
}

fn views_and_chunksizes() {
    assert_eq!(
        [10, 16, 17, 100, 1000].map(|n| python_chunksize(n, 4)),
        [1, 1, 2, 7, 63]
    );
    assert_eq!(python_chunksize(0, 4), 0);
    assert_eq!(python_chunksize(5, 0), 2);
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.chunksize(5);
    let copy = view.clone();
    assert_eq!(copy.chunksize(2).map(|n: u8| n, 0..9).unwrap().len(), 9);
    assert_eq!(view.map(|n: u8| n, 0..9).unwrap().len(), 9);
    // 0 would never get anywhere: taken as 1, and so is what Python's rule gives for no items.
    assert_eq!(pool.chunksize(0).map(|n: u8| n, 0..9).unwrap().len(), 9);
}
