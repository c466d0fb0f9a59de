//! What only features have: `async`.

mod futures;

use std::process::ExitCode;

use procession_testkit::{Runner, birth, ledger, runner};

fn main() -> ExitCode {
    if ledger::open() {
        birth::obey();
    }
    procession_primitives::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    Runner::new(futures::cases()).with_ledger().run()
}
