//! What a map has under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use procession_pool::TaskError;

use crate::backend::Backend;
use crate::canceller::CancelOnDrop;
use crate::chunk::{Chunk, Outcomes};
use crate::completions::Completions;
use crate::map::Order;
use crate::slab::Slab;

/// A part of the items.
pub(crate) enum Part<R> {
    /// Submitted; cancelled when this is dropped.
    Sent {
        chunk: Arc<Chunk<R>>,
        cancel: CancelOnDrop,
        items: usize,
        bytes: usize,
    },
    /// One that could not be submitted.
    Failed(TaskError),
}

impl<R> Part<R> {
    fn is_done(&self) -> bool {
        match self {
            Self::Sent { chunk, .. } => chunk.promise().base().is_done(),
            Self::Failed(_) => true,
        }
    }

    /// Encoded bytes of its items.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Sent { bytes, .. } => *bytes,
            Self::Failed(_) => 0,
        }
    }

    /// Its outcomes, when it is done.
    pub(crate) fn into_outcomes(self) -> Outcomes<R> {
        match self {
            Self::Failed(error) => vec![Err(error)],
            Self::Sent { chunk, .. } => match chunk.promise().take() {
                Some(Ok(outcomes)) => outcomes,
                _ => Vec::new(),
            },
        }
    }
}

/// The parts that are under way, and which one is next.
pub(crate) enum Window<R> {
    /// In the order of the items.
    Queue(VecDeque<Part<R>>),
    /// As they come.
    Set(Slab<Part<R>>, Arc<Completions>),
}

impl<R: Send + 'static> Window<R> {
    pub(crate) fn new(order: Order) -> Window<R> {
        match order {
            Order::OfItems => Window::Queue(VecDeque::new()),
            Order::AsTheyCome => Window::Set(Slab::new(), Arc::default()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Queue(queue) => queue.len(),
            Self::Set(parts, _) => parts.len(),
        }
    }

    pub(crate) fn push(&mut self, part: Part<R>) {
        match self {
            Self::Queue(queue) => queue.push_back(part),
            Self::Set(parts, set) => {
                let chunk = match &part {
                    Part::Sent { chunk, .. } => Some(Arc::clone(chunk)),
                    Part::Failed(_) => None,
                };
                let number = parts.insert(part);
                match chunk {
                    Some(chunk) => chunk.promise().join(set, number),
                    None => set.push(number),
                }
            }
        }
    }

    /// The next part, if it is done.
    pub(crate) fn pop(&mut self) -> Option<Part<R>> {
        match self {
            Self::Queue(queue) if queue.front()?.is_done() => queue.pop_front(),
            Self::Queue(_) => None,
            Self::Set(parts, set) => parts.remove(set.pop()?),
        }
    }

    /// Waits until the next part is done. False if `deadline` passes first.
    pub(crate) fn wait(&self, backend: &dyn Backend, deadline: Option<Instant>) -> bool {
        match self {
            Self::Queue(queue) => match queue.front() {
                Some(Part::Sent { cancel, .. }) => cancel.0.wait(deadline),
                Some(Part::Failed(_)) | None => true,
            },
            Self::Set(_, set) => {
                let mut register = |waker| set.register(waker);
                backend.wait(&mut register, deadline, &|| set.is_reached())
            }
        }
    }

    /// Drops all parts.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Queue(queue) => queue.clear(),
            Self::Set(parts, _) => parts.drain().for_each(drop),
        }
    }
}
