//! The cross-process tests of the crate, in a program that calls `init()` as it should.

mod capture;
mod death;
mod interrupts;
mod life;
mod limits;
#[path = "../suite/mod.rs"]
mod suite;

use std::process::ExitCode;

use procession_primitives::StartMethod;
use procession_testkit::{Runner, program, runner};

fn main() -> ExitCode {
    life::before_init();
    procession_primitives::init();
    life::after_init();
    if program::is_one() {
        program::exit_at_panic();
    }
    let programs = [
        life::PROGRAMS,
        death::PROGRAMS,
        limits::PROGRAMS,
        capture::PROGRAMS,
        interrupts::PROGRAMS,
    ]
    .concat();
    if let Some(code) = runner::divert(&programs) {
        return code;
    }
    let mut cases = suite::for_method("fork_server", StartMethod::ForkServer);
    cases.extend(suite::for_method("spawn", StartMethod::Spawn));
    cases.extend(life::cases());
    cases.extend(death::cases());
    cases.extend(limits::cases());
    cases.extend(capture::cases());
    cases.extend(interrupts::cases());
    Runner::new(cases).run()
}
