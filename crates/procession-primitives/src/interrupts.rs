//! [`Interrupts`]: Ctrl+C as something to wait for.
//!
//! | word | meaning | who leaves this state |
//! |---|---|---|
//! | even | nobody has taken over | `install`: 1 |
//! | odd | taken over; half of it is the count | the handler: 2 more; `stop`: even |

use std::ffi::{c_int, c_void};
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::family::Family;
use crate::park;
use crate::signal::{Action, preserving_errno};
use crate::sys;

static WORD: AtomicU32 = AtomicU32::new(0);
/// The last signal that was counted.
static LAST: AtomicI32 = AtomicI32::new(0);
static INSTALLED: Mutex<Installed> = Mutex::new(Installed {
    number: 0,
    previous: Vec::new(),
});

/// Who has taken over, and from whom.
struct Installed {
    /// Counts the installations of this process.
    number: u32,
    previous: Vec<(c_int, Action)>,
}

const TAKEN: u32 = 1;
const ONE: u32 = 2;

/// A signal by which people and systems ask a program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterruptSignal {
    /// `SIGINT`: Ctrl+C.
    Interrupt,
    /// `SIGTERM`: `kill`, or the system is shutting down.
    Terminate,
    /// `SIGHUP`: the terminal was closed.
    HangUp,
}

impl InterruptSignal {
    fn number(self) -> c_int {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::HangUp => libc::SIGHUP,
        }
    }

    /// The exit status by which a shell knows a program that this signal ended: 130, 143 or 129.
    #[must_use]
    pub fn exit_status(self) -> i32 {
        128 + self.number()
    }
}

/// Takes over the signals that interrupt this program: they are counted, and can be waited for.
///
/// Only one at a time. The handler does nothing but count and wake; system calls that it
/// interrupts go on. Processes that this one starts do not have it: `SIGINT` ends them, unless they
/// [ignore](crate::Builder::ignore_interrupts) it.
///
/// # Drop
///
/// As [`stop`](Self::stop).
///
/// # Examples
///
/// Once to wind down, twice to end at once:
///
/// ```no_run
/// use procession_primitives::{Interrupts, exit_now};
///
/// let interrupts = Interrupts::install()?;
/// std::thread::spawn(move || {
///     let seen = interrupts.wait(0);
///     eprintln!("finishing what has begun; again to stop at once");
///     interrupts.wait(seen);
///     exit_now(130)
/// });
/// # Ok::<(), procession_primitives::Error>(())
/// ```
#[derive(Debug)]
pub struct Interrupts {
    family: &'static Family,
    number: u32,
}

impl Interrupts {
    /// Takes over `SIGINT`.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if there is an `Interrupts` in this process; the system's, if there can be
    /// no family.
    pub fn install() -> io::Result<Interrupts> {
        Self::install_for(&[InterruptSignal::Interrupt])
    }

    /// Takes over `signals`, but those that the program was started to ignore, as by `nohup`.
    ///
    /// # Errors
    ///
    /// As [`install`](Self::install).
    pub fn install_for(signals: &[InterruptSignal]) -> io::Result<Interrupts> {
        let family = Family::current().map_err(io::Error::other)?;
        let mut installed = lock();
        if WORD.load(Ordering::Relaxed) & TAKEN != 0 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        installed.number = installed.number.wrapping_add(1);
        LAST.store(0, Ordering::Relaxed);
        WORD.store(TAKEN, Ordering::Relaxed);
        for signal in signals.iter().map(|signal| signal.number()) {
            let taken = installed.previous.iter().any(|(known, _)| *known == signal);
            match Action::of(signal) {
                Ok(action) if taken || action.is_ignored() => {}
                Ok(action) => {
                    let set = Action::calling(on_interrupt, libc::SA_RESTART).set(signal);
                    if let Err(error) = set {
                        installed.leave();
                        return Err(error);
                    }
                    installed.previous.push((signal, action));
                }
                Err(error) => {
                    installed.leave();
                    return Err(error);
                }
            }
        }
        Ok(Interrupts {
            family,
            number: installed.number,
        })
    }

    /// How many signals have come.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.look().0
    }

    /// The signal that came last.
    #[must_use]
    pub fn last(&self) -> Option<InterruptSignal> {
        match LAST.load(Ordering::Relaxed) {
            libc::SIGINT => Some(InterruptSignal::Interrupt),
            libc::SIGTERM => Some(InterruptSignal::Terminate),
            libc::SIGHUP => Some(InterruptSignal::HangUp),
            _ => None,
        }
    }

    /// Waits until more than `seen` signals have come: how many. Not more than `seen` only after
    /// [`stop`](Self::stop).
    ///
    /// Blocks the calling thread only. Signals that came before the call count.
    pub fn wait(&self, seen: u32) -> u32 {
        let more = || match self.look() {
            (count, true, word) if count <= seen => Err(word),
            (count, ..) => Ok(count),
        };
        self.family.wait_for(&WORD, None, more).unwrap_or(seen)
    }

    /// The count, whether it can still grow, and the word as it was.
    fn look(&self) -> (u32, bool, u32) {
        // Acquire: who sees a signal counted sees what the last one was.
        let word = WORD.load(Ordering::Acquire);
        let running = word & TAKEN != 0 && lock().number == self.number;
        (word / ONE, running, word)
    }

    /// Gives the signals back to whom they belonged before, and ends all waits. A second call has
    /// no effect.
    pub fn stop(&self) {
        let mut installed = lock();
        if installed.number == self.number {
            installed.leave();
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Installed {
    fn leave(&mut self) {
        for (signal, action) in self.previous.drain(..) {
            // What was in force before is not refused.
            let _ = action.set(signal);
        }
        WORD.fetch_and(!TAKEN, Ordering::Relaxed);
        park::wake(&WORD, u32::MAX);
    }
}

/// Not taken by the handler, which may interrupt whoever has it.
fn lock() -> MutexGuard<'static, Installed> {
    INSTALLED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the signals back in a process that has inherited the handler.
pub(crate) fn leave_inherited() {
    lock().leave();
}

extern "C" fn on_interrupt(signal: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    preserving_errno(|| {
        LAST.store(signal, Ordering::Relaxed);
        // Release: pairs with `look`.
        WORD.fetch_add(ONE, Ordering::Release);
        park::wake(&WORD, u32::MAX);
    });
}

/// Ends this process at once: nothing is dropped, flushed or waited for.
///
/// In the program this ends the whole family, which does not outlive it: the supervisor kills
/// every process, in whatever it is doing, and removes the named segments. It does so a moment
/// later, so do not rely on the processes being gone when this one is. In any other process it
/// ends that one and those that it has started.
///
/// `status` is what [`std::process::exit`] takes; only its lower 8 bits are seen.
pub fn exit_now(status: i32) -> ! {
    sys::exit_now(status)
}
