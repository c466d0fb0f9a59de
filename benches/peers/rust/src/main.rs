//! The rows for other crates and the C library, and the floors: what the machine itself takes.
//!
//! The command line and what is printed are those of `benches/compare`.

mod by_hand;
mod channels;
mod deaths;
mod floors;
mod game;
mod ipc;
mod kernel;
mod locks;
mod partner;
mod pool;
mod ring;
mod start;
mod threads;
mod words;

use std::process::ExitCode;

use procession_bench::{Entry, Kind, Trial, enter};

/// Of a pool, where the row does not say otherwise.
const WORKERS: usize = 2;

const ROWS: [Entry; 51] = [
    threads("B1", threads::default_chunks),
    floor("B1", "memcpy", floors::copy_items),
    floor("B1", "by hand", by_hand::default_chunks),
    processes("B2", pool::one_by_one),
    threads("B2", threads::one_by_one),
    floor("B2", "cache line", floors::cache_line),
    floor("B2", "by hand", by_hand::one_by_one),
    processes("B4", pool::round_trip),
    floor("B4", "spinning threads", floors::spinning),
    floor("B4", "by hand", by_hand::round_trip),
    floor("B4", "parked threads", floors::parked),
    floor("B4", "pipe to a process", floors::pipe_to_a_process),
    floor("B5", "by hand", by_hand::futures),
    entry("B6", "ipc-channel", Kind::Processes, ipc::short),
    entry("B6", "crossbeam threads", Kind::Threads, channels::short),
    floor("B6", "pipe", kernel::short),
    floor("B6", "locks and a ring", ring::short),
    entry(
        "B7",
        "crossbeam threads",
        Kind::Threads,
        channels::two_by_two,
    ),
    floor("B7", "pipe", kernel::pipe_two_by_two),
    floor("B7", "SOCK_SEQPACKET", kernel::socket_two_by_two),
    entry("B8", "ipc-channel", Kind::Processes, ipc::long_values),
    entry("B8", "ipc-channel, bytes", Kind::Processes, ipc::long),
    entry(
        "B8",
        "ipc-channel, shared memory",
        Kind::Processes,
        ipc::long_shared,
    ),
    floor("B8", "memcpy", floors::copy_messages),
    floor("B8", "pipe", kernel::long),
    entry("B9", "ipc-channel", Kind::Processes, ipc::ping_pong),
    entry(
        "B9",
        "crossbeam threads",
        Kind::Threads,
        channels::ping_pong,
    ),
    floor("B9", "pipe", kernel::pipe_ping_pong),
    floor("B9", "SOCK_SEQPACKET", kernel::socket_ping_pong),
    floor("B9", "futex", game::sleeping),
    floor("B9", "cache line", game::spinning),
    entry("B10", "pthread robust", Kind::Processes, locks::pthread),
    entry("B10", "std::sync::Mutex", Kind::Threads, locks::std_mutex),
    floor("B10", "pair of CAS", locks::pair_of_cas),
    floor("B10", "CAS, store, fence", locks::cas_store_fence),
    floor("B10", "fetch_add", locks::fetch_add),
    processes("B11", start::procspawn),
    floor("B11", "posix_spawn", start::posix_spawn),
    processes("B12", pool::first_result),
    processes("B13", pool::arguments),
    floor("B13", "memcpy", floors::copy_arguments),
    floor("B14", "kill, fork", deaths::replaced),
    floor("B15", "kill, wait", deaths::limited),
    processes("B16", pool::straggler),
    processes("B18", pool::wake_ups),
    processes("B19", pool::memory),
    threads("B20", threads::sweep),
    entry("B20", "ipc-channel, bytes", Kind::Processes, ipc::sweep),
    floor("B20", "pipe", kernel::sweep),
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
