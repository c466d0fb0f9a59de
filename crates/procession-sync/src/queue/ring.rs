//! The ring: frames of bytes between two ends, committed by one store each.
//!
//! `tail` and `head` each count words and messages in one word, so that one store moves both:
//!
//! | bits | meaning |
//! |---|---|
//! | 0..24 | messages ever put, or taken |
//! | 24..64 | words of 8 bytes ever put, or taken |
//!
//! A frame is a header word and its bytes, filled up to a whole word; it may wrap around.
//!
//! Invariants: `head` is never beyond `tail`, nor `tail` more than the ring's size ahead; what lies
//! between them are whole frames; only whoever holds the producers' lock stores `tail`, after the
//! frames; only whoever holds the consumers' lock stores `head`, after it has what it needs.
//! `README.md` beside this file says what a kill leaves at each step.

use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::queue::end::End;
use crate::queue::pace::Pace;

pub(crate) const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const WORDS_MASK: u64 = (1 << 40) - 1;

/// A place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position(u64);

impl Position {
    pub(crate) fn from_word(word: u64) -> Position {
        Position(word)
    }

    pub(crate) fn to_word(self) -> u64 {
        self.0
    }

    pub(crate) fn words(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    /// The place `words` words and `count` messages further on.
    #[inline]
    pub(crate) fn plus(self, words: u64, count: u64) -> Position {
        let words = self.words().wrapping_add(words) & WORDS_MASK;
        Position(words << COUNT_BITS | self.0.wrapping_add(count) & COUNT_MASK)
    }

    /// Words and messages from `earlier` to here.
    #[inline]
    pub(crate) fn since(self, earlier: Position) -> (u64, u64) {
        let words = self.words().wrapping_sub(earlier.words()) & WORDS_MASK;
        (words, self.0.wrapping_sub(earlier.0) & COUNT_MASK)
    }
}

/// What the producers change.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct Producers {
    pub(crate) end: End,
    /// `head` when somebody last looked: a hint.
    pub(crate) head_seen: AtomicU64,
    /// The block of the frame at `pending_at`, which may not be committed; 0 for none.
    pub(crate) pending: AtomicU64,
    pub(crate) pending_at: AtomicU64,
    /// Bytes of messages in blocks, ever put; and with the one that is pending.
    pub(crate) ext_put: AtomicU64,
    pub(crate) ext_pending: AtomicU64,
    pad: [AtomicU64; 8],
}

/// What the consumers change.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    pub(crate) end: End,
    /// `tail` when somebody last looked: a hint.
    pub(crate) tail_seen: AtomicU64,
    /// The block of the frame at `taking_at`, which may not be taken yet; 0 for none.
    pub(crate) taking: AtomicU64,
    pub(crate) taking_at: AtomicU64,
    /// Bytes of messages in blocks, ever taken; and with the one that is being taken.
    pub(crate) ext_taken: AtomicU64,
    pub(crate) ext_taking: AtomicU64,
    pub(crate) pace: Pace,
    pad: [AtomicU64; 7],
}

/// A word that both ends read, with the flag of those that wait for it to move.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct Mark {
    pub(crate) position: AtomicU64,
    pub(crate) sleepers: AtomicU32,
    pad: [AtomicU64; 14],
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// That many bytes.
    Inline(usize),
    /// The name of a block, how many bytes of it, and `ext_put` with them. `carrier`: there are
    /// handles on board.
    Block { carrier: bool },
}

const KIND_BLOCK: u64 = 1 << 62;
const KIND_CARRIER: u64 = 1 << 61;
/// Words of a frame that names a block, its header included.
pub(crate) const BLOCK_WORDS: u64 = 4;

impl Frame {
    #[inline]
    pub(crate) fn to_word(self) -> u64 {
        match self {
            Self::Inline(len) => len as u64,
            Self::Block { carrier: false } => KIND_BLOCK,
            Self::Block { carrier: true } => KIND_BLOCK | KIND_CARRIER,
        }
    }

    #[inline]
    pub(crate) fn from_word(word: u64) -> Frame {
        if word & KIND_BLOCK != 0 {
            return Self::Block {
                carrier: word & KIND_CARRIER != 0,
            };
        }
        Self::Inline(word as usize)
    }

    /// Words of the frame, its header included.
    #[inline]
    pub(crate) fn words(self) -> u64 {
        match self {
            Self::Inline(len) => 1 + (len as u64).div_ceil(8),
            Self::Block { .. } => BLOCK_WORDS,
        }
    }
}

impl Mark {
    /// Where it is; with what was stored before it was moved there.
    #[inline]
    pub(crate) fn get(&self) -> Position {
        // Acquire: pairs with the Release of `set`.
        Position(self.position.load(Ordering::Acquire))
    }

    /// Moves it: the commit of what was stored before.
    #[inline]
    pub(crate) fn set(&self, position: Position) {
        // Release: whoever sees the place sees the frames before it, or is free to use the room.
        self.position.store(position.0, Ordering::Release);
    }
}
