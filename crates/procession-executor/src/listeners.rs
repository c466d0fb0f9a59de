//! Who is told when an outcome is there.

use std::sync::Arc;
use std::task::Waker;

use procession_pool::TaskError;
use procession_primitives::catch;

use crate::completions::Completions;

pub(crate) type Callback<T> = Box<dyn FnOnce(&Result<T, TaskError>) + Send>;

/// One of those who are told.
pub(crate) enum Listener<T> {
    /// The async task that polls the future.
    Poll(Waker),
    /// Somebody who waits, as a thread.
    Waiter(Waker),
    /// A set of futures, in which this one has a number.
    Member(Arc<Completions>, u32),
    /// Called with the outcome, before the others are told.
    Callback(Callback<T>),
}

impl<T> Listener<T> {
    /// Tells those that are no callbacks.
    pub(crate) fn tell(self) {
        match self {
            Self::Poll(waker) | Self::Waiter(waker) => {
                // A panic of a waker is its own affair: the others are told all the same.
                let _ = catch(|| waker.wake());
            }
            Self::Member(set, number) => {
                let _ = catch(|| set.push(number));
            }
            Self::Callback(_) => {}
        }
    }

    fn is_callback(&self) -> bool {
        matches!(self, Self::Callback(_))
    }

    fn is_wanted(&self) -> bool {
        !matches!(self, Self::Member(set, _) if set.is_closed())
    }
}

/// All of them, in the order in which they came. One takes no allocation.
pub(crate) enum Listeners<T> {
    None,
    One(Listener<T>),
    Many(Vec<Listener<T>>),
}

impl<T> Listeners<T> {
    pub(crate) fn push(&mut self, listener: Listener<T>) {
        match std::mem::replace(self, Self::None) {
            Self::One(first) if first.is_wanted() => {
                *self = Self::Many(vec![first, listener]);
            }
            Self::None | Self::One(_) => *self = Self::One(listener),
            Self::Many(mut many) => {
                if many.len() == many.capacity() {
                    // Those of sets that are no more: dropping them calls nobody.
                    many.retain(Listener::is_wanted);
                }
                many.push(listener);
                *self = Self::Many(many);
            }
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Listener<T>] {
        match self {
            Self::None => &mut [],
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(many) => many,
        }
    }

    /// The task that polls is now this one. The waker to drop.
    pub(crate) fn set_poll(&mut self, waker: Waker) -> Option<Waker> {
        for listener in self.as_mut_slice() {
            if let Listener::Poll(before) = listener {
                return Some(std::mem::replace(before, waker));
            }
        }
        self.push(Listener::Poll(waker));
        None
    }

    /// Takes out a waiter.
    pub(crate) fn remove(&mut self, waker: &Waker) -> Option<Listener<T>> {
        let is_it = |listener: &Listener<T>| matches!(listener, Listener::Waiter(other) if other.will_wake(waker));
        let listeners = self.as_mut_slice();
        let at = listeners.iter().position(is_it)?;
        match std::mem::replace(self, Self::None) {
            Self::None => None,
            Self::One(one) => Some(one),
            Self::Many(mut many) => {
                let removed = many.remove(at);
                *self = Self::Many(many);
                Some(removed)
            }
        }
    }

    /// Takes out the callbacks.
    pub(crate) fn take_callbacks(&mut self) -> Vec<Callback<T>> {
        let taken = match self {
            Self::Many(many) => many.extract_if(.., |one| one.is_callback()).collect(),
            Self::One(one) if one.is_callback() => match std::mem::replace(self, Self::None) {
                Self::One(one) => vec![one],
                _ => Vec::new(),
            },
            Self::None | Self::One(_) => Vec::new(),
        };
        let callbacks = taken.into_iter().filter_map(|listener| match listener {
            Listener::Callback(callback) => Some(callback),
            _ => None,
        });
        callbacks.collect()
    }

    /// Tells all of them that are no callbacks.
    pub(crate) fn tell(self) {
        match self {
            Self::None => {}
            Self::One(one) => one.tell(),
            Self::Many(many) => many.into_iter().for_each(Listener::tell),
        }
    }
}
