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
//! A page is one unit of the heap, cut into slots of one size; its first slot has the page's own
//! words. A page belongs to the table when the directory has its name and the heap says that its
//! owner is `OBJECTS`: with that, a page whose maker was killed half-way is just free.
//!
//! # Safety
//!
//! References go only to slots of pages that belong to the table.
#![allow(unsafe_code, reason = "reaches slots by offset")]

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::holder::Keeper;
use super::{CARRIER, Kind, ObjectError, ObjectId, PAGE};
use crate::arena::{
    Arena, Block, BlockId, Held, MAX_PAGES, OutOfMemory, PAGES_AT, RawLock, Shared, UNIT,
};
use crate::family::Family;
use crate::member::OBJECTS;

/// Slot sizes. The first 64 bytes of a slot are its header.
const CLASSES: [usize; 4] = [128, 256, 512, 1024];

/// Keepers with a place in the slot; more are in a block.
const INLINE: usize = 4;

/// Bits of a place that name the slot within its page.
const SLOT_BITS: u32 = 9;

/// Blocks belong to the object.
const HAS_BLOCKS: u32 = 1;
/// The family is told when all but one have let go of it.
const ANNOUNCED: u32 = 2;
/// Somebody besides its maker kept it.
const WAS_SHARED: u32 = 4;

/// The table's own words.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ObjectState {
    lock: RawLock,
    /// Somebody is at work; still set for the next holder if it was killed.
    dirty: AtomicU32,
    /// There may be garbage.
    pending: AtomicU32,
    /// Directory entries ever used.
    pages_end: AtomicU32,
    last_number: AtomicU64,
    /// Where to look for a free slot of a class, and for an empty page: hints.
    hints: [AtomicU32; CLASSES.len()],
    spares: [AtomicU32; CLASSES.len()],
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

/// What lies at the start of a slot.
#[repr(C)]
pub(super) struct Slot {
    pub(super) id: AtomicU64,
    kind: AtomicU32,
    flags: AtomicU32,
    type_tag: AtomicU64,
    /// A block with more keepers.
    more: AtomicU64,
    keepers: [AtomicU64; INLINE],
}

/// What lies in the first slot of a page.
#[repr(C)]
struct Page {
    class: AtomicU32,
    /// Slots in use; counted again by whoever finds the table dirty.
    used: AtomicU32,
    /// No free slot before this one.
    hint: AtomicU32,
}

impl Slot {
    /// Makes `block` a part of the object. Only a holder of the object calls this.
    pub(super) fn adopt(&self, arena: &Arena, block: Block) -> BlockId {
        self.flags.fetch_or(HAS_BLOCKS, Ordering::Relaxed);
        let id = block.into_id();
        let number = self.id.load(Ordering::Relaxed);
        // Release: a block of the objects always has its object's tag.
        arena.tag(id.unit()).store(number, Ordering::Release);
        arena.set_owner(id, OBJECTS);
        id
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
        let tag = if carrier { CARRIER } else { 0 };
        arena.tag(id.unit()).store(tag, Ordering::Relaxed);
        arena.set_owner(id, family.me().slot());
        // SAFETY: it was the object's, so nobody else has this id.
        unsafe { Block::adopt(family, id) }
    }
}

// SAFETY: made of atomics only.
unsafe impl Shared for Slot {}
// SAFETY: made of atomics only.
unsafe impl Shared for Page {}

/// Bytes of a slot before what the object is about.
pub(super) const HEADER: usize = size_of::<Slot>();
const _: () = assert!(HEADER == 64);
const _: () = assert!((UNIT / CLASSES[0]) <= 1 << SLOT_BITS);

/// Largest object.
pub(super) const LARGEST: usize = CLASSES[CLASSES.len() - 1] - HEADER;

/// The table, locked.
pub(super) struct Table<'a> {
    family: &'a Family,
    arena: &'static Arena,
    held: Option<Held<'static>>,
    /// Somebody may wait for what was found.
    announce: Cell<bool>,
}

impl<'a> Table<'a> {
    pub(super) fn lock(family: &'a Family) -> Table<'a> {
        let state = &family.arena().header().objects.0;
        Self::enter(family, state.lock.acquire(family))
    }

    fn try_lock(family: &'a Family) -> Option<Table<'a>> {
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

    fn state(&self) -> &'static ObjectState {
        &self.arena.header().objects.0
    }

    fn entry(&self, page: u32) -> &'static AtomicU64 {
        // SAFETY: the directory lies there, and holds nothing else.
        let entry = unsafe { self.arena.get(PAGES_AT + u64::from(page) * 8) };
        entry.expect("page numbers are below MAX_PAGES")
    }

    /// The unit of page number `page`, if the table has one there.
    fn unit(&self, page: u32) -> Option<BlockId> {
        if page >= MAX_PAGES as u32 {
            return None;
        }
        let id = BlockId::from_word(self.entry(page).load(Ordering::Relaxed))?;
        self.arena.owns(id, OBJECTS).map(|_| id)
    }

    fn page(&self, page: u32) -> Option<&'static Page> {
        let at = self.arena.unit_at(self.unit(page)?.unit());
        // SAFETY: a page of the table starts there.
        unsafe { self.arena.get(at) }
    }

    fn pages(&self) -> impl Iterator<Item = (u32, &'static Page)> {
        let end = self.state().pages_end.load(Ordering::Relaxed);
        (0..end.min(MAX_PAGES as u32)).filter_map(|number| Some((number, self.page(number)?)))
    }

    /// Where the slot `place` lies, if a page with that many slots is there.
    pub(super) fn offset(&self, place: u32) -> Option<u64> {
        let (page, slot) = (place >> SLOT_BITS, place & ((1 << SLOT_BITS) - 1));
        let size = size_of_class(self.page(page)?.class.load(Ordering::Relaxed))?;
        let inside = slot as usize * size;
        let fits = slot > 0 && inside + size <= UNIT;
        fits.then(|| self.arena.unit_at(self.unit(page).map_or(0, BlockId::unit)) + inside as u64)
    }

    fn slot(&self, place: u32) -> Option<&'static Slot> {
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
        let flags = if kind.announced { ANNOUNCED } else { 0 };
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

    fn page_with_room(&self, class: usize) -> Option<(u32, &'static Page)> {
        let room = |page: &Page| {
            page.class.load(Ordering::Relaxed) == class as u32
                && page.used.load(Ordering::Relaxed) < slots_of(CLASSES[class])
        };
        let hint = self.state().hints[class].load(Ordering::Relaxed);
        if let Some(page) = self.page(hint).filter(|page| room(page)) {
            return Some((hint, page));
        }
        let found = self.pages().find(|(_, page)| room(page));
        if let Some((number, _)) = found {
            self.state().hints[class].store(number, Ordering::Relaxed);
        }
        found
    }

    fn free_slot(&self, page: &'static Page, size: usize) -> Option<u32> {
        let slots = slots_of(size);
        let base = self.arena.offset_of(page)?;
        let free = |slot: &u32| {
            // SAFETY: a slot of a page of the table.
            let slot = unsafe {
                self.arena
                    .get::<Slot>(base + u64::from(*slot) * size as u64)
            };
            slot.is_some_and(|slot| slot.id.load(Ordering::Relaxed) == 0)
        };
        let hint = page.hint.load(Ordering::Relaxed).clamp(1, slots);
        let found = (hint..=slots).find(free).or_else(|| (1..hint).find(free));
        if let Some(slot) = found {
            page.hint.store(slot + 1, Ordering::Relaxed);
        }
        found
    }

    fn add_page(&self, class: usize) -> Result<(u32, &'static Page), OutOfMemory> {
        let refused = OutOfMemory::new(UNIT);
        let end = self.state().pages_end.load(Ordering::Relaxed);
        let number = (0..end)
            .find(|&number| self.unit(number).is_none())
            .unwrap_or(end);
        if number >= MAX_PAGES as u32 {
            return Err(refused);
        }
        let family = Family::existing().ok_or(refused)?;
        let block = Block::zeroed(family, UNIT)?;
        let id = block.id();
        // SAFETY: the block is ours and as large as a page.
        let page = unsafe { self.arena.get::<Page>(block.offset()) }.ok_or(refused)?;
        page.class.store(class as u32, Ordering::Relaxed);
        page.hint.store(1, Ordering::Relaxed);
        // Release: in this order. With the last store the page is the table's.
        self.arena.tag(id.unit()).store(PAGE, Ordering::Release);
        self.entry(number).store(id.to_word(), Ordering::Release);
        if number == end {
            self.state().pages_end.store(end + 1, Ordering::Release);
        }
        let id = block.into_id();
        self.arena.set_owner(id, OBJECTS);
        self.state().hints[class].store(number, Ordering::Relaxed);
        Ok((number, page))
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

    /// All places for keepers.
    fn keepers(&self, slot: &'static Slot) -> impl Iterator<Item = &'static AtomicU64> {
        let more = BlockId::from_word(slot.more.load(Ordering::Relaxed))
            .filter(|&more| self.arena.owns(more, OBJECTS).is_some())
            .map(|more| self.arena.unit_at(more.unit()));
        let words = if more.is_some() { UNIT as u64 / 8 } else { 0 };
        let more = (0..words).filter_map(move |index| {
            // SAFETY: the block is the object's, and holds keepers only.
            unsafe { self.arena.get::<AtomicU64>(more.unwrap_or(0) + index * 8) }
        });
        slot.keepers.iter().chain(more)
    }

    #[cold]
    fn more_keepers(&self, slot: &'static Slot) -> Result<&'static AtomicU64, ObjectError> {
        let full = ObjectError::OutOfMemory(OutOfMemory::new(UNIT));
        let more = BlockId::from_word(slot.more.load(Ordering::Relaxed));
        if more.is_some_and(|more| self.arena.owns(more, OBJECTS).is_some()) {
            // More processes than there can be.
            return Err(full);
        }
        let family = Family::existing().ok_or(ObjectError::Foreign)?;
        let block = Block::zeroed(family, UNIT).map_err(ObjectError::OutOfMemory)?;
        let at = block.offset();
        slot.more.store(block.id().to_word(), Ordering::Release);
        slot.adopt(self.arena, block);
        // SAFETY: the block is the object's now.
        unsafe { self.arena.get(at) }.ok_or(full)
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

    fn free_if_garbage(&self, place: u32, slot: &'static Slot, let_go: bool, leaving: Option<u32>) {
        let (mut kept, mut gone) = (0, let_go);
        for keeper in self.keepers(slot) {
            let Some(found) = Keeper::from_word(keeper.load(Ordering::Relaxed)) else {
                continue;
            };
            if found.is_alive(self.arena, leaving) {
                kept += 1;
            } else {
                keeper.store(0, Ordering::Release);
                gone = true;
            }
        }
        if gone && kept <= 1 && slot.flags.load(Ordering::Relaxed) & ANNOUNCED != 0 {
            self.announce.set(true);
        }
        if kept > 0 {
            return;
        }
        if slot.flags.load(Ordering::Relaxed) & HAS_BLOCKS != 0 {
            let number = slot.id.load(Ordering::Relaxed);
            self.arena.free_tagged(number);
            // Other objects may have been on their way in these blocks.
            self.state().ask_for_sweep();
        }
        // Release: the commit, after the blocks.
        slot.id.store(0, Ordering::Release);
        self.count_freed(place);
    }

    fn count_freed(&self, place: u32) {
        let (number, slot) = (place >> SLOT_BITS, place & ((1 << SLOT_BITS) - 1));
        let Some(page) = self.page(number) else {
            return;
        };
        page.hint.fetch_min(slot, Ordering::Relaxed);
        let used = page.used.load(Ordering::Relaxed).saturating_sub(1);
        page.used.store(used, Ordering::Relaxed);
        let class = page.class.load(Ordering::Relaxed) as usize;
        let Some(spare) = self.state().spares.get(class) else {
            return;
        };
        self.state().hints[class].fetch_min(number, Ordering::Relaxed);
        if used > 0 {
            return;
        }
        let kept = spare.load(Ordering::Relaxed);
        let other = self.page(kept).filter(|page| {
            kept != number
                && page.class.load(Ordering::Relaxed) == class as u32
                && page.used.load(Ordering::Relaxed) == 0
        });
        if other.is_some() {
            self.drop_page(number);
        } else {
            spare.store(number, Ordering::Relaxed);
        }
    }

    fn drop_page(&self, number: u32) {
        if let Some(id) = self.unit(number) {
            // Release: nobody finds the page any more, then it is free.
            self.entry(number).store(0, Ordering::Release);
            // SAFETY: an empty page of the table, which nobody refers to.
            unsafe { self.arena.free_for(id, OBJECTS) };
        }
    }

    /// Frees all garbage; what the dead member `leaving` keeps counts as such.
    fn sweep(&self, leaving: Option<u32>) {
        let pages: Vec<_> = self.pages().collect();
        for (number, page) in pages {
            let Some(size) = size_of_class(page.class.load(Ordering::Relaxed)) else {
                continue;
            };
            let mut left = page.used.load(Ordering::Relaxed);
            for slot in 1..=slots_of(size) {
                if left == 0 {
                    break;
                }
                let place = number << SLOT_BITS | slot;
                if let Some(slot) = self.slot(place)
                    && slot.id.load(Ordering::Relaxed) != 0
                {
                    left -= 1;
                    self.free_if_garbage(place, slot, false, leaving);
                }
            }
        }
        if let Some(cell) = leaving.and_then(|slot| self.arena.member(slot)) {
            cell.keeps.store(0, Ordering::Relaxed);
        }
    }

    /// Repairs the counts after somebody was killed with the table locked.
    #[cold]
    fn recount(&self) {
        for (number, page) in self.pages() {
            let size = size_of_class(page.class.load(Ordering::Relaxed)).unwrap_or(UNIT);
            let used = (1..=slots_of(size)).filter(|slot| {
                let slot = self.slot(number << SLOT_BITS | slot);
                slot.is_some_and(|slot| slot.id.load(Ordering::Relaxed) != 0)
            });
            page.used.store(used.count() as u32, Ordering::Relaxed);
            page.hint.store(1, Ordering::Relaxed);
        }
        self.state().ask_for_sweep();
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

impl Arena {
    /// How many pages are kept empty for objects to come.
    pub(crate) fn spare_pages(&self) -> u32 {
        Family::existing().map_or(0, |family| {
            let table = Table::lock(family);
            let empty = table
                .pages()
                .filter(|(_, page)| page.used.load(Ordering::Relaxed) == 0);
            empty.count() as u32
        })
    }

    /// Frees the blocks that belong to object `number`.
    fn free_tagged(&self, number: u64) {
        for block in self.tagged(number) {
            // SAFETY: its object is garbage, so nobody refers to it.
            unsafe { self.free_for(block, OBJECTS) };
        }
    }
}

impl Family {
    /// Frees what only member `slot` kept, which is dead but not yet said to be.
    ///
    /// Never waits: where the table is locked, [`sweep_missed`](Self::sweep_missed) comes to it.
    pub(crate) fn sweep_for(&self, slot: u32) {
        let state = &self.arena().header().objects.0;
        let keeps = self
            .arena()
            .member(slot)
            .map_or(0, |cell| cell.keeps.load(Ordering::Relaxed));
        if keeps == 0 && state.dirty.load(Ordering::Relaxed) == 0 {
            return;
        }
        match Table::try_lock(self) {
            Some(table) => table.sweep(Some(slot)),
            None => state.ask_for_sweep(),
        }
    }

    /// Sweeps if somebody asked for it and could not do it.
    pub(crate) fn sweep_missed(&self) {
        let state = &self.arena().header().objects.0;
        // Pairs with the fence in `drop`: the holder sees the request, or we see the lock free.
        fence(Ordering::SeqCst);
        if state.pending.load(Ordering::Relaxed) != 0 {
            drop(Table::try_lock(self));
        }
    }

    /// How many shared objects there are, and how many of each kind keep waiting to be swept.
    #[must_use]
    pub fn object_count(&self) -> usize {
        let table = Table::lock(self);
        let used = table
            .pages()
            .map(|(_, page)| page.used.load(Ordering::Relaxed) as usize);
        used.sum()
    }

    /// The objects of `kind`: their numbers, and where they lie.
    pub(super) fn objects_of(&self, kind: u32) -> Vec<(ObjectId, u64)> {
        let table = Table::lock(self);
        let mut found = Vec::new();
        for (page_number, page) in table.pages() {
            let size = size_of_class(page.class.load(Ordering::Relaxed)).unwrap_or(UNIT);
            for slot in 1..=slots_of(size) {
                let place = page_number << SLOT_BITS | slot;
                let Some(slot) = table.slot(place) else {
                    continue;
                };
                let number = slot.id.load(Ordering::Relaxed);
                if number != 0
                    && slot.kind.load(Ordering::Relaxed) == kind
                    && let Some(offset) = table.offset(place)
                {
                    let family = self.arena().family_number();
                    found.push((
                        ObjectId {
                            family,
                            place,
                            number,
                        },
                        offset + HEADER as u64,
                    ));
                }
            }
        }
        found
    }
}

fn size_of_class(class: u32) -> Option<usize> {
    CLASSES.get(class as usize).copied()
}

/// How many slots of `size` a page has, besides its own.
fn slots_of(size: usize) -> u32 {
    (UNIT / size - 1) as u32
}

const _: () = assert!(CARRIER > PAGE);
