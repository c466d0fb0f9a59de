//! What can be chosen for an executor with threads.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use procession_pool::{MAX_WORKERS, PoolError, cpu_count};

use crate::threads::{Initializer, Settings, ThreadPoolExecutor};

/// Most threads unless their number is chosen.
const MOST: usize = 32;

/// Threads more than CPUs, since some wait.
const MORE: usize = 4;

/// What can be chosen for a [`ThreadPoolExecutor`]: see [`ThreadPoolExecutor::builder`].
#[must_use = "does nothing until it is built"]
pub struct ThreadPoolBuilder {
    workers: Option<usize>,
    prefix: Option<String>,
    initializer: Option<Initializer>,
    max_pending: Option<usize>,
}

impl ThreadPoolBuilder {
    pub(crate) fn new() -> ThreadPoolBuilder {
        ThreadPoolBuilder {
            workers: None,
            prefix: None,
            initializer: None,
            max_pending: None,
        }
    }

    /// At most so many threads; unless set four more than there are CPUs, and at most 32.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Names the threads `PREFIX_0`, `PREFIX_1` and so on; unless set the prefix is
    /// `ThreadPoolExecutor-` and a number. Debuggers show the first 15 bytes of a name.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Has every thread call `initializer` before its first task. It returns `()` or a `Result<(), E>`.
    ///
    /// If it fails or panics, there are no more threads: tasks that have not begun, and those that are
    /// submitted later, end with [`TaskError::NoWorkers`](crate::TaskError::NoWorkers).
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_executor::{Executor, TaskError, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::builder()
    ///     .initializer(|| Err::<(), _>("no licence"))
    ///     .build()?;
    /// let outcome = executor.submit(|n: u32| n, 1).result();
    /// assert!(matches!(outcome, Err(TaskError::NoWorkers(why)) if why.contains("no licence")));
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    pub fn initializer<R: InitResult>(
        mut self,
        initializer: impl Fn() -> R + Send + Sync + 'static,
    ) -> Self {
        self.initializer = Some(Box::new(move || private::Sealed::text(initializer())));
        self
    }

    /// At most so many futures without an outcome: see
    /// [`Handle::with_max_pending`](crate::Handle::with_max_pending). No limit unless set.
    pub fn max_pending(mut self, futures: usize) -> Self {
        self.max_pending = Some(futures);
        self
    }

    /// Makes the executor. No thread is started yet.
    ///
    /// # Errors
    ///
    /// [`PoolError::WorkerCount`]: no workers, or more than [`MAX_WORKERS`].
    pub fn build(self) -> Result<ThreadPoolExecutor, PoolError> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let usual = || cpu_count().get().saturating_add(MORE).min(MOST);
        let workers = self.workers.unwrap_or_else(usual);
        if !(1..=MAX_WORKERS as usize).contains(&workers) {
            return Err(PoolError::WorkerCount(workers));
        }
        let prefix = self.prefix.unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            format!("ThreadPoolExecutor-{number}")
        });
        let settings = Settings {
            workers,
            // No name of a thread can have one.
            prefix: prefix.replace('\0', ""),
            initializer: self.initializer,
        };
        Ok(ThreadPoolExecutor::start(settings, self.max_pending))
    }
}

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder")
            .field("workers", &self.workers)
            .field("prefix", &self.prefix)
            .field("max_pending", &self.max_pending)
            .finish_non_exhaustive()
    }
}

/// What the initialiser of threads returns: `()`, or a `Result<(), E>` whose error says why it failed.
pub trait InitResult: private::Sealed {}

mod private {
    pub trait Sealed {
        fn text(self) -> Result<(), String>;
    }
}

impl InitResult for () {}
impl private::Sealed for () {
    fn text(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> InitResult for Result<(), E> {}
impl<E: fmt::Display> private::Sealed for Result<(), E> {
    fn text(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}
