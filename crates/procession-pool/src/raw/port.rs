//! A pool, for tasks as bytes.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Instant;

use procession_primitives::Death;

use super::{Done, Function, Items, Policy};
use crate::TaskError;
use crate::filling::{Prepared, Terms};
use crate::hub::{Job, Waiter};
use crate::inner::Inner;
use crate::pool::Pool;
use crate::raw::slot::Deal;

/// A pool, as the layers above use it. It does not keep the pool open.
#[derive(Debug, Clone)]
pub struct Port {
    pool: Arc<Inner>,
}

/// A function with a policy, for any number of tasks.
#[derive(Debug, Clone)]
pub struct Agreement(Arc<Deal>);

impl Port {
    /// That of `pool`.
    #[must_use]
    pub fn new(pool: &Pool) -> Port {
        Port {
            pool: Arc::clone(pool.inner()),
        }
    }

    /// What tasks of `function` under `policy` have in common.
    #[must_use]
    pub fn agree(&self, function: &Function, policy: &Policy) -> Agreement {
        let options = policy.options();
        let terms = Terms::new(function.code(), self.pool.number(), None, &options);
        Agreement(Arc::new(Deal::new(terms, options, None)))
    }

    /// Whether the pool takes tasks from this process.
    ///
    /// # Errors
    ///
    /// [`TaskError::Closed`].
    pub fn check_open(&self) -> Result<(), TaskError> {
        self.pool.check_open()
    }

    /// Submits `items` as one task, whose outcomes `done` gets. Never waits.
    ///
    /// If the pool was closed, the outcome is [`TaskError::Closed`], or that of a task that was just in
    /// time.
    pub fn submit(&self, agreement: Agreement, items: Items, done: Arc<dyn Done>) {
        let count = items.len() as u64;
        if self.pool.crew.looks_deserted() {
            self.pool.crew.rally(&self.pool.shared);
        }
        self.pool.begin(agreement.0, &*done, count, count == 1);
        let job: Arc<dyn Job> = done;
        match self.pool.check_open() {
            Ok(()) => self.pool.place(job, Prepared::new(items)),
            Err(error) => {
                job.fail(0, count as u32, &error);
                job.settle(&self.pool);
            }
        }
    }

    /// Takes back what no worker has begun of the job of `done`. With `running` ends what is in hand,
    /// too, by killing workers. If that was something, `done` is told that it was cancelled, and this
    /// returns true.
    ///
    /// If not, it has its outcome, or gets it: the items are running, or have finished.
    pub fn stop(&self, done: &dyn Done, running: bool) -> bool {
        self.pool.stop_and_tell(done, running)
    }

    /// Whether its one item is with a worker now.
    #[must_use]
    pub fn is_running(&self, done: &dyn Done) -> bool {
        self.pool.kind_of(done) == Some(crate::cell::Kind::Claimed)
    }

    /// Whether its one item has an outcome, which nobody has looked at yet.
    #[must_use]
    pub fn is_finished(&self, done: &dyn Done) -> bool {
        self.pool.is_finished(done)
    }

    /// Has `done` told of its outcome when it comes, also if no thread is in
    /// [`wait`](Self::wait). Otherwise it may be told only then.
    pub fn watch(&self, done: &dyn Done) {
        self.pool.watch_job(done);
    }

    /// Waits until `is_done`, working for the pool meanwhile; false if `deadline` passes first.
    /// `register` is given a waker before this thread sleeps, to be woken when it may be so.
    pub fn wait(
        &self,
        register: &mut dyn FnMut(Waker),
        deadline: Option<Instant>,
        is_done: &dyn Fn() -> bool,
    ) -> bool {
        if is_done() {
            return true;
        }
        let asleep = || {
            let waiter = Arc::new(Waiter::default());
            register(Waker::from(Arc::new(Asleep {
                waiter: Arc::clone(&waiter),
                pool: Arc::clone(&self.pool),
            })));
            waiter
        };
        self.pool.wait_for(asleep, deadline, is_done)
    }

    /// Ends the pool's workers, and gives every task that has no outcome this one. Those that ran have
    /// [`TaskError::WorkerDied`].
    pub fn terminate(&self, error: &TaskError) {
        self.pool.terminate_with(error);
    }

    /// The death that has broken the pool, where it was made to break so.
    #[must_use]
    pub fn broken(&self) -> Option<Death> {
        self.pool.crew.broken()
    }

    /// Whether the job of `done` has ended, or somebody ends it at this moment.
    #[must_use]
    pub fn is_ending(&self, done: &dyn Done) -> bool {
        done.is_stopped()
    }

    /// How many workers the pool is meant to have.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.pool.workers()
    }

    /// Gives the jobs without an outcome that no worker has begun this one.
    pub fn fail_waiting(&self, error: &TaskError) {
        self.pool.fail_hub(error);
    }
}

/// A thread in [`Port::wait`].
struct Asleep {
    waiter: Arc<Waiter>,
    pool: Arc<Inner>,
}

impl Wake for Asleep {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.waiter.bump();
        // It may be the one that sleeps on the inbox.
        self.pool.wake_sleeper();
    }
}
