//! `Semaphore` and `BoundedSemaphore`: a number of permits.

use std::fmt;
use std::time::{Duration, Instant};

use procession_primitives::{Kind, MemberId, Object, ObjectError};

use crate::error::Foreign;
use crate::handle::{self, CreateError, deadline_after, handle, kinds, shared_state};
use crate::lock::count_waits;
use crate::monitor::{Attempt, Inside, Monitor};
use crate::primitive::{AtomicU64, Family, Ordering};
use crate::tally::Tally;

/// Most permits of a semaphore.
const MOST: u64 = u64::MAX / 2;

/// | word | meaning | who changes it, inside the monitor |
/// |---|---|---|
/// | `total` | permits there are, free and held: the truth | `release`, `forget` |
/// | `held` | permits by member: the truth | takers and givers |
/// | `free` | `total` minus what the living hold: derived | whoever changes one of the others |
/// | `bound` | most free and held permits together; `MOST` without a bound | the maker |
#[repr(C)]
#[derive(Debug)]
struct State {
    monitor: Monitor,
    total: AtomicU64,
    free: AtomicU64,
    bound: AtomicU64,
    held: Tally,
}

shared_state!(State);

/// A permit was not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// No permit is free.
    WouldBlock,
    /// The time-out passed.
    TimedOut,
    /// This process does not belong to the family of the semaphore.
    Foreign,
    /// There is no shared memory left to note who holds the permit.
    OutOfMemory,
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WouldBlock => "no permit is free",
            Self::TimedOut => "no permit was free in time",
            Self::Foreign => "the semaphore belongs to another family of processes",
            Self::OutOfMemory => "no shared memory is left",
        })
    }
}

impl std::error::Error for AcquireError {}

/// A semaphore was released more often than it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It has all its permits already.
    TooMany,
    /// This process does not belong to the family of the semaphore.
    Foreign,
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "the semaphore was released too many times",
            Self::Foreign => "the semaphore belongs to another family of processes",
        })
    }
}

impl std::error::Error for ReleaseError {}

struct Core<'a> {
    object: &'a Object,
    state: &'a State,
}

impl Core<'_> {
    fn repair(&self, inside: &Inside<'_>) {
        self.state
            .held
            .clear_dead(self.object, inside.family, |_, _| {});
        let held = self.state.held.total(self.object, inside.family);
        let total = self.state.total.load(Ordering::Relaxed);
        let free = total.saturating_sub(held);
        if free > self.state.free.load(Ordering::Relaxed) {
            inside.wake(u32::try_from(free).unwrap_or(u32::MAX));
        }
        self.state.free.store(free, Ordering::Relaxed);
    }

    fn enter(&self, family: &'static Family) -> Inside<'_> {
        self.state
            .monitor
            .enter(family, |inside| self.repair(inside))
    }

    fn try_take(&self, inside: &Inside<'_>) -> Attempt<Result<MemberId, AcquireError>> {
        let free = self.state.free.load(Ordering::Relaxed);
        if free == 0 {
            return Attempt::Wait;
        }
        let me = inside.me.member();
        let Ok(held) = self.state.held.of(self.object, inside.family, me) else {
            return Attempt::Done(Err(AcquireError::OutOfMemory));
        };
        // Release: the commit. What is derived follows.
        held.store(held.load(Ordering::Relaxed) + 1, Ordering::Release);
        self.state.free.store(free - 1, Ordering::Relaxed);
        Attempt::Done(Ok(me))
    }

    fn acquire(&self, deadline: Option<Instant>, wait: bool) -> Result<MemberId, AcquireError> {
        let family = self.object.family().ok_or(AcquireError::Foreign)?;
        if !wait {
            let monitor = &self.state.monitor;
            let inside = monitor.try_enter(family, |inside| self.repair(inside));
            return match self.try_take(&inside.ok_or(AcquireError::WouldBlock)?) {
                Attempt::Done(taken) => taken,
                Attempt::Wait => Err(AcquireError::WouldBlock),
            };
        }
        let number = self.object.id().number();
        let taken = self.state.monitor.wait_until(
            family,
            number,
            deadline,
            |inside| self.repair(inside),
            |inside| self.try_take(inside),
        );
        taken.unwrap_or(Err(AcquireError::TimedOut))
    }

    /// Gives a permit of `owner`, this process, back.
    fn give_back(&self, owner: MemberId) {
        let Some(family) = self.object.family().filter(|family| family.me() == owner) else {
            return;
        };
        let inside = self.enter(family);
        let Ok(held) = self.state.held.of(self.object, family, owner) else {
            return;
        };
        let count = held.load(Ordering::Relaxed);
        if count == 0 {
            return;
        }
        // Release: the commit.
        held.store(count - 1, Ordering::Release);
        let free = self.state.free.load(Ordering::Relaxed);
        self.state.free.store(free + 1, Ordering::Relaxed);
        inside.wake(1);
    }

    /// Makes a permit of `owner`, this process, nobody's: there is one less from now on.
    fn forget(&self, owner: MemberId) {
        let Some(family) = self.object.family().filter(|family| family.me() == owner) else {
            return;
        };
        let _inside = self.enter(family);
        let Ok(held) = self.state.held.of(self.object, family, owner) else {
            return;
        };
        let total = self.state.total.load(Ordering::Relaxed);
        // Release: in this order. Killed in between, the process held the permit or did not.
        self.state
            .total
            .store(total.saturating_sub(1), Ordering::Release);
        let count = held.load(Ordering::Relaxed);
        held.store(count.saturating_sub(1), Ordering::Release);
    }

    fn release(&self, permits: u64) -> Result<(), ReleaseError> {
        let family = self.object.family().ok_or(ReleaseError::Foreign)?;
        let inside = self.enter(family);
        let total = self.state.total.load(Ordering::Relaxed);
        let bound = self.state.bound.load(Ordering::Relaxed);
        let more = total.checked_add(permits).filter(|&more| more <= bound);
        let more = more.ok_or(ReleaseError::TooMany)?;
        // Release: the commit.
        self.state.total.store(more, Ordering::Release);
        let free = self.state.free.load(Ordering::Relaxed);
        self.state.free.store(free + permits, Ordering::Relaxed);
        inside.wake(u32::try_from(permits).unwrap_or(u32::MAX));
        Ok(())
    }

    fn value(&self) -> Result<u64, Foreign> {
        let family = self.object.family().ok_or(Foreign)?;
        let _inside = self.enter(family);
        Ok(self.state.free.load(Ordering::Relaxed))
    }

    fn describe(&self, mut debug: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        let Some(family) = self.object.family() else {
            return debug.field("value", &format_args!("foreign")).finish();
        };
        debug.field("value", &self.value().unwrap_or(0));
        let held = self.state.held.holders(self.object, family);
        let held: Vec<_> = held
            .into_iter()
            .map(|(member, count)| (family.member_pid(member).unwrap_or(0), count))
            .collect();
        debug
            .field("held_by_pid", &held)
            .field("waiters", &count_waits(family, self.object))
            .finish()
    }
}

macro_rules! semaphore {
    ($(#[$doc:meta])* $name:ident, $permit:ident, $kind:expr, $text:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            object: Object,
        }

        handle!($name, State, Kind::new($kind));

        #[doc = concat!("A permit of a [`", $text, "`], until dropped.")]
        ///
        /// # Drop
        ///
        /// Gives the permit back; wakes one that waits.
        #[derive(Debug)]
        #[must_use = "the permit is given back when this is dropped"]
        pub struct $permit<'a> {
            semaphore: &'a $name,
            owner: MemberId,
        }

        impl $name {
            fn make(value: u32, bound: u64) -> Result<$name, CreateError> {
                let (object, _) = handle::create::<State>(Kind::new($kind))?;
                let made = $name { object };
                let state = made.state();
                state.bound.store(bound, Ordering::Relaxed);
                state.total.store(u64::from(value), Ordering::Relaxed);
                state.free.store(u64::from(value), Ordering::Relaxed);
                Ok(made)
            }

            fn from_object(object: Object) -> Result<$name, ObjectError> {
                Ok($name { object })
            }

            fn core(&self) -> Core<'_> {
                Core {
                    object: &self.object,
                    state: self.state(),
                }
            }

            fn permit(&self, owner: MemberId) -> $permit<'_> {
                $permit {
                    semaphore: self,
                    owner,
                }
            }

            /// Takes a permit. Waits as long as it has to.
            ///
            /// # Errors
            ///
            /// [`AcquireError::Foreign`], [`AcquireError::OutOfMemory`].
            pub fn acquire(&self) -> Result<$permit<'_>, AcquireError> {
                Ok(self.permit(self.core().acquire(None, true)?))
            }

            /// Takes a permit if one is free.
            ///
            /// # Errors
            ///
            /// [`AcquireError::WouldBlock`]; others as [`acquire`](Self::acquire).
            pub fn try_acquire(&self) -> Result<$permit<'_>, AcquireError> {
                Ok(self.permit(self.core().acquire(None, false)?))
            }

            /// Takes a permit, waiting for it at most `timeout`.
            ///
            /// # Errors
            ///
            /// [`AcquireError::TimedOut`]; others as [`acquire`](Self::acquire).
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<$permit<'_>, AcquireError> {
                Ok(self.permit(self.core().acquire(deadline_after(timeout), true)?))
            }

            /// Takes a permit, waiting for it at most until `deadline`.
            ///
            /// # Errors
            ///
            /// As [`acquire_timeout`](Self::acquire_timeout).
            pub fn acquire_deadline(&self, deadline: Instant) -> Result<$permit<'_>, AcquireError> {
                Ok(self.permit(self.core().acquire(Some(deadline), true)?))
            }

            /// Adds a permit, in whatever process: the other half of
            #[doc = concat!("[`", stringify!($permit), "::forget`].")]
            ///
            /// # Errors
            ///
            /// [`ReleaseError::TooMany`]: there are as many permits as there can be.
            pub fn release(&self) -> Result<(), ReleaseError> {
                self.core().release(1)
            }

            /// Adds `permits` permits at once.
            ///
            /// # Errors
            ///
            /// [`ReleaseError::TooMany`]: no permit was added.
            pub fn release_many(&self, permits: u32) -> Result<(), ReleaseError> {
                self.core().release(u64::from(permits))
            }

            /// How many permits are free at this moment; 0 in a process of another family.
            #[must_use]
            #[doc(alias = "get_value")]
            #[doc(alias = "available_permits")]
            pub fn value(&self) -> u64 {
                self.core().value().unwrap_or(0)
            }

            /// Whether no permit is free.
            #[must_use]
            pub fn locked(&self) -> bool {
                self.value() == 0
            }
        }

        impl $permit<'_> {
            /// Keeps the permit without this guard: it is given back neither at a drop nor at the
            /// death of this process, until some process calls
            #[doc = concat!("[`release`](", stringify!($name), "::release).")]
            pub fn forget(self) {
                let permit = std::mem::ManuallyDrop::new(self);
                permit.semaphore.core().forget(permit.owner);
            }
        }

        impl Drop for $permit<'_> {
            fn drop(&mut self) {
                self.semaphore.core().give_back(self.owner);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.core().describe(f.debug_struct($text))
            }
        }
    };
}

semaphore! {
    /// A number of permits, taken and given back by processes.
    ///
    /// A permit is a guard that gives itself back. As a signal between processes, where one takes
    /// and another one gives, [`forget`](SemaphorePermit::forget) the permit and
    /// [`release`](Semaphore::release) it elsewhere.
    ///
    /// # Process death
    ///
    /// The permits that a dead process held are free again. Those that it forgot are not: they
    /// are nobody's.
    ///
    /// # Differences from Python
    ///
    /// Python's semaphore has forgotten permits only, and loses them with the process.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_sync::Semaphore;
    ///
    /// let connections = Semaphore::new(2)?;
    /// let one = connections.acquire()?;
    /// assert_eq!(connections.value(), 1);
    /// drop(one);
    ///
    /// let ready = Semaphore::new(0)?; // as a signal
    /// ready.release()?;
    /// ready.acquire()?.forget();
    /// assert!(ready.try_acquire().is_err());
    /// # Ok::<(), procession_sync::Error>(())
    /// ```
    Semaphore, SemaphorePermit, kinds::SEMAPHORE, "Semaphore"
}

semaphore! {
    /// A [`Semaphore`] that never has more permits than it was made with.
    ///
    /// # Process death
    ///
    /// As [`Semaphore`].
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_sync::{BoundedSemaphore, ReleaseError};
    ///
    /// let slots = BoundedSemaphore::new(2)?;
    /// assert_eq!(slots.release(), Err(ReleaseError::TooMany));
    /// # Ok::<(), procession_sync::Error>(())
    /// ```
    BoundedSemaphore, BoundedSemaphorePermit, kinds::BOUNDED_SEMAPHORE, "BoundedSemaphore"
}

impl Semaphore {
    /// Makes a semaphore with `value` permits. There can be up to 2⁶³ - 1.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new(value: u32) -> Result<Semaphore, CreateError> {
        Semaphore::make(value, MOST)
    }
}

impl BoundedSemaphore {
    /// Makes a semaphore with `value` permits, which is also the most there can be.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new(value: u32) -> Result<BoundedSemaphore, CreateError> {
        BoundedSemaphore::make(value, u64::from(value))
    }
}
