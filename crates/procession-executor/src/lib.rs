//! Executors: futures, `as_completed`, `wait` and `map`, over processes, threads or the calling thread.
//!
//! ```
//! use procession_executor::{Executor, ProcessPoolExecutor, TaskError, as_completed};
//!
//! let executor = ProcessPoolExecutor::with_workers(2)?;
//! let futures = (0..4u64).map(|n| executor.submit(|n| 12 / n, n));
//! for future in as_completed(futures) {
//!     match future.result() {
//!         Ok(value) => println!("{value}"),
//!         Err(TaskError::Panicked(panic)) => println!("{panic}"),
//!         Err(TaskError::WorkerDied(death)) => println!("{:?}", death.signal()),
//!         Err(error) => println!("{error}"),
//!     }
//! }
//! let squares: Vec<u64> = executor.map(|n| n * n, 1..=4).collect::<Result<_, _>>()?;
//! assert_eq!(squares, [1, 4, 9, 16]);
//! # Ok::<(), procession_executor::Error>(())
//! ```
//!
//! Programs call [`init`] as the first line of `main`; tests, doctests and benches need not.
//!
//! # Where tasks run
//!
//! | | |
//! |---|---|
//! | [`ProcessPoolExecutor`] | in worker processes: a crash costs one task, and a task can be ended |
//! | [`ThreadPoolExecutor`] | in threads: for functions that wait |
//! | [`InlineExecutor`] | in the caller: for debugging |
//! | [`Handle`] | in whichever of them the program chooses when it runs |
//! | [`Backend`] | anywhere: all else stands on this trait, once |
//!
//! # What one can do
//!
//! | | |
//! |---|---|
//! | one item, later | [`submit`](Executor::submit): a [`Future`], to wait for, to await, or with callbacks |
//! | many items | [`map`](Executor::map), [`map_unordered`](Executor::map_unordered), [`starmap`](Executor::starmap): an iterator over one outcome per item |
//! | futures as they are completed | [`as_completed`], to which new ones can be [added](AsCompleted::push) |
//! | the first of several, the first error, or all | [`wait`] |
//! | no more than so many at once | [`max_pending`](Handle::with_max_pending), [`try_submit`](Executor::try_submit) |
//! | give up | [`cancel`](Future::cancel), [`kill`](Future::kill), [`cancel_on_drop`](Future::cancel_on_drop), [`Canceller`] |
//! | come to an end | [`shutdown`](Executor::shutdown) and its like; `drop` waits |
//!
//! Options of calls are methods of [`Executor`] that give a [`Handle`] with them:
//! `executor.retries(2).priority(Priority::High).submit(..)`.
//!
//! # What happens when
//!
//! | | its future | others |
//! |---|---|---|
//! | the function panics | [`TaskError::Panicked`] | not touched |
//! | `exit`, `abort`, a signal, out of memory, in a process | [`TaskError::WorkerDied`] | not touched; a new worker takes its place |
//! | the same in a thread, or in the caller | the program ends | |
//! | the item or the value cannot be encoded or decoded | that error | not touched |
//! | it takes longer than its [`timeout`](Executor::timeout), in a process | [`TaskError::TimedOut`] | not touched |
//! | it is cancelled | [`TaskError::Cancelled`] | not touched |
//! | a callback panics | has its outcome | not touched, other callbacks are called |
//! | the executor takes no more tasks | [`TaskError::Closed`] | finished, or as its shutdown says |
//!
//! Every future has one outcome, whatever dies.
//!
//! # Where Python's users suffer
//!
//! | with Python's executors | here |
//! |---|---|
//! | one crash breaks the executor, and fails all futures | it fails its own |
//! | a task that was prefetched cannot be cancelled | until it begins it can be |
//! | a task that runs cannot be ended | [`kill`](Future::kill), [`timeout`](Executor::timeout) |
//! | a cancelled future may count as not done | it is done |
//! | `submit` takes more than there is memory | [`max_pending`](Handle::with_max_pending) |
//! | `map` stops at the first error, and a chunk fails as a whole | each item has its own outcome |
//! | `map` reads all its input first | [`buffersize`](Executor::buffersize) items ahead |
//! | `shutdown` has no time-out | [`shutdown_timeout`](Executor::shutdown_timeout) |
//! | waiting for the first of many, again and again, costs more the more there are | [`AsCompleted`] takes new ones, and each costs the same |
//! | a callback that waits for its own future hangs | [`TaskError::InCallback`] |
//!
//! # Features
//!
//! `stream`: [`AsCompleted`] is a `futures_core::Stream`.

mod as_completed;
mod backend;
mod base;
mod callback;
mod canceller;
mod chunk;
mod completions;
mod executor;
mod future;
mod handle;
mod inline;
mod limit;
mod listeners;
#[cfg(test)]
mod manual;
mod map;
mod park;
mod process;
mod process_builder;
mod promise;
mod queue;
mod run;
mod sizes;
mod slab;
mod threads;
mod threads_builder;
mod wait;
mod window;

pub use as_completed::{AsCompleted, Unfinished, as_completed};
pub use backend::{Backend, CancelAnswer, CancelMode, Completer, Hints, Rejected, Shutdown, Task};
pub use canceller::Canceller;
pub use executor::{Executor, TrySubmitError};
pub use future::Future;
pub use handle::Handle;
pub use inline::InlineExecutor;
pub use map::Map;
pub use process::ProcessPoolExecutor;
pub use process_builder::ProcessPoolBuilder;
pub use procession_pool::raw;
pub use procession_pool::{
    Args, CurrentTask, Death, Error, Event as PoolEvent, InitFailure, Initialized, MAX_WORKERS,
    Output, Panic, PanicLocation, Phase, Pool, PoolError, Priority, Result, StartMethod, TaskError,
    cpu_count, current_task, init,
};
pub use threads::ThreadPoolExecutor;
pub use threads_builder::{InitResult, ThreadPoolBuilder};
pub use wait::{ReturnWhen, wait, wait_deadline, wait_timeout};
