//! The typed jobs of `apply_async` and `map_async`.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use procession_primitives::Block;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::call::Collected;
use crate::collect::{AllOrFirstError, Receive};
use crate::filling::{Prepared, Terms};
use crate::hub::{Job, Waiting};
use crate::inner::Inner;
use crate::outcome::outcomes;
use crate::promise::Promise;
use crate::raw::RetryIf;
use crate::retry::{Retries, Verdict, is_wanted};

/// A job that a handle stands for.
pub(crate) trait Handled<T>: Job {
    fn promise(&self) -> &Promise<T>;

    /// Makes its outcome that it was cancelled, unless it has one. Whether it did.
    fn cancel(&self, pool: &Inner) -> bool;
}

/// Tasks whose values become one outcome.
pub(crate) struct Gather<R, T> {
    me: Weak<Gather<R, T>>,
    terms: Terms,
    /// Of one task: its cell + 1, 0 without one.
    cell: AtomicU32,
    is_one: bool,
    stopped: AtomicBool,
    state: Mutex<State<R>>,
    /// Who is asked whether a failure is worth another attempt.
    asked: Option<RetryIf>,
    finish: fn(Result<Vec<R>, TaskError>) -> Result<T, TaskError>,
    promise: Promise<T>,
    /// Freed with the job.
    _context: Option<(Block, usize)>,
}

struct State<R> {
    values: Option<AllOrFirstError<R>>,
    /// Items without an outcome.
    left: u64,
    retries: Retries,
    fail_fast: bool,
}

/// How a job is to be run.
pub(crate) struct Plan {
    pub(crate) terms: Terms,
    pub(crate) context: Option<(Block, usize)>,
    pub(crate) items: u64,
    pub(crate) is_one: bool,
    pub(crate) retries: Retries,
    pub(crate) fail_fast: bool,
}

impl<R, T> Gather<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    pub(crate) fn new(
        pool: &Inner,
        plan: Plan,
        finish: fn(Result<Vec<R>, TaskError>) -> Result<T, TaskError>,
    ) -> Arc<Self> {
        pool.hub.begin();
        if plan.terms.limit > 0 && pool.crew.time(plan.terms.limit, false) {
            pool.nudge();
        }
        let expected = usize::try_from(plan.items).unwrap_or(0);
        let asked = plan.retries.asked();
        let state = State {
            values: Some(AllOrFirstError::new(expected)),
            left: plan.items,
            retries: plan.retries,
            fail_fast: plan.fail_fast,
        };
        Arc::new_cyclic(|me| Gather {
            me: me.clone(),
            terms: plan.terms.guarded(),
            cell: AtomicU32::new(0),
            is_one: plan.is_one,
            stopped: AtomicBool::new(false),
            state: Mutex::new(state),
            asked,
            finish,
            promise: Promise::default(),
            _context: plan.context,
        })
    }

    /// Ends the job with `outcome`, unless it has one.
    pub(crate) fn complete(&self, pool: &Inner, outcome: Result<T, TaskError>) -> bool {
        let first = self.promise.complete(outcome);
        if first {
            if self.terms.limit > 0 {
                pool.crew.time(self.terms.limit, true);
            }
            pool.hub.end(pool);
        }
        first
    }
}

impl<T: Send + 'static> Gather<(), T> {
    /// A job that has failed before it began.
    pub(crate) fn failed(error: TaskError) -> Arc<Self> {
        let promise = Promise::default();
        promise.complete(Err(error));
        Arc::new_cyclic(|me| Gather {
            me: me.clone(),
            terms: Terms::none(),
            cell: AtomicU32::new(0),
            is_one: true,
            stopped: AtomicBool::new(true),
            state: Mutex::new(State {
                values: None,
                left: 0,
                retries: Retries::default(),
                fail_fast: false,
            }),
            asked: None,
            finish: |_| Err(TaskError::Closed),
            promise,
            _context: None,
        })
    }
}

impl<R, T> Gather<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    /// Keeps outcomes, but for those of items that are tried again.
    fn judge(
        &self,
        pool: &Inner,
        collected: &Collected,
        decoded: Vec<(u64, Result<R, TaskError>, bool)>,
        again: &mut Vec<Waiting>,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State {
            values,
            left,
            retries,
            ..
        } = &mut *state;
        let Some(values) = values else { return };
        for (item, outcome, wanted) in decoded {
            let verdict = match outcome {
                Err(error) if !self.is_stopped() => retries.judge(item, error, wanted),
                Err(error) => Verdict::Final(error),
                Ok(value) => {
                    *left = left.saturating_sub(1);
                    values.begin(item);
                    values.push(Ok(value));
                    values.end();
                    continue;
                }
            };
            let error = match verdict {
                Verdict::Final(error) => error,
                Verdict::Again {
                    attempt,
                    due,
                    error,
                } => {
                    let at = (item - collected.first) as u32;
                    let prepared = Prepared::again(pool, collected.index, at);
                    if let (Some(prepared), Some(me)) = (prepared, self.me.upgrade()) {
                        self.cell.store(0, Ordering::Relaxed);
                        again.push(Waiting {
                            job: me,
                            prepared,
                            first: item,
                            attempt,
                            due,
                        });
                        continue;
                    }
                    error
                }
            };
            *left = left.saturating_sub(1);
            values.begin(item);
            values.push(Err(error));
            values.end();
        }
    }
}

impl<R, T> Job for Gather<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn take(&self, pool: &Inner, collected: &Collected) -> Vec<Waiting> {
        // The user's code, so without the lock: decoders, and who is asked about retries.
        let mut decoded = Vec::new();
        outcomes::<R>(collected, &mut |item, outcome| {
            let asked = self.asked.as_ref();
            let wanted = outcome.as_ref().is_err_and(|error| is_wanted(asked, error));
            decoded.push((item, outcome, wanted));
        });
        let mut again = Vec::new();
        self.judge(pool, collected, decoded, &mut again);
        // The hook for events is the user's, too.
        for task in &again {
            pool.retried(task.first, task.attempt);
        }
        again
    }

    fn fail(&self, first: u64, items: u32, error: &TaskError) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = &mut state.values {
            values.begin(first);
            for _ in 0..items {
                values.push(Err(error.clone()));
            }
            values.end();
        }
        state.left = state.left.saturating_sub(u64::from(items));
    }

    fn cell(&self) -> Option<Option<u32>> {
        self.is_one
            .then(|| self.cell.load(Ordering::Relaxed).checked_sub(1))
    }

    fn placed(&self, index: u32) {
        self.cell.store(index + 1, Ordering::Relaxed);
    }

    fn settle(&self, pool: &Inner) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failing = state.fail_fast && state.values.as_ref().is_some_and(|all| all.has_failed());
        if state.left > 0 && !failing {
            return;
        }
        let Some(values) = state.values.take() else {
            return;
        };
        drop(state);
        if failing {
            self.stop();
            pool.stop_job(self, true);
        }
        self.complete(pool, (self.finish)(values.finish(Ok(()))));
    }
}

impl<R, T> Handled<T> for Gather<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    fn promise(&self) -> &Promise<T> {
        &self.promise
    }

    fn cancel(&self, pool: &Inner) -> bool {
        self.complete(pool, Err(TaskError::Cancelled))
    }
}
