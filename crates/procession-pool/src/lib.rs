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
//! # What happens when
//!
//! | in a worker | its item | other items |
//! |---|---|---|
//! | the function panics | [`TaskError::Panicked`] | not touched; the worker lives on |
//! | the item cannot be decoded, the value not be encoded | [`TaskError::ItemDecode`], [`TaskError::ValueEncode`] | not touched; the worker lives on |
//! | `exit`, `abort`, a signal, out of memory | [`TaskError::WorkerDied`] | those of the same chunk that had not begun run elsewhere; a new worker takes its place |
//! | it is killed while idle, or between two items | none lost | as above |
//!
//! Where Python's `Pool` waits for ever after a worker's death, this one goes on; where it loses the
//! other results of a chunk with an error, this one keeps them; where it starts workers that die at
//! once again and again, this one stops and says why.

mod args;
mod async_result;
mod broadcast;
mod builder;
mod call;
mod cell;
mod chunk;
mod chunks;
mod collect;
mod context;
mod crew;
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
mod record;
mod retry;
mod run;
mod settle;
mod shared;
mod stats;
mod submit;
mod task;
mod trace;
mod view;
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
    Death, Error, InterruptSignal, Panic, PanicLocation, Phase, Result, cpu_count, init,
};
pub use run::Initialized;
pub use stats::{Histogram, PoolStats, WorkerStats};
pub use view::View;
pub use worker::InitFailure;

/// Most pools that can be above a pool: tasks may use pools, whose tasks may use pools.
pub const MAX_DEPTH: u32 = 8;

/// Most workers of a pool: as many processes as a family can have, less some for others.
pub const MAX_WORKERS: u32 = 4000;
