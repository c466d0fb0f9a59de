//! The trailer: 128 bytes at the very end of every named segment that tell whose it is.
//!
//! It is at the end because Python and C map a segment from offset 0 and expect their data there. The object is
//!
//! ```text
//! 0            size      next page boundary             end - 128    end
//! | user bytes | padding | one more page, zero up to -> | trailer    |
//! ```
//!
//! Fields (native byte order; segments never leave the machine):
//!
//! | offset | field | |
//! |---|---|---|
//! | 0 | magic | `b"PrcssnSM"` |
//! | 8 | version `u32` | 1 |
//! | 12 | state `u32` | see below |
//! | 16 | size `u64` | the user's bytes |
//! | 24 | generation `u64` | random, never 0: tells two segments of one name apart |
//! | 32 | creator: pid `u32`, 4 bytes zero, start time `u64`, pid namespace `u64`, time namespace `u64` | [`Creator`] |
//! | 64 | zero | |
//!
//! | state | meaning | next |
//! |---|---|---|
//! | [`READY`] | goes when its creator goes | [`PERSISTENT`], stored by the creator |
//! | [`PERSISTENT`] | stays until unlinked | |
//!
//! There is no "being made" state: a segment is made under a temporary name and gets its own by an atomic rename
//! once everything, the trailer included, is in place.

use std::{fs, os::unix::fs::MetadataExt};

use rustix::{
    fd::OwnedFd,
    io::{Errno, pread, pwrite},
    process::{Pid, getpid, test_kill_process},
};

pub(super) const TRAILER: usize = 128;
/// Offset of the state word from the start of the trailer.
pub(super) const STATE: usize = 12;
pub(super) const READY: u32 = 1;
pub(super) const PERSISTENT: u32 = 2;

const MAGIC: [u8; 8] = *b"PrcssnSM";
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) state: u32,
    pub(super) size: u64,
    pub(super) generation: u64,
    pub(super) creator: Creator,
}

/// The length of the object that holds `size` bytes for the user; `None` if there is no such length.
pub(super) fn object_len(size: u64) -> Option<u64> {
    let page = rustix::param::page_size() as u64;
    size.checked_next_multiple_of(page)?
        .checked_add(page)
        .filter(|&len| len <= isize::MAX as u64)
}

impl Trailer {
    /// Reads the trailer of an object of `len` bytes, or says why it has none.
    ///
    /// By `pread`, not through a mapping: whatever the object is, this cannot raise a signal.
    pub(super) fn read(object: &OwnedFd, len: u64) -> Result<Self, &'static str> {
        let mut bytes = [0; TRAILER];
        let start = len
            .checked_sub(TRAILER as u64)
            .ok_or("too small to be one")?;
        match pread(object, &mut bytes, start) {
            Ok(TRAILER) => Self::decode(&bytes, len),
            _ => Err("unreadable"),
        }
    }

    /// Writes the trailer at the end of an object of `len` bytes.
    pub(super) fn write(&self, object: &OwnedFd, len: u64) -> rustix::io::Result<()> {
        match pwrite(object, &self.encode(), len - TRAILER as u64)? {
            TRAILER => Ok(()),
            _ => Err(Errno::IO),
        }
    }

    pub(super) fn encode(&self) -> [u8; TRAILER] {
        let mut bytes = [0; TRAILER];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &VERSION.to_ne_bytes());
        put(STATE, &self.state.to_ne_bytes());
        put(16, &self.size.to_ne_bytes());
        put(24, &self.generation.to_ne_bytes());
        put(32, &self.creator.pid.to_ne_bytes());
        put(40, &self.creator.start.to_ne_bytes());
        put(48, &self.creator.pid_namespace.to_ne_bytes());
        put(56, &self.creator.time_namespace.to_ne_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; TRAILER], len: u64) -> Result<Self, &'static str> {
        if bytes[..8] != MAGIC {
            return Err("it has no mark of this library");
        }
        if u32_at(bytes, 8) != VERSION {
            return Err("it has the layout of another version of this library");
        }
        let trailer = Self {
            state: u32_at(bytes, STATE),
            size: u64_at(bytes, 16),
            generation: u64_at(bytes, 24),
            creator: Creator {
                pid: u32_at(bytes, 32),
                start: u64_at(bytes, 40),
                pid_namespace: u64_at(bytes, 48),
                time_namespace: u64_at(bytes, 56),
            },
        };
        let known = matches!(trailer.state, READY | PERSISTENT) && trailer.generation != 0;
        if !known || trailer.size == 0 || object_len(trailer.size) != Some(len) {
            return Err("its mark is damaged");
        }
        Ok(trailer)
    }
}

fn u32_at(bytes: &[u8; TRAILER], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8; TRAILER], at: usize) -> u64 {
    u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Which process made a segment: its pid, which is used again, and its start time, which is not.
///
/// Both mean something within one pid and one time namespace only. A zero is "unknown".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Creator {
    pub(super) pid: u32,
    pub(super) start: u64,
    pub(super) pid_namespace: u64,
    pub(super) time_namespace: u64,
}

impl Creator {
    pub(super) fn current() -> Self {
        let inode = |file| fs::metadata(file).map_or(0, |namespace| namespace.ino());
        Self {
            pid: getpid().as_raw_nonzero().get().cast_unsigned(),
            start: Stat::read("self").map_or(0, |stat| stat.start),
            pid_namespace: inode("/proc/self/ns/pid"),
            time_namespace: inode("/proc/self/ns/time"),
        }
    }

    /// Whether this process is certainly gone. Any doubt (another namespace, no `/proc`) is a "no".
    pub(super) fn is_dead(&self) -> bool {
        let here = Self::current();
        let comparable =
            self.pid_namespace == here.pid_namespace && self.time_namespace == here.time_namespace;
        if !comparable || self.pid_namespace == 0 || self.start == 0 {
            return false;
        }
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return false;
        };
        if test_kill_process(pid) == Err(Errno::SRCH) {
            return true;
        }
        Stat::read(&self.pid.to_string()).is_some_and(|stat| stat.start != self.start || stat.ended)
    }
}

/// What `/proc/PID/stat` tells.
struct Stat {
    start: u64,
    /// Dead and not yet collected by its parent, and no thread of it runs any more.
    ended: bool,
}

impl Stat {
    fn read(pid: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain anything; the fields after it are numbered from 3.
        let fields: Vec<&str> = text
            .get(text.rfind(')')? + 1..)?
            .split_ascii_whitespace()
            .collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let threads: u64 = field(20)?.parse().ok()?;
        Some(Self {
            start: field(22)?.parse().ok()?,
            ended: matches!(field(3)?, "Z" | "X") && threads <= 1,
        })
    }
}
