//! The rows of the pool for other crates, and the floors: what the machine itself takes.
//!
//! The command line and what is printed are those of `benches/compare`.

mod floors;
mod pool;
mod threads;

use std::process::ExitCode;

use procession_bench::{Entry, Kind, Trial, enter};

/// Of a pool, where the row does not say otherwise.
const WORKERS: usize = 2;

const ROWS: [Entry; 18] = [
    threads("B1", threads::default_chunks),
    floor("B1", "memcpy", floors::copy_items),
    processes("B2", pool::one_by_one),
    threads("B2", threads::one_by_one),
    floor("B2", "cache line", floors::cache_line),
    processes("B4", pool::round_trip),
    floor("B4", "spinning threads", floors::spinning),
    floor("B4", "parked threads", floors::parked),
    floor("B4", "pipe to a process", floors::pipe_to_a_process),
    processes("B12", pool::first_result),
    processes("B13", pool::arguments),
    floor("B13", "memcpy", floors::copy_arguments),
    processes("B16", pool::straggler),
    processes("B18", pool::wake_ups),
    processes("B19", pool::memory),
    threads("B20", threads::sweep),
    processes("B3", pool::unordered),
    floor("B12", "start of a process", floors::start),
];

const fn processes(row: &'static str, run: fn(&Trial)) -> Entry {
    entry(row, "procspawn", Kind::Processes, run)
}

const fn threads(row: &'static str, run: fn(&Trial)) -> Entry {
    entry(row, "rayon", Kind::Threads, run)
}

const fn floor(row: &'static str, contestant: &'static str, run: fn(&Trial)) -> Entry {
    entry(row, contestant, Kind::Floor, run)
}

const fn entry(row: &'static str, contestant: &'static str, kind: Kind, run: fn(&Trial)) -> Entry {
    Entry {
        row,
        contestant,
        kind,
        run,
    }
}

fn main() -> ExitCode {
    if floors::is_echo() {
        return ExitCode::SUCCESS;
    }
    procspawn::init();
    enter(&ROWS)
}

fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}
