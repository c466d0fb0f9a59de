//! What can be chosen for a task.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::TaskError;
use crate::options::{Options, Priority};

/// Says whether a failure is worth another attempt.
pub type RetryIf = Arc<dyn Fn(&TaskError) -> bool + Send + Sync>;

/// What can be chosen for a task: as the methods of the same names of [`View`](crate::View).
#[derive(Clone, Default)]
pub struct Policy {
    /// How long an item may take.
    pub timeout: Option<Duration>,
    /// How long after its time-out it is ended.
    pub grace: Duration,
    /// How often an item that failed is tried again.
    pub retries: u32,
    /// Which failures are worth it; all that may end otherwise, unless set.
    pub retry_if: Option<RetryIf>,
    /// How long before the first of these attempts; twice as long before each further one.
    pub backoff: Duration,
    /// How many workers an item may cost, where it is tried again after the death of one.
    pub crash_limit: Option<usize>,
    /// How urgent it is.
    pub priority: Priority,
    /// Where the seeds of its items start.
    pub seed: u64,
}

impl Policy {
    pub(crate) fn options(&self) -> Options {
        Options {
            timeout: self.timeout,
            grace: self.grace,
            retries: self.retries,
            retry_if: self.retry_if.clone(),
            backoff: self.backoff,
            crash_limit: self.crash_limit,
            priority: self.priority,
            seed: self.seed,
            ..Options::default()
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("crash_limit", &self.crash_limit)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}
