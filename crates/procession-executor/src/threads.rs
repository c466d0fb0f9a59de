//! An executor with threads.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use procession_pool::{PoolError, TaskError};
use procession_primitives::catch;

use crate::backend::{
    Backend, CancelAnswer, CancelMode, Completer, Hints, Rejected, Shutdown, Task,
};
use crate::executor::Executor;
use crate::handle::Handle;
use crate::queue::Queue;
use crate::threads_builder::ThreadPoolBuilder;
use crate::{callback, run};

/// What a task costs: an item encoded, a thread woken, a value decoded.
const ROUND_TRIP: Duration = Duration::from_micros(10);

/// Runs functions in threads of this process.
///
/// For functions that wait more than they compute, and to try out what is to run in processes. Threads
/// are started when there is something to do that no idle one can take.
///
/// What differs from processes:
///
/// - Items and values are encoded all the same, and a panic is [`TaskError::Panicked`], with its message
///   but without its place; but a function that calls `exit`, or crashes, ends the program.
/// - A function cannot be ended: [`kill`](crate::Future::kill) is [`cancel`](crate::Future::cancel), and
///   [`timeout`](Executor::timeout) plays no part.
/// - A function that waits for another task of the same executor keeps its thread meanwhile. When all
///   threads wait so, none is left for what they wait for.
/// - Between two attempts of an item ([`backoff`](Executor::backoff)) its thread does nothing else.
///
/// # Drop
///
/// As [`shutdown`](Executor::shutdown): waits until all that was submitted has come to an end.
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::with_workers(2)?;
/// let lengths = executor.map(|text: String| text.len(), ["one".to_owned(), "three".to_owned()]);
/// assert_eq!(lengths.collect::<Result<Vec<_>, _>>()?, [3, 5]);
/// # Ok::<(), procession_executor::Error>(())
/// ```
#[derive(Debug)]
pub struct ThreadPoolExecutor {
    handle: Handle,
}

impl ThreadPoolExecutor {
    /// With four threads more than there are [CPUs](procession_pool::cpu_count), and at most 32.
    ///
    /// # Errors
    ///
    /// None: no thread is started yet. It returns a result so that executors can be exchanged.
    pub fn new() -> Result<ThreadPoolExecutor, PoolError> {
        Self::builder().build()
    }

    /// With at most `workers` threads.
    ///
    /// # Errors
    ///
    /// [`PoolError::WorkerCount`]: none, or more than [`MAX_WORKERS`](procession_pool::MAX_WORKERS).
    pub fn with_workers(workers: usize) -> Result<ThreadPoolExecutor, PoolError> {
        Self::builder().workers(workers).build()
    }

    /// Chooses more.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    pub(crate) fn start(settings: Settings, max_pending: Option<usize>) -> ThreadPoolExecutor {
        let inner = Arc::new(Inner {
            settings,
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
        });
        let mut handle = Handle::new(Arc::new(Threads(inner)));
        if let Some(most) = max_pending {
            handle = handle.with_max_pending(most);
        }
        ThreadPoolExecutor { handle }
    }
}

impl Executor for ThreadPoolExecutor {
    fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Called by each thread before its first task.
pub(crate) type Initializer = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What was chosen.
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) prefix: String,
    pub(crate) initializer: Option<Initializer>,
}

struct Inner {
    settings: Settings,
    state: Mutex<State>,
    /// There is something to do, or nothing more will come.
    work: Condvar,
    /// The last thread ends.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    threads: usize,
    /// Threads that are going to look at the queue before they do anything else that may take long.
    free: usize,
    /// Those of them that sleep.
    asleep: usize,
    /// So many were started, for their names.
    started: usize,
    handles: Vec<JoinHandle<()>>,
    is_closed: bool,
    /// Why there will be no more threads.
    broken: Option<TaskError>,
}

thread_local! {
    /// Whose thread this is.
    static OWNER: OnceCell<Arc<Inner>> = const { OnceCell::new() };
    /// It counts as free.
    static IS_FREE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread of `inner`.
fn is_own(inner: &Arc<Inner>) -> bool {
    let is_it = |owner: &OnceCell<Arc<Inner>>| {
        let owner = owner.get();
        owner.is_some_and(|owner| Arc::ptr_eq(owner, inner))
    };
    OWNER.try_with(is_it).unwrap_or(false)
}

/// A thread that counts as free is about to run a callback, which may wait for what is in the queue.
fn is_busy_again() {
    let _ = OWNER.try_with(|owner| {
        if let Some(inner) = owner.get().filter(|_| IS_FREE.replace(false)) {
            inner.lock().free -= 1;
            inner.staff();
        }
    });
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that somebody takes what is in the queue.
    fn staff(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.queue.len() <= state.free || state.threads >= self.settings.workers {
            let asleep = state.asleep;
            drop(state);
            if asleep > 0 {
                self.work.notify_one();
            }
            return;
        }
        state.threads += 1;
        state.free += 1;
        let name = format!("{}_{}", self.settings.prefix, state.started);
        state.started += 1;
        drop(state);
        let inner = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name(name)
            .spawn(move || work(&inner));
        match spawned {
            Ok(handle) => self.lock().handles.push(handle),
            Err(error) => self.leave(Some(&error.to_string())),
        }
    }

    /// A free thread is no more. Where it was the last one, what is in the queue has this outcome.
    fn leave(&self, why: Option<&str>) {
        let mut state = self.lock();
        state.free -= 1;
        state.threads -= 1;
        let mut left = Vec::new();
        if state.threads == 0 {
            self.ended.notify_all();
            if why.is_some() {
                left = state.queue.drain();
            }
        }
        drop(state);
        fail(left, &TaskError::NoWorkers(why.unwrap_or_default().into()));
    }

    /// The initialiser failed.
    fn give_up(&self, why: &str) {
        let error = TaskError::NoWorkers(format!("the initialiser failed: {why}").into());
        let mut state = self.lock();
        let error = state.broken.get_or_insert(error).clone();
        let left = state.queue.drain();
        drop(state);
        self.work.notify_all();
        fail(left, &error);
    }

    /// Runs a task on this thread.
    fn run(&self, task: &Task) {
        run::run(task, || {
            // Whoever gets the outcome and submits the next task finds a thread for it.
            self.lock().free += 1;
            IS_FREE.set(true);
            callback::before_next(Some(is_busy_again));
        });
        callback::before_next(None);
    }
}

fn fail(tasks: Vec<Task>, error: &TaskError) {
    for task in tasks {
        task.done.fail(error.clone());
    }
}

/// What a thread does.
fn work(inner: &Arc<Inner>) {
    let _ = OWNER.with(|owner| owner.set(Arc::clone(inner)));
    if let Some(initializer) = &inner.settings.initializer {
        let failed = match catch(initializer) {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(panic) => Some(panic.to_string()),
        };
        if let Some(why) = failed {
            inner.give_up(&why);
        }
    }
    let mut state = inner.lock();
    while state.broken.is_none() {
        if let Some(task) = state.queue.pop() {
            state.free -= 1;
            drop(state);
            // It panics for nobody; if it did, the task would have an outcome by its drop.
            let _ = catch(|| inner.run(&task));
            // What is dropped here may be the user's.
            let _ = catch(|| drop(task));
            state = inner.lock();
            if !IS_FREE.replace(false) {
                state.free += 1;
            }
        } else if state.is_closed {
            break;
        } else {
            let work = &inner.work;
            state.asleep += 1;
            state = work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
    }
    drop(state);
    inner.leave(None);
}

#[derive(Debug)]
struct Threads(Arc<Inner>);

impl Backend for Threads {
    fn submit(&self, task: Task) -> Result<(), Box<Rejected>> {
        let mut state = self.0.lock();
        let error = match &state.broken {
            Some(error) => Some(error.clone()),
            None => state.is_closed.then_some(TaskError::Closed),
        };
        if let Some(error) = error {
            return Err(Box::new(Rejected { task, error }));
        }
        state.queue.push(task);
        drop(state);
        self.0.staff();
        Ok(())
    }

    fn cancel(&self, task: &Completer, _how: CancelMode) -> CancelAnswer {
        if !task.revoke() {
            return CancelAnswer::TooLate;
        }
        let swept = self.0.lock().queue.revoked();
        drop(swept);
        CancelAnswer::Done
    }

    fn hints(&self) -> Hints {
        Hints::new(self.0.settings.workers, ROUND_TRIP)
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Instant>) -> bool {
        let mut state = self.0.lock();
        state.is_closed = true;
        let cancelled = match how {
            Shutdown::Drain => Vec::new(),
            Shutdown::Cancel | Shutdown::Kill => state.queue.drain(),
        };
        drop(state);
        self.0.work.notify_all();
        for task in cancelled {
            // Runs its callbacks: so one by one, and without the lock.
            task.done.revoke();
            task.done.fail(TaskError::Cancelled);
        }
        self.0.join(deadline)
    }
}

impl Inner {
    /// Waits until all threads have ended.
    fn join(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        if is_own(self) {
            // This thread ends after this.
            return false;
        }
        let mut state = self.lock();
        while state.threads > 0 {
            let ended = &self.ended;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return false,
                None => ended.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = ended.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            // It panics for nobody.
            let _ = handle.join();
        }
        true
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("ThreadPool")
            .field("workers", &self.settings.workers)
            .field("threads", &state.threads)
            .field("waiting", &state.queue.len())
            .field("is_closed", &state.is_closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
