//! What the chunk size does to the time per item, for tiny, medium and uneven items.
//!
//! Items go to the workers in chunks. What one sees in the table:
//!
//! - *Tiny* items, one by one: nearly all of the time is for handing them over, some microseconds
//!   each. From a hundred or so per chunk on, that is shared by so many that it is gone.
//! - *Medium* items cost the same in any chunk, until there are too few chunks for all workers: the
//!   last one works alone.
//! - *Uneven* items, here twenty long ones in a row among two thousand short ones, are what large
//!   chunks are bad at: one worker has all of the long ones in its hands, the others have nothing to
//!   do. Python's default makes four chunks per worker, whatever they are of.
//! - *Adaptive* is what a call does that says nothing: it begins with one item, measures, grows to
//!   about a millisecond of work, and shrinks towards the end. It is nowhere the best by much, and
//!   nowhere bad.
//!
//! The floor is the work itself, shared by all workers without any cost.
//!
//! `cargo run --release -p procession-pool --example chunksize_study [WORKERS]`

use std::env;
use std::hint;
use std::time::{Duration, Instant};

use procession_pool::{Pool, Result, cpu_count, init, python_chunksize};

/// Each time is the best of so many.
const RUNS: u32 = 3;

/// Runs in a worker: works for `nanos` nanoseconds, or a little longer.
fn work(nanos: u64) -> u64 {
    let begun = Instant::now();
    while nanos > 0 && begun.elapsed() < Duration::from_nanos(nanos) {
        hint::spin_loop();
    }
    nanos
}

/// Microseconds per item.
fn measure(pool: &Pool, chunksize: Option<usize>, items: &[u64]) -> Result<f64> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let items = items.iter().copied();
        let start = Instant::now();
        let values = match chunksize {
            Some(size) => pool.chunksize(size).map(work, items)?,
            None => pool.map(work, items)?,
        };
        best = best.min(start.elapsed());
        drop(values);
    }
    Ok(best.as_secs_f64() * 1e6 / items.len() as f64)
}

fn main() -> Result<()> {
    init();
    let workers = env::args()
        .nth(1)
        .map_or(Ok(cpu_count().get()), |count| count.parse())?;
    let pool = Pool::with_workers(workers)?;
    pool.map(work, 0..100)?; // all workers are there now

    let uneven = |n: u64| {
        if (700..720).contains(&n) {
            2_000_000
        } else {
            5_000
        }
    };
    let kinds: [(&str, Vec<u64>); 3] = [
        ("tiny", vec![0; 10_000]),
        ("medium", vec![50_000; 2_000]),
        ("uneven", (0..2_000).map(uneven).collect()),
    ];

    println!("microseconds per item, {workers} workers, best of {RUNS}");
    println!(
        "{:<22}{:>9}{:>9}{:>9}",
        "chunk size", kinds[0].0, kinds[1].0, kinds[2].0
    );
    let row = |name: &str, cells: [f64; 3]| {
        let [tiny, medium, uneven] = cells;
        println!("{name:<22}{tiny:>9.2}{medium:>9.2}{uneven:>9.2}");
    };
    let measured = |size: &dyn Fn(usize) -> Option<usize>| -> Result<[f64; 3]> {
        let mut cells = [0.0; 3];
        for (cell, (_, items)) in cells.iter_mut().zip(&kinds) {
            *cell = measure(&pool, size(items.len()), items)?;
        }
        Ok(cells)
    };
    for size in [1, 10, 100, 1000] {
        row(&size.to_string(), measured(&|_| Some(size))?);
    }
    let python = |items| Some(python_chunksize(items, workers));
    let sizes = kinds
        .each_ref()
        .map(|(_, items)| python(items.len()).unwrap_or_default());
    row(&format!("Python's: {sizes:?}"), measured(&python)?);
    let adaptive = measured(&|_| None)?;
    row("adaptive", adaptive);
    let floor = kinds.each_ref().map(|(_, items)| {
        let nanos = items.iter().sum::<u64>() as f64;
        nanos / 1e3 / (items.len() * workers) as f64
    });
    row("floor", floor);
    Ok(())
}
