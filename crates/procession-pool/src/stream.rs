//! The stream of one call: chunks into the pool, outcomes back, driven by whoever waits for them.

mod again;
mod numbers;

use std::any::Any;
use std::collections::VecDeque;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession_primitives::{EncodeError, Panic, boarding, catch, encode_unguarded};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::again::Again;
use self::numbers::{Stop, numbers};
use crate::TaskError;
use crate::call::{Call, Collected, SPIN};
use crate::chunk::Chunks;
use crate::collect::{Each, Receive};
use crate::entry::Page;
use crate::filling::{Filling, Prepared, Terms};
use crate::inner::Inner;
use crate::map::Job;
use crate::outcome::outcomes;
use crate::progress::Bar;
use crate::retry::{Retries, Verdict, is_wanted};

/// Most tasks of one call that are with the workers at once.
const WINDOW_TASKS: usize = 512;
/// Cells that calls which have tasks with the workers leave to those that have none: iterators
/// that use the pool wait for a cell while their own call cannot give any back.
pub(crate) const RESERVE: usize = 512;
/// Most empty cells that a call keeps for its next chunks.
const SPARE: usize = 16;
/// Most encoded bytes of one call that are with the workers at once, unless one item alone is
/// larger.
const WINDOW_BYTES: u64 = 64 << 20;

/// A call under way.
pub(crate) struct Map<I: Iterator> {
    pool: Arc<Inner>,
    terms: Terms,
    /// `None` only while it ends.
    call: Option<Call>,
    items: I,
    /// Number of the next item.
    pub(crate) next: u64,
    exhausted: bool,
    /// What the iterator of the items threw.
    pub(crate) panicked: Option<Box<dyn Any + Send>>,
    /// Encoded bytes that are with the workers.
    in_flight: u64,
    /// Encoded length of the last chunk.
    expected: usize,
    chunks: Chunks,
    retries: Retries,
    again: VecDeque<Again>,
    /// Empty cells for the next chunks.
    spare: Vec<u32>,
    /// Items that may be taken from the iterator for now.
    pub(crate) allowance: u64,
    /// Encoded bytes of a value, as of the last chunk.
    value_bytes: u64,
    fail_fast: bool,
    /// An item has failed: the others are not wanted any more.
    pub(crate) failed: bool,
    /// They are not wanted since the program comes to an end.
    pub(crate) interrupted: bool,
    /// Shows how far the call is.
    bar: Option<Bar>,
}

impl<A: Serialize, I: Iterator<Item = A>> Map<I> {
    /// `items` is called only if nothing can go wrong any more.
    pub(crate) fn open(
        job: Job<'_>,
        items: impl FnOnce() -> Option<I>,
    ) -> Result<Map<I>, TaskError> {
        let (pool, options) = (Arc::clone(job.pool), job.options);
        let known = job.code.as_ref().ok().and_then(|code| pool.costs.of(code));
        let chunks = Chunks::new(options.chunksize, pool.workers(), known);
        let retries = Retries::new(options);
        let fail_fast = options.fail_fast;
        #[cfg(feature = "progress")]
        let shown = options.progress;
        let (terms, context) = job.open()?;
        let mailbox = pool.take_cell()?;
        let Some(items) = items() else {
            pool.give_back(mailbox);
            return Err(TaskError::Closed);
        };
        let call = Call::new(&pool, mailbox, &terms, context);
        #[cfg(feature = "progress")]
        let bar = shown.then(|| Bar::start(items.size_hint(), pool.crew.restarts()));
        #[cfg(not(feature = "progress"))]
        let bar = None;
        Ok(Map {
            pool,
            terms,
            call: Some(call),
            items,
            next: 0,
            exhausted: false,
            panicked: None,
            in_flight: 0,
            expected: 0,
            chunks,
            retries,
            again: VecDeque::new(),
            spare: Vec::new(),
            allowance: u64::MAX,
            value_bytes: 0,
            fail_fast,
            failed: false,
            interrupted: false,
            bar,
        })
    }

    fn outstanding(&self) -> usize {
        self.call.as_ref().map_or(0, |call| call.outstanding)
    }

    /// Whether every item has been handed over.
    pub(crate) fn is_over(&self) -> bool {
        self.exhausted && self.outstanding() == 0 && self.again.is_empty()
    }

    pub(crate) fn items(&mut self) -> &mut I {
        &mut self.items
    }

    /// Whether items wait to be tried again.
    pub(crate) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// How many items are still to come, as far as their iterator knows.
    pub(crate) fn to_come(&self) -> (usize, Option<usize>) {
        match self.exhausted {
            true => (0, Some(0)),
            false => self.items.size_hint(),
        }
    }

    /// Hands over what is finished; waits until something is, at most until `deadline`.
    pub(crate) fn collect_some<R: DeserializeOwned>(
        &mut self,
        deadline: Option<Instant>,
        receive: &mut impl Receive<R>,
    ) -> Result<bool, TaskError> {
        let due = self.again.iter().filter_map(|again| again.due).min();
        let until = [deadline, due].into_iter().flatten().min();
        let Some(call) = &mut self.call else {
            return Ok(false);
        };
        if call.outstanding == 0 {
            // Only items that are to be tried later.
            let now = Instant::now();
            if let Some(until) = until.filter(|until| *until > now) {
                self.pool.rest(until);
            }
            return Ok(false);
        }
        // Short work is over before a sleep would be.
        let work = self.chunks.work(call.outstanding) / self.pool.workers() as f64;
        let spin = match work < SPIN.as_nanos() as f64 {
            true => SPIN,
            false => Duration::ZERO,
        };
        let Some(index) = call.next(&self.pool, spin, until)? else {
            return Ok(false);
        };
        self.collect(index, receive);
        // Whatever else is there by now, before feeding: it makes room.
        self.collect_ready(receive);
        Ok(true)
    }

    fn collect_ready<R: DeserializeOwned>(&mut self, receive: &mut impl Receive<R>) {
        while let Some(index) = self
            .call
            .as_mut()
            .and_then(|call| call.try_next(&self.pool))
        {
            self.collect(index, receive);
        }
    }

    /// Submits chunks as long as there are items and the window has room.
    pub(crate) fn feed<R: DeserializeOwned>(
        &mut self,
        receive: &mut impl Receive<R>,
    ) -> Result<(), TaskError> {
        if self.pool.is_interrupted() && !self.exhausted {
            (self.exhausted, self.failed, self.interrupted) = (true, true, true);
            self.again.clear();
        }
        if !self.again.is_empty() {
            self.feed_again(receive)?;
        }
        while !self.exhausted && self.has_room() {
            let Some(index) = self.take_cell()? else {
                return Ok(());
            };
            self.fill(index, receive);
            // Outcomes that wait hold memory: take them between two chunks.
            self.collect_ready(receive);
        }
        Ok(())
    }

    /// How many items it makes sense to have under way or waiting to be handed on, where whoever
    /// gets the outcomes is slower than the workers.
    pub(crate) fn buffer(&self) -> u64 {
        let chunks = 8 * self.pool.workers().max(2) as u64;
        let items = chunks * self.chunks.largest();
        let bytes = self.value_bytes + self.expected as u64 / self.chunks.largest().max(1);
        items.min(WINDOW_BYTES / bytes.max(1)).max(chunks)
    }

    /// Items of a chunk, as things are.
    pub(crate) fn chunk(&self) -> u64 {
        self.chunks.largest()
    }

    fn has_room(&self) -> bool {
        let outstanding = self.outstanding();
        self.allowance > 0
            && outstanding < self.chunks.window(WINDOW_TASKS)
            && (outstanding == 0 || self.in_flight < WINDOW_BYTES)
    }

    /// A cell for a task; `None` if the call's own tasks have to give one back first.
    fn take_cell(&mut self) -> Result<Option<u32>, TaskError> {
        if let Some(index) = self.spare.pop() {
            return Ok(Some(index));
        }
        let outstanding = self.outstanding();
        let reserve = if outstanding > 0 { RESERVE } else { 0 };
        match self.pool.try_take_cell(reserve) {
            None if outstanding == 0 => self.pool.take_cell().map(Some),
            taken => Ok(taken),
        }
    }

    /// Fills cell `index` with the next chunk and submits it.
    fn fill<R: DeserializeOwned>(&mut self, index: u32, receive: &mut impl Receive<R>) {
        let Some(mut filling) = Filling::new(&self.pool, index, self.expected) else {
            return;
        };
        filling.have_runs();
        let first = self.next;
        let size = self.chunks.next_size(self.items.size_hint().0);
        let size = u64::from(size).min(self.allowance) as u32;
        let limit = self.chunks.byte_limit();
        // Items that the iterator gave, and those of them that wait to be counted by the task.
        let (mut taken, mut bare) = (0, 0);
        // Where the item that is being encoded begins.
        let mut start = None;
        let mut refused = None;
        let (filled, passengers) = boarding(|| {
            panic::catch_unwind(AssertUnwindSafe(|| {
                while filling.items() < size && filling.len() < limit {
                    let next = match filling.places_up_to(size, limit) {
                        None => self.items.next().ok_or(Stop::End).inspect(|_| taken += 1),
                        Some((kind, places)) => {
                            let next =
                                numbers(&mut self.items, kind, places, &mut taken, &mut bare);
                            filling.add_numbers(mem::take(&mut bare));
                            next
                        }
                    };
                    let item = match next {
                        Ok(item) => item,
                        Err(Stop::Full) => continue,
                        Err(Stop::End) => {
                            self.exhausted = true;
                            return;
                        }
                    };
                    start = Some(filling.len());
                    let added = filling.add(|sink| encode_unguarded(&item, sink));
                    start = None;
                    if let Err(error) = added {
                        refused = Some(error);
                        return;
                    }
                }
            }))
        });
        filling.add_numbers(bare);
        self.next += taken;
        let was_encoding = taken > u64::from(filling.items()) && refused.is_none();
        let panicked = match filled {
            Ok(()) => None,
            Err(payload) if was_encoding => {
                if let Some(start) = start {
                    filling.undo(start);
                }
                refused = Some(EncodeError::Panicked(Box::new(Panic::from_payload(
                    &*payload,
                ))));
                // The drop of what the user threw may panic again.
                let _ = catch(|| drop(payload));
                None
            }
            Err(payload) => Some(payload),
        };
        let lost = (!passengers.is_empty())
            .then(|| filling.carry(&passengers).err())
            .flatten();
        if let Some(error) = lost {
            // No memory to note what the items hold on to.
            receive.begin(first);
            for item in (first..).take(filling.items() as usize) {
                receive.push(item, Err(TaskError::ItemEncode(Box::new(error.clone()))));
            }
            receive.end();
            drop(filling);
            self.pool.give_back(index);
        } else if filling.items() == 0 {
            drop(filling);
            self.pool.give_back(index);
        } else {
            self.in_flight += filling.len() as u64;
            self.allowance -= u64::from(filling.items());
            self.expected = filling.len();
            let index = filling.finish(&self.terms, first, 0);
            if let Some(call) = &mut self.call {
                call.submit(&self.pool, index);
            }
        }
        if let Some(payload) = panicked {
            self.exhausted = true;
            self.panicked = Some(payload);
        }
        if let Some(error) = refused {
            let item = self.next - 1;
            receive.begin(item);
            receive.push(item, Err(TaskError::ItemEncode(Box::new(error))));
            receive.end();
        }
    }

    fn collect<R: DeserializeOwned>(&mut self, index: u32, receive: &mut impl Receive<R>) {
        let Some(collected) = Collected::read(&self.pool, index) else {
            return;
        };
        self.in_flight = self.in_flight.saturating_sub(collected.input_len);
        self.chunks.learn(collected.items, collected.nanos);
        self.value_bytes = collected.output.len() as u64 / u64::from(collected.items.max(1));
        if self.retries.any() || self.fail_fast || self.bar.is_some() {
            self.sift(&collected, receive);
        } else {
            receive.begin(collected.first);
            outcomes(&collected, receive);
            receive.end();
        }
        if self.exhausted || self.spare.len() >= SPARE {
            self.pool.recycle(index);
        } else {
            self.pool.empty(index);
            self.spare.push(index);
        }
        if self.failed && !self.interrupted {
            self.stop();
        }
    }

    /// Hands over outcomes, but for those of items that are tried again.
    fn sift<R: DeserializeOwned>(&mut self, collected: &Collected, receive: &mut impl Receive<R>) {
        let (pool, retries, queue) = (&self.pool, &mut self.retries, &mut self.again);
        let (fail_fast, failed) = (self.fail_fast, &mut self.failed);
        let (mut failures, mut retried) = (0, 0);
        let asked = retries.asked();
        receive.begin(collected.first);
        let mut each = Each(|item, outcome| {
            let error = match outcome {
                Ok(value) => return receive.push(item, Ok(value)),
                Err(error) => error,
            };
            let wanted = is_wanted(asked.as_ref(), &error);
            let error = match retries.judge(item, error, wanted) {
                Verdict::Again {
                    attempt,
                    due,
                    error,
                } if !*failed => {
                    let at = (item - collected.first) as u32;
                    if let Some(prepared) = Prepared::again(pool, collected.index, at) {
                        queue.push_back(Again {
                            item,
                            prepared,
                            attempt,
                            due,
                        });
                        pool.retried(item, attempt);
                        retried += 1;
                        receive.end();
                        receive.begin(item + 1);
                        return;
                    }
                    error
                }
                Verdict::Again { .. } => TaskError::Cancelled,
                Verdict::Final(error) => error,
            };
            *failed |= fail_fast;
            failures += 1;
            receive.push(item, Err(error));
        });
        outcomes(collected, &mut each);
        receive.end();
        if let Some(bar) = &mut self.bar {
            let done = u64::from(collected.items) - retried;
            bar.add(done, failures, self.pool.crew.restarts());
        }
    }

    /// Ends what is under way: nobody wants it any more.
    #[cold]
    fn stop(&mut self) {
        self.exhausted = true;
        self.again.clear();
        if let Some(call) = &mut self.call {
            call.cancel(&self.pool);
            call.stop(&self.pool);
        }
    }
}

impl<I: Iterator> Drop for Map<I> {
    fn drop(&mut self) {
        if let Some(nanos) = self.chunks.measured() {
            self.pool.costs.note(self.terms.code, nanos);
        }
        for index in self.spare.drain(..) {
            self.pool.give_back(index);
        }
        if let Some(call) = self.call.take() {
            call.end(&self.pool);
        }
    }
}
