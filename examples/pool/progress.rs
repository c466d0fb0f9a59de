//! A progress bar over the work of a pool, with failures and replaced workers in its message.
//!
//! [`imap_unordered`] knows how many outcomes will come, as far as its items do, so a bar that wraps
//! iterators just wraps it. What the message tells comes from the outcomes, and from [`stats`].
//!
//! Where the error output is no terminal there is no bar, but a line now and then.
//!
//! `cargo run --release -p procession-pool --example progress`
//!
//! [`imap_unordered`]: procession_pool::View::imap_unordered
//! [`stats`]: procession_pool::Pool::stats

use std::process;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressIterator, ProgressStyle};
use procession_pool::{Pool, Result, TaskError, init};

const ITEMS: u32 = 2000;

/// Runs in a worker: the steps that a number takes to 1, a thousand times over; with two bugs.
fn steps(start: u32) -> u32 {
    match start {
        n if n % 500 == 7 => process::abort(),
        n if n % 250 == 8 => panic!("{n} is not for me"),
        _ => {}
    }
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < Duration::from_micros(500) {
        let mut number = u64::from(start) + 1;
        count = 0;
        while number != 1 {
            number = if number % 2 == 0 {
                number / 2
            } else {
                3 * number + 1
            };
            count += 1;
        }
    }
    count
}

fn main() -> Result<()> {
    init();
    let pool = Pool::new()?;
    let outcomes = pool.imap_unordered(steps, 0..ITEMS);

    let bar = ProgressBar::new(outcomes.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len}, {eta} left {msg}",
    )?);
    let (mut longest, mut panics, mut deaths) = (0, 0, 0);
    for (done, outcome) in (1..).zip(outcomes.progress_with(bar.clone())) {
        match outcome {
            Ok(steps) => longest = steps.max(longest),
            Err(TaskError::Panicked(_)) => panics += 1,
            Err(TaskError::WorkerDied(_)) => deaths += 1,
            Err(error) => return Err(error.into()),
        }
        if done % 100 == 0 {
            let restarts = pool.stats().restarts;
            bar.set_message(format!("({panics} panics, {restarts} workers replaced)"));
        }
        if bar.is_hidden() && done % 400 == 0 {
            println!("{done} of {ITEMS} {}", bar.message());
        }
    }

    let stats = pool.stats();
    let (half, most) = (stats.run_time.quantile(0.5), stats.run_time.quantile(1.0));
    println!("longest way to 1: {longest} steps; {panics} panics, {deaths} deaths");
    println!("half of the items took {half:.1?} or less, all of them {most:.1?} or less");
    for worker in &stats.workers {
        let share = worker.working.as_secs_f64() / (worker.working + worker.waiting).as_secs_f64();
        let (index, starts, items) = (worker.index, worker.starts, worker.items);
        println!(
            "place {index}: {starts} workers; the last one {items} items, busy {:.0} %",
            100.0 * share
        );
    }
    assert_eq!((panics, deaths, stats.restarts), (8, 4, 4));
    Ok(())
}
