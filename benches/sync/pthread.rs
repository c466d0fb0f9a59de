//! The C library's robust mutex between processes.
//!
//! # Safety
//!
//! The mutex lies in an array's memory, which all processes have mapped and whose handle is kept.
#![allow(unsafe_code, reason = "calls the C library")]

use std::mem::MaybeUninit;

use procession_sync::Array;
use serde::{Deserialize, Serialize};

/// A `pthread_mutex_t` in shared memory, process-shared and robust.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RobustMutex {
    memory: Array<u64>,
}

/// The mutex as this process sees it.
pub(crate) struct Mapped {
    mutex: *mut libc::pthread_mutex_t,
    _memory: Array<u64>,
}

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= 128);
const _: () = assert!(align_of::<libc::pthread_mutex_t>() <= 8);

impl RobustMutex {
    pub(crate) fn new() -> RobustMutex {
        let memory = Array::new(16).expect("shared memory");
        let mutex = RobustMutex { memory };
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
        let inited = unsafe { libc::pthread_mutex_init(mutex.map().mutex, attributes) };
        assert_eq!([made, shared, robust, inited], [0; 4]);
        mutex
    }

    pub(crate) fn map(&self) -> Mapped {
        let mut memory = self.memory.lock().expect("nobody died with it");
        let mutex = memory.as_mut_ptr().cast();
        drop(memory);
        Mapped {
            mutex,
            _memory: self.memory.clone(),
        }
    }
}

impl Mapped {
    /// Takes the mutex, runs `inside`, and lets go of it.
    #[inline]
    pub(crate) fn with(&self, inside: impl FnOnce()) {
        // SAFETY: `new` initialized it; nobody destroys it.
        let locked = unsafe { libc::pthread_mutex_lock(self.mutex) };
        assert_eq!(locked, 0);
        inside();
        // SAFETY: as above, and this thread holds it.
        unsafe { libc::pthread_mutex_unlock(self.mutex) };
    }
}
