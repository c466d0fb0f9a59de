//! What happens in a pool, for whoever wants to be told.

use std::time::Duration;

use procession_primitives::{Death, catch};

use crate::worker::InitFailure;

/// Something that has happened in a pool: see [`PoolBuilder::on_event`](crate::PoolBuilder::on_event).
///
/// Workers are named by their index, from 0.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A worker was started.
    WorkerStarted {
        /// Its index.
        worker: usize,
        /// Its process id.
        pid: u32,
        /// Whether it takes the place of one that has died or was killed.
        restart: bool,
    },
    /// A worker has died, of its own or of somebody's signal.
    WorkerDied {
        /// Its index.
        worker: usize,
        /// How.
        death: Death,
    },
    /// A worker has left as it should: it had done its share, had nothing to do, or was dismissed.
    WorkerLeft {
        /// Its index.
        worker: usize,
        /// Its process id.
        pid: u32,
    },
    /// The initialiser failed in a worker.
    InitFailed {
        /// Its index.
        worker: usize,
        /// How.
        failure: InitFailure,
    },
    /// A worker was killed since its item took too long.
    TimedOut {
        /// Its index.
        worker: usize,
        /// How long the item may take.
        limit: Duration,
    },
    /// An item failed and will be tried again.
    Retried {
        /// Its number in the call.
        item: u64,
        /// Which attempt comes next, from 1.
        attempt: u32,
    },
    /// The pool has given up: it starts no more workers.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Calls the user's hook. A panic in it is the hook's alone.
pub(crate) fn tell(hook: Option<&Hook>, events: Vec<Event>) {
    #[cfg(feature = "tracing")]
    for event in &events {
        event.trace();
    }
    if let Some(hook) = hook {
        for event in events {
            let _ = catch(|| hook(&event));
        }
    }
}

pub(crate) type Hook = std::sync::Arc<dyn Fn(&Event) + Send + Sync>;

#[cfg(feature = "tracing")]
impl Event {
    fn trace(&self) {
        match self {
            Self::WorkerStarted { worker, pid, .. } => {
                tracing::debug!(worker, pid, "worker started");
            }
            Self::WorkerDied { worker, death } => tracing::warn!(worker, %death, "worker died"),
            Self::WorkerLeft { worker, pid } => tracing::debug!(worker, pid, "worker left"),
            Self::InitFailed { worker, failure } => {
                tracing::warn!(worker, %failure, "initialiser failed");
            }
            Self::TimedOut { worker, limit } => tracing::warn!(worker, ?limit, "item timed out"),
            Self::Retried { item, attempt } => tracing::debug!(item, attempt, "item tried again"),
            Self::Failed { reason } => tracing::error!(reason, "pool failed"),
        }
    }
}
