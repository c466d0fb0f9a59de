//! The storm for as long as one likes, and a sweep of kills: `cargo xtask storm`, or `--test storm -- --seconds N`.

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use procession_testkit::{Case, Runner, ledger, runner, storm};
use support::{sweep, usable};

/// A hundred thousand tasks under a killer, a thousand pools, a thousand kills.
fn killers() -> [Case; 5] {
    use support::storm::{Through, kill_items, make_and_drop, poisson};
    [
        Case::new("poisson::map", || poisson(Through::Map, 34_000)),
        Case::new("poisson::imap", || poisson(Through::Imap, 33_000)),
        Case::new("poisson::submit", || poisson(Through::Submit, 33_000)),
        Case::new("many::pools", || make_and_drop(1000)),
        Case::new("many::kills", || kill_items(1000)),
    ]
}

fn main() -> ExitCode {
    let _open_in_children = ledger::open();
    procession_pool::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let seconds = storm::seconds();
    let mut cases: Vec<Case> = storm::rounds(seconds, support::storm::blow).collect();
    for (number, case) in (0..seconds).step_by(10).enumerate() {
        let length = (seconds - case).min(10);
        let name = format!("storm::clash_{number}");
        cases.push(Case::new(name, move || support::storm::clash(length)));
    }
    cases.extend(killers());
    // Steps are slow, so there is an end to them.
    cases.extend(sweep::cases(seconds.clamp(10, 200)));
    let runner = Runner::new(cases).with_ledger();
    runner.after_each(usable::still_works).run()
}
