//! The storm for as long as one likes: `cargo xtask storm`, or `--test storm -- --seconds N`.

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use procession_testkit::{Runner, ledger, runner, storm};

fn main() -> ExitCode {
    let _open_in_children = ledger::open();
    procession_primitives::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let storms = storm::rounds(storm::seconds(), support::storm::blow);
    Runner::new(storms.collect()).with_ledger().run()
}
