//! Our part of `cargo xtask bench --compare`: one row, one trial, through the public interface.
//!
//! A row is a function here and its line in the list below; what the peers do stands in
//! `../peers`. Only ours knows the targets.

mod bulk;
mod futures;
mod handles;
mod idle;
mod journal;
mod latency;
mod limit;
mod lock;
mod map;
mod messages;
mod process;
mod queue;
mod recovery;
mod sleepers;
mod start;
mod straggler;
mod stream;
mod wake_ups;
#[path = "../workloads/mod.rs"]
mod workloads;

use std::process::ExitCode;

use procession_bench::{Entry, Kind, Trial, enter};
use procession_pool::{Pool, init};

/// Of a pool, where the row does not say otherwise.
const WORKERS: usize = 2;

const ROWS: [Entry; 20] = [
    row("B1", map::default_chunks),
    row("B2", map::one_by_one),
    row("B3", map::unordered),
    row("B4", latency::apply),
    row("B5", futures::as_they_come),
    row("B6", queue::short),
    row("B7", queue::two_by_two),
    row("B8", messages::long),
    row("B9", queue::ping_pong),
    row("B10", lock::lock),
    row("B11", process::start_and_join),
    row("B12", start::first_result),
    row("B13", bulk::arguments),
    row("B14", recovery::recovery),
    row("B15", limit::limits),
    row("B16", straggler::straggler),
    row("B17", stream::slow_consumer),
    row("B18", idle::wake_ups),
    row("B19", idle::memory),
    row("B20", sweeps),
];

const fn row(row: &'static str, run: fn(&Trial)) -> Entry {
    Entry {
        row,
        contestant: "procession",
        kind: Kind::Ours,
        run,
    }
}

fn main() -> ExitCode {
    init();
    enter(&ROWS)
}

/// B20.
fn sweeps(trial: &Trial) {
    map::sweep(trial);
    map::workers(trial);
    bulk::sweep(trial);
    futures::sweep(trial);
    messages::sweep(trial);
    wake_ups::wake_ups(trial);
    sleepers::sleepers(trial);
    handles::handles(trial);
}

fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

fn pool(workers: usize) -> Pool {
    Pool::with_workers(workers).expect("a pool starts")
}
