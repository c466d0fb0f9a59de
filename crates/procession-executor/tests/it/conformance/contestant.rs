//! The executors that the suite is run for.

use procession_executor::{
    Canceller, Executor, Future, InlineExecutor, ProcessPoolExecutor, ThreadPoolExecutor,
};
use procession_pool::StartMethod;
use procession_testkit::eventually;

use super::remote::RemoteExecutor;

/// An executor, and what can be asked of it.
pub(crate) trait Contestant: 'static {
    type Executor: Executor + Send + Sync + 'static;

    /// In the names of its cases.
    const NAME: &'static str;

    /// Tasks run in processes of their own.
    const HAS_PROCESSES: bool = false;

    /// What runs can be ended.
    const CAN_KILL: bool = false;

    /// There is a worker for whatever comes, also when others have left.
    const CAN_REPLACE: bool = true;

    /// Whoever knows that a task runs, or has ended, finds its future so.
    const IS_EXACT: bool = true;

    fn make(workers: usize) -> Self::Executor;

    /// Whether a task runs that does.
    #[track_caller]
    fn check_runs(future: &Future<u32>) {
        if Self::IS_EXACT {
            assert!(future.running());
        } else {
            eventually("it runs", || {
                future.running().then_some(()).ok_or_else(String::new)
            });
        }
    }

    /// Waits until it is known here that tasks have ended which have.
    fn await_news(futures: &[Canceller]) {
        let all_done = || futures.iter().all(Canceller::done);
        if !Self::IS_EXACT {
            eventually("it is known", || {
                all_done().then_some(()).ok_or_else(String::new)
            });
        }
    }
}

/// Tasks run while the caller does something else.
pub(crate) trait Concurrent: Contestant {}

fn processes(method: StartMethod, workers: usize) -> ProcessPoolExecutor {
    let builder = ProcessPoolExecutor::builder().start_method(method);
    builder.workers(workers).build().unwrap()
}

/// Workers by the fork server.
pub(crate) struct Processes;

impl Contestant for Processes {
    type Executor = ProcessPoolExecutor;
    const NAME: &'static str = "processes";
    const HAS_PROCESSES: bool = true;
    const CAN_KILL: bool = true;

    fn make(workers: usize) -> ProcessPoolExecutor {
        processes(StartMethod::ForkServer, workers)
    }
}

impl Concurrent for Processes {}

/// Workers of which each is the executable started anew.
pub(crate) struct Spawned;

impl Contestant for Spawned {
    type Executor = ProcessPoolExecutor;
    const NAME: &'static str = "spawned";
    const HAS_PROCESSES: bool = true;
    const CAN_KILL: bool = true;

    fn make(workers: usize) -> ProcessPoolExecutor {
        processes(StartMethod::Spawn, workers)
    }
}

impl Concurrent for Spawned {}

/// Workers forked from this process, which has one thread when they are. It has more when one of them
/// would have to be replaced: so none is killed here.
pub(crate) struct Forked;

impl Contestant for Forked {
    type Executor = ProcessPoolExecutor;
    const NAME: &'static str = "forked";
    const HAS_PROCESSES: bool = true;
    const CAN_REPLACE: bool = false;

    fn make(workers: usize) -> ProcessPoolExecutor {
        processes(StartMethod::Fork, workers)
    }
}

impl Concurrent for Forked {}

pub(crate) struct Threads;

impl Contestant for Threads {
    type Executor = ThreadPoolExecutor;
    const NAME: &'static str = "threads";

    fn make(workers: usize) -> ThreadPoolExecutor {
        ThreadPoolExecutor::with_workers(workers).unwrap()
    }
}

impl Concurrent for Threads {}

/// A back-end of the tests' own, which knows bytes only.
pub(crate) struct Remote;

impl Contestant for Remote {
    type Executor = RemoteExecutor;
    const NAME: &'static str = "remote";
    const IS_EXACT: bool = false;

    fn make(workers: usize) -> RemoteExecutor {
        RemoteExecutor::new(workers)
    }
}

impl Concurrent for Remote {}

pub(crate) struct Inline;

impl Contestant for Inline {
    type Executor = InlineExecutor;
    const NAME: &'static str = "inline";

    fn make(_: usize) -> InlineExecutor {
        InlineExecutor::new()
    }
}
