//! Who waits for what: a table for people who ask why nothing goes on.
//!
//! A thread enters itself before it sleeps for an object and leaves afterwards. Nothing depends
//! on the table: a thread that finds no room is just not in it.
//!
//! | `who` | meaning | who leaves this state |
//! |---|---|---|
//! | 0 | free | any thread, by CAS to itself |
//! | a holder | that thread waits for `object` | the thread, to 0; after its death any thread, by CAS to itself |
//!
//! # Safety
//!
//! The table lies at a fixed place, and is made of atomics.
#![allow(unsafe_code, reason = "reaches the table by offset")]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::arena::{Arena, Shared, WAITS_AT};
use crate::family::Family;
use crate::object::Holder;

const ENTRIES: u64 = 8192;

/// Entries looked at before a thread goes without.
const TRIES: u64 = 64;

/// Bytes of the table.
pub(crate) const SIZE: usize = ENTRIES as usize * size_of::<Entry>();

#[repr(C)]
#[derive(Debug)]
struct Entry {
    who: AtomicU64,
    object: AtomicU64,
}

// SAFETY: made of atomics only.
unsafe impl Shared for Entry {}

/// A thread that waits for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectWait {
    /// The thread.
    pub who: Holder,
    /// [`ObjectId::number`](crate::ObjectId::number) of what it waits for.
    pub object: u64,
}

/// The calling thread is in the table until this is dropped.
#[derive(Debug)]
pub struct WaitNote(Option<(&'static Entry, u64)>);

fn entry(arena: &Arena, index: u64) -> Option<&'static Entry> {
    let at = WAITS_AT + index % ENTRIES * size_of::<Entry>() as u64;
    // SAFETY: the table lies there, and holds nothing else.
    unsafe { arena.get(at) }
}

impl Family {
    /// Enters the calling thread as waiting for object number `object`.
    #[must_use]
    pub fn wait_on(&self, object: u64) -> WaitNote {
        let me = self.holder();
        let word = me.to_word();
        // Threads of a process lie apart, and so do processes.
        let start = (word as u32).wrapping_mul(0x9e37_79b9) >> 16;
        let found = (0..TRIES).find_map(|step| {
            let entry = entry(self.arena(), u64::from(start) + step)?;
            let who = entry.who.load(Ordering::Relaxed);
            let free = Holder::from_word(who).is_none_or(|who| !self.is_alive(who.member()));
            let taken = free
                && entry
                    .who
                    .compare_exchange(who, word, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            taken.then_some(entry)
        });
        WaitNote(found.map(|entry| {
            entry.object.store(object, Ordering::Relaxed);
            (entry, word)
        }))
    }

    /// The threads that wait for an object at this moment.
    #[must_use]
    pub fn waits(&self) -> Vec<ObjectWait> {
        let waits = (0..ENTRIES).filter_map(|index| {
            let entry = entry(self.arena(), index)?;
            let who = Holder::from_word(entry.who.load(Ordering::Relaxed))?;
            let object = entry.object.load(Ordering::Relaxed);
            (object != 0 && self.is_alive(who.member())).then_some(ObjectWait { who, object })
        });
        waits.collect()
    }
}

impl Drop for WaitNote {
    fn drop(&mut self) {
        if let Some((entry, word)) = self.0
            && entry.who.load(Ordering::Relaxed) == word
        {
            entry.object.store(0, Ordering::Relaxed);
            // Release: the next one's object comes after our 0.
            entry.who.store(0, Ordering::Release);
        }
    }
}
