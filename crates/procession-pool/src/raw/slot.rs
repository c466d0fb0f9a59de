//! What the pool knows of a job: a task, or several whose outcomes belong together.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use procession_primitives::Block;

use crate::TaskError;
use crate::call::Collected;
use crate::filling::{Prepared, Terms};
use crate::hub::{Job, Waiting};
use crate::inner::Inner;
use crate::options::Options;
use crate::outcome;
use crate::record::Records;
use crate::retry::{Retries, Verdict, is_wanted};

/// Gets the outcomes of a job.
///
/// For every job that the pool has taken there will be one call of [`finish`](Self::finish) or of
/// [`cancelled`](Self::cancelled), whatever happens to workers. None of these is called while the pool
/// holds a lock.
pub trait Done: Job + Send + Sync + 'static {
    /// Where the pool keeps what it knows of the job.
    fn slot(&self) -> &Slot;

    /// These items have these outcomes: an encoded value, or why there is none. Each item comes once,
    /// in any order; calls for several may come at once. Some may still come after the job has ended:
    /// nobody wants them.
    fn take(&self, outcomes: &mut dyn Iterator<Item = (u64, Result<&[u8], TaskError>)>);

    /// Every item has had its outcome, or the first failure was enough. The workers have spent so much
    /// time on them.
    fn finish(&self, spent: Duration);

    /// It was cancelled.
    fn cancelled(&self);
}

/// What many jobs have in common: a function, and how its tasks are to be run.
#[derive(Debug)]
pub(crate) struct Deal {
    terms: Terms,
    options: Options,
    /// Freed with the last of the jobs.
    _context: Option<(Block, usize)>,
}

impl Deal {
    pub(crate) fn new(terms: Terms, options: Options, context: Option<(Block, usize)>) -> Deal {
        Deal {
            terms: terms.guarded(),
            options,
            _context: context,
        }
    }

    /// Microseconds that an item may take, 0 for ever.
    pub(crate) fn limit(&self) -> u64 {
        self.terms.limit
    }

    fn can_retry(&self) -> bool {
        self.options.retries > 0 || self.options.crash_limit.is_some()
    }

    /// Whether somebody has to look at each of its outcomes when it comes, whoever waits for it.
    fn is_watched(&self) -> bool {
        self.can_retry() || self.options.fail_fast || self.terms.limit > 0
    }
}

/// It consists of a single item.
const ONE: u32 = 1;
/// What has no cell gets none.
const STOPPED: u32 = 2;
/// An item of it has failed for good.
const FAILED: u32 = 4;
/// Somebody wants to be told of its end.
const WATCHED: u32 = 8;
/// It has ended: later outcomes do not count.
const ENDED: u32 = 16;

/// The pool's part of a job: see [`Done::slot`]. It serves for one job.
#[derive(Default)]
pub struct Slot {
    deal: OnceLock<Arc<Deal>>,
    /// Where items are tried again.
    retries: OnceLock<Box<Mutex<Retries>>>,
    /// Items without an outcome.
    left: AtomicU64,
    /// Nanoseconds that workers have spent on it.
    spent: AtomicU64,
    /// Of one item: its cell + 1, 0 without one.
    cell: AtomicU32,
    flags: AtomicU32,
}

impl Slot {
    /// Begins a job of `items` items. Whether somebody has to look at each outcome.
    pub(crate) fn open(&self, deal: Arc<Deal>, items: u64, is_one: bool) -> bool {
        let watched = deal.is_watched() || !is_one;
        if deal.can_retry() {
            let retries = Retries::new(&deal.options);
            self.retries.get_or_init(|| Box::new(Mutex::new(retries)));
        }
        self.left.store(items, Ordering::Relaxed);
        let flags = (u32::from(is_one) * ONE) | (u32::from(watched) * WATCHED);
        self.flags.store(flags, Ordering::Relaxed);
        let _ = self.deal.set(deal);
        watched
    }

    fn set(&self, flag: u32) -> u32 {
        // AcqRel: who sees that it has ended sees why.
        self.flags.fetch_or(flag, Ordering::AcqRel)
    }

    fn has(&self, flags: u32) -> bool {
        self.flags.load(Ordering::Acquire) & flags != 0
    }

    /// Whether no outcome of it counts any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.has(ENDED)
    }

    /// Whether its cell's state alone says whether it is finished.
    pub(crate) fn is_plain(&self) -> bool {
        self.has(ONE) && !self.has(WATCHED)
    }

    /// Ends it. False if it has ended before.
    pub(crate) fn end(&self) -> bool {
        self.set(ENDED) & ENDED == 0
    }

    /// To be called after [`end`](Self::end), when whoever waits has been told.
    pub(crate) fn over(&self, pool: &Inner) {
        let Some(deal) = self.deal.get() else { return };
        if deal.limit() > 0 {
            pool.crew.time(deal.limit(), true);
        }
        if self.has(WATCHED) {
            pool.hub.unwatch();
        }
        pool.hub.end(pool);
    }

    /// Whether somebody looks at its outcome when it comes.
    pub(crate) fn has_watcher(&self) -> bool {
        self.has(WATCHED)
    }

    /// Has its outcome looked at when it comes. Whether nobody did before.
    pub(crate) fn watch(&self) -> bool {
        let unless_ended = |flags| (flags & (WATCHED | ENDED) == 0).then_some(flags | WATCHED);
        // AcqRel: as in `set`.
        let watched = self
            .flags
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_ended);
        watched.is_ok()
    }

    /// What becomes of `item` after `error`: its outcome, unless it is to be tried again.
    #[cold]
    fn judge(
        &self,
        me: &Arc<dyn Job>,
        pool: &Inner,
        collected: &Collected,
        item: u64,
        error: TaskError,
        again: &mut Vec<Waiting>,
    ) -> Option<TaskError> {
        let verdict = match (self.retries.get(), self.deal.get()) {
            (Some(retries), Some(deal)) if !self.has(STOPPED | ENDED) => {
                // The user's code, so without a lock.
                let wanted = is_wanted(deal.options.retry_if.as_ref(), &error);
                let mut retries = retries.lock().unwrap_or_else(PoisonError::into_inner);
                retries.judge(item, error, wanted)
            }
            _ => Verdict::Final(error),
        };
        let (attempt, due, error) = match verdict {
            Verdict::Final(error) => return Some(error),
            Verdict::Again {
                attempt,
                due,
                error,
            } => (attempt, due, error),
        };
        let at = (item - collected.first) as u32;
        let Some(prepared) = Prepared::again(pool, collected.index, at) else {
            return Some(error);
        };
        self.cell.store(0, Ordering::Relaxed);
        again.push(Waiting {
            job: Arc::clone(me),
            prepared,
            first: item,
            attempt,
            due,
        });
        None
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

#[allow(private_interfaces, reason = "sealed")]
impl<D: Done> Job for D {
    fn terms(&self) -> &Terms {
        static NONE: OnceLock<Terms> = OnceLock::new();
        match self.slot().deal.get() {
            Some(deal) => &deal.terms,
            None => NONE.get_or_init(Terms::none),
        }
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self.slot()).addr()
    }

    fn stop(&self) {
        self.slot().set(STOPPED);
    }

    fn is_stopped(&self) -> bool {
        self.slot().has(STOPPED | ENDED)
    }

    fn take(&self, me: &Arc<dyn Job>, pool: &Inner, collected: &Collected) -> Vec<Waiting> {
        let slot = self.slot();
        let mut again = Vec::new();
        if slot.is_ended() {
            return again;
        }
        slot.spent.fetch_add(collected.nanos, Ordering::Relaxed);
        let mut records = Records(collected.output);
        let (mut had, mut failed) = (0, false);
        let items = collected.first..collected.first + u64::from(collected.items);
        let mut outcomes = items.filter_map(|item| {
            let outcome = match outcome::outcome(records.next()) {
                Ok(bytes) => Ok(bytes),
                Err(error) => {
                    let error = slot.judge(me, pool, collected, item, error, &mut again)?;
                    failed = true;
                    Err(error)
                }
            };
            had += 1;
            Some((item, outcome))
        });
        Done::take(self, &mut outcomes);
        outcomes.for_each(drop);
        if failed {
            slot.set(FAILED);
        }
        // Release: pairs with the Acquire of `settle`.
        slot.left.fetch_sub(had, Ordering::Release);
        // The hook for events is the user's, too.
        for task in &again {
            pool.retried(task.first, task.attempt);
        }
        again
    }

    fn fail(&self, first: u64, items: u32, error: &TaskError) {
        let slot = self.slot();
        if slot.is_ended() {
            return;
        }
        let items = first..first + u64::from(items);
        let had = items.end - items.start;
        Done::take(self, &mut items.map(|item| (item, Err(error.clone()))));
        slot.set(FAILED);
        slot.left.fetch_sub(had, Ordering::Release);
    }

    fn cell(&self) -> Option<Option<u32>> {
        let slot = self.slot();
        slot.has(ONE)
            .then(|| slot.cell.load(Ordering::Relaxed).checked_sub(1))
    }

    fn placed(&self, index: u32) {
        self.slot().cell.store(index + 1, Ordering::Relaxed);
    }

    fn settle(&self, pool: &Inner) {
        let slot = self.slot();
        let failing =
            slot.has(FAILED) && slot.deal.get().is_some_and(|deal| deal.options.fail_fast);
        // Acquire: pairs with the Release of those who took outcomes in.
        if slot.left.load(Ordering::Acquire) > 0 && !failing || !slot.end() {
            return;
        }
        if failing {
            slot.set(STOPPED);
            pool.stop_job(self, true);
        }
        let spent = Duration::from_nanos(slot.spent.load(Ordering::Relaxed));
        self.finish(spent);
        slot.over(pool);
    }
}
