//! SIGKILL at chosen instructions of everything that a queue does.
//!
//! A victim is stepped through one call and killed; then the queue must hold all that it did, with
//! or without the call, its waiters must come back, and it must go on serving. By default some
//! fifteen kills for each call, most at the beginning and never twice the same; `SWEEP_STRIDE=1`
//! kills at every instruction, `SWEEP_STRIDE=n` at every n-th (for a release build).

mod item;
mod scene;
#[allow(unused_imports, unused_macros, reason = "shared with others")]
#[path = "../support/mod.rs"]
mod support;
mod tasks;

use std::process::ExitCode;

use procession_testkit::dice::dice;
use procession_testkit::{Runner, ledger, runner};

fn main() -> ExitCode {
    let _open_in_children = ledger::open();
    procession_primitives::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let mut cases = scene::cases();
    cases.extend(tasks::cases());
    Runner::new(cases).with_ledger().run()
}

/// Where to kill next, after `steps` instructions were tried: as part `part` of `parts`.
fn next(part: Option<(u64, u64)>) -> impl FnMut(u64) -> u64 {
    move |steps| match part {
        None => steps + 1 + dice(steps * 2 / 3 + 150),
        Some((first, _)) if steps < first => first,
        Some((_, parts)) => steps + parts,
    }
}

/// The parts that the environment asks for: where each begins, and how far it goes at a time.
fn parts() -> Vec<Option<(u64, u64)>> {
    let stride = std::env::var("SWEEP_STRIDE").ok();
    match stride.and_then(|text| text.parse::<u64>().ok()) {
        None => vec![None],
        Some(stride) => {
            // As many cases that the watchdog sees each come to its end.
            let parts = (100 / stride.max(1)).max(2);
            (0..parts)
                .map(|part| Some((part * stride, parts * stride)))
                .collect()
        }
    }
}

/// The name of a case, and of its part.
fn title(name: &str, part: Option<(u64, u64)>) -> String {
    match part {
        None => name.to_owned(),
        Some((part, parts)) => format!("{name}::{part}_of_{parts}"),
    }
}
