//! The objects in shared memory: pages of slots, and who keeps each.
//!
//! All changes happen under one lock, so that the order of stores matters to a kill only. The
//! supervisor, which sweeps up after the dead, never waits for it: where the lock is taken it
//! leaves word, and the holder sweeps when it lets go.
//!
//! # Slot states
//!
//! | `id` | keepers | meaning | who leaves this state |
//! |---|---|---|---|
//! | 0 | whatever | free | whoever creates: fills in all else, then stores `id` |
//! | number | somebody alive | in use | keepers come and go |
//! | number | nobody alive | garbage | a sweep, or whoever let go last: frees its blocks, then stores 0 |
//!
//! # Safety
//!
//! References go only to slots of pages that belong to the table.
#![allow(unsafe_code, reason = "reaches slots by offset")]

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::holder::Keeper;
use super::{CARRIER, Kind, ObjectError, ObjectId, PAGE};
use crate::arena::{Arena, Block, BlockId, Held, OutOfMemory, RawLock, Shared, UNIT};
use crate::family::Family;
use crate::member::OBJECTS;

/// Slot sizes. The first 64 bytes of a slot are its header.
pub(super) const CLASSES: [usize; 4] = [128, 256, 512, 1024];

/// Keepers with a place in the slot; more are in a block.
pub(super) const INLINE: usize = 4;

/// Bits of a place that name the slot within its page.
pub(super) const SLOT_BITS: u32 = 9;

/// Blocks belong to the object.
pub(super) const HAS_BLOCKS: u32 = 1;
/// The family is told when all but one have let go of it.
const ANNOUNCED: u32 = 2;
/// The bits above `CRASHES` count members that kept it and were killed or failed.
const COUNTS_CRASHES: u32 = 8;
const CRASHES: u32 = 8;
/// Somebody besides its maker kept it.
const WAS_SHARED: u32 = 4;
/// Some of its blocks had, or have, other objects on board.
const HAS_CARRIERS: u32 = 16;

/// The table's own words.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ObjectState {
    pub(super) lock: RawLock,
    /// Somebody is at work; still set for the next holder if it was killed.
    pub(super) dirty: AtomicU32,
    /// There may be garbage.
    pub(super) pending: AtomicU32,
    /// Directory entries ever used.
    pub(super) pages_end: AtomicU32,
    pub(super) last_number: AtomicU64,
    /// Where to look for a free slot of a class, and for an empty page: hints.
    pub(super) hints: [AtomicU32; CLASSES.len()],
    pub(super) spares: [AtomicU32; CLASSES.len()],
}

impl ObjectState {
    pub(crate) fn release_lock(&self, slot: u32) {
        self.lock.release_for_dead(slot);
    }

    /// Says that there may be garbage. To be followed by [`Family::sweep_missed`].
    pub(crate) fn ask_for_sweep(&self) {
        self.pending.store(1, Ordering::Relaxed);
    }
}

/// Keepers that a block has room for, behind the word that counts them.
const MORE: u64 = UNIT as u64 / 8 - 1;

/// What lies at the start of a slot.
#[repr(C)]
pub(super) struct Slot {
    pub(super) id: AtomicU64,
    pub(super) kind: AtomicU32,
    flags: AtomicU32,
    type_tag: AtomicU64,
    /// A block with more keepers.
    more: AtomicU64,
    keepers: [AtomicU64; INLINE],
}

impl Slot {
    /// Makes `block` a part of the object. Only a holder of the object calls this.
    pub(super) fn adopt(&self, arena: &Arena, block: Block) -> BlockId {
        let id = block.into_id();
        let carries = arena.tag(id.unit()).load(Ordering::Relaxed) == CARRIER;
        let carriers = if carries { HAS_CARRIERS } else { 0 };
        self.flags
            .fetch_or(HAS_BLOCKS | carriers, Ordering::Relaxed);
        let number = self.id.load(Ordering::Relaxed);
        // Release: a block of the objects always has its object's tag.
        arena.tag(id.unit()).store(number, Ordering::Release);
        arena.set_owner(id, OBJECTS);
        id
    }

    /// How many members that kept it were killed or failed; wraps at 2^24.
    pub(super) fn crashes(&self) -> u32 {
        self.flags.load(Ordering::Relaxed) >> CRASHES
    }

    pub(super) fn was_shared(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & WAS_SHARED != 0
    }

    /// Makes a block of the object this member's, who frees it. A `carrier` may have objects on
    /// board.
    pub(super) fn part(
        &self,
        family: &'static Family,
        id: BlockId,
        carrier: bool,
    ) -> Option<Block> {
        let arena = family.arena();
        arena.owns(id, OBJECTS)?;
        let number = self.id.load(Ordering::Relaxed);
        if arena.tag(id.unit()).load(Ordering::Relaxed) != number {
            return None;
        }
        arena.set_owner(id, family.me().slot());
        let tag = if carrier { CARRIER } else { 0 };
        // Release: a block of the objects always has its object's tag.
        arena.tag(id.unit()).store(tag, Ordering::Release);
        // SAFETY: it was the object's, so nobody else has this id.
        unsafe { Block::adopt(family, id) }
    }
}

// SAFETY: made of atomics only.
unsafe impl Shared for Slot {}

/// Bytes of a slot before what the object is about.
pub(super) const HEADER: usize = size_of::<Slot>();
const _: () = assert!(HEADER == 64);
const _: () = assert!((UNIT / CLASSES[0]) <= 1 << SLOT_BITS);

/// Largest object.
pub(super) const LARGEST: usize = CLASSES[CLASSES.len() - 1] - HEADER;

/// The table, locked.
pub(super) struct Table<'a> {
    pub(super) family: &'a Family,
    pub(super) arena: &'static Arena,
    held: Option<Held<'static>>,
    /// Somebody may wait for what was found.
    announce: Cell<bool>,
}

impl<'a> Table<'a> {
    pub(super) fn lock(family: &'a Family) -> Table<'a> {
        let state = &family.arena().header().objects.0;
        Self::enter(family, state.lock.acquire(family))
    }

    pub(super) fn try_lock(family: &'a Family) -> Option<Table<'a>> {
        let state = &family.arena().header().objects.0;
        Some(Self::enter(family, state.lock.try_acquire(family)?))
    }

    fn enter(family: &'a Family, held: Held<'static>) -> Table<'a> {
        let table = Table {
            family,
            arena: family.arena(),
            held: Some(held),
            announce: Cell::new(false),
        };
        if table.state().dirty.load(Ordering::Relaxed) != 0 {
            table.recount();
        }
        // Release: stores of the work come after it, which a kill relies on.
        table.state().dirty.store(1, Ordering::Relaxed);
        fence(Ordering::Release);
        table
    }

    pub(super) fn state(&self) -> &'static ObjectState {
        &self.arena.header().objects.0
    }

    /// Where the slot `place` lies, if a page with that many slots is there.
    pub(super) fn offset(&self, place: u32) -> Option<u64> {
        let (page, slot) = (place >> SLOT_BITS, place & ((1 << SLOT_BITS) - 1));
        let size = size_of_class(self.page(page)?.class.load(Ordering::Relaxed))?;
        let inside = slot as usize * size;
        let fits = slot > 0 && inside + size <= UNIT;
        fits.then(|| self.arena.unit_at(self.unit(page).map_or(0, BlockId::unit)) + inside as u64)
    }

    pub(super) fn slot(&self, place: u32) -> Option<&'static Slot> {
        // SAFETY: a slot of a page of the table.
        unsafe { self.arena.get(self.offset(place)?) }
    }

    /// The slot of an object that is in use.
    fn find(&self, place: u32, number: u64) -> Option<&'static Slot> {
        let slot = self.slot(place)?;
        (number != 0 && slot.id.load(Ordering::Relaxed) == number).then_some(slot)
    }

    /// Makes an object of `size` zeroed bytes, kept by this member.
    pub(super) fn create(&self, kind: Kind, size: usize) -> Result<(ObjectId, u64), OutOfMemory> {
        let refused = OutOfMemory::new(size);
        let class = CLASSES.iter().position(|&class| size + HEADER <= class);
        let class = class.ok_or(refused)?;
        let (number, page) = match self.page_with_room(class) {
            Some(found) => found,
            None => self.add_page(class)?,
        };
        let slot = self.free_slot(page, CLASSES[class]).ok_or(refused)?;
        let place = number << SLOT_BITS | slot;
        let offset = self.offset(place).ok_or(refused)?;
        let slot = self.slot(place).ok_or(refused)?;
        // SAFETY: the slot is free, and the table is locked.
        let bytes = unsafe {
            self.arena
                .bytes_at(offset + HEADER as u64, CLASSES[class] - HEADER)
        };
        bytes.ok_or(refused)?.fill(0);
        slot.kind.store(kind.number, Ordering::Relaxed);
        let mut flags = if kind.announced { ANNOUNCED } else { 0 };
        if kind.counts_crashes {
            flags |= COUNTS_CRASHES;
        }
        slot.flags.store(flags, Ordering::Relaxed);
        slot.type_tag.store(kind.type_tag, Ordering::Relaxed);
        slot.more.store(0, Ordering::Relaxed);
        slot.keepers[0].store(
            Keeper::Member(self.family.me()).to_word(),
            Ordering::Relaxed,
        );
        for keeper in &slot.keepers[1..] {
            keeper.store(0, Ordering::Relaxed);
        }
        self.count_keep(self.family.me().slot(), 1);
        let number = self.state().last_number.load(Ordering::Relaxed) + 1;
        self.state().last_number.store(number, Ordering::Relaxed);
        // Release: the commit, after all that the slot is.
        slot.id.store(number, Ordering::Release);
        page.used.fetch_add(1, Ordering::Relaxed);
        let id = ObjectId {
            family: self.arena.family_number(),
            place,
            number,
        };
        Ok((id, offset))
    }

    /// Makes `keeper` one of those that keep the object. Nothing to do where it does already.
    pub(super) fn keep(&self, place: u32, number: u64, keeper: Keeper) -> Result<(), ObjectError> {
        let slot = self.find(place, number).ok_or(ObjectError::Freed)?;
        let word = keeper.to_word();
        let mut free = None;
        for place in self.keepers(slot) {
            match place.load(Ordering::Relaxed) {
                found if found == word => return Ok(()),
                0 => _ = free.get_or_insert(place),
                _ => {}
            }
        }
        let free = match free {
            Some(free) => free,
            None => self.more_keepers(slot)?,
        };
        slot.flags.fetch_or(WAS_SHARED, Ordering::Relaxed);
        self.extend(slot, free);
        // Release: the commit.
        free.store(word, Ordering::Release);
        if let Keeper::Member(member) = keeper {
            self.count_keep(member.slot(), 1);
        }
        Ok(())
    }

    /// Has `new` keep all that `old` keeps.
    pub(super) fn keep_also(&self, old: Keeper, new: Keeper) -> Result<(), ObjectError> {
        let word = old.to_word();
        let mut kept = Vec::new();
        for (number, page) in self.pages() {
            let size = size_of_class(page.class.load(Ordering::Relaxed)).unwrap_or(UNIT);
            for slot in 1..=slots_of(size) {
                let place = number << SLOT_BITS | slot;
                if let Some(slot) = self.slot(place)
                    && slot.id.load(Ordering::Relaxed) != 0
                    && self
                        .keepers(slot)
                        .any(|keeper| keeper.load(Ordering::Relaxed) == word)
                {
                    kept.push((place, slot.id.load(Ordering::Relaxed)));
                }
            }
        }
        kept.into_iter()
            .try_for_each(|(place, number)| self.keep(place, number, new))
    }

    /// Places for keepers: all that may be taken, and a free one if there is any.
    pub(super) fn keepers(&self, slot: &'static Slot) -> impl Iterator<Item = &'static AtomicU64> {
        let more = self.more(slot);
        let used = more.and_then(|more| self.more_at(more, 0));
        let used = used.map_or(0, |used| used.load(Ordering::Relaxed) + 1);
        let more = (1..=used.min(MORE)).filter_map(move |index| self.more_at(more?, index));
        slot.keepers.iter().chain(more)
    }

    /// Where the block with more keepers is. Its first word tells how many of the others have ever
    /// been used, those at the end left out that are free again.
    fn more(&self, slot: &Slot) -> Option<u64> {
        let more = BlockId::from_word(slot.more.load(Ordering::Relaxed))?;
        let owned = self.arena.owns(more, OBJECTS).is_some();
        owned.then(|| self.arena.unit_at(more.unit()))
    }

    fn more_at(&self, more: u64, index: u64) -> Option<&'static AtomicU64> {
        // SAFETY: the block is the object's, and holds such words only.
        unsafe { self.arena.get(more + index * 8) }
    }

    /// Counts `place` among those that were used. Before it is: killed in between, the count is
    /// only too high.
    fn extend(&self, slot: &Slot, place: &AtomicU64) {
        if let Some(more) = self.more(slot)
            && let Some(used) = self.more_at(more, 0)
        {
            let next = used.load(Ordering::Relaxed) + 1;
            if self
                .more_at(more, next)
                .is_some_and(|at| ptr::eq(at, place))
            {
                // Release: with the keeper, which is stored after it, the count is seen.
                used.store(next, Ordering::Release);
            }
        }
    }

    /// Leaves out places at the end that are free again.
    fn shrink(&self, slot: &Slot) {
        let at = |index| self.more_at(self.more(slot)?, index);
        if let Some(used) = at(0) {
            let mut last = used.load(Ordering::Relaxed);
            while last > 0 && at(last).is_some_and(|at| at.load(Ordering::Relaxed) == 0) {
                last -= 1;
            }
            used.store(last, Ordering::Relaxed);
        }
    }

    #[cold]
    fn more_keepers(&self, slot: &'static Slot) -> Result<&'static AtomicU64, ObjectError> {
        let full = ObjectError::OutOfMemory(OutOfMemory::new(UNIT));
        if self.more(slot).is_some() {
            // More processes than there can be.
            return Err(full);
        }
        let family = Family::existing().ok_or(ObjectError::Foreign)?;
        let block = Block::zeroed(family, UNIT).map_err(ObjectError::OutOfMemory)?;
        let at = block.offset();
        slot.more.store(block.id().to_word(), Ordering::Release);
        slot.adopt(self.arena, block);
        self.more_at(at, 1).ok_or(full)
    }

    /// Ends `keeper`'s keeping. Frees the object if it was the last one.
    pub(super) fn let_go(&self, place: u32, number: u64, keeper: Keeper) {
        let Some(slot) = self.find(place, number) else {
            return;
        };
        let word = keeper.to_word();
        let found = self
            .keepers(slot)
            .find(|place| place.load(Ordering::Relaxed) == word);
        if let Some(found) = found {
            found.store(0, Ordering::Release);
            if let Keeper::Member(member) = keeper {
                self.count_keep(member.slot(), -1);
            }
        }
        self.free_if_garbage(place, slot, found.is_some(), None);
    }

    /// Who keeps the object, dead ones left out.
    pub(super) fn living_keepers(&self, place: u32, number: u64) -> Vec<Keeper> {
        let Some(slot) = self.find(place, number) else {
            return Vec::new();
        };
        let words = self
            .keepers(slot)
            .map(|place| place.load(Ordering::Relaxed));
        words
            .filter_map(Keeper::from_word)
            .filter(|keeper| keeper.is_alive(self.arena, None))
            .collect()
    }

    /// Whether anybody but its maker ever kept the object. True of one that is gone.
    pub(super) fn was_shared(&self, place: u32, number: u64) -> bool {
        self.find(place, number).is_none_or(Slot::was_shared)
    }

    /// Checks that the object is there and of `kind`. Where it lies, and its blocks.
    pub(super) fn check(&self, id: ObjectId, kind: Kind) -> Result<u64, ObjectError> {
        let slot = self.find(id.place, id.number).ok_or(ObjectError::Freed)?;
        let same = slot.kind.load(Ordering::Relaxed) == kind.number
            && slot.type_tag.load(Ordering::Relaxed) == kind.type_tag;
        if !same {
            return Err(ObjectError::WrongKind);
        }
        self.offset(id.place).ok_or(ObjectError::Freed)
    }

    pub(super) fn free_if_garbage(
        &self,
        place: u32,
        slot: &'static Slot,
        let_go: bool,
        leaving: Option<u32>,
    ) {
        let (mut kept, mut gone) = (0, let_go);
        for keeper in self.keepers(slot) {
            let Some(found) = Keeper::from_word(keeper.load(Ordering::Relaxed)) else {
                continue;
            };
            if found.is_alive(self.arena, leaving) {
                kept += 1;
            } else {
                self.count_crash(slot, found);
                // Release: a crash is rather counted twice than not.
                keeper.store(0, Ordering::Release);
                gone = true;
            }
        }
        if gone {
            self.shrink(slot);
        }
        if gone && kept <= 1 && slot.flags.load(Ordering::Relaxed) & ANNOUNCED != 0 {
            self.announce.set(true);
        }
        if kept > 0 {
            return;
        }
        let flags = slot.flags.load(Ordering::Relaxed);
        if flags & HAS_BLOCKS != 0 {
            let number = slot.id.load(Ordering::Relaxed);
            self.arena.free_tagged(number);
        }
        if flags & HAS_CARRIERS != 0 {
            // Other objects may have been on their way in its blocks.
            self.state().ask_for_sweep();
        }
        // Release: the commit, after the blocks.
        slot.id.store(0, Ordering::Release);
        self.count_freed(place);
    }

    fn count_crash(&self, slot: &Slot, keeper: Keeper) {
        if slot.flags.load(Ordering::Relaxed) & COUNTS_CRASHES == 0 {
            return;
        }
        let crashed = match keeper {
            Keeper::Member(member) => {
                let cell = self.arena.member(member.slot());
                cell.is_some_and(|cell| cell.crashed(member.generation()))
            }
            Keeper::Block(_) => false,
        };
        if crashed {
            slot.flags.fetch_add(1 << CRASHES, Ordering::Relaxed);
            self.announce.set(true);
        }
    }

    fn count_keep(&self, slot: u32, by: i32) {
        if let Some(cell) = self.arena.member(slot) {
            let keeps = cell.keeps.load(Ordering::Relaxed).saturating_add_signed(by);
            cell.keeps.store(keeps, Ordering::Relaxed);
        }
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        let state = self.state();
        while state.pending.swap(0, Ordering::Relaxed) != 0 {
            self.sweep(None);
        }
        // Release: all of the work is done before.
        state.dirty.store(0, Ordering::Release);
        self.held = None;
        if self.announce.get() {
            self.family.announce();
        }
        // Pairs with the fence in `sweep_missed`: one of the two sees the other.
        fence(Ordering::SeqCst);
        self.family.sweep_missed();
    }
}

pub(super) fn size_of_class(class: u32) -> Option<usize> {
    CLASSES.get(class as usize).copied()
}

/// How many slots of `size` a page has, besides its own.
pub(super) fn slots_of(size: usize) -> u32 {
    (UNIT / size - 1) as u32
}

const _: () = assert!(CARRIER > PAGE);
