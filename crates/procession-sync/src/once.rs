//! `Once` and `OnceLock<T>`: what one process does for all.
//!
//! # Safety
//!
//! The value is written by the one that runs, and read when it is done.
#![allow(unsafe_code, reason = "lends a value that is written once")]

use std::fmt;

use procession_primitives::{Kind, Object, ObjectError};

use crate::Plain;
use crate::error::Foreign;
use crate::guarded::Data;
use crate::handle::{self, CreateError, handle, kinds, shared_state};
use crate::primitive::{AtomicU64, Family, Holder, Ordering, park_low, wake_low};

/// | word | meaning | who leaves this state |
/// |---|---|---|
/// | 0 | not done | anybody, by CAS to itself |
/// | holder | that one does it | it, to `DONE`, or to 0 if it panics; if it is dead, anybody by CAS to itself |
/// | holder `\| WAITERS` | as above, and somebody may sleep | as above, and wakes |
/// | `DONE` | done | nobody |
const DONE: u64 = 1 << 30;
const WAITERS: u64 = 1 << 31;

#[repr(C)]
#[derive(Debug)]
struct State {
    word: AtomicU64,
    block: AtomicU64,
    pad: [AtomicU64; 2],
}

shared_state!(State);
handle!(Once, State, Kind::new(kinds::ONCE));

/// Something that is done once in all processes together.
///
/// # Process death
///
/// If the process that does it dies, or panics, it is not done: the next one does it, from the
/// beginning.
///
/// # Examples
///
/// ```
/// let prepared = procession_sync::Once::new()?;
/// prepared.call_once(|| println!("once"))?;
/// prepared.call_once(|| unreachable!())?;
/// assert!(prepared.is_completed());
/// # Ok::<(), procession_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct Once {
    object: Object,
}

impl State {
    fn is_done(&self) -> bool {
        // Acquire: whoever sees it done sees what was done.
        self.word.load(Ordering::Acquire) & DONE != 0
    }

    /// Runs `first` unless it was run, or waits for whoever runs it.
    fn call(&self, object: &Object, first: impl FnOnce()) -> Result<(), Foreign> {
        if self.is_done() {
            return Ok(());
        }
        let family = object.family().ok_or(Foreign)?;
        let me = family.holder();
        if self.begin(object, family, me) {
            /// What is to be stored at the end, also if `first` panics.
            struct Finish<'a>(&'a State, u64);
            impl Drop for Finish<'_> {
                fn drop(&mut self) {
                    // Release: pairs with the Acquire of `is_done`.
                    if self.0.word.swap(self.1, Ordering::Release) & WAITERS != 0 {
                        wake_low(&self.0.word, u32::MAX);
                    }
                }
            }
            let mut finish = Finish(self, 0);
            first();
            finish.1 = DONE;
        }
        Ok(())
    }

    /// True: it is this thread's to do. False: it is done.
    fn begin(&self, object: &Object, family: &'static Family, me: Holder) -> bool {
        let mut waiting = None;
        loop {
            let news = family.news();
            let word = self.word.load(Ordering::Acquire);
            if word & DONE != 0 {
                return false;
            }
            let holder = Holder::from_word(word);
            assert!(
                holder != Some(me),
                "what is done once must not wait for itself"
            );
            if holder.is_none_or(|holder| !family.is_alive(holder.member())) {
                let mine = me.to_word() | word & WAITERS;
                // Acquire: what was begun before is seen.
                let taken =
                    self.word
                        .compare_exchange(word, mine, Ordering::Acquire, Ordering::Relaxed);
                if taken.is_ok() {
                    return true;
                }
                continue;
            }
            let marked = word | WAITERS;
            let done = word == marked
                || self
                    .word
                    .compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if done {
                waiting.get_or_insert_with(|| family.wait_on(object.id().number()));
                park_low(family, &self.word, marked, news, None);
            }
        }
    }
}

impl Once {
    /// Makes one that is not done.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new() -> Result<Once, CreateError> {
        let (object, _) = handle::create::<State>(Kind::new(kinds::ONCE))?;
        Ok(Once { object })
    }

    fn from_object(object: Object) -> Result<Once, ObjectError> {
        Ok(Once { object })
    }

    /// Runs `first` if nobody has; waits while somebody does. It is done when this returns.
    ///
    /// # Errors
    ///
    /// [`Foreign`]: this process does not belong to the family.
    ///
    /// # Panics
    ///
    /// If `first` does, which then is not done; or if `first` calls this for the same object.
    pub fn call_once(&self, first: impl FnOnce()) -> Result<(), Foreign> {
        self.state().call(&self.object, first)
    }

    /// Whether it is done.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.state().is_done()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("completed", &self.is_completed())
            .finish()
    }
}

/// A value of plain data that one process writes once, and all read in place.
///
/// # Process death
///
/// As [`Once`].
///
/// # Examples
///
/// ```
/// use procession_sync::OnceLock;
///
/// let seed = OnceLock::<u64>::new()?;
/// assert_eq!(seed.get(), None);
/// assert_eq!(*seed.get_or_init(|| 42)?, 42);
/// assert_eq!(seed.set(7)?, Err(7));
/// # Ok::<(), procession_sync::Error>(())
/// ```
pub struct OnceLock<T> {
    object: Object,
    data: Data<T>,
}

impl<T: Plain> OnceLock<T> {
    /// Makes one without a value.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new() -> Result<OnceLock<T>, CreateError> {
        let family = Family::current()?;
        let kind = Kind::of::<T>(kinds::ONCE_LOCK);
        let (object, data, block) = Data::create(family, kind, size_of::<State>(), 1)?;
        let made = OnceLock { object, data };
        made.state().block.store(block, Ordering::Relaxed);
        Ok(made)
    }

    fn state(&self) -> &State {
        // SAFETY: made with a state in front.
        unsafe { self.object.get::<State>() }
    }

    /// The value, if it was written.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: once it is done nobody writes any more.
        self.state()
            .is_done()
            .then(|| unsafe { &self.data.slice()[0] })
    }

    /// The value, written now by `first` if nobody has.
    ///
    /// # Errors
    ///
    /// [`Foreign`]: this process does not belong to the family.
    ///
    /// # Panics
    ///
    /// As [`Once::call_once`].
    pub fn get_or_init(&self, first: impl FnOnce() -> T) -> Result<&T, Foreign> {
        self.state().call(&self.object, || {
            let value = first();
            // SAFETY: only the one that does it comes here, and others read when it is done.
            let place = unsafe { self.data.slice_mut() };
            place[0] = value;
        })?;
        self.get().ok_or(Foreign)
    }

    /// Writes the value, if nobody has; else gives it back.
    ///
    /// # Errors
    ///
    /// [`Foreign`]: this process does not belong to the family.
    pub fn set(&self, value: T) -> Result<Result<(), T>, Foreign> {
        let mut written = false;
        self.get_or_init(|| {
            written = true;
            value
        })?;
        Ok(if written { Ok(()) } else { Err(value) })
    }
}

impl<T> Clone for OnceLock<T> {
    fn clone(&self) -> Self {
        OnceLock {
            object: self.object.clone(),
            data: self.data,
        }
    }
}

impl<T> PartialEq for OnceLock<T> {
    /// Whether both are handles of one object.
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl<T> Eq for OnceLock<T> {}

impl<T: Plain + fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}

impl<T> serde::Serialize for OnceLock<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T: Plain> serde::Deserialize<'de> for OnceLock<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize_as(Kind::of::<T>(kinds::ONCE_LOCK), deserializer)?;
        // SAFETY: the kind says that it was made with a state in front.
        let block = unsafe { object.get::<State>() }
            .block
            .load(Ordering::Relaxed);
        let data = Data::open(&object, size_of::<State>(), block, 1);
        let data = data.map_err(serde::de::Error::custom)?;
        Ok(OnceLock { object, data })
    }
}
