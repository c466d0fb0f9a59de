//! How long consumers that find nothing leave the producers alone before they look again.
//!
//! Each look takes the word away from the producers, who then wait for it with their next message.
//! Where one message comes at a time, the first look should come soon; in a stream it pays to let
//! some come together. So it is learnt from what is found.

use crate::primitive::{AtomicU32, HOLD_OFF, LOOKS, Ordering, pause};

/// As many times as long as else the first look is put off in a stream.
const STREAM: u32 = 6;

/// That many messages at once are enough.
const ENOUGH: u64 = 16;

/// How many pauses there are before the first look. A hint: any value will do, also one that a
/// dead process has left.
#[repr(C, align(8))]
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    pub(crate) fn pauses(&self) -> u32 {
        let pauses = self.0.load(Ordering::Relaxed);
        pauses.clamp(HOLD_OFF, STREAM * HOLD_OFF)
    }

    /// When somebody had looked, `count` messages had come. `crowded`: for more than as many again
    /// there is no room.
    pub(crate) fn learn(&self, count: u64, crowded: bool) {
        let pauses = self.pauses();
        let next = match count {
            _ if crowded => pauses / 2,
            0 | 1 => pauses / 2,
            ENOUGH.. => pauses,
            _ => pauses * 2,
        };
        if next != pauses {
            self.0.store(next, Ordering::Relaxed);
        }
    }
}

/// Looks, after some `pauses`, whether something has `changed`, for about as long as a sleep and a
/// wake-up take.
pub(crate) fn look(pauses: u32, mut changed: impl FnMut() -> bool) {
    // Not at once: each look takes the word away from those who are about to change it.
    for _ in 0..pauses {
        pause();
    }
    for _ in 0..LOOKS {
        if changed() {
            return;
        }
        pause();
    }
}
