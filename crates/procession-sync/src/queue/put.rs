//! Putting into a queue.
//!
//! # Safety
//!
//! Writes behind `tail` where there is room, under the producers' lock.
#![allow(unsafe_code, reason = "writes frames to shared memory")]

use crate::primitive::{Block, BlockId, Family, HOLD_OFF, Holder, News, Ordering};
use crate::queue::core::{Core, Message, Patience, Refused, Sleeper, next_frame};
use crate::queue::encode::Large;
use crate::queue::end::{give_up, rouse};
use crate::queue::pace::look;
use crate::queue::ring::{BLOCK_WORDS, Frame, Position};
use crate::raw_lock;

/// Whether a message has room.
enum Room {
    Yes,
    /// Not in the ring, but it would have in a block.
    InBlock,
    No,
}

/// What one attempt to put came to.
pub(crate) enum Put<'a> {
    Done(Result<(), Refused>),
    Again(Message<'a>),
    /// To be tried again when the flag at `head` is cleared, or there is later news.
    Sleep(Message<'a>, News),
}

impl Core {
    /// Puts `frames` if nobody is in the way and there is room: a shorter way to what
    /// [`try_put`](Self::try_put) does then.
    #[inline]
    pub(crate) fn put_at_once(&self, family: &'static Family, frames: &[u8], count: u64) -> bool {
        let (me, state) = (family.holder(), self.state());
        let end = &state.producers.end;
        if !end.lock_now(me) {
            return false;
        }
        let tail = state.tail.get();
        let message = Message::Frames(frames, count);
        let possible = state.closed.load(Ordering::Relaxed) == 0
            && matches!(self.room(tail, &message), Room::Yes);
        if possible {
            self.commit_frames(tail, frames, count);
        }
        end.unlock(me);
        if possible {
            rouse(&state.tail.sleepers);
        }
        possible
    }

    /// Puts all of `message`, or nothing.
    ///
    /// `deserted` says whether nobody is left who could take anything.
    pub(crate) fn put(
        &self,
        mut message: Message<'_>,
        patience: Patience,
        deserted: impl Fn() -> bool,
    ) -> Result<(), Refused> {
        let family = self.object.family().ok_or(Refused::Foreign)?;
        let mut sleeper = Sleeper::default();
        let mut waiting = None;
        loop {
            match self.try_put(family, message, patience, &deserted, &mut sleeper) {
                Put::Done(done) => return done,
                Put::Again(back) => message = back,
                Put::Sleep(back, news) => {
                    message = back;
                    waiting.get_or_insert_with(|| family.wait_on(self.object.id().number()));
                    let flag = &self.state().head.sleepers;
                    family.park(flag, 1, news, patience.deadline());
                }
            }
        }
    }

    /// Tries once to put `message`. On [`Put::Sleep`] the caller counts as asleep.
    #[inline]
    pub(crate) fn try_put<'a>(
        &self,
        family: &'static Family,
        message: Message<'a>,
        patience: Patience,
        deserted: impl Fn() -> bool,
        sleeper: &mut Sleeper,
    ) -> Put<'a> {
        let (me, state) = (family.holder(), self.state());
        let (end, flag) = (&state.producers.end, &state.head.sleepers);
        // Read before the state is: a death after this point ends a sleep.
        let news = family.news();
        if !self.lock_producers(family, me, patience) {
            if sleeper.owes {
                give_up(flag);
            }
            return Put::Done(Err(patience.refused()));
        }
        if let Some(since) = sleeper.slept.take() {
            end.get_up(since);
        }
        let owes = sleeper.owes;
        let leave = || {
            if owes {
                end.pass_on(flag, || self.may_put());
            }
            end.unlock(me);
        };
        let tail = state.tail.get();
        if state.closed.load(Ordering::Relaxed) != 0 {
            leave();
            return Put::Done(Err(Refused::Closed));
        }
        match self.room(tail, &message) {
            Room::Yes => {
                self.commit(tail, message);
                leave();
                rouse(&state.tail.sleepers);
                return Put::Done(Ok(()));
            }
            Room::InBlock => {
                leave();
                return match into_block(family, &message) {
                    Ok(message) => Put::Again(message),
                    Err(refused) => Put::Done(Err(refused)),
                };
            }
            Room::No => {}
        }
        if patience.is_over() {
            leave();
            let refused = if deserted() {
                Refused::Disconnected
            } else {
                patience.refused()
            };
            return Put::Done(Err(refused));
        }
        if !sleeper.looked {
            sleeper.looked = true;
            leave();
            let head = state.producers.head_seen.load(Ordering::Relaxed);
            look(HOLD_OFF, || {
                state.head.position.load(Ordering::Relaxed) != head
            });
            return Put::Again(message);
        }
        if !end.settle_down(flag, news) {
            leave();
            return Put::Again(message);
        }
        sleeper.owes = true;
        let head = state.head.get().to_word();
        let deserted = deserted();
        let full = matches!(self.room(tail, &message), Room::No);
        if full && !deserted {
            // A message that is too long, or a batch: there may be room for another one's.
            let send_on = owes && sleeper.sent_on_at != Some(head) && !self.is_full();
            end.unlock(me);
            if send_on {
                // Once for each place of the other end: else two of them could keep each other
                // awake.
                sleeper.sent_on_at = Some(head);
                give_up(flag);
            }
            sleeper.slept = Some(news);
            return Put::Sleep(message, news);
        }
        end.get_up(news);
        end.unlock(me);
        if full {
            return Put::Done(Err(Refused::Disconnected));
        }
        Put::Again(message)
    }

    /// Ends the waiting of one that may count as asleep.
    #[cfg(feature = "async")]
    pub(crate) fn stop_putting(&self, sleeper: &mut Sleeper) {
        if let (Some(since), Some(family)) = (sleeper.slept.take(), self.object.family()) {
            let (me, state) = (family.holder(), self.state());
            self.lock_producers(family, me, Patience::Until(None));
            state.producers.end.get_up(since);
            let ready = || self.may_put();
            state.producers.end.pass_on(&state.head.sleepers, ready);
            state.producers.end.unlock(me);
        }
    }

    /// Whether another one that sleeps here has something to wake up for.
    fn may_put(&self) -> bool {
        !self.is_full() || self.is_closed()
    }

    /// Takes the producers' lock, and repairs what a dead one left. False when `patience` was over
    /// first: whoever has the lock may be stopped.
    #[inline]
    pub(crate) fn lock_producers(
        &self,
        family: &'static Family,
        me: Holder,
        patience: Patience,
    ) -> bool {
        let taken = self.state().producers.end.lock(family, me, patience);
        if taken == Some(raw_lock::Taken::FromDead) {
            self.repair_producers(family);
        }
        taken.is_some()
    }

    #[cold]
    fn repair_producers(&self, family: &'static Family) {
        let (state, producers) = (self.state(), &self.state().producers);
        if let Some(block) = BlockId::from_word(producers.pending.load(Ordering::Relaxed)) {
            let at = Position::from_word(producers.pending_at.load(Ordering::Relaxed));
            if state.tail.get() == at {
                // Not committed. The block is the dead one's, or ours to free.
                self.free_lost(family, block);
            } else {
                let put = producers.ext_pending.load(Ordering::Relaxed);
                producers.ext_put.store(put, Ordering::Relaxed);
            }
            producers.pending.store(0, Ordering::Release);
        }
        producers
            .head_seen
            .store(state.head.get().to_word(), Ordering::Relaxed);
    }

    /// Whether there is room between `head` and the ring's size for `message`.
    #[inline]
    fn room_from(&self, head: Position, tail: Position, message: &Message<'_>) -> Room {
        let state = self.state();
        let (used, count) = tail.since(head);
        let capacity = state.capacity.load(Ordering::Relaxed);
        let (words, messages, bytes) = match message {
            Message::Frames(bytes, messages) => {
                let words = bytes.len() as u64 / 8;
                (words, *messages, words * 8)
            }
            Message::Large(large) => (BLOCK_WORDS, 1, large.len as u64),
        };
        let size = self.memory.words();
        if count + messages > capacity || used + BLOCK_WORDS > size {
            return Room::No;
        }
        let waiting = used * 8 + self.ext_bytes();
        let limit = state.max_bytes.load(Ordering::Relaxed);
        if waiting != 0 && waiting.saturating_add(bytes) > limit {
            return Room::No;
        }
        // Each message of the capacity has its place, in a block if need be.
        let reserve = match message {
            Message::Frames(..) => BLOCK_WORDS.saturating_mul(capacity - count - messages),
            Message::Large(_) => 0,
        };
        let reserve = reserve.min(size / 2);
        if used + words + reserve <= size {
            Room::Yes
        } else {
            Room::InBlock
        }
    }

    #[inline]
    fn room(&self, tail: Position, message: &Message<'_>) -> Room {
        let producers = &self.state().producers;
        let seen = Position::from_word(producers.head_seen.load(Ordering::Relaxed));
        match self.room_from(seen, tail, message) {
            Room::Yes => Room::Yes,
            _ => {
                let head = self.state().head.get();
                producers.head_seen.store(head.to_word(), Ordering::Relaxed);
                self.room_from(head, tail, message)
            }
        }
    }

    /// Writes `message` at `tail`, where there is room.
    #[inline]
    fn commit(&self, tail: Position, message: Message<'_>) {
        match message {
            Message::Frames(frames, count) => self.commit_frames(tail, frames, count),
            Message::Large(large) => self.commit_block(tail, large),
        }
    }

    #[inline]
    fn commit_frames(&self, tail: Position, frames: &[u8], count: u64) {
        // SAFETY: there is room, and the lock is held.
        unsafe { self.memory.write_bytes(tail.words(), frames) };
        self.state()
            .tail
            .set(tail.plus(frames.len() as u64 / 8, count));
    }

    fn commit_block(&self, tail: Position, large: Large) {
        let (state, producers) = (self.state(), &self.state().producers);
        let Large {
            block,
            len,
            carrier,
        } = large;
        let id = block.id().to_word();
        let put = producers.ext_put.load(Ordering::Relaxed) + len as u64;
        // Release, each: in this order, which a repair relies on.
        producers
            .pending_at
            .store(tail.to_word(), Ordering::Relaxed);
        producers.ext_pending.store(put, Ordering::Relaxed);
        producers.pending.store(id, Ordering::Release);
        let _ = self.object.adopt(block);
        let words = [Frame::Block { carrier }.to_word(), id, len as u64, put];
        for (place, word) in (tail.words()..).zip(words) {
            // SAFETY: there is room, and the lock is held.
            unsafe { self.memory.write(place, word) };
        }
        state.tail.set(tail.plus(BLOCK_WORDS, 1));
        producers.ext_put.store(put, Ordering::Release);
        producers.pending.store(0, Ordering::Release);
    }
}

/// Moves a frame that does not fit into the ring to a block.
#[cold]
fn into_block<'a>(family: &'static Family, message: &Message<'_>) -> Result<Message<'a>, Refused> {
    let Message::Frames(mut frames, 1) = *message else {
        // Of several, the caller sends one at a time.
        return Err(Refused::Full);
    };
    let payload = next_frame(&mut frames).unwrap_or_default();
    let mut block = Block::new(family, payload.len()).map_err(|_| Refused::OutOfMemory)?;
    let len = payload.len();
    block.bytes_mut()[..len].copy_from_slice(payload);
    Ok(Message::Large(Large {
        block,
        len,
        carrier: false,
    }))
}
