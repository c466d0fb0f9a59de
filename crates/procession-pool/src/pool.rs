//! The pool itself.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::{Config, PoolBuilder};
use crate::inner::Inner;
use crate::options::Options;
use crate::stats::PoolStats;
use crate::view::View;
use crate::{PoolError, TaskError};

/// A pool of worker processes.
///
/// Whatever a task does, its item gets exactly one outcome, the other items are not touched, and
/// the pool stays usable: a panic comes back as a value, and a worker that dies (a signal, an
/// `exit`, out of memory) costs the one item that it had in hand and is replaced.
///
/// Functions are function items or closures without captures. Items and values are of any serde
/// type; they are encoded with postcard and passed through shared memory.
///
/// A pool is a [`View`] of itself: what it can do with functions is described there, as are the
/// options of calls.
///
/// # Drop
///
/// Terminates the pool: running tasks are killed. [`close`](Self::close) and
/// [`join`](Self::join) let them finish.
///
/// # Process death
///
/// When the program ends, in whatever way, its workers are gone within milliseconds.
///
/// # Examples
///
/// ```
/// use procession_pool::Pool;
///
/// let pool = Pool::with_workers(2)?;
/// let squares = pool.map(|x| x * x, 1..=8u64)?;
/// assert_eq!(squares, [1, 4, 9, 16, 25, 36, 49, 64]);
/// # Ok::<(), procession_pool::Error>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    view: View,
}

impl Deref for Pool {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl Pool {
    /// Starts one worker per usable CPU (affinity and cgroup quota).
    ///
    /// # Errors
    ///
    /// [`PoolError`]: no worker is left behind.
    pub fn new() -> Result<Pool, PoolError> {
        Self::builder().build()
    }

    /// Starts `workers` workers.
    ///
    /// # Errors
    ///
    /// [`PoolError::WorkerCount`] for 0 and above [`MAX_WORKERS`](crate::MAX_WORKERS); others as
    /// [`new`](Self::new).
    pub fn with_workers(workers: usize) -> Result<Pool, PoolError> {
        Self::builder().workers(workers).build()
    }

    /// A pool with chosen properties.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// The pool of this process that is there for all: made on first use, one worker per usable
    /// CPU. Workers start when there is something to do, and leave after five minutes without.
    ///
    /// It is never dropped; its workers end with the program. In a task it is a pool of the
    /// worker's own.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); the next use tries again.
    ///
    /// # Examples
    ///
    /// ```
    /// let lengths = procession_pool::Pool::global()?.map(|s: String| s.len(), ["a".to_string()])?;
    /// assert_eq!(lengths, [1]);
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn global() -> Result<&'static Pool, PoolError> {
        static GLOBAL: OnceLock<Pool> = OnceLock::new();
        if let Some(pool) = GLOBAL.get() {
            return Ok(pool);
        }
        let builder = Self::builder().lazy().idle_timeout(IDLE);
        let pool = builder.build()?;
        Ok(GLOBAL.get_or_init(|| pool))
    }

    pub(crate) fn start(config: Config, options: Options) -> Result<Pool, PoolError> {
        let inner = Inner::new(config)?;
        // The news of the workers' start.
        inner.attend(inner.shared.family.news());
        let view = View::new(inner, options);
        Ok(Pool { view })
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        self.view.inner()
    }

    /// How many workers the pool keeps.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner().workers()
    }

    /// Makes it `workers` workers, at least 1.
    ///
    /// Those that are too many leave when they have finished what they have in hand. A pool has room
    /// for 256, or for as many as it was made with.
    ///
    /// # Errors
    ///
    /// [`PoolError::WorkerCount`]: there is no room for as many; nothing changes.
    pub fn resize(&self, workers: usize) -> Result<(), PoolError> {
        self.inner().resize(workers)
    }

    /// Process ids of the workers.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        let inner = self.inner();
        if inner.shared.family.is_present() {
            inner.attend(inner.shared.family.news());
        }
        inner.crew.pids()
    }

    /// What the pool has done up to now, and what its workers are at.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(2)?;
    /// pool.map(|n: u32| n + 1, 0..100)?;
    /// let stats = pool.stats();
    /// assert_eq!((stats.items, stats.restarts), (100, 0));
    /// println!("half of the items took {:?} or less", stats.run_time.quantile(0.5));
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.inner().stats()
    }

    /// Runs `function` with `argument` once in every worker, and returns their outcomes in the order
    /// of the workers.
    ///
    /// A worker does so when it has finished what it has in hand. One that is started later does not:
    /// see [`initializer`](PoolBuilder::initializer).
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(3)?;
    /// let pids = pool.broadcast(|()| std::process::id(), &());
    /// assert_eq!(pids.len(), 3);
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    #[must_use = "errors are among the outcomes"]
    pub fn broadcast<A, R>(&self, function: fn(A) -> R, argument: &A) -> Vec<Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        crate::broadcast::run(self.view.job(crate::run::Code::of(function)), argument)
    }

    /// Takes no more tasks from now on. Those submitted are finished; then the workers leave.
    pub fn close(&self) {
        self.inner().close();
    }

    /// Waits until the closed pool has finished its tasks and its workers have left.
    ///
    /// Also for calls of other threads, which go on to their end. Not for an [`Imap`](crate::Imap) that
    /// nobody asks: items that it takes later fail with [`TaskError::Closed`].
    ///
    /// # Errors
    ///
    /// [`TaskError::NotClosed`] if it was not closed: it would wait for ever;
    /// [`TaskError::InCallback`] in a callback of an [`AsyncResult`](crate::AsyncResult): so it would.
    pub fn join(&self) -> Result<(), TaskError> {
        self.inner().check_joinable()?;
        self.inner().join(None);
        Ok(())
    }

    /// As [`join`](Self::join), at most for `timeout`: whether the workers have left.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, TaskError> {
        self.inner().check_joinable()?;
        Ok(self.inner().join(Instant::now().checked_add(timeout)))
    }

    /// Kills the workers now, with whatever they run. Items that were running fail with
    /// [`TaskError::WorkerDied`], those that had not begun with [`TaskError::Closed`]. Handles of
    /// outcomes whose callbacks run at that moment on another thread are ready when those have ended.
    pub fn terminate(&self) {
        self.inner().terminate();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let inner = self.inner();
        if inner.shared.family.is_present() {
            inner.terminate();
            inner.stop_keeping();
        }
    }
}

/// How long the workers of the global pool stay without work.
const IDLE: Duration = Duration::from_secs(300);
