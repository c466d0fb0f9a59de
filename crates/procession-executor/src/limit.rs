//! How many futures may be without an outcome.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::backend::Backend;

/// A number of places, each taken by a future that has no outcome.
#[derive(Debug)]
pub(crate) struct Limit {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Those who wait for a place, until they leave. A wake-up goes to the first, who then is the
    /// last.
    waiting: VecDeque<Waker>,
}

impl Limit {
    pub(crate) fn new(most: usize) -> Limit {
        let state = Mutex::default();
        let most = most.max(1);
        Limit { most, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.lock().taken < self.most
    }

    /// Takes a place, if one is free.
    pub(crate) fn try_take(&self) -> bool {
        let mut state = self.lock();
        let free = state.taken < self.most;
        state.taken += usize::from(free);
        free
    }

    /// Takes a place, also if none is free.
    pub(crate) fn take_anyway(&self) {
        self.lock().taken += 1;
    }

    /// Waits for a place and takes it. False if `deadline` passes first.
    pub(crate) fn take(&self, backend: &dyn Backend, deadline: Option<Instant>) -> bool {
        if self.try_take() {
            return true;
        }
        let mut own: Option<Waker> = None;
        let mut register = |waker: Waker| {
            if own.as_ref().is_none_or(|own| !own.will_wake(&waker)) {
                self.leave(own.replace(waker.clone()));
                self.lock().waiting.push_back(waker);
            }
        };
        let taken = loop {
            let has_room = backend.wait(&mut register, deadline, &|| self.has_room());
            // Somebody else may have been faster.
            if self.try_take() {
                break true;
            }
            if !has_room {
                break false;
            }
        };
        self.leave(own);
        // Several places may have become free for the same wake-up, or one that is not taken now.
        self.wake_one();
        taken
    }

    fn leave(&self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        let mut state = self.lock();
        let at = state
            .waiting
            .iter()
            .position(|other| other.will_wake(&waker));
        let removed = at.and_then(|at| state.waiting.remove(at));
        drop(state);
        drop(removed);
    }

    /// Frees a place.
    pub(crate) fn give_back(&self) {
        self.lock().taken -= 1;
        self.wake_one();
    }

    fn wake_one(&self) {
        let mut state = self.lock();
        if state.taken >= self.most || state.waiting.is_empty() {
            return;
        }
        state.waiting.rotate_left(1);
        let waker = state.waiting.back().cloned();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests;
