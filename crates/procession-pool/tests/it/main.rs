//! The tests of the pool, in a program that calls `init()` as it should.

mod deaths;
mod errors;
mod kills;
mod life;
mod limits;
mod map;
#[path = "../support/mod.rs"]
mod support;
mod threads;

use std::process::ExitCode;

use support::{agent, ledger, program, runner, storm, sweep};

fn main() -> ExitCode {
    if ledger::open() {
        // What the supervisor forks inherits it.
        agent::die_at_birth();
    }
    procession_pool::init();
    if runner::divert() {
        return ExitCode::SUCCESS;
    }
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(program::ROLE) {
        let name = arguments.next().unwrap_or_default();
        let rest: Vec<String> = arguments.collect();
        let programs = [life::PROGRAMS, limits::PROGRAMS].concat();
        let found = programs.iter().find(|(known, _)| *known == name);
        let (_, run) = found.expect("a program of that name");
        return run(&rest);
    }
    agent::hush();
    let mut cases = map::cases();
    cases.extend(threads::cases());
    cases.extend(errors::cases());
    cases.extend(deaths::cases());
    cases.extend(kills::cases());
    cases.extend(life::cases());
    cases.extend(limits::cases());
    cases.extend(sweep::cases(6));
    cases.push(runner::Case::new("storm::five_seconds", || storm::blow(5)));
    runner::run(cases)
}
