//! Handles on their way: what is encoded is kept until it has been decoded or thrown away.

use std::cell::{Cell, RefCell};

use super::holder::Keeper;
use super::table::Table;
use super::{CARRIER, Kind, Object, ObjectError, ObjectId};
use crate::arena::BlockId;
use crate::family::Family;

thread_local! {
    static BOARDING: RefCell<Option<Vec<Object>>> = const { RefCell::new(None) };
    static ARRIVING: Cell<Option<BlockId>> = const { Cell::new(None) };
}

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
pub fn boarding<T>(body: impl FnOnce() -> T) -> (T, Passengers) {
    /// Puts back what was there before, also when `body` panics.
    struct Restore(Option<Vec<Object>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let _ = BOARDING.replace(self.0.take());
        }
    }
    let restore = Restore(BOARDING.replace(Some(Vec::new())));
    let result = body();
    let boarded = BOARDING.with_borrow_mut(Option::take).unwrap_or_default();
    drop(restore);
    (result, Passengers(boarded))
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
    BOARDING.with_borrow_mut(|boarding| {
        if let Some(boarding) = boarding
            && !boarding.contains(object)
        {
            boarding.push(object.clone());
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
