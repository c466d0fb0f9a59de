//! Where tasks run: the seam between what has types and what has none.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use procession_pool::TaskError;
use procession_pool::raw::{Done, Function, Items, Policy};

use crate::base::Complete;
use crate::{canceller, park};

/// Runs tasks somewhere: in processes, threads, on other machines.
///
/// Of types it knows none: functions are [`Function`]s, items and values are bytes. Futures, `map`,
/// `wait` and the like stand on it once for all of them, by a [`Handle`](crate::Handle).
///
/// Nothing here is called while this crate holds a lock. A back-end tells [`Completer`]s of outcomes
/// without holding one of its own: that may run callbacks, which may submit, cancel and wait.
///
/// # Examples
///
/// One that runs each task at once:
///
/// ```
/// use procession_executor::{
///     Backend, CancelAnswer, CancelMode, Completer, Executor, Handle, Hints, Rejected, Shutdown, Task,
/// };
/// use std::sync::Arc;
/// use std::time::{Duration, Instant};
///
/// #[derive(Debug)]
/// struct AtOnce;
///
/// impl Backend for AtOnce {
///     fn submit(&self, task: Task) -> Result<(), Box<Rejected>> {
///         task.done.started();
///         for (number, item) in (0..).zip(task.items.iter()) {
///             let outcome = task.function.call(item);
///             task.done.item(number, outcome.as_ref().map(|v| v.bytes()).map_err(Clone::clone));
///         }
///         task.done.finish(None);
///         Ok(())
///     }
///
///     fn cancel(&self, _: &Completer, _: CancelMode) -> CancelAnswer {
///         CancelAnswer::TooLate
///     }
///
///     fn hints(&self) -> Hints {
///         Hints::new(1, Duration::ZERO)
///     }
///
///     fn shutdown(&self, _: Shutdown, _: Option<Instant>) -> bool {
///         true
///     }
/// }
///
/// let executor = Handle::new(Arc::new(AtOnce));
/// assert_eq!(executor.submit(|n: u32| n + 1, 1).result()?, 2);
/// # Ok::<(), procession_executor::Error>(())
/// ```
pub trait Backend: Send + Sync + fmt::Debug {
    /// Takes a task. Never waits.
    ///
    /// # Errors
    ///
    /// [`Rejected`]: the task comes back; nothing of it runs, and its completer was not told anything.
    fn submit(&self, task: Task) -> Result<(), Box<Rejected>>;

    /// Takes back a task that has not begun; with [`CancelMode::Kill`] ends one that runs.
    fn cancel(&self, task: &Completer, how: CancelMode) -> CancelAnswer;

    /// Whether a task runs now. Unless overridden, whether [`started`](Completer::started) was said.
    fn is_running(&self, task: &Completer) -> bool {
        task.has_started()
    }

    /// Whether a task has finished although its completer was not told yet, since that is done by
    /// whoever [waits](Self::wait): also with no time left. Never, unless overridden.
    fn is_finished(&self, task: &Completer) -> bool {
        let _ = task;
        false
    }

    /// How much it can do at once, and what a task costs.
    fn hints(&self) -> Hints;

    /// Takes no more tasks, and waits until all that it has taken have come to an end, or `deadline`
    /// has passed. Whether they have. May be called again, also with another `how`.
    ///
    /// With a `deadline` that has passed it does not wait; nor where that would never end, as in one of
    /// its own threads.
    fn shutdown(&self, how: Shutdown, deadline: Option<Instant>) -> bool;

    /// Waits until `done`, or `deadline` has passed: then the result is false.
    ///
    /// `register` is given a waker, which is woken when it may be so; after that, and before sleeping,
    /// `done` has to be asked again. A waker is woken until `wait` returns: one is enough.
    ///
    /// Where whoever waits does the work, a back-end overrides this. Otherwise the thread is parked.
    fn wait(
        &self,
        register: &mut dyn FnMut(Waker),
        deadline: Option<Instant>,
        done: &dyn Fn() -> bool,
    ) -> bool {
        park::until(register, deadline, done)
    }

    /// Somebody wants to be told of the outcome of this task who is not in [`wait`](Self::wait): there
    /// is a callback, or an async task. Nothing, unless overridden.
    fn watch(&self, task: &Completer) {
        let _ = task;
    }
}

/// What a back-end is to run: a function on one or several items.
#[derive(Debug)]
pub struct Task {
    /// The function.
    pub function: Function,
    /// Its items; at least one.
    pub items: Items,
    /// How it is to be run.
    pub policy: Arc<Policy>,
    /// Who is told of the outcomes.
    pub done: Completer,
}

/// A task that a back-end did not take.
#[derive(Debug)]
pub struct Rejected {
    /// The task.
    pub task: Task,
    /// The outcome that its items get.
    pub error: TaskError,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the task was not taken: {}", self.error)
    }
}

impl std::error::Error for Rejected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Which tasks to take back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelMode {
    /// Those that have not begun.
    Queued,
    /// Those that run, too, if they can be ended.
    Kill,
}

/// What has become of a task that was to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It will not run, or was ended. Whoever asked makes its outcome [`TaskError::Cancelled`]. The task
    /// may be dropped in the call.
    Done,
    /// It runs, or has finished: its outcome comes as if nobody had asked.
    TooLate,
    /// Its outcome will tell, soon.
    Asked,
}

/// How a back-end comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// All that was submitted is finished.
    Drain,
    /// What has not begun is cancelled; what runs is finished.
    Cancel,
    /// What runs is ended, too, where that can be done.
    Kill,
}

/// What is good to know of a back-end before tasks are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hints {
    /// How many items can run at once.
    pub slots: usize,
    /// What it costs to send a task and get its outcome.
    pub round_trip: Duration,
}

impl Hints {
    /// `slots` items can run at once, and a task costs `round_trip`.
    #[must_use]
    pub const fn new(slots: usize, round_trip: Duration) -> Hints {
        Hints { slots, round_trip }
    }
}

/// Is told of the outcomes of one task.
///
/// # Drop
///
/// Items that have no outcome when the completer of a [`Task`] is dropped get [`TaskError::Protocol`]:
/// whatever a back-end does, nobody waits for ever.
pub struct Completer {
    target: Arc<dyn Complete>,
    /// It is that of the task, and sees to it that there is an outcome when it is dropped.
    is_own: bool,
}

impl Completer {
    /// That of a task.
    pub(crate) fn new(target: Arc<dyn Complete>) -> Completer {
        let is_own = true;
        Completer { target, is_own }
    }

    /// Says which task is meant.
    pub(crate) fn name(target: &Arc<dyn Complete>) -> Completer {
        let (target, is_own) = (Arc::clone(target), false);
        Completer { target, is_own }
    }

    /// Item `item` of the task, counted from 0, has this outcome: an encoded value, or why there is
    /// none.
    ///
    /// The first outcome of an item counts; later ones are dropped. Of a task of one item this runs
    /// the callbacks of its future.
    pub fn item(&self, item: u32, outcome: Result<&[u8], TaskError>) {
        self.target.item(item, outcome);
    }

    /// All items have been told of; those that were not get [`TaskError::Protocol`]. `spent` is the time
    /// that the functions took, if it is known: from that `map` learns how large chunks should be.
    pub fn finish(&self, spent: Option<Duration>) {
        self.target.end(spent);
    }

    /// Gives all items that have no outcome this one, and ends the task.
    pub fn fail(&self, error: TaskError) {
        self.target.end_with(error);
    }

    /// Says that the task runs now.
    pub fn started(&self) {
        self.target.base().start();
    }

    /// Whether the task has an outcome, or will have one without running: it need not run.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.target.base().is_unwanted()
    }

    /// A number that no other task of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.target.base().id()
    }

    /// As [`started`](Self::started), unless the task need not run: then it is false.
    pub(crate) fn start(&self) -> bool {
        self.target.base().start()
    }

    /// Takes the task back: it will never start. False if it has started, or has its outcome.
    pub(crate) fn revoke(&self) -> bool {
        self.target.base().revoke()
    }

    /// What a pool tells of the outcomes, in place of this.
    pub(crate) fn into_done(mut self) -> Arc<dyn Done> {
        self.is_own = false;
        Arc::<dyn Complete>::clone(&self.target)
    }

    /// The same, to ask about it.
    pub(crate) fn as_done(&self) -> &dyn Done {
        &*self.target
    }

    pub(crate) fn has_started(&self) -> bool {
        self.target.base().has_started()
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        if self.is_own && !self.is_cancelled() && !canceller::is_dropped_by_cancel(self.id()) {
            self.target.end(None);
        }
    }
}

impl fmt::Debug for Completer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Completer").field(&self.id()).finish()
    }
}
