//! Tasks that have to be ended (B15).

use std::hint::spin_loop;
use std::time::Duration;

use procession_bench::{Target, Trial};
use procession_pool::TaskError;

use crate::journal::{Journal, begin, now};
use crate::{WORKERS, pool, square};

const LIMIT: Duration = Duration::from_millis(50);

/// B15. From the end of a task's time, which it begins by itself, to its outcome. All take equally
/// long, so the first outcome is that of the first to begin, and so on.
pub(crate) fn limits(trial: &Trial) {
    let items = trial.size(1_000, 100);
    let journal = Journal::new();
    let pool = pool(WORKERS);
    pool.map(square, 0..1000).expect("all values");
    let numbers = (0..items as u64).map(|item| journal.item(item));
    let outcomes = pool
        .timeout(LIMIT)
        .imap_unordered(endless, numbers)
        .map(|outcome| {
            assert!(
                matches!(outcome, Err(TaskError::TimedOut(_))),
                "{outcome:?}"
            );
            now()
        });
    let ends: Vec<u64> = outcomes.collect();
    let runs = journal.runs();
    assert_eq!((ends.len(), runs.len()), (items, items));
    let late = ends.iter().zip(runs).map(|(&end, run)| {
        let due = run.nanos + LIMIT.as_nanos() as u64;
        (end as f64 - due as f64) / 1e6
    });
    let late: Vec<f64> = late.collect();
    let workload = "endless tasks, outcome after the limit of 50 ms";
    trial.emit_latencies(workload, "ms", &late, &[(99.0, Target::AtMost(5.0))]);
}

fn endless(item: (u32, u64)) {
    begin(item);
    loop {
        spin_loop();
    }
}
