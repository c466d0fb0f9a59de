//! The typed jobs of `apply_async` and `map_async`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use procession_primitives::decode;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::TaskError;
use crate::collect::{AllOrFirstError, Receive};
use crate::promise::Promise;
use crate::raw::{Done, Slot};

/// A job that a handle stands for.
pub(crate) trait Handled<T>: Done {
    fn promise(&self) -> &Promise<T>;
}

/// What the values of a job become.
pub(crate) type Finish<R, T> = fn(Result<Vec<R>, TaskError>) -> Result<T, TaskError>;

/// Tasks whose values become one outcome.
pub(crate) struct Gather<R, T> {
    slot: Slot,
    /// Until it is finished.
    values: Mutex<Option<AllOrFirstError<R>>>,
    finish: Finish<R, T>,
    promise: Promise<T>,
}

impl<R, T> Gather<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    /// For `items` items.
    pub(crate) fn new(items: u64, finish: Finish<R, T>) -> Arc<Self> {
        let expected = usize::try_from(items).unwrap_or(0);
        Arc::new(Gather {
            slot: Slot::default(),
            values: Mutex::new(Some(AllOrFirstError::new(expected))),
            finish,
            promise: Promise::default(),
        })
    }
}

impl<T: Send + 'static> Gather<(), T> {
    /// A job that has failed before it began.
    pub(crate) fn failed(error: TaskError) -> Arc<Self> {
        let failed = Self::new(0, |_| Err(TaskError::Closed));
        failed.slot.end();
        failed.promise.complete(Err(error));
        failed
    }
}

impl<R, T> Done for Gather<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    fn slot(&self) -> &Slot {
        &self.slot
    }

    fn take(&self, outcomes: &mut dyn Iterator<Item = (u64, Result<&[u8], TaskError>)>) {
        // The user's code, so without the lock.
        let decoded: SmallVec<[_; 1]> = outcomes
            .map(|(item, outcome)| {
                let decoded = outcome.and_then(|bytes| {
                    decode::<R>(bytes).map_err(|error| TaskError::ValueDecode(Box::new(error)))
                });
                (item, decoded)
            })
            .collect();
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(values) = values.as_mut() else {
            return;
        };
        let mut next = None;
        for (item, outcome) in decoded {
            if next != Some(item) {
                if next.is_some() {
                    values.end();
                }
                values.begin(item);
            }
            values.push(item, outcome);
            next = Some(item + 1);
        }
        if next.is_some() {
            values.end();
        }
    }

    fn finish(&self, _spent: Duration) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = values.take();
        drop(values);
        if let Some(values) = taken {
            self.promise.complete((self.finish)(values.finish(Ok(()))));
        }
    }

    fn cancelled(&self) {
        self.promise.complete(Err(TaskError::Cancelled));
    }
}

impl<R, T> Handled<T> for Gather<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    fn promise(&self) -> &Promise<T> {
        &self.promise
    }
}
