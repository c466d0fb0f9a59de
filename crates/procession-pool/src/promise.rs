//! An outcome that is not there yet.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use procession_primitives::catch;

use crate::TaskError;
use crate::hub::Waiter;

type Callback<T> = Box<dyn FnOnce(&Result<T, TaskError>) + Send>;

thread_local! {
    /// Callbacks that run on this thread.
    static CALLBACKS: Cell<u32> = const { Cell::new(0) };
}

/// Whether this is a callback.
pub(crate) fn in_callback() -> bool {
    CALLBACKS.get() > 0
}

fn call<T>(callback: Callback<T>, outcome: &Result<T, TaskError>) {
    CALLBACKS.set(CALLBACKS.get() + 1);
    let _ = catch(|| callback(outcome));
    CALLBACKS.set(CALLBACKS.get() - 1);
}

/// The one outcome of a job, and who waits for it.
pub(crate) struct Promise<T> {
    state: Mutex<State<T>>,
    done: AtomicBool,
    cancelled: AtomicBool,
}

struct State<T> {
    outcome: Option<Result<T, TaskError>>,
    /// There is an outcome, or there will be one at once: none other counts.
    claimed: bool,
    wakers: Vec<Waker>,
    waiters: Vec<Arc<Waiter>>,
    callbacks: Vec<Callback<T>>,
}

impl<T> Default for Promise<T> {
    fn default() -> Self {
        let state = State {
            outcome: None,
            claimed: false,
            wakers: Vec::new(),
            waiters: Vec::new(),
            callbacks: Vec::new(),
        };
        Promise {
            state: Mutex::new(state),
            done: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
        }
    }
}

impl<T> Promise<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_done(&self) -> bool {
        // Acquire: with the word comes the outcome.
        self.done.load(Ordering::Acquire)
    }

    /// Whether its outcome is decided.
    pub(crate) fn is_claimed(&self) -> bool {
        self.lock().claimed
    }

    /// Makes `outcome` its outcome, unless it has one: callbacks first, then whoever waits. Whether
    /// it did.
    pub(crate) fn complete(&self, outcome: Result<T, TaskError>) -> bool {
        let mut state = self.lock();
        if std::mem::replace(&mut state.claimed, true) {
            return false;
        }
        let cancelled = matches!(outcome, Err(TaskError::Cancelled));
        self.cancelled.store(cancelled, Ordering::Relaxed);
        loop {
            let callbacks = std::mem::take(&mut state.callbacks);
            if callbacks.is_empty() {
                break;
            }
            drop(state);
            for callback in callbacks {
                // It was printed; the other callbacks and the outcome are not touched.
                call(callback, &outcome);
            }
            state = self.lock();
        }
        state.outcome = Some(outcome);
        let wakers = std::mem::take(&mut state.wakers);
        let waiters = std::mem::take(&mut state.waiters);
        // Release: pairs with `is_done`.
        self.done.store(true, Ordering::Release);
        drop(state);
        for waiter in waiters {
            waiter.bump();
        }
        for waker in wakers {
            let _ = catch(|| waker.wake());
        }
        true
    }

    /// The outcome; `None` while there is none. Handed out once.
    pub(crate) fn take(&self) -> Option<Result<T, TaskError>> {
        if !self.is_done() {
            return None;
        }
        Some(self.lock().outcome.take().unwrap_or(Err(TaskError::Taken)))
    }

    /// Whether the outcome is a value.
    pub(crate) fn is_ok(&self) -> Option<bool> {
        let state = self.lock();
        state.outcome.as_ref().map(Result::is_ok)
    }

    /// Whether the outcome is that it was cancelled, also after it was handed out.
    pub(crate) fn was_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Has `waiter` bumped when it is done, until [`forget`](Self::forget).
    pub(crate) fn register(&self, waiter: &Arc<Waiter>) {
        let mut state = self.lock();
        if state.outcome.is_none() && !self.is_done() {
            state.waiters.push(Arc::clone(waiter));
        }
    }

    pub(crate) fn forget(&self, waiter: &Arc<Waiter>) {
        self.lock()
            .waiters
            .retain(|other| !Arc::ptr_eq(other, waiter));
    }

    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        let mut state = self.lock();
        if self.is_done() {
            return Poll::Ready(state.outcome.take().unwrap_or(Err(TaskError::Taken)));
        }
        let waker = context.waker();
        if !state.wakers.iter().any(|other| other.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Calls `callback` when it is done, or now.
    pub(crate) fn on_done(&self, callback: Callback<T>) {
        let mut state = self.lock();
        if !self.is_done() {
            state.callbacks.push(callback);
            return;
        }
        // Taken out, so that the callback runs without the lock.
        if let Some(outcome) = state.outcome.take() {
            drop(state);
            call(callback, &outcome);
            self.lock().outcome = Some(outcome);
        }
    }
}
