//! `Queue`: what Python's tests check, order, limits, waiting and closing.

use std::thread;
use std::time::{Duration, Instant};

use procession_primitives::{Process, StartMethod};
use procession_sync::{GetError, PutError, Queue, Receiver, Sender};
use procession_testkit::{Case, cases, eventually, ledger};

use crate::queue;
use crate::support::{await_waiters, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![queue:
        put_q01, get_q02, fork_q03, qsize_q04, timeout_q07, closed_q10_q11_q13, empty_q12,
        counts_are_exact, one_handle_for_each_side, order_between_processes,
        many_producers_and_consumers, batches_of_many, room_for_one,
        room_for_one_in_both_directions, debug_says_what_is_up,
        batches_and_single_ones_wait_together,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(1000);

fn take(queue: &Queue<u32>, count: usize) -> Vec<u32> {
    (0..count).map(|_| queue.get().unwrap()).collect()
}

fn put_q01() {
    let (queue, go) = (Queue::<u32>::bounded(6).unwrap(), word());
    let takes_six = |(queue, go): (Queue<u32>, u32)| {
        ledger::wait(go);
        take(&queue, 6)
    };
    let child = start(takes_six, (queue.clone(), go));
    assert!(queue.is_empty() && !queue.is_full());
    queue.put(1).unwrap();
    queue.try_put(2).unwrap();
    queue.put_timeout(3, LONG).unwrap();
    queue.put_deadline(4, Instant::now() + LONG).unwrap();
    assert_eq!(queue.put_many([5]).unwrap(), 1);
    assert!(!queue.is_empty() && !queue.is_full());
    queue.sender().put(6).unwrap();
    assert!(!queue.is_empty() && queue.is_full());

    assert!(matches!(queue.try_put(7), Err(PutError::Full(7))));
    let begun = Instant::now();
    let late = queue.put_timeout(7, SHORT);
    assert!(matches!(late, Err(PutError::TimedOut(7))));
    assert!(begun.elapsed() >= SHORT);
    let late = queue.put_deadline(7, begun);
    assert!(matches!(late, Err(PutError::TimedOut(7))));
    let late = queue.put_timeout(7, Duration::ZERO);
    assert_eq!(late.unwrap_err().into_inner(), 7);
    assert_eq!(queue.len(), 6);

    ledger::set(go, 1);
    assert_eq!(child.join().unwrap(), [1, 2, 3, 4, 5, 6]);
    assert!(queue.is_empty() && !queue.is_full());
}

fn get_q02() {
    let (queue, go) = (Queue::<u32>::new().unwrap(), word());
    let puts = |(queue, go): (Queue<u32>, u32)| {
        ledger::wait(go);
        (1..=6).for_each(|n| queue.put(n).unwrap());
    };
    let child = start(puts, (queue.clone(), go));
    assert!(queue.is_empty());
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    ledger::set(go, 1);
    child.join().unwrap();
    assert!(!queue.is_empty());
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(queue.try_get(), Ok(2));
    assert_eq!(queue.get_timeout(LONG), Ok(3));
    assert_eq!(queue.get_deadline(Instant::now() + LONG), Ok(4));
    assert_eq!(queue.get_many(1), Ok(vec![5]));
    assert_eq!(queue.receiver().get(), Ok(6));
    assert!(queue.is_empty());
    // Otherwise it would be the end: nobody else could put anything.
    queue.put(7).unwrap();
    assert_eq!(queue.get(), Ok(7));
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    let begun = Instant::now();
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::TimedOut));
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(queue.get_deadline(begun), Err(GetError::TimedOut));
    assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::TimedOut));
    assert_eq!(queue.get_many(0), Ok(vec![]));
}

fn fork_q03() {
    for method in [
        StartMethod::ForkServer,
        StartMethod::Spawn,
        StartMethod::Fork,
    ] {
        let queue = Queue::new().unwrap();
        (0..10).for_each(|n| queue.put(n).unwrap());
        let puts = |queue: Queue<u32>| (10..20).for_each(|n| queue.put(n).unwrap());
        let child = Process::builder().start_method(method);
        child.spawn(puts, queue.clone()).unwrap().join().unwrap();
        assert_eq!(take(&queue, 20), (0..20).collect::<Vec<_>>());
        assert_eq!(queue.try_get(), Err(GetError::Empty));
    }
    let queue = Queue::new().unwrap();
    queue.put(0).unwrap();
    let child = Process::builder().fork(|| queue.put(1).unwrap());
    child.unwrap().join().unwrap();
    assert_eq!(take(&queue, 2), [0, 1]);
}

fn qsize_q04() {
    let queue = Queue::new().unwrap();
    let mut sizes = vec![queue.len()];
    queue.put(1).unwrap();
    sizes.push(queue.len());
    queue.put(5).unwrap();
    sizes.push(queue.len());
    queue.get().unwrap();
    sizes.push(queue.len());
    queue.get().unwrap();
    sizes.push(queue.len());
    assert_eq!(sizes, [0, 1, 2, 1, 0]);
}

fn timeout_q07() {
    let queue = Queue::<u32>::new().unwrap();
    let begun = Instant::now();
    let timeout = Duration::from_millis(200);
    assert_eq!(queue.get_timeout(timeout), Err(GetError::TimedOut));
    assert!(begun.elapsed() >= timeout);
}

fn closed_q10_q11_q13() {
    let queue = Queue::<u32>::new().unwrap();
    let (sender, receiver) = (queue.sender(), queue.receiver());
    assert!(!queue.is_closed());
    queue.close().unwrap();
    queue.close().unwrap();
    assert!(queue.is_closed() && sender.is_closed() && receiver.is_closed());
    assert!(queue.is_empty());
    assert!(matches!(queue.put(1), Err(PutError::Closed(1))));
    assert!(matches!(queue.try_put(1), Err(PutError::Closed(1))));
    let late = sender.put_timeout(1, LONG);
    assert!(matches!(late, Err(PutError::Closed(1))));
    let late = sender.put_many([1, 2]);
    assert!(matches!(late, Err(PutError::Closed(values)) if values.starts_with(&[1])));
    assert_eq!(queue.get(), Err(GetError::Closed));
    assert_eq!(queue.try_get(), Err(GetError::Closed));
    assert_eq!(receiver.get_timeout(LONG), Err(GetError::Closed));
    assert_eq!(receiver.get_many(3), Err(GetError::Closed));
    assert_eq!(receiver.iter().count(), 0);
    assert!(GetError::Closed.is_end());
    // Also in another process.
    let tries = |queue: Queue<u32>| (queue.put(1).is_err(), queue.get() == Err(GetError::Closed));
    assert_eq!(start(tries, queue).join().unwrap(), (true, true));
}

fn empty_q12() {
    let queue = Queue::new().unwrap();
    assert!(queue.is_empty());
    let puts = |queue: Queue<bool>| _ = queue.put_many([true, false]).unwrap();
    start(puts, queue.clone()).join().unwrap();
    assert!(!queue.is_empty());
    assert_eq!(queue.get(), Ok(true));
    assert!(!queue.is_empty());
    assert_eq!(queue.get(), Ok(false));
    assert!(queue.is_empty());
}

fn counts_are_exact() {
    let queue = Queue::bounded(5).unwrap();
    assert_eq!(queue.capacity(), 5);
    for round in 0..3 {
        for count in 0..5 {
            assert_eq!((queue.len(), queue.is_full()), (count, false), "{round}");
            queue.put(count).unwrap();
        }
        assert_eq!((queue.len(), queue.is_full()), (5, true));
        let other = |queue: Queue<usize>| (queue.len(), queue.is_empty(), queue.is_full());
        let seen = start(other, queue.clone()).join().unwrap();
        assert_eq!(seen, (5, false, true));
        for count in (0..5).rev() {
            queue.get().unwrap();
            assert_eq!((queue.len(), queue.is_empty()), (count, count == 0));
        }
    }
}

fn one_handle_for_each_side() {
    let queue = Queue::<u32>::bounded(3).unwrap();
    let (sender, receiver) = (queue.sender(), queue.receiver());
    assert!(sender == queue.sender() && receiver == queue.receiver());
    assert!(queue == queue.clone());
    assert!(queue != Queue::bounded(3).unwrap());
    let forwards = |(from, to): (Receiver<u32>, Sender<u32>)| {
        for value in from.iter() {
            to.put(value.unwrap() + 1).unwrap();
        }
    };
    let (answers, answered) = Queue::bounded(3).unwrap().split();
    let child = start(forwards, (receiver, answers));
    (0..100).for_each(|n| {
        sender.put(n).unwrap();
        assert_eq!(answered.get(), Ok(n + 1));
    });
    assert_eq!((sender.len(), answered.len()), (0, 0));
    assert_eq!((sender.capacity(), answered.capacity()), (3, 3));
    drop((queue, sender));
    child.join().unwrap();
    assert_eq!(answered.get(), Err(GetError::Disconnected));
}

/// One after the other puts and takes, while the other side sleeps, spins or works.
fn order_between_processes() {
    for capacity in [1, 2, 7, 1000] {
        let queue = Queue::bounded(capacity).unwrap();
        let puts = |queue: Sender<u32>| (0..3000).for_each(|n| queue.put(n).unwrap());
        let child = start(puts, queue.sender());
        (0..3000).for_each(|n| assert_eq!(queue.get(), Ok(n)));
        child.join().unwrap();
        assert_eq!(queue.get(), Err(GetError::Disconnected));
    }
}

const EACH: u32 = 1500;

fn produce((queue, me, batch): (Sender<(u32, u32)>, u32, u32)) {
    let mut next = 0;
    while next < EACH {
        let end = EACH.min(next + batch);
        match batch {
            1 => queue.put((me, next)).unwrap(),
            _ => _ = queue.put_many((next..end).map(|n| (me, n))).unwrap(),
        }
        next = end;
    }
}

fn consume((queue, batch): (Receiver<(u32, u32)>, usize)) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    loop {
        match queue.get_many(batch) {
            Ok(some) => {
                assert!((1..=batch).contains(&some.len()));
                found.extend(some);
            }
            Err(error) => {
                assert_eq!(error, GetError::Disconnected);
                return found;
            }
        }
    }
}

/// Each message is received once, those of one producer in order.
#[track_caller]
fn check(received: Vec<Vec<(u32, u32)>>, producers: u32) {
    for part in &received {
        for producer in 0..producers {
            let mine = part.iter().filter(|(by, _)| *by == producer);
            assert!(mine.map(|(_, n)| n).is_sorted_by(|a, b| a < b));
        }
    }
    let mut all: Vec<_> = received.into_iter().flatten().collect();
    all.sort_unstable();
    let expected = (0..producers).flat_map(|by| (0..EACH).map(move |n| (by, n)));
    assert!(all.into_iter().eq(expected));
}

fn crowd(capacity: usize, batch: usize) {
    let (sender, receiver) = Queue::bounded(capacity).unwrap().split();
    let consumers = [0; 3].map(|_| start(consume, (receiver.clone(), batch)));
    let mine = thread::spawn(move || consume((receiver, 1)));
    let producers = [0, 1, 2].map(|me| start(produce, (sender.clone(), me, batch as u32)));
    produce((sender.clone(), 3, 1));
    drop(sender);
    producers
        .into_iter()
        .for_each(|producer| producer.join().unwrap());
    let mut received: Vec<_> = consumers.map(|one| one.join().unwrap()).into();
    received.push(mine.join().unwrap());
    check(received, 4);
}

fn many_producers_and_consumers() {
    for capacity in [1, 3, 100_000] {
        crowd(capacity, 1);
    }
}

fn batches_of_many() {
    for (capacity, batch) in [(1, 10), (10, 3), (10, 100), (5000, 1000)] {
        crowd(capacity, batch);
    }
}

fn room_for_one() {
    let queue = Queue::bounded(1).unwrap();
    queue.put(0).unwrap();
    assert!(queue.is_full());
    let puts = |queue: Queue<u32>| (1..200).for_each(|n| queue.put(n).unwrap());
    let child = start(puts, queue.clone());
    await_waiters(&queue, 1);
    assert_eq!(queue.len(), 1);
    (0..200).for_each(|n| assert_eq!(queue.get(), Ok(n)));
    child.join().unwrap();
}

fn room_for_one_in_both_directions() {
    let (there, back) = (Queue::bounded(1).unwrap(), Queue::bounded(1).unwrap());
    let echoes = |(from, to): (Queue<u64>, Queue<u64>)| {
        for value in from.iter() {
            to.put(value.unwrap()).unwrap();
        }
    };
    let child = start(echoes, (there.clone(), back.clone()));
    for n in 0..2000 {
        there.put(n).unwrap();
        assert_eq!(back.get(), Ok(n));
    }
    there.close().unwrap();
    child.join().unwrap();
}

/// Where there is room, nobody waits who needs no more than that.
fn batches_and_single_ones_wait_together() {
    for round in 0..20 {
        let queue = Queue::<u32>::bounded(4).unwrap();
        queue.put_many(0..4).unwrap();
        let many = |queue: Queue<u32>| queue.put_many([10, 11]).unwrap();
        let single = |queue: Queue<u32>| queue.put(20).unwrap();
        let first = start(many, queue.clone());
        await_waiters(&queue, 1);
        let second = start(single, queue.clone());
        await_waiters(&queue, 2);
        assert_eq!(queue.get(), Ok(0), "{round}");
        // Room for the single one.
        eventually("the queue is full again", || match queue.is_full() {
            true => Ok(()),
            false => Err(format!("{queue:?}")),
        });
        assert_eq!(take(&queue, 3), [1, 2, 3]);
        let mut rest = take(&queue, 3);
        rest.sort_unstable();
        assert_eq!(rest, [10, 11, 20]);
        first.join().unwrap();
        second.join().unwrap();
    }
}

fn debug_says_what_is_up() {
    let queue = Queue::bounded(9).unwrap();
    queue.put(1).unwrap();
    let text = format!("{queue:?} {:?} {:?}", queue.sender(), queue.receiver());
    for part in [
        "Queue",
        "Sender",
        "Receiver",
        "len: 1",
        "capacity: 9",
        "closed: false",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
