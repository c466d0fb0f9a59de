//! Process executors with chosen properties.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use procession_pool::raw::Policy;
use procession_pool::{
    Event as PoolEvent, Initialized, Output, PoolBuilder, PoolError, StartMethod,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::process::{ProcessPoolExecutor, Processes};

type Hook = Box<dyn Fn(&PoolEvent) + Send + Sync>;

/// Makes a [`ProcessPoolExecutor`] with chosen properties: see [`ProcessPoolExecutor::builder`].
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, ProcessPoolExecutor};
/// use std::time::Duration;
///
/// let executor = ProcessPoolExecutor::builder()
///     .workers(2)
///     .max_tasks_per_child(1_000)
///     .task_timeout(Duration::from_secs(30))
///     .max_pending(10_000)
///     .build()?;
/// assert_eq!(executor.submit(|n: u32| n + 1, 1).result()?, 2);
/// # Ok::<(), procession_executor::Error>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct ProcessPoolBuilder {
    pool: PoolBuilder,
    policy: Policy,
    chunksize: Option<usize>,
    max_pending: Option<usize>,
    broken_on_crash: bool,
    hook: Option<Hook>,
}

impl fmt::Debug for ProcessPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolBuilder")
            .field("pool", &self.pool)
            .field("policy", &self.policy)
            .field("max_pending", &self.max_pending)
            .field("broken_on_crash", &self.broken_on_crash)
            .finish_non_exhaustive()
    }
}

impl ProcessPoolBuilder {
    /// At most `futures` futures may be without an outcome: then [`submit`](crate::Executor::submit)
    /// waits, and [`try_submit`](crate::Executor::try_submit) says no. No limit unless set.
    pub fn max_pending(mut self, futures: usize) -> Self {
        self.max_pending = Some(futures);
        self
    }

    /// Has the death of a worker break the executor, as Python's does: all futures without an outcome
    /// fail with [`TaskError::Broken`](crate::TaskError::Broken), which tells how the worker died, and
    /// so do those submitted later. The future of the task that the worker had in hand has
    /// [`TaskError::WorkerDied`](crate::TaskError::WorkerDied).
    ///
    /// Workers that were killed by a time-out or by [`Future::kill`](crate::Future::kill) do not count.
    pub fn broken_on_crash(mut self, broken: bool) -> Self {
        self.broken_on_crash = broken;
        self
    }

    /// As [`PoolBuilder::workers`].
    #[doc(alias = "max_workers")]
    pub fn workers(mut self, workers: usize) -> Self {
        self.pool = self.pool.workers(workers);
        self
    }

    /// As [`PoolBuilder::start_method`].
    #[doc(alias = "mp_context")]
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.pool = self.pool.start_method(method);
        self
    }

    /// As [`PoolBuilder::initializer`]. Where it fails in every worker, futures fail with
    /// [`TaskError::InitFailed`](crate::TaskError::InitFailed).
    pub fn initializer<A, R>(mut self, function: fn(A) -> R, argument: A) -> Self
    where
        A: Serialize + DeserializeOwned,
        R: Initialized,
    {
        self.pool = self.pool.initializer(function, argument);
        self
    }

    /// As [`PoolBuilder::finalizer`].
    pub fn finalizer<R: Initialized>(mut self, function: fn() -> R) -> Self {
        self.pool = self.pool.finalizer(function);
        self
    }

    /// As [`PoolBuilder::start_timeout`].
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.pool = self.pool.start_timeout(timeout);
        self
    }

    /// As [`PoolBuilder::max_tasks_per_worker`], by Python's name.
    #[doc(alias = "max_tasks_per_worker")]
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.pool = self.pool.max_tasks_per_worker(tasks);
        self
    }

    /// As [`PoolBuilder::memory_limit`].
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.pool = self.pool.memory_limit(bytes);
        self
    }

    /// As [`PoolBuilder::nice`].
    pub fn nice(mut self, nice: i32) -> Self {
        self.pool = self.pool.nice(nice);
        self
    }

    /// As [`PoolBuilder::pin`].
    pub fn pin(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.pool = self.pool.pin(cpus);
        self
    }

    /// As [`PoolBuilder::env`].
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.pool = self.pool.env(name, value);
        self
    }

    /// As [`PoolBuilder::current_dir`].
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.pool = self.pool.current_dir(directory);
        self
    }

    /// As [`PoolBuilder::idle_timeout`].
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.pool = self.pool.idle_timeout(timeout);
        self
    }

    /// As [`PoolBuilder::lazy`].
    pub fn lazy(mut self) -> Self {
        self.pool = self.pool.lazy();
        self
    }

    /// As [`PoolBuilder::restart_limit`].
    pub fn restart_limit(mut self, restarts: usize) -> Self {
        self.pool = self.pool.restart_limit(restarts);
        self
    }

    /// As [`PoolBuilder::output`].
    pub fn output(mut self, output: Output) -> Self {
        self.pool = self.pool.output(output);
        self
    }

    /// As [`PoolBuilder::on_event`].
    pub fn on_event(mut self, hook: impl Fn(&PoolEvent) + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// As [`PoolBuilder::trace`].
    pub fn trace(mut self, path: impl AsRef<Path>) -> Self {
        self.pool = self.pool.trace(path);
        self
    }

    /// As [`Executor::timeout`](crate::Executor::timeout), for all tasks.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = Some(timeout);
        self
    }

    /// As [`Executor::grace`](crate::Executor::grace), for all tasks.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.policy.grace = grace;
        self
    }

    /// As [`Executor::retries`](crate::Executor::retries), for all tasks.
    pub fn retries(mut self, retries: u32) -> Self {
        self.policy.retries = retries;
        self
    }

    /// As [`Executor::backoff`](crate::Executor::backoff), for all tasks.
    pub fn backoff(mut self, first: Duration) -> Self {
        self.policy.backoff = first;
        self
    }

    /// As [`Executor::crash_limit`](crate::Executor::crash_limit), for all tasks.
    pub fn crash_limit(mut self, deaths: usize) -> Self {
        self.policy.crash_limit = Some(deaths);
        self
    }

    /// As [`Executor::chunksize`](crate::Executor::chunksize), for all calls of `map`.
    pub fn chunksize(mut self, items: usize) -> Self {
        self.chunksize = Some(items);
        self
    }

    /// Starts the executor.
    ///
    /// # Errors
    ///
    /// [`PoolError`]: no worker is left behind.
    pub fn build(self) -> Result<ProcessPoolExecutor, PoolError> {
        let ProcessPoolBuilder { mut pool, hook, .. } = self;
        let breaks = self.broken_on_crash;
        let place: Arc<OnceLock<Weak<Processes>>> = Arc::default();
        if breaks {
            pool = pool.fragile();
        }
        if breaks || hook.is_some() {
            let place = Arc::clone(&place);
            pool = pool.on_event(move |event| {
                if let Some(hook) = &hook {
                    hook(event);
                }
                if breaks
                    && matches!(event, PoolEvent::WorkerDied { .. })
                    && let Some(processes) = place.get().and_then(Weak::upgrade)
                {
                    processes.break_down();
                }
            });
        }
        let processes = Arc::new(Processes::new(pool.build()?, breaks));
        let _ = place.set(Arc::downgrade(&processes));
        // A worker may have died before there was something to break.
        processes.break_down();
        Ok(ProcessPoolExecutor::assemble(
            processes,
            self.policy,
            self.chunksize,
            self.max_pending,
        ))
    }
}
