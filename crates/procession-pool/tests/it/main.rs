//! The tests of the pool, in a program that calls `init()` as it should.

mod callbacks;
mod chunks;
mod deaths;
mod errors;
mod faults;
mod handles;
mod imap;
mod insight;
mod interrupts;
mod kills;
mod life;
mod limits;
mod map;
mod numbers;
mod options;
mod output;
mod parity;
mod results;
mod sealed;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod workers;

use std::process::ExitCode;

use procession_testkit::{Case, Runner, birth, ledger, runner};
use support::{agent, storm, sweep, usable};

fn main() -> ExitCode {
    if ledger::open() {
        birth::obey();
    }
    procession_pool::init();
    if let Some(code) = runner::divert(
        &[
            faults::PROGRAMS,
            interrupts::PROGRAMS,
            life::PROGRAMS,
            limits::PROGRAMS,
            output::PROGRAMS,
            parity::PROGRAMS,
            workers::PROGRAMS,
        ]
        .concat(),
    ) {
        return code;
    }
    agent::hush();
    let mut cases = map::cases();
    cases.extend(numbers::cases());
    cases.extend(threads::cases());
    cases.extend(errors::cases());
    cases.extend(deaths::cases());
    cases.extend(kills::cases());
    cases.extend(handles::cases());
    cases.extend(life::cases());
    cases.extend(limits::cases());
    cases.extend(parity::cases());
    cases.extend(imap::cases());
    cases.extend(results::cases());
    cases.extend(callbacks::cases());
    cases.extend(options::cases());
    cases.extend(workers::cases());
    cases.extend(insight::cases());
    cases.extend(interrupts::cases());
    cases.extend(output::cases());
    cases.extend(chunks::cases());
    cases.extend(sealed::cases());
    cases.extend(faults::cases());
    cases.extend(sweep::cases(6));
    cases.push(Case::new("storm::five_seconds", || storm::blow(5)));
    let runner = Runner::new(cases).with_ledger();
    runner.after_each(usable::still_works).run()
}
