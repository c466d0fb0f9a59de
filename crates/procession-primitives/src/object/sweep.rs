//! Freeing what only the dead kept.
//!
//! # Safety
//!
//! Frees blocks of objects that nobody keeps.
#![allow(unsafe_code, reason = "frees blocks of the dead")]

use std::sync::atomic::{Ordering, fence};

use super::ObjectId;
use super::holder::Keeper;
use super::table::{HEADER, SLOT_BITS, Slot, Table, size_of_class, slots_of};
use crate::arena::{Arena, UNIT};
use crate::family::Family;
use crate::member::OBJECTS;

impl Table<'_> {
    /// Frees all garbage; what the dead member `leaving` keeps counts as such.
    pub(super) fn sweep(&self, leaving: Option<u32>) {
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
    pub(super) fn recount(&self) {
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
    pub(super) fn free_tagged(&self, number: u64) {
        for block in self.tagged(number) {
            // SAFETY: its object is garbage, so nobody refers to it.
            unsafe { self.free_for(block, OBJECTS) };
        }
    }
}

impl Table<'_> {
    /// Object and keepers, as text.
    fn text_of(&self, slot: &'static Slot) -> String {
        let words = self.keepers(slot).map(|word| word.load(Ordering::Relaxed));
        let keepers: Vec<_> = words
            .filter_map(Keeper::from_word)
            .map(|keeper| (keeper, keeper.is_alive(self.arena, None)))
            .collect();
        let number = slot.id.load(Ordering::Relaxed);
        let kind = slot.kind.load(Ordering::Relaxed);
        format!("object {number} of kind {kind}, kept by {keepers:?}")
    }
}

impl Family {
    /// Frees what only member `slot` kept, which is dead but not yet said to be.
    ///
    /// Never waits. False where the table is locked: then the caller asks for a sweep once the
    /// member is said to be dead, and calls [`sweep_missed`](Self::sweep_missed).
    #[must_use]
    pub(crate) fn sweep_for(&self, slot: u32) -> bool {
        let state = &self.arena().header().objects.0;
        let keeps = self
            .arena()
            .member(slot)
            .map_or(0, |cell| cell.keeps.load(Ordering::Relaxed));
        if keeps == 0 && state.dirty.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let table = Table::try_lock(self);
        table.as_ref().inspect(|table| table.sweep(Some(slot)));
        table.is_some()
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

    /// The objects and who keeps them, one text each: for people who look for a leak.
    #[must_use]
    pub fn object_text(&self) -> Vec<String> {
        let table = Table::lock(self);
        let mut texts = Vec::new();
        for (number, page) in table.pages() {
            let size = size_of_class(page.class.load(Ordering::Relaxed)).unwrap_or(UNIT);
            let used = page.used.load(Ordering::Relaxed);
            texts.push(format!("page {number} of {size} bytes: {used} used"));
            for slot in 1..=slots_of(size) {
                if let Some(slot) = table.slot(number << SLOT_BITS | slot)
                    && slot.id.load(Ordering::Relaxed) != 0
                {
                    texts.push(format!("  {}", table.text_of(slot)));
                }
            }
        }
        texts
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
