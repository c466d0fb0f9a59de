//! Awaiting takes no runtime: a `block_on` of twenty lines does.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use procession_executor::{Executor, ProcessPoolExecutor, Result, TaskError, init};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

async fn sum_of_squares(executor: &ProcessPoolExecutor) -> Result<u64, TaskError> {
    let squares: Vec<_> = (1..=10u64).map(|n| executor.submit(|n| n * n, n)).collect();
    let mut sum = 0;
    for square in squares {
        sum += square.await?;
    }
    Ok(sum)
}

fn main() -> Result<()> {
    init();
    let executor = ProcessPoolExecutor::new()?;
    println!("{}", block_on(sum_of_squares(&executor))?);
    Ok(())
}
