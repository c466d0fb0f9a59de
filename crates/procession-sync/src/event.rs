//! `Event`: a flag to wait for.

use std::fmt;
use std::time::{Duration, Instant};

use procession_primitives::{Kind, Object, ObjectError};

use crate::handle::{self, CreateError, deadline_after, handle, kinds, shared_state};
use crate::lock::count_waits;
use crate::primitive::{AtomicU32, Ordering, wake};

/// | bits of the word | meaning | who changes them |
/// |---|---|---|
/// | 0 | set | `set`, `clear` |
/// | 1 | somebody may sleep | a waiter sets it while the event is not set; `set` clears it and wakes |
/// | 2..32 | how often it was set | `set` |
const SET: u32 = 1;
const SLEEPERS: u32 = 2;
const COUNT: u32 = 4;

#[repr(C)]
#[derive(Debug)]
struct State {
    word: AtomicU32,
}

shared_state!(State);

/// A flag that processes set, clear and wait for.
///
/// A waiter comes back if the event was set at any time while it waited, also if it was cleared
/// right after.
///
/// # Process death
///
/// Setting and clearing are one store each: they have happened or have not. An event that was
/// set wakes all its waiters, also if the process that set it is killed at once.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
/// use procession_sync::Event;
///
/// let ready = Event::new()?;
/// let child = Process::spawn(|ready: Event| ready.set(), ready.clone())?;
/// assert!(ready.wait());
/// child.join()?;
/// # Ok::<(), procession_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct Event {
    object: Object,
}

handle!(Event, State, Kind::new(kinds::EVENT));

impl Event {
    /// Makes an event that is not set.
    ///
    /// # Errors
    ///
    /// [`CreateError`]: no shared memory is left.
    pub fn new() -> Result<Event, CreateError> {
        let (object, _) = handle::create::<State>(Kind::new(kinds::EVENT))?;
        Ok(Event { object })
    }

    fn from_object(object: Object) -> Result<Event, ObjectError> {
        Ok(Event { object })
    }

    /// Whether the event is set. One load: also for signal handlers.
    #[must_use]
    pub fn is_set(&self) -> bool {
        // Acquire: pairs with the Release of `set`.
        self.state().word.load(Ordering::Acquire) & SET != 0
    }

    /// Sets the event, and wakes all that wait. No effect where it is set already.
    pub fn set(&self) {
        let word = &self.state().word;
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            if seen & SET != 0 {
                return;
            }
            let next = (seen & !SLEEPERS).wrapping_add(COUNT) | SET;
            // Release: whoever sees the event set sees what was done before.
            match word.compare_exchange(seen, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(found) => seen = found,
            }
        }
        if seen & SLEEPERS != 0 {
            wake(word, u32::MAX);
        }
    }

    /// Clears the event.
    pub fn clear(&self) {
        self.state().word.fetch_and(!SET, Ordering::Relaxed);
    }

    /// Waits until the event is set. True, except in a process of another family (one forked by
    /// other means than ours), which does not wait.
    pub fn wait(&self) -> bool {
        self.wait_until(None)
    }

    /// Waits at most `timeout`. Whether the event was set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(deadline_after(timeout))
    }

    /// Waits at most until `deadline`. Whether the event was set.
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        if self.is_set() {
            return true;
        }
        let Some(family) = self.object.family() else {
            return false;
        };
        let _waiting = family.wait_on(self.object.id().number());
        let start = self.ticket();
        let state = self.state();
        let was_set = family.wait_for(&state.word, deadline, || {
            self.poll(start).map_or(Ok(()), Err)
        });
        was_set.is_some()
    }

    #[cfg(feature = "async")]
    pub(crate) fn parts(&self) -> (&Object, &AtomicU32) {
        (&self.object, &self.state().word)
    }

    /// What distinguishes the times before the next `set` from those after it.
    pub(crate) fn ticket(&self) -> u32 {
        self.state().word.load(Ordering::Relaxed) & !(SET | SLEEPERS)
    }

    /// `None` if the event is set or was since `start`; else the word to sleep on.
    pub(crate) fn poll(&self, start: u32) -> Option<u32> {
        let word = &self.state().word;
        loop {
            // Acquire: as in `is_set`.
            let seen = word.load(Ordering::Acquire);
            if seen & SET != 0 || seen & !(SET | SLEEPERS) != start {
                return None;
            }
            let marked = seen | SLEEPERS;
            let done = seen == marked
                || word
                    .compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if done {
                return Some(marked);
            }
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Event");
        debug.field("set", &self.is_set());
        if let Some(family) = self.object.family() {
            debug.field("waiters", &count_waits(family, &self.object));
        }
        debug.finish()
    }
}
