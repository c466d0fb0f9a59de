//! Whether an item that failed is tried again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use procession_primitives::{Death, catch};

use crate::TaskError;
use crate::options::Options;
use crate::raw::RetryIf;

/// Longest pause before an attempt.
const BACKOFF_MOST: Duration = Duration::from_secs(3600);

/// Decides about the failed items of one call.
#[derive(Default)]
pub(crate) struct Retries {
    most: u32,
    wanted: Option<RetryIf>,
    backoff: Duration,
    crash_limit: Option<usize>,
    /// The items that have failed before.
    failed: HashMap<u64, Failures>,
}

impl std::fmt::Debug for Retries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retries")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Failures {
    retries: u32,
    attempts: u32,
    deaths: Vec<Death>,
}

/// What becomes of an item.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// This is its outcome.
    Final(TaskError),
    /// It is tried again, at the earliest then. If it cannot be, this is its outcome.
    Again {
        attempt: u32,
        due: Option<Instant>,
        error: TaskError,
    },
}

impl Retries {
    pub(crate) fn new(options: &Options) -> Retries {
        Retries {
            most: options.retries,
            wanted: options.retry_if.clone(),
            backoff: options.backoff,
            crash_limit: options.crash_limit,
            failed: HashMap::new(),
        }
    }

    /// Whether any item can be tried again.
    pub(crate) fn any(&self) -> bool {
        self.most > 0 || self.crash_limit.is_some()
    }

    /// Whom to ask whether a failure is worth another attempt: user code, to be called without a
    /// lock.
    pub(crate) fn asked(&self) -> Option<RetryIf> {
        self.wanted.clone()
    }

    /// What becomes of `item` after `error`, which is worth another attempt if it is `wanted`.
    pub(crate) fn judge(&mut self, item: u64, error: TaskError, wanted: bool) -> Verdict {
        if !self.any() {
            return Verdict::Final(error);
        }
        let failures = self.failed.entry(item).or_default();
        failures.attempts += 1;
        let attempt = failures.attempts;
        if let (TaskError::WorkerDied(death), Some(most)) = (&error, self.crash_limit) {
            failures.deaths.push((**death).clone());
            if failures.deaths.len() >= most.max(1) {
                let deaths = std::mem::take(&mut failures.deaths);
                self.failed.remove(&item);
                return Verdict::Final(TaskError::CrashLimit(deaths.into()));
            }
            return Verdict::Again {
                attempt,
                due: None,
                error,
            };
        }
        if failures.retries >= self.most || !wanted {
            self.failed.remove(&item);
            return Verdict::Final(error);
        }
        let doublings = failures.retries.min(31);
        failures.retries += 1;
        let pause = self.backoff.saturating_mul(1 << doublings);
        let pause = pause.min(BACKOFF_MOST);
        let due = (!pause.is_zero()).then(|| Instant::now() + pause);
        Verdict::Again {
            attempt,
            due,
            error,
        }
    }
}

/// Whether whoever is `asked` wants another attempt after `error`. A panic says no.
pub(crate) fn is_wanted(asked: Option<&RetryIf>, error: &TaskError) -> bool {
    may_differ(error) && asked.is_none_or(|asked| catch(|| asked(error)).unwrap_or(false))
}

/// Whether another attempt can end otherwise.
fn may_differ(error: &TaskError) -> bool {
    matches!(
        error,
        TaskError::Panicked(_) | TaskError::WorkerDied(_) | TaskError::TimedOut(_)
    )
}
