//! The queue without its type: puts and takes encoded messages.
//!
//! # Safety
//!
//! Reaches the ring by the rules of `ring`: what is written is behind `tail` and fits, what is
//! read is between `head` and `tail`, each under the lock of its end.
#![allow(unsafe_code, reason = "reaches frames in shared memory")]

use std::time::Duration;

use crate::handle::shared_state;
use crate::primitive::{
    AtomicU32, AtomicU64, BlockId, Family, Instant, News, Object, ObjectError, Ordering,
    full_fence, wake,
};
use crate::queue::encode::Large;
use crate::queue::memory::Memory;
use crate::queue::ring::{BLOCK_WORDS, Consumers, Frame, Mark, Producers};

/// | word | meaning | who changes it |
/// |---|---|---|
/// | `block` ... `flags` | as made | the maker |
/// | `closed` | 1: nothing more is put | `close`, under the producers' lock |
/// | the others | see `ring` and `end` | |
#[repr(C, align(64))]
#[derive(Debug, Default)]
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
    pub(crate) producers: Producers,
    pub(crate) tail: Mark,
    pub(crate) consumers: Consumers,
    pub(crate) head: Mark,
    /// Names of the objects that stand for those who can put, and those who can take.
    pub(crate) senders: [AtomicU64; 3],
    pub(crate) receivers: [AtomicU64; 3],
}

shared_state!(State);

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

/// What somebody who waits keeps between two attempts.
#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    /// It counts as asleep, since that news.
    pub(crate) slept: Option<News>,
    /// It has been counted as asleep at some time: a wake-up may have come that was for another
    /// one, too.
    pub(crate) owes: bool,
    /// Where the other end was when it last sent a wake-up on that was of no use to it.
    pub(crate) sent_on_at: Option<u64>,
    /// It has looked for a while already.
    pub(crate) looked: bool,
}

/// How long those who do not wait wait for one that is at work, which as a rule takes a
/// microsecond.
const A_MOMENT: Duration = Duration::from_secs(1);

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    No,
    Until(Option<Instant>),
}

impl Patience {
    pub(crate) fn is_over(self) -> bool {
        match self {
            Self::No => true,
            Self::Until(deadline) => deadline.is_some_and(|deadline| Instant::now() >= deadline),
        }
    }

    /// What one says who has waited long enough to put.
    pub(crate) fn refused(self) -> Refused {
        match self {
            Self::No => Refused::Full,
            Self::Until(_) => Refused::TimedOut,
        }
    }

    /// What one says who has waited long enough to take.
    pub(crate) fn nothing(self) -> Nothing {
        match self {
            Self::No => Nothing::Empty,
            Self::Until(_) => Nothing::TimedOut,
        }
    }

    /// How long to wait for the lock of an end: always for a moment, as it is held for a moment.
    #[inline]
    pub(crate) fn for_lock(self) -> Option<Instant> {
        match self {
            Self::No => Some(Instant::now() + A_MOMENT),
            Self::Until(deadline) => deadline,
        }
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Until(deadline) => deadline,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) object: Object,
    pub(crate) memory: Memory,
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
    pub(crate) fn ext_bytes(&self) -> u64 {
        let put = self.state().producers.ext_put.load(Ordering::Relaxed);
        if put == 0 {
            return 0;
        }
        put.saturating_sub(self.state().consumers.ext_taken.load(Ordering::Relaxed))
    }

    /// Frees the block of a message that is lost with a dead process, and what it carries.
    #[cold]
    pub(crate) fn free_lost(&self, family: &'static Family, id: BlockId) {
        // As one that carries handles: what only they kept is swept up, and those told who wait.
        match self.object.part(family, id, true) {
            Some(_block) => {}
            // The dead one was about to make it its own, or had freed it.
            // SAFETY: no frame names it.
            None => unsafe { self.object.free_part(id) },
        }
    }

    pub(crate) fn close(&self) -> Result<(), ObjectError> {
        let family = self.object.family().ok_or(ObjectError::Foreign)?;
        let state = self.state();
        let me = family.holder();
        self.lock_producers(family, me, Patience::Until(None));
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

/// How long the payload of the first frame is.
#[inline]
pub(crate) fn payload_len(frames: &[u8]) -> usize {
    let header = frames.first_chunk::<8>().copied().unwrap_or_default();
    match Frame::from_word(u64::from_ne_bytes(header)) {
        Frame::Inline(len) => len,
        Frame::Block { .. } => 0,
    }
}
