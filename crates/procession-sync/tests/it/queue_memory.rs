//! `Queue`: limits in bytes, handles in messages, and what becomes of memory.

use procession_sync::{Array, Lock, PutError, Queue, Receiver, Sender};
use procession_testkit::{Case, cases, eventually, heap_is_back, heap_units};

use crate::queue_memory;
use crate::support::{await_objects, await_waiters, family, kill, start};

pub(crate) fn cases() -> Vec<Case> {
    cases![queue_memory:
        bytes_are_limited, longer_than_all_bytes, longest_message, never_received,
        never_received_by_the_dead, thousands_of_queues, memory_follows_the_messages,
        wrong_types_are_refused, larger_than_the_ring, handles_as_only_reference,
    ]
    .into()
}

fn larger_than_the_ring() {
    let before = heap_units();
    let queue = Queue::bounded(2).unwrap();
    let many = |queue: Queue<String>| {
        for len in [100_000, 1 << 20, 100 << 20] {
            queue.put("z".repeat(len)).unwrap();
        }
    };
    let child = start(many, queue.clone());
    for len in [100_000, 1 << 20, 100 << 20] {
        let found = queue.get().unwrap();
        assert_eq!(found.len(), len);
        assert!(found.bytes().all(|byte| byte == b'z'));
    }
    child.join().unwrap();
    drop(queue);
    heap_is_back("all blocks are freed", before);
}

fn bytes_are_limited() {
    const LIMIT: usize = 1 << 20;
    let queue = Queue::builder().max_bytes(LIMIT as u64).build().unwrap();
    let before = heap_units();
    let puts = |queue: Queue<String>| (0..60).for_each(|_| queue.put("x".repeat(100_000)).unwrap());
    let child = start(puts, queue.clone());
    for _ in 0..40 {
        assert_eq!(queue.get().unwrap().len(), 100_000);
        assert!(queue.len() <= 10, "{}", queue.len());
    }
    // Not only that it waits: it may have been woken by the last `get`, and not have put yet.
    eventually("the producer fills it", || match queue.len() {
        10 => Ok(()),
        len => Err(len.to_string()),
    });
    await_waiters(&queue, 1);
    assert_eq!((queue.len(), queue.is_full()), (10, false));
    assert!(matches!(
        queue.try_put("y".repeat(100_000)),
        Err(PutError::Full(_))
    ));
    // Ten messages, one in the producer's hands, and what is in its arguments.
    let most = 12 * 2 + 4;
    let used = heap_units() - before;
    assert!(used <= most, "{used} units, at most {most}");
    (0..20).for_each(|_| _ = queue.get().unwrap());
    child.join().unwrap();
    // Short ones, too.
    let queue = Queue::builder().max_bytes(1000).build().unwrap();
    let mut count = 0;
    while queue.try_put([7_u8; 32]).is_ok() {
        count += 1;
    }
    assert!((15..=32).contains(&count), "{count} messages of 32 bytes");
}

fn longer_than_all_bytes() {
    let queue = Queue::builder().max_bytes(1000).build().unwrap();
    let long = "x".repeat(20_000);
    queue.put(long.clone()).unwrap();
    assert!(queue.is_full());
    assert!(matches!(
        queue.try_put(String::new()),
        Err(PutError::Full(_))
    ));
    assert!(queue.get().unwrap() == long);
    queue.put(String::new()).unwrap();
    assert!(matches!(
        queue.try_put(long.clone()),
        Err(PutError::Full(_))
    ));
    let puts = |(queue, long): (Queue<String>, String)| queue.put(long).unwrap();
    let child = start(puts, (queue.clone(), long.clone()));
    await_waiters(&queue, 1);
    assert_eq!(queue.get().unwrap(), "");
    assert!(queue.get().unwrap() == long);
    child.join().unwrap();
}

fn longest_message() {
    for limit in [1, 7, 8, 9, 10, 100, 127, 8190, 8192, 8193, 20_001] {
        let queue = Queue::builder().max_message(limit).build().unwrap();
        // The length takes a byte or more of it.
        let fits = (0..=limit as usize).rev().find(|len| {
            let size = len + [1, 2, 3][usize::from(*len > 127) + usize::from(*len > 16_383)];
            size <= limit as usize
        });
        let fits = fits.unwrap();
        queue.put("x".repeat(fits)).unwrap();
        let long = "x".repeat(fits + 1);
        match queue.put(long.clone()) {
            Err(PutError::TooLarge(back)) => assert_eq!(back.len(), fits + 1),
            other => panic!("{other:?}: {} bytes, the limit is {limit}", fits + 1),
        }
        match queue.put_many(["".to_owned(), long]) {
            Err(PutError::TooLarge(back)) => assert_eq!(back.len(), 1),
            other => panic!("{other:?}"),
        }
        assert_eq!(queue.len(), 2, "limit {limit}");
    }
}

type Package = (Lock, Queue<u32>, Option<Array<u64>>);

fn handles_as_only_reference() {
    let (units, objects) = (heap_units(), family().object_count());
    let (there, from) = Queue::<Package>::new().unwrap().split();
    let (to, back) = Queue::<Package>::new().unwrap().split();
    let passes_on = |(from, to): (Receiver<Package>, Sender<Package>)| {
        for package in from.iter() {
            let (lock, inner, array) = package.unwrap();
            drop(lock.acquire().unwrap());
            inner.put(inner.get().unwrap() + 1).unwrap();
            if let Some(array) = &array {
                array.lock().unwrap()[0] += 1;
            }
            to.put((lock, inner, array)).unwrap();
        }
    };
    let child = start(passes_on, (from, to));
    for n in 0..30 {
        let inner = Queue::bounded(3).unwrap();
        inner.put(n).unwrap();
        let array = (n % 2 == 0).then(|| Array::from_slice(&[u64::from(n); 2000]).unwrap());
        there.put((Lock::new().unwrap(), inner, array)).unwrap();
    }
    for n in 0..30 {
        let (lock, inner, array) = back.get().unwrap();
        drop(lock.acquire().unwrap());
        assert_eq!(inner.get(), Ok(n + 1));
        if let Some(array) = array {
            assert_eq!(array.lock().unwrap()[..2], [u64::from(n) + 1, u64::from(n)]);
        }
    }
    drop(there);
    child.join().unwrap();
    drop(back);
    await_objects("all are freed", objects);
    heap_is_back("all are freed", units);
}

fn never_received() {
    let (units, objects) = (heap_units(), family().object_count());
    let outer = Queue::new().unwrap();
    for n in 0..20 {
        let inner = Queue::new().unwrap();
        inner
            .put(("y".repeat(n * 1000), Some(Lock::new().unwrap())))
            .unwrap();
        outer.put(("x".repeat(n * 1000), inner)).unwrap();
    }
    assert!(heap_units() > units && family().object_count() > objects + 20);
    drop(outer);
    await_objects("queues and locks in messages are freed", objects);
    heap_is_back("messages are freed", units);
}

fn never_received_by_the_dead() {
    let (units, objects) = (heap_units(), family().object_count());
    for _ in 0..5 {
        let fills = |go: u32| {
            let queue = Queue::new().unwrap();
            for n in 0..10 {
                let inner = Queue::<u32>::new().unwrap();
                queue.put(("x".repeat(n * 2000), inner)).unwrap();
            }
            crate::support::report_and_hang(go);
        };
        let go = crate::support::word();
        let child = start(fills, go);
        procession_testkit::ledger::wait(go);
        kill(&child);
    }
    await_objects("all are freed", objects);
    heap_is_back("all are freed", units);
}

fn thousands_of_queues() {
    let (units, objects) = (heap_units(), family().object_count());
    let mut peak = 0;
    for n in 0..5000_usize {
        let queue = Queue::bounded(1 + n % 50).unwrap();
        queue.put(n).unwrap();
        if n % 100 == 0 {
            let takes = |queue: Queue<usize>| queue.get().unwrap();
            assert_eq!(start(takes, queue.clone()).join().unwrap(), n);
        }
        peak = peak.max(heap_units() - units);
    }
    // A ring of 64 KiB, and what belongs to a process.
    assert!(peak < 200, "{peak} units at once");
    await_objects("all are freed", objects);
    heap_is_back("all are freed", units);
    // Many at once.
    let all: Vec<_> = (0..1000)
        .map(|_| Queue::<u8>::bounded(1).unwrap())
        .collect();
    assert_eq!(family().object_count(), objects + 3000);
    drop(all);
    await_objects("all are freed", objects);
    heap_is_back("all are freed", units);
}

fn memory_follows_the_messages() {
    let queue = Queue::new().unwrap();
    let empty = heap_units();
    for _ in 0..3 {
        (0..50).for_each(|_| queue.put("x".repeat(50_000)).unwrap());
        assert!(heap_units() - empty >= 50 * 50_000 / 65_536);
        while queue.try_get().is_ok() {}
        heap_is_back("an empty queue keeps no blocks", empty);
    }
}

/// A handle does not turn into one of another sort on its way.
fn wrong_types_are_refused() {
    let numbers = Queue::<u32>::new().unwrap();
    let carrier = Queue::<Queue<u32>>::new().unwrap();
    carrier.put(numbers.clone()).unwrap();
    assert!(carrier.get().unwrap() == numbers);
    let encoded = postcard::to_allocvec(&numbers).unwrap();
    assert!(postcard::from_bytes::<Queue<u32>>(&encoded).is_ok());
    assert!(postcard::from_bytes::<Queue<String>>(&encoded).is_err());
    // The first two of its three objects.
    assert!(postcard::from_bytes::<Receiver<u32>>(&encoded).is_err());
    assert!(postcard::from_bytes::<Sender<u32>>(&encoded).is_ok());
    let encoded = postcard::to_allocvec(&numbers.receiver()).unwrap();
    assert!(postcard::from_bytes::<Sender<u32>>(&encoded).is_err());
    assert!(postcard::from_bytes::<Queue<u32>>(&encoded).is_err());
}
