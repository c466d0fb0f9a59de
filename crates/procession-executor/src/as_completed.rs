//! Futures in the order in which they are completed.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::callback;
use crate::completions::{Completions, Home};
use crate::future::Future;
use crate::slab::Slab;

/// Hands out `futures` in the order in which they are completed; those that are done by now first, in
/// the order in which they were given. Cancelled ones are among them.
///
/// A completion costs the same however many are pending.
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, ThreadPoolExecutor, as_completed};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let futures = (0..4).map(|n: u64| executor.submit(|n| n * n, n));
/// let mut squares = Vec::new();
/// for future in as_completed(futures) {
///     squares.push(future.result()?);
/// }
/// squares.sort();
/// assert_eq!(squares, [0, 1, 4, 9]);
/// # Ok::<(), procession_executor::Error>(())
/// ```
pub fn as_completed<T: Send + 'static>(
    futures: impl IntoIterator<Item = Future<T>>,
) -> AsCompleted<T> {
    let mut these = AsCompleted {
        pending: Slab::new(),
        set: Arc::default(),
        home: Home::Nowhere,
        total: 0,
        begun: Instant::now(),
        deadline: None,
        unfinished: None,
        is_watched: false,
    };
    let mut numbers = Vec::new();
    for future in futures {
        these.total += 1;
        these.home.add(future.backend());
        let is_done = future.done();
        let number = these.pending.insert(future);
        if is_done {
            these.set.push(number);
        } else {
            numbers.push(number);
        }
    }
    // Not before: one of these may be done in between.
    let mut numbers = numbers.into_iter().peekable();
    for (number, future) in these.pending.iter() {
        if numbers.next_if_eq(&number).is_some() {
            future.join(&these.set, number);
        }
    }
    these
}

/// Futures in the order in which they are completed: see [`as_completed`].
///
/// With the feature `stream` it is also a `futures_core::Stream`.
///
/// # Drop
///
/// Drops the futures that are left; their tasks go on.
#[must_use = "iterators do nothing unless they are asked"]
pub struct AsCompleted<T: Send + 'static> {
    pending: Slab<Future<T>>,
    set: Arc<Completions>,
    home: Home,
    total: usize,
    begun: Instant,
    deadline: Option<Instant>,
    unfinished: Option<Unfinished>,
    /// Every future is watched by its back-end.
    is_watched: bool,
}

impl<T: Send + 'static> AsCompleted<T> {
    /// Ends the iterator when `timeout` has passed since it was made: those that are done by then are
    /// handed out, for the others there is [`unfinished`](Self::unfinished) and
    /// [`into_pending`](Self::into_pending). They go on.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_executor::{Executor, ThreadPoolExecutor, as_completed};
    /// use std::time::Duration;
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let futures = (0..4).map(|n: u64| executor.submit(|n| n * n, n));
    /// let mut squares = as_completed(futures).timeout(Duration::from_secs(3600));
    /// for future in &mut squares {
    ///     println!("{}", future.result()?);
    /// }
    /// if let Some(unfinished) = squares.unfinished() {
    ///     println!("{unfinished}"); // 2 (of 4) futures unfinished
    /// }
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.deadline = self.begun.checked_add(timeout);
        self
    }

    /// Adds a future, also while they are handed out.
    ///
    /// # Examples
    ///
    /// A crawler: what is found is submitted, too.
    ///
    /// ```
    /// use procession_executor::{Executor, ThreadPoolExecutor, as_completed};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let halve = |n: u64| n / 2;
    /// let mut under_way = as_completed([executor.submit(halve, 100)]);
    /// let mut found = Vec::new();
    /// while let Some(future) = under_way.next() {
    ///     let half = future.result()?;
    ///     found.push(half);
    ///     if half > 0 {
    ///         under_way.push(executor.submit(halve, half));
    ///     }
    /// }
    /// assert_eq!(found, [50, 25, 12, 6, 3, 1, 0]);
    /// # Ok::<(), procession_executor::Error>(())
    /// ```
    pub fn push(&mut self, future: Future<T>) {
        self.total += 1;
        self.home.add(future.backend());
        let number = self.pending.insert(future);
        if let Some(future) = self.pending.get(number) {
            future.join(&self.set, number);
            if self.is_watched {
                future.watch();
            }
        }
    }

    /// How many have not been handed out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether all have been handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many had no outcome when the time was up; `None` before, and if all had one.
    #[must_use]
    pub fn unfinished(&self) -> Option<Unfinished> {
        self.unfinished
    }

    /// Those that have not been handed out.
    #[must_use]
    pub fn into_pending(mut self) -> Vec<Future<T>> {
        self.pending.drain().collect()
    }

    /// One that is done, if any is.
    fn pop(&mut self) -> Option<Future<T>> {
        let number = self.set.pop()?;
        self.pending.remove(number)
    }

    /// Has every future told of, whoever waits.
    fn watch(&mut self) {
        if !std::mem::replace(&mut self.is_watched, true) {
            self.pending.iter().for_each(|(_, future)| future.watch());
        }
    }
}

impl<T: Send + 'static> Iterator for AsCompleted<T> {
    type Item = Future<T>;

    fn next(&mut self) -> Option<Future<T>> {
        if self.unfinished.is_some() {
            return None;
        }
        loop {
            if let Some(future) = self.pop() {
                return Some(future);
            }
            if self.is_empty() {
                return None;
            }
            let is_own = |(_, future): (u32, &Future<T>)| callback::is_of(future.id());
            if callback::is_any() && self.pending.iter().all(is_own) {
                // Those are done when the callback is over.
                return None;
            }
            if matches!(self.home, Home::Many) {
                self.watch();
            }
            if !self.home.wait(&self.set, self.deadline) {
                self.unfinished = Some(Unfinished {
                    unfinished: self.pending.len(),
                    total: self.total,
                });
                return None;
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match (self.unfinished, self.deadline) {
            (Some(_), _) => (0, Some(0)),
            (None, Some(_)) => (0, Some(self.len())),
            (None, None) => (self.len(), Some(self.len())),
        }
    }
}

#[cfg(feature = "stream")]
impl<T: Send + 'static> futures_core::Stream for AsCompleted<T> {
    type Item = Future<T>;

    /// The next future that is done. A [`timeout`](Self::timeout) plays no part: runtimes have their
    /// own.
    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Future<T>>> {
        use std::task::Poll;

        let these = self.get_mut();
        if let Some(future) = these.pop() {
            return Poll::Ready(Some(future));
        }
        if these.is_empty() {
            return Poll::Ready(None);
        }
        these.set.register(context.waker().clone());
        these.watch();
        // Between the two one may have come.
        these
            .pop()
            .map_or(Poll::Pending, |future| Poll::Ready(Some(future)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<T: Send + 'static> Drop for AsCompleted<T> {
    fn drop(&mut self) {
        self.set.close();
    }
}

impl<T: Send + 'static> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("pending", &self.pending.len())
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// Some futures had no outcome when the time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// How many.
    pub unfinished: usize,
    /// Of how many.
    pub total: usize,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unfinished { unfinished, total } = self;
        write!(f, "{unfinished} (of {total}) futures unfinished")
    }
}

impl std::error::Error for Unfinished {}

#[cfg(test)]
mod tests;
