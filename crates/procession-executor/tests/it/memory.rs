//! What a future costs that has no outcome yet, in programs of their own: and that all of it comes
//! back.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use procession_executor::{Executor, Future, ProcessPoolExecutor, as_completed};
use procession_testkit::program::{Program, Run, exit_at_panic};
use procession_testkit::{Case, heap_is_back, heap_units, ledger, same};

use crate::common::check_cancelled;
use crate::workers::with_workers;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[("many_pending", many_pending)];

/// Bytes of this process for the future of a small task: twice what was found.
const MOST: u64 = 700;

/// How they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Cancelled one by one.
    Cancel,
    /// Dropped, and run.
    Drop,
    /// Dropped at once with a callback each, and run.
    Callback,
    /// Taken as they complete.
    Complete,
    /// Cancelled by a shutdown.
    Shutdown,
}

const ENDS: [End; 5] = [
    End::Cancel,
    End::Drop,
    End::Callback,
    End::Complete,
    End::Shutdown,
];

/// With `many` futures each, or `ran` where their tasks run in the end.
pub(crate) fn cases(many: u32, ran: u32) -> Vec<Case> {
    let case = |end: End| {
        let count = match end {
            End::Cancel | End::Shutdown => many,
            End::Drop | End::Callback | End::Complete => ran,
        };
        let name = format!("memory::{end:?}_{count}").to_lowercase();
        Case::new(name, move || {
            let words = ledger::reserve(2).to_string();
            let arguments = [&format!("{end:?}"), &count.to_string(), &words];
            let mut program = Program::start("many_pending", &arguments.map(String::as_str));
            println!("  ({})", program.line());
            program.succeed();
        })
    };
    ENDS.map(case).into()
}

/// Bytes of this process in memory: its own, and what it shares with the family.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.unwrap().trim_end_matches("kB").trim();
        kilobytes.parse::<u64>().unwrap() * 1024
    };
    field("RssAnon:") + field("RssShmem:")
}

fn many_pending(arguments: &[String]) -> ExitCode {
    exit_at_panic();
    let [end, count, words] = arguments else {
        panic!("three arguments");
    };
    let end = ENDS.into_iter().find(|one| format!("{one:?}") == *end);
    let (end, count) = (end.unwrap(), count.parse().unwrap());
    let words: u32 = words.parse().unwrap();
    let executor = with_workers(1);
    executor.submit(ledger::note, words).result().unwrap();
    let heap = heap_units();
    let mut peaks = Vec::new();
    for round in 0..5 {
        let first = memory();
        let most = pend(&executor, end, count, words);
        let per_future = most.saturating_sub(first) / u64::from(count);
        if round == 0 {
            println!("{per_future} bytes per pending future, {count} of them");
            assert!(per_future < MOST, "{per_future} bytes per future");
        }
        if end == End::Shutdown {
            drop(executor);
            return ExitCode::SUCCESS;
        }
        heap_is_back("the memory of the tasks is back", heap);
        peaks.push(most);
    }
    // What allocators keep is used again, once each thread's has its share.
    let (third, last) = (peaks[2], peaks[4]);
    let most = third + third / 20 + (2 << 20);
    assert!(last < most, "it grows: {peaks:?}");
    ExitCode::SUCCESS
}

/// Has so many futures pending, and ends them. The memory when they all were.
fn pend(executor: &ProcessPoolExecutor, end: End, count: u32, words: u32) -> u64 {
    let (gate, word) = (words, words + 1);
    ledger::set(gate, 0);
    ledger::set(word, 0);
    let held = executor.submit(ledger::wait, gate);
    let called = Arc::new(AtomicU32::new(0));
    let mut futures = Vec::new();
    for _ in 0..count {
        let future = executor.submit(ledger::note, word);
        if end == End::Callback {
            let called = Arc::clone(&called);
            future.add_done_callback(move |_| {
                called.fetch_add(1, Ordering::Relaxed);
            });
        } else {
            futures.push(future);
        }
    }
    let most = memory();
    match end {
        End::Cancel => {
            assert!(futures.iter().all(Future::cancel));
            futures
                .iter()
                .for_each(|future| check_cancelled(&future.try_result().unwrap()));
            ledger::set(gate, 1);
        }
        End::Shutdown => {
            ledger::set(gate, 1);
            executor.shutdown_now();
            let cancelled = futures.iter().filter(|future| future.cancelled()).count();
            // The one that runs was let go before.
            same(
                "cancelled or run",
                cancelled as u32 + ledger::get(word),
                count,
            );
        }
        End::Drop => {
            drop(futures);
            ledger::set(gate, 1);
            ledger::wait_for(word, count);
        }
        End::Callback => {
            ledger::set(gate, 1);
            procession_testkit::eventually("all are called", || {
                match called.load(Ordering::Relaxed) {
                    all if all == count => Ok(()),
                    some => Err(format!("{some} of {count}")),
                }
            });
        }
        End::Complete => {
            ledger::set(gate, 1);
            let completed = as_completed(futures);
            let values = completed.map(|future| future.result().unwrap());
            same("values", values.count() as u32, count);
        }
    }
    same("the first", held.result().unwrap(), 1);
    if end != End::Cancel && end != End::Shutdown {
        same("runs", ledger::get(word), count);
    }
    most
}
