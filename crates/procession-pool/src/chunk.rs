//! How many items go into one task.

/// Work per task that the adaptive rule aims at: long against the cost of a task, short against
/// a person's patience.
const TARGET_NANOS: f64 = 1e6;

/// Weight of the newest measurement in the average.
const NEWEST: f64 = 0.3;

/// A task grows at most this much beyond the largest one before it.
const GROWTH: f64 = 8.0;

/// Encoded bytes at which an adaptive chunk is full: it stays in the processor's cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Chooses the sizes of a call's chunks.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    fixed: Option<u32>,
    workers: usize,
    /// Average time of one item, once one was measured.
    nanos: Option<f64>,
    largest: f64,
}

impl Chunks {
    /// `fixed` items per chunk, or as many as about a millisecond's work.
    pub(crate) fn new(fixed: Option<usize>, workers: usize) -> Chunks {
        Chunks {
            fixed: fixed.map(|size| u32::try_from(size.max(1)).unwrap_or(u32::MAX)),
            workers,
            nanos: None,
            largest: 1.0,
        }
    }

    /// Size of the next chunk, when at least `left` more items will come.
    pub(crate) fn next_size(&mut self, left: usize) -> u32 {
        if let Some(size) = self.fixed {
            return size;
        }
        // Nothing measured yet: one by one, so that a long item keeps no other one waiting.
        let Some(nanos) = self.nanos else { return 1 };
        let wanted = (TARGET_NANOS / nanos.max(1.0)).min(self.largest * GROWTH);
        self.largest = self.largest.max(wanted);
        // Towards the end chunks shrink, so that the workers finish together.
        let fair = if left == 0 {
            f64::INFINITY
        } else {
            left as f64 / (4 * self.workers) as f64
        };
        wanted.min(fair).max(1.0) as u32
    }

    /// Items of the largest chunk up to now.
    pub(crate) fn largest(&self) -> u64 {
        self.fixed.map_or(self.largest as u64, u64::from)
    }

    /// Encoded bytes at which a chunk is full.
    pub(crate) fn byte_limit(&self) -> usize {
        if self.fixed.is_some() {
            usize::MAX
        } else {
            CHUNK_BYTES
        }
    }

    /// How many tasks may be with the workers: few long ones, or up to `most` short ones.
    pub(crate) fn window(&self, most: usize) -> usize {
        match self.nanos {
            Some(_) if self.fixed.is_none() => (8 * self.workers).clamp(16, most),
            _ => most,
        }
    }

    /// Takes in that `items` items took `nanos` nanoseconds.
    pub(crate) fn learn(&mut self, items: u32, nanos: u64) {
        let each = nanos as f64 / f64::from(items.max(1));
        self.nanos = Some(
            self.nanos
                .map_or(each, |known| known + NEWEST * (each - known)),
        );
    }
}

/// The chunk size that Python's `Pool.map` chooses: a quarter of a worker's share, rounded up.
///
/// # Examples
///
/// ```
/// assert_eq!(procession_pool::python_chunksize(1000, 4), 63);
/// ```
#[must_use]
pub fn python_chunksize(items: usize, workers: usize) -> usize {
    items.div_ceil(4 * workers.max(1))
}
