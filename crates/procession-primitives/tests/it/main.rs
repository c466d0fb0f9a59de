//! The cross-process tests of the crate, in a program that calls `init()` as it should.

mod death;
mod life;
mod limits;
#[path = "../suite/mod.rs"]
mod suite;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use procession_primitives::StartMethod;
use support::{os, program, runner};

fn main() -> ExitCode {
    life::before_init();
    procession_primitives::init();
    life::after_init();
    if runner::divert() {
        return ExitCode::SUCCESS;
    }
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(program::ROLE) {
        let name = arguments.next().unwrap_or_default();
        let rest: Vec<String> = arguments.collect();
        let programs = [life::PROGRAMS, death::PROGRAMS, limits::PROGRAMS].concat();
        let found = programs.iter().find(|(known, _)| *known == name);
        let (_, run) = found.expect("a program of that name");
        // An assertion that fails must not wait for processes that wait for this one.
        let present = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            present(info);
            os::exit_at_once(101);
        }));
        return run(&rest);
    }
    let mut cases = suite::for_method("fork_server", StartMethod::ForkServer);
    cases.extend(suite::for_method("spawn", StartMethod::Spawn));
    cases.extend(life::cases());
    cases.extend(death::cases());
    cases.extend(limits::cases());
    runner::run(cases)
}
