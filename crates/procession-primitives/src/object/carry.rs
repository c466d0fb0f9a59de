//! Handles on their way: what is encoded is kept until it has been decoded or thrown away.

use std::cell::{Cell, RefCell};

use super::holder::Keeper;
use super::table::Table;
use super::{CARRIER, Kind, Object, ObjectError, ObjectId};
use crate::arena::BlockId;
use crate::family::Family;

thread_local! {
    /// How many calls of `boarding` this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether `BOARDED` has anything: as a rule it has not.
    static ANY: Cell<bool> = const { Cell::new(false) };
    /// What was encoded, with the depth it was encoded at.
    static BOARDED: RefCell<Vec<(u32, Object)>> = const { RefCell::new(Vec::new()) };
    static ARRIVING: Cell<Option<BlockId>> = const { Cell::new(None) };
}

/// So many handles are compared with each new one; with more, those that are there twice are looked
/// for once, at the end.
const FEW: usize = 8;

/// The objects whose handles were encoded. They are kept as long as this is.
#[derive(Debug, Default)]
pub struct Passengers(Vec<Object>);

impl Passengers {
    /// Whether no handle was encoded, as is usual.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of `more`.
    pub fn extend(&mut self, more: Passengers) {
        self.0.extend(more.0);
    }

    /// Has `block` keep the objects, from now on until it is freed, whoever owns it.
    ///
    /// The block is one of this process, and holds the encoded handles.
    ///
    /// # Errors
    ///
    /// [`ObjectError::OutOfMemory`].
    pub fn board(&self, block: BlockId) -> Result<(), ObjectError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let family = Family::existing().ok_or(ObjectError::Foreign)?;
        family
            .arena()
            .tag(block.unit())
            .store(CARRIER, std::sync::atomic::Ordering::Relaxed);
        let table = Table::lock(family);
        for object in &self.0 {
            let id = object.id();
            table.keep(id.place, id.number, Keeper::Block(block))?;
        }
        Ok(())
    }
}

/// Runs `body` and returns the objects whose handles were encoded in it.
#[inline]
pub fn boarding<T>(body: impl FnOnce() -> T) -> (T, Passengers) {
    /// Leaves the call, also when `body` panics.
    struct Leave(u32);
    impl Drop for Leave {
        #[inline]
        fn drop(&mut self) {
            DEPTH.set(self.0 - 1);
            if ANY.get() {
                // Only after a panic there is something left.
                drop(disembark(self.0));
            }
        }
    }
    let depth = DEPTH.get() + 1;
    DEPTH.set(depth);
    let leave = Leave(depth);
    let result = body();
    let boarded = if ANY.get() {
        disembark(depth)
    } else {
        Vec::new()
    };
    drop(leave);
    (result, Passengers(boarded))
}

/// Takes out what was encoded at `depth`.
#[cold]
fn disembark(depth: u32) -> Vec<Object> {
    BOARDED.with_borrow_mut(|boarded| {
        let start = boarded.partition_point(|(at, _)| *at < depth);
        let mut taken = boarded.split_off(start);
        ANY.set(!boarded.is_empty());
        if taken.len() > FEW {
            // Some may be there more than once.
            let key = |(_, object): &(u32, Object)| (object.id().place, object.id().number);
            taken.sort_unstable_by_key(key);
            taken.dedup_by_key(|object| key(object));
        }
        taken.into_iter().map(|(_, object)| object).collect()
    })
}

/// Within [`boarding`]: takes what was encoded so far; `None`, as is usual, for nothing.
#[inline]
pub fn take_boarded() -> Option<Passengers> {
    if ANY.get() {
        Some(Passengers(disembark(DEPTH.get()))).filter(|taken| !taken.is_empty())
    } else {
        None
    }
}

impl Family {
    /// Has block `new` keep what block `old` keeps: its bytes are moved there.
    ///
    /// # Errors
    ///
    /// [`ObjectError::OutOfMemory`].
    pub fn reboard(&self, old: BlockId, new: BlockId) -> Result<(), ObjectError> {
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        if self.arena().tag(old.unit()).load(relaxed) != CARRIER {
            return Ok(());
        }
        self.arena().tag(new.unit()).store(CARRIER, relaxed);
        Table::lock(self).keep_also(Keeper::Block(old), Keeper::Block(new))
    }
}

/// Runs `body`, which decodes what lies in `block`: handles leave the block as they arrive.
///
/// For what is decoded once.
pub fn arriving_in<T>(block: Option<BlockId>, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<BlockId>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ARRIVING.set(self.0);
        }
    }
    let _restore = Restore(ARRIVING.replace(block));
    body()
}

/// Says that all handles in the block of [`arriving_in`] have arrived: nothing has to be swept up
/// when it is freed.
pub fn all_arrived() {
    if let Some(block) = ARRIVING.get()
        && let Some(family) = Family::existing()
    {
        family
            .arena()
            .tag(block.unit())
            .store(0, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Notes that a handle was encoded.
pub(super) fn board(object: &Object) {
    let depth = DEPTH.get();
    if depth == 0 {
        return;
    }
    BOARDED.with_borrow_mut(|boarded| {
        let known = |(at, other): &(u32, Object)| *at == depth && other == object;
        if !boarded.iter().rev().take(FEW).any(known) {
            boarded.push((depth, object.clone()));
            ANY.set(true);
        }
    });
}

/// Makes a handle of what was decoded.
pub(super) fn arrive(id: ObjectId, kind: Kind) -> Result<Object, ObjectError> {
    let object = Object::open(id, kind)?;
    if let Some(block) = ARRIVING.get()
        && let Some(family) = object.family()
    {
        Table::lock(family).let_go(id.place, id.number, Keeper::Block(block));
    }
    Ok(object)
}
