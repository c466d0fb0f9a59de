//! The outcomes of a task of several items.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use procession_pool::TaskError;
use procession_pool::raw::{Done, Slot};

use crate::base::{Base, Complete};
use crate::promise::{Decode, Promise, discard};

/// One outcome per item.
pub(crate) type Outcomes<R> = Vec<Result<R, TaskError>>;

/// Collects the outcomes of its items; it is done when all are there.
pub(crate) struct Chunk<R> {
    promise: Promise<Outcomes<R>>,
    decode: Decode<R>,
    /// Those that are there. Empty when they have been handed on.
    parts: Mutex<Vec<Option<Result<R, TaskError>>>>,
    /// Nanoseconds that the functions took, if that is known.
    spent: AtomicU64,
}

/// Not known.
const UNKNOWN: u64 = u64::MAX;

impl<R> Chunk<R> {
    pub(crate) fn new(items: usize, decode: Decode<R>, base: Base) -> Chunk<R> {
        let mut parts = Vec::new();
        parts.resize_with(items, || None);
        Chunk {
            promise: Promise::new(|_| Err(TaskError::Protocol), base),
            decode,
            parts: Mutex::new(parts),
            spent: AtomicU64::new(UNKNOWN),
        }
    }

    pub(crate) fn promise(&self) -> &Promise<Outcomes<R>> {
        &self.promise
    }

    /// How long the functions took, if that is known.
    pub(crate) fn spent(&self) -> Option<Duration> {
        let spent = self.spent.load(Ordering::Relaxed);
        (spent != UNKNOWN).then(|| Duration::from_nanos(spent))
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Option<Result<R, TaskError>>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what is there, and `error` for the rest.
    fn conclude(&self, error: &TaskError) {
        let parts = std::mem::take(&mut *self.parts());
        let outcomes = parts.into_iter();
        let outcomes = outcomes.map(|outcome| outcome.unwrap_or_else(|| Err(error.clone())));
        self.promise.conclude(Ok(outcomes.collect()));
    }
}

impl<R> Drop for Chunk<R> {
    fn drop(&mut self) {
        // As of a promise.
        discard(std::mem::take(&mut *self.parts()));
    }
}

impl<R: Send + 'static> Complete for Chunk<R> {
    fn base(&self) -> &Base {
        self.promise.base()
    }

    fn item(&self, item: u32, outcome: Result<&[u8], TaskError>) {
        if self.base().is_decided() {
            return;
        }
        // The user's code, so without the lock.
        let outcome = outcome.and_then(self.decode);
        let mut parts = self.parts();
        let late = match parts.get_mut(item as usize) {
            Some(part) if part.is_none() => part.replace(outcome),
            _ => Some(outcome),
        };
        drop(parts);
        discard(late);
    }

    fn end(&self, spent: Option<Duration>) {
        if let Some(spent) = spent {
            let nanos = u64::try_from(spent.as_nanos()).unwrap_or(UNKNOWN);
            self.spent.store(nanos, Ordering::Relaxed);
        }
        if self.base().decide(None) {
            self.conclude(&TaskError::Protocol);
        }
    }

    fn conclude_with(&self, error: TaskError) {
        self.conclude(&error);
    }

    fn register(&self, waker: Waker) {
        self.promise.register(waker);
    }

    fn forget(&self, waker: &Waker) {
        self.promise.forget(waker);
    }
}

impl<R: Send + 'static> Done for Chunk<R> {
    fn slot(&self) -> &Slot {
        self.base().slot()
    }

    fn take(&self, outcomes: &mut dyn Iterator<Item = (u64, Result<&[u8], TaskError>)>) {
        for (item, outcome) in outcomes {
            if let Ok(item) = u32::try_from(item) {
                Complete::item(self, item, outcome);
            }
        }
    }

    fn finish(&self, spent: Duration) {
        self.end(Some(spent));
    }

    fn cancelled(&self) {
        let this: &(dyn Complete + 'static) = self;
        this.end_with(TaskError::Cancelled);
    }
}
