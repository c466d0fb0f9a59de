//! What the algorithms stand on: atomics, the sleeping place, and who is alive.
//!
//! The models in `tests/models` have one of their own, on loom.
//!
//! # Safety
//!
//! Names half of a word to the kernel, which only compares it.
#![allow(unsafe_code, reason = "names the lower half of a word to the kernel")]

pub(crate) use procession_primitives::{
    Block, BlockId, Family, Holder, MemberId, News, Object, ObjectError,
};
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
pub(crate) use std::time::Instant;

/// How often a lock looks before its waiter sleeps.
pub(crate) const SPINS: u32 = 100;

/// How often a full or empty queue is looked at before its user sleeps: about 20 microseconds.
pub(crate) const LOOKS: u32 = 600;

/// How many pauses before the first look.
pub(crate) const HOLD_OFF: u32 = 16;

/// Tells the processor that this is a loop that waits.
#[inline]
pub(crate) fn pause() {
    std::hint::spin_loop();
}

/// Microseconds of a clock that all processes share. Wraps around.
pub(crate) fn micros() -> u32 {
    procession_primitives::monotonic_micros() as u32
}

/// The half of `word` that the kernel watches: the lower one.
#[cfg(target_endian = "little")]
fn low(word: &AtomicU64) -> &AtomicU32 {
    // SAFETY: in bounds and aligned. Nothing is loaded or stored through it: only its address is
    // used, by the kernel.
    unsafe { &*std::ptr::from_ref(word).cast::<AtomicU32>() }
}

/// As [`Family::park`], on the lower half of `word`.
pub(crate) fn park_low(
    family: &Family,
    word: &AtomicU64,
    expected: u64,
    news: News,
    deadline: Option<Instant>,
) {
    family.park(low(word), expected as u32, news, deadline);
}

/// Wakes up to `count` threads that sleep on the lower half of `word`. Returns how many did.
pub(crate) fn wake_low(word: &AtomicU64, count: u32) -> usize {
    procession_primitives::wake(low(word), count)
}

/// Wakes up to `count` threads that sleep on `word`.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    procession_primitives::wake(word, count);
}

/// A full barrier between a store and a load of other words.
#[inline]
pub(crate) fn full_fence() {
    std::sync::atomic::fence(Ordering::SeqCst);
}

/// A full barrier, where releasing a lock just before was not one already.
#[inline]
pub(crate) fn fence_after_unlock() {
    if cfg!(target_arch = "x86_64") {
        // The lock was released by an atomic exchange, which is a full barrier on this machine;
        // the compiler has to keep the order, too.
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        full_fence();
    }
}
