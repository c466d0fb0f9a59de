//! A future without its type.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use procession_pool::TaskError;

use crate::backend::{Backend, CancelAnswer, CancelMode, Completer};
use crate::base::{Base, Complete};

/// Cancels a [`Future`](crate::Future), wherever that is: see [`Future::canceller`].
///
/// It has no type parameter and can be cloned.
///
/// [`Future::canceller`]: crate::Future::canceller
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::with_workers(1)?;
/// let future = executor.submit(|n: u64| n * n, 7);
/// let canceller = future.canceller();
/// assert_eq!(future.result()?, 49);
/// assert!(canceller.done() && !canceller.cancel());
/// # Ok::<(), procession_executor::Error>(())
/// ```
#[derive(Clone)]
pub struct Canceller {
    target: Arc<dyn Complete>,
}

impl Canceller {
    pub(crate) fn new(target: Arc<dyn Complete>) -> Canceller {
        Canceller { target }
    }

    pub(crate) fn base(&self) -> &Base {
        self.target.base()
    }

    /// As [`Future::cancel`](crate::Future::cancel).
    pub fn cancel(&self) -> bool {
        self.stop(CancelMode::Queued, true)
    }

    /// As [`Future::kill`](crate::Future::kill).
    pub fn kill(&self) -> bool {
        self.stop(CancelMode::Kill, true)
    }

    fn stop(&self, how: CancelMode, wait: bool) -> bool {
        let base = self.base();
        let Some(backend) = base.backend().filter(|_| !base.is_decided()) else {
            return base.is_cancelled();
        };
        let asking = Asking::about(base.id());
        let answer = backend.cancel(&Completer::name(&self.target), how);
        match (answer, asking.end()) {
            (CancelAnswer::Done, _) => {
                self.target.end_with(TaskError::Cancelled);
            }
            (_, true) => {
                self.target.end_with(TaskError::Protocol);
            }
            // Somebody else may have cancelled it just now.
            (CancelAnswer::TooLate, false) => {}
            (CancelAnswer::Asked, false) => {
                if wait {
                    self.wait(None);
                }
            }
        }
        base.is_cancelled()
    }

    /// Waits until it is done. False if `deadline` passes first, or this is one of its callbacks.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        self.target.wait(deadline)
    }

    /// Has the back-end tell of the outcome, whoever waits.
    pub(crate) fn watch(&self) {
        let base = self.base();
        if let Some(backend) = base.backend().filter(|_| base.watch()) {
            backend.watch(&Completer::name(&self.target));
        }
    }

    /// Whether there is an outcome; also if it was cancelled.
    #[must_use]
    pub fn done(&self) -> bool {
        let base = self.base();
        if base.is_done() {
            return true;
        }
        let is_finished =
            |backend: &Arc<dyn Backend>| backend.is_finished(&Completer::name(&self.target));
        // Whoever asks collects it.
        base.backend().is_some_and(is_finished) && self.wait(Some(Instant::now()))
    }

    /// Whether it runs now.
    #[must_use]
    pub fn running(&self) -> bool {
        let base = self.base();
        if base.is_unwanted() {
            // Its callbacks may still run: then it has not finished yet.
            return base.has_started() && !base.is_done();
        }
        let is_running =
            |backend: &Arc<dyn Backend>| backend.is_running(&Completer::name(&self.target));
        base.backend().is_some_and(is_running)
    }

    /// Whether it is done and was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.done() && self.base().is_cancelled()
    }

    /// As [`Future::id`](crate::Future::id).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.base().id()
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller")
            .field("id", &self.id())
            .field("done", &self.done())
            .finish()
    }
}

thread_local! {
    /// The task that a back-end is asked to cancel by this thread, and whether it has dropped its
    /// completer meanwhile.
    static ASKED: Cell<(u64, bool)> = const { Cell::new((0, false)) };
}

/// A back-end is asked to cancel a task: what it drops then has its outcome by the answer.
struct Asking((u64, bool));

impl Asking {
    fn about(id: u64) -> Asking {
        Asking(ASKED.replace((id, false)))
    }

    /// Whether the completer was dropped.
    fn end(self) -> bool {
        ASKED.get().1
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKED.set(self.0);
    }
}

/// Whether the completer of task `id` is dropped since its task is being cancelled.
pub(crate) fn is_dropped_by_cancel(id: u64) -> bool {
    let asked = ASKED
        .try_with(Cell::get)
        .is_ok_and(|(asked, _)| asked == id);
    if asked {
        ASKED.set((id, true));
    }
    asked
}

/// Cancels when it is dropped, without waiting.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Canceller, pub(crate) CancelMode);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.stop(self.1, false);
        if !self.0.base().is_done() {
            // It runs: what its outcome holds is given back when it comes, and not when somebody looks.
            self.0.watch();
        }
    }
}
