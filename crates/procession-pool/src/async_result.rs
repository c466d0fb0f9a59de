//! Handles of outcomes that are not there yet.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::TaskError;
use crate::hub::Waiter;
use crate::inner::Inner;
use crate::job::Handled;
use crate::raw::Done;

/// The outcome of [`apply_async`](crate::View::apply_async) and its like, once there is one.
///
/// Also a [`Future`], of any runtime or none: awaiting needs no thread per handle.
///
/// # Drop
///
/// The task goes on; its outcome is dropped.
///
/// # Process death
///
/// Whatever happens to workers or the pool, there will be one outcome. When the pool is terminated
/// or dropped, what was running ends with [`TaskError::WorkerDied`], what had not begun with
/// [`TaskError::Closed`].
///
/// # Examples
///
/// ```
/// # use procession_pool::Pool;
/// # let pool = Pool::with_workers(2)?;
/// let square = pool.apply_async(|x: u64| x * x, 7);
/// let cubes = pool.map_async(|x: u64| x * x * x, 1..=3);
/// assert_eq!(square.get()?, 49);
/// assert_eq!(cubes.get()?, [1, 8, 27]);
/// # Ok::<(), procession_pool::Error>(())
/// ```
#[must_use = "the outcome is lost with the handle"]
pub struct AsyncResult<T: Send + 'static> {
    pool: Arc<Inner>,
    job: Arc<dyn Handled<T>>,
}

impl<T: Send + 'static> AsyncResult<T> {
    pub(crate) fn new(pool: &Arc<Inner>, job: Arc<dyn Handled<T>>) -> AsyncResult<T> {
        let pool = Arc::clone(pool);
        AsyncResult { pool, job }
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: why there is no value.
    pub fn get(self) -> Result<T, TaskError> {
        self.wait();
        self.take().unwrap_or(Err(TaskError::Protocol))
    }

    /// Waits at most `timeout` for the outcome; `None` if there is none by then. It is handed out
    /// once: after that there is [`TaskError::Taken`].
    pub fn get_timeout(&mut self, timeout: Duration) -> Option<Result<T, TaskError>> {
        self.get_until(Instant::now().checked_add(timeout))
    }

    /// As [`get_timeout`](Self::get_timeout), until a moment.
    pub fn get_deadline(&mut self, deadline: Instant) -> Option<Result<T, TaskError>> {
        self.get_until(Some(deadline))
    }

    /// The outcome if it is there by now, as [`get_timeout`](Self::get_timeout) with no time.
    pub fn try_get(&mut self) -> Option<Result<T, TaskError>> {
        if self.ready() {
            self.wait();
        }
        self.take()
    }

    fn get_until(&mut self, deadline: Option<Instant>) -> Option<Result<T, TaskError>> {
        self.wait_until(deadline);
        self.take()
    }

    /// Has the outcome found out when it comes.
    fn watch(&self) {
        if !self.job.promise().is_done() {
            self.pool.watch_job(&*self.job);
        }
    }

    fn take(&self) -> Option<Result<T, TaskError>> {
        self.job.promise().take()
    }

    /// Waits until the outcome is there.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits at most `timeout`: whether the outcome is there.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let promise = self.job.promise();
        if promise.is_done() {
            return true;
        }
        let mut registered = None;
        let waiter = || {
            let waiter = Arc::new(Waiter::default());
            promise.register(&waiter);
            registered = Some(Arc::clone(&waiter));
            waiter
        };
        let done = self.pool.wait_for(waiter, deadline, || promise.is_done());
        if let Some(waiter) = registered {
            promise.forget(&waiter);
        }
        done
    }

    /// Whether the outcome is there.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.job.promise().is_done() || self.pool.is_finished(&*self.job)
    }

    /// Whether the outcome is a value; `None` while it is not there, or after it was handed out.
    #[must_use]
    pub fn successful(&self) -> Option<bool> {
        if self.ready() {
            self.wait();
        }
        self.job.promise().is_ok()
    }

    /// Takes back what no worker has begun. If that was something, the outcome is
    /// [`TaskError::Cancelled`], and this returns true. Of many items those that are running are
    /// finished for nothing.
    ///
    /// False if the outcome is there, or a single item is running: see [`kill`](Self::kill).
    pub fn cancel(&self) -> bool {
        self.stop(false)
    }

    /// As [`cancel`](Self::cancel), and ends what is running, with its workers, which are replaced.
    ///
    /// False if the outcome is there.
    pub fn kill(&self) -> bool {
        self.stop(true)
    }

    fn stop(&self, running: bool) -> bool {
        let promise = self.job.promise();
        if promise.is_claimed() {
            return false;
        }
        let done: &dyn Done = &*self.job;
        if self.pool.stop_and_tell(done, running) {
            return true;
        }
        if done.is_stopped() || running {
            // Another thread gives it its outcome. Or a worker has claimed it and not begun, and
            // leaves it alone now. Or it has finished.
            self.wait();
        }
        promise.was_cancelled()
    }

    /// Calls `callback` with the value when it is there, on whichever thread finds out first; at
    /// once if it is there by now. The outcome is handed out after that.
    ///
    /// The callback may use the pool, close it and wait for others. A panic in it is printed and
    /// otherwise ignored.
    pub fn on_done(self, callback: impl FnOnce(&T) + Send + 'static) -> Self {
        self.job.promise().on_done(Box::new(|outcome| {
            if let Ok(value) = outcome {
                callback(value);
            }
        }));
        self.watch();
        self
    }

    /// As [`on_done`](Self::on_done), with the error if there is no value.
    pub fn on_error(self, callback: impl FnOnce(&TaskError) + Send + 'static) -> Self {
        self.job.promise().on_done(Box::new(|outcome| {
            if let Err(error) = outcome {
                callback(error);
            }
        }));
        self.watch();
        self
    }
}

impl<T: Send + 'static> Drop for AsyncResult<T> {
    fn drop(&mut self) {
        // So that what it holds is given back when it comes, and not when somebody looks.
        self.watch();
    }
}

impl<T: Send + 'static> Future for AsyncResult<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.job.promise().poll(context);
        if polled.is_pending() {
            self.watch();
        }
        polled
    }
}

impl<T: Send + 'static> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = self.job.promise().is_done();
        f.debug_struct("AsyncResult")
            .field("ready", &ready)
            .finish_non_exhaustive()
    }
}
