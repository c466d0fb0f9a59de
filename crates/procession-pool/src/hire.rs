//! Starts workers.

use procession_primitives::{CapturedStream, FamilyError, Process, StartError, Tee};

use crate::builder::Config;
use crate::cell::WorkerIndex;
use crate::context;
use crate::shared::Place;
use crate::worker::{self, Leave, Orders};

/// A worker that was started.
pub(crate) struct Hired {
    pub(crate) process: Process<Leave>,
    /// What it writes, if that is kept.
    pub(crate) output: Option<Output>,
}

/// The standard output and standard error of a worker.
#[derive(Debug)]
pub(crate) struct Output(CapturedStream, CapturedStream);

impl Output {
    /// The end of what it has written to standard error, or else to standard output.
    pub(crate) fn tail(&self) -> Option<String> {
        [&self.1, &self.0]
            .into_iter()
            .map(|stream| stream.tail().to_string())
            .find(|tail| !tail.is_empty())
    }
}

/// Starts worker `index`, which is the `life`th in its place.
pub(crate) fn hire(
    config: &Config,
    place: Place,
    index: WorkerIndex,
    life: u64,
) -> Result<Hired, StartError> {
    let orders = Orders {
        place,
        index,
        depth: context::depth() + 1,
        initializer: config
            .initializer
            .as_ref()
            .map(|(hook, block, len)| (*hook, block.id().to_word(), *len as u64)),
        finalizer: config.finalizer,
        items: config
            .max_items
            .map_or(u64::MAX, |items| share(items, index, life)),
        memory: config.memory_limit.map(|limit| limit / 4 * 3),
        idle_timeout: config.idle_timeout,
        #[cfg(any(feature = "log", feature = "tracing"))]
        logs: config.logs.as_ref().map(crate::logs::Logs::orders),
    };
    let start = || {
        let name = format!("PoolWorker-{}", index + 1);
        let mut builder = Process::builder().name(name).daemon(true);
        builder = builder.ignore_interrupts(true);
        if let Some(method) = config.start_method {
            builder = builder.start_method(method);
        }
        for (name, value) in &config.environment {
            builder = builder.env(name, value);
        }
        if let Some(directory) = &config.directory {
            builder = builder.current_dir(directory);
        }
        if let Some(nice) = config.nice {
            builder = builder.nice(nice);
        }
        if let Some(cpus) = &config.pinned {
            builder = builder.cpus([cpus[index as usize % cpus.len()]]);
        }
        if let Some(bytes) = config.memory_limit {
            builder = builder.memory_limit(bytes);
        }
        let mut output = None;
        if let Some((capture, tee)) = &config.capture {
            let prefix = || format!("[worker {index}] ");
            let tees = match tee {
                false => (Tee::Off, Tee::Off),
                true => (Tee::Stdout(prefix()), Tee::Stderr(prefix())),
            };
            let streams = capture.stream(tees.0).and_then(|out| {
                let err = capture.stream(tees.1)?;
                Ok((out, err))
            });
            let ((stdout, out), (stderr, err)) = streams.map_err(StartError::Descriptors)?;
            builder = builder.stdout(stdout).stderr(stderr);
            output = Some(Output(out, err));
        }
        let process = builder.spawn(worker::work, orders.clone())?;
        Ok(Hired { process, output })
    };
    match start() {
        // If it had made a worker, that one has died with it: ask the next supervisor.
        Err(StartError::Family(FamilyError::SupervisorDied)) => start(),
        started => started,
    }
}

/// How many items a worker does in its life, of at most `most`: up to a quarter less, so that
/// workers of the same age do not leave together.
fn share(most: u64, index: WorkerIndex, life: u64) -> u64 {
    let mut state = u64::from(index) << 32 | life;
    most - context::mix(&mut state) % (most / 4 + 1)
}
