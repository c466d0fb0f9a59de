//! The algorithms of this crate on loom: every interleaving of a few threads, with one of them
//! killed at every step, and known mistakes that have to be found.
//!
//! What runs is the shipped code of the files below. Only what it stands on is modelled: this
//! crate has a [`primitive`] of its own, with loom's atomics, a family, and a futex.
//!
//! A part of the test command. `cargo xtask storm --only models` runs it with optimisation, and with
//! as many preemptions as one likes.
#![allow(dead_code, reason = "the models do not use all of the shipped files")]
#![allow(
    clippy::reversed_empty_ranges,
    reason = "a modelled lock spins 0 times"
)]

// By this name the models of the pool have it, too, which share a file with these.
extern crate std as real;

#[path = "../../src/monitor.rs"]
mod monitor;
#[path = "../../src/raw_lock.rs"]
mod raw_lock;
#[path = "../../src/waiters.rs"]
mod waiters;

mod futex;
mod handle;
mod object;
mod primitive;
mod queue;
mod scene;

mod lock_models;
mod monitor_models;
mod park_models;
