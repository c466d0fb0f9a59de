//! Futures in an async program: awaited, with a time-out, and cancelled when they are dropped.

use std::thread;
use std::time::Duration;

use procession_executor::{Executor, ProcessPoolExecutor, Result, init};

fn nap(millis: u64) -> u64 {
    thread::sleep(Duration::from_millis(millis));
    millis
}

fn main() -> Result<()> {
    init();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<()> {
    let executor = ProcessPoolExecutor::builder().workers(2).build()?;
    let (long, short) = tokio::join!(executor.submit(nap, 60), executor.submit(nap, 30));
    println!("slept for {} ms and for {} ms", long?, short?);

    // Dropped before it is done, the future has its worker killed, which is replaced.
    let endless = executor.submit(nap, 3_600_000).kill_on_drop();
    tokio::select! {
        outcome = endless => println!("an hour later: {outcome:?}"),
        () = tokio::time::sleep(Duration::from_millis(100)) => println!("not waited for"),
    }
    println!("the next one: {} ms", executor.submit(nap, 10).await?);
    Ok(())
}
