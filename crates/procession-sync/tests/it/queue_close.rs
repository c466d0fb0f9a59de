//! `Queue`: its limits, its end, and who is woken.

use std::thread;
use std::time::Duration;

use procession_sync::{CreateError, GetError, PutError, Queue};
use procession_testkit::{Case, cases};

use crate::queue_close;
use crate::support::{await_waiters, start};

pub(crate) fn cases() -> Vec<Case> {
    cases![queue_close:
        close_wakes_all, close_wakes_whoever_is_about_to_wait, close_leaves_the_rest, iteration,
        timeouts_among_waiters, burst_wakes_all, close_while_used, capacities, as_many_as_can_be,
        all_messages_of_the_capacity_have_room,
    ]
    .into()
}

fn take(queue: &Queue<u32>, count: usize) -> Vec<u32> {
    (0..count).map(|_| queue.get().unwrap()).collect()
}

fn capacities() {
    for wrong in [0, (1 << 20) + 1, usize::MAX] {
        let refused = Queue::<u8>::bounded(wrong);
        assert!(matches!(refused, Err(CreateError::Invalid(_))), "{wrong}");
    }
    let refused = Queue::<u8>::builder().max_bytes(0).build();
    assert!(matches!(refused, Err(CreateError::Invalid(_))));
    for right in [1, 2, 1 << 20] {
        assert_eq!(Queue::<u8>::bounded(right).unwrap().capacity(), right);
    }
    assert_eq!(Queue::<u8>::new().unwrap().capacity(), 1 << 20);
}

fn as_many_as_can_be() {
    let queue = Queue::new().unwrap();
    assert_eq!(queue.put_many((0..1 << 20).map(|_| ())).unwrap(), 1 << 20);
    assert_eq!((queue.len(), queue.is_full()), (1 << 20, true));
    assert!(matches!(queue.try_put(()), Err(PutError::Full(()))));
    queue.get().unwrap();
    queue.put(()).unwrap();
    let mut left = 1 << 20;
    while left > 0 {
        left -= queue.get_many(1 << 20).unwrap().len();
        assert_eq!(queue.len(), left);
    }
}

/// However long they are.
fn all_messages_of_the_capacity_have_room() {
    for len in [0, 7, 100, 8000, 8190, 8191, 30_000] {
        let queue = Queue::bounded(500).unwrap();
        let text = "x".repeat(len);
        (0..500).for_each(|_| queue.try_put(text.clone()).unwrap());
        assert!(matches!(
            queue.try_put(text.clone()),
            Err(PutError::Full(_))
        ));
        assert!(queue.is_full());
        (0..500).for_each(|_| assert!(queue.try_get().unwrap() == text));
    }
}

fn close_wakes_all() {
    let empty = Queue::<u32>::new().unwrap();
    let full = Queue::bounded(1).unwrap();
    full.put(0).unwrap();
    let gets = |queue: Queue<u32>| queue.get() == Err(GetError::Closed);
    let puts = |queue: Queue<u32>| matches!(queue.put(7), Err(PutError::Closed(7)));
    let many = |queue: Queue<u32>| match queue.put_many([7, 8]) {
        Err(PutError::Closed(left)) => left.starts_with(&[7]),
        _ => false,
    };
    thread::scope(|scope| {
        let processes = [0; 3].map(|_| start(gets, empty.clone()));
        let others = [start(puts, full.clone()), start(many, full.clone())];
        let threads = [
            scope.spawn(|| gets(empty.clone())),
            scope.spawn(|| puts(full.clone())),
        ];
        await_waiters(&empty, 4);
        await_waiters(&full, 3);
        empty.close().unwrap();
        start(|queue: Queue<u32>| queue.close().unwrap(), full.clone())
            .join()
            .unwrap();
        let mut ended = processes.into_iter().chain(others);
        assert!(ended.all(|one| one.join().unwrap()));
        assert!(
            threads
                .map(|one| one.join().unwrap())
                .iter()
                .all(|told| *told)
        );
    });
    assert_eq!(full.get(), Ok(0));
    assert_eq!(full.get(), Err(GetError::Closed));
}

/// At about the moment at which it settles down.
fn close_wakes_whoever_is_about_to_wait() {
    for round in 0..3000_u32 {
        let queue = Queue::<u32>::bounded(1).unwrap();
        let putting = round % 2 == 1;
        if putting {
            queue.put(0).unwrap();
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                if putting {
                    assert!(matches!(queue.put(1), Err(PutError::Closed(1))));
                } else {
                    assert_eq!(queue.get(), Err(GetError::Closed));
                }
            });
            procession_testkit::pause(Duration::from_nanos(u64::from(round) * 37 % 90_000));
            queue.close().unwrap();
        });
    }
}

fn close_leaves_the_rest() {
    let queue = Queue::new().unwrap();
    queue.put_many(0..10).unwrap();
    queue.close().unwrap();
    assert_eq!(queue.len(), 10);
    assert_eq!(queue.try_get(), Ok(0));
    let takes = |queue: Queue<u32>| take(&queue, 4);
    assert_eq!(start(takes, queue.clone()).join().unwrap(), [1, 2, 3, 4]);
    assert_eq!(queue.get_many(100).unwrap(), [5, 6, 7, 8, 9]);
    assert_eq!(queue.get_many(100), Err(GetError::Closed));
}

fn iteration() {
    let queue = Queue::<u32>::new().unwrap();
    let child = start(
        |queue: Queue<u32>| queue.iter().map(Result::unwrap).sum::<u32>(),
        queue.clone(),
    );
    (0..100).for_each(|n| queue.put(n).unwrap());
    queue.close().unwrap();
    assert_eq!(child.join().unwrap(), 4950);
}

/// Those that give up take no wake-up with them.
fn timeouts_among_waiters() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    for round in 0..100 {
        thread::scope(|scope| {
            let patient = scope.spawn(|| queue.get().unwrap());
            let hasty = [0; 2].map(|_| {
                let timeout = Duration::from_micros(500 + round * 10);
                let queue = &queue;
                scope.spawn(move || queue.get_timeout(timeout).ok())
            });
            procession_testkit::pause(Duration::from_micros(500 + round * 10));
            queue.put(1).unwrap();
            let taken = hasty.map(|one| one.join().unwrap());
            match taken.iter().flatten().count() {
                0 => {}
                1 => queue.put(2).unwrap(),
                more => panic!("{more} took one message"),
            }
            patient.join().unwrap();
        });
    }
}

/// One wake-up for many messages is enough.
fn burst_wakes_all() {
    let queue = Queue::<u32>::new().unwrap();
    for round in 0..200 {
        thread::scope(|scope| {
            let waiters = [0; 4].map(|_| scope.spawn(|| queue.get().unwrap()));
            procession_testkit::pause(Duration::from_micros(round));
            match round % 2 {
                0 => _ = queue.put_many(0..4).unwrap(),
                _ => (0..4).for_each(|n| queue.put(n).unwrap()),
            }
            let mut found = waiters.map(|one| one.join().unwrap());
            found.sort_unstable();
            assert_eq!(found, [0, 1, 2, 3]);
        });
    }
}

/// What was put before is received, nothing else; nobody stays.
fn close_while_used() {
    for round in 0..30 {
        let queue = Queue::<u32>::bounded(2).unwrap();
        let puts = |queue: Queue<u32>| (0..).find(|n| queue.put(*n).is_err()).unwrap();
        let takes = |queue: Queue<u32>| queue.iter().map(Result::unwrap).collect::<Vec<_>>();
        let producer = start(puts, queue.clone());
        let consumer = start(takes, queue.clone());
        procession_testkit::pause(Duration::from_micros(round * 50));
        queue.close().unwrap();
        let put = producer.join().unwrap();
        assert_eq!(consumer.join().unwrap(), (0..put).collect::<Vec<_>>());
    }
}
