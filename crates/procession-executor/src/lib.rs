//! Executors: futures, `as_completed`, `wait` and `map`, over processes, threads or the calling thread.

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
    Args, Death, Error, Panic, PanicLocation, Phase, PoolError, Priority, Result, TaskError,
    cpu_count, init,
};
pub use threads::ThreadPoolExecutor;
pub use threads_builder::{InitResult, ThreadPoolBuilder};
pub use wait::{ReturnWhen, wait, wait_deadline, wait_timeout};
