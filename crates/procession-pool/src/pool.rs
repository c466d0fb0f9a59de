//! The pool itself, and views of it with other options.

use std::sync::Arc;
use std::time::{Duration, Instant};

use procession_primitives::cpu_count;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Chunks;
use crate::collect::{AllOrFirstError, Ordered};
use crate::inner::Inner;
use crate::map;
use crate::{PoolError, TaskError};

/// A pool of worker processes.
///
/// Whatever a task does, its item gets exactly one outcome, the other items are not touched, and
/// the pool stays usable: a panic comes back as a value, and a worker that dies (a signal, an
/// `exit`, out of memory) costs the one item that it had in hand and is replaced.
///
/// Functions are function items or closures without captures. Items and values are of any serde
/// type; they are encoded with postcard and passed through shared memory.
///
/// # Drop
///
/// Terminates the pool: running tasks are killed. [`close`](Self::close) and
/// [`join`](Self::join) let them finish.
///
/// # Process death
///
/// When the program ends, in whatever way, its workers are gone within milliseconds.
///
/// # Examples
///
/// ```
/// use procession_pool::Pool;
///
/// let pool = Pool::with_workers(2)?;
/// let squares = pool.map(|x| x * x, 1..=8u64)?;
/// assert_eq!(squares, [1, 4, 9, 16, 25, 36, 49, 64]);
/// # Ok::<(), procession_pool::Error>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    inner: Arc<Inner>,
    options: Options,
}

/// What can be chosen per call.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    chunksize: Option<usize>,
}

impl Pool {
    /// Starts one worker per usable CPU (affinity and cgroup quota).
    ///
    /// # Errors
    ///
    /// [`PoolError`]: no worker is left behind.
    pub fn new() -> Result<Pool, PoolError> {
        Self::with_workers(cpu_count().get())
    }

    /// Starts `workers` workers.
    ///
    /// # Errors
    ///
    /// [`PoolError::WorkerCount`] for 0 and above [`MAX_WORKERS`](crate::MAX_WORKERS); others as
    /// [`new`](Self::new).
    pub fn with_workers(workers: usize) -> Result<Pool, PoolError> {
        Ok(Pool {
            inner: Arc::new(Inner::new(workers)?),
            options: Options::default(),
        })
    }

    /// How many workers the pool keeps.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner.workers
    }

    /// Process ids of the workers. One that has died is among them until a call replaces it.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        self.inner.crew.pids()
    }

    /// A view of this pool in which calls send `items` items at a time to a worker, at least 1.
    ///
    /// Unless set, chunks adapt: they start with one item, grow to about a millisecond of work,
    /// and shrink towards the end. Python's default is [`python_chunksize`](crate::python_chunksize).
    #[must_use]
    pub fn chunksize(&self, items: usize) -> View<'_> {
        let options = Options {
            chunksize: Some(items),
        };
        View {
            inner: &self.inner,
            options,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            inner: &self.inner,
            options: self.options,
        }
    }

    /// Runs `function` on one item and returns its value.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: why there is no value.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(1)?;
    /// assert_eq!(pool.apply(|(a, b)| a + b, (1u32, 2))?, 3);
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn apply<A, R>(&self, function: fn(A) -> R, item: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        map::apply(&self.inner, function, &item)
    }

    /// Runs `function` on each item and returns the values in the order of the items.
    ///
    /// Waits for all items, also after an error.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] of the first item that has no value; the values of the others are
    /// dropped. [`map_results`](Self::map_results) keeps them.
    ///
    /// # Panics
    ///
    /// If `items` does.
    pub fn map<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.view().map(function, items)
    }

    /// Runs `function` on each item and returns one outcome per item, in the order of the items.
    ///
    /// # Panics
    ///
    /// If `items` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_pool::{Pool, TaskError};
    ///
    /// let pool = Pool::with_workers(2)?;
    /// let outcomes = pool.map_results(|n: u32| if n == 2 { std::process::abort() } else { n }, 0..4);
    /// assert_eq!(outcomes.iter().flatten().collect::<Vec<_>>(), [&0, &1, &3]);
    /// let Err(TaskError::WorkerDied(death)) = &outcomes[2] else { panic!() };
    /// assert_eq!(death.signal(), Some(6));
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn map_results<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Vec<Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.view().map_results(function, items)
    }

    /// Takes no more tasks from now on. Those submitted are finished; then the workers leave.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Waits until the closed pool has finished its tasks and its workers have left.
    ///
    /// # Errors
    ///
    /// [`TaskError::NotClosed`] if it was not closed: it would wait for ever.
    pub fn join(&self) -> Result<(), TaskError> {
        self.inner.check_closed()?;
        self.inner.join(None);
        Ok(())
    }

    /// As [`join`](Self::join), at most for `timeout`: whether the workers have left.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, TaskError> {
        self.inner.check_closed()?;
        Ok(self.inner.join(Instant::now().checked_add(timeout)))
    }

    /// Kills the workers now, with whatever they run. Items that were running fail with
    /// [`TaskError::WorkerDied`], those that had not begun with [`TaskError::Closed`].
    pub fn terminate(&self) {
        self.inner.terminate();
    }
}

/// A [`Pool`] with other options for the calls made through it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    inner: &'a Inner,
    options: Options,
}

impl View<'_> {
    /// As [`Pool::chunksize`].
    #[must_use]
    pub fn chunksize(mut self, items: usize) -> Self {
        self.options.chunksize = Some(items);
        self
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    ///
    /// # Panics
    ///
    /// If `items` does.
    pub fn map<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let mut items = items.into_iter();
        let mut values = AllOrFirstError::new(items.size_hint().0);
        let ended = map::run(self.inner, function, &mut items, self.chunks(), &mut values);
        values.finish(ended.map_err(|(error, _)| error))
    }

    /// As [`Pool::map_results`].
    ///
    /// # Panics
    ///
    /// If `items` does.
    pub fn map_results<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Vec<Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let mut items = items.into_iter();
        let mut outcomes = Ordered::new(items.size_hint().0);
        let ended = map::run(
            self.inner,
            function,
            &mut items,
            self.chunks(),
            &mut outcomes,
        );
        match ended {
            Ok(()) => outcomes.into_vec(),
            Err((error, taken)) => {
                // The pool gave up: every item that has no outcome yet gets this one.
                let count = taken + items.count() as u64;
                outcomes.finish(count, || Err(error.clone()))
            }
        }
    }

    fn chunks(&self) -> Chunks {
        Chunks::new(self.options.chunksize, self.inner.workers)
    }
}
