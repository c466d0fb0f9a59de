//! What a task can ask about itself and the worker that runs it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use procession_primitives::{monotonic_micros, on_backtrace};

use crate::cell::Cell;
use crate::shared::Shared;
use crate::worker::Orders;

/// This process as a worker.
#[derive(Debug)]
struct Worker {
    shared: Shared,
    index: u32,
    depth: u32,
}

static WORKER: OnceLock<Worker> = OnceLock::new();

/// The cell of the task in hand + 1.
static CURRENT: AtomicU32 = AtomicU32::new(0);

/// Makes this process a worker.
pub(crate) fn enter(shared: Shared, orders: &Orders) {
    let (index, depth) = (orders.index, orders.depth);
    let worker = Worker {
        shared,
        index,
        depth,
    };
    // A process is a worker once.
    let _ = WORKER.set(worker);
    on_backtrace(|begins| {
        let line = WORKER
            .get()
            .and_then(|worker| worker.shared.worker(worker.index));
        if let Some(line) = line {
            line.pause(begins);
        }
    });
}

/// Says that the worker runs the task in cell `index`.
pub(crate) fn begin(index: u32) {
    CURRENT.store(index + 1, Ordering::Relaxed);
}

/// How many pools are above this process: 0 in the program.
pub(crate) fn depth() -> u32 {
    WORKER.get().map_or(0, |worker| worker.depth)
}

/// The index of this process in its pool, from 0; `None` in a process that is no worker.
///
/// A worker that takes the place of a dead one has its index.
///
/// # Examples
///
/// ```
/// # let pool = procession_pool::Pool::with_workers(2)?;
/// let index = pool.apply(|()| procession_pool::worker_index(), ())?;
/// assert!(index.is_some_and(|index| index < 2));
/// assert_eq!(procession_pool::worker_index(), None);
/// # Ok::<(), procession_pool::Error>(())
/// ```
#[must_use]
pub fn worker_index() -> Option<usize> {
    WORKER.get().map(|worker| worker.index as usize)
}

/// The item that this worker has in hand; `None` in a process that is no worker.
///
/// From any thread of the worker. Outside of a task, as in an initialiser, it is the last one.
///
/// # Examples
///
/// ```
/// # let pool = procession_pool::Pool::with_workers(2)?;
/// let draws = |_: ()| procession_pool::current_task().map_or(0, |task| task.seed());
/// let one = pool.seed(7).map(draws, [(); 10])?;
/// let two = pool.seed(7).chunksize(3).map(draws, [(); 10])?;
/// assert_eq!(one, two, "a seed depends on the item alone");
/// # Ok::<(), procession_pool::Error>(())
/// ```
#[must_use]
pub fn current_task() -> Option<CurrentTask> {
    let worker = WORKER.get()?;
    let index = CURRENT.load(Ordering::Relaxed).checked_sub(1)?;
    let cell = worker.shared.cell(index)?;
    Some(CurrentTask { worker, cell })
}

/// The item that a worker has in hand: see [`current_task`].
#[derive(Debug, Clone, Copy)]
pub struct CurrentTask {
    worker: &'static Worker,
    cell: &'static Cell,
}

impl CurrentTask {
    /// The number of the item in its call, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.cell.first.load(Ordering::Relaxed) + u64::from(self.cell.at().0)
    }

    /// A number for a random generator: the same for the same item of a call with the same
    /// [`seed`](crate::View::seed), whichever worker runs it, and in whichever chunk. Different
    /// for different items.
    #[must_use]
    pub fn seed(&self) -> u64 {
        let mut state = self.cell.seed.load(Ordering::Relaxed);
        let seed = mix(&mut state);
        state = seed ^ self.index();
        mix(&mut state)
    }

    /// How often the item was tried before: 0 the first time.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.cell.attempt.load(Ordering::Relaxed)
    }

    /// How long the item may still take by its [`timeout`](crate::View::timeout); `None` if it has
    /// none. After that comes the [`grace`](crate::View::grace).
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let notice = self.cell.notice.load(Ordering::Relaxed);
        let line = self.worker.shared.worker(self.worker.index)?;
        let spent = monotonic_micros().saturating_sub(line.begun_at.load(Ordering::Relaxed));
        (notice != 0).then(|| Duration::from_micros(notice.saturating_sub(spent)))
    }

    /// Whether nobody wants the item's value any more: its time is up, or its call was stopped. A
    /// function that returns then keeps its worker alive.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.cell.stop.load(Ordering::Relaxed) != 0 || self.time_left() == Some(Duration::ZERO)
    }
}

/// `SplitMix64`: well distributed for consecutive states.
pub(crate) fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
