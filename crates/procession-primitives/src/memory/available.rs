//! Taking memory: asked for before any of it is, because a kernel out of memory kills instead of refusing.

use std::{fs, path::Path};

use rustix::{
    fd::OwnedFd,
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{SharedMemoryError, hooks::DIRECTORY};

/// Committed at a time, so that a signal costs the repetition of one step only.
const COMMIT_STEP: u64 = 2 << 20;

/// Bytes that the machine and the control group can still give, if they tell.
pub(crate) fn available_memory() -> Option<u64> {
    let available = machine("MemAvailable:")
        .into_iter()
        .chain(control_group(room))
        .min()?;
    // Taking the last page would only move the failure into somebody else's page fault.
    Some(available - available / 16)
}

/// Bytes that the machine and the control group have in all, if they tell.
#[must_use]
pub fn total_memory() -> Option<u64> {
    machine("MemTotal:")
        .into_iter()
        .chain(control_group(|group, limit, _, _| number(group, limit)))
        .min()
}

/// Refuses a size that the machine or the control group cannot give.
pub(super) fn check_memory(requested: u64) -> Result<(), SharedMemoryError> {
    match available_memory() {
        Some(available) if requested > available => Err(SharedMemoryError::OutOfMemory {
            requested,
            available,
        }),
        _ => Ok(()),
    }
}

/// Refuses a size that `/dev/shm` has no room for.
pub(super) fn check_space(requested: u64) -> Result<(), SharedMemoryError> {
    let available = space().map_err(SharedMemoryError::os("ask /dev/shm for its free space"))?;
    if requested > available {
        return Err(SharedMemoryError::NoSpace {
            requested,
            available,
        });
    }
    Ok(())
}

/// Takes the pages now: later, a lack of memory would be a SIGBUS at the first touch.
///
/// Only for a length that this process asked for and that [`check_space`] and [`check_memory`] have granted.
pub(super) fn commit(object: &OwnedFd, len: u64) -> Result<(), SharedMemoryError> {
    let mut start = 0;
    while start < len {
        let step = COMMIT_STEP.min(len - start);
        match fallocate(object, FallocateFlags::KEEP_SIZE, start, step) {
            Ok(()) => start += step,
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC) => {
                let available = space().unwrap_or(0).saturating_add(start);
                return Err(SharedMemoryError::NoSpace {
                    requested: len,
                    available,
                });
            }
            Err(Errno::NOMEM) => {
                return Err(SharedMemoryError::OutOfMemory {
                    requested: len,
                    available: start,
                });
            }
            Err(errno) => return Err(SharedMemoryError::os("commit shared memory")(errno)),
        }
    }
    Ok(())
}

/// Bytes free in `/dev/shm`.
fn space() -> rustix::io::Result<u64> {
    let shm = rustix::fs::statvfs(DIRECTORY)?;
    // A tmpfs without a limit reports no blocks at all.
    Ok(if shm.f_blocks == 0 {
        u64::MAX
    } else {
        shm.f_bavail.saturating_mul(shm.f_frsize)
    })
}

/// A line of `/proc/meminfo` in bytes. `MemAvailable:` is what can be taken without swapping.
fn machine(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// What to ask a control group: its folder, and its files for limit, usage and cache.
type Ask = fn(&Path, &str, &str, &str) -> Option<u64>;

/// The least that a control group above this process answers.
fn control_group(ask: Ask) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let lines = groups.lines();
    lines.filter_map(|line| group_of_line(line, ask)).min()
}

fn group_of_line(line: &str, ask: Ask) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (mount, limit, usage, cache) = match controllers {
        "" => (
            "/sys/fs/cgroup",
            "memory.max",
            "memory.current",
            "inactive_file ",
        ),
        _ if controllers
            .split(',')
            .any(|controller| controller == "memory") =>
        {
            (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            )
        }
        _ => return None,
    };
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter_map(|group| ask(&Path::new(mount).join(group), limit, usage, cache))
        .min()
}

/// The number in a group's file; "max" is none.
fn number(group: &Path, file: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(file)).ok()?;
    text.trim().parse().ok()
}

/// What the group leaves, page cache that it could drop counted as free.
fn room(group: &Path, limit: &str, usage: &str, cache: &str) -> Option<u64> {
    let (limit, usage) = (number(group, limit)?, number(group, usage)?);
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = statistics
        .lines()
        .find_map(|line| line.strip_prefix(cache)?.parse::<u64>().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(cache)))
}
