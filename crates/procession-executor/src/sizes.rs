//! How many items make a chunk.

use std::time::Duration;

/// Least work that is worth being sent.
const WORK: Duration = Duration::from_millis(1);

/// So many times what sending costs.
const TRIPS: u32 = 50;

/// A chunk is at most so many times as large as one that has been measured.
const GROWTH: usize = 8;

/// Most items of a chunk whose size is not chosen.
const MOST: usize = 1 << 20;

/// Chooses the sizes of chunks.
#[derive(Debug)]
pub(crate) struct Sizes {
    fixed: Option<usize>,
    size: usize,
    /// Nanoseconds of work that a chunk is to have.
    goal: f64,
    /// Nanoseconds that an item has taken of late.
    each: Option<f64>,
}

impl Sizes {
    pub(crate) fn new(fixed: Option<usize>, round_trip: Duration) -> Sizes {
        let goal = round_trip.saturating_mul(TRIPS).max(WORK);
        Sizes {
            fixed: fixed.map(|size| size.max(1)),
            size: 1,
            goal: goal.as_nanos() as f64,
            each: None,
        }
    }

    /// Whether somebody else has chosen it.
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// The size of the next chunk, at least 1; at most `cap` unless it is chosen.
    pub(crate) fn next(&self, cap: usize) -> usize {
        self.fixed.unwrap_or_else(|| self.size.min(cap).max(1))
    }

    /// `items` items have taken `spent`.
    pub(crate) fn note(&mut self, items: usize, spent: Duration) {
        if items == 0 {
            return;
        }
        let now = (spent.as_nanos() as f64 / items as f64).max(1.0);
        let each = self.each.map_or(now, |before| 0.7 * before + 0.3 * now);
        self.each = Some(each);
        let most = self.size.max(items.saturating_mul(GROWTH)).min(MOST);
        self.size = ((self.goal / each) as usize).clamp(1, most);
    }
}

#[cfg(test)]
mod tests;
