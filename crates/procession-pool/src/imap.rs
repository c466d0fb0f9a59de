//! Outcomes as an iterator.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::panic;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::collect::Receive;
use crate::map::Job;
use crate::stream::Map;

/// The outcomes of a call, one per item: from [`imap`](crate::View::imap) in the order of the items,
/// from [`imap_unordered`](crate::View::imap_unordered) in that in which they finish.
///
/// Items are taken from their iterator, and encoded, when `next` is called, as far ahead as keeps
/// the workers busy: see [`buffersize`](crate::View::buffersize). Progress bars that wrap iterators
/// just wrap this one; its length is known if that of the items is (a range of `u32` or `usize` has
/// one, a range of `u64` has none).
///
/// # Drop
///
/// Items that no worker has begun are not run; those that are running are finished, and their
/// outcomes dropped.
///
/// # Panics
///
/// If the iterator of the items panics, `next` does so after the outcomes of all items before.
#[must_use = "items are taken as outcomes are asked for"]
pub struct Imap<I: Iterator, R> {
    map: Result<Map<I>, Option<I>>,
    ready: Ready<R>,
    buffersize: Option<u64>,
    yielded: u64,
    /// When so many were handed out, there may be room for another chunk.
    feed_at: u64,
    /// The pool gave up: what is left fails with this.
    failed: Option<TaskError>,
}

/// An outcome with the number of its item.
type Numbered<R> = (u64, Result<R, TaskError>);

/// No outcome was there in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no outcome was there in time")
    }
}

impl std::error::Error for Elapsed {}

impl<A, I, R> Imap<I, R>
where
    A: Serialize,
    I: Iterator<Item = A>,
    R: DeserializeOwned,
{
    pub(crate) fn new(job: Job<'_>, items: I, ordered: bool) -> Imap<I, R> {
        let buffersize = job.options.buffersize.map(|size| size.max(1) as u64);
        let keep = job.options.timeout.is_some().then_some(job.pool);
        let mut items = Some(items);
        let (map, failed) = match Map::open(job, || items.take()) {
            Ok(map) => (Ok(map), None),
            Err(error) => (Err(items), Some(error)),
        };
        if let Some(pool) = keep {
            // Whoever asks for outcomes may be busy when an item's time is up.
            pool.keep();
            pool.nudge();
        }
        let mut imap = Imap {
            map,
            ready: Ready::new(ordered),
            buffersize,
            yielded: 0,
            feed_at: 0,
            failed,
        };
        imap.feed();
        imap
    }

    /// Outcomes with the number of their item, from 0: for those that do not come in order, and for
    /// errors, which do not say it.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(2)?;
    /// for (item, outcome) in pool.imap_unordered(|n: u64| 6 / n, 0..4).indexed() {
    ///     assert_eq!(outcome.is_err(), item == 0);
    /// }
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn indexed(self) -> Indexed<I, R> {
        Indexed(self)
    }

    /// Submits more, if there is room for a whole chunk.
    fn feed(&mut self) {
        let Ok(map) = &mut self.map else { return };
        let under_way = map.next - self.yielded;
        let most = self.buffersize.unwrap_or_else(|| map.buffer());
        map.allowance = most.saturating_sub(under_way);
        let enough = map.chunk().min(most.div_ceil(2));
        self.feed_at = self.yielded + enough.saturating_sub(map.allowance).max(1);
        if under_way > 0 && map.allowance < enough && !map.has_again() {
            return;
        }
        if let Err(error) = map.feed(&mut self.ready) {
            self.give_up(error);
        }
    }

    fn give_up(&mut self, error: TaskError) {
        if let Ok(map) = &mut self.map {
            self.ready.fill(map.next, &error);
        }
        self.failed = Some(error);
    }

    /// The next outcome; `None` after the last one. An error if there is none within `timeout`;
    /// nothing is lost then.
    ///
    /// # Errors
    ///
    /// [`Elapsed`].
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Result<R, TaskError>>, Elapsed> {
        let next = self.next_until(Instant::now().checked_add(timeout))?;
        Ok(next.map(|(_, outcome)| outcome))
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Numbered<R>>, Elapsed> {
        loop {
            if let Some(outcome) = self.ready.pop() {
                self.yielded += 1;
                if self.yielded >= self.feed_at && self.failed.is_none() {
                    // So that the workers have something to do while this one is looked at.
                    self.feed();
                }
                return Ok(Some(outcome));
            }
            if let Some(error) = &self.failed {
                // Items that were not taken have this outcome, too: one each.
                let next = match &mut self.map {
                    Ok(map) => map.items().next(),
                    Err(items) => items.as_mut().and_then(Iterator::next),
                };
                let at = self.yielded;
                self.yielded += u64::from(next.is_some());
                return Ok(next.map(|_| (at, Err(error.clone()))));
            }
            self.feed();
            let Ok(map) = &mut self.map else { continue };
            if self.failed.is_some() || !self.ready.is_empty() {
                continue;
            }
            if map.is_over() {
                if map.failed {
                    let left = map.next;
                    self.ready.fill(left, &TaskError::Cancelled);
                    if !self.ready.is_empty() {
                        continue;
                    }
                }
                if let Some(payload) = map.panicked.take() {
                    panic::resume_unwind(payload);
                }
                return Ok(None);
            }
            match map.collect_some(deadline, &mut self.ready) {
                Ok(true) => {}
                Ok(false) => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(Elapsed);
                    }
                }
                Err(error) => self.give_up(error),
            }
        }
    }
}

impl<A, I, R> Iterator for Imap<I, R>
where
    A: Serialize,
    I: Iterator<Item = A>,
    R: DeserializeOwned,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_until(None).unwrap_or_default();
        next.map(|(_, outcome)| outcome)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (taken, (least, most)) = match &self.map {
            Ok(map) => {
                let taken = usize::try_from(map.next - self.yielded.min(map.next));
                (taken.unwrap_or(usize::MAX), map.to_come())
            }
            Err(items) => (0, items.as_ref().map_or((0, Some(0)), Iterator::size_hint)),
        };
        let most = most.and_then(|most| most.checked_add(taken));
        (least.saturating_add(taken), most)
    }
}

impl<A, I, R> ExactSizeIterator for Imap<I, R>
where
    A: Serialize,
    I: ExactSizeIterator<Item = A>,
    R: DeserializeOwned,
{
}

impl<A, I, R> FusedIterator for Imap<I, R>
where
    A: Serialize,
    I: FusedIterator<Item = A>,
    R: DeserializeOwned,
{
}

impl<I: Iterator, R> fmt::Debug for Imap<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("yielded", &self.yielded)
            .finish_non_exhaustive()
    }
}

/// An [`Imap`] that tells the number of each outcome's item: see [`Imap::indexed`].
#[derive(Debug)]
#[must_use = "items are taken as outcomes are asked for"]
pub struct Indexed<I: Iterator, R>(Imap<I, R>);

impl<A, I, R> Iterator for Indexed<I, R>
where
    A: Serialize,
    I: Iterator<Item = A>,
    R: DeserializeOwned,
{
    type Item = (u64, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_until(None).unwrap_or_default()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<A, I, R> ExactSizeIterator for Indexed<I, R>
where
    A: Serialize,
    I: ExactSizeIterator<Item = A>,
    R: DeserializeOwned,
{
}

/// Outcomes that are there, with the numbers of their items, in the order in which they are handed
/// on.
struct Ready<R> {
    ordered: bool,
    queue: VecDeque<Numbered<R>>,
    /// Items before this one have all had their outcome.
    next: u64,
    /// Ordered: outcomes behind a gap.
    ahead: BTreeMap<u64, Result<R, TaskError>>,
    /// Unordered: runs of items behind a gap that have had their outcome, by the first one.
    runs: BTreeMap<u64, u64>,
    /// The run that is coming in.
    first: u64,
    end: u64,
}

impl<R> Ready<R> {
    fn new(ordered: bool) -> Ready<R> {
        Ready {
            ordered,
            queue: VecDeque::new(),
            next: 0,
            ahead: BTreeMap::new(),
            runs: BTreeMap::new(),
            first: 0,
            end: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn pop(&mut self) -> Option<Numbered<R>> {
        self.queue.pop_front()
    }

    /// Gives those of the first `taken` items that have none the outcome `error`.
    fn fill(&mut self, taken: u64, error: &TaskError) {
        while self.next < taken {
            if let Some(end) = self.runs.remove(&self.next) {
                self.next = end;
                continue;
            }
            let outcome = self.ahead.remove(&self.next);
            let outcome = outcome.unwrap_or_else(|| Err(error.clone()));
            self.queue.push_back((self.next, outcome));
            self.next += 1;
        }
    }
}

impl<R> Receive<R> for Ready<R> {
    fn begin(&mut self, first: u64) {
        (self.first, self.end) = (first, first);
    }

    #[inline]
    fn push(&mut self, item: u64, outcome: Result<R, TaskError>) {
        if !self.ordered {
            self.queue.push_back((item, outcome));
        } else if item == self.next {
            self.queue.push_back((item, outcome));
            self.next += 1;
        } else {
            self.ahead.insert(item, outcome);
        }
        self.end = item + 1;
    }

    fn end(&mut self) {
        if self.ordered {
            while let Some(outcome) = self.ahead.remove(&self.next) {
                self.queue.push_back((self.next, outcome));
                self.next += 1;
            }
        } else if self.end > self.first {
            self.runs.insert(self.first, self.end);
            while let Some(end) = self.runs.remove(&self.next) {
                self.next = end;
            }
        }
    }
}
