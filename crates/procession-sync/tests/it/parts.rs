//! Parts: of an array, and with memory of their own; one process has each at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use procession_primitives::{Process, quietly};
use procession_sync::{Array, CreateError, LockError, Part, PutError, Queue};
use procession_testkit::{Case, cases, heap_units, ledger, os};

use crate::parts;
use crate::support::{await_objects, await_waits, family, kill, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![parts:
        processes_work_in_place, the_lock_waits_for_all_parts, the_lock_times_out,
        dropped_by_their_owners, one_more_round, owner_dies, owner_dies_unborn,
        message_is_never_taken, put_in_vain_gives_it_back, sent_parts_are_gone,
        sent_twice, decoded_twice, of_its_own_through_a_queue, leftovers_are_written_over,
        through_several_processes, parts_of_nothing, memory_comes_back,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);

fn ones(len: usize) -> Array<u32> {
    Array::from_slice(&vec![1; len]).unwrap()
}

fn cut(array: &Array<u32>, len: usize) -> Vec<Part<u32>> {
    array.lock().unwrap().into_parts(len).unwrap()
}

fn add_start(mut part: Part<u32>) {
    let start = part.start() as u32;
    part.as_mut_slice().iter_mut().for_each(|x| *x += start);
}

fn hang((mut part, there): (Part<u32>, u32)) {
    part.as_mut_slice().fill(9);
    ledger::set(there, 1);
    os::sleep_for_ever();
}

pub(crate) fn processes_work_in_place() {
    let array = ones(10);
    let parts = cut(&array, 4);
    let places: Vec<_> = parts
        .iter()
        .map(|part| (part.start(), part.len()))
        .collect();
    assert_eq!(places, [(0, 4), (4, 4), (8, 2)]);
    for child in parts.into_iter().map(|part| start(add_start, part)) {
        child.join().unwrap();
    }
    assert_eq!(*array.lock().unwrap(), [1, 1, 1, 1, 5, 5, 5, 5, 9, 9]);
}

pub(crate) fn the_lock_waits_for_all_parts() {
    let array = ones(4);
    let mut parts = cut(&array, 2);
    let child = start(
        |array: Array<u32>| array.lock().unwrap().iter().sum::<u32>(),
        array.clone(),
    );
    await_waits(1);
    parts[1].as_mut_slice().fill(5);
    drop(parts.pop());
    assert!(matches!(array.try_lock(), Err(LockError::WouldBlock)));
    parts[0].as_mut_slice().fill(7);
    drop(parts);
    assert_eq!(child.join().unwrap(), 24);
}

pub(crate) fn the_lock_times_out() {
    let array = ones(4);
    let parts = cut(&array, 4);
    let locked = array.lock_timeout(SHORT);
    assert!(matches!(locked, Err(LockError::TimedOut)));
    drop(parts);
    assert_eq!(array.lock_timeout(SHORT).unwrap().len(), 4);
}

pub(crate) fn dropped_by_their_owners() {
    let array = ones(100);
    let children: Vec<_> = cut(&array, 1)
        .into_iter()
        .map(|part| (part, 3_u32))
        .collect();
    let child = start(
        |parts: Vec<(Part<u32>, u32)>| {
            for (mut part, value) in parts {
                part.as_mut_slice()[0] = value;
            }
        },
        children,
    );
    // Waits for the child's.
    assert!(array.lock().unwrap().iter().all(|&x| x == 3));
    child.join().unwrap();
}

pub(crate) fn one_more_round() {
    let array = ones(6);
    for round in 2..20 {
        for mut part in cut(&array, 2) {
            part.as_mut_slice().fill(round);
        }
    }
    assert_eq!(array.to_vec().unwrap(), [19; 6]);
}

pub(crate) fn owner_dies() {
    let (array, there) = (ones(4), word());
    let mut parts = cut(&array, 2);
    let child = start(hang, (parts.pop().unwrap(), there));
    drop(parts);
    ledger::wait(there);
    assert!(matches!(array.try_lock(), Err(LockError::WouldBlock)));
    kill(&child);
    match array.lock() {
        Err(LockError::OwnerDied(mut guard)) => {
            assert_eq!(*guard, [1, 1, 9, 9]);
            guard.mark_consistent();
        }
        other => panic!("{other:?}"),
    }
    assert!(array.lock().is_ok());
}

/// Nobody has touched it, so nobody has to be told.
pub(crate) fn owner_dies_unborn() {
    let array = ones(4);
    let queue = Queue::<Part<u32>>::bounded(4).unwrap();
    for part in cut(&array, 2) {
        queue.put(part).unwrap();
    }
    let child = Process::builder().spawn(|(_, _): (Queue<Part<u32>>, u32)| (), (queue, 1));
    child.unwrap().join().unwrap();
    assert_eq!(*array.lock().unwrap(), [1; 4]);
}

pub(crate) fn message_is_never_taken() {
    let array = ones(4);
    let queue = Queue::<Part<u32>>::bounded(4).unwrap();
    for part in cut(&array, 1) {
        queue.put(part).unwrap();
    }
    assert!(matches!(array.try_lock(), Err(LockError::WouldBlock)));
    drop(queue);
    assert_eq!(*array.lock().unwrap(), [1; 4]);
}

pub(crate) fn put_in_vain_gives_it_back() {
    let array = ones(4);
    let mut parts = cut(&array, 2).into_iter();
    let queue = Queue::<Part<u32>>::bounded(1).unwrap();
    queue.put(parts.next().unwrap()).unwrap();
    let Err(PutError::Full(mut part)) = queue.try_put(parts.next().unwrap()) else {
        panic!("there is no room");
    };
    part.as_mut_slice().fill(4);
    drop(part);
    queue.get().unwrap().as_mut_slice().fill(3);
    assert_eq!(*array.lock().unwrap(), [3, 3, 4, 4]);
}

pub(crate) fn sent_parts_are_gone() {
    let mut part = Part::from_slice(&[1_u32, 2]).unwrap();
    let bytes = postcard::to_stdvec(&part).unwrap();
    let mut there: Part<u32> = postcard::from_bytes(&bytes).unwrap();
    let used = quietly(|| catch_unwind(AssertUnwindSafe(|| part.as_mut_slice().len())));
    assert!(used.is_err());
    assert_eq!(there.as_mut_slice(), [1, 2]);
    drop(there);
}

pub(crate) fn sent_twice() {
    let part = Part::from_slice(&[1_u32, 2]).unwrap();
    let bytes = postcard::to_stdvec(&part).unwrap();
    let there: Part<u32> = postcard::from_bytes(&bytes).unwrap();
    assert!(postcard::to_stdvec(&part).is_err());
    drop(there);
}

/// Two copies of one name: the second one comes too late, as long as the first one is used.
pub(crate) fn decoded_twice() {
    let part = Part::from_slice(&[1_u32, 2]).unwrap();
    let bytes = postcard::to_stdvec(&part).unwrap();
    let first: Part<u32> = postcard::from_bytes(&bytes).unwrap();
    assert!(postcard::from_bytes::<Part<u32>>(&bytes).is_err());
    drop((first, part));
    // And it is gone.
    assert!(postcard::from_bytes::<Part<u32>>(&bytes).is_err());
}

pub(crate) fn of_its_own_through_a_queue() {
    let queue = Queue::<Part<u64>>::bounded(2).unwrap();
    let child = start(
        |queue: Queue<Part<u64>>| {
            for n in 0..50 {
                let mut part = Part::new(100_000).unwrap();
                assert!(part.as_mut_slice().iter().all(|&x| x == 0));
                part.as_mut_slice().fill(n);
                queue.put(part).unwrap();
            }
        },
        queue.clone(),
    );
    for n in 0..50 {
        let mut part = queue.get().unwrap();
        assert_eq!((part.len(), part.start()), (100_000, 0));
        assert!(part.as_mut_slice().iter().all(|&x| x == n));
    }
    child.join().unwrap();
}

pub(crate) fn leftovers_are_written_over() {
    for len in [1, 100, 100_000] {
        let mut part = Part::<u16>::with_leftovers(len).unwrap();
        part.as_mut_slice().fill(7);
        assert_eq!(part.as_mut_slice(), vec![7; len]);
    }
}

pub(crate) fn through_several_processes() {
    let part = Part::from_slice(&[0_u32; 3]).unwrap();
    let pass = |(mut part, index): (Part<u32>, usize)| {
        part.as_mut_slice()[index] = 1 + index as u32;
        (part, index + 1)
    };
    let mut baton = (part, 0);
    for _ in 0..3 {
        baton = start(pass, baton).join().unwrap();
    }
    assert_eq!(baton.0.as_mut_slice(), [1, 2, 3]);
}

pub(crate) fn parts_of_nothing() {
    let array = ones(0);
    assert!(cut(&array, 5).is_empty());
    assert!(array.lock().unwrap().is_empty());
    let refused = ones(3).lock().unwrap().into_parts(0);
    assert!(matches!(refused, Err(CreateError::Invalid(_))));
    assert!(Part::<u8>::new(0).unwrap().as_mut_slice().is_empty());
}

pub(crate) fn memory_comes_back() {
    let before = family().object_count();
    let array = ones(1000);
    let units = heap_units();
    for _ in 0..200 {
        drop(cut(&array, 100));
        array.lock().unwrap()[0] = 1;
        drop(Part::<u8>::new(1 << 20).unwrap());
    }
    await_objects("parts are freed", before + 1);
    assert_eq!(heap_units(), units);
}
