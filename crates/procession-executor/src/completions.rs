//! Which futures of a set have been completed, in the order in which they were.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::backend::Backend;
use crate::park;

/// The numbers of completed futures that nobody has looked at, and the one who waits for them.
///
/// A completion costs the same however many are pending.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    /// Nobody looks any more.
    closed: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<u32>,
    /// So many are waited for, or one.
    goal: usize,
    waker: Option<Waker>,
}

impl Completions {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This one has been completed.
    pub(crate) fn push(&self, number: u32) {
        if self.is_closed() {
            return;
        }
        let mut queue = self.lock();
        queue.ready.push_back(number);
        let reached = queue.ready.len() >= queue.goal;
        let waker = if reached { queue.waker.take() } else { None };
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next one.
    pub(crate) fn pop(&self) -> Option<u32> {
        self.lock().ready.pop_front()
    }

    /// Whoever waits is woken when there are so many.
    pub(crate) fn set_goal(&self, goal: usize) {
        self.lock().goal = goal;
    }

    pub(crate) fn is_reached(&self) -> bool {
        let queue = self.lock();
        queue.ready.len() >= queue.goal.max(1)
    }

    /// Who is woken at the next completion.
    pub(crate) fn register(&self, waker: Waker) {
        let before = self.lock().waker.replace(waker);
        drop(before);
    }

    pub(crate) fn close(&self) {
        // Relaxed: whoever does not see it yet tells somebody who does not listen.
        self.closed.store(true, Ordering::Relaxed);
        let queue = std::mem::take(&mut *self.lock());
        drop(queue);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Where the futures of a set come from.
#[derive(Debug, Default)]
pub(crate) enum Home {
    /// There are none.
    #[default]
    Nowhere,
    /// All from here.
    One(Arc<dyn Backend>),
    /// From several.
    Many,
}

impl Home {
    /// There is a future from `backend`, too.
    pub(crate) fn add(&mut self, backend: Option<&Arc<dyn Backend>>) {
        let Some(backend) = backend else { return };
        match self {
            Self::Nowhere => *self = Self::One(Arc::clone(backend)),
            Self::One(home) if std::ptr::addr_eq(Arc::as_ptr(home), Arc::as_ptr(backend)) => {}
            Self::One(_) => *self = Self::Many,
            Self::Many => {}
        }
    }

    /// Waits until `set` has reached its goal. False if `deadline` passes first.
    ///
    /// Where they come from several, each has to be watched: see [`Backend::watch`].
    pub(crate) fn wait(&self, set: &Completions, deadline: Option<Instant>) -> bool {
        let mut register = |waker| set.register(waker);
        let done = || set.is_reached();
        match self {
            Self::One(backend) => backend.wait(&mut register, deadline, &done),
            Self::Nowhere | Self::Many => park::until(&mut register, deadline, &done),
        }
    }
}
