//! SIGKILL at chosen instructions of every primitive: a victim goes step by step and is killed,
//! survivors must be able to go on, and what they find must be possible.
//!
//! By default fifty kills or so for each, densest at the beginning. `SWEEP_STRIDE=1` kills
//! at every instruction, `SWEEP_STRIDE=n` at every n-th.

mod locks;
mod meetings;
mod objects;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use procession_primitives::Process;
use procession_testkit::{Case, Runner, ledger, runner, sweep};

/// A sweep over what one sort of victim does.
struct Sweep<R> {
    /// Starts a victim, with those around it.
    start: fn(&R) -> Process<()>,
    /// What the survivors do when it is dead.
    check: fn(&R, u64),
}

/// Parts of a sweep over all instructions, so that the watchdog sees them one by one.
const SLICES: u64 = 100;

fn stride() -> Option<u64> {
    std::env::var("SWEEP_STRIDE").ok()?.parse().ok()
}

/// The cases of a sweep; `make` makes what all victims of a case share.
fn cases<R: 'static>(name: &str, make: fn() -> R, sweep: Sweep<R>) -> Vec<Case> {
    let Sweep { start, check } = sweep;
    let Some(stride) = stride() else {
        let next = |steps| steps + 1 + steps / 5;
        return vec![Case::new(format!("sweep::{name}"), move || {
            run(&make(), start, check, next);
        })];
    };
    let slice = |slice| {
        let next = move |steps| match steps {
            0 => slice * stride + SLICES * stride * u64::from(slice == 0),
            steps => steps + SLICES * stride,
        };
        Case::new(format!("sweep::{name}::slice_{slice}"), move || {
            run(&make(), start, check, next);
        })
    };
    (0..SLICES).map(slice).collect()
}

fn run<R>(
    room: &R,
    start: fn(&R) -> Process<()>,
    check: fn(&R, u64),
    next: impl FnMut(u64) -> u64,
) {
    match sweep::victims(|| start(room), next, |steps| check(room, steps)) {
        None => println!("  (skipped: tracing is not allowed here)"),
        Some(swept) => {
            println!(
                "  ({} kills over {} instructions)",
                swept.kills, swept.steps
            );
            assert!(swept.kills > 2, "the victim was stepped");
        }
    }
    // The last one came to its end.
    check(room, u64::MAX);
}

fn main() -> ExitCode {
    let _open_in_children = ledger::open();
    procession_primitives::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let mut all = locks::cases();
    all.extend(meetings::cases());
    all.extend(objects::cases());
    Runner::new(all).with_ledger().run()
}
