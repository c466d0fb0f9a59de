//! The arena: one sparse, sealed, anonymous memory file that every member of a family maps.
//!
//! Whatever is shared lives here. Places are named by offset, never by address, because each
//! process maps the file somewhere else. The mapping lasts as long as the process, so references
//! into it are `'static`. `README.md` beside this file has the layout.
//!
//! # Safety
//!
//! This file maps the memory and hands out references into it; `block` and `heap` build on that.
#![allow(unsafe_code, reason = "maps the shared memory and dereferences it")]

mod block;
mod heap;
mod lock;

use std::fmt;
use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

pub use block::{Block, BlockId, Writer, copy_short, place_for_word};
pub use heap::{HeapUsage, OutOfMemory};
pub(crate) use lock::{Held, RawLock};

use crate::image::BuildId;
use crate::member::MemberCell;
use crate::object::ObjectState;
use crate::waiting;

/// "procfam1", read as a little-endian number.
const MAGIC: u64 = u64::from_le_bytes(*b"procfam1");

/// Most members a family can have at once.
/// 4095 of the 4096 owners that the heap can tell apart; the last one is `member::OBJECTS`.
pub(crate) const MAX_MEMBERS: usize = 4095;

const MEMBERS_AT: u64 = 64 << 10;
/// The directory of the pages that shared objects lie in: see `object`.
pub(crate) const PAGES_AT: u64 = 1 << 20;
/// Who waits for what: see `waiting`.
pub(crate) const WAITS_AT: u64 = PAGES_AT + 8 * MAX_PAGES as u64;
const HEAP_TABLE_AT: u64 = 2 << 20;

/// Most pages of shared objects.
pub(crate) const MAX_PAGES: usize = 16 << 10;

/// The heap hands out whole units, so that one table word describes a run of them.
pub(crate) const UNIT: usize = 64 << 10;

/// Reserved address space, largest first: 39-bit address spaces and `RLIMIT_AS` refuse the first ones.
const SIZES: [u64; 6] = [1 << 40, 256 << 30, 64 << 30, 16 << 30, 2 << 30, 256 << 20];

const _: () = assert!(size_of::<Header>() <= MEMBERS_AT as usize);
const _: () =
    assert!(MEMBERS_AT as usize + MAX_MEMBERS * size_of::<MemberCell>() <= PAGES_AT as usize);
const _: () = assert!(WAITS_AT as usize + waiting::SIZE <= HEAP_TABLE_AT as usize);

/// Types that may lie in shared memory and be read by reference while other processes change them.
///
/// # Safety
///
/// Every bit pattern is a valid value, there is no padding that is read, no pointer, and every
/// field that another process can write is an atomic.
pub unsafe trait Shared: Sync + 'static {}

// SAFETY: plain atomics, valid for every bit pattern.
unsafe impl Shared for AtomicU8 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: as above.
unsafe impl Shared for AtomicI32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicI64 {}
// SAFETY: made of atomics only.
unsafe impl Shared for MemberCell {}
// SAFETY: the plain fields are written once, before any other process maps the file.
unsafe impl Shared for Header {}

/// A word alone on its cache line pair, so that its traffic disturbs no neighbour.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Line<T>(pub(crate) T);

/// What lies at offset 0.
#[repr(C)]
pub(crate) struct Header {
    magic: u64,
    size: u64,
    build: [u8; 16],
    family: u64,
    heap_at: u64,
    heap_units: u64,
    /// Slots of the member table that were ever used: those beyond were never touched.
    pub(crate) members_end: AtomicU32,
    /// Fingerprint of the supervisor's environment and directory.
    pub(crate) surroundings: AtomicU64,
    /// Counts deaths and whatever else every sleeper has to look at. Only grows.
    pub(crate) news: Line<AtomicU32>,
    /// Who supervises: see `park`, which has its state table.
    pub(crate) life: Line<AtomicU32>,
    pub(crate) heap: Line<heap::HeapState>,
    pub(crate) objects: Line<ObjectState>,
}

/// The mapped arena. Never unmapped.
pub struct Arena {
    base: NonNull<u8>,
    size: u64,
    fd: OwnedFd,
}

// SAFETY: `base` is a mapping for the life of the process; all access goes through atomics or
// through blocks, which have one owner.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Arena {
    /// Makes the arena of a new family.
    pub(crate) fn create(build: BuildId) -> io::Result<&'static Arena> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        let mut last = rustix::io::Errno::NOMEM;
        for size in SIZES {
            // Growing a file past RLIMIT_FSIZE is answered with a deadly signal, not an error.
            if limit.is_some_and(|limit| limit < size) {
                last = rustix::io::Errno::FBIG;
                continue;
            }
            let fd = sealed_memfd(c"procession-arena", size)?;
            match map(&fd, size) {
                Ok(base) => return Ok(Self::initialise(base, size, fd, build)),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    fn initialise(base: NonNull<u8>, size: u64, fd: OwnedFd, build: BuildId) -> &'static Arena {
        // A word per unit for the run that starts there, and one for the object it belongs to.
        let tables = size / UNIT as u64 * 8 * 2;
        let heap_at = (HEAP_TABLE_AT + tables).next_multiple_of(UNIT as u64);
        let header = base.cast::<Header>().as_ptr();
        // SAFETY: the mapping is fresh, larger than a header and not yet shared; a memory file
        // starts as zeros, which is valid for all that is not written here.
        let header = unsafe { &mut *header };
        header.magic = MAGIC;
        header.size = size;
        header.build = build.to_bytes();
        header.family = crate::sys::random_u64();
        header.heap_at = heap_at;
        header.heap_units = (size - heap_at) / UNIT as u64;
        Box::leak(Box::new(Arena { base, size, fd }))
    }

    /// Maps the arena of the family that this process was started into.
    pub(crate) fn attach(fd: OwnedFd, build: BuildId) -> io::Result<&'static Arena> {
        let found = rustix::fs::fstat(&fd)?;
        let size = u64::try_from(found.st_size).unwrap_or(0);
        let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if !SIZES.contains(&size) {
            return refuse("not a family's memory");
        }
        let base = map(&fd, size)?;
        let arena = Arena { base, size, fd };
        if arena.header().magic != MAGIC || arena.header().size != size {
            return refuse("not a family's memory");
        }
        if arena.header().build != build.to_bytes() {
            return refuse("the family runs another build of this program");
        }
        Ok(Box::leak(Box::new(arena)))
    }

    /// The memory file.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    #[inline]
    pub(crate) fn header(&self) -> &'static Header {
        // SAFETY: `create` wrote a header at offset 0 and `attach` checked it.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// Frees the locks that member `slot`, which does not run any more, has left held.
    pub(crate) fn release_locks(&self, slot: u32) {
        self.header().heap.0.release_lock(slot);
        self.header().objects.0.release_lock(slot);
    }

    /// A number that tells this family from all others.
    #[must_use]
    pub fn family_number(&self) -> u64 {
        self.header().family
    }

    #[inline]
    pub(crate) fn member(&self, slot: u32) -> Option<&'static MemberCell> {
        let slot = u64::from(slot);
        if slot >= MAX_MEMBERS as u64 {
            return None;
        }
        // SAFETY: the member table lies there, and holds nothing else.
        unsafe { self.get(MEMBERS_AT + slot * size_of::<MemberCell>() as u64) }
    }

    fn heap_entry(&self, unit: u32) -> &'static AtomicU64 {
        // SAFETY: the heap table lies there, and holds nothing else.
        let entry = unsafe { self.get(HEAP_TABLE_AT + u64::from(unit) * 8) };
        entry.expect("unit lies in the heap")
    }

    /// Which object the block that starts at `unit` belongs to: see `object`.
    pub(crate) fn tag(&self, unit: u32) -> &'static AtomicU64 {
        let table = HEAP_TABLE_AT + self.size / UNIT as u64 * 8;
        // SAFETY: the table of tags lies there, and holds nothing else.
        let tag = unsafe { self.get(table + u64::from(unit) * 8) };
        tag.expect("unit lies in the heap")
    }

    fn heap_units(&self) -> u32 {
        u32::try_from(self.header().heap_units).unwrap_or(u32::MAX)
    }

    pub(crate) fn unit_at(&self, unit: u32) -> u64 {
        self.header().heap_at + u64::from(unit) * UNIT as u64
    }

    /// The shared object at `offset`, or `None` where it does not fit or is not aligned.
    ///
    /// # Safety
    ///
    /// The memory there is set aside for objects of this type, and nobody borrows its bytes.
    #[must_use]
    #[inline]
    pub unsafe fn get<T: Shared>(&self, offset: u64) -> Option<&'static T> {
        let end = offset.checked_add(size_of::<T>() as u64)?;
        if end > self.size || !offset.is_multiple_of(align_of::<T>() as u64) {
            return None;
        }
        let at = self.pointer(offset).cast::<T>();
        // SAFETY: in bounds and aligned (the mapping is page-aligned); `Shared` allows every bit
        // pattern and changes by others; the mapping is never removed.
        Some(unsafe { at.as_ref() })
    }

    /// Where the `len` bytes from `offset` on are in this process; `None` outside of the arena.
    #[must_use]
    pub fn address(&self, offset: u64, len: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len as u64)?;
        (end <= self.size).then(|| self.pointer(offset))
    }

    /// The address of `offset` in this process. `offset` lies within the arena.
    #[inline]
    fn pointer(&self, offset: u64) -> NonNull<u8> {
        debug_assert!(offset <= self.size);
        // SAFETY: callers keep `offset` within the mapping of `size` bytes.
        unsafe { self.base.add(offset as usize) }
    }

    /// The offset of a word of this arena: what other members call it.
    #[must_use]
    pub fn offset_of<T: Shared>(&self, word: &'static T) -> Option<u64> {
        let address = std::ptr::from_ref(word).addr();
        let offset = address.checked_sub(self.base.as_ptr().addr())? as u64;
        (offset < self.size).then_some(offset)
    }
}

/// An anonymous memory file of `size` sparse bytes that nobody can resize.
fn sealed_memfd(name: &std::ffi::CStr, size: u64) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        made => made?,
    };
    let fd = crate::sys::above_stdio(fd)?;
    rustix::fs::ftruncate(&fd, size)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

fn map(fd: &OwnedFd, size: u64) -> rustix::io::Result<NonNull<u8>> {
    let len = usize::try_from(size).map_err(|_| rustix::io::Errno::NOMEM)?;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let at = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) }?;
    // SAFETY: advice on the mapping made above. A crash must not write a terabyte of core.
    let advised = unsafe { rustix::mm::madvise(at, len, Advice::LinuxDontDump) };
    advised?;
    NonNull::new(at.cast()).ok_or(rustix::io::Errno::NOMEM)
}
