//! The queue without its type: puts and takes encoded messages.
//!
//! # Safety
//!
//! Reaches the ring by the rules of `ring`: what is written is behind `tail` and fits, what is
//! read is between `head` and `tail`, each under the lock of its end.
#![allow(unsafe_code, reason = "reaches frames in shared memory")]

use std::time::Instant;

use procession_primitives::{Block, BlockId, Object, ObjectError};

use crate::handle::shared_state;
use crate::primitive::{
    AtomicU32, AtomicU64, Family, Holder, News, Ordering, full_fence, pause, wake,
};
use crate::queue::encode::Large;
use crate::queue::end::rouse;
use crate::queue::ring::{BLOCK_WORDS, Consumers, Frame, Mark, Memory, Position, Producers};
use crate::raw_lock;

/// How often a full or empty queue is looked at before its user sleeps: about 20 microseconds.
const LOOKS: u32 = 600;

/// | word | meaning | who changes it |
/// |---|---|---|
/// | `block` ... `flags` | as made | the maker |
/// | `closed` | 1: nothing more is put | `close`, under the producers' lock |
/// | the others | see `ring` and `end` | |
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) block: AtomicU64,
    pub(crate) words: AtomicU64,
    pub(crate) capacity: AtomicU64,
    pub(crate) max_bytes: AtomicU64,
    /// Longest message in bytes.
    pub(crate) max_message: AtomicU64,
    pub(crate) closed: AtomicU32,
    pad: AtomicU32,
    pad2: [AtomicU64; 2],
    producers: Producers,
    tail: Mark,
    consumers: Consumers,
    head: Mark,
    /// Names of the objects that stand for those who can put, and those who can take.
    pub(crate) senders: [AtomicU64; 3],
    pub(crate) receivers: [AtomicU64; 3],
}

shared_state!(State);

/// Encoded messages: short ones stay on the stack.
pub(crate) type Bytes = smallvec::SmallVec<[u8; 256]>;

/// What is to be put.
pub(crate) enum Message<'a> {
    /// A whole number of frames, and how many there are.
    Frames(&'a [u8], u64),
    Large(Large),
}

/// What was taken.
pub(crate) enum Taken {
    /// That many frames, in the caller's buffer.
    Frames(u64),
    Large(Large),
}

/// Why nothing was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    TimedOut,
    Closed,
    Disconnected,
    OutOfMemory,
    Foreign,
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nothing {
    Empty,
    TimedOut,
    Closed,
    Disconnected,
    Foreign,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    No,
    Until(Option<Instant>),
}

impl Patience {
    fn is_over(self) -> bool {
        match self {
            Self::No => true,
            Self::Until(deadline) => deadline.is_some_and(|deadline| Instant::now() >= deadline),
        }
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Until(deadline) => deadline,
        }
    }
}

/// Whether a message has room.
enum Room {
    Yes,
    /// Not in the ring, but it would have in a block.
    InBlock,
    No,
}

#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) object: Object,
    memory: Memory,
}

impl Core {
    pub(crate) fn new(object: Object) -> Result<Core, ObjectError> {
        // SAFETY: the caller made the object with this state, or found it to be of that kind.
        let state = unsafe { object.get::<State>() };
        let family = object.family().ok_or(ObjectError::Foreign)?;
        let block = BlockId::from_word(state.block.load(Ordering::Relaxed));
        let place = block.and_then(|block| object.locate(block));
        let (offset, len) = place.ok_or(ObjectError::Freed)?;
        let words = state.words.load(Ordering::Relaxed);
        if !words.is_power_of_two() || words > len as u64 / 8 {
            return Err(ObjectError::WrongKind);
        }
        let at = family
            .arena()
            .address(offset, len)
            .ok_or(ObjectError::Freed)?;
        // SAFETY: the block has as many words, is the queue's own, and lives as long as it.
        let memory = unsafe { Memory::new(at.as_ptr().cast(), words) };
        Ok(Core { object, memory })
    }

    #[inline]
    pub(crate) fn state(&self) -> &State {
        // SAFETY: as in `new`.
        unsafe { self.object.get::<State>() }
    }

    pub(crate) fn len(&self) -> u64 {
        let state = self.state();
        let head = state.head.get();
        let (_, count) = state.tail.get().since(head);
        count.min(state.capacity.load(Ordering::Relaxed))
    }

    /// Whether nothing fits at the moment that another process could make room for.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.state();
        let (head, tail) = (state.head.get(), state.tail.get());
        let (words, count) = tail.since(head);
        count >= state.capacity.load(Ordering::Relaxed)
            || words + BLOCK_WORDS > self.memory.words()
            || words * 8 + self.ext_bytes() >= state.max_bytes.load(Ordering::Relaxed)
    }

    /// How far it was taken from.
    pub(crate) fn head(&self) -> u64 {
        self.state().head.get().to_word()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed.load(Ordering::Acquire) != 0
    }

    /// Bytes of messages that are in blocks.
    fn ext_bytes(&self) -> u64 {
        let put = self.state().producers.ext_put.load(Ordering::Relaxed);
        if put == 0 {
            return 0;
        }
        put.saturating_sub(self.state().consumers.ext_taken.load(Ordering::Relaxed))
    }

    pub(crate) fn close(&self) -> Result<(), ObjectError> {
        let family = self.object.family().ok_or(ObjectError::Foreign)?;
        let state = self.state();
        let me = family.holder();
        self.lock_producers(family, me);
        // Release: whoever sees it closed sees all that was put.
        state.closed.store(1, Ordering::Release);
        state.producers.end.unlock(me);
        for flag in [&state.tail.sleepers, &state.head.sleepers] {
            full_fence();
            flag.store(0, Ordering::Relaxed);
            wake(flag, u32::MAX);
        }
        Ok(())
    }

    /// Takes the producers' lock, and repairs what a dead one left.
    #[inline]
    fn lock_producers(&self, family: &'static Family, me: Holder) {
        let producers = &self.state().producers;
        if producers.end.lock(family, me) == raw_lock::Taken::FromDead {
            self.repair_producers();
        }
    }

    #[cold]
    fn repair_producers(&self) {
        let (state, producers) = (self.state(), &self.state().producers);
        if let Some(block) = BlockId::from_word(producers.pending.load(Ordering::Relaxed)) {
            let at = Position::from_word(producers.pending_at.load(Ordering::Relaxed));
            if state.tail.get() == at {
                // Not committed. The block is the dead one's, or ours to free.
                // SAFETY: no frame names it.
                unsafe { self.object.free_part(block) };
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

    /// Takes the consumers' lock, and repairs what a dead one left.
    #[inline]
    fn lock_consumers(&self, family: &'static Family, me: Holder) {
        let consumers = &self.state().consumers;
        if consumers.end.lock(family, me) == raw_lock::Taken::FromDead {
            self.repair_consumers();
        }
    }

    #[cold]
    fn repair_consumers(&self) {
        let (state, consumers) = (self.state(), &self.state().consumers);
        if let Some(block) = BlockId::from_word(consumers.taking.load(Ordering::Relaxed)) {
            let at = Position::from_word(consumers.taking_at.load(Ordering::Relaxed));
            if state.head.get() != at {
                // Taken by one that died with it.
                // SAFETY: no frame names it any more.
                unsafe { self.object.free_part(block) };
                let taken = consumers.ext_taking.load(Ordering::Relaxed);
                consumers.ext_taken.store(taken, Ordering::Relaxed);
            }
            consumers.taking.store(0, Ordering::Release);
        }
        consumers
            .tail_seen
            .store(state.head.get().to_word(), Ordering::Relaxed);
    }

    /// Whether there is room between `head` and the ring's size for `message`.
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
        let (me, state) = (family.holder(), self.state());
        let (end, flag) = (&state.producers.end, &state.head.sleepers);
        let mut slept: Option<News> = None;
        let mut looked = false;
        let mut waiting = None;
        loop {
            let news = family.news();
            self.lock_producers(family, me);
            if let Some(since) = slept {
                end.get_up(since);
            }
            let tail = state.tail.get();
            let leave = || {
                if slept.is_some() {
                    end.pass_on(flag, || !self.is_full());
                }
                end.unlock(me);
            };
            if state.closed.load(Ordering::Relaxed) != 0 {
                leave();
                return Err(Refused::Closed);
            }
            match self.room(tail, &message) {
                Room::Yes => {
                    self.commit(tail, message);
                    leave();
                    rouse(&state.tail.sleepers);
                    return Ok(());
                }
                Room::InBlock => {
                    leave();
                    slept = None;
                    message = into_block(family, &message)?;
                    continue;
                }
                Room::No => {}
            }
            if patience.is_over() {
                leave();
                let refused = match patience {
                    Patience::No => Refused::Full,
                    Patience::Until(_) => Refused::TimedOut,
                };
                return Err(refused);
            }
            if !looked {
                looked = true;
                leave();
                slept = None;
                let head = state.producers.head_seen.load(Ordering::Relaxed);
                look(|| state.head.position.load(Ordering::Relaxed) != head);
                continue;
            }
            if !end.settle_down(flag, news) {
                leave();
                slept = None;
                continue;
            }
            let deserted = deserted();
            let full = matches!(self.room(tail, &message), Room::No);
            if full && !deserted {
                end.unlock(me);
                waiting.get_or_insert_with(|| family.wait_on(self.object.id().number()));
                family.park(flag, 1, news, patience.deadline());
                slept = Some(news);
                continue;
            }
            end.get_up(news);
            end.unlock(me);
            if full {
                return Err(Refused::Disconnected);
            }
            slept = None;
        }
    }

    /// Writes `message` at `tail`, where there is room.
    #[inline]
    fn commit(&self, tail: Position, message: Message<'_>) {
        match message {
            Message::Frames(bytes, count) => {
                // SAFETY: there is room, and the lock is held.
                unsafe { self.memory.write_bytes(tail.words(), bytes) };
                let next = tail.plus(bytes.len() as u64 / 8, count);
                self.state().tail.set(next);
            }
            Message::Large(large) => self.commit_block(tail, large),
        }
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

    /// Takes up to `most` messages that are in the ring, or one that is in a block.
    ///
    /// `note` is told how many, and where, before they are taken; `deserted` says whether nobody is left who
    /// could put anything.
    pub(crate) fn take(
        &self,
        most: u64,
        patience: Patience,
        note: impl Fn(u64, u64),
        deserted: impl Fn() -> bool,
        bytes: &mut Bytes,
    ) -> Result<Taken, Nothing> {
        let family = self.object.family().ok_or(Nothing::Foreign)?;
        let (me, state) = (family.holder(), self.state());
        let (end, flag) = (&state.consumers.end, &state.tail.sleepers);
        let mut slept: Option<News> = None;
        let mut looked = false;
        let mut waiting = None;
        loop {
            let news = family.news();
            self.lock_consumers(family, me);
            if let Some(since) = slept {
                end.get_up(since);
            }
            let head = state.head.get();
            let leave = |head: Position| {
                if slept.is_some() {
                    end.pass_on(flag, || state.tail.get() != head);
                }
                end.unlock(me);
            };
            if let Some(tail) = self.ready(head) {
                let (taken, next) = self.take_at(family, head, tail, most, &note, bytes);
                leave(next);
                rouse(&state.head.sleepers);
                return Ok(taken);
            }
            // Acquire: what was put before it was closed is seen below.
            let closed = state.closed.load(Ordering::Acquire) != 0;
            if closed && self.ready(head).is_none() {
                leave(head);
                return Err(Nothing::Closed);
            }
            if patience.is_over() {
                leave(head);
                return Err(match patience {
                    Patience::No => Nothing::Empty,
                    Patience::Until(_) => Nothing::TimedOut,
                });
            }
            if !looked {
                looked = true;
                leave(head);
                slept = None;
                let seen = head.to_word();
                look(|| state.tail.position.load(Ordering::Relaxed) != seen);
                continue;
            }
            if !end.settle_down(flag, news) {
                leave(head);
                slept = None;
                continue;
            }
            let deserted = deserted();
            if self.ready(head).is_some() || closed {
                end.get_up(news);
                end.unlock(me);
                slept = None;
                continue;
            }
            if deserted {
                end.get_up(news);
                end.unlock(me);
                return Err(Nothing::Disconnected);
            }
            end.unlock(me);
            waiting.get_or_insert_with(|| family.wait_on(self.object.id().number()));
            family.park(flag, 1, news, patience.deadline());
            slept = Some(news);
        }
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
    #[inline]
    fn take_at(
        &self,
        family: &'static Family,
        head: Position,
        tail: Position,
        most: u64,
        note: &impl Fn(u64, u64),
        bytes: &mut Bytes,
    ) -> (Taken, Position) {
        // SAFETY: a frame begins there, and the lock is held.
        let first = Frame::from_word(unsafe { self.memory.read(head.words()) });
        if let Frame::Block { carrier } = first {
            note(1, head.to_word());
            return self.take_block(family, head, carrier);
        }
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
        let len = words.min(present) as usize * 8;
        // SAFETY: whole frames, and the lock is held.
        unsafe { self.memory.read_bytes(head.words(), len, bytes) };
        note(count, head.to_word());
        let next = head.plus(words, count);
        self.state().head.set(next);
        (Taken::Frames(count), next)
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

/// The payload of the next frame.
#[inline]
pub(crate) fn next_frame<'a>(frames: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (header, rest) = frames.split_first_chunk::<8>()?;
    let Frame::Inline(len) = Frame::from_word(u64::from_ne_bytes(*header)) else {
        return None;
    };
    let payload = rest.get(..len)?;
    *frames = rest.get(len.next_multiple_of(8)..)?;
    Some(payload)
}

/// Looks whether something has `changed`, for about as long as a sleep and a wake-up take.
fn look(mut changed: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if changed() {
            return;
        }
        pause();
    }
}
