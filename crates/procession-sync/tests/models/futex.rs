//! The kernel's part, modelled: who sleeps on which word, and until when.
//!
//! As in the kernel, the words are compared and the sleeper is entered under one lock, and a
//! waker that comes after the sleeper finds it. Sleepers are woken in the order in which they
//! came. Loads under the lock may be old ones, but never older than what a waker stored before it
//! took the lock: that is what the kernel promises, too.

use real::cell::Cell;
use real::ops::{Deref, DerefMut};
use real::rc::Rc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Mutex, MutexGuard};
use loom::thread::{self, Thread};

/// Everybody who sleeps, and the time.
#[derive(Debug, Default)]
pub(crate) struct Futex {
    beds: Mutex<Vec<Bed>>,
    /// 0, and 1 when time has passed: every deadline is over then.
    clock: AtomicU32,
}

/// How a sleep may end, other than by being woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Woken,
    /// When time has passed.
    Later,
    /// At any moment: after a short while, or killed.
    Soon,
}

#[derive(Debug)]
struct Bed {
    word: usize,
    until: Until,
    sleeper: Thread,
    woken: Rc<Cell<bool>>,
}

impl Bed {
    fn wake(self) {
        self.woken.set(true);
        self.sleeper.unpark();
    }
}

impl Futex {
    /// Sleeps on the word at `word`, unless `refuse` says, under the lock, that it has changed.
    pub(crate) fn sleep(&self, word: usize, until: Until, refuse: impl FnOnce() -> bool) {
        let woken = Rc::new(Cell::new(false));
        let mut beds = self.lock();
        if refuse() || until == Until::Later && self.clock.load(Ordering::Relaxed) > 0 {
            return;
        }
        beds.push(Bed {
            word,
            until,
            sleeper: thread::current(),
            woken: woken.clone(),
        });
        drop(beds);
        if until == Until::Soon {
            // Others come in here, or do not.
            self.lock().retain(|bed| !Rc::ptr_eq(&bed.woken, &woken));
            return;
        }
        while !woken.get() {
            thread::park();
        }
    }

    /// Wakes up to `count` sleepers on the word at `word`, and says how many it were.
    pub(crate) fn wake(&self, word: usize, count: u32) -> usize {
        let mut beds = self.lock();
        for woken in 0..count {
            let Some(first) = beds.iter().position(|bed| bed.word == word) else {
                return woken as usize;
            };
            beds.remove(first).wake();
        }
        count as usize
    }

    /// Wakes everybody: all watch the news word.
    pub(crate) fn wake_all(&self) {
        self.lock().drain(..).for_each(Bed::wake);
    }

    /// Lets time pass: all deadlines are over, now and from now on.
    pub(crate) fn pass_time(&self) {
        let mut beds = self.lock();
        self.clock.store(1, Ordering::Relaxed);
        while let Some(at) = beds.iter().position(|bed| bed.until == Until::Later) {
            beds.remove(at).wake();
        }
    }

    pub(crate) fn now(&self) -> u32 {
        self.clock.load(Ordering::Relaxed)
    }

    fn lock(&self) -> Guard<'_> {
        Guard(Some(self.beds.lock().expect("not poisoned")))
    }
}

/// Does not let go of the lock in a panic: loom has no threads any more by then.
struct Guard<'a>(Option<MutexGuard<'a, Vec<Bed>>>);

impl Deref for Guard<'_> {
    type Target = Vec<Bed>;
    fn deref(&self) -> &Vec<Bed> {
        self.0.as_ref().expect("taken by `drop` only")
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Vec<Bed> {
        self.0.as_mut().expect("taken by `drop` only")
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if real::thread::panicking() {
            real::mem::forget(self.0.take());
        }
    }
}
