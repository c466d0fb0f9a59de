//! A pool's workers, as the program sees them: started, watched, settled after death, replaced.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use procession_primitives::{
    BlockId, Death, Family, FamilyError, News, Phase, Process, StartError,
};

use crate::TaskError;
use crate::cell::{Cell, Kind, WorkerIndex};
use crate::shared::{OPEN, Place, Shared};
use crate::task::Task;
use crate::worker;

/// A finished task that no mailbox may name: cell and lap.
type Orphan = (u32, u32);

/// The workers of a pool.
#[derive(Debug)]
pub(crate) struct Crew {
    family: &'static Family,
    place: Place,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    workers: Vec<Option<Process<()>>>,
    /// Up to when deaths were looked for.
    seen: Option<News>,
    orphans: Vec<Orphan>,
    /// Hints did not fit into the ring: offer again.
    offer_again: bool,
    /// Workers that died before they were ready, since the last one that got there.
    early_deaths: usize,
    /// Why there are fewer workers than wanted.
    trouble: Option<String>,
    closing: bool,
}

impl Crew {
    /// Starts `place.workers` workers.
    pub(crate) fn start(family: &'static Family, place: Place) -> Result<Crew, StartError> {
        let crew = Crew {
            family,
            place,
            state: Mutex::default(),
        };
        for index in 0..place.workers {
            // On an error the drop of `crew` ends those already started.
            crew.lock().workers.push(Some(hire(place, index)?));
        }
        Ok(crew)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles and replaces the workers that have died until `news`.
    pub(crate) fn attend(&self, shared: &Shared, news: News, offers: &Mutex<()>) {
        let mut state = self.lock();
        if state.seen == Some(news) && !state.offer_again && !state.is_wanted(shared) {
            return;
        }
        state.seen = Some(news);
        let offer_again = std::mem::take(&mut state.offer_again);
        let mut died = false;
        for index in 0..self.place.workers {
            let slot = &mut state.workers[index as usize];
            let Some(status) = slot.as_ref().and_then(Process::try_wait) else {
                continue;
            };
            let pid = slot.take().map_or(0, |worker| worker.pid());
            died = true;
            shared.forget(index);
            let line = shared.worker(index);
            if line.is_some_and(|line| line.ready.swap(0, Ordering::Relaxed) != 0) {
                state.early_deaths = 0;
            } else {
                state.early_deaths += 1;
            }
            let death = Death::new(pid, status, Phase::Idle);
            state.trouble = Some(death.to_string());
            state.settle_worker(shared, index, &death);
        }
        if state.workers.iter().any(Option::is_none) && has_work(shared) {
            state.refill(self.place);
        }
        if died || offer_again {
            state.offer_again = !offer_queued(shared, offers);
        }
    }

    /// Has all queued tasks offered again at the next occasion.
    pub(crate) fn offer_again(&self) {
        self.lock().offer_again = true;
    }

    /// Whether nobody is left to run a task, and why.
    pub(crate) fn is_deserted(&self) -> Option<TaskError> {
        let state = self.lock();
        if state.workers.iter().any(Option::is_some) {
            return None;
        }
        let trouble = state.trouble.clone().unwrap_or_default();
        Some(if state.closing {
            TaskError::Closed
        } else {
            TaskError::NoWorkers(trouble.into())
        })
    }

    /// Tries again to replace missing workers, for a new call.
    pub(crate) fn rally(&self) {
        let mut state = self.lock();
        if state.workers.iter().any(Option::is_none) {
            state.early_deaths = 0;
            state.refill(self.place);
        }
    }

    /// Takes the orphans among the tasks that `mine` says are the caller's.
    pub(crate) fn take_orphans(
        &self,
        shared: &Shared,
        mine: impl Fn(&Cell) -> bool,
        into: &mut Vec<u32>,
    ) {
        let mut state = self.lock();
        state.orphans.retain(|&(index, lap)| {
            let Some(cell) = shared.cell(index) else {
                return false;
            };
            let now = cell.state();
            if now.kind != Kind::Done || now.lap != lap {
                // Collected by way of the mailbox.
                return false;
            }
            if mine(cell) {
                into.push(index);
                return false;
            }
            true
        });
    }

    /// Stops replacing workers that leave.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
    }

    /// Whether every worker has left.
    pub(crate) fn is_gone(&self) -> bool {
        let state = self.lock();
        state
            .workers
            .iter()
            .flatten()
            .all(|worker| !worker.is_alive())
    }

    /// Process ids of the workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let state = self.lock();
        state.workers.iter().flatten().map(Process::pid).collect()
    }

    /// Ends every worker now, and waits until they are gone.
    pub(crate) fn terminate(&self, shared: &Shared) {
        let mut state = self.lock();
        state.closing = true;
        let workers: Vec<_> = state.workers.iter_mut().map(Option::take).collect();
        end(&workers);
        for (index, worker) in (0..).zip(&workers) {
            if let Some(worker) = worker {
                let death = Death::new(worker.pid(), worker.wait(), Phase::Idle);
                state.settle_worker(shared, index, &death);
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // In a fork of the program the workers are the parent's.
        if self.family.is_present() {
            let workers: Vec<_> = self.lock().workers.iter_mut().map(Option::take).collect();
            end(&workers);
        }
    }
}

/// Whether workers that leave have to be replaced.
fn has_work(shared: &Shared) -> bool {
    shared.header().phase.0.load(Ordering::Relaxed) == OPEN
        || shared
            .cells()
            .any(|(_, cell)| cell.state().kind == Kind::Queued)
}

/// Kills all first, then waits for each, so that nobody waits twice.
fn end(workers: &[Option<Process<()>>]) {
    for worker in workers.iter().flatten() {
        // Refused only where it is gone already.
        let _ = worker.kill();
    }
    for worker in workers.iter().flatten() {
        worker.wait();
    }
}

fn hire(place: Place, index: WorkerIndex) -> Result<Process<()>, StartError> {
    let start = || {
        let name = format!("PoolWorker-{}", index + 1);
        let builder = Process::builder().name(name).daemon(true);
        let builder = builder.ignore_interrupts(true);
        builder.spawn(worker::work, (place, index))
    };
    match start() {
        // If it had made a worker, that one has died with it: ask the next supervisor.
        Err(StartError::Family(FamilyError::SupervisorDied)) => start(),
        started => started,
    }
}

impl State {
    /// Whether workers have left a closed pool to which a call that is not at its end has given
    /// more tasks since.
    fn is_wanted(&self, shared: &Shared) -> bool {
        let closed = shared.header().phase.0.load(Ordering::Relaxed) != OPEN;
        closed && self.workers.iter().any(Option::is_none) && has_work(shared)
    }

    fn refill(&mut self, place: Place) {
        if self.closing {
            return;
        }
        // A worker that cannot even start is not tried for ever.
        let limit = 3 * place.workers as usize + 10;
        for index in 0..place.workers {
            let slot = &mut self.workers[index as usize];
            if slot.is_some() || self.early_deaths > limit {
                continue;
            }
            match hire(place, index) {
                Ok(worker) => *slot = Some(worker),
                Err(error) => {
                    self.trouble = Some(error.to_string());
                    return;
                }
            }
        }
    }

    /// Gives the tasks of dead worker `index` their due.
    fn settle_worker(&mut self, shared: &Shared, index: WorkerIndex, death: &Death) {
        for (at, cell) in shared.cells() {
            let state = cell.state();
            if state.worker != index {
                continue;
            }
            match state.kind {
                Kind::Claimed => self.settle_task(shared, index, at, cell, death),
                // Whether it got as far as the mailbox, the call finds out.
                Kind::Done => self.orphans.push((at, state.lap)),
                _ => {}
            }
        }
    }

    fn settle_task(
        &mut self,
        shared: &Shared,
        index: WorkerIndex,
        at: u32,
        cell: &'static Cell,
        death: &Death,
    ) {
        free_half_moved(shared, cell);
        let settled = Task::resume(*shared, at, cell).map(|mut task| task.settle(death));
        if let Some(Ok(false)) = settled {
            // The items that it had not begun run elsewhere; those it had finished are kept.
            cell.queue();
        } else {
            cell.finish(index);
            self.orphans.push((at, cell.state().lap));
        }
    }
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

/// Offers every queued task: a dead worker may have taken a hint without claiming the task.
fn offer_queued(shared: &Shared, offers: &Mutex<()>) -> bool {
    let _one_at_a_time = offers.lock().unwrap_or_else(PoisonError::into_inner);
    let mut offered = 0;
    for (at, cell) in shared.cells() {
        if cell.state().kind == Kind::Queued {
            if !shared.offer(at) {
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
