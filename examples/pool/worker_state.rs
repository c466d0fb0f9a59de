//! What workers keep from item to item: connections, tables, and random numbers that repeat.
//!
//! An [`initializer`] runs in each worker before its first item, also in one that takes the place of
//! a dead one. What it opens it leaves in a static; the [`finalizer`] closes it when the worker
//! leaves in good order. Here it is a buffered file per worker. Statics are never dropped: without
//! the finalizer the last lines would be lost.
//!
//! [`map_init`] needs no static: the state is made in each worker that takes part, and lasts for one
//! call. And a task's [`seed`] depends on the item alone: random numbers are the same with any
//! number of workers.
//!
//! `cargo run --release -p procession-pool --example worker_state`
//!
//! [`initializer`]: procession_pool::PoolBuilder::initializer
//! [`finalizer`]: procession_pool::PoolBuilder::finalizer
//! [`map_init`]: procession_pool::View::map_init
//! [`seed`]: procession_pool::CurrentTask::seed

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process;
use std::sync::{Mutex, OnceLock};

use procession_pool::{Pool, Result, current_task, init, worker_index};

/// The journal of this worker.
static JOURNAL: OnceLock<Mutex<BufWriter<File>>> = OnceLock::new();

/// Runs in each worker, before its first item. An error makes the pool try again with another one.
fn open_journal(folder: PathBuf) -> io::Result<()> {
    let index = worker_index().unwrap_or_default();
    let name = format!("worker-{index}-{}.log", process::id());
    let journal = BufWriter::new(File::create(folder.join(name))?);
    JOURNAL.get_or_init(|| Mutex::new(journal));
    Ok(())
}

fn with_journal<R>(write: impl FnOnce(&mut BufWriter<File>) -> io::Result<R>) -> io::Result<R> {
    let journal = JOURNAL.get().ok_or(io::ErrorKind::NotConnected)?;
    let mut journal = journal.lock().map_err(|_| io::ErrorKind::Other)?;
    write(&mut journal)
}

/// Runs in each worker that leaves in good order.
fn close_journal() -> io::Result<()> {
    with_journal(Write::flush)
}

/// Runs in a worker, with what its initialiser has opened.
fn note(item: u32) -> Result<usize, String> {
    let index = worker_index().unwrap_or_default();
    with_journal(|journal| writeln!(journal, "item {item}"))
        .map(|()| index)
        .map_err(|error| error.to_string())
}

/// State of one call: the primes below 100 000, which take a while.
fn sieve() -> Vec<bool> {
    let mut primes = vec![true; 100_000];
    primes[..2].fill(false);
    for n in 2..317 {
        if primes[n] {
            (n * n..primes.len())
                .step_by(n)
                .for_each(|multiple| primes[multiple] = false);
        }
    }
    primes
}

/// Runs in a worker: throws darts at a square, and counts those that hit the circle in it.
fn throw_darts(darts: u32) -> u32 {
    let seed = current_task().map_or(0, |task| task.seed());
    let mut random = fastrand::Rng::with_seed(seed);
    let hits = (0..darts).filter(|_| random.f64().hypot(random.f64()) < 1.0);
    hits.count() as u32
}

fn main() -> Result<()> {
    init();
    let folder = tempfile::tempdir()?; // removed at the end
    let pool = Pool::builder()
        .workers(3)
        .initializer(open_journal, folder.path().to_owned())
        .finalizer(close_journal)
        .build()?;

    let mut items = [0; 3];
    for worker in pool.map(note, 0..300)? {
        items[worker?] += 1;
    }
    println!("items per worker: {items:?}");

    let primes = pool.map_init(sieve, |primes, n: usize| primes[n], 0..1000)?;
    let count = primes.iter().filter(|prime| **prime).count();
    println!("primes below 1000: {count}");
    assert_eq!(count, 168);

    let pi = |pool: &Pool, seed: u64| -> Result<f64> {
        let hits: u32 = pool.seed(seed).map(throw_darts, [1000; 200])?.iter().sum();
        Ok(4.0 * f64::from(hits) / 200_000.0)
    };
    let alone = Pool::with_workers(1)?;
    let (three, one, other) = (pi(&pool, 1)?, pi(&alone, 1)?, pi(&alone, 2)?);
    println!("pi with seed 1: {three} with three workers, {one} with one; with seed 2: {other}");
    assert!(three == one && one != other);

    // The workers leave: each one runs the finalizer first.
    pool.close();
    pool.join()?;
    let mut lines = 0;
    for entry in fs::read_dir(folder.path())? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let count = fs::read_to_string(path)?.lines().count();
        println!("{}: {count} lines", name.to_string_lossy());
        lines += count;
    }
    assert_eq!(lines, 300);
    Ok(())
}
