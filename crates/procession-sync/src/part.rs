//! `Part<T>`: a slice of shared memory that one process has at a time.
//!
//! # Safety
//!
//! A part's elements are reached through the one value that owns it: see the table below.
#![allow(unsafe_code, reason = "lends the elements to the owner of the part")]

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use procession_primitives::{Block, BlockId, Kind, Object, ObjectError, ObjectId, Shared};
use serde::{Deserialize, Serialize};

use crate::guarded::{Access, Data, Guarded, State as ArrayState};
use crate::handle::{CreateError, kinds, shared_state};
use crate::primitive::{Family, wake_low};
use crate::tally::Tally;
use crate::{ArrayGuard, Plain};

/// | `owner` | meaning | who leaves this state |
/// |---|---|---|
/// | 0 | on its way: encoded, and not decoded yet | whoever decodes it, or the sender's value if it is used again: by CAS to its member |
/// | a living member | one value of that process has it | that value, to 0 when it is encoded |
/// | a dead member | nobody's | whoever decodes it again: by CAS to its member |
///
/// A value that was encoded has no right to the elements any more, until it takes the part back.
#[repr(C)]
#[derive(Debug)]
struct State {
    owner: AtomicU64,
    /// Where the elements are, if they are not an array's; 0: behind these words.
    block: AtomicU64,
    start: AtomicU64,
    len: AtomicU64,
    /// Number of the array's entry for this part, plus 1; 0: not a part of an array.
    entry: AtomicU64,
}

shared_state!(State);

/// What an array knows of a part that it has lent out.
#[repr(C)]
#[derive(Debug)]
struct Entry {
    id: [AtomicU64; 3],
    /// 0: nobody has it; 1: somebody has; 2: it came back.
    state: AtomicU64,
}

shared_state!(Entry);

const LENT: u64 = 0;
const OWNED: u64 = 1;
const BACK: u64 = 2;

/// A slice of shared memory that one process has at a time, and that can be sent on.
///
/// Either a part of an [`Array`](crate::Array), made by [`ArrayGuard::into_parts`] to have several
/// processes work in place on one array; or memory of its own, made by [`new`](Self::new), to send
/// large messages without a copy: through a queue, as an argument, inside of any other value.
///
/// Sending is moving: there is no `Clone`, and the elements can only be reached by `&mut`. Nothing
/// but the part's name is encoded.
///
/// # Process death
///
/// A part whose owner dies is gone; the array it belongs to tells its next user
/// ([`LockError::OwnerDied`](crate::LockError::OwnerDied)). A task that is run again, because the
/// first worker died, may decode its part again.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::{Array, Part, Queue};
///
/// let array = Array::from_slice(&[1_u32; 1000])?;
/// let workers: Vec<_> = array
///     .lock()
///     .unwrap()
///     .into_parts(250)?
///     .into_iter()
///     .map(|part| Process::spawn(|mut part: Part<u32>| part.as_mut_slice().fill(2), part))
///     .collect::<Result<_, _>>()?;
/// for worker in workers {
///     worker.join()?;
/// }
/// assert!(array.lock().unwrap().iter().all(|&x| x == 2));
///
/// let queue = Queue::<Part<u8>>::bounded(4)?; // a message without a copy
/// let mut frame = Part::new(1 << 20)?;
/// frame.as_mut_slice()[0] = 7;
/// queue.put(frame)?;
/// assert_eq!(queue.get()?.as_mut_slice()[0], 7);
/// # Ok::<(), procession_sync::Error>(())
/// ```
#[doc(alias = "loan")]
#[doc(alias = "chunks_mut")]
pub struct Part<T: Plain> {
    object: Object,
    /// Kept for the elements' sake.
    array: Option<Object>,
    data: Data<T>,
    /// This value was encoded, and has no right to the elements.
    sent: AtomicBool,
}

impl<T: Plain> Part<T> {
    /// `len` elements of its own, all bits 0. Memory is used as it is written to.
    ///
    /// # Errors
    ///
    /// [`CreateError::OutOfMemory`]: arena or machine have less left than that.
    pub fn new(len: usize) -> Result<Part<T>, CreateError> {
        let family = Family::current()?;
        let (object, data, block) = Data::create(family, kind::<T>(), size_of::<State>(), len)?;
        let part = Part::owned(family, object, None, data);
        let state = part.state();
        state.block.store(block, Ordering::Relaxed);
        state.len.store(len as u64, Ordering::Relaxed);
        Ok(part)
    }

    /// `len` elements with whatever was there before: for what is written over anyway. Quicker than
    /// [`new`](Self::new), which has to see to zeros.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_leftovers(len: usize) -> Result<Part<T>, CreateError> {
        let family = Family::current()?;
        let object = Object::create(family, kind::<T>(), size_of::<State>())?;
        let bytes = len
            .checked_mul(size_of::<T>())
            .ok_or(CreateError::Invalid("more bytes than there can be"))?;
        let block = object.adopt(Block::new(family, bytes)?);
        // SAFETY: just made with room for it.
        let state = unsafe { object.get::<State>() };
        state.block.store(block.to_word(), Ordering::Relaxed);
        state.len.store(len as u64, Ordering::Relaxed);
        let data = Data::open(&object, size_of::<State>(), block.to_word(), len as u64)?;
        Ok(Part::owned(family, object, None, data))
    }

    /// A copy of `elements`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_slice(elements: &[T]) -> Result<Part<T>, CreateError> {
        let mut part = Self::new(elements.len())?;
        part.as_mut_slice().copy_from_slice(elements);
        Ok(part)
    }

    fn owned(family: &Family, object: Object, array: Option<Object>, data: Data<T>) -> Part<T> {
        let part = Part {
            object,
            array,
            data,
            sent: AtomicBool::new(false),
        };
        let me = Tally::word(family.me());
        part.state().owner.store(me, Ordering::Relaxed);
        part
    }

    fn state(&self) -> &State {
        // SAFETY: made with a state in front.
        unsafe { self.object.get::<State>() }
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the elements begin in the array that this is a part of; 0 of one that is of its own.
    #[must_use]
    pub fn start(&self) -> usize {
        self.state().start.load(Ordering::Relaxed) as usize
    }

    /// The elements.
    ///
    /// # Panics
    ///
    /// If the part was sent to somebody who has it now.
    #[track_caller]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        assert!(self.is_here(), "the part of the array was sent elsewhere");
        // SAFETY: this value has the part, and `&mut self` makes the borrow exclusive: encoding
        // takes `&self`, so nobody else gets it meanwhile.
        unsafe { self.data.slice_mut() }
    }

    /// Whether this value has the part; takes it back if it was encoded and nobody has it.
    fn is_here(&self) -> bool {
        let Some(family) = self.object.family() else {
            return false;
        };
        if !self.sent.load(Ordering::Relaxed) {
            return Tally::word(family.me()) == self.state().owner.load(Ordering::Relaxed);
        }
        let back = claim(family, self.state(), false);
        if back {
            self.sent.store(false, Ordering::Relaxed);
            self.note(OWNED);
        }
        back
    }

    /// Tells the array how the part stands.
    fn note(&self, stand: u64) {
        let index = self.state().entry.load(Ordering::Relaxed);
        if let (Some(array), Some(index)) = (&self.array, index.checked_sub(1))
            && let Some(entry) = entry(array, index)
        {
            entry.state.store(stand, Ordering::Release);
        }
    }
}

fn kind<T>() -> Kind {
    Kind::of::<T>(kinds::PART).announced()
}

/// Makes this process the owner, if nobody is. `again`: also in place of a dead one.
fn claim(family: &Family, state: &State, again: bool) -> bool {
    let owner = state.owner.load(Ordering::Relaxed);
    let dead = Tally::member(owner).is_some_and(|member| !family.is_alive(member));
    let free = owner == 0 || again && dead;
    // Acquire: pairs with the Release of `serialize`: what the last owner wrote is seen.
    free && state
        .owner
        .compare_exchange(
            owner,
            Tally::word(family.me()),
            Ordering::Acquire,
            Ordering::Relaxed,
        )
        .is_ok()
}

/// The array's entry `index` for its parts.
fn entry(array: &Object, index: u64) -> Option<&'static Entry> {
    let family = array.family()?;
    // SAFETY: an array begins with this state.
    let state = unsafe { array.get::<ArrayState>() };
    let block = BlockId::from_word(state.parts.load(Ordering::Acquire))?;
    let (offset, len) = array.locate(block)?;
    let at = index.checked_mul(size_of::<Entry>() as u64)?;
    if at + size_of::<Entry>() as u64 > len as u64 {
        return None;
    }
    // SAFETY: the block holds entries only, and lives as long as parts refer to it.
    unsafe { family.arena().get(offset + at) }
}

const _: () = {
    const fn shared<T: Shared>() {}
    shared::<Entry>();
};

impl<'a, T: Plain> ArrayGuard<'a, T> {
    /// Cuts the array into parts of `len` elements, the last one may be shorter, and lets go of
    /// the lock. Whoever wants the lock next waits until all parts are dropped, or dead.
    ///
    /// # Errors
    ///
    /// [`CreateError::Invalid`]: `len` is 0; [`CreateError::OutOfMemory`]. The array is as it was.
    pub fn into_parts(self, len: usize) -> Result<Vec<Part<T>>, CreateError> {
        if len == 0 {
            return Err(CreateError::Invalid("a part needs at least one element"));
        }
        let (_, array, _) = self.access().parts();
        let family = array
            .family()
            .ok_or(CreateError::Invalid("of another family"))?;
        let count = self.len().div_ceil(len);
        let block = Block::zeroed(family, count.max(1) * size_of::<Entry>())?;
        let mut parts = Vec::with_capacity(count);
        for index in 0..count {
            let start = index * len;
            let object = Object::create(family, kind::<T>(), size_of::<State>())?;
            let data = self
                .access()
                .data()
                .part(start, len.min(self.len() - start));
            let part = Part::owned(family, object, Some(array.clone()), data);
            let state = part.state();
            state.start.store(start as u64, Ordering::Relaxed);
            state.len.store(data.len() as u64, Ordering::Relaxed);
            parts.push(part);
        }
        // SAFETY: an array begins with this state.
        let state = unsafe { array.get::<ArrayState>() };
        let block = array.adopt(block);
        state.parts_len.store(count as u64, Ordering::Relaxed);
        // Release: with the count. From here on the array is lent out.
        state.parts.store(block.to_word(), Ordering::Release);
        for (index, part) in (0..).zip(&parts) {
            part.state().entry.store(index + 1, Ordering::Relaxed);
            if let Some(entry) = entry(array, index) {
                for (word, value) in entry.id.iter().zip(part.object.id().to_words()) {
                    word.store(value, Ordering::Relaxed);
                }
                entry.state.store(OWNED, Ordering::Release);
            }
        }
        Ok(parts)
    }
}

/// How the parts of an array stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// Somebody has one, or it is on its way.
    Out,
    /// All are back.
    Back,
    /// None is out, but some owner died with one.
    OwnerDied,
}

/// Looks after the parts of an array whose lock is held.
pub(crate) fn settle<T: Plain>(access: &Access<'_, T>) -> Parts {
    let (_, array, _) = access.parts();
    let guarded: &Guarded<T> = access.guarded();
    let state = guarded.state();
    let count = state.parts_len.load(Ordering::Relaxed);
    let mut died = false;
    for entry in (0..count).filter_map(|index| entry(array, index)) {
        let stand = entry.state.load(Ordering::Acquire);
        if stand == BACK {
            continue;
        }
        let id = [0, 1, 2].map(|index| entry.id[index].load(Ordering::Relaxed));
        let standing = Object::standing(ObjectId::from_words(id));
        if standing.here || standing.elsewhere {
            return Parts::Out;
        }
        // Looked at again: its owner may have dropped it in between.
        died |= entry.state.load(Ordering::Acquire) == OWNED;
    }
    let block = BlockId::from_word(state.parts.swap(0, Ordering::Relaxed));
    if let Some(block) = block {
        // SAFETY: no part is left to refer to it.
        unsafe { array.free_part(block) };
    }
    // Others may wait for the parts, too; from now on they wait for the lock.
    wake_low(&state.parts, u32::MAX);
    if died { Parts::OwnerDied } else { Parts::Back }
}

impl<T: Plain> Drop for Part<T> {
    fn drop(&mut self) {
        let Some(family) = self.object.family() else {
            return;
        };
        let mine = !self.sent.load(Ordering::Relaxed)
            && self.state().owner.load(Ordering::Relaxed) == Tally::word(family.me());
        if mine {
            self.note(BACK);
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("start", &self.start())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<T: Plain> Serialize for Part<T> {
    /// Sends the part on: this value has it no more, unless nobody takes it.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_here() {
            return Err(serde::ser::Error::custom("the part was sent elsewhere"));
        }
        let encoded = (&self.object, &self.array).serialize(serializer)?;
        self.note(LENT);
        self.sent.store(true, Ordering::Relaxed);
        // Release: whoever takes it sees what was written.
        self.state().owner.store(0, Ordering::Release);
        Ok(encoded)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Part<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        struct Lent<T>(Object, std::marker::PhantomData<T>);
        impl<'de, T: Plain> Deserialize<'de> for Lent<T> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let kind = Kind::of::<T>(kinds::ARRAY);
                let object = Object::deserialize_as(kind, deserializer)?;
                Ok(Lent(object, std::marker::PhantomData))
            }
        }
        struct Own<T>(Object, std::marker::PhantomData<T>);
        impl<'de, T: Plain> Deserialize<'de> for Own<T> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let object = Object::deserialize_as(kind::<T>(), deserializer)?;
                Ok(Own(object, std::marker::PhantomData))
            }
        }
        let (own, lent) = <(Own<T>, Option<Lent<T>>)>::deserialize(deserializer)?;
        let (object, array) = (own.0, lent.map(|lent| lent.0));
        // SAFETY: the kind says that it was made with a state in front.
        let state = unsafe { object.get::<State>() };
        let (start, len) = (&state.start, state.len.load(Ordering::Relaxed));
        let data = match &array {
            None => {
                let block = state.block.load(Ordering::Relaxed);
                Data::open(&object, size_of::<State>(), block, len)
            }
            Some(array) => Guarded::<T>::from_object(array.clone()).and_then(|array| {
                let (start, len) = (start.load(Ordering::Relaxed) as usize, len as usize);
                let whole = array.data();
                let fits = start <= whole.len() && len <= whole.len() - start;
                fits.then(|| whole.part(start, len))
                    .ok_or(ObjectError::WrongKind)
            }),
        };
        let data = data.map_err(D::Error::custom)?;
        let family = object.family().ok_or(ObjectError::Foreign);
        if !claim(family.map_err(D::Error::custom)?, state, true) {
            return Err(D::Error::custom("another process has this part"));
        }
        let part = Part {
            object,
            array,
            data,
            sent: AtomicBool::new(false),
        };
        part.note(OWNED);
        Ok(part)
    }
}
