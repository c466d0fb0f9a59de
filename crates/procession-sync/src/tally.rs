//! How much each process has of something: the truth that survives its death.
//!
//! A cell belongs to one member and is a count that one store changes. A dead member's cells
//! count for nothing. Cells are changed inside a monitor or under another lock.
//!
//! | `member` | `count` | meaning | who leaves this state |
//! |---|---|---|---|
//! | any | 0 | free, or that member's again | anybody, taking it: `count` is 0, then `member` |
//! | a living member | n | it has n | the member |
//! | a dead member | n | nothing | anybody: `count` to 0 |
//!
//! # Safety
//!
//! Reaches the cells in a block of the object, for no longer than the handle.
#![allow(unsafe_code, reason = "reaches cells by offset")]

use procession_primitives::{Block, BlockId, Object, OutOfMemory, Shared};

use crate::primitive::{AtomicU64, Family, MemberId, Ordering};

/// Members with a place in the object; the cells of more are in a block, by slot.
const INLINE: usize = 4;

/// Bytes of the block: a cell for every slot.
const BLOCK: usize = 4096 * size_of::<Cell>();

#[repr(C)]
#[derive(Debug, Default)]
struct Cell {
    member: AtomicU64,
    count: AtomicU64,
}

/// Counts by member; all zeros is a new one.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Tally {
    cells: [Cell; INLINE],
    more: AtomicU64,
}

// SAFETY: made of atomics only.
unsafe impl Shared for Cell {}

impl Cell {
    fn is_of(&self, member: MemberId) -> bool {
        self.member.load(Ordering::Relaxed) == Tally::word(member)
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn take(&self, member: MemberId) -> &AtomicU64 {
        self.count.store(0, Ordering::Relaxed);
        // Release: never somebody else's count.
        self.member.store(Tally::word(member), Ordering::Release);
        &self.count
    }
}

impl Tally {
    /// A member as one word, never 0.
    pub(crate) fn word(member: MemberId) -> u64 {
        u64::from(member.generation()) << 32 | u64::from(member.slot() + 1)
    }

    /// The member that [`word`](Self::word) gave, whatever bit 31.
    pub(crate) fn member(word: u64) -> Option<MemberId> {
        let slot = (word as u32 & 0x7fff_ffff).checked_sub(1)?;
        Some(MemberId::from_parts(slot, (word >> 32) as u32))
    }

    /// The count of `member`, with a cell made for it if it has none.
    pub(crate) fn of<'a>(
        &'a self,
        object: &Object,
        family: &'static Family,
        member: MemberId,
    ) -> Result<&'a AtomicU64, OutOfMemory> {
        if let Some(cell) = self.find(object, family, member) {
            return Ok(&cell.count);
        }
        if let Some(cell) = self.cells.iter().find(|cell| cell.count() == 0) {
            return Ok(cell.take(member));
        }
        if self.block(object).is_none() {
            let block = Block::zeroed(family, BLOCK)?;
            let id = object.adopt(block);
            // Release: a block in the word is the object's.
            self.more.store(id.to_word(), Ordering::Release);
        }
        let cell = self.cell_of(object, family, member.slot());
        let cell = cell.ok_or(OutOfMemory::new(BLOCK))?;
        Ok(cell.take(member))
    }

    fn find<'a>(
        &'a self,
        object: &Object,
        family: &'static Family,
        member: MemberId,
    ) -> Option<&'a Cell> {
        let inline = self.cells.iter().find(|cell| cell.is_of(member));
        inline.or_else(|| {
            let cell = self.cell_of(object, family, member.slot())?;
            cell.is_of(member).then_some(cell)
        })
    }

    fn block(&self, object: &Object) -> Option<u64> {
        let id = BlockId::from_word(self.more.load(Ordering::Relaxed))?;
        object.locate(id).map(|(offset, _)| offset)
    }

    fn cell_of(
        &self,
        object: &Object,
        family: &'static Family,
        slot: u32,
    ) -> Option<&'static Cell> {
        let at = self.block(object)? + u64::from(slot) * size_of::<Cell>() as u64;
        // SAFETY: the block holds a cell for each slot. It lives as long as the object, and the
        // arena is never unmapped; callers keep the reference no longer than the object.
        unsafe { family.arena().get(at) }
    }

    /// Visits the counts of all members, dead ones included.
    fn each(
        &self,
        object: &Object,
        family: &'static Family,
        mut visit: impl FnMut(MemberId, &Cell),
    ) {
        let mut visit = |cell: &Cell| {
            if cell.count() != 0
                && let Some(member) = Tally::member(cell.member.load(Ordering::Relaxed))
            {
                visit(member, cell);
            }
        };
        self.cells.iter().for_each(&mut visit);
        if self.block(object).is_some() {
            let cells = (0..4096).filter_map(|slot| self.cell_of(object, family, slot));
            cells.for_each(visit);
        }
    }

    /// What the living have together.
    pub(crate) fn total(&self, object: &Object, family: &'static Family) -> u64 {
        let mut total = 0;
        self.each(object, family, |member, cell| {
            if family.is_alive(member) {
                total += cell.count();
            }
        });
        total
    }

    /// Those that have something, and how much, the dead left out.
    pub(crate) fn holders(&self, object: &Object, family: &'static Family) -> Vec<(MemberId, u64)> {
        let mut found = Vec::new();
        self.each(object, family, |member, cell| {
            if family.is_alive(member) {
                found.push((member, cell.count()));
            }
        });
        found
    }

    /// Takes away what the dead had, and says how much that was.
    pub(crate) fn clear_dead(
        &self,
        object: &Object,
        family: &'static Family,
        mut dead: impl FnMut(MemberId, u64),
    ) {
        self.each(object, family, |member, cell| {
            if !family.is_alive(member) {
                dead(member, cell.count());
                cell.count.store(0, Ordering::Release);
            }
        });
    }
}
