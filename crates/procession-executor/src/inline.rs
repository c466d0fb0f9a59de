//! An executor that does it itself.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use procession_pool::TaskError;
use procession_primitives::catch;

use crate::backend::{
    Backend, CancelAnswer, CancelMode, Completer, Hints, Rejected, Shutdown, Task,
};
use crate::executor::Executor;
use crate::handle::Handle;
use crate::run;

/// Runs each task in the caller, before `submit` returns: for debugging, and for tests.
///
/// Items and values are encoded as with other executors, and errors are the same: a panic is
/// [`TaskError::Panicked`], with its message but without its place. A function that calls `exit` or crashes ends the program. There are no
/// time-outs. A [`map`](Executor::map) runs as many items at the call as would be submitted then.
///
/// # Drop
///
/// As [`shutdown`](Executor::shutdown): waits for what other threads run by its handles just now.
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, InlineExecutor, TaskError};
///
/// let executor = InlineExecutor::new();
/// let future = executor.submit(|n: u32| 12 / n, 0);
/// assert!(future.done());
/// assert!(matches!(future.result(), Err(TaskError::Panicked(_))));
/// ```
#[derive(Debug)]
pub struct InlineExecutor {
    handle: Handle,
}

impl InlineExecutor {
    /// An executor that does it itself.
    #[must_use]
    pub fn new() -> InlineExecutor {
        let handle = Handle::new(Arc::new(Inline::default()));
        InlineExecutor { handle }
    }
}

impl Default for InlineExecutor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor for InlineExecutor {
    fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for InlineExecutor {
    fn drop(&mut self) {
        self.shutdown();
    }
}

thread_local! {
    /// Tasks that this thread runs so, one in the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug, Default)]
struct Inline {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    running: usize,
}

impl Inline {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Inline {
    fn submit(&self, task: Task) -> Result<(), Box<Rejected>> {
        let mut state = self.lock();
        if state.is_closed {
            let error = TaskError::Closed;
            return Err(Box::new(Rejected { task, error }));
        }
        state.running += 1;
        drop(state);
        DEPTH.set(DEPTH.get() + 1);
        // It panics for nobody; if it did, the task would have an outcome by its drop.
        let _ = catch(|| run::run(&task, || {}));
        DEPTH.set(DEPTH.get() - 1);
        self.lock().running -= 1;
        self.idle.notify_all();
        Ok(())
    }

    fn cancel(&self, _task: &Completer, _how: CancelMode) -> CancelAnswer {
        CancelAnswer::TooLate
    }

    fn hints(&self) -> Hints {
        Hints::new(1, Duration::ZERO)
    }

    fn shutdown(&self, _how: Shutdown, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        state.is_closed = true;
        // What this thread runs ends after this.
        while state.running > 0 && DEPTH.get() == 0 {
            let idle = &self.idle;
            state =
                match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                    None => idle.wait(state).unwrap_or_else(PoisonError::into_inner),
                    Some(Duration::ZERO) => break,
                    Some(left) => {
                        let waited = idle.wait_timeout(state, left);
                        waited.unwrap_or_else(PoisonError::into_inner).0
                    }
                };
        }
        state.running == 0
    }
}
