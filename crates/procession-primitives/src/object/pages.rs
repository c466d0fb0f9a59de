//! The pages that objects lie in.
//!
//! A page is one unit of the heap, cut into slots of one size; its first slot has the page's own
//! words. A page belongs to the table when the directory has its name and the heap says that its
//! owner is `OBJECTS`: with that, a page whose maker was killed half-way is just free.
//!
//! # Safety
//!
//! References go only to pages that belong to the table.
#![allow(unsafe_code, reason = "reaches pages by offset")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::PAGE;
use super::table::{CLASSES, SLOT_BITS, Slot, Table, slots_of};
use crate::arena::{Block, BlockId, MAX_PAGES, OutOfMemory, PAGES_AT, Shared, UNIT};
use crate::family::Family;
use crate::member::OBJECTS;

/// What lies in the first slot of a page.
#[repr(C)]
pub(super) struct Page {
    pub(super) class: AtomicU32,
    /// Slots in use; counted again by whoever finds the table dirty.
    pub(super) used: AtomicU32,
    /// No free slot before this one.
    pub(super) hint: AtomicU32,
}

// SAFETY: made of atomics only.
unsafe impl Shared for Page {}

impl Table<'_> {
    pub(super) fn entry(&self, page: u32) -> &'static AtomicU64 {
        // SAFETY: the directory lies there, and holds nothing else.
        let entry = unsafe { self.arena.get(PAGES_AT + u64::from(page) * 8) };
        entry.expect("page numbers are below MAX_PAGES")
    }

    /// The unit of page number `page`, if the table has one there.
    pub(super) fn unit(&self, page: u32) -> Option<BlockId> {
        if page >= MAX_PAGES as u32 {
            return None;
        }
        let id = BlockId::from_word(self.entry(page).load(Ordering::Relaxed))?;
        self.arena.owns(id, OBJECTS).map(|_| id)
    }

    pub(super) fn page(&self, page: u32) -> Option<&'static Page> {
        let at = self.arena.unit_at(self.unit(page)?.unit());
        // SAFETY: a page of the table starts there.
        unsafe { self.arena.get(at) }
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = (u32, &'static Page)> {
        let end = self.state().pages_end.load(Ordering::Relaxed);
        (0..end.min(MAX_PAGES as u32)).filter_map(|number| Some((number, self.page(number)?)))
    }

    pub(super) fn page_with_room(&self, class: usize) -> Option<(u32, &'static Page)> {
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

    pub(super) fn free_slot(&self, page: &'static Page, size: usize) -> Option<u32> {
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

    pub(super) fn add_page(&self, class: usize) -> Result<(u32, &'static Page), OutOfMemory> {
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

    pub(super) fn count_freed(&self, place: u32) {
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

    pub(super) fn drop_page(&self, number: u32) {
        if let Some(id) = self.unit(number) {
            // Release: nobody finds the page any more, then it is free.
            self.entry(number).store(0, Ordering::Release);
            // SAFETY: an empty page of the table, which nobody refers to.
            unsafe { self.arena.free_for(id, OBJECTS) };
        }
    }
}
