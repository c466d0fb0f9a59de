//! Who holds what, and who waits for whom: for people who ask why nothing goes on.
//!
//! # Safety
//!
//! Reads words of objects that it does not hold. They are atomics, and the arena is never
//! unmapped: an object that is freed meanwhile shows as something else, no more.
#![allow(unsafe_code, reason = "looks at objects without a handle")]

use std::collections::HashMap;
use std::fmt;

use crate::handle::{kinds, shared_state};
use crate::primitive::{Family, Holder};
use crate::raw_lock::RawLock;
use crate::rwlock;

shared_state!(RawLock);

/// A lock that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// What sort of lock: `"Lock"`, `"Mutex"`...
    pub kind: &'static str,
    /// A number that no other object of this program has.
    pub object: u64,
    /// The process that holds it.
    pub pid: u32,
    /// The thread of that process: a number of ours, 1 for the first one that asked.
    pub thread: u32,
    /// Whether that process is alive. Of a dead one the next taker is told.
    pub alive: bool,
}

/// A thread that waits for an object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// The process that waits.
    pub pid: u32,
    /// The thread of that process.
    pub thread: u32,
    /// Which object it waits for.
    pub object: u64,
}

/// Threads that wait for each other in a circle, and will for ever if none of them gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlock {
    /// Each waits for the lock that it names, which the next one holds; the last one for the
    /// first.
    pub steps: Vec<Step>,
}

/// One thread of a [`Deadlock`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The process that waits.
    pub pid: u32,
    /// The thread of that process.
    pub thread: u32,
    /// What sort of lock it waits for.
    pub kind: &'static str,
    /// Which one.
    pub object: u64,
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let next = &self.steps[(index + 1) % self.steps.len()];
            let comma = if index == 0 { "" } else { ", " };
            write!(
                f,
                "{comma}pid {} thread {} waits for {} {}, held by pid {} thread {}",
                step.pid, step.thread, step.kind, step.object, next.pid, next.thread
            )?;
        }
        Ok(())
    }
}

/// The sorts of objects that one thread holds at a time.
const LOCKS: [(u32, &str); 6] = [
    (kinds::LOCK, "Lock"),
    (kinds::RLOCK, "RLock"),
    (kinds::MUTEX, "Mutex"),
    (kinds::VALUE, "Value"),
    (kinds::ARRAY, "Array"),
    (kinds::RWLOCK, "RwLock"),
];

/// Who holds the lock of sort `kind` that lies at `offset`.
fn holder(family: &Family, kind: u32, offset: u64) -> Option<Holder> {
    if kind == kinds::RWLOCK {
        return rwlock::writer_at(family, offset);
    }
    // SAFETY: all of these begin with their lock.
    let raw = unsafe { family.arena().get::<RawLock>(offset) };
    raw?.holder()
}

/// The locks that are held, with object number, sort and holder.
fn held(family: &Family) -> Vec<(u64, &'static str, Holder)> {
    let mut found = Vec::new();
    for (kind, name) in LOCKS {
        for (id, offset) in family.objects(kind) {
            if let Some(holder) = holder(family, kind, offset) {
                found.push((id.number(), name, holder));
            }
        }
    }
    found
}

/// The locks of this program that somebody holds at this moment, in whatever process.
///
/// A picture of what moves: by the time it is looked at it may not be so any more.
///
/// # Examples
///
/// ```
/// let lock = procession_sync::Lock::new()?;
/// let held = lock.acquire().unwrap();
/// let holdings = procession_sync::inspect::holdings();
/// assert!(holdings.iter().any(|h| h.pid == std::process::id() && h.kind == "Lock"));
/// # Ok::<(), procession_sync::Error>(())
/// ```
#[must_use]
pub fn holdings() -> Vec<Holding> {
    let Ok(family) = Family::current() else {
        return Vec::new();
    };
    let holdings = held(family)
        .into_iter()
        .map(|(object, kind, holder)| Holding {
            kind,
            object,
            pid: family.member_pid(holder.member()).unwrap_or(0),
            thread: holder.thread(),
            alive: family.is_alive(holder.member()),
        });
    holdings.collect()
}

/// The threads of this program that wait at this moment for an object of this layer.
#[must_use]
pub fn waiters() -> Vec<Waiter> {
    let Ok(family) = Family::current() else {
        return Vec::new();
    };
    let waits = family.waits().into_iter().map(|wait| Waiter {
        pid: family.member_pid(wait.who.member()).unwrap_or(0),
        thread: wait.who.thread(),
        object: wait.object,
    });
    waits.collect()
}

/// Looks for threads that wait for each other's locks in a circle.
///
/// Locks that belong to one thread count: [`Lock`](crate::Lock), [`RLock`](crate::RLock),
/// [`Mutex`](crate::Mutex), [`Value`](crate::Value), [`Array`](crate::Array), and a writer's
/// [`RwLock`](crate::RwLock). What is found is looked at twice: a circle that is there both times,
/// with the same threads and locks, does not go away by itself.
///
/// # Examples
///
/// ```
/// if let Some(deadlock) = procession_sync::inspect::find_deadlock() {
///     eprintln!("{deadlock}");
/// }
/// ```
#[must_use]
pub fn find_deadlock() -> Option<Deadlock> {
    let family = Family::current().ok()?;
    let first = find(family)?;
    let second = find(family)?;
    let same = first.steps.iter().all(|step| second.steps.contains(step));
    same.then_some(first)
}

fn find(family: &Family) -> Option<Deadlock> {
    let waits: HashMap<Holder, u64> = family
        .waits()
        .into_iter()
        .map(|wait| (wait.who, wait.object))
        .collect();
    let held: HashMap<u64, (&'static str, Holder)> = held(family)
        .into_iter()
        .map(|(object, kind, holder)| (object, (kind, holder)))
        .collect();
    for &start in waits.keys() {
        let mut path: Vec<(Holder, Step)> = Vec::new();
        let mut thread = start;
        while let Some((object, (kind, next))) = waits
            .get(&thread)
            .and_then(|object| Some((*object, *held.get(object)?)))
        {
            if let Some(begin) = path.iter().position(|(seen, _)| *seen == thread) {
                let steps = path.split_off(begin).into_iter().map(|(_, step)| step);
                return Some(Deadlock {
                    steps: steps.collect(),
                });
            }
            path.push((
                thread,
                Step {
                    pid: family.member_pid(thread.member()).unwrap_or(0),
                    thread: thread.thread(),
                    kind,
                    object,
                },
            ));
            thread = next;
        }
    }
    None
}
