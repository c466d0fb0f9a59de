//! `std::sync::Mutex`, modelled: loom's if it was [`watched`](crate::scene::watched), else one at
//! which no thread is interrupted, and which orders nothing.
//!
//! # Safety
//!
//! Loom's threads all run on the thread that checks the model, and the flag says who has the data.
#![allow(unsafe_code, reason = "shares data between loom's threads")]

use real::cell::{Cell, OnceCell, RefCell, RefMut};
use real::collections::VecDeque;
use real::ops::{Deref, DerefMut};
use real::sync::LockResult;

use loom::sync as inner;
use loom::thread::{self, Thread};

use crate::{scene, words};

pub(crate) struct Mutex<T> {
    data: RefCell<T>,
    gate: OnceCell<inner::Mutex<()>>,
    is_held: Cell<bool>,
    waiters: RefCell<VecDeque<Thread>>,
}

// SAFETY: see the head of the file.
unsafe impl<T> Sync for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Mutex<T> {}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> real::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut real::fmt::Formatter<'_>) -> real::fmt::Result {
        f.pad("Mutex")
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    data: Option<RefMut<'a, T>>,
    gate: Option<inner::MutexGuard<'a, ()>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(data: T) -> Mutex<T> {
        Mutex {
            data: RefCell::new(data),
            gate: OnceCell::new(),
            is_held: Cell::new(false),
            waiters: RefCell::default(),
        }
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        if words::is_watching() {
            self.gate.get_or_init(|| inner::Mutex::new(()));
        }
        let gate = self
            .gate
            .get()
            .map(|gate| gate.lock().expect("not poisoned"));
        while gate.is_none() && self.is_held.replace(true) {
            self.waiters.borrow_mut().push_back(thread::current());
            thread::park();
        }
        Ok(MutexGuard {
            mutex: self,
            data: Some(self.data.borrow_mut()),
            gate,
        })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.data.as_ref().expect("taken by `drop` only")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_mut().expect("taken by `drop` only")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.data = None;
        if scene::is_over() {
            // Loom has no threads any more by then.
            real::mem::forget(self.gate.take());
        } else if self.gate.take().is_none() {
            self.mutex.is_held.set(false);
            if let Some(next) = self.mutex.waiters.borrow_mut().pop_front() {
                next.unpark();
            }
        }
    }
}
