//! Anonymous memory: a sealed memory file, reached by its descriptor only.
#![allow(unsafe_code, reason = "maps and unmaps memory")]

use std::ptr::{NonNull, null_mut};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create},
    io::{Errno, FdFlags, fcntl_setfd},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

use super::{SharedMemoryError, available, region::Region};

/// One mapped memory file.
pub(super) struct Anonymous {
    file: OwnedFd,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: `base` is only passed on to `Region` and to `munmap`, and belongs to the process, not to a thread.
unsafe impl Send for Anonymous {}
// SAFETY: as above.
unsafe impl Sync for Anonymous {}

impl Anonymous {
    pub(super) fn create(size: usize) -> Result<(Self, Region), SharedMemoryError> {
        if size == 0 {
            return Err(SharedMemoryError::ZeroSize);
        }
        available::check_memory(size as u64)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = match memfd_create("procession", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => memfd_create("procession", flags), // before Linux 6.3
            done => done,
        }
        .map_err(SharedMemoryError::os("make a memory file"))?;
        ftruncate(&file, size as u64).map_err(SharedMemoryError::os("size a memory file"))?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(SharedMemoryError::os("seal a memory file"))?;
        Self::map(file, size)
    }

    pub(super) fn from_fd(file: OwnedFd) -> Result<(Self, Region), SharedMemoryError> {
        // First the seal, then the size: now it cannot become less.
        if !fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK)) {
            return Err(SharedMemoryError::Unsealed);
        }
        let stat = fstat(&file).map_err(SharedMemoryError::os("examine a memory file"))?;
        let size = stat.st_size as usize; // never negative, and this is a 64-bit system
        if size == 0 {
            return Err(SharedMemoryError::ZeroSize);
        }
        fcntl_setfd(&file, FdFlags::CLOEXEC)
            .map_err(SharedMemoryError::os("close a memory file on exec"))?;
        Self::map(file, size)
    }

    fn map(file: OwnedFd, len: usize) -> Result<(Self, Region), SharedMemoryError> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: without an address to obey, the kernel takes free address space; nothing existing is touched.
        let address = unsafe { mmap(null_mut(), len, protection, MapFlags::SHARED, &file, 0) }
            .map_err(SharedMemoryError::os("map a memory file"))?;
        let base = NonNull::new(address.cast())
            .ok_or_else(|| SharedMemoryError::os("map a memory file")(Errno::FAULT))?;
        let anonymous = Self { file, base, len };
        // SAFETY: `len` bytes were mapped shared, to read and to write, just now; `drop` unmaps them with the holder
        // of the region. The seal keeps the file from shrinking below them.
        let region = unsafe { Region::new(base, len) };
        Ok((anonymous, region))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        // SAFETY: `map` mapped exactly these bytes; whoever could reach them through a `Region` goes with this value.
        let _cannot_fail = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}
