//! Shared objects: small pieces of the arena that live as long as somebody has a handle.
//!
//! A lock, a counter, the head of a queue: each is an [`Object`]. A process has at most one
//! [`Object`] per object (clones share it), so shared memory knows of processes only, not of
//! clones; and it knows them one by one, so that a dead one is told from a living one. A handle
//! that is on its way, encoded in a block, is kept by that block. An object is freed when nobody
//! keeps it any more, be it dropped or dead.
//!
//! # Safety
//!
//! References into an object live no longer than the handle.
#![allow(unsafe_code, reason = "lends references into shared objects")]

mod carry;
mod holder;
mod pages;
mod sweep;
mod table;

use std::collections::HashMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use carry::{Passengers, all_arrived, arriving_in, boarding, take_boarded};
pub use holder::Holder;
pub(crate) use table::ObjectState;

use crate::arena::{Arena, Block, BlockId, OutOfMemory, Shared};
use crate::family::Family;
use crate::member::{MemberId, OBJECTS};
use holder::Keeper;
use table::{HEADER, LARGEST, Slot, Table};

/// Tags of blocks that belong to no object, but to the table.
pub(crate) const PAGE: u64 = u64::MAX - 1;
/// Tag of a block that carries handles.
pub(crate) const CARRIER: u64 = u64::MAX;

/// Whether a block with this tag is, or was about to be, a part of an object.
pub(crate) fn is_number(tag: u64) -> bool {
    tag != 0 && tag < PAGE
}

/// The name of an object: plain data that can be sent to any member, and keeps nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    family: u64,
    place: u32,
    number: u64,
}

impl ObjectId {
    /// A number that no other object of the family ever has.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number
    }

    /// As words, for a place in shared memory.
    #[must_use]
    pub fn to_words(self) -> [u64; 3] {
        [self.family, u64::from(self.place), self.number]
    }

    /// The name that [`to_words`](Self::to_words) gave.
    #[must_use]
    pub fn from_words([family, place, number]: [u64; 3]) -> ObjectId {
        ObjectId {
            family,
            place: place as u32,
            number,
        }
    }
}

/// Who keeps an object at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Standing {
    /// This process does.
    pub here: bool,
    /// Another process, or a message, does.
    pub elsewhere: bool,
    /// Somebody besides its maker ever did.
    pub was_shared: bool,
}

/// What sort of object it is: a number of the layer's own, and one that tells apart what the
/// handles of one sort may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    number: u32,
    type_tag: u64,
    announced: bool,
    counts_crashes: bool,
}

impl Kind {
    /// The sort `number`, for one type only.
    #[must_use]
    pub const fn new(number: u32) -> Kind {
        Kind {
            number,
            type_tag: 0,
            announced: false,
            counts_crashes: false,
        }
    }

    /// The same, of which it is counted how many of those that kept an object were killed or
    /// failed: see [`Object::crashes`].
    #[must_use]
    pub const fn counting_crashes(mut self) -> Kind {
        self.counts_crashes = true;
        self
    }

    /// The same, of which the family has news when all but one have let go of an object: for
    /// those that wait for that.
    #[must_use]
    pub const fn announced(mut self) -> Kind {
        self.announced = true;
        self
    }

    /// The sort `number`, of a `T`: a handle for another type is refused.
    #[must_use]
    pub fn of<T>(number: u32) -> Kind {
        // FNV-1a, with the size: an accidental match can do no harm where sizes are the same.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in std::any::type_name::<T>().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let size = size_of::<T>() as u64;
        let type_tag = hash & !0xffff_ffff | size & 0xffff_ffff;
        Kind {
            number,
            type_tag,
            announced: false,
            counts_crashes: false,
        }
    }
}

/// A handle cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectError {
    /// The object belongs to another family: handles are for processes of one program only. Also
    /// in a process that was forked by other means than ours.
    Foreign,
    /// The object is gone: nobody kept it.
    Freed,
    /// The object is of another kind or for another type.
    WrongKind,
    /// There is no shared memory left.
    OutOfMemory(OutOfMemory),
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("the handle belongs to another family of processes"),
            Self::Freed => f.write_str("the shared object is gone: no process held it any more"),
            Self::WrongKind => f.write_str("the handle belongs to a shared object of another type"),
            Self::OutOfMemory(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ObjectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfMemory(error) => Some(error),
            _ => None,
        }
    }
}

impl From<OutOfMemory> for ObjectError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

/// A handle of a shared object.
///
/// # Drop
///
/// The last handle of the last process frees the object.
///
/// # Process death
///
/// A dead process keeps nothing; the family's supervisor sees to that.
#[derive(Clone)]
pub struct Object(Arc<Inner>);

// SAFETY: an address in shared memory, which means the same to all threads; what lies there is
// reached as `Shared` only.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

struct Inner {
    arena: &'static Arena,
    id: ObjectId,
    offset: u64,
    /// Where the object's bytes are in this process.
    at: NonNull<u8>,
    slot: &'static Slot,
    /// For the layer above, about this process.
    marks: AtomicU32,
}

/// The objects that this process has, by place.
static PRESENT: Mutex<Option<HashMap<u32, Weak<Inner>>>> = Mutex::new(None);

type Present = MutexGuard<'static, Option<HashMap<u32, Weak<Inner>>>>;

fn present() -> Present {
    PRESENT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("id", &self.0.id).finish()
    }
}

impl PartialEq for Object {
    /// Whether both are handles of one object.
    fn eq(&self, other: &Object) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Object {}

impl Object {
    /// Most bytes of an object.
    pub const LARGEST: usize = LARGEST;

    /// Makes an object of `size` bytes, all 0.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]; also for more than [`LARGEST`](Self::LARGEST) bytes.
    pub fn create(family: &'static Family, kind: Kind, size: usize) -> Result<Object, OutOfMemory> {
        let mut present = present();
        let (id, offset) = Table::lock(family).create(kind, size)?;
        let refused = OutOfMemory::new(size);
        Self::enter(&mut present, family, id, offset).ok_or(refused)
    }

    fn enter(
        present: &mut Present,
        family: &'static Family,
        id: ObjectId,
        offset: u64,
    ) -> Option<Object> {
        let arena = family.arena();
        // SAFETY: an object that this process keeps starts there.
        let slot = unsafe { arena.get(offset) }?;
        let inner = Arc::new(Inner {
            arena,
            id,
            offset: offset + HEADER as u64,
            at: arena.address(offset + HEADER as u64, LARGEST)?,
            slot,
            marks: AtomicU32::new(0),
        });
        present
            .get_or_insert_default()
            .insert(id.place, Arc::downgrade(&inner));
        Some(Object(inner))
    }

    /// A handle of the object `id`.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Foreign`], [`ObjectError::Freed`], [`ObjectError::WrongKind`].
    pub fn open(id: ObjectId, kind: Kind) -> Result<Object, ObjectError> {
        let family = Family::current().map_err(|_| ObjectError::Foreign)?;
        if family.arena().family_number() != id.family {
            return Err(ObjectError::Foreign);
        }
        let mut present = present();
        let table = Table::lock(family);
        let offset = table.check(id, kind)?;
        let known = present.as_ref().and_then(|known| known.get(&id.place));
        if let Some(inner) = known.and_then(Weak::upgrade)
            && inner.id == id
        {
            drop(table);
            return Ok(Object(inner));
        }
        table.keep(id.place, id.number, Keeper::Member(family.me()))?;
        drop(table);
        Self::enter(&mut present, family, id, offset).ok_or(ObjectError::Freed)
    }

    /// The name of the object.
    #[must_use]
    #[inline]
    pub fn id(&self) -> ObjectId {
        self.0.id
    }

    /// The family, as long as this process takes part in it.
    ///
    /// `None` in a process that was forked by other means than ours: it is a program of its own.
    #[must_use]
    #[inline]
    pub fn family(&self) -> Option<&'static Family> {
        let family = Family::existing()?;
        std::ptr::eq(family.arena(), self.0.arena).then_some(family)
    }

    /// The object's bytes as a `T`.
    ///
    /// # Safety
    ///
    /// The object was created with room for a `T`, and is never used as anything else.
    #[must_use]
    #[inline]
    pub unsafe fn get<T: Shared>(&self) -> &T {
        const { assert!(size_of::<T>() <= LARGEST && align_of::<T>() <= 64) };
        // SAFETY: the caller says what lies there, aligned as objects are; this handle keeps it;
        // `Shared` allows changes by others.
        unsafe { self.0.at.cast::<T>().as_ref() }
    }

    /// Where the object's bytes are in the arena.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// Makes `block` a part of the object: it is freed with it.
    #[must_use]
    pub fn adopt(&self, block: Block) -> BlockId {
        self.0.slot.adopt(self.0.arena, block)
    }

    /// Takes a part of the object back. `None` where it is none.
    ///
    /// A `carrier` may have handles on board: see [`arriving_in`].
    #[must_use]
    pub fn part(&self, family: &'static Family, id: BlockId, carrier: bool) -> Option<Block> {
        self.0.slot.part(family, id, carrier)
    }

    /// Frees a part of the object. Nothing happens where it is none.
    ///
    /// # Safety
    ///
    /// Nobody uses the block any more.
    pub unsafe fn free_part(&self, id: BlockId) {
        // SAFETY: as promised by the caller.
        unsafe { self.0.arena.free_for(id, OBJECTS) };
    }

    /// Whether `id` is a part of an object.
    #[must_use]
    pub fn has_part(&self, id: BlockId) -> bool {
        self.0.arena.owns(id, OBJECTS).is_some()
    }

    /// Where a part of the object lies in the arena, and its length in bytes.
    #[must_use]
    pub fn locate(&self, id: BlockId) -> Option<(u64, usize)> {
        let len = self.0.arena.owns(id, OBJECTS)?;
        Some((self.0.arena.unit_at(id.unit()), len))
    }

    /// The members that have the object, this one included.
    #[must_use]
    pub fn members(&self) -> Vec<MemberId> {
        let Some(family) = self.family() else {
            return Vec::new();
        };
        let keepers = Table::lock(family).living_keepers(self.0.id.place, self.0.id.number);
        let members = keepers.into_iter().filter_map(|keeper| match keeper {
            Keeper::Member(member) => Some(member),
            Keeper::Block(_) => None,
        });
        members.collect()
    }

    /// How many members were killed, or ended with an exit code other than 0, while they kept the
    /// object; only for a kind that counts them. Changes with news of the death.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.0.slot.crashes()
    }

    /// A word for all handles of this process, 0 at first.
    #[must_use]
    #[inline]
    pub fn marks(&self) -> &AtomicU32 {
        &self.0.marks
    }

    /// How many handles this process has.
    #[must_use]
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Who keeps the object `id`, which may be gone.
    #[must_use]
    pub fn standing(id: ObjectId) -> Standing {
        let Some(family) = Family::existing() else {
            return Standing::default();
        };
        if family.arena().family_number() != id.family {
            return Standing::default();
        }
        let me = Keeper::Member(family.me()).to_word();
        let table = Table::lock(family);
        let keepers = table.living_keepers(id.place, id.number);
        Standing {
            here: keepers.iter().any(|keeper| keeper.to_word() == me),
            elsewhere: keepers.iter().any(|keeper| keeper.to_word() != me),
            was_shared: table.was_shared(id.place, id.number),
        }
    }

    /// Reads a handle of `kind` from `deserializer`.
    ///
    /// # Errors
    ///
    /// That of the deserialiser, or the text of an [`ObjectError`].
    pub fn deserialize_as<'de, D: Deserializer<'de>>(
        kind: Kind,
        deserializer: D,
    ) -> Result<Object, D::Error> {
        let id = ObjectId::deserialize(deserializer)?;
        carry::arrive(id, kind).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Object {
    /// Writes the name. Inside of what this library sends, the object is kept on its way.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.family().is_none() {
            return Err(serde::ser::Error::custom(ObjectError::Foreign));
        }
        carry::board(self);
        self.0.id.serialize(serializer)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut present = present();
        let Some(known) = present.as_mut() else {
            return;
        };
        // A newer handle may have taken this one's place, and what it keeps.
        let mine = known
            .get(&self.id.place)
            .is_some_and(|weak| std::ptr::eq(weak.as_ptr(), self));
        if !mine {
            return;
        }
        known.remove(&self.id.place);
        // In a copy of the process that does not take part nothing was kept.
        if let Some(family) = Family::existing()
            && std::ptr::eq(family.arena(), self.arena)
        {
            let me = Keeper::Member(family.me());
            Table::lock(family).let_go(self.id.place, self.id.number, me);
        }
    }
}

/// Has member `to`, a fork of this process to be, keep whatever this process does.
pub(crate) fn bequeath(family: &Family, to: MemberId) {
    let present = present();
    let ids = present
        .iter()
        .flatten()
        .filter_map(|(_, weak)| weak.upgrade());
    let inners: Vec<_> = ids.collect();
    let table = Table::lock(family);
    for inner in &inners {
        // What cannot be kept is lost to the fork: its handle says so.
        let _ = table.keep(inner.id.place, inner.id.number, Keeper::Member(to));
    }
    drop(table);
    // Before `inners`: the last of them may have become ours to drop.
    drop(present);
}

impl Family {
    /// The objects of sort `kind`, and where their bytes are in the arena: for diagnostics.
    #[must_use]
    pub fn objects(&self, kind: u32) -> Vec<(ObjectId, u64)> {
        self.objects_of(kind)
    }
}
