//! One task for each worker.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::call::{Call, Collected};
use crate::filling::Filling;
use crate::map::{Job, One};
use crate::outcome::outcomes;
use crate::settle::NO_RING;

/// Runs a function with `argument` in each worker.
pub(crate) fn run<A, R>(job: Job<'_>, argument: &A) -> Vec<Result<R, TaskError>>
where
    A: Serialize,
    R: DeserializeOwned,
{
    let pool = job.pool;
    // A worker has room for one letter.
    let _one_at_a_time = pool.letters();
    let _active = pool.active();
    let workers = pool.shared.target();
    let mut results: Vec<_> = (0..workers).map(|_| Err(TaskError::Closed)).collect();
    if let Err(error) = send(job, argument, &mut results) {
        for result in &mut results {
            if let Err(TaskError::Closed) = result {
                *result = Err(error.clone());
            }
        }
    }
    for index in 0..workers {
        // Of workers that are no more.
        if let Some(line) = pool.shared.worker(index) {
            line.letter.store(0, Ordering::Relaxed);
        }
    }
    results
}

fn send<A, R>(
    job: Job<'_>,
    argument: &A,
    results: &mut [Result<R, TaskError>],
) -> Result<(), TaskError>
where
    A: Serialize,
    R: DeserializeOwned,
{
    let pool = job.pool;
    let (terms, context) = job.open()?;
    let terms = terms.in_ring(NO_RING);
    let mut call = Call::new(pool, pool.take_cell()?, &terms, context);
    let mut submit = |worker: usize| -> Result<(), TaskError> {
        let index = pool.take_cell()?;
        let Some(mut filling) = Filling::new(pool, index, 0) else {
            return Err(TaskError::Closed);
        };
        if let Err(error) = filling.add_item(argument) {
            drop(filling);
            pool.give_back(index);
            return Err(TaskError::ItemEncode(Box::new(error)));
        }
        let index = filling.finish(&terms, worker as u64, 0);
        call.post(pool, index, worker as u32);
        Ok(())
    };
    let mut sent = 0;
    let mut ended = Ok(());
    for worker in 0..results.len() {
        ended = submit(worker);
        if ended.is_err() {
            break;
        }
        sent += 1;
    }
    while sent > 0 {
        let index = match call.next(pool, Duration::ZERO, None) {
            Ok(Some(index)) => index,
            Ok(None) => continue,
            Err(error) => {
                ended = Err(error);
                break;
            }
        };
        if let Some(collected) = Collected::read(pool, index) {
            let slot = results.get_mut(collected.first as usize);
            let mut one = One(None);
            outcomes(&collected, &mut one);
            if let (Some(slot), Some(outcome)) = (slot, one.0) {
                *slot = outcome;
            }
        }
        pool.recycle(index);
        sent -= 1;
    }
    call.end(pool);
    ended
}
