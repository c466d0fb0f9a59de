//! `Sealed`: encoded once, and decoded once in each worker.

use std::collections::BTreeMap;

use procession_pool::{Phase, Pool, PoolError, Sealed, TaskError};
use procession_testkit::{Case, cases, heap_is_back, heap_units, ledger, os};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sealed;
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![sealed:
        once_per_worker, encoded_once, used_here, through_every_call, field_of_an_item,
        the_last_four_are_kept, new_workers_decode_it, not_encodable, not_decodable,
        panics_when_decoded, deadly_when_decoded, worker_dies_with_it, dropped_early,
        memory_comes_back, shared_objects_in_it, comes_back_as_a_value, several_types,
    ]
    .into()
}

/// Notes in the ledger how often it was encoded (the first word) and decoded (the next one).
#[derive(Debug, Clone, PartialEq)]
struct Noted(u32, Vec<u64>);

impl Noted {
    fn new(len: u64) -> Noted {
        Noted(ledger::reserve(2), (0..len).collect())
    }

    fn decoded(&self) -> u32 {
        ledger::get(self.0 + 1)
    }
}

impl Serialize for Noted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ledger::note(self.0);
        (self.0, &self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Noted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (word, numbers) = <(u32, Vec<u64>)>::deserialize(deserializer)?;
        ledger::note(word + 1);
        Ok(Noted(word, numbers))
    }
}

type Item = (Sealed<Noted>, u64);

fn sum((noted, n): Item) -> u64 {
    noted.1.iter().sum::<u64>() + n
}

/// Has every worker run an item, and all at once.
fn meet((noted, gate, count): (Sealed<Noted>, u32, u32)) -> (u64, u32) {
    ledger::note(gate);
    ledger::wait_for(gate, count);
    (noted.1.iter().sum(), std::process::id())
}

fn meet_all(pool: &Pool, noted: &Sealed<Noted>) -> Vec<u32> {
    let count = pool.workers() as u32;
    let gate = ledger::reserve(1);
    let items = (0..count).map(|_| (noted.clone(), gate, count));
    let found = pool.chunksize(1).map(meet, items).unwrap();
    let expected = noted.1.iter().sum();
    assert!(found.iter().all(|(sum, _)| *sum == expected));
    found.into_iter().map(|(_, pid)| pid).collect()
}

fn once_per_worker() {
    let pool = Pool::with_workers(3).unwrap();
    let noted = Sealed::new(Noted::new(100)).unwrap();
    assert_eq!(meet_all(&pool, &noted).len(), 3);
    assert_eq!(noted.decoded(), 3);
    for chunksize in [1, 7, 1000] {
        let items = (0..200).map(|n| (noted.clone(), n));
        let found = pool.chunksize(chunksize).map(sum, items).unwrap();
        assert!(found.into_iter().eq((0..200).map(|n| 4950 + n)));
    }
    assert_eq!(noted.decoded(), 3);
}

fn encoded_once() {
    let pool = Pool::with_workers(2).unwrap();
    let noted = Sealed::new(Noted::new(10)).unwrap();
    let word = noted.0;
    let items = (0..100).map(|n| (noted.clone(), n));
    pool.chunksize(1).map(sum, items).unwrap();
    assert_eq!(ledger::get(word), 1);
    // Two values that are equal are two values.
    let again = Sealed::new(Noted::clone(&noted)).unwrap();
    pool.apply(sum, (again.clone(), 1)).unwrap();
    assert_eq!(ledger::get(word), 2);
}

fn used_here() {
    let noted = Sealed::new(Noted::new(10)).unwrap();
    assert_eq!(noted.1.len(), 10);
    assert_eq!(noted.clone().1[9], 9);
    assert_eq!(sum((noted.clone(), 1)), 46);
    assert_eq!(format!("{:?}", Sealed::new(7).unwrap()), "Sealed(7)");
    assert_eq!(noted.decoded(), 0);
}

fn through_every_call() {
    let pool = Pool::with_workers(2).unwrap();
    let noted = Sealed::new(Noted::new(10)).unwrap();
    let items = || (0..50).map(|n| (noted.clone(), n));
    let expected: Vec<_> = (0..50).map(|n| 45 + n).collect();
    meet_all(&pool, &noted);
    assert_eq!(pool.map(sum, items()).unwrap(), expected);
    assert_eq!(pool.map_async(sum, items()).get().unwrap(), expected);
    let found: Result<Vec<_>, _> = pool.imap(sum, items()).collect();
    assert_eq!(found.unwrap(), expected);
    let found: Result<Vec<_>, _> = pool.imap_unordered(sum, items()).collect();
    let mut found = found.unwrap();
    found.sort_unstable();
    assert_eq!(found, expected);
    let handles: Vec<_> = items().map(|item| pool.apply_async(sum, item)).collect();
    for (handle, expected) in handles.into_iter().zip(&expected) {
        assert_eq!(handle.get().unwrap(), *expected);
    }
    assert_eq!(pool.apply(sum, (noted.clone(), 5)).unwrap(), 50);
    let found = pool.starmap(|noted: Sealed<Noted>, n| sum((noted, n)), items());
    assert_eq!(found.unwrap(), expected);
    for outcome in pool.broadcast(sum, &(noted.clone(), 3)) {
        assert_eq!(outcome.unwrap(), 48);
    }
    assert_eq!(noted.decoded(), 2);
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    name: String,
    tables: BTreeMap<u8, Sealed<Noted>>,
    first: Option<Sealed<Noted>>,
}

fn field_of_an_item() {
    let pool = Pool::with_workers(1).unwrap();
    let tables: Vec<_> = [1, 2, 3]
        .map(|n| Sealed::new(Noted::new(n)).unwrap())
        .into();
    let request = |n: usize| Request {
        name: format!("request {n}"),
        tables: (0..).zip(tables.iter().cloned()).collect(),
        first: (n % 2 == 1).then(|| tables[n % 3].clone()),
    };
    let look = |request: Request| {
        let lengths: usize = request.tables.values().map(|table| table.1.len()).sum();
        (
            request.name,
            lengths,
            request.first.map(|first| first.1.len()),
        )
    };
    let found = pool.map(look, (0..20).map(request)).unwrap();
    for (n, (name, lengths, first)) in found.into_iter().enumerate() {
        assert_eq!((name, lengths), (format!("request {n}"), 6));
        assert_eq!(first, (n % 2 == 1).then_some(n % 3 + 1));
    }
    assert!(tables.iter().all(|table| table.decoded() == 1));
}

/// More than a worker keeps: they come and go, and are right all the same.
fn the_last_four_are_kept() {
    let pool = Pool::with_workers(1).unwrap();
    let values: Vec<_> = (1..=7)
        .map(|n| Sealed::new(Noted::new(n)).unwrap())
        .collect();
    let read = |which: &[usize]| {
        let items = which.iter().map(|&at| (values[at].clone(), 0));
        let found = pool.chunksize(1).map(sum, items).unwrap();
        for (at, found) in which.iter().zip(found) {
            let len = *at as u64 + 1;
            assert_eq!(found, len * (len - 1) / 2);
        }
    };
    let decoded = || -> Vec<u32> { values.iter().map(|value| value.decoded()).collect() };
    read(&[0, 1, 2, 3, 0, 1, 2, 3, 3, 0]);
    assert_eq!(decoded(), [1, 1, 1, 1, 0, 0, 0]);
    // The fifth drives out the first.
    read(&[4, 1, 2, 3, 4]);
    assert_eq!(decoded(), [1, 1, 1, 1, 1, 0, 0]);
    read(&[0]);
    assert_eq!(decoded()[0], 2);
    read(&[0, 1, 2, 3, 4, 5, 6].repeat(5));
    // All in one item: each is there.
    let all = |values: Vec<Sealed<Noted>>| values.iter().map(|value| value.1.len()).sum::<usize>();
    assert_eq!(pool.apply(all, values.clone()).unwrap(), 28);
}

/// A worker that takes the place of another has nothing of it.
fn new_workers_decode_it() {
    let pool = Pool::builder().workers(1).max_tasks_per_worker(1);
    let pool = pool.build().unwrap();
    let noted = Sealed::new(Noted::new(10)).unwrap();
    let items = (0..5).map(|n| (noted.clone(), n));
    assert_eq!(pool.map(sum, items).unwrap(), [45, 46, 47, 48, 49]);
    assert_eq!(noted.decoded(), 5);
}

/// Cannot be encoded if it says so.
#[derive(Debug, Deserialize)]
pub(crate) struct Unwritten(pub(crate) bool);

impl Serialize for Unwritten {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            return Err(S::Error::custom("planned"));
        }
        serializer.serialize_bool(false)
    }
}

fn not_encodable() {
    let before = heap_units();
    let error = Sealed::new(Unwritten(true)).unwrap_err();
    assert!(matches!(error, PoolError::Argument(_)), "{error:?}");
    assert!(error.to_string().contains("planned"), "{error}");
    heap_is_back("nothing is left of it", before);
    Sealed::new(Unwritten(false)).unwrap();
}

/// Fails when it is decoded, as often as the word says.
#[derive(Debug, Serialize)]
struct Unread {
    word: u32,
    how: u8,
}

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (word, how) = <(u32, u8)>::deserialize(deserializer)?;
        let left = ledger::get(word);
        if left > 0 {
            ledger::set(word, left - 1);
            match how {
                0 => return Err(D::Error::custom("planned")),
                1 => std::panic::resume_unwind(Box::new("planned")),
                _ => os::raise(libc::SIGKILL),
            }
        }
        Ok(Unread { word, how })
    }
}

/// Outcomes of six items, of which `fails` fail to be decoded, one after the other.
fn unread(pool: &Pool, how: u8, fails: u32) -> Vec<Result<u64, TaskError>> {
    let word = ledger::reserve(1);
    ledger::set(word, fails);
    let value = Sealed::new(Unread { word, how }).unwrap();
    let items = (0..6).map(|n| (value.clone(), n));
    let view = pool.chunksize(3);
    let outcomes = view.map_results(|(_, n): (Sealed<Unread>, u64)| n, items);
    assert_eq!(ledger::get(word), 0);
    outcomes
}

fn check_unread(how: u8, is_right: fn(&TaskError) -> bool) {
    let pool = Pool::with_workers(1).unwrap();
    for fails in [1, 2, 6] {
        let outcomes = unread(&pool, how, fails);
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!(failed, fails as usize);
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(value) => assert_eq!(value, n),
                Err(error) => assert!(is_right(&error), "{error:?}"),
            }
        }
    }
    check_usable(&pool);
}

/// Each item that has it fails, until it can be decoded; the worker lives on.
fn not_decodable() {
    check_unread(0, |error| matches!(error, TaskError::ItemDecode(_)));
}

fn panics_when_decoded() {
    check_unread(1, |error| {
        matches!(error, TaskError::ItemDecode(_) | TaskError::Panicked(_))
    });
}

fn deadly_when_decoded() {
    check_unread(2, |error| match error {
        TaskError::WorkerDied(death) => {
            (death.signal(), death.phase()) == (Some(libc::SIGKILL), Phase::Decoding)
        }
        _ => false,
    });
}

fn worker_dies_with_it() {
    let pool = Pool::with_workers(2).unwrap();
    let before = heap_units();
    let noted = Sealed::new(Noted::new(50_000)).unwrap();
    let work = |item: Item| {
        if item.1 % 10 == 3 {
            os::raise(libc::SIGKILL);
        }
        sum(item)
    };
    let base = noted.1.iter().sum::<u64>();
    for chunksize in [1, 5] {
        let items = (0..40).map(|n| (noted.clone(), n));
        let outcomes = pool.chunksize(chunksize).map_results(work, items);
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(value) => assert_eq!((value, n % 10 == 3), (base + n, false)),
                Err(TaskError::WorkerDied(_)) => assert_eq!(n % 10, 3),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    // Two at first, and one for each that has died.
    assert!(noted.decoded() <= 2 + 8, "{}", noted.decoded());
    drop(noted);
    pool.close();
    pool.join().unwrap();
    drop(pool);
    assert!(heap_units() <= before, "of dead workers, too");
}

/// Handles on their way keep it.
fn dropped_early() {
    let pool = Pool::with_workers(1).unwrap();
    let gate = ledger::reserve(1);
    let held = pool.apply_async(ledger::wait, gate);
    let noted = Sealed::new(Noted::new(100_000)).unwrap();
    let word = noted.0;
    let base = noted.1.iter().sum::<u64>();
    let items = |noted: Sealed<Noted>| (0..20).map(move |n| (noted.clone(), n));
    let whole = pool.map_async(sum, items(noted.clone()));
    let single: Vec<_> = items(noted.clone())
        .map(|item| pool.apply_async(sum, item))
        .collect();
    drop(noted);
    assert_eq!(ledger::get(word + 1), 0);
    ledger::set(gate, 1);
    held.get().unwrap();
    let expected: Vec<_> = (0..20).map(|n| base + n).collect();
    assert_eq!(whole.get().unwrap(), expected);
    for (handle, expected) in single.into_iter().zip(expected) {
        assert_eq!(handle.get().unwrap(), expected);
    }
    assert_eq!(ledger::get(word + 1), 1);
}

/// The last handle frees it, also while the pool goes on and workers keep what they have decoded.
fn memory_comes_back() {
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let small = || Sealed::new(Noted::new(1)).unwrap();
    meet_all(&pool, &small());
    let before = heap_units();
    for _ in 0..3 {
        let large = Sealed::new(Noted::new(500_000)).unwrap();
        assert!(heap_units() > before, "it is in shared memory");
        meet_all(&pool, &large);
        // What workers keep gives way to others.
        for _ in 0..4 {
            meet_all(&pool, &small());
        }
    }
    heap_is_back("the large ones are gone", before);
    // Never sent at all.
    drop(Sealed::new(Noted::new(500_000)).unwrap());
    heap_is_back("nobody has seen it", before);
}

/// Handles in it are as good as the value that the program has.
fn shared_objects_in_it() {
    let pool = Pool::with_workers(2).unwrap();
    let array = procession_sync::Array::from_slice(&[1_u64, 2, 3]).unwrap();
    let total = procession_sync::Mutex::new(0_u64).unwrap();
    let value = Sealed::new((array, total.clone())).unwrap();
    type Pair = (procession_sync::Array<u64>, procession_sync::Mutex<u64>);
    let add = |(pair, n): (Sealed<Pair>, u64)| {
        let sum: u64 = pair.0.lock().unwrap().iter().sum();
        *pair.1.lock().unwrap() += sum * n;
    };
    pool.map(add, (0..100).map(|n| (value.clone(), n))).unwrap();
    assert_eq!(*total.lock().unwrap(), 6 * 4950);
}

fn comes_back_as_a_value() {
    let pool = Pool::with_workers(2).unwrap();
    let noted = Sealed::new(Noted::new(10)).unwrap();
    let found = pool.map(|noted: Sealed<Noted>| noted, vec![noted.clone(); 4]);
    for back in found.unwrap() {
        assert_eq!(*back, *noted);
    }
    // Made by a worker, which keeps on living.
    let make = |len: u64| Sealed::new((0..len).collect::<Vec<_>>()).unwrap();
    let made = pool.apply(make, 1000).unwrap();
    assert_eq!(made.len(), 1000);
    let len = |made: Sealed<Vec<u64>>| made.len();
    assert_eq!(pool.map(len, vec![made; 8]).unwrap(), [1000; 8]);
}

fn several_types() {
    let pool = Pool::with_workers(1).unwrap();
    let text = Sealed::new("text".to_owned()).unwrap();
    let number = Sealed::new(7_u64).unwrap();
    let nested = Sealed::new(vec![text.clone(); 3]).unwrap();
    type All = (Sealed<String>, Sealed<u64>, Sealed<Vec<Sealed<String>>>);
    let look = |(text, number, nested): All| {
        let inner: Vec<String> = nested.iter().map(|text| (**text).clone()).collect();
        ((*text).clone(), *number, inner)
    };
    let expected = ("text".to_owned(), 7, vec!["text".to_owned(); 3]);
    for _ in 0..3 {
        let all = (text.clone(), number.clone(), nested.clone());
        assert_eq!(pool.apply(look, all).unwrap(), expected);
    }
}
