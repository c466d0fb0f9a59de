//! Numbers that differ from run to run.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number below `limit`.
pub fn dice(limit: u64) -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec;
    let state = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    let mixed = (now.cast_unsigned() ^ state).wrapping_mul(0x2545_F491_4F6C_DD1D);
    (mixed >> 24) % limit.max(1)
}
