//! What `faults.md` injects, as far as futures are concerned: a case per fault, named after it.
//!
//! Workers, their start, their limits and the memory of the family are the pool's, and its suite has
//! the faults that are not listed here. Of those that are, this is elsewhere:
//!
//! | fault | where |
//! |---|---|
//! | F20, F30, F31, F32 | `crashes::d01*`, `d02*`; in depth `errors::*`, `deaths::*` of the pool |
//! | F33 | also `product::*` (decode, by time-out and kill) |
//! | F40, F41, F43, F44, F45 | `crashes::d03*`, `d04*`, `d05*`; further signals in `f45` |
//! | F46 | also `product::*` (outside) |
//! | F50 | `product::*` (value drop), and `f50` for outcomes that nobody has looked at |
//! | F59 | only touched: outcomes do not go through descriptors; `faults::product::wild*` of the pool |
//! | F64 | only touched; `faults::running::f64*` of the pool |
//! | F80, F81, F84 | `crashes::d06*`, `d07*` |
//! | F82 | there is no limit on the size of a value but the memory of the family |
//! | F105, F109 | the pool's: a task does not know whether it has a future |
//! | F114 | also `crashes::d08*` |
//! | F116, F117 | `programs::*` |
//! | F122 | only touched; `deaths::supervisor_killed*` of the pool |
//! | F130, F131 | `wear::*`; the long ones in the storm |
//! | F154 | also `memory::*` |

mod ends;
mod races;
mod results;
mod running;
mod sending;

use procession_testkit::Case;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = sending::cases();
    cases.extend(running::cases());
    cases.extend(results::cases());
    cases.extend(races::cases());
    cases.extend(ends::cases());
    cases
}
