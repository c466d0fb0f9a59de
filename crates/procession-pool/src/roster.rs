//! Who works in a pool, place by place: what is done when its lock is held.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use procession_primitives::{
    Death, News, Phase, Process, StartError, monotonic_micros, monotonic_nanos,
};

use crate::TaskError;
use crate::builder::Config;
use crate::cell::{Kind, WorkerIndex};
use crate::event::Event;
use crate::hire::{Hired, Output, hire};
use crate::settle::{self, Orphan, queued};
use crate::shared::{CLOSED, Place, Shared, WorkerLine};
use crate::task::Verdict;
use crate::worker::{InitFailure, Leave};

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) slots: Vec<Slot>,
    /// Up to when deaths were looked for.
    pub(crate) seen: Option<News>,
    pub(crate) orphans: Vec<Orphan>,
    /// Hints did not fit into the ring: offer again.
    pub(crate) offer_again: bool,
    /// Workers that died before they were ready, since the last one that got there.
    pub(crate) early_deaths: usize,
    /// Workers that took the place of a dead one.
    pub(crate) restarts: usize,
    /// Those of them that took the place of one that we had not killed.
    pub(crate) crashes: usize,
    /// Why there are fewer workers than wanted.
    pub(crate) trouble: Option<TaskError>,
    /// Why there will be no more workers.
    pub(crate) failed: Option<TaskError>,
    /// It was terminated: the outcome of what is left.
    pub(crate) ended: Option<TaskError>,
    pub(crate) closing: bool,
    /// Limits of the calls under way, in microseconds, and how many calls have each.
    pub(crate) limits: BTreeMap<u64, usize>,
    pub(crate) events: Vec<Event>,
}

/// A worker's place.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) process: Option<Process<Leave>>,
    pub(crate) output: Option<Output>,
    /// Why it was killed, if it was by us.
    pub(crate) verdict: Option<Verdict>,
    /// Lives there were in this place.
    pub(crate) lives: u64,
    /// The last one has ended by itself, or by somebody's signal.
    pub(crate) died: bool,
    /// The last one was killed by us.
    pub(crate) killed: bool,
    /// When the worker was started, in nanoseconds of the monotonic clock.
    pub(crate) started_at: u64,
    /// It has left for want of work: another one comes when there is some.
    pub(crate) resting: bool,
}

impl Slot {
    /// Whether it has a worker, or will have one as soon as there is work.
    pub(crate) fn is_manned(&self) -> bool {
        self.process.is_some() || self.resting
    }

    /// Whether there is a task for the worker in this place alone.
    fn has_letter(&self, shared: &Shared, index: WorkerIndex) -> bool {
        let letter = |line: &WorkerLine| line.letter.load(Ordering::Relaxed) != 0;
        shared.worker(index).is_some_and(letter)
    }

    pub(crate) fn start(
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
    pub(crate) fn execute(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
        if let Some(process) = &self.process {
            // Refused only where it is gone already.
            let _ = process.kill();
        }
    }
}

impl State {
    /// Whether workers are missing for which there is something to do.
    pub(crate) fn is_wanted(&self, shared: &Shared) -> bool {
        let open = shared.header().phase.0.load(Ordering::Relaxed) != CLOSED;
        let slots = (0..).zip(&self.slots).take(shared.target() as usize);
        slots.into_iter().any(|(index, slot)| {
            // A closed pool is given more tasks by a call that is not at its end.
            let missing = !slot.is_manned() && (open || queued(shared) > 0);
            missing || self.is_called(shared, index, slot)
        })
    }

    /// Whether a worker rests in a place for which there is something to do.
    fn is_called(&self, shared: &Shared, index: WorkerIndex, slot: &Slot) -> bool {
        slot.resting && (slot.has_letter(shared, index) || self.are_too_few(shared))
    }

    /// Whether more tasks wait than workers are idle, or about to come.
    pub(crate) fn are_too_few(&self, shared: &Shared) -> bool {
        // Starting, or started and about to take its first task.
        let is_coming = |index| {
            let Some(line) = shared.worker(index) else {
                return false;
            };
            let current = line.current.load(Ordering::Relaxed).checked_sub(1);
            line.ready_at().is_none()
                || match current.and_then(|index| shared.cell(index)) {
                    None => line.items.load(Ordering::Relaxed) == 0,
                    Some(cell) => cell.state().kind == Kind::Queued,
                }
        };
        let slots = (0..).zip(&self.slots);
        let coming = slots.filter(|(index, slot)| slot.process.is_some() && is_coming(*index));
        !shared.anyone_idle() && queued(shared) > coming.count()
    }

    pub(crate) fn refill(&mut self, config: &Config, place: Place, shared: &Shared) {
        for index in 0..shared.target().min(self.slots.len() as u32) {
            let slot = &self.slots[index as usize];
            let called = self.is_called(shared, index, slot);
            let wanted = called || !slot.is_manned();
            if wanted && !self.revive(config, place, index) {
                return;
            }
        }
    }

    /// Starts a worker in an empty place. False if there is no use in trying the next one.
    pub(crate) fn revive(&mut self, config: &Config, place: Place, index: WorkerIndex) -> bool {
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
    pub(crate) fn end_overdue(&mut self, shared: &Shared, config: &Config) -> Option<Instant> {
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
            if let Some(limit) = config.start_timeout {
                let since = match (line.ready_at(), line.leaving_at.load(Ordering::Relaxed)) {
                    (None, _) => Some(slot.started_at),
                    (Some(_), 0) => None,
                    (Some(_), left) => Some(left),
                };
                if let Some(since) = since {
                    let spent = Duration::from_nanos(monotonic_nanos().saturating_sub(since));
                    let left = limit.saturating_sub(spent);
                    let is_start = line.ready_at().is_none();
                    if left.is_zero() && (!is_start || line.condemn_start()) {
                        slot.execute(Verdict::TimedOut(limit.as_micros() as u64));
                    } else {
                        sooner(now + (left.as_micros() as u64).max(1));
                    }
                    continue;
                }
                if config.finalizer.is_some() {
                    // It may be about to leave.
                    sooner(now + (limit.as_micros() as u64).max(1));
                }
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
    ///
    /// A pool that `is_fragile` has failed with the first that dies of its own.
    pub(crate) fn bury(&mut self, shared: &Shared, index: WorkerIndex, is_fragile: bool) -> bool {
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
        let ready = line.and_then(WorkerLine::ready_at).is_some();
        let mut death = Death::new(pid, status, Phase::Idle);
        if let Some(tail) = slot.output.take().and_then(|output| output.tail()) {
            death = death.with_output(tail);
        }
        let worker = index as usize;
        // A condemned worker that died by itself before the signal came is no other case.
        let executed = verdict.filter(|_| line.is_some_and(|line| line.is_condemned()));
        shared.forget(index);
        let executed = executed.unwrap_or(Verdict::Died);
        let begun = settle::settle(shared, index, &death, executed, &mut self.orphans);
        let death = begun.map_or(death.clone(), |phase| death.in_phase(phase));
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
                    if is_fragile && verdict.is_none() && self.failed.is_none() {
                        let broken = TaskError::Broken(Box::new(death.clone()));
                        self.fail(Some(broken));
                    }
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
