//! Time, modelled.
//!
//! There are two clocks. Deadlines of sleeps are over from when a model has time pass. What the
//! pool measures, in micro- and nanoseconds, is a number that grows with each look.

use real::cell::Cell;
use real::time::Duration;

use crate::family::FAMILY;
use crate::scene::{self, ME};

thread_local! {
    static TICKS: Cell<u64> = const { Cell::new(1) };
    static NANOS: Cell<u64> = const { Cell::new(1) };
}

/// A time: 0, or 1 when all deadlines are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u32);

impl Instant {
    /// The deadline for models.
    pub(crate) const LATER: Instant = Instant(1);

    pub(crate) fn now() -> Instant {
        if scene::is_over() {
            return Instant::LATER;
        }
        Instant(FAMILY.clock())
    }

    /// Nothing is looked at twice without a sleep in between.
    pub(crate) fn elapsed(self) -> Duration {
        Duration::MAX
    }

    pub(crate) fn checked_add(self, _: Duration) -> Option<Instant> {
        Some(Instant::LATER)
    }
}

/// As if it had passed: nothing is looked at twice without a sleep in between, and no pause is long.
impl real::ops::Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, _: Duration) -> Instant {
        self
    }
}

pub(crate) fn monotonic_micros() -> u64 {
    let now = TICKS.get();
    if !scene::is_over() {
        TICKS.set(now + 1);
        ME.with(|me| me.looked_at.set(now));
    }
    now
}

/// Far apart: nothing is looked at twice without a sleep in between.
pub(crate) fn monotonic_nanos() -> u64 {
    NANOS.replace(NANOS.get() + 1_000_000)
}

pub(crate) fn reset() {
    TICKS.set(1);
    NANOS.set(1);
}
