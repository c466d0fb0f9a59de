//! The storm for as long as one likes, and a sweep of kills: `cargo xtask storm`, or `--test storm -- --seconds N`.

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use support::runner::{self, Case};
use support::{ledger, storm, sweep};

/// Far below what the watchdog allows one case.
const ROUND: u64 = 10;

fn main() -> ExitCode {
    let _open_in_children = ledger::open();
    procession_pool::init();
    if runner::divert() {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let given = arguments
        .iter()
        .skip_while(|one| *one != "--seconds")
        .nth(1);
    let seconds: u64 = given.map_or(60, |text| text.parse().expect("a number of seconds"));
    let rounds = (0..seconds.max(1)).step_by(ROUND as usize);
    let cases = rounds.map(|from| {
        let length = ROUND.min(seconds.max(1) - from);
        Case::new(format!("storm::from_second_{from}"), move || {
            storm::blow(length)
        })
    });
    // Steps are slow, so there is an end to them.
    let sweeps = sweep::cases(seconds.clamp(10, 200));
    runner::run(cases.chain(sweeps).collect())
}
