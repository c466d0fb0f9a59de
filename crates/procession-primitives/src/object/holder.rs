//! Who holds something: a thread of a member, a member, or a block on its way.

use serde::{Deserialize, Serialize};

use crate::arena::{Arena, BlockId};
use crate::family::Family;
use crate::member::MemberId;
use crate::thread;

const SLOT_BITS: u32 = 13;
const THREAD_BITS: u32 = 16;

/// Names a thread of a member for good, in one word.
///
/// The lower half is never 0 and has its top three bits free, so that a lock can keep flags
/// there and the kernel can watch it.
///
/// | bits | meaning |
/// |---|---|
/// | 0..13 | slot + 1 |
/// | 13..29 | number of the thread within its process |
/// | 29..32 | 0 |
/// | 32..64 | generation of the slot |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder(u64);

impl Holder {
    #[inline]
    fn new(member: MemberId, thread: u32) -> Holder {
        let low = (member.slot() + 1) | (thread << SLOT_BITS);
        Holder(u64::from(member.generation()) << 32 | u64::from(low))
    }

    /// As one word, for a place in shared memory. Never 0.
    #[must_use]
    #[inline]
    pub fn to_word(self) -> u64 {
        self.0
    }

    /// The holder that [`to_word`](Self::to_word) stored, whatever the three flag bits; `None`
    /// where there is none.
    #[must_use]
    #[inline]
    pub fn from_word(word: u64) -> Option<Holder> {
        let word = word & !(7 << (SLOT_BITS + THREAD_BITS));
        (word as u32 & ((1 << SLOT_BITS) - 1) != 0).then_some(Holder(word))
    }

    /// Stands for all threads of this process.
    #[must_use]
    pub fn of_process(family: &Family) -> Holder {
        Holder::new(family.me(), 0)
    }

    /// Whose thread it is.
    #[must_use]
    #[inline]
    pub fn member(self) -> MemberId {
        let slot = self.0 as u32 & ((1 << SLOT_BITS) - 1);
        MemberId::new(slot.saturating_sub(1), (self.0 >> 32) as u32)
    }

    /// Number of the thread within its process: 1 as a rule is the first that asked.
    #[must_use]
    pub fn thread(self) -> u32 {
        self.0 as u32 >> SLOT_BITS & ((1 << THREAD_BITS) - 1)
    }
}

impl Family {
    /// The calling thread, as others of the family know it.
    #[must_use]
    #[inline]
    pub fn holder(&self) -> Holder {
        Holder::new(self.me(), thread::number())
    }

    /// Whether `member` still takes part: it lives, and runs this program.
    #[must_use]
    #[inline]
    pub fn is_alive(&self, member: MemberId) -> bool {
        self.arena()
            .member_cell(member)
            .is_some_and(crate::member::MemberCell::takes_part)
    }
}

/// What keeps an object: a word of its table.
///
/// | word | meaning |
/// |---|---|
/// | 0 | nobody |
/// | slot + 1, generation | a member that has a handle |
/// | `BLOCK`, generation, unit | a block with the encoded handle in it |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    Member(MemberId),
    Block(BlockId),
}

const BLOCK: u64 = 1 << 63;
const UNIT_BITS: u32 = 32;

impl Keeper {
    pub(crate) fn to_word(self) -> u64 {
        match self {
            Self::Member(member) => {
                // Generations of 31 bits: as many processes in one slot take weeks.
                (u64::from(member.generation()) & 0x7fff_ffff) << 32 | u64::from(member.slot() + 1)
            }
            Self::Block(block) => {
                BLOCK | u64::from(block.generation()) << UNIT_BITS | u64::from(block.unit())
            }
        }
    }

    pub(crate) fn from_word(word: u64) -> Option<Keeper> {
        if word & BLOCK != 0 {
            let generation = (word & !BLOCK) >> UNIT_BITS;
            return Some(Self::Block(BlockId::new(word as u32, generation as u32)));
        }
        let slot = (word as u32).checked_sub(1)?;
        Some(Self::Member(MemberId::new(slot, (word >> 32) as u32)))
    }

    /// Whether it still keeps what it kept. Member `leaving` does not.
    pub(crate) fn is_alive(self, arena: &Arena, leaving: Option<u32>) -> bool {
        match self {
            Self::Member(member) => {
                leaving != Some(member.slot())
                    && arena.member(member.slot()).is_some_and(|cell| {
                        cell.generation_is(member.generation()) && cell.takes_part()
                    })
            }
            Self::Block(block) => arena.is_used(block),
        }
    }
}
