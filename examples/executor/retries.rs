//! A service that fails now and then: tried again, with a pause that doubles each time.

use std::time::Duration;

use procession_executor::{Executor, ProcessPoolExecutor, Result, TaskError, current_task, init};

/// Crashes, panics, and then works.
fn flaky(order: u32) -> String {
    match current_task().map_or(0, |task| task.attempt()) {
        0 => std::process::exit(17),
        1 => panic!("order {order} was not understood"),
        attempt => format!("order {order} went through with attempt {attempt}"),
    }
}

fn main() -> Result<()> {
    init();
    let executor = ProcessPoolExecutor::builder().workers(2).build()?;
    let patient = executor.retries(5).backoff(Duration::from_millis(20));
    let orders: Vec<_> = (1..=3).map(|order| patient.submit(flaky, order)).collect();
    for order in orders {
        println!("{}", order.result()?);
    }

    // Where only a crash is worth another attempt, the panic is the outcome.
    let picky = patient.retry_if(|error| matches!(error, TaskError::WorkerDied(_)));
    match picky.submit(flaky, 4).result() {
        Err(TaskError::Panicked(panic)) => println!("given up: {}", panic.message()),
        other => println!("{other:?}"),
    }
    Ok(())
}
