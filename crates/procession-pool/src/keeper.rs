//! The keeper: a thread of the program that works for the hub when nobody waits.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;

use crate::hub::Who;
use crate::inner::Inner;

/// Callbacks run on it.
const KEEPER_STACK: usize = 1 << 20;

impl Inner {
    /// Starts the keeper, unless there is one.
    pub(crate) fn keep(self: &Arc<Self>) {
        if self.hub.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let mut keeper = self
            .hub
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if keeper.is_none() && !self.hub.ending.load(Ordering::Relaxed) {
            let pool = Arc::clone(self);
            let name = "pool-keeper".to_owned();
            let thread = thread::Builder::new().name(name).stack_size(KEEPER_STACK);
            // Without it those who wait do all the work.
            *keeper = thread.spawn(move || pool.mind()).ok();
            self.hub.is_kept.store(true, Ordering::Relaxed);
        }
    }

    fn mind(self: Arc<Self>) {
        let keeper = &self.shared.header().keeper.0;
        while !self.hub.ending.load(Ordering::Relaxed) {
            let news = self.shared.family.news();
            // Acquire: pairs with `call_keeper`.
            let seen = keeper.load(Ordering::Acquire);
            let next = self.turn(news, Who::Keeper);
            if self.may_sleep() && !self.hub.ending.load(Ordering::Relaxed) {
                self.shared.family.park(keeper, seen, news, next);
            }
            self.hub.is_keeper_asleep.store(false, Ordering::Relaxed);
        }
    }

    /// Ends the keeper. Not from one of its callbacks: then it ends after that.
    pub(crate) fn stop_keeping(&self) {
        self.hub.ending.store(true, Ordering::Relaxed);
        self.call_keeper();
        let mut keeper = self
            .hub
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = keeper.take()
            && thread.thread().id() != thread::current().id()
        {
            drop(keeper);
            // A panic in it was printed.
            let _ = thread.join();
        }
    }
}
