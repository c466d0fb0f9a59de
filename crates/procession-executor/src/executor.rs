//! What all executors can do.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession_pool::raw::Function;
use procession_pool::{Args, Priority, TaskError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::Shutdown;
use crate::future::Future;
use crate::handle::{Handle, Patience};
use crate::map::{Map, Order};
use crate::park;

/// Runs functions elsewhere: in processes, threads, or on other machines.
///
/// A program that is written for this trait does not know where. Functions are named ones, or closures
/// that capture nothing; items and values are encoded, whichever executor it is, so that what works
/// with one works with the others.
///
/// Options are methods that give a [`Handle`] with them: `executor.retries(2).submit(..)`.
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, TaskError, ThreadPoolExecutor};
///
/// fn sum_of_squares(executor: &impl Executor, most: u64) -> Result<u64, TaskError> {
///     executor.map(|n: u64| n * n, 1..=most).sum()
/// }
///
/// assert_eq!(sum_of_squares(&ThreadPoolExecutor::new()?, 4)?, 30);
/// # Ok::<(), procession_executor::Error>(())
/// ```
pub trait Executor {
    /// The executor itself, without options beyond its own.
    fn handle(&self) -> &Handle;

    /// Submits one item, and returns the future of its value.
    ///
    /// The item is encoded before this returns; if that fails, or the executor takes no more tasks, the
    /// outcome is there at once and says so: [`TaskError::ItemEncode`], [`TaskError::Closed`].
    ///
    /// All are accepted, however many: with processes one that waits takes about 320 bytes of this
    /// process and the encoded item, and costs the same however many there are. With a [`max_pending`](Handle::with_max_pending) this waits until
    /// there is room, unless it is a callback.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_executor::{Executor, ThreadPoolExecutor};
    /// # let executor = ThreadPoolExecutor::new()?;
    /// let sum = executor.submit(|(a, b)| a + b, (1u32, 2));
    /// assert_eq!(sum.result()?, 3);
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    fn submit<A, R>(&self, function: fn(A) -> R, item: A) -> Future<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let submitted = self
            .handle()
            .submit_in(Patience::Until(None), function, item);
        submitted.unwrap_or_else(|refused| Future::ready(Err(refused.into_error())))
    }

    /// Submits one item if there is room for it now.
    ///
    /// # Errors
    ///
    /// The item comes back. [`TrySubmitError::Full`]: there are
    /// [`max_pending`](Handle::with_max_pending) futures without an outcome;
    /// [`TrySubmitError::Closed`]: the executor takes no more tasks.
    fn try_submit<A, R>(
        &self,
        function: fn(A) -> R,
        item: A,
    ) -> Result<Future<R>, TrySubmitError<A>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let patience = Patience::Until(Some(Instant::now()));
        self.handle().submit_in(patience, function, item)
    }

    /// Submits one item, waiting at most `timeout` for room.
    ///
    /// # Errors
    ///
    /// As [`try_submit`](Self::try_submit).
    fn submit_timeout<A, R>(
        &self,
        function: fn(A) -> R,
        item: A,
        timeout: Duration,
    ) -> Result<Future<R>, TrySubmitError<A>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let patience = Patience::Until(park::deadline(timeout));
        self.handle().submit_in(patience, function, item)
    }

    /// Submits one item, waiting for room until a moment at most.
    ///
    /// # Errors
    ///
    /// As [`try_submit`](Self::try_submit).
    fn submit_deadline<A, R>(
        &self,
        function: fn(A) -> R,
        item: A,
        deadline: Instant,
    ) -> Result<Future<R>, TrySubmitError<A>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        let patience = Patience::Until(Some(deadline));
        self.handle().submit_in(patience, function, item)
    }

    /// Runs `function` on each item, and returns an iterator over one outcome per item, in the order of
    /// the items.
    ///
    /// The first items are submitted before this returns, further ones as outcomes are taken: see
    /// [`Map`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_executor::{Executor, ThreadPoolExecutor};
    /// # let executor = ThreadPoolExecutor::new()?;
    /// let squares: Vec<u64> = executor.map(|n: u64| n * n, 1..=4).collect::<Result<_, _>>()?;
    /// assert_eq!(squares, [1, 4, 9, 16]);
    ///
    /// let outcomes = executor.map(|n: u64| 6 / n, 0..3);
    /// assert_eq!(outcomes.flatten().collect::<Vec<_>>(), [6, 3]);
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    fn map<A, R, I>(&self, function: fn(A) -> R, items: I) -> Map<I::IntoIter, R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let function = Function::of(function);
        Map::new(self.handle(), function, items.into_iter(), Order::OfItems)
    }

    /// As [`map`](Self::map), with outcomes in the order in which they come.
    fn map_unordered<A, R, I>(&self, function: fn(A) -> R, items: I) -> Map<I::IntoIter, R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = A>,
    {
        let function = Function::of(function);
        Map::new(
            self.handle(),
            function,
            items.into_iter(),
            Order::AsTheyCome,
        )
    }

    /// As [`map`](Self::map), for a function of two to eight arguments, of which each item is a tuple.
    ///
    /// `function` is a closure written in place: a named function is called in one, as
    /// `|base, power| u64::pow(base, power)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_executor::{Executor, ThreadPoolExecutor};
    /// # let executor = ThreadPoolExecutor::new()?;
    /// let powers = executor.starmap(|base, power| u64::pow(base, power), [(2, 10), (3, 2)]);
    /// assert_eq!(powers.collect::<Result<Vec<_>, _>>()?, [1024, 9]);
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    fn starmap<T, R, I>(&self, function: T::Function<R>, items: I) -> Map<I::IntoIter, R>
    where
        T: Args + Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = T>,
    {
        let function = Function::of_star::<T, R>(function);
        Map::new(self.handle(), function, items.into_iter(), Order::OfItems)
    }

    /// Sends `items` items of a [`map`](Self::map) as one task, at least 1.
    ///
    /// Unless set, chunks adapt: they start with one item, grow until they are worth being sent, which
    /// is a millisecond of work on this machine, and shrink towards the end.
    #[must_use]
    fn chunksize(&self, items: usize) -> Handle {
        self.handle()
            .with(|options| options.chunksize = Some(items))
    }

    /// How many items a [`map`](Self::map) takes from their iterator before the first of them has been
    /// handed out: rounded to whole chunks, at least one chunk.
    ///
    /// Unless set there are up to 64 chunks, or four for each item that can run at once if that is more,
    /// and about 64 MiB of encoded items.
    #[must_use]
    fn buffersize(&self, items: usize) -> Handle {
        self.handle()
            .with(|options| options.buffersize = Some(items))
    }

    /// How long a [`map`](Self::map) may take, from the call on. When the time is up, the next outcome
    /// that is not there is [`TaskError::Unfinished`]; what has not begun is cancelled, and the iterator
    /// ends.
    #[must_use]
    fn map_timeout(&self, timeout: Duration) -> Handle {
        self.handle()
            .with(|options| options.map_timeout = Some(timeout))
    }

    /// Ends an item that takes longer than `timeout`, by killing its process, which is replaced: it
    /// fails with [`TaskError::TimedOut`].
    ///
    /// Threads cannot be ended: executors without processes run the item to its end.
    #[must_use]
    fn timeout(&self, timeout: Duration) -> Handle {
        self.handle()
            .with_policy(|policy| policy.timeout = Some(timeout))
    }

    /// How long after its [`timeout`](Self::timeout) an item is ended; none unless set.
    #[must_use]
    fn grace(&self, grace: Duration) -> Handle {
        self.handle().with_policy(|policy| policy.grace = grace)
    }

    /// Tries an item again that has failed, up to `retries` times: after a panic, the death of its
    /// worker or a time-out. Its outcome is that of the last attempt.
    ///
    /// None unless set: whether a function may run twice only its author knows.
    #[must_use]
    fn retries(&self, retries: u32) -> Handle {
        self.handle().with_policy(|policy| policy.retries = retries)
    }

    /// Which failures are worth another attempt, where [`retries`](Self::retries) are left. A panic in
    /// `wanted` says no.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_executor::{Executor, TaskError, ThreadPoolExecutor};
    /// # let executor = ThreadPoolExecutor::new()?;
    /// let crashed = |error: &TaskError| matches!(error, TaskError::WorkerDied(_));
    /// let future = executor.retries(3).retry_if(crashed).submit(|n: u32| n + 1, 1);
    /// assert_eq!(future.result()?, 2);
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    #[must_use]
    fn retry_if(&self, wanted: impl Fn(&TaskError) -> bool + Send + Sync + 'static) -> Handle {
        self.handle()
            .with_policy(|policy| policy.retry_if = Some(Arc::new(wanted)))
    }

    /// How long to wait before the first retry of an item; twice as long before each further one. Not
    /// at all unless set.
    #[must_use]
    fn backoff(&self, first: Duration) -> Handle {
        self.handle().with_policy(|policy| policy.backoff = first)
    }

    /// Runs an item again whose worker has died, until it has cost `deaths` workers: then it fails with
    /// [`TaskError::CrashLimit`]. Deaths do not count as [`retries`](Self::retries) then.
    #[must_use]
    fn crash_limit(&self, deaths: usize) -> Handle {
        self.handle()
            .with_policy(|policy| policy.crash_limit = Some(deaths))
    }

    /// How urgent these tasks are among those of the executor.
    #[must_use]
    fn priority(&self, priority: Priority) -> Handle {
        self.handle()
            .with_policy(|policy| policy.priority = priority)
    }

    /// Where the [`seed`](procession_pool::CurrentTask::seed)s of the items start; 0 unless set. For
    /// executors with processes.
    #[must_use]
    fn seed(&self, seed: u64) -> Handle {
        self.handle().with_policy(|policy| policy.seed = seed)
    }

    /// Takes no more tasks, and waits until all that were submitted have come to an end.
    ///
    /// May be called again. In a callback, and in a function that one of its own threads runs, it does
    /// not wait.
    fn shutdown(&self) {
        self.handle().end(Shutdown::Drain, None);
    }

    /// As [`shutdown`](Self::shutdown), waiting at most `timeout`. Whether all tasks have come to an
    /// end; those that have not go on.
    #[must_use]
    fn shutdown_timeout(&self, timeout: Duration) -> bool {
        self.handle().end(Shutdown::Drain, park::deadline(timeout))
    }

    /// Takes no more tasks, cancels those that have not begun, and waits for those that run.
    fn shutdown_now(&self) {
        self.handle().end(Shutdown::Cancel, None);
    }

    /// Takes no more tasks, and returns at once. Those that were submitted are finished, as long as the
    /// program lives.
    fn shutdown_no_wait(&self) {
        self.handle().end(Shutdown::Drain, Some(Instant::now()));
    }
}

impl<E: Executor + ?Sized> Executor for &E {
    fn handle(&self) -> &Handle {
        (**self).handle()
    }
}

impl<E: Executor + ?Sized> Executor for Arc<E> {
    fn handle(&self) -> &Handle {
        (**self).handle()
    }
}

impl<E: Executor + ?Sized> Executor for Box<E> {
    fn handle(&self) -> &Handle {
        (**self).handle()
    }
}

/// An item was not submitted. It comes back.
#[non_exhaustive]
pub enum TrySubmitError<A> {
    /// There are as many futures without an outcome as there may be.
    Full(A),
    /// The executor takes no more tasks, and why.
    Closed(A, TaskError),
}

impl<A> TrySubmitError<A> {
    /// The item.
    pub fn into_item(self) -> A {
        match self {
            Self::Full(item) | Self::Closed(item, _) => item,
        }
    }

    fn into_error(self) -> TaskError {
        match self {
            Self::Full(_) => TaskError::Unfinished,
            Self::Closed(_, error) => error,
        }
    }
}

impl<A> fmt::Debug for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Closed(_, error) => write!(f, "Closed(.., {error:?})"),
        }
    }
}

impl<A> fmt::Display for TrySubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("as many futures as there may be have no outcome yet"),
            Self::Closed(_, error) => error.fmt(f),
        }
    }
}

impl<A> std::error::Error for TrySubmitError<A> {}
