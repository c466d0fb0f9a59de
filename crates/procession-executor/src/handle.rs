//! An executor without an owner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use procession_pool::TaskError;
use procession_pool::raw::{Function, Items, Policy};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::{Backend, Completer, Shutdown, Task};
use crate::base::{Base, Complete};
use crate::callback;
use crate::executor::{Executor, TrySubmitError};
use crate::future::Future;
use crate::limit::Limit;
use crate::promise::{Promise, decode_value};

/// An executor, as what uses it sees it: one type for all of them.
///
/// Cheap to clone. Each [`Executor`] has one; those that its methods give have options, too. A program
/// that decides when it runs where its tasks are to run keeps a `Handle`.
///
/// # Drop
///
/// Nothing happens: it does not own the executor. After that has been dropped, tasks end with
/// [`TaskError::Closed`].
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, Handle, InlineExecutor, ThreadPoolExecutor};
///
/// let threads = ThreadPoolExecutor::new()?;
/// let inline = InlineExecutor::new();
/// let debugging = std::env::args().any(|argument| argument == "--debug");
/// let executor: &Handle = if debugging { inline.handle() } else { threads.handle() };
/// assert_eq!(executor.submit(|n: u64| n * n, 7).result()?, 49);
/// # Ok::<(), procession_executor::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Handle {
    backend: Arc<dyn Backend>,
    limit: Option<Arc<Limit>>,
    options: Arc<Options>,
}

/// What can be chosen per call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) policy: Arc<Policy>,
    pub(crate) chunksize: Option<usize>,
    pub(crate) buffersize: Option<usize>,
    pub(crate) map_timeout: Option<Duration>,
}

/// How long a call may wait for room.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// Not even to look whether somebody has finished meanwhile.
    None,
    /// Also if that is now: a wait without time hears of those who have finished.
    Until(Option<Instant>),
}

impl Handle {
    /// That of a back-end.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Handle {
        Handle {
            backend,
            limit: None,
            options: Arc::default(),
        }
    }

    /// With room for at most `futures` that have no outcome, at least 1, counted anew: those of this
    /// handle and of its clones.
    ///
    /// When there is no more room [`submit`](Executor::submit) waits, and
    /// [`try_submit`](Executor::try_submit) does not submit. What a chunk of a
    /// [`map`](Executor::map) holds counts as one. In a callback `submit` does not wait: it may be the
    /// callback for which a place would become free.
    #[must_use]
    pub fn with_max_pending(mut self, futures: usize) -> Handle {
        self.limit = Some(Arc::new(Limit::new(futures)));
        self
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    pub(crate) fn limit(&self) -> Option<&Arc<Limit>> {
        self.limit.as_ref()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut Options)) -> Handle {
        let mut handle = self.clone();
        change(Arc::make_mut(&mut handle.options));
        handle
    }

    pub(crate) fn with_policy(&self, change: impl FnOnce(&mut Policy)) -> Handle {
        self.with(|options| change(Arc::make_mut(&mut options.policy)))
    }

    /// What is known of a promise of one of its tasks, for which there is a place.
    pub(crate) fn base(&self) -> Base {
        Base::new(Some(Arc::clone(&self.backend)), self.limit.clone())
    }

    /// Takes a place for a future. False if there is none in time.
    pub(crate) fn admit(&self, patience: Patience) -> bool {
        let Some(limit) = &self.limit else {
            return true;
        };
        match patience {
            _ if callback::is_any() => {
                limit.take_anyway();
                true
            }
            Patience::None => limit.try_take(),
            Patience::Until(deadline) => limit.take(&*self.backend, deadline),
        }
    }

    /// Submits an item, if there is room for it in time.
    pub(crate) fn submit_in<A, R>(
        &self,
        patience: Patience,
        function: fn(A) -> R,
        item: A,
    ) -> Result<Future<R>, TrySubmitError<A>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        if !self.admit(patience) {
            return Err(TrySubmitError::Full(item));
        }
        let promise = Arc::new(Promise::new(decode_value::<R>, self.base()));
        let target: Arc<dyn Complete> = Arc::<Promise<R>>::clone(&promise);
        let mut items = Items::new();
        let encoded = items.push(&item);
        let encoded = encoded.map_err(|error| TaskError::ItemEncode(Box::new(error)));
        match encoded.and_then(|()| Function::of(function)) {
            Err(error) => {
                target.end_with(error);
            }
            Ok(function) => {
                if let Err(error) = self.send(function, items, target) {
                    return Err(TrySubmitError::Closed(item, error));
                }
            }
        }
        Ok(Future::new(promise))
    }

    /// Hands a task to the back-end. On an error its items have that outcome.
    pub(crate) fn send(
        &self,
        function: Function,
        items: Items,
        target: Arc<dyn Complete>,
    ) -> Result<(), TaskError> {
        let task = Task {
            function,
            items,
            policy: Arc::clone(&self.options.policy),
            done: Completer::new(target),
        };
        self.backend.submit(task).map_err(|rejected| {
            let error = rejected.error;
            rejected.task.done.fail(error.clone());
            error
        })
    }

    pub(crate) fn end(&self, how: Shutdown, deadline: Option<Instant>) -> bool {
        // A callback may run on the thread for which this would wait.
        let now = callback::is_any().then(Instant::now);
        self.backend.shutdown(how, now.or(deadline))
    }
}

impl Executor for Handle {
    fn handle(&self) -> &Handle {
        self
    }
}
