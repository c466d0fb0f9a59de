//! Starts workers.

use procession_primitives::{FamilyError, Process, StartError};

use crate::builder::Config;
use crate::cell::WorkerIndex;
use crate::context;
use crate::shared::Place;
use crate::worker::{self, Leave, Orders};

/// Starts worker `index`, which is the `life`th in its place.
pub(crate) fn hire(
    config: &Config,
    place: Place,
    index: WorkerIndex,
    life: u64,
) -> Result<Process<Leave>, StartError> {
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
    };
    let start = || {
        let name = format!("PoolWorker-{}", index + 1);
        let mut builder = Process::builder().name(name).daemon(true);
        builder = builder.ignore_interrupts(true);
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
        builder.spawn(worker::work, orders.clone())
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
