//! `map_chunks` and `for_each_chunk`: work on elements where they are.

use std::thread;

use procession_pool::{Pool, TaskError};
use procession_sync::bytemuck::{self, AnyBitPattern};
use procession_sync::{Array, LockError};
use procession_testkit::{Case, cases, eventually, ledger, os};

use crate::chunks;
use crate::support::usable::check_usable;

pub(crate) fn cases() -> Vec<Case> {
    cases![chunks:
        values_in_order, changed_in_place, changed_and_copied_back, no_elements, chunks_of_none,
        options_hold, one_at_a_time, array_in_other_hands, holder_has_died, dies_in_a_chunk,
        panics_in_a_chunk, slice_after_an_error, values_that_cannot_be_encoded, own_structs,
        ten_megabytes, from_many_threads, closed_pool,
    ]
    .into()
}

/// First and last element and length of a chunk, and its worker.
fn ends(chunk: &[u32]) -> (u32, u32, usize) {
    (chunk[0], chunk[chunk.len() - 1], chunk.len())
}

fn numbers(count: u32) -> Vec<u32> {
    (0..count).collect()
}

#[track_caller]
fn check_free<T: procession_sync::Plain>(array: &Array<T>) {
    assert!(array.try_lock().is_ok(), "the array is as free as before");
}

fn values_in_order() {
    let pool = Pool::with_workers(3).unwrap();
    let mut elements = numbers(100);
    let array = Array::from_slice(&elements).unwrap();
    for len in [1, 7, 10, 99, 100, 101, usize::MAX] {
        let expected: Vec<_> = elements.chunks(len).map(ends).collect();
        assert_eq!(pool.map_chunks(&array, len, ends).unwrap(), expected);
        check_free(&array);
        assert_eq!(pool.map_chunks(&elements[..], len, ends).unwrap(), expected);
        let through = pool.map_chunks(&mut elements[..], len, ends).unwrap();
        assert_eq!(through, expected);
    }
    assert_eq!(elements, numbers(100));
    assert_eq!(array.to_vec().unwrap(), elements);
}

fn add_one(chunk: &mut [u32]) {
    chunk.iter_mut().for_each(|n| *n += 1);
}

fn changed_in_place() {
    let pool = Pool::with_workers(3).unwrap();
    let array = Array::from_slice(&numbers(100)).unwrap();
    for (round, len) in (1..).zip([1, 7, 10, 99, 100, 101, usize::MAX]) {
        pool.for_each_chunk(&array, len, add_one).unwrap();
        let found = array.to_vec().unwrap();
        assert!(found.into_iter().eq(round..100 + round), "in {len}");
    }
}

fn changed_and_copied_back() {
    let pool = Pool::with_workers(3).unwrap();
    let mut elements = numbers(100);
    for (round, len) in (1..).zip([1, 7, 10, 99, 100, 101, usize::MAX]) {
        let change = pool.for_each_chunk(&mut elements[1..], len, add_one);
        change.unwrap();
        assert_eq!(elements[0], 0, "what was not lent");
        let found = elements[1..].iter().copied();
        assert!(found.eq(1 + round..100 + round), "in {len}");
    }
    // What is only lent stays.
    let before = elements.clone();
    pool.for_each_chunk(&elements[..], 10, add_one).unwrap();
    assert_eq!(elements, before);
}

fn no_elements() {
    let pool = Pool::with_workers(2).unwrap();
    let array = Array::<u32>::new(0).unwrap();
    assert_eq!(pool.map_chunks(&array, 5, ends).unwrap(), []);
    assert_eq!(pool.map_chunks(&[][..], 5, ends).unwrap(), []);
    pool.for_each_chunk(&array, 5, add_one).unwrap();
    pool.for_each_chunk(&mut [][..], 5, add_one).unwrap();
    check_free(&array);
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(found: Result<T, TaskError>) {
    assert!(matches!(found, Err(TaskError::ItemEncode(_))), "{found:?}");
}

fn chunks_of_none() {
    let pool = Pool::with_workers(2).unwrap();
    let mut elements = numbers(10);
    let array = Array::from_slice(&elements).unwrap();
    check_refused(pool.map_chunks(&array, 0, ends));
    check_refused(pool.for_each_chunk(&array, 0, add_one));
    check_refused(pool.map_chunks(&elements[..], 0, ends));
    check_refused(pool.for_each_chunk(&mut elements[..], 0, add_one));
    check_free(&array);
    assert_eq!(array.to_vec().unwrap(), elements);
    assert_eq!(elements, numbers(10));
    check_usable(&pool);
}

/// A chunk of elements is an item like others.
fn options_hold() {
    let pool = Pool::with_workers(2).unwrap();
    let array = Array::from_slice(&numbers(100)).unwrap();
    let whoami = |_: &[u32]| {
        let task = procession_pool::current_task().unwrap();
        (task.index(), std::process::id())
    };
    let found = pool.chunksize(5).map_chunks(&array, 4, whoami).unwrap();
    assert!(found.iter().map(|(index, _)| *index).eq(0..25));
    for five in found.chunks(5) {
        assert!(five.iter().all(|(_, pid)| *pid == five[0].1), "{five:?}");
    }
    // Its elements are lent to the next worker, as the first one left them.
    let dies_once = |chunk: &mut [u32]| {
        chunk[1] += 1000;
        if chunk[0] == 40 && procession_pool::current_task().unwrap().attempt() == 0 {
            os::raise(libc::SIGKILL);
        }
    };
    pool.retries(2)
        .for_each_chunk(&array, 10, dies_once)
        .unwrap();
    let found = match array.lock() {
        Ok(held) => held.to_vec(),
        // It may be told: a worker has died with a part of it.
        Err(died) => died.into_guard().to_vec(),
    };
    for (n, element) in (0..).zip(found) {
        let more = match n {
            41 => 2000,
            n if n % 10 == 1 => 1000,
            _ => 0,
        };
        assert_eq!(element, n + more);
    }
}

/// Gates: the first two elements are words of the ledger.
fn pass(chunk: &mut [u32]) {
    ledger::note(chunk[0]);
    ledger::wait(chunk[1]);
    chunk[2] += 1;
}

/// Nobody gets the lock while workers have the elements, nor do two calls.
fn one_at_a_time() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(2);
    let elements = [words, words + 1, 0].repeat(4);
    let array = Array::from_slice(&elements).unwrap();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| pool.for_each_chunk(&array, 3, pass)))
            .collect();
        ledger::wait_for(words, 2);
        let found = array.try_lock();
        assert!(matches!(found, Err(LockError::WouldBlock)), "{found:?}");
        // Two workers, and no chunk is done: those of one call.
        assert_eq!(ledger::get(words), 2);
        ledger::set(words + 1, 1);
        for call in calls {
            call.join().unwrap().unwrap();
        }
    });
    assert_eq!(ledger::get(words), 8);
    let expected = [words, words + 1, 2].repeat(4);
    assert_eq!(array.to_vec().unwrap(), expected);
}

/// Whoever has the array is waited for, and what he wrote is seen.
fn array_in_other_hands() {
    let pool = Pool::with_workers(2).unwrap();
    let array = Array::from_slice(&numbers(100)).unwrap();
    let mut held = array.lock().unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| pool.map_chunks(&array, 10, ends));
        // The pool itself is free meanwhile.
        check_usable(&pool);
        assert!(!call.is_finished());
        held.iter_mut().for_each(|n| *n += 1000);
        drop(held);
        let found = call.join().unwrap().unwrap();
        let expected: Vec<_> = (0..10)
            .map(|n| (1000 + n * 10, 1009 + n * 10, 10))
            .collect();
        assert_eq!(found, expected);
    });
}

/// The call is told of a holder's death, and it is not for a call to repair what he left.
fn holder_has_died() {
    let pool = Pool::with_workers(1).unwrap();
    let array = Array::from_slice(&numbers(100)).unwrap();
    let die = |array: Array<u32>| -> () {
        let _held = array.lock().unwrap();
        os::raise(libc::SIGKILL);
    };
    pool.apply(die, array.clone()).unwrap_err();
    check_refused(pool.for_each_chunk(&array, 10, add_one));
    check_refused(pool.map_chunks(&array, 10, ends));
    {
        let Err(LockError::Inconsistent(mut held)) = array.lock() else {
            panic!("nobody has repaired it");
        };
        assert_eq!(*held, numbers(100)[..]);
        held.mark_consistent();
    }
    pool.for_each_chunk(&array, 10, add_one).unwrap();
    assert!(array.to_vec().unwrap().into_iter().eq(1..101));
}

/// Changes its elements; one of them kills it in the middle.
fn deadly(chunk: &mut [u32]) {
    for n in chunk {
        if *n == 45 {
            os::raise(libc::SIGKILL);
        }
        *n += 1000;
    }
}

fn dies_in_a_chunk() {
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [1, 4] {
        let array = Array::from_slice(&numbers(100)).unwrap();
        let view = pool.chunksize(chunksize);
        let error = view.for_each_chunk(&array, 10, deadly).unwrap_err();
        let TaskError::WorkerDied(death) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(death.signal(), Some(libc::SIGKILL));
        {
            let Err(LockError::OwnerDied(mut held)) = array.lock() else {
                panic!("the next holder is told");
            };
            for (n, element) in (0..).zip(held.iter()) {
                let done = !(45..50).contains(&n);
                assert_eq!(*element, n + u32::from(done) * 1000, "of {chunksize}");
            }
            held.mark_consistent();
        }
        check_free(&array);
        pool.for_each_chunk(&array, 10, add_one).unwrap();
        assert_eq!(array.to_vec().unwrap()[45], 46);
    }
    check_usable(&pool);
}

/// A panic is nobody's death: the lock tells nothing, and the elements are as it left them.
fn panics_in_a_chunk() {
    let pool = Pool::with_workers(2).unwrap();
    let array = Array::from_slice(&numbers(100)).unwrap();
    let panics = |chunk: &mut [u32]| {
        chunk[0] += 1000;
        if chunk[1] == 51 {
            std::panic::resume_unwind(Box::new("planned"));
        }
        chunk[1] += 1000;
    };
    let error = pool.for_each_chunk(&array, 10, panics).unwrap_err();
    assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
    for (n, element) in (0..).zip(array.to_vec().unwrap()) {
        let done = n % 10 == 0 || n % 10 == 1 && n != 51;
        assert_eq!(element, n + u32::from(done) * 1000);
    }
}

/// All or nothing: only where every chunk was done are they copied back.
fn slice_after_an_error() {
    let pool = Pool::with_workers(2).unwrap();
    let mut elements = numbers(100);
    let error = pool.for_each_chunk(&mut elements[..], 10, deadly);
    assert!(matches!(error, Err(TaskError::WorkerDied(_))), "{error:?}");
    assert_eq!(elements, numbers(100));
    let panics = |chunk: &mut [u32]| {
        chunk[0] = 7;
        std::panic::resume_unwind(Box::new("planned"));
    };
    let error = pool.for_each_chunk(&mut elements[..], 100, panics);
    assert!(matches!(error, Err(TaskError::Panicked(_))), "{error:?}");
    assert_eq!(elements, numbers(100));
    elements[45] = 0;
    pool.for_each_chunk(&mut elements[..], 10, deadly).unwrap();
    assert_eq!(elements[45], 1000);
}

/// Values are like those of other calls.
fn values_that_cannot_be_encoded() {
    let pool = Pool::with_workers(2).unwrap();
    let array = Array::from_slice(&numbers(100)).unwrap();
    let fails = |chunk: &[u32]| crate::sealed::Unwritten(chunk[0] == 50);
    let error = pool.map_chunks(&array, 10, fails).unwrap_err();
    assert!(matches!(error, TaskError::ValueEncode(_)), "{error:?}");
    check_free(&array);
}

#[derive(Debug, Clone, Copy, PartialEq, AnyBitPattern)]
#[bytemuck(crate = "procession_sync::bytemuck")]
struct Particle {
    place: [f64; 3],
    mass: f32,
    number: u16,
}

fn own_structs() {
    let pool = Pool::with_workers(2).unwrap();
    let mut particles: Vec<_> = (0..1003)
        .map(|number| Particle {
            place: [f64::from(number), 0.5, -1.0],
            mass: 2.0,
            number,
        })
        .collect();
    let before = particles.clone();
    let fall = |chunk: &mut [Particle]| {
        for particle in chunk {
            particle.place[2] -= f64::from(particle.number);
            particle.mass *= 2.0;
        }
    };
    pool.for_each_chunk(&mut particles[..], 100, fall).unwrap();
    for (now, before) in particles.iter().zip(&before) {
        let [x, y, z] = before.place;
        let place = [x, y, z - f64::from(before.number)];
        let expected = Particle {
            place,
            mass: 4.0,
            ..*before
        };
        assert_eq!(*now, expected);
    }
    let mass = |chunk: &[Particle]| chunk.iter().map(|particle| particle.mass).sum::<f32>();
    let masses = pool.map_chunks(&particles[..], 500, mass).unwrap();
    assert_eq!(masses, [2000.0, 2000.0, 12.0]);
    let zeroed: Particle = bytemuck::Zeroable::zeroed();
    let array = Array::<Particle>::new(3).unwrap();
    assert!(array.to_vec().unwrap().iter().all(|found| *found == zeroed));
    pool.for_each_chunk(&array, 1, |chunk| chunk[0].number = 9)
        .unwrap();
    let numbers: Vec<_> = array.to_vec().unwrap().iter().map(|p| p.number).collect();
    assert_eq!(numbers, [9, 9, 9]);
}

fn ten_megabytes() {
    let pool = Pool::with_workers(2).unwrap();
    let mut bytes = vec![0_u8; 10 << 20];
    let fill = |chunk: &mut [u8]| {
        let index = procession_pool::current_task().unwrap().index();
        chunk.fill(index as u8);
    };
    pool.for_each_chunk(&mut bytes[..], 1 << 16, fill).unwrap();
    for (n, chunk) in bytes.chunks(1 << 16).enumerate() {
        assert!(chunk.iter().all(|byte| *byte == n as u8), "chunk {n}");
    }
    let array = Array::from_slice(&bytes).unwrap();
    let sums = |chunk: &[u8]| chunk.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let expected: Vec<_> = bytes.chunks(1 << 20).map(sums).collect();
    assert_eq!(pool.map_chunks(&array, 1 << 20, sums).unwrap(), expected);
    assert_eq!(
        pool.map_chunks(&bytes[..], 1 << 20, sums).unwrap(),
        expected
    );
}

fn from_many_threads() {
    let pool = Pool::with_workers(2).unwrap();
    let array = Array::<u32>::new(60).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for len in [1, 7, 60] {
                    pool.for_each_chunk(&array, len, add_one).unwrap();
                }
            });
        }
        eventually("it is seen meanwhile", || match array.lock() {
            Ok(held) if held.iter().all(|n| *n == held[0]) => Ok(()),
            found => Err(format!("{found:?}")),
        });
    });
    assert_eq!(array.to_vec().unwrap(), [12; 60]);
}

fn closed_pool() {
    let pool = Pool::with_workers(1).unwrap();
    pool.close();
    let mut elements = numbers(10);
    let array = Array::from_slice(&elements).unwrap();
    let found = pool.for_each_chunk(&array, 3, add_one);
    assert!(matches!(found, Err(TaskError::Closed)), "{found:?}");
    let found = pool.for_each_chunk(&mut elements[..], 3, add_one);
    assert!(matches!(found, Err(TaskError::Closed)), "{found:?}");
    assert_eq!(elements, numbers(10));
    // Nobody has had a part of it.
    check_free(&array);
    assert_eq!(array.to_vec().unwrap(), elements);
}
