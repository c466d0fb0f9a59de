//! The storm for as long as one likes, and a sweep of kills: `cargo xtask storm`, or `--test storm -- --seconds N`.

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use procession_testkit::{Runner, ledger, runner, storm};
use support::{sweep, usable};

fn main() -> ExitCode {
    let _open_in_children = ledger::open();
    procession_pool::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let seconds = storm::seconds();
    let storms = storm::rounds(seconds, support::storm::blow);
    // Steps are slow, so there is an end to them.
    let sweeps = sweep::cases(seconds.clamp(10, 200));
    let runner = Runner::new(storms.chain(sweeps).collect()).with_ledger();
    runner.after_each(usable::still_works).run()
}
