//! Futures of an executor with one worker process: what the caller spends on one.

use std::hint::black_box;

use procession_executor::{Executor, Future, ProcessPoolExecutor, as_completed};

use crate::pool::{Gate, gate, hold};
use crate::{Path, square, stepped};

pub(crate) const PATHS: [Path; 3] = [
    Path {
        name: "submit",
        repetitions: 40,
        run: submit,
    },
    Path {
        name: "result",
        repetitions: 40,
        run: result,
    },
    Path {
        name: "as_completed",
        repetitions: 160,
        run: completed,
    },
];

/// An executor whose only worker waits at the gate.
fn held() -> (ProcessPoolExecutor, Gate, Future<()>) {
    let executor = ProcessPoolExecutor::with_workers(1).expect("an executor starts");
    let gate = gate();
    let held = executor.submit(hold, gate.clone());
    gate.0.wait();
    stepped::settle();
    (executor, gate, held)
}

/// So many futures, whose tasks are done, and what has to be kept beside them: nobody is told of
/// what came of them before somebody asks.
fn done(futures: u64) -> (Vec<Future<u64>>, impl Sized) {
    let (executor, (_, go), held) = held();
    let futures = (0..futures).map(|n| executor.submit(square, n));
    let futures = futures.collect();
    let gate = gate();
    let last = executor.submit(hold, gate.clone());
    stepped::settle();
    go.set();
    gate.0.wait();
    (futures, (executor, held, last))
}

fn submit(repetitions: u64) {
    let (executor, _gate, _held) = held();
    let mut futures = Vec::with_capacity(repetitions as usize);
    stepped::begin();
    for n in 0..repetitions {
        futures.push(executor.submit(square, black_box(n)));
    }
    stepped::end();
}

/// With what it takes to hear of the outcome.
fn result(repetitions: u64) {
    let (futures, _kept) = done(repetitions);
    stepped::begin();
    for future in futures {
        black_box(future.result().expect("a value"));
    }
    stepped::end();
}

/// Without what it takes to hear of the outcomes: the pool's keeper may do that.
fn completed(repetitions: u64) {
    let (futures, _kept) = done(repetitions);
    for future in &futures {
        future.wait();
    }
    stepped::begin();
    for future in as_completed(futures) {
        black_box(future.result().expect("a value"));
    }
    stepped::end();
}
