//! A pool with one worker: the worker's part of a task, and the caller's.

use std::hint::black_box;
use std::thread;

use procession_pool::{AsyncResult, Pool};
use procession_sync::Event;

use crate::{Path, square, stepped};

/// Items of a chunk.
const CHUNK: usize = 500;

pub(crate) const PATHS: [Path; 5] = [
    Path {
        name: "worker_task",
        repetitions: 40,
        run: worker_task,
    },
    Path {
        name: "worker_item_of_chunk",
        repetitions: 1_000,
        run: worker_item,
    },
    Path {
        name: "apply_async",
        repetitions: 40,
        run: apply_async,
    },
    Path {
        name: "async_result_get",
        repetitions: 40,
        run: get,
    },
    Path {
        name: "map_item",
        repetitions: 4 * CHUNK as u64,
        run: map,
    },
];

/// Where a worker is held: it is there, it may go on.
pub(crate) type Gate = (Event, Event);

pub(crate) fn gate() -> Gate {
    let event = || Event::new().expect("an event");
    (event(), event())
}

/// A task that holds its worker.
pub(crate) fn hold((there, go): Gate) {
    there.set();
    go.wait();
}

/// A pool whose only worker waits at the gate.
fn held() -> (Pool, Gate, AsyncResult<()>) {
    let pool = Pool::with_workers(1).expect("a pool starts");
    let gate = gate();
    let held = pool.apply_async(hold, gate.clone());
    gate.0.wait();
    stepped::settle();
    (pool, gate, held)
}

/// A task that ends its worker.
fn end(_: ()) {
    stepped::end();
}

/// Steps the worker through what is submitted while it is held.
fn in_worker<R>(submit: impl FnOnce(&Pool) -> R) {
    let (pool, (_, go), held) = held();
    let tracer = stepped::other(pool.worker_pids()[0]);
    let begin = pool.apply_async(procession_testkit::sweep::begin, tracer);
    let submitted = submit(&pool);
    let end = pool.apply_async(end, ());
    stepped::settle();
    go.set();
    stepped::wait();
    drop((held, begin, submitted, end));
}

fn worker_task(repetitions: u64) {
    in_worker(|pool| {
        let results = (0..repetitions).map(|n| pool.apply_async(square, n));
        results.collect::<Vec<_>>()
    });
}

fn worker_item(repetitions: u64) {
    in_worker(|pool| {
        let one_chunk = pool.chunksize(repetitions as usize);
        // It waits for the values.
        let map = thread::spawn(move || one_chunk.map(square, 0..repetitions));
        while pool.stats().queued < repetitions {
            thread::yield_now();
        }
        map
    });
}

fn apply_async(repetitions: u64) {
    let (pool, _gate, _held) = held();
    let mut results = Vec::with_capacity(repetitions as usize);
    stepped::begin();
    for n in 0..repetitions {
        results.push(pool.apply_async(square, black_box(n)));
    }
    stepped::end();
}

/// All are done before the first is asked for, and nobody has heard of it.
fn get(repetitions: u64) {
    let (pool, (_, go), _held) = held();
    let results = (0..repetitions).map(|n| pool.apply_async(square, n));
    let results: Vec<_> = results.collect();
    let last = gate();
    let _last = pool.apply_async(hold, last.clone());
    stepped::settle();
    go.set();
    last.0.wait();
    stepped::begin();
    for result in results {
        black_box(result.get().expect("a value"));
    }
    stepped::end();
}

fn map(repetitions: u64) {
    let pool = Pool::with_workers(1).expect("a pool starts");
    let chunks = pool.chunksize(CHUNK);
    stepped::begin();
    black_box(chunks.map(square, 0..black_box(repetitions))).expect("all values");
    stepped::end();
}
