//! SIGKILL at chosen instructions: a victim goes one instruction at a time and is killed after so
//! many, a survivor looks at what is left, and so on with the next victim.
//!
//! A victim is either a process for this purpose ([`victims`]), or one that serves others and is
//! stepped while they use it ([`while_stepped`], and [`points`] for many kills).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;

use procession_primitives::Process;
use rustix::process::Signal;

use crate::dice::dice;
use crate::trace::{self, Traced};
use crate::{os, procfs};

/// What came of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many victims were killed.
    pub kills: u32,
    /// How many instructions the last one was to make: more than there are.
    pub steps: u64,
}

/// Called by a victim where the stepping begins: it stops and waits for `tracer`.
pub fn begin(tracer: u32) {
    trace::allow(tracer);
    os::raise(libc::SIGSTOP);
}

/// Called by a victim where the stepping ends: without the rest of a process's end.
pub fn end() -> ! {
    os::exit_at_once(0)
}

/// Kills the victims that `start` starts after 0 instructions, and after as many as `next` makes
/// of the last number, until there are fewer. After each, `check` is the survivor's, and gets the
/// number. `None` where the system does not allow tracing.
///
/// A victim calls [`begin`] and [`end`]. With `|steps| steps + 1` no instruction is left out; with
/// `|steps| steps + 1 + steps / 16` a hundred kills reach far, densest at the beginning.
///
/// ```no_run
/// use procession_primitives::Process;
/// use procession_testkit::sweep;
///
/// fn victim(tracer: u32) {
///     // Prepare.
///     sweep::begin(tracer);
///     // Lock, change, unlock.
///     sweep::end();
/// }
///
/// let start = || Process::spawn(victim, std::process::id()).unwrap();
/// let survivor = |steps| { /* Lock: the victim's death must be known. */ };
/// match sweep::victims(start, |steps| steps + 1 + steps / 16, survivor) {
///     None => println!("  (skipped: tracing is not allowed here)"),
///     Some(swept) => assert!(swept.kills > 20, "the victim was stepped"),
/// }
/// ```
pub fn victims<R>(
    mut start: impl FnMut() -> Process<R>,
    mut next: impl FnMut(u64) -> u64,
    mut check: impl FnMut(u64),
) -> Option<Swept> {
    let mut swept = Swept::default();
    while kill_after(start(), swept.steps)? {
        swept.kills += 1;
        check(swept.steps);
        swept.steps = next(swept.steps);
    }
    Some(swept)
}

/// Lets a victim go `steps` instructions and kills it. False if it had ended before.
fn kill_after<R>(victim: Process<R>, steps: u64) -> Option<bool> {
    let pid = victim.pid();
    while procfs::state_and_parent(pid).is_none_or(|(state, _)| state != 'T') {
        assert!(victim.is_alive(), "the victim stops itself first");
        thread::yield_now();
    }
    let stepping = move || {
        let traced = Traced::attach(pid)?;
        for _ in 0..steps {
            if !traced.step() {
                return Some(false);
            }
        }
        traced.kill();
        Some(true)
    };
    // Its thread is tied to a CPU.
    let killed = thread::spawn(stepping).join().unwrap();
    let _ = victim.kill();
    victim.wait();
    killed
}

/// Runs `work` while process `pid` makes `steps` steps and is killed, or (`None`) while it makes
/// as many as it takes. Returns how many it made, and what `work` returned.
///
/// `None`, and `work` is not run, where the system does not allow tracing.
///
/// ```no_run
/// use procession_testkit::sweep;
/// # fn serve() -> u32 { 0 }
/// # fn ask(server: u32) {}
/// # fn check_answer(answer: ()) {}
/// # fn check_all_is_well() {}
/// # let (server, answer) = (0, ());
/// let attempt = |steps| {
///     let server = serve();
///     let (made, answer) = sweep::while_stepped(server, steps, || ask(server))?;
///     check_answer(answer);
///     Some(made)
/// };
/// sweep::points(100, attempt, |steps| check_all_is_well());
/// ```
pub fn while_stepped<T>(
    pid: u32,
    steps: Option<u64>,
    work: impl FnOnce() -> T,
) -> Option<(u64, T)> {
    const ENDLESS: u64 = 5_000_000;
    let (attached, go) = mpsc::channel();
    let (ended, over) = mpsc::channel::<()>();
    let stepping = move || {
        let traced = Traced::attach(pid);
        attached.send(traced.is_some()).unwrap();
        let traced = traced?;
        let mut made = 0;
        while Some(made) != steps && over.try_recv() == Err(TryRecvError::Empty) {
            if steps.is_none() && made > ENDLESS {
                break;
            }
            if !traced.step() {
                return Some(made);
            }
            made += 1;
        }
        match steps {
            Some(_) => traced.kill(),
            None => traced.release(),
        }
        Some(made)
    };
    let tracer = thread::spawn(stepping);
    if !go.recv().unwrap() {
        tracer.join().unwrap();
        return None;
    }
    let outcome = catch_unwind(AssertUnwindSafe(work));
    // It may be in its sleep by now, from where only a signal lets it come back.
    let _ = ended.send(());
    let signal = match steps {
        Some(_) => Signal::KILL,
        None => Signal::CONT,
    };
    os::send(pid, signal);
    let made = tracer.join().unwrap()?;
    match outcome {
        Ok(value) => Some((made, value)),
        Err(payload) => resume_unwind(payload),
    }
}

/// Lets `attempt` go on to its end, which says how many steps there are, then `count` times to be
/// killed after a number of steps, spread over all. After some of those, `check` gets the number.
///
/// `attempt` is told after how many steps to kill, and says how many were made: see
/// [`while_stepped`]. Says on the standard output what it did; false where the system does not
/// allow tracing.
pub fn points(
    count: u64,
    mut attempt: impl FnMut(Option<u64>) -> Option<u64>,
    mut check: impl FnMut(u64),
) -> bool {
    let Some(whole) = attempt(None) else {
        println!("  (skipped: tracing is not allowed here)");
        return false;
    };
    for point in 0..count {
        let steps = whole * point / count + dice(whole / count);
        attempt(Some(steps));
        if point % 20 == 0 {
            check(steps);
        }
    }
    println!("  ({count} points among {whole} instructions)");
    true
}
