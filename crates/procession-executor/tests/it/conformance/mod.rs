//! One suite for all executors: what the trait `Executor` and futures promise, whatever is behind them.
//!
//! Cases are called `conformance::EXECUTOR::TOPIC::CASE`. Those under `concurrent` are for executors that
//! run tasks while the caller does something else.

mod awaits;
mod callbacks;
mod callbacks_that;
mod cancel;
mod completed;
mod contestant;
mod errors;
mod hostile;
mod hostile_ends;
mod limit;
mod map;
mod map_input;
mod outcomes;
mod own;
mod remote;
mod shutdown;
#[cfg(feature = "stream")]
mod stream;
mod submit;
mod waits;

use procession_testkit::Case;

pub(crate) use contestant::{Concurrent, Contestant, Processes, Remote, Threads};
use contestant::{Forked, Inline, Spawned};

/// Cases from the names of generic functions.
macro_rules! suite {
    ($contestant:ident, $topic:literal: $($test:ident),* $(,)?) => {
        vec![$(procession_testkit::Case::new(
            format!("conformance::{}::{}::{}", $contestant::NAME, $topic, stringify!($test)),
            $test::<$contestant>,
        )),*]
    };
}
pub(crate) use suite;

/// For every executor.
fn all<C: Contestant>() -> Vec<Case> {
    let topics = [
        submit::cases::<C>(),
        outcomes::cases::<C>(),
        errors::cases::<C>(),
        map::cases::<C>(),
        map_input::cases::<C>(),
        waits::cases::<C>(),
        completed::cases::<C>(),
        callbacks::cases::<C>(),
        callbacks_that::cases::<C>(),
        cancel::cases::<C>(),
        limit::cases::<C>(),
        shutdown::cases::<C>(),
        awaits::cases::<C>(),
        #[cfg(feature = "stream")]
        stream::cases::<C>(),
    ];
    topics.into_iter().flatten().collect()
}

/// For those that run tasks while the caller does something else.
fn concurrent<C: Concurrent>() -> Vec<Case> {
    let topics = [
        all::<C>(),
        outcomes::concurrent::<C>(),
        map::concurrent::<C>(),
        map_input::concurrent::<C>(),
        waits::concurrent::<C>(),
        completed::concurrent::<C>(),
        callbacks::concurrent::<C>(),
        callbacks_that::concurrent::<C>(),
        cancel::concurrent::<C>(),
        limit::concurrent::<C>(),
        shutdown::concurrent::<C>(),
        awaits::concurrent::<C>(),
        #[cfg(feature = "stream")]
        stream::concurrent::<C>(),
    ];
    topics.into_iter().flatten().collect()
}

/// For those that have workers after some of them were killed, or where none can be.
fn killing<C: Concurrent>() -> Vec<Case> {
    [
        concurrent::<C>(),
        cancel::killing::<C>(),
        callbacks_that::killing::<C>(),
        awaits::killing::<C>(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn cases() -> Vec<Case> {
    // First, while this process has one thread for sure.
    let mut cases = concurrent::<Forked>();
    cases.extend(killing::<Processes>());
    cases.extend(killing::<Spawned>());
    cases.extend(killing::<Threads>());
    cases.extend(killing::<Remote>());
    cases.extend(all::<Inline>());
    cases.extend(own::cases());
    cases.extend(hostile::cases());
    cases.extend(hostile_ends::cases());
    cases
}
