//! The arena's heap: runs of 64 KiB units, each with exactly one owner.
//!
//! A table word per unit describes the run that starts there. The words of the runs between unit
//! 0 and `end` form a chain (each tells its length, so where the next begins). Allocating holds
//! the heap lock; every change is ordered so that one store is the commit, and the chain is whole
//! before and after it: whoever is killed inside leaves nothing to repair. Freeing takes no lock,
//! so that the supervisor, which frees for the dead, never waits for anybody.
//!
//! | word | meaning | who leaves this state |
//! |---|---|---|
//! | free, length | may be taken or merged with its free successor | the holder of the heap lock |
//! | used, owner, length, generation | belongs to that member | its owner: free, give, grow; after the owner's death whoever settles it |
//!
//! A word that says *used* is always the head of a run: what lies inside a run was free when it
//! was merged.
//!
//! Beside it each unit has a tag, which tells what a used run is for; that of a free one means nothing.
//!
//! | owner | tag | the run is | who leaves this state |
//! |---|---|---|---|
//! | a member | 0 | anything | that member, to the next |
//! | a member | `CARRIER` | bytes with handles of objects on board | as above, when all have arrived, or to the last |
//! | a member | an object's number | on its way into the object, or out of it | as above; killed here, it leaves a possible carrier |
//! | a member | `PAGE` | on its way to become a page | as above |
//! | the objects | an object's number | a part of that object | whoever frees the object; its taker, who changes first the owner and then the tag |
//! | the objects | `PAGE` | a page of the table | the holder of the table's lock |
//!
//! `first_free` is where searches start, and must be the head of a run. It is lowered, to a used
//! head, just before that one becomes free; and raised by the holder of the lock, who finds no
//! free run before the new place. A run that becomes free behind the back of a search may be
//! passed over; `frees` tells when it is time to search from the start again.

use std::fmt;
mod report;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::block::BlockId;
use super::{Arena, RawLock, UNIT};
use crate::family::Family;
use crate::park::monotonic_micros;
use crate::{member, object};

const USED: u64 = 1 << 63;
const OWNER_SHIFT: u32 = 51;
const OWNER_MASK: u64 = (1 << 12) - 1;
const LEN_SHIFT: u32 = 27;
const LEN_MASK: u64 = (1 << 24) - 1;
const GENERATION_MASK: u64 = (1 << 27) - 1;

/// Free memory up to this much stays committed, because touching a new page costs microseconds.
const WARM_UNITS: u32 = 1024;

/// From this size on, an allocation first asks how much memory the machine has left.
const ASK_FROM: usize = 4 << 20;

/// Asking takes hundreds of microseconds, so an answer holds for so long, and for so small a share of
/// what was left: as many processes as can run meanwhile take no more than is kept back anyway.
const GRANT_MICROS: u64 = 10_000;
const GRANT_SHARE: u64 = 16;

/// The heap's own words.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct HeapState {
    lock: RawLock,
    end: AtomicU32,
    first_free: AtomicU32,
    /// About how many free units still have memory behind them: a hint.
    warm: AtomicU32,
    /// Runs freed so far, and how many of them there were at the last search from the start.
    frees: AtomicU32,
    searched: AtomicU32,
}

impl HeapState {
    pub(super) fn release_lock(&self, slot: u32) {
        self.lock.release_for_dead(slot);
    }
}

/// There is no room for a block of this many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    pub(crate) bytes: usize,
}

impl OutOfMemory {
    /// No room for `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> OutOfMemory {
        OutOfMemory { bytes }
    }

    /// How many bytes were asked for.
    #[must_use]
    pub fn requested(&self) -> usize {
        self.bytes
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no memory for {} shared bytes", self.bytes)
    }
}

impl std::error::Error for OutOfMemory {}

/// What [`Arena::heap_report`] found, in units of 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapUsage {
    /// Units that belong to somebody.
    pub used: u32,
    /// Units that have ever been in use at once, as far as the heap's end went.
    pub spanned: u32,
    /// Whether all runs together make up the heap: false would be a defect.
    pub whole: bool,
}

/// A table word, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    owner: Option<u32>,
    units: u32,
    generation: u32,
}

impl Run {
    fn from_word(word: u64) -> Run {
        Run {
            owner: (word & USED != 0).then_some(((word >> OWNER_SHIFT) & OWNER_MASK) as u32),
            units: ((word >> LEN_SHIFT) & LEN_MASK) as u32,
            generation: (word & GENERATION_MASK) as u32,
        }
    }

    fn to_word(self) -> u64 {
        let owner = self
            .owner
            .map_or(0, |slot| USED | u64::from(slot) << OWNER_SHIFT);
        owner | u64::from(self.units) << LEN_SHIFT | u64::from(self.generation) & GENERATION_MASK
    }
}

fn units_for(bytes: usize) -> Option<u32> {
    let units = u32::try_from(bytes.max(1).div_ceil(UNIT)).ok()?;
    (u64::from(units) <= LEN_MASK).then_some(units)
}

/// Whether a run of this size is more than the machine has left.
fn exceeds_memory(bytes: usize) -> bool {
    /// When this process has asked, in microseconds, and what it may take without asking again.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    static GRANTED: AtomicU64 = AtomicU64::new(0);
    static CPUS: OnceLock<u64> = OnceLock::new();

    if bytes < ASK_FROM {
        return false;
    }
    let (bytes, now) = (bytes as u64, monotonic_micros());
    let take = |granted: u64| granted.checked_sub(bytes);
    let relaxed = Ordering::Relaxed;
    if now.saturating_sub(ASKED.load(relaxed)) < GRANT_MICROS
        && GRANTED.fetch_update(relaxed, relaxed, take).is_ok()
    {
        return false;
    }
    let Some(left) = crate::memory::available_memory() else {
        return false;
    };
    let cpus = CPUS.get_or_init(|| crate::cpu_count().get() as u64);
    GRANTED.store(left / (GRANT_SHARE * cpus), relaxed);
    ASKED.store(now, relaxed);
    bytes > left
}

impl Arena {
    fn run(&self, unit: u32) -> Run {
        // Acquire: a free run is taken after its last user has let go of it.
        Run::from_word(self.heap_entry(unit).load(Ordering::Acquire))
    }

    fn set_run(&self, unit: u32, run: Run) {
        // Release: stores stay in this order, which is what a kill in between relies on.
        self.heap_entry(unit)
            .store(run.to_word(), Ordering::Release);
    }

    /// Takes a run of at least `bytes` bytes for the calling member. Its length, and whether it was
    /// never used before, so that its memory is all 0.
    pub(super) fn take_run(
        &self,
        family: &Family,
        bytes: usize,
    ) -> Result<(BlockId, usize, bool), OutOfMemory> {
        let refused = OutOfMemory { bytes };
        let units = units_for(bytes).ok_or(refused)?;
        if !family.is_present() {
            return Err(refused);
        }
        let heap = &self.header().heap.0;
        let mut has_asked = bytes < ASK_FROM;
        let (held, unit) = loop {
            let held = heap.lock.acquire(family);
            // What is warm has its memory already. Under the lock: `warm` is less by what each one takes.
            let may_take = has_asked || heap.warm.load(Ordering::Relaxed) >= units;
            if may_take && let Some(unit) = self.find_free(units) {
                break (held, unit);
            }
            if has_asked {
                break (held, self.room_at_end(units).ok_or(refused)?);
            }
            // Without the lock: it takes long.
            drop(held);
            if exceeds_memory(bytes) {
                return Err(refused);
            }
            has_asked = true;
        };
        let generation = (self.run(unit).generation + 1) & GENERATION_MASK as u32;
        let generation = generation.max(1);
        let run = Run {
            owner: Some(family.me().slot()),
            units,
            generation,
        };
        let end = heap.end.load(Ordering::Relaxed);
        // While the run is free. Its last owner could not, lest it be killed with a run that says
        // nothing of what it is for.
        let tag = self.tag(unit);
        if tag.load(Ordering::Relaxed) != 0 {
            tag.store(0, Ordering::Relaxed);
        }
        self.set_run(unit, run);
        if unit == end {
            // The commit: from here on the chain reaches over the new run. Release: whoever
            // settles its owner sees the word.
            heap.end.store(end + units, Ordering::Release);
        }
        // The end never comes back. One that was killed before it moved the end has used nothing.
        let fresh = unit == end;
        let id = BlockId::new(unit, generation);
        drop(held);
        Ok((id, units as usize * UNIT, fresh))
    }

    /// The first free run of at least `units`, cut to size.
    fn find_free(&self, units: u32) -> Option<u32> {
        let heap = &self.header().heap.0;
        if let Some(unit) = self.search(units) {
            return Some(unit);
        }
        // Passed-over runs are few: worth a search from the start only now and then.
        let frees = heap.frees.load(Ordering::Relaxed);
        let since = frees.wrapping_sub(heap.searched.load(Ordering::Relaxed));
        let end = heap.end.load(Ordering::Relaxed);
        if since == 0 || u64::from(since) * 16 < u64::from(end) {
            return None;
        }
        heap.searched.store(frees, Ordering::Relaxed);
        heap.first_free.store(0, Ordering::Relaxed);
        self.search(units)
    }

    /// Searches from `first_free` on. Merges neighbours on its way.
    fn search(&self, units: u32) -> Option<u32> {
        let heap = &self.header().heap.0;
        let end = heap.end.load(Ordering::Relaxed);
        let start = heap.first_free.load(Ordering::Relaxed);
        let mut unit = start;
        let mut first = None;
        let mut found = None;
        while unit < end {
            let run = self.run(unit);
            if run.owner.is_none() {
                first.get_or_insert(unit);
                let merged = self.merge_after(unit, run, end);
                if merged.units >= units {
                    self.split(unit, merged, units);
                    found = Some(unit);
                    break;
                }
                unit += merged.units;
            } else {
                unit += run.units;
            }
        }
        if found.is_some() {
            // Whoever freed it kept its memory, as a rule: it is no longer spare.
            let warm = heap.warm.load(Ordering::Relaxed);
            heap.warm
                .store(warm.saturating_sub(units), Ordering::Relaxed);
        }
        // Fails, and leaves the lower place, if somebody has freed a run before `start`.
        let next = first.unwrap_or(end);
        let _ = heap
            .first_free
            .compare_exchange(start, next, Ordering::Relaxed, Ordering::Relaxed);
        found
    }

    fn merge_after(&self, unit: u32, mut run: Run, end: u32) -> Run {
        loop {
            let next = unit + run.units;
            if next >= end {
                return run;
            }
            let after = self.run(next);
            if after.owner.is_some() {
                return run;
            }
            run.units += after.units;
            self.set_run(unit, run);
        }
    }

    fn split(&self, unit: u32, run: Run, units: u32) {
        if run.units > units {
            let rest = unit + units;
            let generation = self.run(rest).generation;
            self.set_run(
                rest,
                Run {
                    owner: None,
                    units: run.units - units,
                    generation,
                },
            );
            // The commit of the cut; before it the rest's word is inside a longer run.
            self.set_run(unit, Run { units, ..run });
        }
    }

    fn room_at_end(&self, units: u32) -> Option<u32> {
        let end = self.header().heap.0.end.load(Ordering::Relaxed);
        (end.checked_add(units)? <= self.heap_units()).then_some(end)
    }

    /// Makes the run `id` at least `bytes` long without moving it, if what follows is free.
    pub(super) fn grow_run(&self, family: &Family, id: BlockId, bytes: usize) -> Option<usize> {
        let units = units_for(bytes)?;
        if !family.is_present() || exceeds_memory(bytes) {
            return None;
        }
        let heap = &self.header().heap.0;
        let _held = heap.lock.acquire(family);
        let end = heap.end.load(Ordering::Relaxed);
        let run = self.run(id.unit());
        let more = units.checked_sub(run.units)?;
        let next = id.unit() + run.units;
        if next == end {
            self.room_at_end(more)?;
            // A free run behind the end, then the end over it: whole at each step.
            let generation = self.run(next).generation;
            let free = Run {
                owner: None,
                units: more,
                generation,
            };
            self.set_run(next, free);
            heap.end.store(end + more, Ordering::Release);
        } else {
            let after = self.run(next);
            if after.owner.is_some() {
                return None;
            }
            let merged = self.merge_after(next, after, end);
            if merged.units < more {
                return None;
            }
            self.split(next, merged, more);
        }
        // Searches must not start at `next`, which is no head any more after the merge.
        heap.first_free.fetch_min(id.unit(), Ordering::Relaxed);
        self.set_run(id.unit(), Run { units, ..run });
        Some(units as usize * UNIT)
    }

    /// Whether `id` names a run that somebody has.
    pub(crate) fn is_used(&self, id: BlockId) -> bool {
        id.unit() < self.heap_units() && {
            let run = self.run(id.unit());
            run.owner.is_some() && run.generation == id.generation()
        }
    }

    /// The runs whose tag is `tag` and that belong to the family's objects.
    pub(crate) fn tagged(&self, tag: u64) -> impl Iterator<Item = BlockId> {
        // Acquire: as in `settle_heap`.
        let end = self.header().heap.0.end.load(Ordering::Acquire);
        (0..end).filter_map(move |unit| {
            let run = self.run(unit);
            let found =
                run.owner == Some(member::OBJECTS) && self.tag(unit).load(Ordering::Relaxed) == tag;
            found.then(|| BlockId::new(unit, run.generation))
        })
    }

    /// Whether `id` names a run that `owner` has.
    pub(crate) fn owns(&self, id: BlockId, owner: u32) -> Option<usize> {
        if id.unit() >= self.heap_units() {
            return None;
        }
        let run = self.run(id.unit());
        let same = run.owner == Some(owner) && run.generation == id.generation();
        same.then_some(run.units as usize * UNIT)
    }

    /// Makes `to` the owner of `id`. Only its owner calls this.
    pub(crate) fn set_owner(&self, id: BlockId, to: u32) {
        let run = self.run(id.unit());
        // One store, and only the owner changes a used run: no lock.
        self.set_run(
            id.unit(),
            Run {
                owner: Some(to),
                ..run
            },
        );
    }

    /// Gives a run back. A stale or foreign `id` changes nothing.
    pub(super) fn free_run(&self, id: BlockId, owner: u32) {
        let Some(bytes) = self.owns(id, owner) else {
            return;
        };
        let units = (bytes / UNIT) as u32;
        let warm = self.header().heap.0.warm.load(Ordering::Relaxed);
        self.release_run(id, bytes, warm.saturating_add(units) <= WARM_UNITS);
    }

    /// Marks a used run free, which nobody uses any more.
    fn release_run(&self, id: BlockId, bytes: usize, keep_warm: bool) {
        let heap = &self.header().heap.0;
        if keep_warm {
            heap.warm
                .fetch_add((bytes / UNIT) as u32, Ordering::Relaxed);
        } else {
            // While the run is still used: nobody else can have these pages.
            self.drop_pages(id, bytes);
        }
        // Before the run is free: it is a head as long as it is used.
        heap.first_free.fetch_min(id.unit(), Ordering::Relaxed);
        let run = self.run(id.unit());
        let free = Run { owner: None, ..run };
        let tag = self.tag(id.unit()).load(Ordering::Relaxed);
        // Release: whoever takes the run comes after our last use of it.
        self.heap_entry(id.unit())
            .store(free.to_word(), Ordering::Release);
        heap.frees.fetch_add(1, Ordering::Relaxed);
        let in_passage = run.owner != Some(member::OBJECTS) && object::is_number(tag);
        if tag == object::CARRIER || in_passage {
            // It may have been the last to keep some object.
            self.header().objects.0.ask_for_sweep();
            if let Some(family) = Family::existing() {
                family.sweep_missed();
            }
        }
    }

    /// Frees whatever the dead member `owner` had, except `keep`, which goes to `heir`.
    pub(crate) fn settle_heap(&self, owner: u32, keep: Option<(BlockId, u32)>) {
        let heap = &self.header().heap.0;
        self.release_locks(owner);
        // Acquire: pairs with the Release of `take_run`. A run whose owner was killed before it
        // moved the end lies outside of the chain and is nobody's.
        let end = heap.end.load(Ordering::Acquire);
        for unit in 0..end {
            let run = self.run(unit);
            if run.owner == Some(owner) {
                let id = BlockId::new(unit, run.generation);
                match keep {
                    Some((kept, heir)) if kept == id => self.set_owner(id, heir),
                    _ => self.release_run(id, run.units as usize * UNIT, false),
                }
            }
        }
    }
}
