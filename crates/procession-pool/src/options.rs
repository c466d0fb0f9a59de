//! What can be chosen per call.

use std::fmt;
use std::time::Duration;

use crate::raw::RetryIf;

/// How urgent a call's tasks are among those of a pool.
///
/// Urgent tasks go first, but every sixteenth task that a worker takes is the least urgent one, so
/// that none waits for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// After all others.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// The ring of its tasks: the most urgent one is the first.
    pub(crate) fn ring(self) -> u32 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

/// What can be chosen per call.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) chunksize: Option<usize>,
    pub(crate) buffersize: Option<usize>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) retries: u32,
    pub(crate) retry_if: Option<RetryIf>,
    pub(crate) backoff: Duration,
    pub(crate) crash_limit: Option<usize>,
    pub(crate) fail_fast: bool,
    pub(crate) priority: Priority,
    pub(crate) seed: u64,
    #[cfg(feature = "progress")]
    pub(crate) progress: bool,
}

impl Options {
    /// Whether the worker has to be told of each item that it begins: somebody may end it.
    pub(crate) fn is_guarded(&self) -> bool {
        self.timeout.is_some() || self.fail_fast
    }

    /// Microseconds until an item is told that its time is up, and until it is ended; 0 for never.
    pub(crate) fn limits(&self) -> (u64, u64) {
        let micros = |time: Duration| {
            u64::try_from(time.as_micros())
                .unwrap_or(u64::MAX >> 1)
                .max(1)
        };
        self.timeout.map_or((0, 0), |timeout| {
            (micros(timeout), micros(timeout.saturating_add(self.grace)))
        })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("chunksize", &self.chunksize)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("crash_limit", &self.crash_limit)
            .field("fail_fast", &self.fail_fast)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}
