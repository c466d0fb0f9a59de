//! Taking out of a queue.
//!
//! # Safety
//!
//! Reads between `head` and `tail`, under the consumers' lock.
#![allow(unsafe_code, reason = "reads frames in shared memory")]

use crate::primitive::{BlockId, Family, Holder, News, Ordering};
use crate::queue::bytes::Bytes;
use crate::queue::core::{Core, Nothing, Patience, Sleeper, Taken};
use crate::queue::encode::Large;
use crate::queue::end::{give_up, rouse};
use crate::queue::pace::look;
use crate::queue::ring::{BLOCK_WORDS, Frame, Position};
use crate::raw_lock;

/// What one attempt to take came to.
pub(crate) enum Take {
    Done(Result<Taken, Nothing>),
    Again,
    /// To be tried again when the flag at `tail` is cleared, or there is later news.
    Sleep(News),
}

impl Core {
    /// Takes up to `most` messages if nobody is in the way, and there is one, in the ring: a
    /// shorter way to what [`try_take`](Self::try_take) does then. Returns how many.
    #[inline]
    pub(crate) fn take_at_once(
        &self,
        most: u64,
        note: &impl Fn(u64, u64),
        bytes: &mut Bytes,
    ) -> Option<u64> {
        let me = self.object.family()?.holder();
        let state = self.state();
        let end = &state.consumers.end;
        if !end.lock_now(me) {
            return None;
        }
        let head = state.head.get();
        let tail = self.ready(head);
        let taken = tail.and_then(|tail| self.take_frames(head, tail, most, note, bytes));
        end.unlock(me);
        let (count, _) = taken?;
        rouse(&state.head.sleepers);
        Some(count)
    }

    /// Takes up to `most` messages that are in the ring, or one that is in a block.
    ///
    /// `note` is told how many, and where, before they are taken; `deserted` says whether nobody
    /// is left who could put anything.
    pub(crate) fn take(
        &self,
        most: u64,
        patience: Patience,
        note: impl Fn(u64, u64),
        deserted: impl Fn() -> bool,
        bytes: &mut Bytes,
    ) -> Result<Taken, Nothing> {
        let family = self.object.family().ok_or(Nothing::Foreign)?;
        let mut sleeper = Sleeper::default();
        let mut waiting = None;
        let take = |sleeper: &mut Sleeper, bytes: &mut Bytes| {
            self.try_take(family, (most, patience), &note, &deserted, bytes, sleeper)
        };
        loop {
            match take(&mut sleeper, bytes) {
                Take::Done(done) => return done,
                Take::Again => {}
                Take::Sleep(news) => {
                    waiting.get_or_insert_with(|| family.wait_on(self.object.id().number()));
                    let flag = &self.state().tail.sleepers;
                    family.park(flag, 1, news, patience.deadline());
                }
            }
        }
    }

    /// Tries once to take. On [`Take::Sleep`] the caller counts as asleep.
    #[inline]
    pub(crate) fn try_take(
        &self,
        family: &'static Family,
        (most, patience): (u64, Patience),
        note: &impl Fn(u64, u64),
        deserted: impl Fn() -> bool,
        bytes: &mut Bytes,
        sleeper: &mut Sleeper,
    ) -> Take {
        let (me, state) = (family.holder(), self.state());
        let (end, flag) = (&state.consumers.end, &state.tail.sleepers);
        // Read before the state is: a death after this point ends a sleep.
        let news = family.news();
        if !self.lock_consumers(family, me, patience) {
            if sleeper.owes {
                give_up(flag);
            }
            return Take::Done(Err(patience.nothing()));
        }
        if let Some(since) = sleeper.slept.take() {
            end.get_up(since);
        }
        let owes = sleeper.owes;
        let leave = |head: Position| {
            if owes {
                end.pass_on(flag, || self.may_take(head));
            }
            end.unlock(me);
        };
        let head = state.head.get();
        if let Some(tail) = self.ready(head) {
            if sleeper.looked && !owes {
                self.learn_pace(head, tail);
            }
            let (taken, next) = self.take_at(family, head, tail, most, note, bytes);
            leave(next);
            rouse(&state.head.sleepers);
            return Take::Done(Ok(taken));
        }
        // Acquire: what was put before it was closed is seen below.
        let closed = state.closed.load(Ordering::Acquire) != 0;
        if closed && self.ready(head).is_none() {
            leave(head);
            return Take::Done(Err(Nothing::Closed));
        }
        if patience.is_over() {
            let deserted = deserted();
            let come = self.ready(head).is_some();
            leave(head);
            return match (come, deserted) {
                (true, _) => Take::Again,
                (false, true) => Take::Done(Err(Nothing::Disconnected)),
                (false, false) => Take::Done(Err(patience.nothing())),
            };
        }
        if !sleeper.looked {
            sleeper.looked = true;
            leave(head);
            let seen = head.to_word();
            let pauses = state.consumers.pace.pauses();
            look(pauses, || {
                state.tail.position.load(Ordering::Relaxed) != seen
            });
            return Take::Again;
        }
        if !end.settle_down(flag, news) {
            leave(head);
            return Take::Again;
        }
        sleeper.owes = true;
        let deserted = deserted();
        if self.ready(head).is_some() || state.closed.load(Ordering::Acquire) != 0 {
            end.get_up(news);
            end.unlock(me);
            return Take::Again;
        }
        if deserted {
            end.get_up(news);
            end.unlock(me);
            return Take::Done(Err(Nothing::Disconnected));
        }
        end.unlock(me);
        sleeper.slept = Some(news);
        Take::Sleep(news)
    }

    /// Learns from what had come when somebody had looked.
    #[cold]
    fn learn_pace(&self, head: Position, tail: Position) {
        let state = self.state();
        let (words, count) = tail.since(head);
        let crowded = count > state.capacity.load(Ordering::Relaxed) / 2
            || words > self.memory.words() / 2
            || words * 8 > state.max_bytes.load(Ordering::Relaxed) / 2;
        state.consumers.pace.learn(count, crowded);
    }

    /// Ends the waiting of one that may count as asleep.
    #[cfg(feature = "async")]
    pub(crate) fn stop_taking(&self, sleeper: &mut Sleeper) {
        if let (Some(since), Some(family)) = (sleeper.slept.take(), self.object.family()) {
            let (me, state) = (family.holder(), self.state());
            self.lock_consumers(family, me, Patience::Until(None));
            state.consumers.end.get_up(since);
            let head = state.head.get();
            let ready = || self.may_take(head);
            state.consumers.end.pass_on(&state.tail.sleepers, ready);
            state.consumers.end.unlock(me);
        }
    }

    /// Whether another one that sleeps here has something to wake up for.
    fn may_take(&self, head: Position) -> bool {
        self.state().tail.get() != head || self.is_closed()
    }

    /// Takes the consumers' lock, as [`lock_producers`](Self::lock_producers).
    #[inline]
    pub(crate) fn lock_consumers(
        &self,
        family: &'static Family,
        me: Holder,
        patience: Patience,
    ) -> bool {
        let taken = self.state().consumers.end.lock(family, me, patience);
        if taken == Some(raw_lock::Taken::FromDead) {
            self.repair_consumers(family);
        }
        taken.is_some()
    }

    #[cold]
    fn repair_consumers(&self, family: &'static Family) {
        let (state, consumers) = (self.state(), &self.state().consumers);
        if let Some(block) = BlockId::from_word(consumers.taking.load(Ordering::Relaxed)) {
            let at = Position::from_word(consumers.taking_at.load(Ordering::Relaxed));
            if state.head.get() != at {
                // Taken by one that died with it.
                self.free_lost(family, block);
                let taken = consumers.ext_taking.load(Ordering::Relaxed);
                consumers.ext_taken.store(taken, Ordering::Relaxed);
            }
            consumers.taking.store(0, Ordering::Release);
        }
        consumers
            .tail_seen
            .store(state.head.get().to_word(), Ordering::Relaxed);
    }

    /// Where the messages from `head` on end; `None` if there is none.
    #[inline]
    fn ready(&self, head: Position) -> Option<Position> {
        let seen = &self.state().consumers.tail_seen;
        let tail = Position::from_word(seen.load(Ordering::Relaxed));
        // A place that was seen once is never behind `head`: takers store both under the lock.
        if tail != head {
            return Some(tail);
        }
        let tail = self.state().tail.get();
        seen.store(tail.to_word(), Ordering::Relaxed);
        (tail != head).then_some(tail)
    }

    /// Takes what is at `head`. Returns the new head.
    fn take_at(
        &self,
        family: &'static Family,
        head: Position,
        tail: Position,
        most: u64,
        note: &impl Fn(u64, u64),
        bytes: &mut Bytes,
    ) -> (Taken, Position) {
        if let Some((count, next)) = self.take_frames(head, tail, most, note, bytes) {
            return (Taken::Frames(count), next);
        }
        // SAFETY: a frame begins there, and the lock is held.
        let first = Frame::from_word(unsafe { self.memory.read(head.words()) });
        note(1, head.to_word());
        self.take_block(family, head, first == Frame::Block { carrier: true })
    }

    /// Takes what is in the ring from `head` on; `None` if the first message is in a block.
    /// Returns how many, and the new head.
    #[inline]
    fn take_frames(
        &self,
        head: Position,
        tail: Position,
        most: u64,
        note: &impl Fn(u64, u64),
        bytes: &mut Bytes,
    ) -> Option<(u64, Position)> {
        let (present, _) = tail.since(head);
        let (mut words, mut count) = (0, 0);
        while count < most && words < present {
            // SAFETY: a frame begins there, and the lock is held.
            let frame = Frame::from_word(unsafe { self.memory.read(head.words() + words) });
            if matches!(frame, Frame::Block { .. }) {
                break;
            }
            words += frame.words();
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let len = words.min(present) as usize * 8;
        // SAFETY: whole frames, and the lock is held.
        unsafe { self.memory.read_bytes(head.words(), len, bytes) };
        note(count, head.to_word());
        let next = head.plus(words, count);
        self.state().head.set(next);
        Some((count, next))
    }

    fn take_block(
        &self,
        family: &'static Family,
        head: Position,
        carrier: bool,
    ) -> (Taken, Position) {
        let (state, consumers) = (self.state(), &self.state().consumers);
        let word = |index| {
            // SAFETY: a frame of `BLOCK_WORDS` words begins at `head`, and the lock is held.
            unsafe { self.memory.read(head.words() + index) }
        };
        let (id, len, taken) = (word(1), word(2) as usize, word(3));
        // Release, each: in this order, which a repair relies on.
        consumers.taking_at.store(head.to_word(), Ordering::Relaxed);
        consumers.ext_taking.store(taken, Ordering::Relaxed);
        consumers.taking.store(id, Ordering::Release);
        let next = head.plus(BLOCK_WORDS, 1);
        state.head.set(next);
        let block = BlockId::from_word(id).and_then(|id| self.object.part(family, id, carrier));
        consumers.ext_taken.store(taken, Ordering::Release);
        consumers.taking.store(0, Ordering::Release);
        let taken = match block {
            Some(block) => Taken::Large(Large {
                len: len.min(block.len()),
                block,
                carrier,
            }),
            // Only where somebody has written into memory that is not its own.
            None => Taken::Frames(0),
        };
        (taken, next)
    }
}
