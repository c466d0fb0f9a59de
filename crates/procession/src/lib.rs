//! Process-based parallelism: what Python's `multiprocessing` gives Python, with a promise that
//! it does not make: whatever a task or a process does, every call gets exactly one truthful
//! outcome, and nothing is left behind.
//!
//! ```
//! use procession::Pool;
//!
//! fn main() -> procession::Result<()> {
//!     procession::init(); // first line of main
//!
//!     let pool = Pool::with_workers(2)?;
//!     let squares = pool.map(|x| x * x, 1..=8u64)?;
//!     assert_eq!(squares, [1, 4, 9, 16, 25, 36, 49, 64]);
//!     Ok(())
//! }
//! ```
//!
//! This crate holds no code: it gathers the layers, each of which can be used alone.
//!
//! | layer | feature | what it has |
//! |---|---|---|
//! | `procession-primitives` | always | [`Process`], [`StartMethod`], [`SharedMemory`], the family |
//! | `procession-sync` | `sync` (default) | `Lock`, `Mutex`, `Semaphore`, `Event`, `Barrier`, `Queue`, `Array`... |
//! | | `async` | awaiting events and queues |
//! | `procession-pool` | `pool` (default) | `Pool`, `AsyncResult`, `TaskError` |
//! | | `log`, `tracing` | what workers log comes to the program |
//! | | `progress` | progress bars |
//! | `procession-executor` | `executor` (default) | `Executor`, `ProcessPoolExecutor`, `Future`, `as_completed`, `wait` |
//! | | `stream` | `AsCompleted` is a `Stream` |
//!
//! # How functions reach another process
//!
//! Functions are function items or closures without captures; what they need is passed as an
//! argument of any serde type. The other process runs the same executable, so a function is named
//! by its offset in it. A capture is a compile error that names the variable:
//!
//! ```compile_fail
//! let factor = 3;
//! let process = procession::Process::spawn(|n: u64| n * factor, 10);
//! ```
//!
//! # Where child processes begin
//!
//! [`init`] as the first line of `main` is where they enter. A program that never calls it, such
//! as a test, a doctest or a benchmark, has them taken over before `main`; then a stack overflow
//! shows as a plain `SIGSEGV`, and start-up code of other crates may not have run yet. Either way
//! a child never runs the program's `main` beyond `init`.

pub use procession_primitives::*;

#[cfg(feature = "sync")]
pub use procession_sync::*;

#[cfg(feature = "pool")]
pub use procession_pool::{
    Args, AsyncResult, CurrentTask, Elapsed, Elements, Event as PoolEvent, Histogram, Imap,
    Indexed, InitFailure, Initialized, InterruptGuard, MAX_DEPTH, MAX_WORKERS, Output, Pool,
    PoolBuilder, PoolError, PoolStats, Priority, Sealed, TaskError, View, WorkerStats,
    current_task, handle_interrupts, handle_signals, python_chunksize, worker_index,
};

#[cfg(feature = "executor")]
pub use procession_executor::{
    AsCompleted, Backend, CancelAnswer, CancelMode, Canceller, Completer, Executor, Future, Handle,
    Hints, InitResult, InlineExecutor, Map, ProcessPoolBuilder, ProcessPoolExecutor, Rejected,
    ReturnWhen, Shutdown, Task, ThreadPoolBuilder, ThreadPoolExecutor, TrySubmitError, Unfinished,
    as_completed, wait, wait_deadline, wait_timeout,
};

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
