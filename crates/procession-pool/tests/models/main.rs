//! The concurrency of this crate on loom: every interleaving of a few threads, with one of them
//! killed at every step, and known mistakes that have to be found.
//!
//! What runs is the shipped code of the files below, as it is. What it stands on is modelled: in
//! this program `std` and `procession_primitives` are names of the program itself, with loom's
//! atomics in a modelled shared memory, a family, a futex and a clock. `real` and `primitives` are
//! the crates of those names.
//!
//! Not shipped code: [`inner`], which has the part of that file that the hub and calls stand on,
//! [`worker`], which has a worker's loop without functions, and [`jobs`], whose promise is a word.
//! They follow their originals line by line. Of the words in memory only those are loom's that a
//! model has [`watched`](scene::watched); the others are memory without weak order, and locks that
//! were not watched are no places where threads are interrupted.
//!
//! Known mistakes of the hub, but for missing fences, are looked for on a machine where a
//! read-and-write is a full barrier, as on x86, so that what is found there is the mistake and not
//! a missing fence.
//!
//! With `MODELS_SHOW` set each model says how many runs it has had, and what was done in the one that
//! has failed.
//!
//! A part of the test command. `cargo xtask storm --only models` runs it with optimisation, and with
//! as many preemptions as one likes.
#![allow(dead_code, reason = "the models do not use all of the shipped files")]
#![allow(unused_imports, reason = "as above")]
#![allow(unreachable_pub, reason = "what is public in the shipped files")]

extern crate procession_primitives as primitives;
extern crate self as procession_primitives;
extern crate self as std;
extern crate std as real;

#[path = "../../src/backlog.rs"]
mod backlog;
#[path = "../../src/call.rs"]
mod call;
#[path = "../../src/cell.rs"]
mod cell;
#[path = "../../src/collect.rs"]
mod collect;
#[path = "../../src/crew.rs"]
mod crew;
#[path = "../../src/entry.rs"]
mod entry;
#[path = "../../src/error.rs"]
mod errors;
#[path = "../../src/event.rs"]
mod event;
#[path = "../../src/guard.rs"]
mod guard;
#[path = "../../src/hub.rs"]
mod hub;
#[path = "../../src/idle.rs"]
mod idle;
#[path = "../../src/keeper.rs"]
mod keeper;
#[path = "../../src/mailbox.rs"]
mod mailbox;
#[path = "../../src/options.rs"]
mod options;
#[path = "../../src/outcome.rs"]
mod outcome;
#[path = "../../src/output.rs"]
mod output;
#[path = "../../src/record.rs"]
mod record;
#[path = "../../src/retry.rs"]
mod retry;
#[path = "../../src/roster.rs"]
mod roster;
#[path = "../../src/settle.rs"]
mod settle;
#[path = "../../src/shared.rs"]
mod shared;
#[path = "../../src/stop.rs"]
mod stop;
#[path = "../../src/task.rs"]
mod task;
#[path = "../../src/vigil.rs"]
mod vigil;

mod clock;
mod family;
mod faults;
#[path = "../../../procession-sync/tests/models/futex.rs"]
mod futex;
mod inner;
mod jobs;
mod memory;
mod mutex;
mod process;
mod raw;
mod scene;
mod stand_ins;
mod words;
mod worker;

mod backlog_models;
mod call_models;
mod guard_models;
mod hub_models;
mod idle_models;
mod slot_models;
mod watch_models;

/// As in the shipped crate.
const MAX_WORKERS: u32 = 4000;
const MAX_DEPTH: u32 = 8;

use errors::TaskError;
use stand_ins::{builder, filling, hire, stream};

/// `std`, as the shipped files know it.
mod sync {
    pub(crate) use crate::mutex::{Mutex, MutexGuard};
    pub(crate) use real::sync::{Arc, OnceLock, PoisonError};

    pub(crate) mod atomic {
        pub(crate) use crate::words::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};
        pub(crate) use real::sync::atomic::Ordering;
    }
}

mod time {
    pub(crate) use crate::clock::Instant;
    pub(crate) use real::time::Duration;
}

use loom::thread;
use real::{
    array, borrow, collections, error, fmt, hint, io, iter, marker, mem, ops, option, panic, ptr,
    slice,
};

/// `procession_primitives`, as the shipped files know it.
use clock::{monotonic_micros, monotonic_nanos};
use family::{Family, wake};
use memory::{Arena, Block};
use primitives::{
    BlockId, CodeError, DecodeError, EncodeError, FamilyError, MemberId, MemoryUsage, News, Number,
    NumberKind, OutOfMemory, Panic, Passengers, Phase, Shared, Sink, StartError, copy_short,
    decode, decode_number, decode_unguarded, encode_unguarded, own_memory, place_for_word,
    prefetch, prefetch_to_write, take_boarded,
};
use process::{Death, Process, catch};
