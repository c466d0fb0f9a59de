//! [`SharedMemory`]: bytes that several processes see at once, by name or by descriptor.
#![allow(
    unsafe_code,
    reason = "hands out slices of memory that other processes may write, on the caller's promise"
)]

mod anonymous;
mod available;
mod error;
mod header;
pub(crate) mod hooks;
mod janitor;
mod label;
mod named;
mod region;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::atomic::{AtomicU32, AtomicU64},
};

use rustix::fd::{BorrowedFd, OwnedFd};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

#[allow(unused_imports, reason = "called by the supervisor")]
pub(crate) use self::available::available_memory;
pub use self::available::total_memory;
pub use self::error::SharedMemoryError;
pub(crate) use self::hooks::{for_each_live, unlink_if};
use self::{
    anonymous::Anonymous,
    named::{Expect, Named},
    region::Region,
};

/// Memory that several processes see at once.
///
/// | | named: [`create`](Self::create) | anonymous: [`anonymous`](Self::anonymous) |
/// |---|---|---|
/// | reached by | whoever knows the name, other languages too | whoever is given the descriptor |
/// | lives in | `/dev/shm`, often limited in containers | memory only |
/// | pages | taken when made; later use cannot fail | taken at the first touch |
/// | after SIGKILL of its creator | removed by the supervisor, or by the next [`create`](Self::create) | gone with its last user |
/// | a peer may shrink it | yes, and then touching it is a SIGBUS: let only those attach whom you trust | no, it is sealed |
///
/// New memory is zero. Copies ([`read_at`](Self::read_at), [`write_at`](Self::write_at)) are safe while other processes
/// write, but have no order among each other: publish with a lock of Procession, or with an
/// [`atomic_u32`](Self::atomic_u32) stored with `Release` and loaded with `Acquire`.
///
/// # Python
///
/// A named segment is what `multiprocessing.shared_memory.SharedMemory` makes and attaches to. The data starts at
/// offset 0. Python's `.size` of one of ours is larger than [`len`](Self::len): rounded up to whole pages, and one more
/// page for the mark of this library; leave that last page alone. Attach in Python with
/// `SharedMemory(name, track=False)`. Before Python 3.13 there is no `track`, and the interpreter's resource tracker
/// *removes the name* when that interpreter ends, unless told otherwise:
///
/// ```python
/// memory = shared_memory.SharedMemory("frames")
/// resource_tracker.unregister("/frames", "shared_memory")     # from multiprocessing; Python 3.8 to 3.12
/// ```
///
/// To attach to a segment that Python (or C) made, use [`open_foreign`](Self::open_foreign).
///
/// # Sending it
///
/// A named segment serialises as its name and is attached again where it is deserialised, provided that it is still the
/// same segment. Anonymous memory refuses to be serialised: send its descriptor ([`as_fd`](Self::as_fd),
/// [`from_fd`](Self::from_fd)).
///
/// # Process death
///
/// If the creator of a named segment dies, its name is removed; whoever is attached keeps the memory.
/// [`persist`](Self::persist) keeps the name. The contents are as the dead process left them.
///
/// # Drop
///
/// Unmaps the memory. The creator's handle also removes the name, if it still leads to this segment: never a
/// stranger's. The copy of the handle in a forked process removes nothing. Neither waits.
///
/// # Examples
///
/// ```
/// use procession_primitives::SharedMemory;
///
/// let name = format!("doc-frames-{}", std::process::id());
/// let memory = SharedMemory::create(&name, 1 << 20)?;
/// memory.write_at(0, b"first frame")?;
///
/// let attached = SharedMemory::open(&name)?; // usually in another process
/// let mut frame = [0; 11];
/// attached.read_at(0, &mut frame)?;
/// assert_eq!(&frame, b"first frame");
/// # Ok::<(), procession_primitives::SharedMemoryError>(())
/// ```
#[doc(alias = "shm")]
#[doc(alias = "memfd")]
pub struct SharedMemory {
    region: Region,
    backing: Backing,
}

enum Backing {
    Named(Named),
    Anonymous(Anonymous),
}

impl SharedMemory {
    /// Makes a named segment of `size` bytes, all zero, with mode 0600.
    ///
    /// `name` is as in Python: at most 250 bytes, no slash, no zero byte. The segment appears under its name complete;
    /// nobody can attach to one half made.
    ///
    /// All pages are taken now, so that running out of memory is an error here and not a SIGBUS later. That costs
    /// time: about 0.2 s per GiB. Whether so much is free is checked first.
    ///
    /// The first call in a process also does what [`remove_stale`](Self::remove_stale) does.
    ///
    /// # Errors
    ///
    /// - [`SharedMemoryError::AlreadyExists`]: the name is taken (but see below).
    /// - [`SharedMemoryError::InvalidName`], [`SharedMemoryError::ZeroSize`].
    /// - [`SharedMemoryError::OutOfMemory`], [`SharedMemoryError::NoSpace`]: more than the machine, its control group or
    ///   `/dev/shm` has free. The size counts with up to two pages of bookkeeping.
    /// - [`SharedMemoryError::Os`]: anything else.
    ///
    /// # Process death
    ///
    /// If this process is killed, its supervisor removes the name. If that is killed too, the name stays until
    /// any process of this user calls `create` for the first time, or creates the same name, or calls
    /// [`remove_stale`](Self::remove_stale): a segment whose creator is dead is no obstacle, but removed
    /// and replaced.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{SharedMemory, SharedMemoryError};
    ///
    /// let name = format!("doc-create-{}", std::process::id());
    /// let memory = SharedMemory::create(&name, 100)?;
    /// assert_eq!(memory.len(), 100);
    /// assert!(matches!(SharedMemory::create(&name, 100), Err(SharedMemoryError::AlreadyExists { .. })));
    /// # Ok::<(), SharedMemoryError>(())
    /// ```
    pub fn create(name: &str, size: usize) -> Result<Self, SharedMemoryError> {
        Self::builder().create(name, size)
    }

    /// Makes a named segment like [`create`](Self::create), under a new name of the form `procession_` and 16
    /// hexadecimal digits; see [`name`](Self::name). What Python does without a name.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), without those about the name.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::SharedMemory;
    ///
    /// let memory = SharedMemory::create_unique(100)?;
    /// assert!(memory.name().is_some_and(|name| name.starts_with("procession_")));
    /// # Ok::<(), procession_primitives::SharedMemoryError>(())
    /// ```
    pub fn create_unique(size: usize) -> Result<Self, SharedMemoryError> {
        Self::builder().create_unique(size)
    }

    /// Starts a segment with options.
    ///
    /// # Examples
    ///
    /// See [`SharedMemoryBuilder`].
    pub fn builder() -> SharedMemoryBuilder {
        SharedMemoryBuilder { persist: false }
    }

    /// Attaches to a segment made by [`create`](Self::create), with the size it was made with.
    ///
    /// # Errors
    ///
    /// - [`SharedMemoryError::Missing`]: there is none.
    /// - [`SharedMemoryError::Foreign`]: there is something, but this library did not make it.
    /// - [`SharedMemoryError::InvalidName`].
    /// - [`SharedMemoryError::Os`]: anything else; for another user's segment, permission denied.
    ///
    /// # Process death
    ///
    /// Works as long as the name is there, whether or not the creator lives.
    ///
    /// # Drop
    ///
    /// Never removes the name.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{SharedMemory, SharedMemoryError};
    ///
    /// let name = format!("doc-open-{}", std::process::id());
    /// assert!(matches!(SharedMemory::open(&name), Err(SharedMemoryError::Missing { .. })));
    /// let memory = SharedMemory::create(&name, 100)?;
    /// assert_eq!(SharedMemory::open(&name)?.len(), 100);
    /// # Ok::<(), SharedMemoryError>(())
    /// ```
    pub fn open(name: &str) -> Result<Self, SharedMemoryError> {
        Named::open(name, &Expect::Ours).map(Self::of_named)
    }

    /// Attaches like [`open`](Self::open) to a segment that has at least `size` bytes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`SharedMemoryError::TooSmall`].
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{SharedMemory, SharedMemoryError};
    ///
    /// let name = format!("doc-at-least-{}", std::process::id());
    /// let memory = SharedMemory::create(&name, 100)?;
    /// assert_eq!(SharedMemory::open_at_least(&name, 50)?.len(), 100);
    /// assert!(matches!(SharedMemory::open_at_least(&name, 101), Err(SharedMemoryError::TooSmall { .. })));
    /// # Ok::<(), SharedMemoryError>(())
    /// ```
    pub fn open_at_least(name: &str, size: usize) -> Result<Self, SharedMemoryError> {
        let memory = Self::open(name)?;
        let (needed, found) = (size as u64, memory.len() as u64);
        if found < needed {
            return Err(SharedMemoryError::TooSmall {
                name: name.to_owned(),
                needed,
                found,
            });
        }
        Ok(memory)
    }

    /// Attaches like [`open`](Self::open) to a segment that has exactly `size` bytes.
    ///
    /// # Errors
    ///
    /// As [`open_at_least`](Self::open_at_least), and [`SharedMemoryError::TooLarge`].
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{SharedMemory, SharedMemoryError};
    ///
    /// let name = format!("doc-exact-{}", std::process::id());
    /// let memory = SharedMemory::create(&name, 100)?;
    /// assert_eq!(SharedMemory::open_exact(&name, 100)?.len(), 100);
    /// assert!(matches!(SharedMemory::open_exact(&name, 99), Err(SharedMemoryError::TooLarge { .. })));
    /// # Ok::<(), SharedMemoryError>(())
    /// ```
    pub fn open_exact(name: &str, size: usize) -> Result<Self, SharedMemoryError> {
        let memory = Self::open_at_least(name, size)?;
        let (needed, found) = (size as u64, memory.len() as u64);
        if found > needed {
            return Err(SharedMemoryError::TooLarge {
                name: name.to_owned(),
                needed,
                found,
            });
        }
        Ok(memory)
    }

    /// Attaches to whatever has this name and at least `min_size` bytes: a segment made by Python's
    /// `multiprocessing.shared_memory`, by C's `shm_open`, or one of ours.
    ///
    /// The length is that of the object. One that is still empty is given 0.25 s to get its size: other programs
    /// name a segment first and size it afterwards.
    ///
    /// Its pages may not have been taken, and its creator may shrink it: touching bytes that cannot be had raises SIGBUS.
    ///
    /// # Errors
    ///
    /// - [`SharedMemoryError::Missing`], [`SharedMemoryError::InvalidName`].
    /// - [`SharedMemoryError::TooSmall`]: fewer than `min_size` bytes, or none.
    /// - [`SharedMemoryError::Foreign`]: not a segment but a link or a directory.
    /// - [`SharedMemoryError::Os`]: anything else.
    ///
    /// # Drop
    ///
    /// Never removes the name.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{SharedMemory, SharedMemoryError};
    ///
    /// let name = format!("doc-foreign-{}", std::process::id());
    /// std::fs::write(format!("/dev/shm/{name}"), b"made elsewhere")?;
    /// let memory = SharedMemory::open_foreign(&name, 14)?;
    /// assert_eq!(memory.len(), 14);
    /// assert!(matches!(SharedMemory::open(&name), Err(SharedMemoryError::Foreign { .. })));
    /// std::fs::remove_file(format!("/dev/shm/{name}"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_foreign(name: &str, min_size: usize) -> Result<Self, SharedMemoryError> {
        Named::open(name, &Expect::Anything(min_size as u64)).map(Self::of_named)
    }

    /// Makes memory of `size` bytes, all zero, without a name.
    ///
    /// Whether so much is free is checked, but pages are taken one by one at their first touch: a large sparse
    /// area costs what is used of it. If the machine has run out of memory by then, the kernel kills somebody.
    ///
    /// The size is sealed, so nobody who gets the descriptor can shrink the memory under its users.
    ///
    /// # Errors
    ///
    /// [`SharedMemoryError::ZeroSize`], [`SharedMemoryError::OutOfMemory`], [`SharedMemoryError::Os`].
    ///
    /// # Process death
    ///
    /// The kernel frees it with its last user, however that ends.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::SharedMemory;
    ///
    /// let memory = SharedMemory::anonymous(4096)?;
    /// memory.write_at(4000, b"hello")?;
    ///
    /// let descriptor = memory.as_fd().unwrap().try_clone_to_owned()?; // to be sent to another process
    /// let attached = SharedMemory::from_fd(descriptor)?;
    /// let mut bytes = [0; 5];
    /// attached.read_at(4000, &mut bytes)?;
    /// assert_eq!(&bytes, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn anonymous(size: usize) -> Result<Self, SharedMemoryError> {
        let (anonymous, region) = Anonymous::create(size)?;
        Ok(Self {
            region,
            backing: Backing::Anonymous(anonymous),
        })
    }

    /// Maps a received descriptor of [`anonymous`](Self::anonymous) memory, and makes it close-on-exec.
    ///
    /// The size is that of the file. Mapping takes address space, no memory.
    ///
    /// # Errors
    ///
    /// - [`SharedMemoryError::Unsealed`]: not a memory file, or one that its sender could still shrink.
    /// - [`SharedMemoryError::ZeroSize`]: an empty one.
    /// - [`SharedMemoryError::Os`]: it cannot be mapped; one sealed against writing is refused so.
    ///
    /// # Examples
    ///
    /// See [`anonymous`](Self::anonymous).
    pub fn from_fd(descriptor: OwnedFd) -> Result<Self, SharedMemoryError> {
        let (anonymous, region) = Anonymous::from_fd(descriptor)?;
        Ok(Self {
            region,
            backing: Backing::Anonymous(anonymous),
        })
    }

    /// Removes named segments of this user whose creator died without removing them (it was killed, and the
    /// supervisor with it). Returns how many.
    ///
    /// Does not touch: segments of other programs, of other users, of living creators, of creators in other pid
    /// namespaces (containers), and those made to [`persist`](Self::persist). Who is attached keeps the memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::SharedMemory;
    ///
    /// let name = format!("doc-stale-{}", std::process::id());
    /// let memory = SharedMemory::create(&name, 100)?;
    /// SharedMemory::remove_stale();
    /// assert!(SharedMemory::open(&name).is_ok()); // its creator lives
    /// # Ok::<(), procession_primitives::SharedMemoryError>(())
    /// ```
    pub fn remove_stale() -> usize {
        janitor::remove_stale()
    }

    /// The number of bytes. Does not change.
    #[doc(alias = "size")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.region.len()
    }

    /// Always `false`: there is no shared memory of zero bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name, or `None` for anonymous memory.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.backing {
            Backing::Named(named) => Some(&named.name),
            Backing::Anonymous(_) => None,
        }
    }

    /// The descriptor to send to another process, or `None` for a named segment.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.backing {
            Backing::Named(_) => None,
            Backing::Anonymous(anonymous) => Some(anonymous.as_fd()),
        }
    }

    /// Whether this handle made a named segment, in this process, and has not removed it.
    #[must_use]
    pub fn is_creator(&self) -> bool {
        matches!(&self.backing, Backing::Named(named) if named.is_creator())
    }

    /// Lets a named segment outlive its creator, killed or not, until somebody calls [`unlink`](Self::unlink).
    ///
    /// # Errors
    ///
    /// [`SharedMemoryError::NotCreator`] if this handle did not make it, [`SharedMemoryError::Anonymous`] if it has no
    /// name to persist under.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::SharedMemory;
    ///
    /// let name = format!("doc-persist-{}", std::process::id());
    /// let mut memory = SharedMemory::create(&name, 100)?;
    /// memory.persist()?;
    /// drop(memory);
    /// SharedMemory::open(&name)?.unlink()?;
    /// # Ok::<(), procession_primitives::SharedMemoryError>(())
    /// ```
    pub fn persist(&mut self) -> Result<(), SharedMemoryError> {
        self.named_mut()?.persist()
    }

    /// Removes the name now. Whoever is attached, this handle included, keeps the memory.
    ///
    /// The creator may do this, and after [`persist`](Self::persist) everybody who is attached.
    ///
    /// # Errors
    ///
    /// - [`SharedMemoryError::NotCreator`]: the segment belongs to another handle or another program.
    /// - [`SharedMemoryError::Missing`]: it no longer has the name; who has it now keeps it.
    /// - [`SharedMemoryError::Anonymous`]: it never had one.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{SharedMemory, SharedMemoryError};
    ///
    /// let name = format!("doc-unlink-{}", std::process::id());
    /// let mut memory = SharedMemory::create(&name, 100)?;
    /// memory.unlink()?;
    /// assert!(matches!(SharedMemory::open(&name), Err(SharedMemoryError::Missing { .. })));
    /// # Ok::<(), SharedMemoryError>(())
    /// ```
    pub fn unlink(&mut self) -> Result<(), SharedMemoryError> {
        self.named_mut()?.unlink()
    }

    /// Copies `bytes.len()` bytes out, from `offset` on.
    ///
    /// While somebody writes to the same bytes, the copy may hold old and new ones mixed.
    ///
    /// # Errors
    ///
    /// [`SharedMemoryError::OutOfBounds`]: nothing was copied.
    pub fn read_at(&self, offset: usize, bytes: &mut [u8]) -> Result<(), SharedMemoryError> {
        self.region.read_at(offset, bytes)
    }

    /// Copies `bytes` in, from `offset` on.
    ///
    /// # Errors
    ///
    /// [`SharedMemoryError::OutOfBounds`]: nothing was copied.
    ///
    /// # Process death
    ///
    /// If this process dies here, any part of the bytes may have been written.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<(), SharedMemoryError> {
        self.region.write_at(offset, bytes)
    }

    /// The four bytes at `offset` as an atomic; `None` if they are not inside, or `offset` is not a multiple of 4.
    ///
    /// Use a place for one purpose: as this, as [`atomic_u64`](Self::atomic_u64) or for copies. Accesses
    /// of different sizes that meet at one place at one time have no defined result.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::SharedMemory;
    /// use std::sync::atomic::Ordering;
    ///
    /// let memory = SharedMemory::anonymous(4096)?;
    /// memory.write_at(8, b"payload")?;
    /// memory.atomic_u32(0).unwrap().store(1, Ordering::Release); // whoever loads 1 with Acquire sees the payload
    /// assert!(memory.atomic_u32(4094).is_none());
    /// # Ok::<(), procession_primitives::SharedMemoryError>(())
    /// ```
    #[must_use]
    pub fn atomic_u32(&self, offset: usize) -> Option<&AtomicU32> {
        self.region.atomic_u32(offset)
    }

    /// The eight bytes at `offset` as an atomic; `None` if they are not inside, or `offset` is not a multiple of 8.
    ///
    /// See [`atomic_u32`](Self::atomic_u32).
    #[must_use]
    pub fn atomic_u64(&self, offset: usize) -> Option<&AtomicU64> {
        self.region.atomic_u64(offset)
    }

    /// The address of the first byte, at the start of a page. Valid while this value lives; other processes see the memory
    /// at other addresses.
    ///
    /// Getting the address is safe. Whoever reads or writes through it answers for races, in this process and in others.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.region.as_ptr()
    }

    /// The memory as a slice.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody may write to the memory or (if it is named) shrink it, in any process.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: the caller keeps writers away.
        unsafe { self.region.as_slice() }
    }

    /// The memory as a slice to write to.
    ///
    /// # Safety
    ///
    /// While the slice lives, nobody else may read or write the memory or (if it is named) shrink it, in any process.
    #[must_use]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the caller keeps everybody else away.
        unsafe { self.region.as_mut_slice() }
    }

    fn of_named((named, region): (Named, Region)) -> Self {
        Self {
            region,
            backing: Backing::Named(named),
        }
    }

    fn named_mut(&mut self) -> Result<&mut Named, SharedMemoryError> {
        match &mut self.backing {
            Backing::Named(named) => Ok(named),
            Backing::Anonymous(_) => Err(SharedMemoryError::Anonymous),
        }
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("is_creator", &self.is_creator())
            .finish_non_exhaustive()
    }
}

/// What crosses a process border for a named segment.
#[derive(Serialize, Deserialize)]
struct Wire {
    name: String,
    /// Checked for segments that are not ours.
    size: u64,
    /// Checked for segments of ours; 0 for others.
    generation: u64,
}

impl Serialize for SharedMemory {
    /// Sends the name.
    ///
    /// # Errors
    ///
    /// Anonymous memory: send its descriptor.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.backing {
            Backing::Named(named) => {
                let (name, size, generation) =
                    (named.name.clone(), self.len() as u64, named.generation);
                Wire {
                    name,
                    size,
                    generation,
                }
                .serialize(serializer)
            }
            Backing::Anonymous(_) => Err(ser::Error::custom(SharedMemoryError::Anonymous)),
        }
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    /// Attaches.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::open`]; a segment made since under the same name counts as missing.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire {
            name,
            size,
            generation,
        } = Wire::deserialize(deserializer)?;
        let expect = if generation == 0 {
            Expect::Anything(size)
        } else {
            Expect::Generation(generation)
        };
        Named::open(&name, &expect)
            .map(Self::of_named)
            .map_err(de::Error::custom)
    }
}

/// Options of a named segment.
///
/// # Examples
///
/// ```
/// use procession_primitives::SharedMemory;
///
/// let name = format!("doc-builder-{}", std::process::id());
/// let mut memory = SharedMemory::builder().persist(true).create(&name, 100)?;
/// memory.unlink()?; // nobody else would
/// # Ok::<(), procession_primitives::SharedMemoryError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SharedMemoryBuilder {
    persist: bool,
}

impl SharedMemoryBuilder {
    /// Whether the segment outlives its creator, from the start; see [`SharedMemory::persist`]. Default: no.
    pub fn persist(mut self, persist: bool) -> Self {
        self.persist = persist;
        self
    }

    /// Makes the segment; see [`SharedMemory::create`].
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::create`].
    pub fn create(self, name: &str, size: usize) -> Result<SharedMemory, SharedMemoryError> {
        Named::create(name, size, self.persist).map(SharedMemory::of_named)
    }

    /// Makes the segment under a new name; see [`SharedMemory::create_unique`].
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::create_unique`].
    pub fn create_unique(self, size: usize) -> Result<SharedMemory, SharedMemoryError> {
        loop {
            let name = format!("procession_{:016x}", named::random()?);
            match Named::create(&name, size, self.persist) {
                Err(SharedMemoryError::AlreadyExists { .. }) => {}
                done => return done.map(SharedMemory::of_named),
            }
        }
    }
}
