//! Numbers, which go through a pool many at a time: one of them that is different, at any place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use procession_pool::{Phase, Pool, TaskError, View};
use procession_testkit::{Case, cases, ledger};
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::numbers;

pub(crate) fn cases() -> Vec<Case> {
    cases![numbers:
        one_that_differs, many_that_differ, an_iterator_that_panics, deaths_between_numbers,
        workers_that_retire, all_kinds,
    ]
    .into()
}

/// How an item or a value differs from a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// A number of another kind, which is read as the same.
    OtherKind,
    /// No number, which is read as the same.
    Tuple,
    EncodeFails,
    EncodePanics,
    DecodeFails,
    DecodePanics,
}

const WAYS: [Way; 7] = [
    Way::Plain,
    Way::OtherKind,
    Way::Tuple,
    Way::EncodeFails,
    Way::EncodePanics,
    Way::DecodeFails,
    Way::DecodePanics,
];

/// A number whose lowest decimal digit says how it goes there, and the next one how it comes back; the
/// one after that, whether the function panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value(u64);

fn there(number: u64) -> Way {
    WAYS[(number % 10) as usize]
}

fn back(number: u64) -> Way {
    WAYS[(number / 10 % 10) as usize]
}

fn panics(number: u64) -> bool {
    number / 100 % 10 == 1
}

fn number(id: u64, there: usize, back: usize, panics: bool) -> Item {
    Item(id * 1000 + u64::from(panics) * 100 + back as u64 * 10 + there as u64)
}

fn encode<S: Serializer>(number: u64, way: Way, serializer: S) -> Result<S::Ok, S::Error> {
    match way {
        Way::OtherKind => {
            // As zigzag makes it.
            let half = (number >> 1).cast_signed();
            serializer.serialize_i64(if number & 1 == 0 { half } else { !half })
        }
        Way::Tuple => {
            let mut tuple = serializer.serialize_tuple(1)?;
            tuple.serialize_element(&number)?;
            tuple.end()
        }
        Way::EncodeFails => Err(S::Error::custom("as planned")),
        Way::EncodePanics => panic!("as planned"),
        _ => serializer.serialize_u64(number),
    }
}

fn decode<'de, D: Deserializer<'de>>(
    deserializer: D,
    way: fn(u64) -> Way,
) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    match way(number) {
        Way::DecodeFails => Err(D::Error::custom("as planned")),
        Way::DecodePanics => panic!("as planned"),
        _ => Ok(number),
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encode(self.0, there(self.0), serializer)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
        decode(deserializer, there).map(Item)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encode(self.0, back(self.0), serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        decode(deserializer, back).map(Value)
    }
}

fn work(item: Item) -> Value {
    assert!(!panics(item.0), "as planned");
    Value(item.0)
}

/// The one right outcome, in a word.
fn expected(item: Item) -> String {
    let what = match (there(item.0), back(item.0)) {
        (Way::EncodeFails | Way::EncodePanics, _) => "ItemEncode",
        (Way::DecodeFails | Way::DecodePanics, _) => "ItemDecode",
        _ if panics(item.0) => "Panicked",
        (_, Way::EncodeFails | Way::EncodePanics) => "ValueEncode",
        (_, Way::DecodeFails | Way::DecodePanics) => "ValueDecode",
        _ => return item.0.to_string(),
    };
    what.to_owned()
}

fn found(outcome: &Result<Value, TaskError>) -> String {
    match outcome {
        Ok(value) => value.0.to_string(),
        Err(TaskError::ItemEncode(_)) => "ItemEncode".to_owned(),
        Err(TaskError::ItemDecode(_)) => "ItemDecode".to_owned(),
        Err(TaskError::Panicked(_)) => "Panicked".to_owned(),
        Err(TaskError::ValueEncode(_)) => "ValueEncode".to_owned(),
        Err(TaskError::ValueDecode(_)) => "ValueDecode".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

#[track_caller]
fn check(view: View, items: &[Item]) {
    let found: Vec<_> = view
        .map_results(work, items.to_vec())
        .iter()
        .map(found)
        .collect();
    let expected: Vec<_> = items.iter().copied().map(expected).collect();
    assert_eq!(found, expected, "{items:?}");
}

fn plain(ids: std::ops::Range<u64>) -> Vec<Item> {
    ids.map(|id| number(id, 0, 0, false)).collect()
}

/// Each way at each place, of a task that fits into a cell and of one that grows out of it.
fn one_that_differs() {
    let pool = Pool::with_workers(1).unwrap();
    let pids = pool.worker_pids();
    for (count, step) in [(6, 1), (50, 7)] {
        for at in (0..count).step_by(step) {
            for way in 1..WAYS.len() {
                for (there, back, panics) in [(way, 0, false), (0, way, false), (0, 0, true)] {
                    let mut items = plain(0..count);
                    items[at as usize] = number(at, there, back, panics);
                    check(pool.chunksize(count as usize), &items);
                }
            }
        }
    }
    assert_eq!(pool.worker_pids(), pids, "no worker was lost");
}

fn many_that_differ() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rarely = rng.usize(2..40);
        let count = rng.u64(1..400);
        let items: Vec<_> = (0..count)
            .map(|id| {
                let mut way = |ways| match rng.usize(..rarely) {
                    0 => rng.usize(..ways),
                    _ => 0,
                };
                let (there, back) = (way(WAYS.len()), way(WAYS.len()));
                number(id, there, back, way(2) == 1)
            })
            .collect();
        let chunksize = [1, 2, 3, 14, 15, 16, 17, 100, 400][rng.usize(..9)];
        check(pool.chunksize(chunksize), &items);
        // One item at a time, as they are looked at from outside.
        let timed = pool.chunksize(chunksize).timeout(Duration::from_secs(1000));
        check(timed, &items);
        // Those that fail are tried again, and fail again.
        check(pool.chunksize(chunksize).retries(1), &items);
    }
    assert_eq!(pool.worker_pids(), pids, "no worker was lost");
}

/// All items before the panic have their outcome, and the panic is the caller's.
fn an_iterator_that_panics() {
    let pool = Pool::with_workers(2).unwrap();
    for at in [0, 1, 2, 5, 15, 16, 17, 40, 99] {
        for chunksize in [1, 16, 200] {
            let items = plain(0..100).into_iter().inspect(|item| {
                assert!(item.0 != at * 1000, "the input's panic");
            });
            let mut outcomes = pool.chunksize(chunksize).imap(work, items);
            let mut values = Vec::new();
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                for outcome in &mut outcomes {
                    values.push(Item(outcome.unwrap().0));
                }
            }));
            assert!(panicked.is_err(), "it panics at {at}");
            assert_eq!(values, plain(0..at), "all before {at}");
        }
    }
}

/// Numbers that come to a worker's end have its death as outcome, and only they.
fn deaths_between_numbers() {
    let dies = |number: u32| {
        if number % 17 == 11 {
            std::process::abort();
        }
        number + 1
    };
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [7, 100] {
        let outcomes = pool.chunksize(chunksize).map_results(dies, 0..100);
        for (number, outcome) in (0..100).zip(outcomes) {
            match outcome {
                Ok(value) => assert_eq!((value, number % 17 == 11), (number + 1, false)),
                Err(TaskError::WorkerDied(death)) => {
                    assert_eq!((number % 17, death.phase()), (11, Phase::Running));
                }
                Err(error) => panic!("{number} came to {error:?}"),
            }
        }
    }
}

/// A worker that has had its share leaves the rest of the numbers to the next one.
fn workers_that_retire() {
    let builder = Pool::builder().workers(1).max_tasks_per_worker(7);
    let pool = builder.build().unwrap();
    let first = ledger::reserve(1);
    let value = |number: u32| (std::process::id(), number);
    let noted: fn(u32) -> u32 = |number| {
        ledger::note(number);
        std::process::id()
    };
    let pids = pool.chunksize(50).map(noted, [first; 50]).unwrap();
    assert_eq!(ledger::get(first), 50, "each once");
    let lives = pids.chunk_by(|one, next| one == next).map(<[u32]>::len);
    let lives: Vec<_> = lives.collect();
    let (last, whole) = lives.split_last().unwrap();
    assert!(whole.iter().all(|life| (5..=7).contains(life)), "{lives:?}");
    assert!(*last <= 7, "{lives:?}");
    let pairs = pool.chunksize(20).map(value, 0..20).unwrap();
    assert!(pairs.iter().map(|(_, number)| *number).eq(0..20));
}

fn all_kinds() {
    let pool = Pool::with_workers(2).unwrap();
    let round = |count: usize| pool.chunksize(count);
    let there_and_back = |what: &str, same: bool| assert!(same, "{what}");
    macro_rules! check {
        ($($type:ty: $values:expr;)*) => {
            $(
                let values: Vec<$type> = $values.into_iter().collect();
                let same: fn($type) -> $type = |value| value;
                let found = round(values.len()).map(same, values.clone()).unwrap();
                there_and_back(stringify!($type), found == values);
            )*
        };
    }
    check! {
        bool: [true, false, false, true];
        u8: 0..=u8::MAX;
        i8: i8::MIN..=i8::MAX;
        u16: (0..100).map(|n| n * 655);
        i16: (-50..50).map(|n| n * 655);
        u32: (0..100).map(|n| u32::MAX - n * 40_000_000);
        i32: (-50..50).map(|n| n * 42_000_000);
        u64: (0..64).map(|n| u64::MAX >> n);
        i64: (0..64).map(|n| i64::MIN >> n);
        f32: [0.0, -0.0, 1.5, f32::MIN, f32::MAX, f32::INFINITY];
        f64: [0.0, -0.0, 1.5, f64::MIN, f64::MAX, f64::NEG_INFINITY];
        char: 'a'..='z';
        Option<u64>: (0..40).map(|n| (n % 3 > 0).then_some(n));
        (u64,): (0..40).map(|n| (n,));
    }
    let different: fn(i32) -> f64 = |number| f64::from(number) / 2.0;
    let halves = pool.chunksize(30).map(different, -15..15).unwrap();
    assert!(halves.into_iter().eq((-15..15).map(|n| f64::from(n) / 2.0)));
}
