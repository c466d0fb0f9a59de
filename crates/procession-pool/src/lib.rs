//! A pool of worker processes that nothing a task does can break.

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
