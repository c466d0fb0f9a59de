//! How many items go into one task.

/// Work per task that the adaptive rule aims at: long against the cost of a task, short against
/// a person's patience.
const TARGET_NANOS: f64 = 1e6;

/// Work below which a task is not worth its own cost, however few items are left.
const LEAST_NANOS: f64 = 10e3;

/// Weight of the newest of equally large measurements in the average.
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
    /// Average time of one item in calls before of the same function.
    known: Option<f64>,
    /// The same in this call, once one was measured.
    nanos: Option<f64>,
    /// Items that this average rests on, the latest ones in full.
    weight: f64,
    largest: f64,
}

impl Chunks {
    /// `fixed` items per chunk, or as many as about a millisecond's work, where an item takes about
    /// `known` nanoseconds.
    pub(crate) fn new(fixed: Option<usize>, workers: usize, known: Option<f64>) -> Chunks {
        Chunks {
            fixed: fixed.map(|size| u32::try_from(size.max(1)).unwrap_or(u32::MAX)),
            workers,
            known,
            nanos: None,
            weight: 0.0,
            largest: 1.0,
        }
    }

    /// Size of the next chunk, when at least `left` more items will come.
    pub(crate) fn next_size(&mut self, left: usize) -> u32 {
        if let Some(size) = self.fixed {
            return size;
        }
        let (nanos, growth) = match (self.nanos, self.known) {
            (Some(nanos), _) => (nanos.max(1.0), self.largest * GROWTH),
            // Not of a stream that may have no end: whoever takes from it waits for its first items.
            (None, Some(known)) if left > 0 => (known.max(1.0), f64::INFINITY),
            // Nothing measured yet: one by one, so that a long item keeps no other one waiting.
            (None, _) => return 1,
        };
        let wanted = (TARGET_NANOS / nanos).min(growth);
        // Towards the end chunks shrink, so that the workers finish together, but not to nothing.
        let size = match left {
            0 => wanted,
            _ => wanted.min((left as f64 / (4 * self.workers) as f64).max(LEAST_NANOS / nanos)),
        };
        // What was not measured in this call counts as far as it was used.
        self.largest = self
            .largest
            .max(if self.nanos.is_some() { wanted } else { size });
        size.max(1.0) as u32
    }

    /// What an item has taken in this call.
    pub(crate) fn measured(&self) -> Option<f64> {
        self.nanos
    }

    /// Items of the largest chunk up to now.
    pub(crate) fn largest(&self) -> u64 {
        self.fixed.map_or(self.largest as u64, u64::from)
    }

    /// Nanoseconds that `tasks` chunks may take, as far as that is known.
    pub(crate) fn work(&self, tasks: usize) -> f64 {
        let nanos = self.nanos.or(self.known).unwrap_or(f64::INFINITY);
        tasks as f64 * self.largest() as f64 * nanos
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
        let measured = self.nanos.or(self.known).is_some();
        match self.fixed {
            None if measured => (8 * self.workers).clamp(16, most),
            _ => most,
        }
    }

    /// Takes in that `items` items took `nanos` nanoseconds.
    pub(crate) fn learn(&mut self, items: u32, nanos: u64) {
        let items = f64::from(items.max(1));
        self.weight = self.weight * (1.0 - NEWEST) + items;
        let (each, share) = (nanos as f64 / items, items / self.weight);
        let average = self
            .nanos
            .map_or(each, |known| known + share * (each - known));
        self.nanos = Some(average);
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

#[cfg(test)]
mod tests;
