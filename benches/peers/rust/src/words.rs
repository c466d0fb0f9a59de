//! Memory that forks share.
//!
//! # Safety
//!
//! The memory is mapped once, all zeros, and never unmapped.
#![allow(unsafe_code, reason = "maps memory and calls the C library")]

use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicU64};

const PAGE: usize = 4096;

fn page() -> *mut libc::c_void {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping of its own, wherever there is room.
    let page = unsafe { libc::mmap(null_mut(), PAGE, access, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED, "there is memory");
    page
}

/// A word on a cache line of its own. This process and those that it forks from now on share it.
pub(crate) fn word() -> &'static AtomicU32 {
    // SAFETY: see above; zeros are a number.
    unsafe { &*page().cast::<AtomicU32>() }
}

/// The same, twice as long.
pub(crate) fn long_word() -> &'static AtomicU64 {
    // SAFETY: as above.
    unsafe { &*page().cast::<AtomicU64>() }
}

/// Sleeps while `word` is `value`, or wakes up at once.
pub(crate) fn sleep(word: &AtomicU32, value: u32) {
    let null: *const libc::timespec = std::ptr::null();
    // SAFETY: reads a word that is there, and blocks.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, value, null) };
}

/// Wakes one that sleeps on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: the kernel looks at the address only.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, 1) };
}

/// The C library's mutex, process-shared and robust, as above.
#[derive(Clone, Copy)]
pub(crate) struct RobustMutex {
    mutex: *mut libc::pthread_mutex_t,
}

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= PAGE);

impl RobustMutex {
    pub(crate) fn new() -> RobustMutex {
        let mutex = page().cast();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: this initializes it.
        let made = unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
        let attributes = attributes.as_mut_ptr();
        // SAFETY: initialized above.
        let shared =
            unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: as above.
        let robust =
            unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: the memory is large enough, and nobody uses it yet.
        let inited = unsafe { libc::pthread_mutex_init(mutex, attributes) };
        assert_eq!([made, shared, robust, inited], [0; 4]);
        RobustMutex { mutex }
    }

    /// Takes it and lets go of it.
    #[inline]
    pub(crate) fn take(self) {
        // SAFETY: `new` initialized it; nobody destroys it.
        let locked = unsafe { libc::pthread_mutex_lock(self.mutex) };
        assert_eq!(locked, 0);
        // SAFETY: as above, and this thread holds it.
        unsafe { libc::pthread_mutex_unlock(self.mutex) };
    }
}
