//! Pools with chosen properties.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use procession_primitives::{
    Block, EncodeError, Family, OutputCapture, StartMethod, Writer, boarding, cpu_count, encode,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Event, Hook};
use crate::options::Options;
use crate::pool::Pool;
use crate::run::{self, Initialized};
use crate::{PoolError, TaskError};

/// Makes a [`Pool`] with chosen properties: see [`Pool::builder`].
///
/// # Examples
///
/// ```
/// use procession_pool::Pool;
/// use std::time::Duration;
///
/// let pool = Pool::builder()
///     .workers(2)
///     .max_tasks_per_worker(1_000)
///     .task_timeout(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(pool.map(|n| n + 1, 0..3)?, [1, 2, 3]);
/// # Ok::<(), procession_pool::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct PoolBuilder {
    pub(crate) config: Config,
    options: Options,
    failed: Option<PoolError>,
}

/// What becomes of a worker's output: see [`PoolBuilder::output`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// It goes where that of the program goes.
    #[default]
    Inherited,
    /// Its end is kept for errors, and not shown.
    Captured,
    /// Its end is kept, and it is passed on line by line, with the worker's index before each.
    Tee,
}

/// What all workers of a pool have in common.
#[derive(Default)]
pub(crate) struct Config {
    workers: Option<usize>,
    pub(crate) initializer: Option<(run::Hook, Block, usize)>,
    pub(crate) finalizer: Option<run::Hook>,
    pub(crate) start_timeout: Option<Duration>,
    pub(crate) start_method: Option<StartMethod>,
    pub(crate) max_items: Option<u64>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) nice: Option<i32>,
    pub(crate) pinned: Option<Vec<usize>>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) lazy: bool,
    pub(crate) restart_limit: Option<usize>,
    pub(crate) hook: Option<Hook>,
    /// The first worker that dies of its own is the end of the pool.
    pub(crate) fragile: bool,
    pub(crate) trace: Option<PathBuf>,
    #[cfg(any(feature = "log", feature = "tracing"))]
    pub(crate) logs: Option<crate::logs::Logs>,
    /// What keeps the workers' output, and whether it is passed on.
    pub(crate) capture: Option<(OutputCapture, bool)>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("workers", &self.workers())
            .finish_non_exhaustive()
    }
}

impl Config {
    pub(crate) fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| cpu_count().get())
    }
}

impl PoolBuilder {
    /// How many workers the pool has; one per usable CPU (affinity and cgroup quota) unless set.
    #[doc(alias = "processes")]
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = Some(workers);
        self
    }

    /// Has every worker call `function` with `argument` before its first task.
    ///
    /// `function` returns `()` or a `Result<(), E>`. What it prepares it leaves in statics, where
    /// tasks find it. The argument is sent once per pool.
    ///
    /// Where Python starts workers for ever whose initialiser fails, this pool tries a few times
    /// per worker; when no worker comes through, calls fail with [`TaskError::InitFailed`]. A
    /// process that dies in the initialiser is replaced in the same way.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_pool::Pool;
    /// use std::sync::OnceLock;
    ///
    /// static GREETING: OnceLock<String> = OnceLock::new();
    ///
    /// let pool = Pool::builder()
    ///     .workers(1)
    ///     .initializer(|greeting| GREETING.set(greeting).unwrap(), "hello".to_string())
    ///     .build()?;
    /// let greet = |name: String| format!("{} {name}", GREETING.get().unwrap());
    /// assert_eq!(pool.apply(greet, "world".to_string())?, "hello world");
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn initializer<A, R>(mut self, function: fn(A) -> R, argument: A) -> Self
    where
        A: Serialize + DeserializeOwned,
        R: Initialized,
    {
        match run::hook(function) {
            Ok(hook) => match encode_block(&argument) {
                Ok((block, len)) => self.config.initializer = Some((hook, block, len)),
                Err(error) => self.failed = Some(error),
            },
            Err(error) => self.failed = Some(PoolError::Function(error)),
        }
        self
    }

    /// How workers are started; that of the program unless set: see
    /// [`StartMethod`](procession_primitives::StartMethod).
    ///
    /// With `Spawn` the executable is executed anew for each. `Fork` is refused where this process has
    /// more than one thread, also for a worker that takes the place of a dead one.
    #[doc(alias = "mp_context")]
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.config.start_method = Some(method);
        self
    }

    /// How long a worker may take to start, its initialiser included, and to leave, its finaliser
    /// included, before it is killed and another one started. Unless set, both may take for ever.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.config.start_timeout = Some(timeout);
        self
    }

    /// Has every worker call `function` before it leaves in good order: when the pool was closed or
    /// made smaller, when the worker has done its share of items, or had nothing to do. Not when it
    /// is killed, as by [`terminate`](crate::Pool::terminate).
    pub fn finalizer<R: Initialized>(mut self, function: fn() -> R) -> Self {
        match run::last_hook(function) {
            Ok(hook) => self.config.finalizer = Some(hook),
            Err(error) => self.failed = Some(PoolError::Function(error)),
        }
        self
    }

    /// Has a worker make room for a fresh one after so many items, at least 1: for functions that
    /// leak.
    ///
    /// So that not all workers leave at once, each one's share is up to a quarter smaller. Where
    /// Python counts chunks, these are items; in the middle of a chunk another worker goes on.
    #[doc(alias = "maxtasksperchild")]
    pub fn max_tasks_per_worker(mut self, items: u64) -> Self {
        self.config.max_items = Some(items.max(1));
        self
    }

    /// How much private memory a worker may have, in bytes.
    ///
    /// An item that needs more fails with [`TaskError::WorkerDied`], whose
    /// [`out_of_memory`](crate::Death::out_of_memory) is `Some(true)`; the machine is not harmed. A
    /// worker that has come to three quarters of it makes room for a fresh one between two tasks:
    /// a function that leaks loses no item.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.config.memory_limit = Some(bytes);
        self
    }

    /// Adds to the niceness of the workers: the higher, the less they disturb others.
    pub fn nice(mut self, nice: i32) -> Self {
        self.config.nice = Some(nice);
        self
    }

    /// Binds each worker to one of `cpus`, in turn.
    pub fn pin(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        let cpus: Vec<_> = cpus.into_iter().collect();
        self.config.pinned = Some(cpus).filter(|cpus| !cpus.is_empty());
        self
    }

    /// Sets an environment variable of the workers, such as `OMP_NUM_THREADS`.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let pair = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.config.environment.push(pair);
        self
    }

    /// The directory of the workers; that of this process unless set.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.config.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Has workers leave that had nothing to do for so long. They are started again when there is
    /// more to do. Unless set, they stay.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = Some(timeout);
        self
    }

    /// Starts workers only when there is something to do for them.
    pub fn lazy(mut self) -> Self {
        self.config.lazy = true;
        self
    }

    /// How many dead workers the pool replaces in all before it gives up, and its calls fail with
    /// [`TaskError::RestartLimit`]. No limit unless set, but for workers that die before their first
    /// task: after three of them per worker, and ten more, without one that lives, the pool gives up.
    pub fn restart_limit(mut self, restarts: usize) -> Self {
        self.config.restart_limit = Some(restarts);
        self
    }

    /// As [`View::timeout`](crate::View::timeout), for all calls.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// As [`View::grace`](crate::View::grace), for all calls.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// As [`View::retries`](crate::View::retries), for all calls.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        self
    }

    /// As [`View::backoff`](crate::View::backoff), for all calls.
    pub fn backoff(mut self, first: Duration) -> Self {
        self.options.backoff = first;
        self
    }

    /// As [`View::crash_limit`](crate::View::crash_limit), for all calls.
    pub fn crash_limit(mut self, deaths: usize) -> Self {
        self.options.crash_limit = Some(deaths);
        self
    }

    /// As [`View::chunksize`](crate::View::chunksize), for all calls.
    pub fn chunksize(mut self, items: usize) -> Self {
        self.options.chunksize = Some(items);
        self
    }

    /// What becomes of what workers write to standard output and standard error.
    ///
    /// Unless set it goes where that of the program goes. What is captured is bounded in memory, never
    /// blocks a worker, and its last lines are in the [`Death`](crate::Death) of a worker: see
    /// [`stderr_tail`](crate::Death::stderr_tail). Capturing takes a thread of the program.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_pool::{Output, Pool, TaskError};
    ///
    /// let pool = Pool::builder().workers(1).output(Output::Captured).build()?;
    /// let complain = |()| -> () {
    ///     eprintln!("no coffee left");
    ///     std::process::exit(1)
    /// };
    /// let Err(TaskError::WorkerDied(death)) = pool.apply(complain, ()) else { panic!() };
    /// assert_eq!(death.stderr_tail(), Some("no coffee left\n"));
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn output(mut self, output: Output) -> Self {
        let tee = match output {
            Output::Inherited => {
                self.config.capture = None;
                return self;
            }
            Output::Captured => false,
            Output::Tee => true,
        };
        match OutputCapture::new() {
            Ok(capture) => self.config.capture = Some((capture, tee)),
            Err(error) => self.failed = Some(PoolError::Output(error)),
        }
        self
    }

    /// Passes on what workers log, by the `log` crate or by `tracing`, to the logger or subscriber of
    /// the program, as far as that wants it when a worker starts.
    ///
    /// A record of `log` has the worker's index before its text; an event of `tracing` has the target
    /// `procession_pool::worker`, with the worker's index and its own target as fields. Spans of
    /// workers are not passed on. An initialiser that installs a logger in a worker is told that there
    /// is one. Takes a thread of the program.
    #[cfg(any(feature = "log", feature = "tracing"))]
    pub fn forward_logs(mut self) -> Self {
        match crate::logs::Logs::start() {
            Ok(logs) => self.config.logs = Some(logs),
            Err(error) => {
                self.failed = Some(PoolError::Output(std::io::Error::other(error.to_string())));
            }
        }
        self
    }

    /// Calls `hook` with what happens in the pool.
    ///
    /// On whichever thread of the program notices: one that waits in a call, or one of the pool's
    /// own. A panic in it is printed and otherwise ignored.
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.config.hook = Some(Arc::new(hook));
        self
    }

    /// For the executors above: see [`Port::broken`](crate::raw::Port::broken).
    #[doc(hidden)]
    pub fn fragile(mut self) -> Self {
        self.config.fragile = true;
        self
    }

    /// Writes what the workers did when to a file, which Perfetto and `chrome://tracing` open.
    ///
    /// The file is made with the pool and complete when the pool has been dropped.
    pub fn trace(mut self, path: impl AsRef<Path>) -> Self {
        self.config.trace = Some(path.as_ref().to_owned());
        self
    }

    /// Starts the pool.
    ///
    /// # Errors
    ///
    /// [`PoolError`]: no worker is left behind.
    pub fn build(self) -> Result<Pool, PoolError> {
        match self.failed {
            Some(error) => Err(error),
            None => Pool::start(self.config, self.options),
        }
    }
}

/// Encodes `value` into a block of this process.
pub(crate) fn encode_block<T: Serialize>(value: &T) -> Result<(Block, usize), PoolError> {
    let family = Family::current()?;
    let mut writer = Writer::new(family, 64)?;
    let (encoded, passengers) = boarding(|| encode(value, &mut writer));
    encoded.map_err(PoolError::Argument)?;
    if !passengers.is_empty() {
        let boarded = passengers.board(writer.id());
        boarded.map_err(|error| PoolError::Argument(EncodeError::Failed(error.to_string())))?;
    }
    Ok(writer.finish())
}

impl From<TaskError> for PoolError {
    fn from(error: TaskError) -> Self {
        Self::Function(error)
    }
}
