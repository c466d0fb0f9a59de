//! SIGKILL at chosen instructions of a worker: it is stepped through a small task, one
//! instruction at a time, and killed after so many.
#![allow(unsafe_code, reason = "ptrace")]

use std::ptr;
use std::sync::mpsc;
use std::thread;

use procession_pool::Pool;
use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;

use super::agent::{self, Plan, items, work};
use super::dice::dice;
use super::runner::{Case, check_usable, warm_up};
use super::{eventually, heap_units, kills, os};

/// So many points in a small task, and in one whose output moves to a block and to a larger one.
pub(crate) fn cases(points: u64) -> [Case; 2] {
    [
        Case::new("sweep::small_task", move || sweep(10, points)),
        Case::new("sweep::growing_output", move || sweep(70, points)),
    ]
}

/// A process that this thread traces.
struct Traced(libc::pid_t);

impl Traced {
    /// `None` where the system does not allow it.
    fn attach(pid: u32) -> Option<Traced> {
        let traced = Traced(pid.cast_signed());
        // SAFETY: attaches to a worker; changes none of our memory.
        if unsafe { libc::ptrace(libc::PTRACE_ATTACH, traced.0, 0, 0) } != 0 {
            return None;
        }
        traced.stopped().then_some(traced)
    }

    /// Waits until it has stopped. False if it is gone.
    fn stopped(&self) -> bool {
        let mut status = 0;
        // SAFETY: `status` is a place for it.
        let waited = unsafe { libc::waitpid(self.0, ptr::from_mut(&mut status), libc::__WALL) };
        waited == self.0 && libc::WIFSTOPPED(status)
    }

    /// One instruction. False if it is gone.
    fn step(&self) -> bool {
        // SAFETY: the process is stopped and traced by this thread.
        let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, 0) };
        stepped == 0 && self.stopped()
    }

    fn kill(self) {
        os::send(self.0.cast_unsigned(), Signal::KILL);
        while self.stopped() {}
    }

    fn release(self) {
        // SAFETY: as in `step`.
        let _ = unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) };
    }
}

/// Maps `plans` while the worker makes `steps` steps and is killed, or until the map has ended.
/// How many steps it made; `None` where nobody may trace.
fn attempt(pool: &Pool, plans: &[Plan], steps: Option<u64>) -> Option<u64> {
    let pid = pool.worker_pids()[0];
    let (attached, go) = mpsc::channel();
    let (ended, over) = mpsc::channel::<()>();
    let (made, outcomes) = thread::scope(|scope| {
        let tracer = scope.spawn(move || {
            let traced = Traced::attach(pid);
            // On one CPU a step costs a fraction.
            let mut one = CpuSet::new();
            one.set(rustix::thread::sched_getcpu());
            for pid in [None, Pid::from_raw(pid.cast_signed())] {
                let _ = rustix::thread::sched_setaffinity(pid, &one);
            }
            attached.send(traced.is_some()).unwrap();
            let traced = traced?;
            let mut made = 0;
            while Some(made) != steps && over.try_recv().is_err() {
                if steps.is_none() && made > 5_000_000 {
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
        });
        if !go.recv().unwrap() {
            return (None, Vec::new());
        }
        let outcomes = pool.chunksize(plans.len()).map_results(work, items(plans));
        // It may be in its sleep by now, from where only a signal lets it come back.
        let _ = ended.send(());
        os::send(
            pid,
            if steps.is_some() {
                Signal::KILL
            } else {
                Signal::CONT
            },
        );
        (tracer.join().unwrap(), outcomes)
    });
    made?;
    let died = kills::check_survivors(plans, &outcomes);
    assert!(died <= 1, "{died} items died with one worker");
    made
}

fn sweep(size: u32, points: u64) {
    let pool = Pool::with_workers(1).unwrap();
    warm_up(&pool);
    let before = heap_units();
    let plans = || {
        agent::good(3)
            .iter()
            .map(|plan| plan.sized(size))
            .collect::<Vec<_>>()
    };
    let Some(whole) = attempt(&pool, &plans(), None) else {
        println!("  (skipped: tracing is not allowed here)");
        return;
    };
    for point in 0..points {
        let steps = whole * point / points + dice(whole / points);
        attempt(&pool, &plans(), Some(steps));
        if point % 20 == 0 {
            warm_up(&pool);
            eventually("the memory is back", || match heap_units() {
                now if now == before => Ok(()),
                now => Err(format!("{now} units, {before} before, {steps} steps")),
            });
        }
    }
    println!("  ({points} points among {whole} instructions)");
    check_usable(&pool);
    warm_up(&pool);
    eventually("the memory is back", || match heap_units() {
        now if now == before => Ok(()),
        now => Err(format!("{now} units, {before} before")),
    });
}
