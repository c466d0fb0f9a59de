//! How many sleep at some place, without those that a death has taken.
//!
//! Changed under a lock. A death wakes everybody, so waiters of an earlier epoch have all come back
//! or will, and need not be counted: that is how dead waiters fall out of the count.
//!
//! | word | meaning | who changes it |
//! |---|---|---|
//! | `count` | how many sleep, or are about to, since the death counted in `epoch` | a waiter: adds itself, takes itself off |
//! | `epoch` | the family's news when they began | a waiter that has later news: then it is the only one |

use crate::primitive::{AtomicU32, News, Ordering};

/// The words of a count; all zeros is a new one.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    count: AtomicU32,
    epoch: AtomicU32,
}

impl Waiters {
    /// Counts the caller, who has heard `news`. False if others have heard later news: then the
    /// caller has to look again.
    pub(crate) fn add(&self, news: News) -> bool {
        let epoch = self.epoch.load(Ordering::Relaxed);
        if epoch != news.to_word() {
            if epoch.wrapping_sub(news.to_word()) < u32::MAX / 2 {
                return false;
            }
            self.count.store(0, Ordering::Relaxed);
            self.epoch.store(news.to_word(), Ordering::Relaxed);
        }
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Relaxed);
        true
    }

    /// Takes the caller off, who was counted with `news`.
    pub(crate) fn remove(&self, news: News) {
        if self.epoch.load(Ordering::Relaxed) == news.to_word() {
            let count = self.count.load(Ordering::Relaxed);
            self.count.store(count.saturating_sub(1), Ordering::Relaxed);
        }
    }

    /// Whether there may be any.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }
}
