//! What the chunk size does to the time per item, for tiny, even and growing items.
//!
//! Items go to the workers in chunks. What one sees in the table:
//!
//! - *Tiny* items, one by one: all of the time is for handing them over. From ten or so per chunk on
//!   that is shared by so many that hardly anything is left of it.
//! - *Even* items cost the same in any chunk, as long as there are chunks for all workers: with 100
//!   of 400 items each worker has just one, with 1000 one worker has them all.
//! - *Growing* items, as numbers that are ever harder to factor, are what large chunks are bad at:
//!   whoever has the last one is still busy when the others have nothing to do. Python's default,
//!   four chunks per worker, pays for it, too.
//! - *Adaptive* is a call that says nothing: it begins with one item, measures, grows to about a
//!   millisecond of work per chunk, and shrinks towards the end. It need not be told which of the
//!   columns it is in.
//!
//! The floor is the time of the items alone, shared by all workers. The items sleep, as if they
//! waited for a disk: so the table looks alike on a busy machine, and with more workers than CPUs.
//!
//! `cargo run --release -p procession-pool --example chunksize_study [WORKERS]`

use std::time::{Duration, Instant};
use std::{env, thread};

use procession_pool::{Pool, Result, init, python_chunksize};

/// Each time is the best of so many.
const RUNS: u32 = 2;

type Items = Vec<Duration>;

/// Runs in a worker.
fn work(time: Duration) {
    if !time.is_zero() {
        thread::sleep(time);
    }
}

/// Microseconds per item of a call with `items`; adaptive without a chunk size.
fn measure(pool: &Pool, chunksize: Option<usize>, items: &Items) -> Result<f64> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let items = items.iter().copied();
        let start = Instant::now();
        match chunksize {
            Some(size) => pool.chunksize(size).map(work, items)?,
            None => pool.map(work, items)?,
        };
        best = best.min(start.elapsed());
    }
    Ok(best.as_secs_f64() * 1e6 / items.len() as f64)
}

/// Microseconds per item of `workers` workers that nothing but the items keeps busy.
fn floor(workers: usize, items: &Items) -> f64 {
    let start = Instant::now();
    items.iter().copied().for_each(work);
    start.elapsed().as_secs_f64() * 1e6 / (items.len() * workers) as f64
}

fn main() -> Result<()> {
    init();
    let workers = env::args().nth(1).map_or(Ok(4), |count| count.parse())?;
    let pool = Pool::with_workers(workers)?;
    let _ = pool.broadcast(work, &Duration::ZERO); // all workers are there now

    let growing = |n: u32| Duration::from_micros(1600) * n.pow(3) / 400_u32.pow(3);
    let columns: [Items; 3] = [
        vec![Duration::ZERO; 10_000],
        vec![Duration::from_micros(300); 400],
        (0..400).map(growing).collect(),
    ];
    println!("microseconds per item, {workers} workers, best of {RUNS}");
    println!(
        "{:<24}{:>10}{:>10}{:>10}",
        "chunk size", "tiny", "even", "growing"
    );
    let row = |name: &str, cell: &dyn Fn(&Items) -> Result<f64>| -> Result<()> {
        print!("{name:<24}");
        for items in &columns {
            print!("{:>10.2}", cell(items)?);
        }
        println!();
        Ok(())
    };
    for size in [1, 10, 100, 1000] {
        row(&size.to_string(), &|items| {
            measure(&pool, Some(size), items)
        })?;
    }
    let python = |items: &Items| python_chunksize(items.len(), workers);
    let sizes = columns.each_ref().map(python);
    row(&format!("Python's: {sizes:?}"), &|items| {
        measure(&pool, Some(python(items)), items)
    })?;
    row("adaptive", &|items| measure(&pool, None, items))?;
    row("floor", &|items| Ok(floor(workers, items)))
}
