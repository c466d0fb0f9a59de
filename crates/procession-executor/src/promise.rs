//! An outcome that is not there yet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use procession_pool::TaskError;
use procession_pool::raw::{Done, Slot};
use procession_primitives::{catch, decode};
use serde::de::DeserializeOwned;

use crate::base::{Base, Complete};
use crate::callback;
use crate::completions::Completions;
use crate::listeners::{Callback, Listener, Listeners};

/// Makes a value of its bytes.
pub(crate) type Decode<T> = fn(&[u8]) -> Result<T, TaskError>;

/// The usual one.
pub(crate) fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TaskError> {
    decode(bytes).map_err(|error| TaskError::ValueDecode(Box::new(error)))
}

/// Drops what is the user's: that may panic.
pub(crate) fn discard<T>(value: T) {
    let _ = catch(|| drop(value));
}

/// The one outcome of a task, and who waits for it.
///
/// While a callback looks at the outcome it is [absent](Outcome::Absent), also from a promise that is
/// done, where a callback came late.
pub(crate) struct Promise<T> {
    base: Base,
    decode: Decode<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    outcome: Outcome<T>,
    listeners: Listeners<T>,
}

enum Outcome<T> {
    /// Not there yet, or with a callback.
    Absent,
    Here(Result<T, TaskError>),
    /// Handed out.
    Taken,
}

impl<T> Promise<T> {
    pub(crate) fn new(decode: Decode<T>, base: Base) -> Promise<T> {
        let state = State {
            outcome: Outcome::Absent,
            listeners: Listeners::None,
        };
        Promise {
            base,
            decode,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `outcome` its outcome, unless that is decided.
    pub(crate) fn settle(&self, outcome: Result<T, TaskError>) {
        if self.base.decide(outcome.as_ref().err()) {
            self.conclude(outcome);
        } else {
            discard(outcome);
        }
    }

    /// Makes `outcome` its outcome, for whoever has decided it: callbacks first, then whoever waits.
    ///
    /// Also puts back an outcome that was taken out for callbacks that came late.
    pub(crate) fn conclude(&self, outcome: Result<T, TaskError>) {
        let mut state = self.lock();
        loop {
            let callbacks = state.listeners.take_callbacks();
            if callbacks.is_empty() {
                break;
            }
            drop(state);
            for callback in callbacks {
                callback::call(self.base.id(), || callback(&outcome));
            }
            state = self.lock();
        }
        state.outcome = Outcome::Here(outcome);
        let listeners = std::mem::replace(&mut state.listeners, Listeners::None);
        // Under the lock: whoever is not among the listeners any more sees that it is done.
        let is_first = self.base.finish();
        drop(state);
        if is_first {
            self.base.leave();
        }
        listeners.tell();
    }

    /// Whether the outcome can be had now: it is there and no callback looks at it.
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.lock().outcome, Outcome::Absent)
    }

    /// Takes the outcome; `None` if it is not there now.
    pub(crate) fn take(&self) -> Option<Result<T, TaskError>> {
        let mut state = self.lock();
        if matches!(state.outcome, Outcome::Absent) {
            return None;
        }
        match std::mem::replace(&mut state.outcome, Outcome::Taken) {
            Outcome::Here(outcome) => Some(outcome),
            Outcome::Absent | Outcome::Taken => Some(Err(TaskError::Taken)),
        }
    }

    /// The error, or that there is a value; `None` if the outcome is not there now.
    pub(crate) fn error(&self) -> Option<Option<TaskError>> {
        match &self.lock().outcome {
            Outcome::Absent => None,
            Outcome::Here(outcome) => Some(outcome.as_ref().err().cloned()),
            Outcome::Taken if self.base.is_cancelled() => Some(Some(TaskError::Cancelled)),
            Outcome::Taken => Some(self.base.has_failed().then_some(TaskError::Taken)),
        }
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Result<T, TaskError>> {
        if let Some(outcome) = self.take() {
            return Poll::Ready(outcome);
        }
        let waker = context.waker().clone();
        let mut state = self.lock();
        let before = match state.outcome {
            Outcome::Absent => state.listeners.set_poll(waker),
            _ => Some(waker),
        };
        drop(state);
        drop(before);
        // Between the two it may have come.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Tells `set` of `number` when it is done, or now.
    pub(crate) fn join(&self, set: &Arc<Completions>, number: u32) {
        let mut state = self.lock();
        // While the lock is held nobody takes the listeners out.
        if matches!(state.outcome, Outcome::Absent) && !self.base.is_done() {
            let member = Listener::Member(Arc::clone(set), number);
            state.listeners.push(member);
        } else {
            drop(state);
            set.push(number);
        }
    }

    /// Calls `callback` when it is done, or now.
    pub(crate) fn on_done(&self, callback: Callback<T>) {
        let mut state = self.lock();
        match std::mem::replace(&mut state.outcome, Outcome::Absent) {
            // Whoever is about to conclude looks again after each callback.
            Outcome::Absent => state.listeners.push(Listener::Callback(callback)),
            Outcome::Taken => {
                state.outcome = Outcome::Taken;
                drop(state);
                callback::call(self.base.id(), || callback(&Err(TaskError::Taken)));
            }
            Outcome::Here(outcome) => {
                state.listeners.push(Listener::Callback(callback));
                drop(state);
                self.conclude(outcome);
            }
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        // Nobody has wanted the value, and whose thread this is has nothing to do with it.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        discard(std::mem::replace(&mut state.outcome, Outcome::Taken));
    }
}

impl<T: Send + 'static> Complete for Promise<T> {
    fn base(&self) -> &Base {
        &self.base
    }

    fn item(&self, item: u32, outcome: Result<&[u8], TaskError>) {
        if item == 0 && !self.base.is_decided() {
            self.settle(outcome.and_then(self.decode));
        }
    }

    fn end(&self, _spent: Option<Duration>) {
        self.settle(Err(TaskError::Protocol));
    }

    fn conclude_with(&self, error: TaskError) {
        self.conclude(Err(error));
    }

    fn register(&self, waker: Waker) {
        let mut state = self.lock();
        if matches!(state.outcome, Outcome::Absent) {
            state.listeners.push(Listener::Waiter(waker));
        }
    }

    fn forget(&self, waker: &Waker) {
        let removed = self.lock().listeners.remove(waker);
        drop(removed);
    }
}

impl<T: Send + 'static> Done for Promise<T> {
    fn slot(&self) -> &Slot {
        self.base.slot()
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
        self.settle(Err(TaskError::Cancelled));
    }
}

#[cfg(test)]
mod tests;
