//! The member table: who belongs to the family, and how each one ended.
//!
//! # Cell states
//!
//! | state | meaning | who leaves this state |
//! |---|---|---|
//! | `FREE` | nobody | the supervisor, reserving it |
//! | `STARTING` | process made, user code not reached | the member itself (`RUNNING`); at its death the supervisor (`SETTLED`) |
//! | `RUNNING` | in user code | the supervisor, at its death (`SETTLED`) |
//! | `SETTLED` | dead, all it held was given back; not everybody has been told | the supervisor, when there is news of it |
//! | `EXITED` | dead, `status` is final, and there is news of it | the supervisor, once `released` |
//!
//! Slot 0 is the supervisor, slot 1 the program. A slot is used again only with a higher
//! generation, so (slot, generation) never means somebody else.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::arena::{Arena, BlockId, MAX_MEMBERS};
use crate::family::Family;
use crate::park;
use crate::status::ExitStatus;

pub(crate) const FREE: u32 = 0;
pub(crate) const STARTING: u32 = 1;
pub(crate) const RUNNING: u32 = 2;
pub(crate) const EXITED: u32 = 3;
pub(crate) const SETTLED: u32 = 4;

pub(crate) const SUPERVISOR: u32 = 0;
pub(crate) const PROGRAM: u32 = 1;

/// Bytes of a member's name that others see.
const NAME_LEN: usize = 48;

pub(crate) const FLAG_DAEMON: u32 = 1;
/// The parent's handle is gone: nobody will ask how it ended.
pub(crate) const FLAG_RELEASED: u32 = 2;

/// The parent has taken charge of it, so that somebody will ask how it ended.
pub(crate) const FLAG_CLAIMED: u32 = 4;
/// The process executes another program now: it lives, but takes no part any more.
pub(crate) const FLAG_LEFT: u32 = 8;
/// An allocation failed, and the process is aborting.
pub(crate) const FLAG_OUT_OF_MEMORY: u32 = 16;

/// Owner of the blocks that belong to shared objects: no member ever has this slot.
pub(crate) const OBJECTS: u32 = MAX_MEMBERS as u32;

/// Names a member for good: a slot of the member table and the generation of its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemberId {
    slot: u32,
    generation: u32,
}

impl MemberId {
    pub(crate) const fn new(slot: u32, generation: u32) -> MemberId {
        MemberId { slot, generation }
    }

    /// The member whose [`slot`](Self::slot) and [`generation`](Self::generation) these are.
    #[must_use]
    pub const fn from_parts(slot: u32, generation: u32) -> MemberId {
        MemberId { slot, generation }
    }

    /// The place in the member table.
    #[must_use]
    #[inline]
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// Which use of that place.
    #[must_use]
    #[inline]
    pub fn generation(self) -> u32 {
        self.generation
    }
}

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberState {
    /// The process exists; user code was not reached yet.
    Starting,
    /// In user code.
    Running,
    /// Ended; what it held has been given back.
    Exited(ExitStatus),
    /// Ended long ago, and nobody kept its status.
    Gone,
}

/// A member's cell.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct MemberCell {
    pub(crate) state: AtomicU32,
    pub(crate) generation: AtomicU32,
    pub(crate) pid: AtomicU32,
    pub(crate) flags: AtomicU32,
    pub(crate) parent: AtomicU32,
    pub(crate) parent_generation: AtomicU32,
    /// Error number if the process could not be made to run the program.
    pub(crate) start_error: AtomicU32,
    /// A `Phase`: how far the member's function has come.
    pub(crate) phase: AtomicU32,
    pub(crate) status: AtomicU64,
    /// Block with the outcome of the member's function, its length; committed by `result_len` > 0.
    pub(crate) result: AtomicU64,
    pub(crate) result_len: AtomicU64,
    name_len: AtomicU32,
    /// How many shared objects the member keeps: a hint that there is something to sweep.
    pub(crate) keeps: AtomicU32,
    name: [AtomicU8; NAME_LEN],
}

impl MemberCell {
    pub(crate) fn set_name(&self, name: &str) {
        let mut len = name.len().min(NAME_LEN);
        while !name.is_char_boundary(len) {
            len -= 1;
        }
        for (to, from) in self.name.iter().zip(name.as_bytes()[..len].iter()) {
            to.store(*from, Ordering::Relaxed);
        }
        self.name_len.store(len as u32, Ordering::Relaxed);
    }

    pub(crate) fn name(&self) -> String {
        let len = (self.name_len.load(Ordering::Relaxed) as usize).min(NAME_LEN);
        let bytes: Vec<u8> = self.name[..len]
            .iter()
            .map(|b| b.load(Ordering::Relaxed))
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[inline]
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Whether a process is behind this cell.
    #[inline]
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), STARTING | RUNNING)
    }

    /// Whether there is no news of its end: it lives, or was just settled.
    pub(crate) fn is_unheard_of(&self) -> bool {
        self.is_alive() || self.state.load(Ordering::Acquire) == SETTLED
    }

    /// Whether the process behind this cell runs this program.
    #[inline]
    pub(crate) fn takes_part(&self) -> bool {
        self.is_alive() && !self.has(FLAG_LEFT)
    }

    /// Whether the slot is still in that use of it; only the lower 31 bits count.
    pub(crate) fn generation_is(&self, generation: u32) -> bool {
        (self.generation.load(Ordering::Acquire) ^ generation) & 0x7fff_ffff == 0
    }

    /// Whether the member of `generation`, which takes no part any more, was killed or failed. Of
    /// one that nobody remembers that is assumed.
    pub(crate) fn crashed(&self, generation: u32) -> bool {
        !self.generation_is(generation)
            || self.has(FLAG_LEFT)
            || !ExitStatus::from_word(self.status.load(Ordering::Relaxed)).success()
    }

    pub(crate) fn parent_id(&self) -> MemberId {
        let slot = self.parent.load(Ordering::Relaxed);
        MemberId::new(slot, self.parent_generation.load(Ordering::Relaxed))
    }

    /// Announces the outcome of the member's function. The last thing it does as a member.
    pub(crate) fn commit_result(&self, block: BlockId, len: usize) {
        self.result.store(block.to_word(), Ordering::Relaxed);
        // Release: whoever sees the length sees the block's name.
        self.result_len.store(len as u64, Ordering::Release);
    }

    pub(crate) fn committed_result(&self) -> Option<(BlockId, usize)> {
        // Acquire: pairs with `commit_result`.
        let len = self.result_len.load(Ordering::Acquire);
        let block = BlockId::from_word(self.result.load(Ordering::Relaxed))?;
        (len > 0).then_some((block, len as usize))
    }
}

impl Arena {
    /// The cell of `id`, as long as it is that member's.
    #[inline]
    pub(crate) fn member_cell(&self, id: MemberId) -> Option<&'static MemberCell> {
        let cell = self.member(id.slot)?;
        (cell.generation.load(Ordering::Acquire) == id.generation).then_some(cell)
    }

    /// All cells with somebody, dead or alive, behind them.
    pub(crate) fn members(&self) -> impl Iterator<Item = (MemberId, &'static MemberCell)> {
        let end = self
            .header()
            .members_end
            .load(Ordering::Acquire)
            .min(MAX_MEMBERS as u32);
        (0..end).filter_map(|slot| {
            let cell = self.member(slot)?;
            let state = cell.state.load(Ordering::Acquire);
            (state != FREE).then(|| {
                (
                    MemberId::new(slot, cell.generation.load(Ordering::Relaxed)),
                    cell,
                )
            })
        })
    }
}

impl Family {
    /// The process id of member `id`, as long as its slot has no other user.
    #[must_use]
    pub fn member_pid(&self, id: MemberId) -> Option<u32> {
        let pid = self.arena().member_cell(id)?.pid.load(Ordering::Relaxed);
        (pid != 0).then_some(pid)
    }

    /// How far member `id` has come.
    #[must_use]
    pub fn member_state(&self, id: MemberId) -> MemberState {
        let Some(cell) = self.arena().member_cell(id) else {
            return MemberState::Gone;
        };
        // Acquire: with the state come the status and everything settled before it.
        match cell.state.load(Ordering::Acquire) {
            STARTING => MemberState::Starting,
            RUNNING => MemberState::Running,
            SETTLED | EXITED => {
                MemberState::Exited(ExitStatus::from_word(cell.status.load(Ordering::Relaxed)))
            }
            _ => MemberState::Gone,
        }
    }

    /// How member `id` ended, `None` until there is news of that: whoever acts on it finds all
    /// that depends on the news up to date.
    pub(crate) fn member_end(&self, id: MemberId) -> Option<ExitStatus> {
        let Some(cell) = self.arena().member_cell(id) else {
            return Some(ExitStatus::unknown());
        };
        // Acquire: as in `member_state`.
        match cell.state.load(Ordering::Acquire) {
            STARTING | RUNNING | SETTLED => None,
            EXITED => Some(ExitStatus::from_word(cell.status.load(Ordering::Relaxed))),
            _ => Some(ExitStatus::unknown()),
        }
    }

    /// Gives back what dead member `slot` held, records how it ended and tells everybody.
    ///
    /// Run by the supervisor, or by the program for a dead supervisor's members. May be cut short
    /// at any point and run again.
    pub(crate) fn settle(&self, slot: u32, status: ExitStatus) {
        let Some(cell) = self.arena().member(slot) else {
            return;
        };
        match cell.state.load(Ordering::Acquire) {
            STARTING | RUNNING => self.give_back(slot, cell, status),
            SETTLED => {}
            _ => return,
        }
        self.add_news();
        // Release: whoever sees the end sees the news of it, too.
        cell.state.store(EXITED, Ordering::Release);
        park::wake(&cell.state, u32::MAX);
        self.spread_news();
    }

    fn give_back(&self, slot: u32, cell: &MemberCell, status: ExitStatus) {
        let parent = cell.parent_id();
        let kept = cell
            .committed_result()
            .map(|(block, _)| (block, parent.slot));
        let heir = self
            .arena()
            .member_cell(parent)
            .is_some_and(MemberCell::is_alive);
        self.arena().settle_heap(slot, kept.filter(|_| heir));
        let status = if cell.has(FLAG_OUT_OF_MEMORY) {
            status.aborted_for_memory()
        } else {
            status
        };
        // Before the sweep, which may ask how it ended.
        cell.status.store(status.to_word(), Ordering::Relaxed);
        let swept = self.sweep_for(slot);
        // Release: whoever sees it dead sees all that was settled.
        cell.state.store(SETTLED, Ordering::Release);
        if !swept {
            // Not before: whoever swept up meanwhile took what it keeps for that of a living one.
            self.arena().header().objects.0.ask_for_sweep();
        }
        self.sweep_missed();
    }
}
