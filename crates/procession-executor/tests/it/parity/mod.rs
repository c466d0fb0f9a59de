//! What CPython's own tests check of its futures and executors, row by row.
//!
//! Rows of worker processes and their deaths are elsewhere: X and D.
//!
//! | row | what differs here, or where else it is checked |
//! |---|---|
//! | F01 | a callback gets the outcome, not the future; also `callbacks::with_the_outcome` |
//! | F02, F03 | also `callbacks::that_panic`, `late_ones` |
//! | F04 | also `outcomes::text` |
//! | F05, F06 | there is no state between cancelled and notified of it; a future is cancelled and done at once, and not done while its callbacks run; also `cancel::answers`, `cancel::states` |
//! | F07, F08 | also `outcomes::not_there_yet`, `awaited_by_many_threads`, `cancel::frees_what_waits` |
//! | F09 | a future is not set by its users; back-ends that tell of two outcomes: `hostile::completes_twice` |
//! | F10, F18 | futures are no clones of each other: the same one cannot be given twice |
//! | F11, F12 | the cancelled one is done, by design |
//! | F13 to F17, F20 | also in `waits` and `completed` |
//! | F19 | also `completed::no_reference_is_kept` |
//! | E01 | there are no keyword arguments: a struct has names |
//! | E03 | by design the iterator goes on after the error |
//! | E05 | -1 and "2" are no `usize`; 0 is taken as 1; also `map_input::taken_exactly` and its like |
//! | E07 | the item is encoded and dropped at the call |
//! | E08 | -1 is no `usize`; also `own::numbers_of_workers` |
//! | E10 | the future has the error; `try_submit` gives the item back |
//! | E11 | with the programs that end |
//! | E12 | an executor has ended when it is dropped: there is nothing to submit to afterwards but a handle |
//! | E16 | also `shutdown::cancelled_and_shut_down` |
//! | E17 | also in `shutdown` |
//! | E18 | workers that start when there is work are chosen by `lazy` |
//! | E20, E21 | the error is in the futures instead of a log |
//! | H01 | also `map::begins_at_the_call` |
//! | H06 | a process with threads cannot be forked: with fork server instead |

mod executors;
mod futures;
mod threads;

use procession_testkit::Case;
use procession_testkit::program::Run;

/// None of these rows needs a program of its own.
pub(crate) const PROGRAMS: &[(&str, Run)] = &[];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = futures::cases();
    cases.extend(executors::cases());
    cases.extend(threads::cases());
    cases
}

/// Cases from the names of generic functions, for processes and for threads.
macro_rules! both {
    ($($test:ident),* $(,)?) => {
        vec![$(
            procession_testkit::Case::new(
                concat!("parity::", stringify!($test)),
                $test::<crate::conformance::Processes>,
            ),
            procession_testkit::Case::new(
                concat!("parity::", stringify!($test), "_of_threads"),
                $test::<crate::conformance::Threads>,
            ),
        )*]
    };
}
pub(crate) use both;
