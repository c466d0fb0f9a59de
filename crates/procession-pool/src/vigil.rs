//! Who waits for the outcomes of jobs, and who is called for them: a part of the hub.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use procession_primitives::wake;

use crate::hub::{Waiter, Who};
use crate::inner::Inner;
use crate::mailbox::{SLEEPING, UNATTENDED};
use crate::raw::Done;

/// How long a thread looks for its outcome before it sleeps: about what a wake-up costs.
const SPIN: Duration = Duration::from_micros(20);

impl Inner {
    /// Waits until `done`, working meanwhile. False if `deadline` passes first.
    ///
    /// The waiter, made when this thread may have to sleep, is bumped by whoever makes it so.
    pub(crate) fn wait_for(
        self: &Arc<Self>,
        waiter: impl FnOnce() -> Arc<Waiter>,
        deadline: Option<Instant>,
        done: impl Fn() -> bool,
    ) -> bool {
        self.hub.waiters.fetch_add(1, Ordering::Relaxed);
        let found = self.look_for(&done, deadline);
        let finished = found || self.work_until(&waiter(), deadline, done);
        self.hub.waiters.fetch_sub(1, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `may_sleep`: either we see that the keeper sleeps, or it
        // sees that nobody waits any more.
        fence(Ordering::SeqCst);
        if !found || self.hub.has_waiting() || self.hub.is_watched() {
            self.hand_over();
        }
        finished
    }

    fn work_until(
        self: &Arc<Self>,
        waiter: &Arc<Waiter>,
        deadline: Option<Instant>,
        done: impl Fn() -> bool,
    ) -> bool {
        loop {
            let news = self.shared.family.news();
            // Acquire: pairs with `bump`.
            let seen = waiter.0.load(Ordering::Acquire);
            if done() {
                break true;
            }
            let next = self.turn(news, Who::Waiter);
            if done() {
                break true;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break false;
            }
            let until = [deadline, next].into_iter().flatten().min();
            let mut state = self.hub.lock();
            if state.has_sleeper {
                state.followers.push(Arc::clone(waiter));
                drop(state);
                if !done() {
                    self.shared.family.park(&waiter.0, seen, news, until);
                }
                let mut state = self.hub.lock();
                state.followers.retain(|other| !Arc::ptr_eq(other, waiter));
            } else {
                state.has_sleeper = true;
                drop(state);
                if self.say(SLEEPING) && !done() && waiter.0.load(Ordering::Acquire) == seen {
                    self.shared.family.park(self.inbox(), SLEEPING, news, until);
                }
                let inbox = self.inbox();
                let _ = inbox.compare_exchange(SLEEPING, 0, Ordering::Relaxed, Ordering::Relaxed);
                self.hub.lock().has_sleeper = false;
            }
        }
    }

    /// Looks for a moment whether `done`, taking in what finishes. Only where nothing else is to be
    /// seen to: the keeper minds the dead.
    pub(crate) fn look_for(
        self: &Arc<Self>,
        done: &impl Fn() -> bool,
        deadline: Option<Instant>,
    ) -> bool {
        let mut until = None;
        loop {
            if done() {
                return true;
            }
            if self.hub.is_watched() {
                return false;
            }
            let inbox = self.inbox();
            let is_empty = || matches!(inbox.load(Ordering::Relaxed), 0 | SLEEPING | UNATTENDED);
            if !is_empty() && self.deliver(Who::Waiter) {
                self.wake_sleeper();
                continue;
            }
            let now = Instant::now();
            let end = *until.get_or_insert(now + SPIN);
            if deadline.is_some_and(|deadline| now >= deadline) || now >= end {
                return false;
            }
            for _ in 0..32 {
                if !is_empty() || done() {
                    break;
                }
                hint::spin_loop();
            }
        }
    }

    /// Puts `word` into the empty inbox. False if there is something in it.
    pub(crate) fn say(&self, word: u32) -> bool {
        let inbox = self.inbox();
        let said = [0, UNATTENDED].into_iter().any(|empty| {
            // Relaxed: the word alone matters.
            let said = inbox.compare_exchange(empty, word, Ordering::Relaxed, Ordering::Relaxed);
            said.is_ok()
        });
        // SeqCst: pairs with the fence in `nudge`. A look at what is waited for follows.
        fence(Ordering::SeqCst);
        said
    }

    /// Leaves the inbox to another thread.
    fn hand_over(&self) {
        let state = self.hub.lock();
        if state.has_sleeper {
            return;
        }
        if let Some(follower) = state.followers.last() {
            follower.bump();
        } else if self.hub.is_keeper_asleep.load(Ordering::Relaxed) && !self.leave_word()
            || !state.delayed.is_empty()
            || self.crew.is_timed()
            || self.hub.is_watched() && !self.say(UNATTENDED)
        {
            self.call_keeper();
        }
    }

    /// Has whoever sleeps for the hub look again.
    pub(crate) fn nudge(&self) {
        if !self.wake_sleeper() {
            self.call_keeper();
        }
    }

    /// The same, if it is not the keeper. Whether somebody sleeps there.
    pub(crate) fn wake_sleeper(&self) -> bool {
        // SeqCst: pairs with the fence in `say`: either we see that somebody sleeps, or it sees what
        // was done before.
        fence(Ordering::SeqCst);
        let inbox = self.inbox();
        let woken = inbox.compare_exchange(SLEEPING, 0, Ordering::Relaxed, Ordering::Relaxed);
        if woken.is_ok() {
            wake(inbox, 1);
        }
        woken.is_ok()
    }

    pub(crate) fn call_keeper(&self) {
        let keeper = &self.shared.header().keeper.0;
        // Release: it sees why it was called.
        keeper.fetch_add(1, Ordering::Release);
        wake(keeper, 1);
    }

    /// Has somebody look at the outcome of `done` when it comes.
    pub(crate) fn watch_job(&self, done: &dyn Done) {
        if done.slot().has_watcher() {
            return;
        }
        // In this order, so that there are never fewer than watched jobs.
        self.watch();
        if !done.slot().watch() {
            self.hub.unwatch();
        }
    }

    /// A job begins to be watched.
    pub(crate) fn watch(&self) {
        if self.hub.watched.fetch_add(1, Ordering::Relaxed) == 0 {
            // It may have finished, and the inbox may say that nobody is to be told.
            self.nudge();
        }
    }

    /// Whether the keeper has nothing to do now, nor anybody else for it. Says so, if it has not.
    pub(crate) fn may_sleep(&self) -> bool {
        let state = self.hub.lock();
        self.hub.is_keeper_asleep.store(true, Ordering::Relaxed);
        // SeqCst: pairs with the fences in `place` and `wait_for`.
        fence(Ordering::SeqCst);
        // Where somebody sleeps on the inbox, it is that one who has to look; so has who waits. Where
        // nobody is to be told, nobody has to.
        let may = if state.has_sleeper || self.hub.is_attended() {
            true
        } else {
            // A word that was left before, and that nobody has seen, is enough: other calls may have
            // all the cells. But not for what came in since the keeper looked.
            let is_left = self.shared.header().hungry.0.load(Ordering::Relaxed) != 0;
            (!self.hub.is_watched() || self.say(UNATTENDED))
                && self.hub.inflow().is_empty()
                && (is_left || self.leave_word())
        };
        self.hub.is_keeper_asleep.store(may, Ordering::Relaxed);
        may
    }

    /// Waits until every job has its outcome.
    pub(crate) fn settle_hub(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        // Before the last look at the jobs, which follows the fence in `say`.
        self.hub.settling.fetch_add(1, Ordering::Relaxed);
        let settled =
            self.hub.is_idle() || self.wait_for(Arc::default, deadline, || self.hub.is_idle());
        self.hub.settling.fetch_sub(1, Ordering::Relaxed);
        settled
    }
}
