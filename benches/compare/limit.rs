//! Tasks that have to be ended (B15).

use std::hint::spin_loop;
use std::ops::Range;
use std::time::Duration;

use procession_bench::{Target, Trial};
use procession_pool::{TaskError, View};

use crate::journal::{Journal, begin, now};
use crate::{WORKERS, pool, square};

const LIMIT: Duration = Duration::from_millis(50);

/// B15.
pub(crate) fn limits(trial: &Trial) {
    let items = trial.size(1_000, 100);
    let journal = Journal::new();
    let pool = pool(WORKERS);
    pool.map(square, 0..1000).expect("all values");
    let limited = pool.timeout(LIMIT);
    let workload = "endless tasks, outcome after the limit of 50 ms";
    for (what, view, items) in [
        (workload.to_owned(), &limited, 0..items),
        (
            format!("{workload}, chunksize 1"),
            &limited.chunksize(1),
            items..2 * items,
        ),
    ] {
        let late = late(view, &journal, items);
        trial.emit_latencies(&what, "ms", &late, &[(99.0, Target::AtMost(5.0))]);
    }
}

/// Milliseconds from the end of each task's time, which it begins by itself, to its outcome. All
/// take equally long, so the first outcome is that of the first to begin, and so on.
fn late(view: &View, journal: &Journal, items: Range<u64>) -> Vec<f64> {
    let numbers = items.clone().map(|item| journal.item(item));
    let outcomes = view.imap_unordered(endless, numbers).map(|outcome| {
        assert!(
            matches!(outcome, Err(TaskError::TimedOut(_))),
            "{outcome:?}"
        );
        now()
    });
    let ends: Vec<u64> = outcomes.collect();
    let mut runs = journal.runs();
    runs.retain(|run| items.contains(&run.item));
    assert_eq!(
        (ends.len(), runs.len()),
        (items.clone().count(), items.count())
    );
    let pairs = ends.into_iter().zip(runs);
    let nanos = pairs.map(|(end, run)| end as f64 - (run.nanos as f64 + LIMIT.as_nanos() as f64));
    nanos.map(|nanos| nanos / 1e6).collect()
}

fn endless(item: (u32, u64)) {
    begin(item);
    loop {
        spin_loop();
    }
}
