//! The tests of executors, in a program that calls `init()` as it should.

#[allow(dead_code, reason = "the pool's tests use more of it")]
#[path = "../../../procession-pool/tests/support/agent.rs"]
mod agent;
mod broken;
mod common;
mod conformance;
mod crashes;
mod deaths;
mod faults;
#[path = "../../../procession-pool/tests/support/kills.rs"]
mod kills;
mod memory;
mod oracle;
mod parity;
mod product;
mod programs;
mod storm;
mod together;
mod ways;
mod wear;
mod workers;

use std::process::ExitCode;

use procession_testkit::{Runner, birth, ledger, runner};

fn main() -> ExitCode {
    if ledger::open() {
        birth::obey();
    }
    procession_executor::init();
    if let Some(code) = runner::divert(
        &[
            deaths::PROGRAMS,
            memory::PROGRAMS,
            parity::PROGRAMS,
            programs::PROGRAMS,
        ]
        .concat(),
    ) {
        return code;
    }
    common::hush();
    agent::hush();
    let mut cases = conformance::cases();
    cases.extend(parity::cases());
    cases.extend(together::cases());
    cases.extend(deaths::cases());
    cases.extend(crashes::cases());
    cases.extend(broken::cases());
    cases.extend(product::cases());
    cases.extend(faults::cases());
    cases.extend(wear::cases());
    cases.extend(programs::cases());
    cases.extend(memory::cases(100_000, 30_000));
    cases.extend(storm::cases());
    let runner = Runner::new(cases).with_ledger();
    runner.after_each(common::still_works).run()
}
