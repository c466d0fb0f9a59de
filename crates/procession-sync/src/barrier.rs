//! `Barrier`: a place where processes wait for each other.
//!
//! # Safety
//!
//! Reaches the state of an object of its own kind, and calls an action by its address.
#![allow(
    unsafe_code,
    reason = "reaches the object's state, calls the action by address"
)]

use std::fmt;
use std::time::{Duration, Instant};

use procession_primitives::{CodeAddress, Kind, Object};

use crate::handle::{self, CreateError, deadline_after, kinds, shared_state};
use crate::monitor::{Attempt, Inside, Monitor};
use crate::primitive::{AtomicU32, AtomicU64, Family, Ordering};
use crate::tally::Tally;

/// Barriers hear of the crash of those that have a handle.
const KIND: Kind = Kind::new(kinds::BARRIER).counting_crashes();

/// Parties arrive.
const FILLING: u32 = 0;
/// All have arrived; the last one runs the action.
const ACTING: u32 = 1;
/// All have arrived, and leave.
const DRAINING: u32 = 2;
/// Reset: those that were waiting leave, with an error.
const RESETTING: u32 = 3;
/// Nobody gets through until it is reset.
const BROKEN: u32 = 4;

/// | word | meaning | who changes it, inside the monitor |
/// |---|---|---|
/// | `parties`, `timeout`, `action` | as made; `timeout` in nanoseconds, 0 for none | the maker |
/// | `phase` | see above | whoever arrives, leaves, aborts, resets, repairs |
/// | `inside` | by member, those that have arrived and not left: the truth | they |
/// | `count` | how many are inside: derived | whoever changes `inside` |
/// | `actor` | the member that runs the action | it |
/// | `crashes` | how many crashes of processes that had a handle are dealt with | whoever repairs |
#[repr(C)]
#[derive(Debug)]
struct State {
    monitor: Monitor,
    phase: AtomicU32,
    parties: AtomicU32,
    count: AtomicU32,
    crashes: AtomicU32,
    timeout: AtomicU64,
    actor: AtomicU64,
    action: [AtomicU64; 2],
    inside: Tally,
}

shared_state!(State);

/// A place where a number of threads, of any processes, wait for each other.
///
/// The parties pass when the last one has arrived. If one of them gives up (a time-out, an
/// [`abort`](Self::abort)), the barrier is broken: all get [`BarrierError::Broken`], also later
/// ones, until somebody calls [`reset`](Self::reset).
///
/// # Process death
///
/// If a process dies at the barrier, or dies of a signal or with an exit code other than 0 while
/// it has a handle, the barrier is broken: nobody waits for the dead. A party that is killed before
/// it has the handle is not known to anybody: that is what time-outs are for.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::Barrier;
///
/// let start = Barrier::new(2)?;
/// let child = Process::spawn(|start: Barrier| start.wait().is_ok(), start.clone())?;
/// let place = start.wait()?; // 0 or 1
/// assert!(child.join()?);
/// # Ok::<(), procession_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct Barrier {
    object: Object,
}

/// The barrier is of no use at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarrierError {
    /// A party gave up, timed out, panicked in the action or died, or the barrier was aborted or
    /// reset.
    #[doc(alias = "BrokenBarrierError")]
    Broken,
    /// This process does not belong to the family of the barrier.
    Foreign,
    /// There is no shared memory left to note who waits.
    OutOfMemory,
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "the barrier is broken",
            Self::Foreign => "the barrier belongs to another family of processes",
            Self::OutOfMemory => "no shared memory is left",
        })
    }
}

impl std::error::Error for BarrierError {}

/// The part of the barrier's work that needs no handle.
struct Core<'a> {
    object: &'a Object,
    state: &'a State,
}

impl<'a> Core<'a> {
    fn of(object: &'a Object) -> Core<'a> {
        // SAFETY: made with room for this state, and of a kind that is used for nothing else.
        let state = unsafe { object.get::<State>() };
        Core { object, state }
    }

    fn phase(&self) -> u32 {
        self.state.phase.load(Ordering::Relaxed)
    }

    fn set_phase(&self, inside: &Inside<'_>, phase: u32) {
        // Release: the commit.
        self.state.phase.store(phase, Ordering::Release);
        inside.wake(u32::MAX);
    }

    fn repair(&self, inside: &Inside<'_>) {
        let (state, family) = (self.state, inside.family);
        let filling = matches!(self.phase(), FILLING | ACTING);
        // The phase is settled before the traces of the dead are gone.
        state.inside.clear_dead(self.object, family, |_, _| {
            if filling {
                self.set_phase(inside, BROKEN);
            }
        });
        let crashes = self.object.crashes();
        if crashes != state.crashes.load(Ordering::Relaxed) {
            if filling {
                self.set_phase(inside, BROKEN);
            }
            state.crashes.store(crashes, Ordering::Release);
        }
        let actor = Tally::member(state.actor.load(Ordering::Relaxed));
        if self.phase() == ACTING && actor.is_none_or(|actor| !family.is_alive(actor)) {
            self.set_phase(inside, BROKEN);
        }
        let count = state.inside.total(self.object, family);
        state.count.store(count as u32, Ordering::Relaxed);
        self.end_draining(inside);
    }

    fn enter(&self, family: &'static Family) -> Inside<'a> {
        self.state
            .monitor
            .enter(family, |inside| self.repair(inside))
    }

    /// As [`enter`](Self::enter), for one that has waited long enough.
    fn try_enter(&self, family: &'static Family) -> Option<Inside<'a>> {
        self.state
            .monitor
            .try_enter(family, |inside| self.repair(inside))
    }

    fn end_draining(&self, inside: &Inside<'_>) {
        let empty = self.state.count.load(Ordering::Relaxed) == 0;
        if empty && matches!(self.phase(), DRAINING | RESETTING) {
            self.set_phase(inside, FILLING);
        }
    }

    /// Adds one to those inside. Returns how many there were before; the last one acts.
    fn arrive(&self, inside: &Inside<'_>) -> Attempt<Result<u32, BarrierError>> {
        match self.phase() {
            FILLING => {}
            BROKEN => return Attempt::Done(Err(BarrierError::Broken)),
            _ => return Attempt::Wait,
        }
        let (state, me) = (self.state, inside.me.member());
        let Ok(cell) = state.inside.of(self.object, inside.family, me) else {
            return Attempt::Done(Err(BarrierError::OutOfMemory));
        };
        let before = state.count.load(Ordering::Relaxed);
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Release);
        state.count.store(before + 1, Ordering::Relaxed);
        if before + 1 == state.parties.load(Ordering::Relaxed) {
            let has_action = state
                .action
                .iter()
                .any(|word| word.load(Ordering::Relaxed) != 0);
            if has_action {
                state.actor.store(Tally::word(me), Ordering::Release);
                self.set_phase(inside, ACTING);
            } else {
                self.set_phase(inside, DRAINING);
            }
        }
        Attempt::Done(Ok(before))
    }

    /// Takes one off those inside.
    fn leave(&self, inside: &Inside<'_>) {
        let (state, me) = (self.state, inside.me.member());
        if let Ok(cell) = state.inside.of(self.object, inside.family, me) {
            let mine = cell.load(Ordering::Relaxed);
            cell.store(mine.saturating_sub(1), Ordering::Release);
        }
        let count = state.count.load(Ordering::Relaxed).saturating_sub(1);
        state.count.store(count, Ordering::Relaxed);
        self.end_draining(inside);
    }

    fn wait(&self, deadline: Option<Instant>) -> Result<u32, BarrierError> {
        let family = self.object.family().ok_or(BarrierError::Foreign)?;
        let monitor = &self.state.monitor;
        let number = self.object.id().number();
        let place = monitor.wait_until(
            family,
            number,
            deadline,
            |inside| self.repair(inside),
            |inside| self.arrive(inside),
        );
        let Some(place) = place else {
            // Those of the last round have not left yet. They have passed: theirs is not broken.
            return Err(BarrierError::Broken);
        };
        let place = place?;
        if self.is_actor(family) {
            self.act(family);
        }
        let passed = monitor.wait_until(
            family,
            number,
            deadline,
            |inside| self.repair(inside),
            |inside| match self.phase() {
                FILLING | ACTING => Attempt::Wait,
                phase => {
                    self.leave(inside);
                    Attempt::Done(phase == DRAINING)
                }
            },
        );
        if passed.is_none() {
            let Some(inside) = self.try_enter(family) else {
                // Somebody has stopped inside: those that wait time out, too.
                return Err(BarrierError::Broken);
            };
            if matches!(self.phase(), FILLING | ACTING) {
                self.set_phase(&inside, BROKEN);
            }
            let late = self.phase() == DRAINING;
            self.leave(&inside);
            return if late {
                Ok(place)
            } else {
                Err(BarrierError::Broken)
            };
        }
        match passed {
            Some(true) => Ok(place),
            _ => Err(BarrierError::Broken),
        }
    }

    fn break_it(&self, family: &'static Family) {
        let inside = self.enter(family);
        self.set_phase(&inside, BROKEN);
    }

    fn is_actor(&self, family: &'static Family) -> bool {
        // The thread that arrived last, or another one of its process: one of them, in any case.
        let _inside = self.enter(family);
        let me = Tally::word(family.me());
        self.phase() == ACTING
            && self
                .state
                .actor
                .compare_exchange(me, me | ACTS, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn act(&self, family: &'static Family) {
        /// Breaks the barrier if the action panics.
        struct Finish<'a, 'b>(&'a Core<'b>, &'static Family, u32);
        impl Drop for Finish<'_, '_> {
            fn drop(&mut self) {
                let inside = self.0.enter(self.1);
                if self.0.phase() == ACTING {
                    self.0.set_phase(&inside, self.2);
                }
                if self.2 == BROKEN {
                    self.0.leave(&inside);
                }
            }
        }
        let mut finish = Finish(self, family, BROKEN);
        let words = [0, 1].map(|index| self.state.action[index].load(Ordering::Relaxed));
        run_action(words);
        finish.2 = DRAINING;
    }
}

/// Set in `actor` once the action runs. Members have no such bit.
const ACTS: u64 = 1 << 31;

fn run_action(words: [u64; 2]) {
    if let Ok(address) = CodeAddress::from_words(words).resolve() {
        // SAFETY: named in `with_action` from a `fn()`, in the same build.
        let action: fn() = unsafe { procession_primitives::fn_from_address(address) };
        action();
    }
}

impl Barrier {
    /// Makes a barrier for `parties` threads.
    ///
    /// # Errors
    ///
    /// [`CreateError::Invalid`]: `parties` is 0; [`CreateError::OutOfMemory`].
    pub fn new(parties: u32) -> Result<Barrier, CreateError> {
        Self::make(parties, Duration::ZERO, [0; 2])
    }

    /// As [`new`](Self::new); each time all have arrived, the last one runs `action` before any
    /// of them passes. If that panics, the barrier is broken.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// let phases = procession_sync::Barrier::with_action(1, || println!("all here"))?;
    /// phases.wait()?;
    /// # Ok::<(), procession_sync::Error>(())
    /// ```
    pub fn with_action(parties: u32, action: fn()) -> Result<Barrier, CreateError> {
        let address = CodeAddress::of(action as usize);
        let address =
            address.map_err(|_| CreateError::Invalid("no such function in the program"))?;
        Self::make(parties, Duration::ZERO, address.to_words())
    }

    /// As [`new`](Self::new), with a time-out for every [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_timeout(parties: u32, timeout: Duration) -> Result<Barrier, CreateError> {
        Self::make(parties, timeout.max(Duration::from_nanos(1)), [0; 2])
    }

    fn make(parties: u32, timeout: Duration, action: [u64; 2]) -> Result<Barrier, CreateError> {
        if parties == 0 {
            return Err(CreateError::Invalid("a barrier needs at least one party"));
        }
        let (object, _) = handle::create::<State>(KIND)?;
        let state = Core::of(&object).state;
        state.parties.store(parties, Ordering::Relaxed);
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        state.timeout.store(nanos, Ordering::Relaxed);
        for (word, value) in state.action.iter().zip(action) {
            word.store(value, Ordering::Relaxed);
        }
        Ok(Barrier { object })
    }

    fn core(&self) -> Core<'_> {
        Core::of(&self.object)
    }

    /// Waits until all parties have arrived. Returns 0 for the first of them, 1 for the next...
    ///
    /// Waits at most the time-out of the barrier, if it was made with one.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Broken`]; also for the party whose time-out passed.
    ///
    /// # Panics
    ///
    /// If this party runs the action, and that panics.
    pub fn wait(&self) -> Result<u32, BarrierError> {
        match self.core().state.timeout.load(Ordering::Relaxed) {
            0 => self.core().wait(None),
            nanos => self
                .core()
                .wait(deadline_after(Duration::from_nanos(nanos))),
        }
    }

    /// Waits at most `timeout`, after which the barrier is broken for all.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<u32, BarrierError> {
        self.core().wait(deadline_after(timeout))
    }

    /// Waits at most until `deadline`, after which the barrier is broken for all.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<u32, BarrierError> {
        self.core().wait(Some(deadline))
    }

    /// Breaks the barrier: all that wait get [`BarrierError::Broken`].
    ///
    /// # Errors
    ///
    /// [`BarrierError::Foreign`].
    pub fn abort(&self) -> Result<(), BarrierError> {
        let family = self.object.family().ok_or(BarrierError::Foreign)?;
        self.core().break_it(family);
        Ok(())
    }

    /// Makes the barrier as new: all that wait get [`BarrierError::Broken`].
    ///
    /// # Errors
    ///
    /// [`BarrierError::Foreign`].
    pub fn reset(&self) -> Result<(), BarrierError> {
        let family = self.object.family().ok_or(BarrierError::Foreign)?;
        let core = self.core();
        let inside = core.enter(family);
        match core.state.count.load(Ordering::Relaxed) {
            0 => core.set_phase(&inside, FILLING),
            _ if core.phase() == DRAINING => {}
            _ => core.set_phase(&inside, RESETTING),
        }
        Ok(())
    }

    /// How many have to arrive.
    #[must_use]
    pub fn parties(&self) -> u32 {
        self.core().state.parties.load(Ordering::Relaxed)
    }

    /// How many have arrived and wait for the others.
    #[must_use]
    pub fn n_waiting(&self) -> u32 {
        let core = self.core();
        let Some(family) = self.object.family() else {
            return 0;
        };
        let _inside = core.enter(family);
        match core.phase() {
            FILLING => core.state.count.load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// Whether the barrier is broken.
    #[must_use]
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        let core = self.core();
        let Some(family) = self.object.family() else {
            return true;
        };
        let _inside = core.enter(family);
        core.phase() == BROKEN
    }
}

impl PartialEq for Barrier {
    /// Whether both are handles of one object.
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl Eq for Barrier {}

impl serde::Serialize for Barrier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Barrier {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize_as(KIND, deserializer).map(|object| Barrier { object })
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("n_waiting", &self.n_waiting())
            .field("broken", &self.is_broken())
            .finish()
    }
}
