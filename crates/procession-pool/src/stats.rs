//! What a pool knows about its work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use procession_primitives::monotonic_nanos;

use crate::call::Collected;
use crate::cell::{Cell, Kind};
use crate::crew::Look;
use crate::inner::Inner;

/// Buckets of a histogram: four per power of two.
const BUCKETS: usize = 4 * 64;

/// What was counted of finished tasks.
#[derive(Debug)]
pub(crate) struct Tally {
    retries: AtomicU64,
    waiting: [AtomicU64; BUCKETS],
    running: [AtomicU64; BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        let zeros = || [const { AtomicU64::new(0) }; BUCKETS];
        Tally {
            retries: AtomicU64::new(0),
            waiting: zeros(),
            running: zeros(),
        }
    }
}

impl Tally {
    pub(crate) fn note(&self, cell: &Cell, collected: &Collected) {
        let items = u64::from(collected.items);
        let queued = cell.queued_at.load(Ordering::Relaxed);
        let claimed = cell.claimed_at.load(Ordering::Relaxed);
        let waited = bucket(claimed.saturating_sub(queued));
        self.waiting[waited].fetch_add(items, Ordering::Relaxed);
        let ran = bucket(collected.nanos / items.max(1));
        self.running[ran].fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < 4 {
        return nanos as usize;
    }
    let power = nanos.ilog2();
    (power as usize) * 4 + (nanos >> (power - 2) & 3) as usize
}

/// The largest time in `bucket`.
fn bound(bucket: usize) -> u64 {
    let (power, part) = (bucket / 4, (bucket % 4) as u64);
    if power < 2 {
        // Buckets 4 to 7 stay empty.
        return bucket.min(3) as u64;
    }
    let next = u128::from(5 + part) << (power - 2);
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

/// How often times of some length were seen: exact within a quarter.
#[derive(Debug, Clone)]
pub struct Histogram(Vec<u64>);

impl Histogram {
    fn of(counts: &[AtomicU64; BUCKETS]) -> Histogram {
        let count = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Histogram(counts.iter().map(count).collect())
    }

    /// How many times there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The time that `share` of all, from 0 to 1, do not exceed; zero where there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share.clamp(0.0, 1.0))
            .ceil()
            .max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(bound(bucket));
            }
        }
        Duration::ZERO
    }

    /// Each length that was seen, rounded up, and how often.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let seen = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        seen.map(|(bucket, count)| (Duration::from_nanos(bound(bucket)), *count))
    }
}

/// What a pool has done, and does: see [`Pool::stats`](crate::Pool::stats).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolStats {
    /// Items whose outcome has come back.
    pub items: u64,
    /// Items that wait for a worker, as far as they are submitted.
    pub queued: u64,
    /// Attempts after a failed one.
    pub retries: u64,
    /// Workers that took the place of a dead one.
    pub restarts: usize,
    /// How long items waited for a worker. Those of a chunk wait alike.
    pub queue_wait: Histogram,
    /// How long items ran, from when their worker turned to their chunk. For each of a chunk, the
    /// average of the chunk.
    pub run_time: Histogram,
    /// The workers there are, by index.
    pub workers: Vec<WorkerStats>,
}

/// What a worker has done since it was started, and does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its index in the pool.
    pub index: usize,
    /// Its process id.
    pub pid: u32,
    /// Workers there were in this place, with this one.
    pub starts: u64,
    /// From the order to start it until it was ready, initialiser included; until now if it is not.
    pub start_up: Duration,
    /// How long it has worked on tasks, the one in hand included.
    pub working: Duration,
    /// The rest of its life: it had nothing to do.
    pub waiting: Duration,
    /// Items that it has finished, but for those of the chunk in hand.
    pub items: u64,
    /// Its memory in bytes, now.
    pub memory: u64,
    /// The most memory that it has had.
    pub peak_memory: u64,
    /// The item that it has in hand: its number in its call.
    pub item: Option<u64>,
    /// How long it has been at the chunk of that item.
    pub running: Option<Duration>,
}

impl Inner {
    pub(crate) fn stats(&self) -> PoolStats {
        self.attend(self.shared.family.news());
        let tally = &self.tally;
        let run_time = Histogram::of(&tally.running);
        let cells = self.shared.cells();
        let queued = cells.filter(|(_, cell)| cell.state().kind == Kind::Queued);
        PoolStats {
            items: run_time
                .count()
                .saturating_sub(tally.retries.load(Ordering::Relaxed)),
            queued: queued
                .map(|(_, cell)| u64::from(cell.items.load(Ordering::Relaxed)))
                .sum(),
            retries: tally.retries.load(Ordering::Relaxed),
            restarts: self.crew.restarts(),
            queue_wait: Histogram::of(&tally.waiting),
            run_time,
            workers: self
                .crew
                .looks()
                .into_iter()
                .filter_map(|look| self.worker_stats(&look))
                .collect(),
        }
    }

    fn worker_stats(&self, look: &Look) -> Option<WorkerStats> {
        let line = self.shared.worker(look.index)?;
        let now = monotonic_nanos();
        let started = look.started_at;
        let since = |at: u64| Duration::from_nanos(now.saturating_sub(at));
        let start_up = match line.ready_at() {
            None => since(started),
            Some(ready) => Duration::from_nanos(ready.saturating_sub(started)),
        };
        let current = line.current.load(Ordering::Relaxed).checked_sub(1);
        let cell = current.and_then(|index| self.shared.cell(index));
        let in_hand = cell.filter(|cell| {
            let state = cell.state();
            state.kind == Kind::Claimed && state.worker == look.index
        });
        let running = in_hand.map(|cell| since(cell.claimed_at.load(Ordering::Relaxed)));
        let working = Duration::from_nanos(line.busy.load(Ordering::Relaxed));
        let working = working + running.unwrap_or_default();
        Some(WorkerStats {
            index: look.index as usize,
            pid: look.pid,
            starts: look.lives,
            start_up,
            working,
            waiting: since(started).saturating_sub(start_up + working),
            items: line.items.load(Ordering::Relaxed),
            memory: look.memory.map_or(0, |memory| memory.resident()),
            peak_memory: look.memory.map_or(0, |memory| memory.peak()),
            item: in_hand.map(|cell| cell.first.load(Ordering::Relaxed) + u64::from(cell.at().0)),
            running,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_that_ends_at_or_after_it() {
        for nanos in [0, 1, 3, 4, 5, 7, 8, 1000, 1 << 20, u64::MAX / 3, u64::MAX] {
            let at = bucket(nanos);
            assert!(bound(at) >= nanos, "{nanos}");
            assert!(at == 0 || bound(at - 1) < nanos, "{nanos}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_counts() {
        let counts = [const { AtomicU64::new(0) }; BUCKETS];
        for nanos in 1..=1000_u64 {
            counts[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        }
        let histogram = Histogram::of(&counts);
        assert_eq!(histogram.count(), 1000);
        let half = histogram.quantile(0.5).as_nanos();
        assert!((500..=640).contains(&half), "{half}");
        assert!(histogram.quantile(1.0).as_nanos() >= 1000);
    }
}
