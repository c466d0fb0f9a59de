//! `JoinableQueue<T>`: a queue of tasks that somebody waits for.
//!
//! # Safety
//!
//! Reaches the state of an object of its own kind.
#![allow(unsafe_code, reason = "reaches the object's state")]

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use procession_primitives::{Kind, Object};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::core::Patience;
use super::{GetError, PutError, Queue};
use crate::error::Foreign;
use crate::handle::{self, CreateError, deadline_after, kinds, shared_state};
use crate::monitor::{Attempt, Inside, Monitor};
use crate::primitive::{AtomicU32, AtomicU64, Family, Ordering};
use crate::tally::Tally;

/// | word | meaning | who changes it, inside the monitor |
/// |---|---|---|
/// | `in_hand` | by member, messages that it took and has not reported done: the truth | they |
/// | `taker` ... `with_them` | the last member that counted messages as in its hands: where the queue was, how many, and what `in_hand` was with them; it takes them after that, or dies | takers, under the consumers' lock, too |
/// | `abandoned` | 1: somebody died with messages in hand, and no `join` has said so yet | whoever repairs; `join` |
#[repr(C)]
#[derive(Debug)]
struct State {
    monitor: Monitor,
    abandoned: AtomicU32,
    pad: AtomicU32,
    taker: AtomicU64,
    taker_at: AtomicU64,
    taker_count: AtomicU64,
    with_them: AtomicU64,
    in_hand: Tally,
}

shared_state!(State);

/// A [`Queue`] whose messages are tasks: whoever takes one says when it is done, and others wait
/// until all are.
///
/// # Process death
///
/// The tasks that a dead process had taken and not reported done do not keep
/// [`join`](Self::join) waiting: it returns [`JoinError::Abandoned`].
///
/// # Differences from Python
///
/// A task is reported done by the process that took it. `join` has a time-out, and does not hang
/// when a consumer dies.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::JoinableQueue;
///
/// let tasks = JoinableQueue::<u32>::bounded(10)?;
/// let worker = Process::spawn(|tasks: JoinableQueue<u32>| {
///     while let Ok(_task) = tasks.get() {
///         tasks.task_done().unwrap();
///     }
/// }, tasks.clone())?;
/// tasks.put_many(0..100)?;
/// tasks.join()?;
/// tasks.close()?;
/// worker.join()?;
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct JoinableQueue<T> {
    queue: Queue<T>,
    tasks: Object,
}

/// Not all tasks will be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// All tasks are done, but those that a dead process had taken. Reported once.
    Abandoned,
    /// The time-out passed.
    TimedOut,
    /// Tasks are in the queue, and nobody is left who could take them.
    Disconnected,
    /// This process does not belong to the family of the queue.
    Foreign,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abandoned => "a process died with tasks that it had taken",
            Self::TimedOut => "the tasks were not done in time",
            Self::Disconnected => "tasks are left, and nobody to take them",
            Self::Foreign => "the queue belongs to another family of processes",
        })
    }
}

impl std::error::Error for JoinError {}

/// A task was reported done that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskDoneError {
    /// This process has reported done all that it took.
    TooMany,
    /// This process does not belong to the family of the queue.
    Foreign,
}

impl fmt::Display for TaskDoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "task_done was called more often than this process took tasks",
            Self::Foreign => "the queue belongs to another family of processes",
        })
    }
}

impl std::error::Error for TaskDoneError {}

impl<T> JoinableQueue<T> {
    /// A queue as [`Queue::new`] makes it.
    ///
    /// # Errors
    ///
    /// As [`Queue::new`].
    pub fn new() -> Result<JoinableQueue<T>, CreateError> {
        Self::of(Queue::new()?)
    }

    /// A queue as [`Queue::bounded`] makes it.
    ///
    /// # Errors
    ///
    /// As [`Queue::bounded`].
    pub fn bounded(capacity: usize) -> Result<JoinableQueue<T>, CreateError> {
        Self::of(Queue::bounded(capacity)?)
    }

    fn of(queue: Queue<T>) -> Result<JoinableQueue<T>, CreateError> {
        let (tasks, _) = handle::create::<State>(Kind::new(kinds::TASKS))?;
        Ok(JoinableQueue { queue, tasks })
    }

    fn state(&self) -> &State {
        // SAFETY: made with room for it, and of a kind that is used for nothing else.
        unsafe { self.tasks.get::<State>() }
    }

    fn repair(&self, inside: &Inside<'_>) {
        let state = self.state();
        self.forget_untaken(inside);
        state
            .in_hand
            .clear_dead(&self.tasks, inside.family, |_, _| {
                state.abandoned.store(1, Ordering::Release);
            });
        inside.wake(u32::MAX);
    }

    /// If the last taker died before it took what it had counted, that is still in the queue.
    fn forget_untaken(&self, inside: &Inside<'_>) {
        let state = self.state();
        let Some(taker) = Tally::member(state.taker.load(Ordering::Relaxed)) else {
            return;
        };
        if inside.family.is_alive(taker) {
            return;
        }
        let untaken = self.queue.core.head() == state.taker_at.load(Ordering::Relaxed);
        let with_them = state.with_them.load(Ordering::Relaxed);
        let in_hand = state.in_hand.of(&self.tasks, inside.family, taker);
        if let Ok(in_hand) = in_hand
            && untaken
            && in_hand.load(Ordering::Relaxed) == with_them
        {
            let count = state.taker_count.load(Ordering::Relaxed);
            in_hand.store(with_them.saturating_sub(count), Ordering::Release);
        }
        state.taker.store(0, Ordering::Release);
    }

    fn enter(&self, family: &'static Family) -> Inside<'_> {
        self.state()
            .monitor
            .enter(family, |inside| self.repair(inside))
    }

    /// Notes that this process is about to take `count` tasks, at `head`.
    fn note(&self, count: u64, head: u64) {
        let Some(family) = self.tasks.family() else {
            return;
        };
        let (inside, state) = (self.enter(family), self.state());
        // As long as we have the consumers' lock the head says whether the last one took them.
        self.forget_untaken(&inside);
        let in_hand = state.in_hand.of(&self.tasks, family, family.me());
        if let Ok(in_hand) = in_hand {
            let with_them = in_hand.load(Ordering::Relaxed) + count;
            // Release, each: in this order, which `forget_untaken` relies on.
            state.taker.store(0, Ordering::Release);
            state.taker_at.store(head, Ordering::Relaxed);
            state.taker_count.store(count, Ordering::Relaxed);
            state.with_them.store(with_them, Ordering::Relaxed);
            state
                .taker
                .store(Tally::word(family.me()), Ordering::Release);
            in_hand.store(with_them, Ordering::Release);
        }
    }

    /// Says that a task which this process took is done.
    ///
    /// # Errors
    ///
    /// [`TaskDoneError::TooMany`]: it has said so for each one.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        let family = self.tasks.family().ok_or(TaskDoneError::Foreign)?;
        let inside = self.enter(family);
        let in_hand = self.state().in_hand.of(&self.tasks, family, family.me());
        let in_hand = in_hand.map_err(|_| TaskDoneError::TooMany)?;
        let left = in_hand.load(Ordering::Relaxed).checked_sub(1);
        let left = left.ok_or(TaskDoneError::TooMany)?;
        in_hand.store(left, Ordering::Release);
        if left == 0 {
            inside.wake(u32::MAX);
        }
        Ok(())
    }

    /// Waits until all tasks that were put are done.
    ///
    /// # Errors
    ///
    /// [`JoinError::Abandoned`], [`JoinError::Disconnected`], [`JoinError::Foreign`].
    pub fn join(&self) -> Result<(), JoinError> {
        self.join_until(Patience::Until(None))
    }

    /// Waits at most `timeout` until all tasks that were put are done.
    ///
    /// # Errors
    ///
    /// [`JoinError::TimedOut`]; others as [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinError> {
        self.join_until(Patience::Until(deadline_after(timeout)))
    }

    fn join_until(&self, patience: Patience) -> Result<(), JoinError> {
        let family = self.tasks.family().ok_or(JoinError::Foreign)?;
        let state = self.state();
        let joined = state.monitor.wait_until(
            family,
            self.tasks.id().number(),
            patience.deadline(),
            |inside| self.repair(inside),
            |inside| {
                // First the queue: a task that is being taken is in hand before it is out of it.
                let left = !self.queue.is_empty();
                let in_hand = state.in_hand.total(&self.tasks, inside.family) > 0;
                if left && !in_hand && self.queue.core.no_receivers(Some(&self.queue.senders)) {
                    return Attempt::Done(Err(JoinError::Disconnected));
                }
                if left || in_hand {
                    return Attempt::Wait;
                }
                match state.abandoned.swap(0, Ordering::Relaxed) {
                    0 => Attempt::Done(Ok(())),
                    _ => Attempt::Done(Err(JoinError::Abandoned)),
                }
            },
        );
        joined.unwrap_or(Err(JoinError::TimedOut))
    }

    /// Ends the queue, as [`Queue::close`].
    ///
    /// # Errors
    ///
    /// As [`Queue::close`].
    pub fn close(&self) -> Result<(), Foreign> {
        self.queue.close()
    }

    /// How many messages are in the queue; those in hand are not.
    #[must_use]
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no message is in the queue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a short message would have to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }
}

impl<T: Serialize> JoinableQueue<T> {
    /// Puts a task, as [`Queue::put`].
    ///
    /// # Errors
    ///
    /// As [`Queue::put`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.queue.put(value)
    }

    /// Puts a task, as [`Queue::try_put`].
    ///
    /// # Errors
    ///
    /// As [`Queue::try_put`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.queue.try_put(value)
    }

    /// Puts a task, as [`Queue::put_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Queue::put_timeout`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.queue.put_timeout(value, timeout)
    }

    /// Puts many tasks, as [`Queue::put_many`].
    ///
    /// # Errors
    ///
    /// As [`Queue::put_many`].
    pub fn put_many(&self, values: impl IntoIterator<Item = T>) -> Result<usize, PutError<Vec<T>>> {
        self.queue.put_many(values)
    }
}

impl<T: DeserializeOwned> JoinableQueue<T> {
    fn get_with(&self, patience: Patience) -> Result<T, GetError> {
        /// A task whose decoding panics is nobody's to do, either.
        struct Undone<'a, T>(&'a JoinableQueue<T>);
        impl<T> Drop for Undone<'_, T> {
            fn drop(&mut self) {
                let _ = self.0.task_done();
            }
        }
        let queue = &self.queue;
        let taken = Cell::new(None);
        let got = queue
            .core
            .get_value(&queue.receivers, patience, |count, head| {
                self.note(count, head);
                taken.set(Some(Undone(self)));
            });
        if !matches!(got, Err(GetError::Decode(_))) {
            std::mem::forget(taken.take());
        }
        got
    }

    /// Takes a task, as [`Queue::get`]. It is in this process's hands until
    /// [`task_done`](Self::task_done).
    ///
    /// # Errors
    ///
    /// As [`Queue::get`]. A message that cannot be decoded counts as done.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_with(Patience::Until(None))
    }

    /// Takes a task, as [`Queue::try_get`].
    ///
    /// # Errors
    ///
    /// As [`Queue::try_get`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_with(Patience::No)
    }

    /// Takes a task, as [`Queue::get_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Queue::get_timeout`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_with(Patience::Until(deadline_after(timeout)))
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        JoinableQueue {
            queue: self.queue.clone(),
            tasks: self.tasks.clone(),
        }
    }
}

impl<T> PartialEq for JoinableQueue<T> {
    /// Whether both are handles of one queue.
    fn eq(&self, other: &Self) -> bool {
        self.tasks == other.tasks
    }
}

impl<T> Eq for JoinableQueue<T> {}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("JoinableQueue");
        debug.field("queue", &self.queue);
        if let Some(family) = self.tasks.family() {
            let in_hand = self.state().in_hand.holders(&self.tasks, family);
            let in_hand: Vec<_> = in_hand
                .into_iter()
                .map(|(member, count)| (family.member_pid(member).unwrap_or(0), count))
                .collect();
            debug.field("in_hand_by_pid", &in_hand);
        }
        debug.finish()
    }
}

impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.queue, &self.tasks).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tasks(Object);
        impl<'de> Deserialize<'de> for Tasks {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Object::deserialize_as(Kind::new(kinds::TASKS), deserializer).map(Tasks)
            }
        }
        let (queue, tasks) = <(Queue<T>, Tasks)>::deserialize(deserializer)?;
        Ok(JoinableQueue {
            queue,
            tasks: tasks.0,
        })
    }
}
