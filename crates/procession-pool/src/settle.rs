//! Gives the tasks of a dead worker their due.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use procession_primitives::{BlockId, Death, Phase, monotonic_nanos};

use crate::cell::{Cell, Kind, WorkerIndex};
use crate::shared::{Offers, Shared};
use crate::task::{Task, Verdict};

/// A finished task that no mailbox may name: cell and lap.
pub(crate) type Orphan = (u32, u32);

/// In the ring of a task that is for one worker alone, and never offered.
pub(crate) const NO_RING: u32 = u32::MAX;

/// Settles what dead worker `index` had in hand. Adds finished tasks that may be in no mailbox. How far
/// it was with an item, if it had begun one.
pub(crate) fn settle(
    shared: &Shared,
    index: WorkerIndex,
    death: &Death,
    verdict: Verdict,
    orphans: &mut Vec<Orphan>,
) -> Option<Phase> {
    let mut begun = None;
    for (at, cell) in shared.cells() {
        let state = cell.state();
        if state.worker != index {
            continue;
        }
        match state.kind {
            Kind::Claimed => {
                begun = Some(cell.at().1).filter(|phase| *phase != Phase::Idle);
                free_half_moved(shared, cell);
                // It could not add its time itself.
                let claimed = cell.claimed_at.load(Ordering::Relaxed);
                if claimed != 0 {
                    let spent = monotonic_nanos().saturating_sub(claimed);
                    cell.nanos.fetch_add(spent, Ordering::Relaxed);
                }
                let task = Task::resume(*shared, cell);
                let settled = task.map(|mut task| task.settle(death, verdict));
                if let Some(Ok(false)) = settled {
                    // The items that it had not begun run elsewhere; those it had finished are
                    // kept. They have waited once.
                    let is_letter = cell.ring.load(Ordering::Relaxed) == NO_RING;
                    if !is_letter {
                        cell.ring.store(0, Ordering::Relaxed);
                    }
                    cell.queue();
                    if is_letter && let Some(line) = shared.worker(index) {
                        // For whoever takes its place.
                        line.letter.store(at + 1, Ordering::Relaxed);
                    }
                } else {
                    cell.finish(index);
                    orphans.push((at, cell.state().lap));
                }
            }
            // Whether it got as far as the mailbox, the call finds out.
            Kind::Done => orphans.push((at, state.lap)),
            _ => {}
        }
    }
    begun
}

/// Frees the block that a killed worker was moving the output from, or to.
fn free_half_moved(shared: &Shared, cell: &Cell) {
    let output = cell.output.load(Ordering::Acquire);
    for word in [&cell.output_old, &cell.output_new] {
        let block = word.swap(0, Ordering::Relaxed);
        if block != output
            && let Some(block) = BlockId::from_word(block)
        {
            shared.free(block);
        }
    }
}

/// Offers every queued task: a dead worker may have taken a hint without claiming the task. False
/// if a ring is full.
pub(crate) fn offer_queued(shared: &Shared, offers: &Mutex<Offers>) -> bool {
    let mut offers = offers.lock().unwrap_or_else(PoisonError::into_inner);
    let mut offered = 0;
    for (at, cell) in shared.cells() {
        let ring = cell.ring.load(Ordering::Relaxed);
        if cell.state().kind == Kind::Queued && ring != NO_RING {
            if !shared.offer(&mut offers, at, ring as usize) {
                shared.call_all();
                return false;
            }
            offered += 1;
        }
    }
    if offered > 0 {
        shared.call_one();
    }
    true
}

/// How many tasks wait for a worker, whichever.
pub(crate) fn queued(shared: &Shared) -> usize {
    let waits = |cell: &Cell| {
        cell.state().kind == Kind::Queued && cell.ring.load(Ordering::Relaxed) != NO_RING
    };
    shared.cells().filter(|(_, cell)| waits(cell)).count()
}

/// Whether a task waits for a worker or is with one.
pub(crate) fn has_work(shared: &Shared) -> bool {
    shared
        .cells()
        .any(|(_, cell)| matches!(cell.state().kind, Kind::Queued | Kind::Claimed))
}
