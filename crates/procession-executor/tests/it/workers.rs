//! Executors of processes, and all of their workers at once.

use procession_executor::{Executor, ProcessPoolExecutor};
use procession_testkit::ledger;

pub(crate) fn with_workers(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::with_workers(workers).unwrap()
}

/// Lets each worker run something: what a worker has for itself, all have from then on.
pub(crate) fn warm_up(executor: &ProcessPoolExecutor) {
    let count = executor.pool().workers() as u32;
    let word = ledger::reserve(1);
    let meet = |(word, count): (u32, u32)| {
        ledger::note(word);
        ledger::wait_for(word, count);
    };
    let items = (0..count).map(|_| (word, count));
    let met: Result<Vec<()>, _> = executor.chunksize(1).map(meet, items).collect();
    met.unwrap();
}

/// What a task does that says which process it is, and waits to be let go or killed.
pub(crate) fn hold((word, gate): (u32, u32)) -> u32 {
    ledger::set(word, std::process::id());
    ledger::wait(gate);
    word
}
