//! Outcomes that are not there yet: callbacks, waiting with a limit, cancel, kill, and `await`.
//!
//! `apply_async` and `map_async` come back at once with an [`AsyncResult`]. It has one outcome, in
//! whatever way the task ends, and can be asked for it, waited for, or awaited: by any runtime, or,
//! as here, by a function of ten lines.
//!
//! `cargo run --release -p procession-pool --example async_results`
//!
//! [`AsyncResult`]: procession_pool::AsyncResult

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use procession_pool::{Pool, Result, TaskError, init};

/// Runs in a worker.
fn square(n: u64) -> u64 {
    assert!(n != 13, "not with {n}");
    n * n
}

/// Runs in a worker: never ends by itself.
fn hang(_: ()) {
    loop {
        thread::park();
    }
}

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread: what a runtime does for many.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// The sum of squares, some of them of squares: tasks that wait for others take no worker meanwhile.
async fn sum(pool: &Pool) -> Result<u64, TaskError> {
    let all = pool.map_async(square, 0..10);
    let inner = pool.apply_async(square, 3);
    let outer = pool.apply_async(square, inner.await?);
    Ok(all.await?.iter().sum::<u64>() + outer.await?)
}

fn main() -> Result<()> {
    init();
    let pool = Pool::with_workers(2)?;

    // Callbacks run on the thread that finds out first; this one sends what it is told.
    let (sender, told) = mpsc::channel();
    let failures = sender.clone();
    let many = pool
        .map_async(square, 0..1000)
        .on_error(move |error| drop(failures.send(error.to_string())));
    let few = pool
        .map_async(square, 0..10)
        .on_done(move |values| drop(sender.send(format!("{} squares", values.len()))));
    println!(
        "all are submitted; is the first one ready? {}",
        many.ready()
    );
    for line in told {
        println!("told: {line}"); // the channel ends when both callbacks have run
    }
    assert!(matches!(many.get(), Err(TaskError::Panicked(_))));
    assert_eq!(few.get()?[9], 81);

    // Both workers hang: what waits behind them can be taken back, they themselves be killed.
    let mut hanging = pool.apply_async(hang, ());
    let other = pool.apply_async(hang, ());
    while pool
        .stats()
        .workers
        .iter()
        .any(|worker| worker.item.is_none())
    {
        assert!(hanging.get_timeout(Duration::from_millis(10)).is_none());
    }
    let behind = pool.apply_async(square, 4);
    assert!(!other.cancel()); // it is running
    assert!(behind.cancel());
    println!("taken back: {:?}", behind.get());
    let start = Instant::now();
    assert!(hanging.kill() && other.kill());
    println!(
        "killed: {:?}, {:?}, in {:.1?}",
        hanging.get(),
        other.get(),
        start.elapsed()
    );

    // New workers are there, and a future of this program is made of theirs.
    let sum = block_on(sum(&pool))?;
    println!("awaited: {sum}");
    assert_eq!(sum, 285 + 81);

    // When the pool goes, whatever it still owes has an outcome, too.
    let orphan = pool.apply_async(hang, ());
    drop(pool);
    let outcome = orphan.get();
    println!("after the pool: {outcome:?}");
    assert!(matches!(
        outcome,
        Err(TaskError::WorkerDied(_) | TaskError::Closed)
    ));
    Ok(())
}
