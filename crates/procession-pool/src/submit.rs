//! Submits jobs for which nobody waits yet.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::async_result::AsyncResult;
use crate::filling::Prepared;
use crate::hub::{self, Waiting};
use crate::inner::Inner;
use crate::job::Gather;
use crate::map::Job;
use crate::raw::{Deal, Done, Items};
use crate::{PoolError, TaskError, python_chunksize};

/// Encoded bytes at which a chunk is full.
const CHUNK_BYTES: usize = 256 << 10;

/// Submits one item.
pub(crate) fn one<A, R>(job: Job<'_>, item: &A) -> AsyncResult<R>
where
    A: Serialize,
    R: DeserializeOwned + Send + 'static,
{
    let pool = job.pool;
    let deal = match open(job) {
        Ok(deal) => deal,
        Err(error) => return AsyncResult::new(pool, Gather::failed(error)),
    };
    let mut items = Items::new();
    if let Err(error) = items.push(item) {
        let error = TaskError::ItemEncode(Box::new(error));
        return AsyncResult::new(pool, Gather::failed(error));
    }
    let gather = Gather::new(1, |values: Result<Vec<R>, TaskError>| {
        values.and_then(|mut values| values.pop().ok_or(TaskError::Protocol))
    });
    pool.begin(deal, &*gather, 1, true);
    pool.place(gather.clone(), Prepared::new(items));
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
        let mut chunk = Items::new();
        while chunk.len() < size && chunk.bytes().len() < limit {
            let Some(item) = items.next() else { break };
            taken += 1;
            if let Err(error) = chunk.push(&item) {
                refused.push((taken - 1, error));
                break;
            }
        }
        if !chunk.is_empty() {
            chunks.push((first, Prepared::new(chunk)));
        }
    }
    let deal = match open(job) {
        Ok(deal) => deal,
        Err(error) => return AsyncResult::new(pool, Gather::failed(error)),
    };
    let gather = Gather::new(taken, |values| values);
    pool.begin(deal, &*gather, taken, false);
    for (item, error) in refused {
        hub::Job::fail(&*gather, item, 1, &TaskError::ItemEncode(Box::new(error)));
    }
    pool.queue_up(chunks.into_iter().map(|(first, prepared)| Waiting {
        job: gather.clone(),
        prepared,
        first,
        attempt: 0,
        due: None,
    }));
    // Without items, or with an error.
    hub::Job::settle(&*gather, pool);
    AsyncResult::new(pool, gather)
}

/// What the tasks of a call have in common.
fn open(job: Job<'_>) -> Result<Arc<Deal>, TaskError> {
    let options = job.options.clone();
    let (terms, context) = job.open()?;
    Ok(Arc::new(Deal::new(terms, options, context)))
}

impl Inner {
    /// Begins a job: it has an outcome to come.
    pub(crate) fn begin(
        self: &Arc<Self>,
        deal: Arc<Deal>,
        done: &dyn Done,
        items: u64,
        is_one: bool,
    ) {
        // Somebody has to be there when the program does something else.
        self.keep();
        self.hub.begin();
        let limit = deal.limit();
        if limit > 0 && self.crew.time(limit, false) {
            self.nudge();
        }
        if done.slot().open(deal, items, is_one) {
            self.watch();
        }
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
