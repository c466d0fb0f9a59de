//! A pool of worker processes that nothing a task does can break.
//!
//! ```
//! use procession_pool::{Pool, TaskError};
//!
//! let pool = Pool::with_workers(2)?;
//! assert_eq!(pool.map(|x| x * x, 1..=4u64)?, [1, 4, 9, 16]);
//!
//! for (n, outcome) in pool.map_results(|n: i32| 12 / n, 0..3).into_iter().enumerate() {
//!     match outcome {
//!         Ok(value) => println!("{n}: {value}"),
//!         Err(TaskError::Panicked(panic)) => println!("{n}: {panic}"),
//!         Err(TaskError::WorkerDied(death)) => println!("{n}: {:?}", death.signal()),
//!         Err(error) => println!("{n}: {error}"),
//!     }
//! }
//! # Ok::<(), procession_pool::Error>(())
//! ```
//!
//! Programs call [`init`] as the first line of `main`; tests, doctests and benches need not.
//!
//! # What a pool can do
//!
//! | | |
//! |---|---|
//! | all values, in order | [`map`](View::map), [`starmap`](View::starmap), [`map_with`](View::map_with), [`map_init`](View::map_init) |
//! | one outcome per item | [`map_results`](View::map_results), [`map_with_results`](View::map_with_results) |
//! | outcomes as they are needed, in bounded memory | [`imap`](View::imap), [`imap_unordered`](View::imap_unordered) |
//! | one item | [`apply`](View::apply) |
//! | later | [`apply_async`](View::apply_async), [`map_async`](View::map_async), [`starmap_async`](View::starmap_async): [`AsyncResult`] |
//! | a large value in many items, sent once | [`Sealed`] |
//! | shared arrays and slices, in place | [`map_chunks`](View::map_chunks), [`for_each_chunk`](View::for_each_chunk) |
//! | every worker once | [`broadcast`](Pool::broadcast) |
//!
//! Options of calls are methods of [`View`], those of the pool itself of [`PoolBuilder`]. A task learns
//! about itself by [`current_task`].
//!
//! # What happens when
//!
//! | in a worker | its item | other items |
//! |---|---|---|
//! | the function panics | [`TaskError::Panicked`] | not touched; the worker lives on |
//! | the item cannot be decoded, the value not be encoded | [`TaskError::ItemDecode`], [`TaskError::ValueEncode`] | not touched; the worker lives on |
//! | `exit`, `abort`, a signal, out of memory | [`TaskError::WorkerDied`] | those of the same chunk that had not begun run elsewhere; a new worker takes its place |
//! | it takes longer than its [`timeout`](View::timeout) | [`TaskError::TimedOut`] | as above |
//! | it is killed while idle, or between two items | none lost | as above |
//!
//! # Where Python's users suffer
//!
//! | with Python's pools | here |
//! |---|---|
//! | a worker that dies makes `map` wait for ever, or breaks the executor | its item fails, with the signal or exit code; the others go on |
//! | a killed worker leaves locks and queues stuck | nothing that a pool uses is stuck; those of `procession-sync` tell the next owner |
//! | orphans stay when the program is killed | all its processes end with it, and theirs |
//! | an error that cannot be unpickled stops all results | a failing decoder is the error of its item |
//! | `close`, `terminate` and exit hang | `join` has a time-out; `terminate` kills, and returns when all are gone |
//! | `fork` in a program with threads | workers come from a process with one thread |
//! | `imap` and `submit` read the whole input | [`buffersize`](View::buffersize) items ahead, by count and bytes |
//! | recycled workers (`maxtasksperchild`) deadlock | leaving is one of the ways in which a worker ends, and treated like the others |
//! | a failing initialiser is tried for ever | so many times; then calls fail with its error |
//! | Ctrl+C prints a trace per worker | workers ignore it; see [`handle_interrupts`] |
//! | an exception in a callback stops all results | it is that callback's |
//! | 64 workers in a container with 2 CPUs | affinity and cgroup quota count: [`cpu_count`] |
//! | all workers draw the same random numbers | a seed per item: [`CurrentTask::seed`] |
//! | each worker's libraries start a thread per CPU | [`env`](PoolBuilder::env) and [`pin`](PoolBuilder::pin) |
//! | locks and queues cannot be arguments | they can |
//! | what workers log is lost | [`output`](PoolBuilder::output), and `forward_logs` with the features `log` and `tracing` |
//!
//! # Features
//!
//! `log` and `tracing` pass on what workers log; `progress` shows progress bars.

mod args;
mod async_result;
mod backlog;
mod broadcast;
mod builder;
mod call;
mod cell;
mod chunk;
mod chunks;
mod collect;
mod context;
mod cost;
mod crew;
mod entry;
mod error;
mod event;
mod filling;
mod guard;
mod hire;
mod hub;
mod idle;
mod imap;
mod inner;
mod interrupt;
mod job;
mod keeper;
#[cfg(any(feature = "log", feature = "tracing"))]
mod logs;
mod mailbox;
mod map;
mod options;
mod outcome;
mod output;
mod pool;
mod progress;
mod promise;
pub mod raw;
mod record;
mod retry;
mod roster;
mod run;
mod sealed;
mod settle;
mod shared;
mod stats;
mod stop;
mod stream;
mod submit;
mod task;
mod trace;
mod view;
mod vigil;
mod worker;

pub use args::Args;
pub use async_result::AsyncResult;
pub use builder::{Output, PoolBuilder};
pub use chunk::python_chunksize;
pub use chunks::Elements;
pub use context::{CurrentTask, current_task, worker_index};
pub use error::{PoolError, TaskError};
pub use event::Event;
pub use imap::{Elapsed, Imap, Indexed};
pub use interrupt::{InterruptGuard, handle_interrupts, handle_signals};
pub use options::Priority;
pub use pool::Pool;
pub use procession_primitives::{
    Death, Error, InterruptSignal, Panic, PanicLocation, Phase, Result, StartMethod, cpu_count,
    init,
};
pub use run::Initialized;
pub use sealed::Sealed;
pub use stats::{Histogram, PoolStats, WorkerStats};
pub use view::View;
pub use worker::InitFailure;

/// Most pools that can be above a pool: tasks may use pools, whose tasks may use pools.
pub const MAX_DEPTH: u32 = 8;

/// Most workers of a pool: as many processes as a family can have, less some for others.
pub const MAX_WORKERS: u32 = 4000;
