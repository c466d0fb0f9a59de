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

mod call;
mod cell;
mod chunk;
mod collect;
mod crew;
mod error;
mod idle;
mod inner;
mod mailbox;
mod map;
mod pool;
mod record;
mod shared;
mod task;
mod worker;

pub use chunk::python_chunksize;
pub use error::{PoolError, TaskError};
pub use pool::{Pool, View};
pub use procession_primitives::{
    Death, Error, Panic, PanicLocation, Phase, Result, cpu_count, init,
};

/// Most workers of a pool: as many processes as a family can have, less some for others.
pub const MAX_WORKERS: u32 = 4000;
