//! What a process may have of the machine: how urgently, on which CPUs, how much memory.

use std::ffi::OsStr;
use std::io;

use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};

use super::entry::set_variable;
use crate::member::MemberCell;
use crate::signal;

/// What a process is limited to; nothing unless set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Niceness, not relative to anybody's.
    nice: Option<i32>,
    cpus: Option<Vec<u32>>,
    /// Bytes of private writable memory.
    memory: Option<u64>,
}

impl Limits {
    /// Limits of a process that this one starts: `nice` is relative to its own niceness.
    pub(super) fn new(
        nice: Option<i32>,
        cpus: Option<Vec<usize>>,
        memory: Option<u64>,
    ) -> io::Result<Limits> {
        let nice = match nice {
            None => None,
            Some(more) => {
                let own = rustix::process::getpriority_process(None)?;
                Some(own.saturating_add(more).clamp(-20, 19))
            }
        };
        let cpus = match cpus {
            None => None,
            Some(cpus) => {
                set_of(cpus.iter().copied())?;
                Some(cpus.into_iter().map(|cpu| cpu as u32).collect())
            }
        };
        Ok(Limits { nice, cpus, memory })
    }

    /// Whether the process has to wait until another one has called [`impose`](Self::impose).
    pub(crate) fn are_imposed(&self) -> bool {
        self.nice.is_some() || self.cpus.is_some()
    }

    /// Applies to the new process `pid` what its maker applies, who can say so if it is refused.
    pub(crate) fn impose(&self, pid: Pid) -> io::Result<()> {
        if let Some(nice) = self.nice {
            rustix::process::setpriority_process(Some(pid), nice)?;
        }
        if let Some(cpus) = &self.cpus {
            let set = set_of(cpus.iter().map(|cpu| *cpu as usize))?;
            rustix::thread::sched_setaffinity(Some(pid), &set)?;
            // The kernel leaves out those that there are not.
            if rustix::thread::sched_getaffinity(Some(pid))? != set {
                return Err(invalid());
            }
        }
        Ok(())
    }

    /// Applies the rest to this process, whose cell is `cell`.
    pub(super) fn accept(&self, cell: Option<&'static MemberCell>) -> io::Result<()> {
        if let Some(memory) = self.memory {
            let most = rustix::process::getrlimit(Resource::Data).maximum;
            let memory = Some(most.map_or(memory, |most| most.min(memory)));
            let limit = Rlimit {
                current: memory,
                maximum: memory,
            };
            rustix::process::setrlimit(Resource::Data, limit)?;
        }
        if self.memory.is_some() {
            keep_last_error();
        }
        // A fork of a process with a limit has that limit, too.
        if (self.memory.is_some() || signal::marks_want_of_memory())
            && let Some(cell) = cell
        {
            signal::mark_want_of_memory(cell);
        }
        Ok(())
    }
}

/// Keeps std from printing a backtrace after a failed allocation: it needs memory, and what fails
/// meanwhile takes the place of `ENOMEM` as the last error. Panics keep theirs as values.
fn keep_last_error() {
    let (all, values) = ("RUST_BACKTRACE", "RUST_LIB_BACKTRACE");
    if let Some(style) = std::env::var_os(all).filter(|style| style != "0") {
        if std::env::var_os(values).is_none() {
            set_variable(OsStr::new(values), Some(&style));
        }
        set_variable(OsStr::new(all), Some(OsStr::new("0")));
    }
}

fn set_of(cpus: impl IntoIterator<Item = usize>) -> io::Result<CpuSet> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(invalid());
        }
        set.set(cpu);
    }
    if set.count() == 0 {
        return Err(invalid());
    }
    Ok(set)
}

fn invalid() -> io::Error {
    rustix::io::Errno::INVAL.into()
}
