//! A pool's workers, as the program sees them: started, watched, settled after death, replaced.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use procession_primitives::{Death, Family, News, Phase, Process, StartError};

use crate::TaskError;
use crate::builder::Config;
use crate::cell::{Cell, Kind, WorkerIndex};
use crate::event::Event;
use crate::roster::{Slot, State};
use crate::settle::{self, Orphan};
use crate::shared::{OPEN, Offers, Place, Shared};
use crate::task::Verdict;
use crate::worker::Leave;

/// The workers of a pool.
#[derive(Debug)]
pub(crate) struct Crew {
    family: &'static Family,
    place: Place,
    config: Config,
    state: Mutex<State>,
    /// Workers that have left for want of work, or were never started.
    resting: AtomicUsize,
    /// There is no worker, nor one that rests.
    deserted: AtomicBool,
    /// Whether an item in hand may have to be ended at some time.
    timed: AtomicBool,
}

/// A worker, as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) index: WorkerIndex,
    pub(crate) pid: u32,
    pub(crate) lives: u64,
    pub(crate) started_at: u64,
    pub(crate) memory: Option<procession_primitives::MemoryUsage>,
}

impl Crew {
    /// Starts the workers.
    pub(crate) fn start(
        family: &'static Family,
        shared: &Shared,
        place: Place,
        config: Config,
    ) -> Result<Crew, StartError> {
        let target = shared.target();
        let crew = Crew {
            family,
            place,
            state: Mutex::default(),
            resting: AtomicUsize::new(0),
            deserted: AtomicBool::new(false),
            timed: AtomicBool::new(config.start_timeout.is_some()),
            config,
        };
        let mut state = crew.lock();
        state.slots.resize_with(target as usize, Slot::default);
        for index in 0..target {
            let slot = &mut state.slots[index as usize];
            if crew.config.lazy {
                slot.resting = true;
                crew.resting.fetch_add(1, Ordering::Relaxed);
            } else {
                // On an error the drop of `crew` ends those already started.
                let started = slot.start(&crew.config, place, index)?;
                state.events.push(started);
            }
        }
        drop(state);
        Ok(crew)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles and replaces the workers that have died until `news`, and ends those whose item
    /// takes too long. What has happened, and until when to look again.
    pub(crate) fn attend(
        &self,
        shared: &Shared,
        news: News,
        offers: &Mutex<Offers>,
    ) -> (Vec<Event>, Option<Instant>) {
        let mut state = self.lock();
        if state.seen != Some(news) || state.offer_again || state.is_wanted(shared) {
            state.seen = Some(news);
            let offer_again = std::mem::take(&mut state.offer_again);
            let mut ended = false;
            for index in 0..state.slots.len() {
                ended |= state.bury(shared, index as u32, self.config.fragile);
            }
            if state.is_wanted(shared) {
                state.refill(&self.config, self.place, shared);
            }
            if ended || offer_again {
                state.offer_again = !settle::offer_queued(shared, offers);
            }
            self.count_resting(&state);
        }
        // After that: workers that were started just now may take too long for it.
        let timed = self.timed.load(Ordering::Relaxed);
        let deadline = timed.then(|| state.end_overdue(shared, &self.config));
        (std::mem::take(&mut state.events), deadline.flatten())
    }

    fn count_resting(&self, state: &State) {
        let resting = state.slots.iter().filter(|slot| slot.resting).count();
        self.resting.store(resting, Ordering::Relaxed);
        let deserted = !state.slots.iter().any(Slot::is_manned);
        self.deserted.store(deserted, Ordering::Relaxed);
    }

    /// After an offer: starts a worker if all that could take it are at work, and one rests.
    pub(crate) fn call_resting(&self, shared: &Shared) {
        if self.resting.load(Ordering::Relaxed) == 0 || shared.anyone_idle() {
            return;
        }
        let mut state = self.lock();
        if state.are_too_few(shared)
            && let Some(index) = state.slots.iter().position(|slot| slot.resting)
        {
            state.revive(&self.config, self.place, index as u32);
            self.count_resting(&state);
        }
    }

    /// Has all queued tasks offered again at the next occasion.
    pub(crate) fn offer_again(&self) {
        self.lock().offer_again = true;
    }

    /// Whether nobody is left to run a task, and why.
    pub(crate) fn is_deserted(&self, shared: &Shared) -> Option<TaskError> {
        let state = self.lock();
        if state.slots.iter().any(Slot::is_manned) {
            return None;
        }
        Some(if let Some(ended) = &state.ended {
            ended.clone()
        } else if state.closing {
            TaskError::Closed
        } else if let Some(failed) = &state.failed {
            failed.clone()
        } else if shared.header().phase.0.load(Ordering::Relaxed) != OPEN {
            // They have left before this task came.
            TaskError::Closed
        } else {
            let trouble = state.trouble.clone();
            trouble.unwrap_or_else(|| TaskError::NoWorkers("none was started".into()))
        })
    }

    /// Whether there was nobody when that was last looked at.
    pub(crate) fn looks_deserted(&self) -> bool {
        self.deserted.load(Ordering::Relaxed)
    }

    /// Whether a worker has left for want of work, or was never started.
    pub(crate) fn has_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed) > 0
    }

    /// Whether items may have to be ended at some time.
    pub(crate) fn is_timed(&self) -> bool {
        self.timed.load(Ordering::Relaxed)
    }

    /// The death that has broken a fragile pool.
    pub(crate) fn broken(&self) -> Option<Death> {
        match &self.lock().failed {
            Some(TaskError::Broken(death)) => Some((**death).clone()),
            _ => None,
        }
    }

    /// Tries again to replace missing workers, for a new call.
    pub(crate) fn rally(&self, shared: &Shared) {
        let mut state = self.lock();
        let target = shared.target() as usize;
        let missing = |slot: &Slot| !slot.is_manned();
        if state.slots.iter().take(target).any(missing) {
            if state.failed.is_none() {
                state.early_deaths = 0;
            }
            state.refill(&self.config, self.place, shared);
            self.count_resting(&state);
        }
    }

    /// Makes it `target` workers.
    pub(crate) fn resize(&self, shared: &Shared, target: u32) {
        let mut state = self.lock();
        shared.header().target.0.store(target, Ordering::Relaxed);
        let len = state.slots.len().max(target as usize);
        state.slots.resize_with(len, Slot::default);
        for index in target..len as u32 {
            state.slots[index as usize].resting = false;
            shared.call_worker(index);
        }
        state.refill(&self.config, self.place, shared);
        self.count_resting(&state);
    }

    /// Takes the orphans among the tasks that `mine` says are the caller's.
    pub(crate) fn take_orphans(
        &self,
        shared: &Shared,
        mine: impl Fn(&Cell) -> bool,
        into: &mut Vec<Orphan>,
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
                into.push((index, lap));
                return false;
            }
            true
        });
    }

    /// Counts a call whose items may take `limit` microseconds, until `is_over`. Whether whoever
    /// sleeps has to know, since its items may take less than any others.
    pub(crate) fn time(&self, limit: u64, is_over: bool) -> bool {
        let mut state = self.lock();
        let sooner = !is_over
            && state
                .limits
                .keys()
                .next()
                .is_none_or(|least| limit < *least);
        if is_over {
            if let Some(count) = state.limits.get_mut(&limit) {
                *count -= 1;
                if *count == 0 {
                    state.limits.remove(&limit);
                }
            }
        } else {
            *state.limits.entry(limit).or_default() += 1;
        }
        let timed = !state.limits.is_empty() || self.config.start_timeout.is_some();
        self.timed.store(timed, Ordering::Relaxed);
        sooner
    }

    /// Ends claimed task `index`: the item in hand with its worker, those behind it by leaving
    /// them alone. The caller has seen it claimed by worker `worker`. Whether there was one in hand.
    pub(crate) fn stop(
        &self,
        shared: &Shared,
        index: u32,
        cell: &Cell,
        worker: WorkerIndex,
    ) -> bool {
        cell.stop.store(1, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `WorkerLine::guard`: either we see the item that it
        // begins, or it sees that the task is stopped.
        fence(Ordering::SeqCst);
        let mut state = self.lock();
        let line = shared.worker(worker);
        if let Some(line) = line
            && let Some(item) = line.in_hand()
            && item.cell == index
            && let Some(slot) = state.slots.get_mut(worker as usize)
            && line.condemn(item)
        {
            slot.execute(Verdict::Cancelled);
            return true;
        }
        false
    }

    /// Stops replacing workers that leave.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
    }

    /// Whether every worker has left.
    pub(crate) fn is_gone(&self) -> bool {
        let state = self.lock();
        let alive = |slot: &Slot| slot.process.as_ref().is_some_and(Process::is_alive);
        !state.slots.iter().any(alive)
    }

    /// Process ids of the workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let state = self.lock();
        let workers = state.slots.iter().filter_map(|slot| slot.process.as_ref());
        workers.map(Process::pid).collect()
    }

    /// Workers that took the place of a dead one.
    pub(crate) fn restarts(&self) -> usize {
        self.lock().restarts
    }

    /// The workers as they are now.
    pub(crate) fn looks(&self) -> Vec<Look> {
        let state = self.lock();
        let mut looks = Vec::new();
        for (index, slot) in (0..).zip(&state.slots) {
            if let Some(process) = &slot.process {
                looks.push(Look {
                    index,
                    pid: process.pid(),
                    lives: slot.lives,
                    started_at: slot.started_at,
                    memory: process.memory(),
                });
            }
        }
        looks
    }

    /// Ends every worker now, and waits until they are gone. Tasks that are left have this outcome.
    pub(crate) fn terminate(&self, shared: &Shared, outcome: &TaskError) {
        let mut state = self.lock();
        state.closing = true;
        state.ended.get_or_insert_with(|| outcome.clone());
        let workers: Vec<_> = state
            .slots
            .iter_mut()
            .map(|slot| slot.process.take())
            .collect();
        end(&workers);
        for (index, worker) in (0..).zip(&workers) {
            if let Some(worker) = worker {
                let death = Death::new(worker.pid(), worker.wait(), Phase::Idle);
                let verdict = state.slots[index as usize].verdict.take();
                let verdict = verdict.unwrap_or(Verdict::Died);
                settle::settle(shared, index, &death, verdict, &mut state.orphans);
            }
        }
        self.count_resting(&state);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // In a fork of the program the workers are the parent's.
        if self.family.is_present() {
            let mut state = self.lock();
            let workers: Vec<_> = state
                .slots
                .iter_mut()
                .map(|slot| slot.process.take())
                .collect();
            end(&workers);
        }
    }
}

/// Kills all first, then waits for each, so that nobody waits twice.
fn end(workers: &[Option<Process<Leave>>]) {
    for worker in workers.iter().flatten() {
        // Refused only where it is gone already.
        let _ = worker.kill();
    }
    for worker in workers.iter().flatten() {
        worker.wait();
    }
}
