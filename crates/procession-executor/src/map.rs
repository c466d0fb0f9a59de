//! Outcomes of many items, as an iterator.

use std::any::Any;
use std::fmt;
use std::iter::FusedIterator;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::vec;

use procession_pool::TaskError;
use procession_pool::raw::{Function, Items};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::CancelMode;
use crate::base::Complete;
use crate::canceller::{CancelOnDrop, Canceller};
use crate::chunk::{Chunk, Outcomes};
use crate::handle::{Handle, Patience};
use crate::park;
use crate::promise::{Decode, decode_value};
use crate::sizes::Sizes;
use crate::window::{Part, Window};

/// Chunks under way unless their number is chosen: at least so many, and so many per slot.
const LEAST_CHUNKS: usize = 64;
const CHUNKS_PER_SLOT: usize = 4;

/// Encoded bytes under way unless the number of items is chosen.
const MOST_BYTES: usize = 64 << 20;

/// Encoded bytes at which a chunk is full, unless its size is chosen.
const CHUNK_BYTES: usize = 256 << 10;

/// In which order outcomes are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    OfItems,
    AsTheyCome,
}

/// The outcomes of [`map`](crate::Executor::map), one per item.
///
/// The first items are taken from their iterator, encoded and submitted at the call, others when `next`
/// is called, as far ahead as [`buffersize`](crate::Executor::buffersize) says. Each outcome is that of
/// its item alone: after an error the iterator goes on. An item that cannot be encoded has that error;
/// when the executor takes no more tasks, those that were not submitted have [`TaskError::Closed`].
///
/// # Drop
///
/// What has not begun is cancelled; what runs is finished, and its outcomes are dropped.
///
/// # Panics
///
/// If the iterator of the items panics, `next` does so after the outcomes of all items before.
#[must_use = "errors are among the outcomes"]
pub struct Map<I: Iterator, R> {
    handle: Handle,
    function: Result<Function, TaskError>,
    decode: Decode<R>,
    /// `None` after the last one.
    items: Option<I>,
    panicked: Mutex<Option<Box<dyn Any + Send>>>,
    window: Window<R>,
    /// Outcomes that are handed out now.
    ready: vec::IntoIter<Result<R, TaskError>>,
    /// Items that were taken, and have not been handed out.
    taken: usize,
    /// Encoded bytes in the window.
    bytes: usize,
    sizes: Sizes,
    slots: usize,
    deadline: Option<Instant>,
}

impl<A, I, R> Map<I, R>
where
    A: Serialize,
    I: Iterator<Item = A>,
    R: DeserializeOwned + Send + 'static,
{
    pub(crate) fn new(
        handle: &Handle,
        function: Result<Function, TaskError>,
        items: I,
        order: Order,
    ) -> Map<I, R> {
        let hints = handle.backend().hints();
        let options = handle.options();
        let mut map = Map {
            handle: handle.clone(),
            function,
            decode: decode_value::<R>,
            items: Some(items),
            panicked: Mutex::new(None),
            window: Window::new(order),
            ready: Vec::new().into_iter(),
            taken: 0,
            bytes: 0,
            sizes: Sizes::new(options.chunksize, hints.round_trip),
            slots: hints.slots.max(1),
            deadline: options.map_timeout.and_then(park::deadline),
        };
        map.feed();
        map
    }

    /// Most items of the next chunk.
    fn chunk(&self) -> usize {
        let shared = |items: usize, ways: usize| items / ways.saturating_mul(self.slots);
        // Every slot has a part of what may be under way, and of what is left.
        let buffered = self.handle.options().buffersize;
        let buffered = buffered.map_or(usize::MAX, |items| shared(items, 2));
        let left = self.items.as_ref().and_then(|items| items.size_hint().1);
        let left = left.map_or(usize::MAX, |items| shared(items, CHUNKS_PER_SLOT));
        self.sizes.next(buffered.min(left))
    }

    /// Whether the time for all of it is up: no more items are taken.
    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|end| Instant::now() >= end)
    }

    /// Whether another chunk may be under way.
    fn has_room(&self) -> bool {
        if self.taken == 0 {
            return true;
        }
        if let Some(most) = self.handle.options().buffersize {
            return self.taken.saturating_add(self.chunk()) <= most;
        }
        let chunks = self.window.len();
        let most = LEAST_CHUNKS.max(self.slots.saturating_mul(CHUNKS_PER_SLOT));
        chunks < most && (self.bytes < MOST_BYTES || chunks < 2 * self.slots)
    }

    /// Submits what there is room for.
    fn feed(&mut self) {
        while self.items.is_some() && self.has_room() && self.handle.admit(Patience::None) {
            self.submit();
        }
    }

    /// Submits a chunk, for which there is a place.
    fn submit(&mut self) {
        let size = if self.function.is_ok() {
            self.chunk()
        } else {
            1
        };
        let (items, failed) = self.gather(size);
        self.taken += items.len() + usize::from(failed.is_some());
        match &self.function {
            Ok(function) if !items.is_empty() => {
                let part = self.send(*function, items);
                self.bytes += part.bytes();
                self.window.push(part);
            }
            _ => {
                if let Some(limit) = self.handle.limit() {
                    limit.give_back();
                }
            }
        }
        if let Some(error) = failed {
            self.window.push(Part::Failed(error));
        }
    }

    /// Takes up to `size` items, and encodes them. The error of one that cannot be is that of the item
    /// after these.
    fn gather(&mut self, size: usize) -> (Items, Option<TaskError>) {
        let mut encoded = Items::new();
        let mut failed = None;
        let Some(items) = &mut self.items else {
            return (encoded, failed);
        };
        let most_bytes = if self.sizes.is_fixed() {
            usize::MAX
        } else {
            CHUNK_BYTES
        };
        // What was taken before a panic is submitted all the same.
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            while encoded.len() < size && encoded.bytes().len() < most_bytes {
                let Some(item) = items.next() else {
                    return true;
                };
                let pushed = match &self.function {
                    Ok(_) => encoded.push(&item),
                    Err(error) => {
                        failed = Some(error.clone());
                        return false;
                    }
                };
                if let Err(error) = pushed {
                    failed = Some(TaskError::ItemEncode(Box::new(error)));
                    return false;
                }
            }
            false
        }));
        match ended {
            Ok(false) => {}
            Ok(true) => self.items = None,
            Err(payload) => {
                self.items = None;
                let panicked = self.panicked.get_mut();
                *panicked.unwrap_or_else(PoisonError::into_inner) = Some(payload);
            }
        }
        (encoded, failed)
    }

    fn send(&self, function: Function, items: Items) -> Part<R> {
        let (count, bytes) = (items.len(), items.bytes().len());
        let chunk = Arc::new(Chunk::new(count, self.decode, self.handle.base()));
        let target: Arc<dyn Complete> = Arc::<Chunk<R>>::clone(&chunk);
        let canceller = Canceller::new(Arc::clone(&target));
        // On an error that is the outcome of each item.
        let _ = self.handle.send(function, items, target);
        Part::Sent {
            chunk,
            cancel: CancelOnDrop(canceller, CancelMode::Queued),
            items: count,
            bytes,
        }
    }

    /// The outcomes of a part that is done.
    fn open(&mut self, part: Part<R>) -> Outcomes<R> {
        self.bytes -= part.bytes();
        if let Part::Sent { chunk, items, .. } = &part
            && let Some(spent) = chunk.spent()
        {
            self.sizes.note(*items, spent);
        }
        part.into_outcomes()
    }

    /// The time is up.
    fn give_up(&mut self) {
        self.items = None;
        self.window.clear();
        (self.taken, self.bytes) = (0, 0);
    }
}

impl<A, I, R> Iterator for Map<I, R>
where
    A: Serialize,
    I: Iterator<Item = A>,
    R: DeserializeOwned + Send + 'static,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(outcome) = self.ready.next() {
                self.taken -= 1;
                // So that there is something to do while this one is looked at.
                if !self.is_late() {
                    self.feed();
                }
                return Some(outcome);
            }
            if let Some(part) = self.window.pop() {
                self.ready = self.open(part).into_iter();
                continue;
            }
            let in_time = if self.window.len() > 0 {
                self.window.wait(&**self.handle.backend(), self.deadline)
            } else if self.items.is_some() {
                // Nothing of this call will make room.
                let admitted = !self.is_late() && self.handle.admit(Patience::Until(self.deadline));
                if admitted {
                    self.submit();
                }
                admitted
            } else {
                let panicked = self.panicked.get_mut();
                let panicked = panicked.unwrap_or_else(PoisonError::into_inner);
                if let Some(payload) = panicked.take() {
                    panic::resume_unwind(payload);
                }
                return None;
            };
            if !in_time {
                self.give_up();
                return Some(Err(TaskError::Unfinished));
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self
            .items
            .as_ref()
            .map_or((0, Some(0)), Iterator::size_hint);
        let least = match self.deadline {
            // The end may come before.
            Some(_) => 0,
            None => least.saturating_add(self.taken),
        };
        (least, most.and_then(|most| most.checked_add(self.taken)))
    }
}

impl<A, I, R> FusedIterator for Map<I, R>
where
    A: Serialize,
    I: Iterator<Item = A>,
    R: DeserializeOwned + Send + 'static,
{
}

impl<I: Iterator, R> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
