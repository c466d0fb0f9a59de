//! What a pool can do with functions, and the options of calls.

use std::sync::Arc;
use std::time::Duration;

use procession_primitives::boarding;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::args::Args;
use crate::async_result::AsyncResult;
use crate::builder::encode_block;
use crate::collect::{AllOrFirstError, Ordered};
use crate::imap::Imap;
use crate::inner::Inner;
use crate::map::{self, Job};
use crate::options::{Options, Priority};
use crate::run::Code;
use crate::submit;

/// A [`Pool`](crate::Pool) with options for the calls that are made through it.
///
/// Options are set on a view and give another view; the pool itself is the one without any beyond
/// what its builder has set.
///
/// # Examples
///
/// ```
/// use procession_pool::Pool;
/// use std::time::Duration;
///
/// let pool = Pool::with_workers(2)?;
/// let tuned = pool.chunksize(500).timeout(Duration::from_secs(2)).retries(1);
/// let squares = tuned.map(|x: u64| x * x, 0..10_000)?;
/// assert_eq!(squares[9_999], 99_980_001);
/// # Ok::<(), procession_pool::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct View {
    inner: Arc<Inner>,
    options: Options,
}

impl View {
    pub(crate) fn new(inner: Arc<Inner>, options: Options) -> View {
        View { inner, options }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    fn with(&self, change: impl FnOnce(&mut Options)) -> View {
        let mut view = self.clone();
        change(&mut view.options);
        view
    }

    /// Sends `items` items at a time to a worker, at least 1.
    ///
    /// Unless set, chunks adapt: they start with one item, grow to about a millisecond of work,
    /// and shrink towards the end, to 10 microseconds of work at the least. Where the pool has run the
    /// function on items before, it remembers how long they took, and where the input's length is known,
    /// chunks start with as many of those as make a fair share. Python's default is
    /// [`python_chunksize`](crate::python_chunksize).
    #[must_use]
    pub fn chunksize(&self, items: usize) -> View {
        self.with(|options| options.chunksize = Some(items))
    }

    /// How many items [`imap`](Self::imap) and [`imap_unordered`](Self::imap_unordered) take from
    /// their iterator before the first of them has been handed out, at least 1.
    ///
    /// Unless set, as many as keep the workers busy: eight chunks per worker, and at most 64 MiB of
    /// encoded items and values, unless a few items are larger.
    #[must_use]
    pub fn buffersize(&self, items: usize) -> View {
        self.with(|options| options.buffersize = Some(items))
    }

    /// Ends an item that takes longer than `timeout`, by killing its worker, which is replaced: that
    /// item fails with [`TaskError::TimedOut`], others are not touched, also those of its chunk.
    ///
    /// The time of an item runs from when its worker begins to decode it until its value is encoded.
    /// A function can ask for the time left and return by itself: see
    /// [`CurrentTask`](crate::CurrentTask) and [`grace`](Self::grace). Precise to a few milliseconds.
    #[must_use]
    pub fn timeout(&self, timeout: Duration) -> View {
        self.with(|options| options.timeout = Some(timeout))
    }

    /// How long after its [`timeout`](Self::timeout) an item is ended; none unless set. In that time
    /// [`should_stop`](crate::CurrentTask::should_stop) is true; a function that returns then keeps
    /// its worker, and its value counts.
    #[must_use]
    pub fn grace(&self, grace: Duration) -> View {
        self.with(|options| options.grace = grace)
    }

    /// Tries an item again that has failed, up to `retries` times: after a panic, the death of its
    /// worker or a time-out. Its outcome is that of the last attempt.
    ///
    /// None unless set: whether a function may run twice only its author knows.
    #[must_use]
    pub fn retries(&self, retries: u32) -> View {
        self.with(|options| options.retries = retries)
    }

    /// Which failures are worth another attempt, where [`retries`](Self::retries) are left.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_pool::{Pool, TaskError};
    /// # let pool = Pool::with_workers(1)?;
    /// let crashed = |error: &TaskError| matches!(error, TaskError::WorkerDied(_));
    /// let outcomes = pool.retries(3).retry_if(crashed).map_results(|n: u32| n + 1, 0..3);
    /// assert!(outcomes.iter().all(Result::is_ok));
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    #[must_use]
    pub fn retry_if(&self, wanted: impl Fn(&TaskError) -> bool + Send + Sync + 'static) -> View {
        self.with(|options| options.retry_if = Some(Arc::new(wanted)))
    }

    /// How long to wait before the first retry of an item; twice as long before each further one.
    /// Not at all unless set.
    #[must_use]
    pub fn backoff(&self, first: Duration) -> View {
        self.with(|options| options.backoff = first)
    }

    /// Runs an item again whose worker has died, until it has cost `deaths` workers: then it fails
    /// with [`TaskError::CrashLimit`], which lists them. Deaths do not count as
    /// [`retries`](Self::retries) then.
    #[must_use]
    pub fn crash_limit(&self, deaths: usize) -> View {
        self.with(|options| options.crash_limit = Some(deaths))
    }

    /// With the first item that fails, ends those that are running and leaves the others alone: they
    /// fail with [`TaskError::Cancelled`]. Otherwise a call goes on to its last item.
    #[must_use]
    pub fn fail_fast(&self) -> View {
        self.with(|options| options.fail_fast = true)
    }

    /// How urgent these tasks are among those of the pool.
    #[must_use]
    pub fn priority(&self, priority: Priority) -> View {
        self.with(|options| options.priority = priority)
    }

    /// Where the [`seed`](crate::CurrentTask::seed)s of the items start; 0 unless set.
    #[must_use]
    pub fn seed(&self, seed: u64) -> View {
        self.with(|options| options.seed = seed)
    }

    /// Shows how far calls are that go over many items: done and total, rate, time left, failed items
    /// and restarted workers. On standard error, if that is a terminal.
    #[cfg(feature = "progress")]
    #[must_use]
    pub fn progress(&self) -> View {
        self.with(|options| options.progress = true)
    }

    pub(crate) fn job(&self, code: Result<Code, TaskError>) -> Job<'_> {
        Job {
            pool: &self.inner,
            options: &self.options,
            code,
            context: Ok(None),
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
        map::apply(self.job(Code::of(function)), &item)
    }

    /// Runs `function` on each item and returns the values in the order of the items.
    ///
    /// Waits for all items, also after an error, unless [`fail_fast`](Self::fail_fast) is set.
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
        collect(self.job(Code::of(function)), items)
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
    #[must_use = "errors are among the outcomes"]
    pub fn map_results<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Vec<Result<R, TaskError>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        collect_results(self.job(Code::of(function)), items)
    }

    /// As [`map`](Self::map), for a function of two to eight arguments, of which each item is a
    /// tuple.
    ///
    /// `function` is a closure written in place: a named function is called in one, as
    /// `|base, power| u64::pow(base, power)`.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// # Panics
    ///
    /// If `items` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(1)?;
    /// assert_eq!(pool.starmap(|a, b| a + b, [(1, 2), (3, 4)])?, [3, 7]);
    /// assert_eq!(pool.starmap(|base, power| u64::pow(base, power), [(2, 10)])?, [1024]);
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn starmap<T, R>(
        &self,
        function: T::Function<R>,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Vec<R>, TaskError>
    where
        T: Args + Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        collect(self.job(Code::of_star::<T, R>(function)), items)
    }

    /// As [`map`](Self::map), with a context for `function` besides the item: what a closure would
    /// capture. It is sent once, and decoded once by each worker that takes part.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// # Panics
    ///
    /// If `items` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(1)?;
    /// let names = vec!["one".to_string(), "two".to_string()];
    /// let lengths = pool.map_with(&names, |names, i: usize| names[i].len(), 0..2)?;
    /// assert_eq!(lengths, [3, 3]);
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn map_with<C, A, R>(
        &self,
        context: &C,
        function: fn(&C, A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, TaskError>
    where
        C: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        collect(self.job_with(context, function), items)
    }

    /// As [`map_with`](Self::map_with), with one outcome per item as
    /// [`map_results`](Self::map_results).
    ///
    /// # Panics
    ///
    /// If `items` does.
    pub fn map_with_results<C, A, R>(
        &self,
        context: &C,
        function: fn(&C, A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Vec<Result<R, TaskError>>
    where
        C: Serialize + DeserializeOwned + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        collect_results(self.job_with(context, function), items)
    }

    fn job_with<C, A, R>(&self, context: &C, function: fn(&C, A) -> R) -> Job<'_>
    where
        C: Serialize + DeserializeOwned + 'static,
        A: DeserializeOwned,
        R: Serialize,
    {
        let (context, _) = boarding(|| encode_block(context));
        Job {
            context: context.map(Some).map_err(submit::refused),
            ..self.job(Code::of_with(function))
        }
    }

    /// As [`map`](Self::map), with a state that `init` makes in each worker before its first item of
    /// this call, and that its items share.
    ///
    /// After a panic of `function` the state is made anew. If `init` panics, so has the item.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    ///
    /// # Panics
    ///
    /// If `items` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(1)?;
    /// let count = |seen: &mut u64, n: u64| { *seen += n; *seen };
    /// assert_eq!(pool.map_init(|| 100, count, [1, 2, 3])?, [101, 103, 106]);
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn map_init<S, A, R>(
        &self,
        init: fn() -> S,
        function: fn(&mut S, A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, TaskError>
    where
        S: 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        collect(self.job(Code::of_init(init, function)), items)
    }

    /// Runs `function` on each item, and returns an iterator over the outcomes in the order of the
    /// items.
    ///
    /// Items are taken as they are needed, and at most so far ahead as
    /// [`buffersize`](Self::buffersize) says: where Python reads the whole input at once, memory
    /// stays bounded here, for endless inputs, too.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(1)?;
    /// for (n, outcome) in pool.imap(|n: u64| n * n, 0..).take(3).enumerate() {
    ///     assert_eq!(outcome?, (n * n) as u64);
    /// }
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<I::IntoIter, R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self.job(Code::of(function)), items.into_iter(), true)
    }

    /// As [`imap`](Self::imap), with outcomes in the order in which they come.
    pub fn imap_unordered<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<I::IntoIter, R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self.job(Code::of(function)), items.into_iter(), false)
    }

    /// Submits one item, and returns a handle of its outcome.
    ///
    /// The item is encoded before this returns; if that fails, or the pool is closed, the outcome is
    /// there at once and says so. However many are submitted, all are accepted: those for which
    /// there is no room with the workers are kept in the memory of this process.
    pub fn apply_async<A, R>(&self, function: fn(A) -> R, item: A) -> AsyncResult<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        submit::one(self.job(Code::of(function)), &item)
    }

    /// Submits all items, and returns a handle of their values, in order, or of the error of the
    /// first item that has none.
    ///
    /// The items are encoded before this returns.
    ///
    /// # Panics
    ///
    /// If `items` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(1)?;
    /// let many = pool
    ///     .map_async(|n: u64| n * n, 0..100)
    ///     .on_done(|values| println!("{} done", values.len()))
    ///     .on_error(|error| eprintln!("{error}"));
    /// assert_eq!(many.get()?.len(), 100);
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn map_async<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> AsyncResult<Vec<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        submit::many(self.job(Code::of(function)), items)
    }

    /// As [`map_async`](Self::map_async), for a function of several arguments as of
    /// [`starmap`](Self::starmap).
    ///
    /// # Panics
    ///
    /// If `items` does.
    pub fn starmap_async<T, R>(
        &self,
        function: T::Function<R>,
        items: impl IntoIterator<Item = T>,
    ) -> AsyncResult<Vec<R>>
    where
        T: Args + Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        submit::many(self.job(Code::of_star::<T, R>(function)), items)
    }
}

pub(crate) fn collect<A, R>(
    job: Job<'_>,
    items: impl IntoIterator<Item = A>,
) -> Result<Vec<R>, TaskError>
where
    A: Serialize,
    R: DeserializeOwned,
{
    let mut items = items.into_iter();
    let mut values = AllOrFirstError::new(items.size_hint().0);
    let ended = map::run(job, &mut items, &mut values);
    values.finish(ended.map(drop).map_err(|(error, _)| error))
}

fn collect_results<A, R>(
    job: Job<'_>,
    items: impl IntoIterator<Item = A>,
) -> Vec<Result<R, TaskError>>
where
    A: Serialize,
    R: DeserializeOwned,
{
    let mut items = items.into_iter();
    let mut outcomes = Ordered::new(items.size_hint().0);
    // Where the pool gave up, or the call did, every item that has no outcome yet gets this one.
    let (taken, error) = match map::run(job, &mut items, &mut outcomes) {
        Ok(taken) => (taken, TaskError::Cancelled),
        Err((error, taken)) => (taken, error),
    };
    let count = taken + items.count() as u64;
    outcomes.finish(count, || Err(error.clone()))
}
