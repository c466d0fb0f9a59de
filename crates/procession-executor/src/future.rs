//! The outcome of a task, later.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use procession_pool::TaskError;

use crate::backend::{Backend, CancelMode};
use crate::base::{Base, Complete};
use crate::canceller::{CancelOnDrop, Canceller};
use crate::completions::Completions;
use crate::promise::Promise;
use crate::{callback, park};

/// The outcome of a task of an [`Executor`](crate::Executor), once there is one.
///
/// Also a [`std::future::Future`], of any runtime or none.
///
/// | | [`running`](Self::running) | [`done`](Self::done) | [`cancelled`](Self::cancelled) |
/// |---|---|---|---|
/// | submitted | no | no | no |
/// | runs | yes | no | no |
/// | has an outcome | no | yes | no |
/// | was cancelled | no | yes | yes |
///
/// # Drop
///
/// The task goes on; its outcome is dropped. See [`cancel_on_drop`](Self::cancel_on_drop).
///
/// # Process death
///
/// Whatever happens to workers, there will be one outcome.
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let square = executor.submit(|n: u64| n * n, 7);
/// square.add_done_callback(|outcome| println!("{outcome:?}"));
/// assert_eq!(square.result()?, 49);
/// # Ok::<(), procession_executor::Error>(())
/// ```
#[must_use = "the outcome is lost with the future"]
pub struct Future<T: Send + 'static> {
    promise: Arc<Promise<T>>,
    on_drop: Option<Box<CancelOnDrop>>,
}

impl<T: Send + 'static> Future<T> {
    pub(crate) fn new(promise: Arc<Promise<T>>) -> Future<T> {
        let on_drop = None;
        Future { promise, on_drop }
    }

    pub(crate) fn backend(&self) -> Option<&Arc<dyn Backend>> {
        self.promise.base().backend()
    }

    pub(crate) fn join(&self, set: &Arc<Completions>, number: u32) {
        self.promise.join(set, number);
    }

    /// Whether the outcome is an error, other than that it was cancelled.
    pub(crate) fn has_failed(&self) -> bool {
        self.promise.base().has_failed()
    }

    /// A number that no other future of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.promise.base().id()
    }
}

impl<T: Send + 'static> Future<T> {
    /// A future that has this outcome.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_executor::Future;
    ///
    /// assert_eq!(Future::ready(Ok(4)).result()?, 4);
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    pub fn ready(outcome: Result<T, TaskError>) -> Future<T> {
        let promise = Promise::new(|_| Err(TaskError::Protocol), Base::new(None, None));
        promise.settle(outcome);
        Future::new(Arc::new(promise))
    }

    /// What cancels this future, to be kept elsewhere.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller::new(Arc::<Promise<T>>::clone(&self.promise))
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: why there is no value. [`TaskError::Cancelled`] if it was cancelled,
    /// [`TaskError::Taken`] if the outcome was handed out before, [`TaskError::InCallback`] in a callback
    /// of this future, which is over before the outcome can be had.
    pub fn result(self) -> Result<T, TaskError> {
        self.get(None, || self.promise.take())
            .unwrap_or(Err(TaskError::InCallback))
    }

    /// Waits at most `timeout` for the outcome; `None` if there is none by then. The task goes on.
    ///
    /// The outcome is handed out once: after that there is [`TaskError::Taken`].
    #[must_use = "the outcome is handed out once"]
    pub fn result_timeout(&self, timeout: Duration) -> Option<Result<T, TaskError>> {
        self.get(park::deadline(timeout), || self.promise.take())
    }

    /// As [`result_timeout`](Self::result_timeout), until a moment.
    #[must_use = "the outcome is handed out once"]
    pub fn result_deadline(&self, deadline: Instant) -> Option<Result<T, TaskError>> {
        self.get(Some(deadline), || self.promise.take())
    }

    /// The outcome if it can be had now, as [`result_timeout`](Self::result_timeout) with no time.
    #[must_use = "the outcome is handed out once"]
    pub fn try_result(&self) -> Option<Result<T, TaskError>> {
        self.done().then(|| self.promise.take())?
    }

    /// Waits until `have` has something.
    fn get<V>(&self, deadline: Option<Instant>, have: impl Fn() -> Option<V>) -> Option<V> {
        loop {
            if let Some(had) = have() {
                return Some(had);
            }
            if !self.wait_until(deadline) {
                return None;
            }
            if let Some(had) = have() {
                return Some(had);
            }
            // A callback that came late looks at it.
            if callback::is_of(self.id()) || !self.wait_back(deadline) {
                return None;
            }
        }
    }

    /// Waits until a callback gives the outcome back.
    fn wait_back(&self, deadline: Option<Instant>) -> bool {
        let mut own = None;
        let mut register = |waker: Waker| {
            own = Some(waker.clone());
            self.promise.register(waker);
        };
        let is_there = park::until(&mut register, deadline, &|| self.promise.is_there());
        if let Some(own) = own.filter(|_| !is_there) {
            self.promise.forget(&own);
        }
        is_there
    }

    /// Waits for the outcome and says what the error is; `None` if there is a value. The outcome is
    /// not taken: [`result`](Self::result) still has it.
    ///
    /// After an error was handed out it is [`TaskError::Taken`], or [`TaskError::Cancelled`] if it was
    /// that.
    #[must_use]
    pub fn exception(&self) -> Option<TaskError> {
        let error = self.get(None, || self.promise.error());
        error.unwrap_or(Some(TaskError::InCallback))
    }

    /// As [`exception`](Self::exception), waiting at most `timeout`; the outer `None` if there is no
    /// outcome by then.
    #[must_use]
    pub fn exception_timeout(&self, timeout: Duration) -> Option<Option<TaskError>> {
        self.get(park::deadline(timeout), || self.promise.error())
    }

    /// Waits until it is done. In one of its own callbacks it returns at once.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits at most `timeout`: whether it is done.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(park::deadline(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        self.promise.base().is_done() || self.canceller().wait(deadline)
    }

    /// Whether there is an outcome; also if it was cancelled, and after it was handed out.
    ///
    /// Callbacks come first: while they run it is not done yet.
    #[must_use]
    pub fn done(&self) -> bool {
        self.promise.base().is_done() || self.canceller().done()
    }

    /// Whether it is done and was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.done() && self.promise.base().is_cancelled()
    }

    /// Whether it runs now.
    #[must_use]
    pub fn running(&self) -> bool {
        !self.promise.base().is_done() && self.canceller().running()
    }

    /// Takes the task back, if it has not begun: it never runs, its outcome is
    /// [`TaskError::Cancelled`], and this returns true. So it does if it was cancelled before.
    ///
    /// False if it runs, or has an outcome: see [`kill`](Self::kill).
    pub fn cancel(&self) -> bool {
        self.canceller().cancel()
    }

    /// As [`cancel`](Self::cancel), and ends the task if it runs, by killing its process, which is
    /// replaced.
    ///
    /// False if it has another outcome, or runs in a thread: threads cannot be ended.
    pub fn kill(&self) -> bool {
        self.canceller().kill()
    }

    /// Cancels it when this is dropped, as by [`cancel`](Self::cancel).
    pub fn cancel_on_drop(self) -> Self {
        self.on_drop(CancelMode::Queued)
    }

    /// Kills it when this is dropped, as by [`kill`](Self::kill), without waiting for that.
    ///
    /// # Cancellation
    ///
    /// An async task that is dropped while it awaits such a future ends the work that it waits for.
    pub fn kill_on_drop(self) -> Self {
        self.on_drop(CancelMode::Kill)
    }

    fn on_drop(mut self, how: CancelMode) -> Self {
        match &mut self.on_drop {
            Some(guard) => guard.1 = how,
            None => self.on_drop = Some(Box::new(CancelOnDrop(self.canceller(), how))),
        }
        self
    }

    /// Calls `callback` with the outcome when it is there, on whichever thread finds out first; at once
    /// if it is there by now.
    ///
    /// Callbacks are called in the order in which they were added, and before anybody who waits is told.
    /// One that is added when the outcome was handed out gets [`TaskError::Taken`]. A panic in a callback
    /// is printed, and otherwise ignored.
    ///
    /// A callback may submit, cancel, and wait for other futures, unless these wait for it. For its own
    /// future it cannot wait: that is done when its callbacks are over. It is to be short: while it runs,
    /// the outcomes of other futures may have to wait for it. So one that waits for them by other means
    /// than those of this crate, such as a channel or a runtime, may wait for ever.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Result<T, TaskError>) + Send + 'static) {
        self.promise.on_done(Box::new(callback));
        self.watch();
    }

    /// Has the back-end tell of the outcome, whoever waits.
    pub(crate) fn watch(&self) {
        if !self.promise.base().is_done() {
            self.canceller().watch();
        }
    }
}

impl<T: Send + 'static> Drop for Future<T> {
    fn drop(&mut self) {
        // So that what the outcome holds is given back when it comes, and not when somebody looks.
        self.watch();
    }
}

impl<T: Send + 'static> std::future::Future for Future<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = self.promise.poll(context);
        if poll.is_pending() {
            self.watch();
        }
        poll
    }
}

impl<T: Send + 'static> fmt::Debug for Future<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.promise.base();
        let state = match (self.done(), base.is_cancelled()) {
            (true, true) => "cancelled".to_owned(),
            (true, false) => match self.promise.error().flatten() {
                Some(error) => format!("finished raised {error}"),
                None => format!("finished returned {}", std::any::type_name::<T>()),
            },
            (false, _) if self.running() => "running".to_owned(),
            (false, _) => "pending".to_owned(),
        };
        f.debug_struct("Future")
            .field("id", &base.id())
            .field("state", &format_args!("{state}"))
            .finish()
    }
}

#[cfg(test)]
mod tests;
