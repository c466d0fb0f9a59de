//! Outcomes in the order in which they come: `as_completed`, of tasks of which one crashes and one is
//! killed since it takes too long.

use std::process;
use std::thread;
use std::time::Duration;

use procession_executor::{Executor, ProcessPoolExecutor, Result, TaskError, as_completed, init};

fn nap(millis: u64) -> u64 {
    if millis == 60 {
        process::abort();
    }
    thread::sleep(Duration::from_millis(millis));
    millis
}

fn main() -> Result<()> {
    init();
    let executor = ProcessPoolExecutor::builder().workers(4).build()?;
    let impatient = executor.timeout(Duration::from_millis(250));
    let futures = [200, 30, 120, 60, 60_000, 90].map(|millis| impatient.submit(nap, millis));
    for future in as_completed(futures) {
        match future.result() {
            Ok(millis) => println!("slept for {millis} ms"),
            Err(TaskError::WorkerDied(death)) => println!("crashed: signal {:?}", death.signal()),
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}
