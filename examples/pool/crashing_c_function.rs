//! A C function that crashes: who was killed by what, and all other items as if nothing had been.
//!
//! `strlen(getenv(name))` is C as it is written every day. Where the variable is not set, `getenv`
//! returns a null pointer and `strlen` reads it: `SIGSEGV`, which no `catch_unwind` catches. The
//! second function gives `free` a pointer that it never handed out: the C library notices, writes
//! so and aborts. The third one leaves with `exit`.
//!
//! `cargo run --release -p procession-pool --example crashing_c_function`
//!
//! # Safety
//!
//! The functions break the rules of C on purpose: the crashes are what the example is about.
#![allow(unsafe_code, reason = "crashes as C code does")]

use std::ffi::{CString, c_int};
use std::hint;

use procession_pool::{Death, Phase, Pool, Result, TaskError, current_task, init};

/// Runs in a worker: how long is the value of a variable of the environment?
fn length_of_variable(name: &str) -> usize {
    let name = CString::new(name).expect("no zero in it");
    // SAFETY: `name` ends with a zero; no other thread changes the environment.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: none where the variable is not set. This is the bug.
    unsafe { libc::strlen(hint::black_box(value)) }
}

/// Runs in a worker: what an item asks for.
fn run_c(item: String) -> usize {
    match item.as_str() {
        "free" => {
            let mut words = [0_usize; 8];
            // SAFETY: none. `free` is given the middle of an array on the stack.
            unsafe { libc::free(hint::black_box(words.as_mut_ptr().wrapping_add(3).cast())) };
            words.len()
        }
        // SAFETY: runs the handlers of this process, which is a worker.
        "exit" => unsafe { libc::exit(3) },
        name => length_of_variable(name),
    }
}

/// Runs in a worker: crashes now and then, as a race does; here in each item's first attempt, but
/// for the one that always crashes.
fn run_shaky_c(item: String) -> usize {
    let first = current_task().is_none_or(|task| task.attempt() == 0);
    length_of_variable(if first { "NO_SUCH_VARIABLE" } else { &item })
}

fn report(item: &str, death: &Death) {
    let ended = match (death.signal(), death.exit_code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (_, code) => format!("exit code {}", code.unwrap_or_default()),
    };
    println!(
        "{item:<18} process {}: {ended}, {}",
        death.pid(),
        death.phase()
    );
}

fn signal_of(outcome: &Result<usize, TaskError>) -> Option<c_int> {
    match outcome {
        Err(TaskError::WorkerDied(death)) => death.signal(),
        _ => None,
    }
}

fn main() -> Result<()> {
    init();
    let pool = Pool::builder()
        .workers(2)
        .env("SHORT", "four")
        .env("LONG", "x".repeat(1000))
        .build()?;

    println!("one outcome per item:");
    let items = [
        "SHORT",
        "NO_SUCH_VARIABLE",
        "LONG",
        "free",
        "SHORT",
        "exit",
        "LONG",
    ];
    let outcomes = pool.map_results(run_c, items.map(String::from));
    for (item, outcome) in items.iter().zip(&outcomes) {
        match outcome {
            Ok(length) => println!("{item:<18} {length} bytes"),
            Err(TaskError::WorkerDied(death)) => report(item, death),
            Err(error) => return Err(error.clone().into()),
        }
    }
    assert_eq!(signal_of(&outcomes[1]), Some(libc::SIGSEGV));
    assert!(signal_of(&outcomes[3]).is_some()); // which one is the C library's choice
    let Err(TaskError::WorkerDied(death)) = &outcomes[5] else {
        return Err("the exit goes unnoticed".into());
    };
    assert_eq!(
        (death.exit_code(), death.phase()),
        (Some(3), Phase::Running)
    );
    let lengths: Vec<usize> = outcomes.into_iter().flatten().collect();
    assert_eq!(lengths, [4, 1000, 4, 1000]);

    println!("\nwith three workers per item to spare:");
    let items = ["SHORT", "NO_SUCH_VARIABLE", "LONG"];
    let outcomes = pool
        .crash_limit(3)
        .map_results(run_shaky_c, items.map(String::from));
    for (item, outcome) in items.iter().zip(&outcomes) {
        match outcome {
            Ok(length) => println!("{item:<18} {length} bytes"),
            Err(TaskError::CrashLimit(deaths)) => {
                deaths.iter().for_each(|death| report(item, death))
            }
            Err(error) => return Err(error.clone().into()),
        }
    }
    assert!(matches!(&outcomes[1], Err(TaskError::CrashLimit(deaths)) if deaths.len() == 3));
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());

    let stats = pool.stats();
    println!(
        "\n{} items, {} workers replaced",
        stats.items, stats.restarts
    );
    assert_eq!(stats.restarts, 3 + 5);
    Ok(())
}
