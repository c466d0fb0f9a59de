//! What `faults.md` injects, as far as a pool is concerned: a case per fault, named after it.
//!
//! [`product`] has every place of a worker's life with every way to fail there. The other files
//! have what no product expresses, and what is elsewhere is in this table:
//!
//! | fault | where |
//! |---|---|
//! | F01, F13 | the executable deleted or replaced: `primitives/tests/it/life.rs`; a pool starts its workers the same way |
//! | F02, F03, F140 | `limits::no_process_for_a_refill`, `limits::no_more_processes`, `limits::no_more_descriptors*` |
//! | F04, F05, F08, F09 | `product::spawn*`, `product::init*`; `deaths::at_birth_now_and_then` |
//! | F11 | also `product::*_for_ever`, `deaths::at_birth_for_ever` |
//! | F17 | needs `overcommit_memory`, which is the machine's; the fork is that of a small supervisor |
//! | F20, F21, F30, F31, F40, F80, F84 | `errors::*` |
//! | F32, F33, F43, F44, F81 | `product::decode*`, `run*`, `encode*`, `stuck*`; `deaths::every_stage_every_way` |
//! | F41 | `deaths::*` (`PanicTwice`); with `panic=abort` a panic is an abort |
//! | F47 | also `deaths::all_at_once` |
//! | F50 | `product::between*`, `kills::in_every_phase`, `kills::outcomes_before_the_kill_are_kept` |
//! | F53, F66 | not made here: a process that cannot be killed, a machine without memory |
//! | F57, F67 | also `deaths::grandchildren_go_too`, `threads::nested_in_a_worker_that_dies` |
//! | F59 | `product::wild*`: outcomes do not go through a descriptor, so that the item is there |
//! | F60 | `product::*` (`Garbage`): the supervisor ends who tells it nonsense |
//! | F61 | wild writes into shared memory are not promised to be survived |
//! | F61b | nobody tells the program a size to allocate: a worker's output is in a block that it has allocated itself |
//! | F65 | of a control group: `primitives/tests/it/limits.rs`; here, of the worker's own limit |
//! | F69 | captured output: `output::*`; `primitives/tests/it/capture.rs` |
//! | F70, F71, F72 | `interrupts::*`, also of the primitives; `life::program_ends_with_a_busy_pool`; the last also in `f46` |
//! | F82 | there is no limit on the size of a value but the memory of the family |
//! | F86 | there are no task ids to repeat: a worker has the one cell that it has claimed |
//! | F89 | also of hooks: their panics are treated alike |
//! | F110, F111, F112, F113, F116, F117 | also `life::*` |
//! | F119 | the suspended machine: not made here |
//! | F122 | `deaths::supervisor_killed*` |
//! | F130, F131 | also `life::many_short_pools`, `deaths::nothing_is_used_up`; the long ones in the storm |
//! | F138 | `cargo xtask ci` runs all of this with the sleep for old kernels |
//! | F139 | a pool keeps no journal |
//! | F152 | all times are of the monotonic clock, which nobody sets |
//! | F154 | `f26`: submissions are not refused, but kept in the program; `imap` is bounded, see `f92` |

mod ends;
mod killer;
mod product;
mod races;
mod resources;
mod results;
mod running;
mod sending;
mod start;

use procession_testkit::Case;
use procession_testkit::program::Run;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("noisy_start", start::noisy_start),
    ("without_streams", start::without_streams),
    ("odd_signals", start::odd_signals),
    ("own_pool_in_a_task", running::own_pool_in_a_task),
    ("starts_workers", ends::starts_workers),
    ("is_stopped", ends::is_stopped),
    ("becomes_another", ends::becomes_another),
    ("without_a_folder", resources::without_a_folder),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = product::cases();
    cases.extend(start::cases());
    cases.extend(sending::cases());
    cases.extend(running::cases());
    cases.extend(results::cases());
    cases.extend(races::cases());
    cases.extend(ends::cases());
    cases.extend(resources::cases());
    cases.extend(killer::cases());
    cases
}
