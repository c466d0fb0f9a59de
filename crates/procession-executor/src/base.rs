//! What is known of a promise, whatever the type of its value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use procession_pool::TaskError;
use procession_pool::raw::{Done, Slot};

use crate::backend::Backend;
use crate::limit::Limit;
use crate::{callback, park};

/// Its function runs.
const RUNNING: u8 = 1;
/// It will not run: an outcome follows that says so.
const REVOKED: u8 = 2;
/// Its outcome is decided, and its callbacks run: no other outcome counts.
const DECIDED: u8 = 4;
/// The outcome is there.
const DONE: u8 = 8;
/// The outcome is an error, other than that it was cancelled.
const FAILED: u8 = 16;
/// The outcome is that it was cancelled.
const CANCELLED: u8 = 32;
/// The back-end was asked to watch it.
const WATCHED: u8 = 64;

/// The part of a promise that has no type.
///
/// Its stage is a set of flags, none of which is ever taken back:
///
/// | flag | set by | not after |
/// |---|---|---|
/// | `RUNNING` | whoever is about to run it | `REVOKED`, `DECIDED` |
/// | `REVOKED` | whoever takes it back before it runs | `RUNNING`, `DECIDED` |
/// | `DECIDED`, with `FAILED` or `CANCELLED` | whoever has its outcome first | `DECIDED` |
/// | `DONE` | the same, when the callbacks are over | |
/// | `WATCHED` | the first who wants to be told | |
#[derive(Debug)]
pub(crate) struct Base {
    id: u64,
    slot: Slot,
    stage: AtomicU8,
    /// Where it runs.
    backend: Option<Arc<dyn Backend>>,
    /// Where it counts as long as it has no outcome.
    limit: Option<Arc<Limit>>,
}

impl Base {
    pub(crate) fn new(backend: Option<Arc<dyn Backend>>, limit: Option<Arc<Limit>>) -> Base {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Base {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            slot: Slot::default(),
            stage: AtomicU8::new(0),
            backend,
            limit,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    pub(crate) fn backend(&self) -> Option<&Arc<dyn Backend>> {
        self.backend.as_ref()
    }

    fn has(&self, flags: u8) -> bool {
        self.stage.load(Ordering::Relaxed) & flags != 0
    }

    /// Adds `flags` unless there is one of `unless`. Whether it did.
    fn set(&self, flags: u8, unless: u8) -> bool {
        let add = |stage| (stage & unless == 0).then_some(stage | flags);
        // Relaxed: it decides who goes on, and hands over nothing.
        let stage = &self.stage;
        stage
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    pub(crate) fn is_done(&self) -> bool {
        // Acquire: whoever sees it sees what the callbacks have done.
        self.stage.load(Ordering::Acquire) & DONE != 0
    }

    pub(crate) fn is_decided(&self) -> bool {
        self.has(DECIDED)
    }

    /// Whether it need not run: it has its outcome, or will not run anyway.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.has(DECIDED | REVOKED)
    }

    pub(crate) fn has_started(&self) -> bool {
        self.has(RUNNING)
    }

    /// Whether its outcome is, or will be at once, that it was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.has(CANCELLED | REVOKED)
    }

    /// Whether its outcome is an error, other than that it was cancelled.
    pub(crate) fn has_failed(&self) -> bool {
        self.has(FAILED)
    }

    /// Says that it runs. False if it is not to be run.
    pub(crate) fn start(&self) -> bool {
        self.set(RUNNING, REVOKED | DECIDED)
    }

    /// Takes it back. False if it runs, or has its outcome.
    pub(crate) fn revoke(&self) -> bool {
        self.set(REVOKED, RUNNING | REVOKED | DECIDED)
    }

    /// Decides its outcome: what is told later does not count. False if it was decided before.
    pub(crate) fn decide(&self, error: Option<&TaskError>) -> bool {
        let kind = match error {
            None => 0,
            Some(TaskError::Cancelled) => CANCELLED,
            Some(_) => FAILED,
        };
        self.set(DECIDED | kind, DECIDED)
    }

    /// Says that the outcome is there. False if that was said before.
    pub(crate) fn finish(&self) -> bool {
        // Release: pairs with `is_done`.
        self.stage.fetch_or(DONE, Ordering::Release) & DONE == 0
    }

    /// Gives its place to another one. Once, after [`finish`](Self::finish).
    pub(crate) fn leave(&self) {
        if let Some(limit) = &self.limit {
            limit.give_back();
        }
    }

    /// Whether nobody has asked the back-end to watch it so far.
    pub(crate) fn watch(&self) -> bool {
        self.set(WATCHED, WATCHED | DECIDED)
    }
}

/// A promise, whatever the type of its value.
pub(crate) trait Complete: Done {
    fn base(&self) -> &Base;

    /// This item has this outcome.
    fn item(&self, item: u32, outcome: Result<&[u8], TaskError>);

    /// All items have been told of; those that were not get [`TaskError::Protocol`].
    fn end(&self, spent: Option<Duration>);

    /// Gives all items that have no outcome this one. Only for whoever has decided it.
    fn conclude_with(&self, error: TaskError);

    /// Has `waker` woken when it is done.
    fn register(&self, waker: Waker);

    /// Takes a waker out again.
    fn forget(&self, waker: &Waker);
}

impl dyn Complete {
    /// Gives all items that have no outcome this one. False if it was decided before.
    pub(crate) fn end_with(&self, error: TaskError) -> bool {
        let first = self.base().decide(Some(&error));
        if first {
            self.conclude_with(error);
        }
        first
    }

    /// Waits until it is done. False if `deadline` passes first, or this is one of its callbacks.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let base = self.base();
        if base.is_done() {
            return true;
        }
        if callback::is_of(base.id()) {
            return false;
        }
        let mut own: Option<Waker> = None;
        let mut register = |waker: Waker| {
            if own.as_ref().is_none_or(|own| !own.will_wake(&waker)) {
                if let Some(before) = own.replace(waker.clone()) {
                    self.forget(&before);
                }
                self.register(waker);
            }
        };
        let done = || base.is_done();
        let is_done = match base.backend() {
            Some(backend) => backend.wait(&mut register, deadline, &done),
            None => park::until(&mut register, deadline, &done),
        };
        if let Some(own) = own.filter(|_| !is_done) {
            self.forget(&own);
        }
        is_done
    }
}
