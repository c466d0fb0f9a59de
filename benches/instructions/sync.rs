//! Locks and queues, used by one process alone.

use std::hint::black_box;

use procession_sync::{Lock, Mutex, Queue};

use crate::{Path, stepped};

/// Messages of a batch.
const BATCH: u64 = 64;

pub(crate) const PATHS: [Path; 5] = [
    Path {
        name: "lock",
        repetitions: 200,
        run: lock,
    },
    Path {
        name: "mutex",
        repetitions: 200,
        run: mutex,
    },
    Path {
        name: "queue_put",
        repetitions: 40,
        run: put,
    },
    Path {
        name: "queue_put_get",
        repetitions: 40,
        run: put_get,
    },
    Path {
        name: "queue_put_get_many",
        repetitions: 128,
        run: put_get_many,
    },
];

fn lock(repetitions: u64) {
    let lock = Lock::new().expect("a lock");
    stepped::begin();
    for _ in 0..repetitions {
        drop(black_box(&lock).acquire().expect("nobody else wants it"));
    }
    stepped::end();
}

fn mutex(repetitions: u64) {
    let mutex = Mutex::new(0_u64).expect("a mutex");
    stepped::begin();
    for n in 0..repetitions {
        *black_box(&mutex).lock().expect("nobody else wants it") = n;
    }
    stepped::end();
}

fn put(repetitions: u64) {
    let queue = Queue::bounded(1 << 16).expect("a queue");
    stepped::begin();
    for n in 0..repetitions {
        queue.put(black_box(n)).expect("there is room");
    }
    stepped::end();
}

fn put_get(repetitions: u64) {
    let queue = Queue::bounded(1024).expect("a queue");
    stepped::begin();
    for n in 0..repetitions {
        queue.put(black_box(n)).expect("there is room");
        black_box(queue.get().expect("a message"));
    }
    stepped::end();
}

fn put_get_many(repetitions: u64) {
    let queue = Queue::bounded(1024).expect("a queue");
    stepped::begin();
    let mut left = repetitions;
    while left > 0 {
        let batch = left.min(BATCH);
        queue.put_many(black_box(0..batch)).expect("there is room");
        let messages = queue.get_many(BATCH as usize).expect("messages");
        left -= black_box(messages).len() as u64;
    }
    stepped::end();
}
