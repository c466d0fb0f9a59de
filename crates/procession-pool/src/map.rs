//! Calls in which the calling thread waits for all outcomes: over many items, and of one.

use std::panic;
use std::sync::Arc;

use procession_primitives::Block;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::call::{Call, Collected, SPIN};
use crate::collect::Receive;
use crate::filling::{Filling, NO_CALL, Terms};
use crate::inner::Inner;
use crate::options::Options;
use crate::outcome::outcomes;
use crate::run::Code;
use crate::stream::Map;

/// What a call runs, and how.
pub(crate) struct Job<'a> {
    pub(crate) pool: &'a Arc<Inner>,
    pub(crate) options: &'a Options,
    pub(crate) code: Result<Code, TaskError>,
    pub(crate) context: Result<Option<(Block, usize)>, TaskError>,
}

impl Job<'_> {
    /// The terms of its tasks, and the context, which the caller keeps as long as there are any.
    pub(crate) fn open(self) -> Result<(Terms, Option<(Block, usize)>), TaskError> {
        let (code, context) = (self.code?, self.context?);
        self.pool.check_open()?;
        self.pool.crew.rally(&self.pool.shared);
        let number = self.pool.number();
        let terms = Terms::new(code, number, context.as_ref(), self.options);
        Ok((terms, context))
    }
}

/// Runs a function on each of `items` and hands the outcomes to `receive`, in any order.
///
/// Returns how many items were taken. On an error, and where the first failure stopped the call, some
/// of them have no outcome.
pub(crate) fn run<A, R, I>(
    job: Job<'_>,
    items: &mut I,
    receive: &mut impl Receive<R>,
) -> Result<u64, (TaskError, u64)>
where
    A: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = A>,
{
    #[cfg(feature = "tracing")]
    let _span = tracing::debug_span!("pool call", items = items.size_hint().0).entered();
    let pool = Arc::clone(job.pool);
    let _active = pool.active();
    let mut map = Map::open(job, || Some(items)).map_err(|error| (error, 0))?;
    loop {
        map.feed(receive).map_err(|error| (error, map.next))?;
        if let Some(payload) = map.panicked.take() {
            // The caller's iterator: his panic. The call ends on the way out.
            panic::resume_unwind(payload);
        }
        if map.is_over() {
            return match map.interrupted {
                true => Err((TaskError::Cancelled, map.next)),
                false => Ok(map.next),
            };
        }
        map.collect_some(None, receive)
            .map_err(|error| (error, map.next))?;
    }
}

/// Runs a function on one item.
pub(crate) fn apply<A, R>(job: Job<'_>, item: &A) -> Result<R, TaskError>
where
    A: Serialize,
    R: DeserializeOwned,
{
    let pool = job.pool;
    if job.options.retries > 0 || job.options.crash_limit.is_some() {
        let mut one = One(None);
        run(job, &mut std::iter::once(item), &mut one).map_err(|(error, _)| error)?;
        return one.0.unwrap_or(Err(TaskError::Protocol));
    }
    let code = job.code?;
    pool.check_open()?;
    if pool.crew.looks_deserted() {
        pool.crew.rally(&pool.shared);
    }
    let terms = Terms::new(code, NO_CALL, None, job.options);
    let _active = pool.active();
    let index = pool.take_cell()?;
    // One cell is task and mailbox.
    let mut call = Call::new(pool, index, &terms, None);
    let outcome = apply_in(pool, &terms, &mut call, index, item);
    call.end(pool);
    outcome
}

fn apply_in<A: Serialize, R: DeserializeOwned>(
    pool: &Inner,
    terms: &Terms,
    call: &mut Call,
    index: u32,
    item: &A,
) -> Result<R, TaskError> {
    let mut filling = Filling::new(pool, index, 0).ok_or(TaskError::Closed)?;
    let added = filling.add_item(item);
    added.map_err(|error| TaskError::ItemEncode(Box::new(error)))?;
    let index = filling.finish(terms, 0, 0);
    call.submit(pool, index);
    let index = call.next(pool, SPIN, None)?.ok_or(TaskError::Protocol)?;
    let collected = Collected::read(pool, index).ok_or(TaskError::Protocol)?;
    let mut one = One(None);
    outcomes(&collected, &mut one);
    one.0.unwrap_or(Err(TaskError::Protocol))
}

/// The outcome of a call with one item.
pub(crate) struct One<R>(pub(crate) Option<Result<R, TaskError>>);

impl<R> Receive<R> for One<R> {
    fn begin(&mut self, _first: u64) {}

    fn push(&mut self, _item: u64, outcome: Result<R, TaskError>) {
        self.0.get_or_insert(outcome);
    }

    fn end(&mut self) {}
}
