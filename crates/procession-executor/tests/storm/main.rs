//! The storm for as long as one likes, a million futures, a thousand executors and kills:
//! `cargo xtask storm`, or `--test storm -- --seconds N`.
#![allow(dead_code, reason = "the other test program uses more of these")]

#[path = "../it/common.rs"]
mod common;
#[path = "../it/memory.rs"]
mod memory;
#[path = "../it/oracle.rs"]
mod oracle;
#[path = "../it/storm.rs"]
mod squall;
#[path = "../it/ways.rs"]
mod ways;
#[path = "../it/wear.rs"]
mod wear;
#[path = "../it/workers.rs"]
mod workers;

use std::process::ExitCode;

use procession_testkit::{Case, Runner, ledger, runner, storm};

fn main() -> ExitCode {
    let _open_in_children = ledger::open();
    procession_executor::init();
    if let Some(code) = runner::divert(memory::PROGRAMS) {
        return code;
    }
    common::hush();
    let mut cases: Vec<Case> = storm::rounds(storm::seconds(), squall::blow).collect();
    cases.push(Case::new("wear::executors", || wear::make_and_drop(1000)));
    cases.push(Case::new("wear::kills", || wear::kill_futures(1000)));
    cases.extend(memory::cases(1_000_000, 1_000_000));
    let runner = Runner::new(cases).with_ledger();
    runner.after_each(common::still_works).run()
}
