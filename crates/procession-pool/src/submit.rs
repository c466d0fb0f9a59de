//! Submits jobs for which nobody waits yet.

use std::iter;
use std::sync::Arc;

use procession_primitives::{EncodeError, boarding, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::async_result::AsyncResult;
use crate::filling::{Filling, Prepared};
use crate::hub::{Job as _, Waiting};
use crate::job::{Gather, Plan};
use crate::map::Job;
use crate::record::{self, HEADER, Tag};
use crate::retry::Retries;
use crate::stream::RESERVE;
use crate::{PoolError, TaskError, python_chunksize};

/// Encoded bytes at which a chunk is full.
const CHUNK_BYTES: usize = 256 << 10;

/// Submits one item.
pub(crate) fn one<A, R>(job: Job<'_>, item: &A) -> AsyncResult<R>
where
    A: Serialize,
    R: DeserializeOwned + Send + 'static,
{
    let only = |values: Result<Vec<R>, TaskError>| {
        let first = values.map(|mut values| values.pop());
        first.and_then(|value| value.ok_or(TaskError::Protocol))
    };
    let pool = job.pool;
    let gather = match open(job, 1, true, only) {
        Ok(gather) => gather,
        Err(failed) => return failed,
    };
    let submitted = (|| {
        if let Some(index) = pool.try_take_cell(RESERVE) {
            let Some(mut filling) = Filling::new(pool, index, 0) else {
                return Err(EncodeError::Failed("there is no such cell".to_owned()));
            };
            if let Err(error) = filling.add_item(item) {
                drop(filling);
                pool.give_back(index);
                return Err(error);
            }
            let index = filling.finish(gather.terms(), 0, 0);
            pool.submit_for(index, gather.clone());
        } else {
            let prepared = Prepared::one(pool, item)?;
            pool.queue_up(iter::once(Waiting {
                job: gather.clone(),
                prepared,
                first: 0,
                attempt: 0,
                due: None,
            }));
        }
        Ok(())
    })();
    if let Err(error) = submitted {
        gather.complete(pool, Err(TaskError::ItemEncode(Box::new(error))));
    }
    AsyncResult::new(pool, gather)
}

/// Submits many items, in chunks.
pub(crate) fn many<A, R>(job: Job<'_>, items: impl IntoIterator<Item = A>) -> AsyncResult<Vec<R>>
where
    A: Serialize,
    R: DeserializeOwned + Send + 'static,
{
    let pool = job.pool;
    let items = items.into_iter();
    let fixed = job.options.chunksize;
    let mut chunks = Vec::new();
    let mut refused = Vec::new();
    let expected = items.size_hint().0;
    // Nothing has been measured when this is decided: as Python does it.
    let size = fixed.unwrap_or_else(|| python_chunksize(expected, pool.workers()));
    let (size, limit) = (size.max(1), fixed.map_or(CHUNK_BYTES, |_| usize::MAX));
    let mut taken: u64 = 0;
    let mut items = items.fuse().peekable();
    while items.peek().is_some() {
        let first = taken;
        let mut bytes = Vec::new();
        let mut count = 0;
        let mut failed = None;
        let ((), passengers) = boarding(|| {
            while count < size && bytes.len() < limit {
                let Some(item) = items.next() else { break };
                taken += 1;
                let start = bytes.len();
                bytes.extend([0; HEADER]);
                if let Err(error) = encode(&item, &mut bytes) {
                    bytes.truncate(start);
                    failed = Some((taken - 1, error));
                    break;
                }
                let header = record::header(Tag::Value, bytes.len() - start - HEADER);
                bytes[start..start + HEADER].copy_from_slice(&header);
                count += 1;
            }
        });
        if count > 0 {
            match Prepared::from_bytes(pool, bytes, count as u32, &passengers) {
                Ok(prepared) => chunks.push((first, prepared)),
                Err(error) => refused.push((first, count as u32, error)),
            }
        }
        if let Some((item, error)) = failed {
            refused.push((item, 1, error));
        }
    }
    let gather = match open(job, taken, false, |values| values) {
        Ok(gather) => gather,
        Err(failed) => return failed,
    };
    for (first, items, error) in refused {
        let error = TaskError::ItemEncode(Box::new(error));
        gather.fail(first, items, &error);
    }
    pool.queue_up(chunks.into_iter().map(|(first, prepared)| Waiting {
        job: gather.clone(),
        prepared,
        first,
        attempt: 0,
        due: None,
    }));
    // Without items, or with an error.
    gather.settle(pool);
    AsyncResult::new(pool, gather)
}

/// A job for `items` items; a handle of the error if there can be none.
fn open<R, T>(
    job: Job<'_>,
    items: u64,
    is_one: bool,
    finish: fn(Result<Vec<R>, TaskError>) -> Result<T, TaskError>,
) -> Result<Arc<Gather<R, T>>, AsyncResult<T>>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    let (pool, options) = (job.pool, job.options);
    let (retries, fail_fast) = (Retries::new(options), options.fail_fast);
    match job.open() {
        Ok((terms, context)) => {
            // Somebody has to be there when the program does something else.
            pool.keep();
            let plan = Plan {
                terms,
                context,
                items,
                is_one,
                retries,
                fail_fast,
            };
            Ok(Gather::new(pool, plan, finish))
        }
        Err(error) => Err(AsyncResult::new(pool, Gather::failed(error))),
    }
}

/// Why there is no context for a call.
pub(crate) fn refused(error: PoolError) -> TaskError {
    match error {
        PoolError::Argument(error) => TaskError::ItemEncode(Box::new(error)),
        PoolError::OutOfMemory(error) => TaskError::ItemEncode(Box::new(error.into())),
        PoolError::Function(error) => error,
        _ => TaskError::Closed,
    }
}
