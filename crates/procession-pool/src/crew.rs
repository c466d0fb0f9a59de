//! A pool's workers, as the program sees them: started, watched, settled after death, replaced.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use procession_primitives::{
    Death, Family, News, Phase, Process, StartError, monotonic_micros, monotonic_nanos,
};

use crate::TaskError;
use crate::builder::Config;
use crate::cell::{Cell, Kind, WorkerIndex};
use crate::event::Event;
use crate::hire::{Hired, Output, hire};
use crate::settle::{self, Orphan, has_queued};
use crate::shared::{OPEN, Place, Shared, WorkerLine};
use crate::task::Verdict;
use crate::worker::{InitFailure, Leave};

/// The workers of a pool.
#[derive(Debug)]
pub(crate) struct Crew {
    family: &'static Family,
    place: Place,
    config: Config,
    state: Mutex<State>,
    /// Workers that have left for want of work, or were never started.
    resting: AtomicUsize,
    /// Whether an item in hand may have to be ended at some time.
    timed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    /// Up to when deaths were looked for.
    seen: Option<News>,
    orphans: Vec<Orphan>,
    /// Hints did not fit into the ring: offer again.
    offer_again: bool,
    /// Workers that died before they were ready, since the last one that got there.
    early_deaths: usize,
    /// Workers that took the place of a dead one.
    restarts: usize,
    /// Those of them that took the place of one that we had not killed.
    crashes: usize,
    /// Why there are fewer workers than wanted.
    trouble: Option<TaskError>,
    /// Why there will be no more workers.
    failed: Option<TaskError>,
    closing: bool,
    /// Limits of the calls under way, in microseconds, and how many calls have each.
    limits: BTreeMap<u64, usize>,
    events: Vec<Event>,
}

/// A worker's place.
#[derive(Debug, Default)]
struct Slot {
    process: Option<Process<Leave>>,
    output: Option<Output>,
    /// Why it was killed, if it was by us.
    verdict: Option<Verdict>,
    /// Lives there were in this place.
    lives: u64,
    /// The last one has ended by itself, or by somebody's signal.
    died: bool,
    /// The last one was killed by us.
    killed: bool,
    /// When the worker was started, in nanoseconds of the monotonic clock.
    started_at: u64,
    /// It has left for want of work: another one comes when there is some.
    resting: bool,
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
        offers: &Mutex<()>,
    ) -> (Vec<Event>, Option<Instant>) {
        let mut state = self.lock();
        if state.seen != Some(news) || state.offer_again || state.is_wanted(shared) {
            state.seen = Some(news);
            let offer_again = std::mem::take(&mut state.offer_again);
            let mut ended = false;
            for index in 0..state.slots.len() {
                ended |= state.bury(shared, index as u32);
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
    }

    /// After an offer: starts a worker if all that could take it are at work, and one rests.
    pub(crate) fn call_resting(&self, shared: &Shared) {
        if self.resting.load(Ordering::Relaxed) == 0 || shared.anyone_idle() {
            return;
        }
        let mut state = self.lock();
        if let Some(index) = state.slots.iter().position(|slot| slot.resting) {
            state.revive(&self.config, self.place, index as u32);
            self.count_resting(&state);
        }
    }

    /// Has all queued tasks offered again at the next occasion.
    pub(crate) fn offer_again(&self) {
        self.lock().offer_again = true;
    }

    /// Whether nobody is left to run a task, and why.
    pub(crate) fn is_deserted(&self) -> Option<TaskError> {
        let state = self.lock();
        if state.slots.iter().any(Slot::is_manned) {
            return None;
        }
        Some(if state.closing {
            TaskError::Closed
        } else if let Some(failed) = &state.failed {
            failed.clone()
        } else {
            let trouble = state.trouble.clone();
            trouble.unwrap_or_else(|| TaskError::NoWorkers("none was started".into()))
        })
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

    /// Ends every worker now, and waits until they are gone.
    pub(crate) fn terminate(&self, shared: &Shared) {
        let mut state = self.lock();
        state.closing = true;
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

impl Slot {
    /// Whether it has a worker, or will have one as soon as there is work.
    fn is_manned(&self) -> bool {
        self.process.is_some() || self.resting
    }

    /// Whether a worker rests here for which there is something to do.
    fn is_called(&self, shared: &Shared, index: WorkerIndex) -> bool {
        let letter = |line: &WorkerLine| line.letter.load(Ordering::Relaxed) != 0;
        self.resting
            && (shared.worker(index).is_some_and(letter)
                || (!shared.anyone_idle() && has_queued(shared)))
    }

    fn start(
        &mut self,
        config: &Config,
        place: Place,
        index: WorkerIndex,
    ) -> Result<Event, StartError> {
        let now = monotonic_nanos();
        let Hired { process, output } = hire(config, place, index, self.lives)?;
        self.output = output;
        let started = Event::WorkerStarted {
            worker: index as usize,
            pid: process.pid(),
            restart: self.died || self.killed,
        };
        self.process = Some(process);
        self.started_at = now;
        self.lives += 1;
        self.resting = false;
        self.died = false;
        self.killed = false;
        self.verdict = None;
        Ok(started)
    }

    /// Kills the worker, which was condemned.
    fn execute(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
        if let Some(process) = &self.process {
            // Refused only where it is gone already.
            let _ = process.kill();
        }
    }
}

impl State {
    /// Whether workers are missing for which there is something to do.
    fn is_wanted(&self, shared: &Shared) -> bool {
        let target = shared.target() as usize;
        let slots = || self.slots.iter().take(target);
        let open = shared.header().phase.0.load(Ordering::Relaxed) == OPEN;
        let missing = slots().any(|slot| !slot.is_manned());
        // A closed pool is given more tasks by a call that is not at its end.
        (missing && (open || has_queued(shared)))
            || (0..)
                .zip(slots())
                .any(|(index, slot)| slot.is_called(shared, index))
    }

    fn refill(&mut self, config: &Config, place: Place, shared: &Shared) {
        for index in 0..shared.target().min(self.slots.len() as u32) {
            let slot = &self.slots[index as usize];
            let wanted = slot.is_called(shared, index) || !slot.is_manned();
            if wanted && !self.revive(config, place, index) {
                return;
            }
        }
    }

    /// Starts a worker in an empty place. False if there is no use in trying the next one.
    fn revive(&mut self, config: &Config, place: Place, index: WorkerIndex) -> bool {
        if self.closing || self.failed.is_some() {
            return false;
        }
        // A worker that cannot even start is not tried for ever.
        let limit = 3 * self.slots.len() + 10;
        if self.early_deaths > limit {
            if let Some(TaskError::InitFailed(_)) = self.trouble {
                self.fail(self.trouble.clone());
            }
            return false;
        }
        if let Some(most) = config.restart_limit
            && self.crashes >= most
            && self.slots[index as usize].died
        {
            self.fail(Some(TaskError::RestartLimit(most)));
            return false;
        }
        let slot = &mut self.slots[index as usize];
        let (crashed, killed) = (slot.died, slot.killed);
        match slot.start(config, place, index) {
            Ok(started) => {
                self.restarts += usize::from(crashed || killed);
                self.crashes += usize::from(crashed);
                self.events.push(started);
                true
            }
            Err(error) => {
                self.trouble = Some(TaskError::NoWorkers(error.to_string().into()));
                false
            }
        }
    }

    fn fail(&mut self, why: Option<TaskError>) {
        if let Some(why) = why {
            let reason = why.to_string();
            self.events.push(Event::Failed { reason });
            self.failed = Some(why);
        }
    }

    /// Ends the workers whose item in hand, or whose start, takes too long. When to look again.
    fn end_overdue(&mut self, shared: &Shared, config: &Config) -> Option<Instant> {
        let now = monotonic_micros();
        // Whatever is begun from now on has at least so long.
        let mut next = self.limits.keys().next().map(|least| now + least);
        let mut sooner = |at: u64| next = Some(next.map_or(at, |next: u64| next.min(at)));
        for index in 0..self.slots.len() {
            let Some(line) = shared.worker(index as u32) else {
                continue;
            };
            let slot = &mut self.slots[index];
            if slot.process.is_none() || slot.verdict.is_some() {
                continue;
            }
            if let Some(limit) = config.start_timeout
                && line.ready.load(Ordering::Relaxed) == 0
            {
                let spent = monotonic_nanos().saturating_sub(slot.started_at);
                let left = limit.saturating_sub(Duration::from_nanos(spent));
                if left.is_zero() {
                    slot.execute(Verdict::TimedOut(limit.as_micros() as u64));
                } else {
                    sooner(now + (left.as_micros() as u64).max(1));
                }
                continue;
            }
            let Some(item) = line.in_hand() else {
                continue;
            };
            let limit = shared
                .cell(item.cell)
                .map_or(0, |cell| cell.limit.load(Ordering::Relaxed));
            if limit == 0 {
                continue;
            }
            let due = item.begun_at.saturating_add(limit);
            if due > now {
                sooner(due);
            } else if line.condemn(item) {
                slot.execute(Verdict::TimedOut(limit));
                self.events.push(Event::TimedOut {
                    worker: index,
                    limit: Duration::from_micros(limit),
                });
            }
        }
        let left = Duration::from_micros(next?.saturating_sub(now).max(1));
        Instant::now().checked_add(left)
    }

    /// Settles worker `index` if it has ended. Whether it has.
    fn bury(&mut self, shared: &Shared, index: WorkerIndex) -> bool {
        let slot = &mut self.slots[index as usize];
        let Some(status) = slot.process.as_ref().and_then(Process::try_wait) else {
            return false;
        };
        let Some(process) = slot.process.take() else {
            return false;
        };
        let pid = process.pid();
        let verdict = slot.verdict.take();
        let line = shared.worker(index);
        let ready = line.is_some_and(|line| line.ready.load(Ordering::Relaxed) != 0);
        let mut death = Death::new(pid, status, Phase::Idle);
        if let Some(tail) = slot.output.take().and_then(|output| output.tail()) {
            death = death.with_output(tail);
        }
        let worker = index as usize;
        // A condemned worker that died by itself before the signal came is no other case.
        let executed = verdict.filter(|_| line.is_some_and(|line| line.is_condemned()));
        shared.forget(index);
        let executed = executed.unwrap_or(Verdict::Died);
        settle::settle(shared, index, &death, executed, &mut self.orphans);
        if let Some(line) = line {
            line.renew();
        }
        let slot = &mut self.slots[worker];
        match process.try_join() {
            Ok(Some(Leave::Idle)) => {
                slot.resting = true;
                self.events.push(Event::WorkerLeft { worker, pid });
            }
            Ok(Some(Leave::Dismissed | Leave::Retired)) => {
                self.events.push(Event::WorkerLeft { worker, pid });
            }
            Ok(Some(Leave::NotInitialized(failure))) => {
                slot.died = true;
                self.not_initialized(worker, failure);
            }
            _ => match (verdict, ready) {
                (Some(Verdict::TimedOut(micros)), false) => {
                    let after = Duration::from_micros(micros);
                    self.not_initialized(worker, InitFailure::TimedOut(after));
                    return true;
                }
                _ => {
                    slot.died = verdict.is_none();
                    slot.killed = verdict.is_some();
                    let text = format!("a worker {death}");
                    self.trouble = Some(TaskError::NoWorkers(text.into()));
                    self.early_deaths += usize::from(!ready);
                    self.events.push(Event::WorkerDied { worker, death });
                }
            },
        }
        if ready {
            self.early_deaths = 0;
        }
        true
    }

    fn not_initialized(&mut self, worker: usize, failure: InitFailure) {
        self.early_deaths += 1;
        self.trouble = Some(TaskError::InitFailed(Box::new(failure.clone())));
        self.events.push(Event::InitFailed { worker, failure });
    }
}
