//! An executor over worker processes.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use procession_pool::raw::{Agreement, Done, Function, Policy, Port, Slot};
use procession_pool::{Death, Pool, PoolError, TaskError};

use crate::backend::{
    Backend, CancelAnswer, CancelMode, Completer, Hints, Rejected, Shutdown, Task,
};
use crate::executor::Executor;
use crate::handle::Handle;
use crate::process_builder::ProcessPoolBuilder;

/// An executor whose tasks run in worker processes.
///
/// A task that crashes costs its own future: that one tells the signal or exit code, the worker is
/// replaced, and the others go on. Where Python breaks the whole executor, and where that is wanted,
/// there is [`broken_on_crash`](ProcessPoolBuilder::broken_on_crash).
///
/// What it does stands with the trait [`Executor`], which it implements.
///
/// # Drop
///
/// Waits for all that was submitted, as [`shutdown`](Executor::shutdown), so that a program that only
/// submits does not end before its tasks. In a callback of a future it does not wait. A task that never
/// ends is waited for, too: [`kill_workers`](Self::kill_workers) ends it, and a
/// [`timeout`](Executor::timeout) keeps it from coming to that.
///
/// # Process death
///
/// When the program ends without that drop, in whatever way, the workers are gone within milliseconds.
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, ProcessPoolExecutor, as_completed};
///
/// let executor = ProcessPoolExecutor::with_workers(2)?;
/// let futures: Vec<_> = (1..=3u64).map(|n| executor.submit(|n| n * n, n)).collect();
/// let mut squares = Vec::new();
/// for future in as_completed(futures) {
///     squares.push(future.result()?);
/// }
/// squares.sort();
/// assert_eq!(squares, [1, 4, 9]);
/// # Ok::<(), procession_executor::Error>(())
/// ```
#[derive(Debug)]
pub struct ProcessPoolExecutor {
    processes: Arc<Processes>,
    handle: Handle,
}

impl ProcessPoolExecutor {
    /// Starts one worker per usable CPU (affinity and cgroup quota).
    ///
    /// # Errors
    ///
    /// [`PoolError`]: no worker is left behind.
    pub fn new() -> Result<ProcessPoolExecutor, PoolError> {
        Self::builder().build()
    }

    /// Starts `workers` workers.
    ///
    /// # Errors
    ///
    /// [`PoolError::WorkerCount`] for 0, and for more than a pool can have; others as [`new`](Self::new).
    pub fn with_workers(workers: usize) -> Result<ProcessPoolExecutor, PoolError> {
        Self::builder().workers(workers).build()
    }

    /// An executor with chosen properties.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::default()
    }

    pub(crate) fn assemble(
        processes: Arc<Processes>,
        policy: Policy,
        chunksize: Option<usize>,
        max_pending: Option<usize>,
    ) -> ProcessPoolExecutor {
        let backend: Arc<dyn Backend> = Arc::<Processes>::clone(&processes);
        let mut handle = Handle::new(backend).with_policy(|own| *own = policy);
        if let Some(items) = chunksize {
            handle = handle.chunksize(items);
        }
        if let Some(most) = max_pending {
            handle = handle.with_max_pending(most);
        }
        ProcessPoolExecutor { processes, handle }
    }

    /// The pool whose workers run the tasks: for its statistics, its size and its own calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_executor::{Executor, ProcessPoolExecutor};
    /// let executor = ProcessPoolExecutor::with_workers(1)?;
    /// executor.submit(|n: u32| n + 1, 1).result()?;
    /// assert_eq!(executor.pool().stats().items, 1);
    /// executor.pool().resize(2)?;
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.processes.pool
    }

    /// Kills the workers now, with whatever they run, and takes no more tasks. Futures of tasks that
    /// ran have [`TaskError::WorkerDied`], those of tasks that had not begun [`TaskError::Cancelled`].
    ///
    /// When this returns, the workers are gone. May be called at any time, also twice.
    #[doc(alias = "terminate_workers")]
    pub fn kill_workers(&self) {
        self.processes.port.terminate(&TaskError::Cancelled);
    }
}

impl Executor for ProcessPoolExecutor {
    fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for ProcessPoolExecutor {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The pool behind an executor, which futures keep alive.
pub(crate) struct Processes {
    pool: Pool,
    port: Port,
    /// Those used last, the latest first.
    agreements: Mutex<Vec<(Function, Arc<Policy>, Agreement)>>,
    /// Where deaths break the executor: the one that did.
    cause: Option<Arc<Cause>>,
}

/// Agreements that are kept.
const KEPT: usize = 8;

/// What a task costs besides its work.
const ROUND_TRIP: Duration = Duration::from_micros(10);

impl Processes {
    pub(crate) fn new(pool: Pool, breaks: bool) -> Processes {
        let port = Port::new(&pool);
        let cause = breaks.then(|| {
            let (port, death) = (port.clone(), OnceLock::new());
            Arc::new(Cause { port, death })
        });
        Processes {
            pool,
            port,
            agreements: Mutex::default(),
            cause,
        }
    }

    fn agreement(&self, function: &Function, policy: &Arc<Policy>) -> Agreement {
        let mut kept = self
            .agreements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_it = |(of, under, _): &(Function, Arc<Policy>, Agreement)| {
            Arc::ptr_eq(under, policy) && of == function
        };
        match kept.iter().position(is_it) {
            Some(0) => {}
            Some(at) => kept[..=at].rotate_right(1),
            None => {
                let agreement = self.port.agree(function, policy);
                kept.truncate(KEPT - 1);
                kept.insert(0, (*function, Arc::clone(policy), agreement));
            }
        }
        kept[0].2.clone()
    }

    /// The death that has broken the executor.
    fn cause(&self) -> Option<&Death> {
        self.cause.as_ref()?.get()
    }

    /// Ends everything since a worker has died.
    pub(crate) fn break_down(&self) {
        if let Some(death) = self.cause() {
            let error = TaskError::Broken(Box::new(death.clone()));
            self.port.terminate(&error);
        }
    }
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processes")
            .field("workers", &self.port.workers())
            .finish_non_exhaustive()
    }
}

impl Backend for Processes {
    fn submit(&self, task: Task) -> Result<(), Box<Rejected>> {
        // In this order: it is closed when it breaks.
        let open = self.port.check_open();
        let open = self.cause().map_or(open, |death| {
            Err(TaskError::Broken(Box::new(death.clone())))
        });
        if let Err(error) = open {
            return Err(Box::new(Rejected { task, error }));
        }
        let agreement = self.agreement(&task.function, &task.policy);
        let Task { items, done, .. } = task;
        let mut done = done.into_done();
        if let Some(cause) = &self.cause {
            let cause = Arc::clone(cause);
            done = Arc::new(Explained { done, cause });
        }
        self.port.submit(agreement, items, done);
        Ok(())
    }

    fn cancel(&self, task: &Completer, how: CancelMode) -> CancelAnswer {
        let done = task.as_done();
        if self.port.stop(done, how == CancelMode::Kill) {
            CancelAnswer::Done
        } else if how == CancelMode::Kill || self.port.is_ending(done) {
            // A worker may have it and not have begun: then it leaves it alone. Or somebody else
            // cancels it at this moment.
            CancelAnswer::Asked
        } else {
            CancelAnswer::TooLate
        }
    }

    fn is_running(&self, task: &Completer) -> bool {
        self.port.is_running(task.as_done())
    }

    fn is_finished(&self, task: &Completer) -> bool {
        self.port.is_finished(task.as_done())
    }

    fn hints(&self) -> Hints {
        Hints::new(self.port.workers(), ROUND_TRIP)
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Instant>) -> bool {
        self.pool.close();
        match how {
            Shutdown::Drain => {}
            Shutdown::Cancel => self.port.fail_waiting(&TaskError::Cancelled),
            Shutdown::Kill => self.port.terminate(&TaskError::Cancelled),
        }
        // Refused where it would wait for the callback that it is called in.
        match deadline {
            None => self.pool.join().is_ok(),
            Some(deadline) => {
                let time = deadline.saturating_duration_since(Instant::now());
                self.pool.join_timeout(time).unwrap_or(false)
            }
        }
    }

    fn wait(
        &self,
        register: &mut dyn FnMut(Waker),
        deadline: Option<Instant>,
        done: &dyn Fn() -> bool,
    ) -> bool {
        self.port.wait(register, deadline, done)
    }

    fn watch(&self, task: &Completer) {
        self.port.watch(task.as_done());
    }
}

/// Tells of workers that were killed since another one had died by the death of that one.
struct Explained {
    done: Arc<dyn Done>,
    cause: Arc<Cause>,
}

/// The death that has broken a pool.
struct Cause {
    port: Port,
    /// Once it was asked about.
    death: OnceLock<Death>,
}

impl Cause {
    fn get(&self) -> Option<&Death> {
        if self.death.get().is_none()
            && let Some(death) = self.port.broken()
        {
            let _ = self.death.set(death);
        }
        self.death.get()
    }
}

impl Done for Explained {
    fn slot(&self) -> &Slot {
        self.done.slot()
    }

    fn take(&self, outcomes: &mut dyn Iterator<Item = (u64, Result<&[u8], TaskError>)>) {
        let broken = |cause: &Death| TaskError::Broken(Box::new(cause.clone()));
        let explain = |error| match (error, self.cause.get()) {
            (TaskError::WorkerDied(death), Some(cause)) if death.pid() != cause.pid() => {
                broken(cause)
            }
            (TaskError::Closed, Some(cause)) => broken(cause),
            (error, _) => error,
        };
        Done::take(
            &*self.done,
            &mut outcomes.map(|(item, outcome)| (item, outcome.map_err(explain))),
        );
    }

    fn finish(&self, spent: Duration) {
        self.done.finish(spent);
    }

    fn cancelled(&self) {
        self.done.cancelled();
    }
}
