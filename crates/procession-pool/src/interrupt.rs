//! Ctrl+C: what is running is finished, or everything ends.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use procession_primitives::{InterruptSignal, Interrupts, exit_now};

use crate::inner::Inner;

/// The pools of this process.
static POOLS: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Takes note of a new pool.
pub(crate) fn register(pool: &Arc<Inner>) {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.retain(|pool| pool.strong_count() > 0);
    pools.push(Arc::downgrade(pool));
}

/// Installs the usual behaviour for Ctrl+C, until the guard is dropped.
///
/// With the first `SIGINT` every pool of this process takes no more items: those that run are
/// finished, those that have not begun have the outcome
/// [`TaskError::Cancelled`](crate::TaskError::Cancelled), and so the calls under way return soon. What
/// then happens is the program's affair. With the second one the program and all its processes end at
/// once, with exit status 130.
///
/// Workers ignore `SIGINT` in any case, which a terminal sends to all processes: where Python prints
/// a trace for each and leaves half a pool behind, here the program decides. Without this function
/// it ends with the first `SIGINT`, and its workers with it.
///
/// # Errors
///
/// `AlreadyExists` if signals are taken over already; the system's.
///
/// # Examples
///
/// ```no_run
/// let _guard = procession_pool::handle_interrupts()?;
/// let pool = procession_pool::Pool::new()?;
/// for outcome in pool.imap_unordered(|n: u64| n * n, 0..) {
///     match outcome {
///         Ok(square) => println!("{square}"),
///         Err(error) => break, // Ctrl+C
///     }
/// }
/// # Ok::<(), procession_pool::Error>(())
/// ```
pub fn handle_interrupts() -> io::Result<InterruptGuard> {
    handle_signals(&[InterruptSignal::Interrupt])
}

/// As [`handle_interrupts`], for these signals: the first of any of them ends pools in good order,
/// the second one everything, with 128 and the signal's number as exit status.
///
/// # Errors
///
/// As [`handle_interrupts`].
pub fn handle_signals(signals: &[InterruptSignal]) -> io::Result<InterruptGuard> {
    let interrupts = Arc::new(Interrupts::install_for(signals)?);
    let watched = Arc::clone(&interrupts);
    let thread = thread::Builder::new().name("pool-interrupts".to_owned());
    let thread = thread.spawn(move || watch(&watched))?;
    Ok(InterruptGuard {
        interrupts,
        thread: Some(thread),
    })
}

fn watch(interrupts: &Interrupts) {
    // One may have come before this thread was there.
    if interrupts.wait(0) == 0 {
        return;
    }
    let pools: Vec<_> = {
        let pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    };
    for pool in pools {
        pool.interrupt();
    }
    if interrupts.wait(1) > 1 {
        exit_now(interrupts.last().map_or(130, InterruptSignal::exit_status));
    }
}

/// Signals are handled as long as it lives: see [`handle_interrupts`].
#[derive(Debug)]
#[must_use = "the handlers go with it"]
pub struct InterruptGuard {
    interrupts: Arc<Interrupts>,
    thread: Option<JoinHandle<()>>,
}

impl InterruptGuard {
    /// How many of the signals have come.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.interrupts.count()
    }
}

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        self.interrupts.stop();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed.
            let _ = thread.join();
        }
    }
}
