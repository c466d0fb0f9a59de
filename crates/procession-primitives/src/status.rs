//! How a process ended.

use std::fmt;
use std::num::NonZeroI32;

/// How a process ended.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
///
/// let process = Process::spawn(|code: i32| -> () { std::process::exit(code) }, 3)?;
/// let status = process.wait();
/// assert_eq!(status.code(), Some(3));
/// assert_eq!(status.signal(), None);
/// # Ok::<(), procession_primitives::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExitStatus {
    cause: Cause,
    core_dumped: bool,
    out_of_memory: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Cause {
    Exited(i32),
    Signaled(i32),
    NotStarted(i32),
    SupervisorDied,
    Unknown,
}

impl ExitStatus {
    pub(crate) fn exited(code: i32) -> ExitStatus {
        Self::new(Cause::Exited(code))
    }

    pub(crate) fn signaled(signal: i32, core_dumped: bool) -> ExitStatus {
        ExitStatus {
            core_dumped,
            ..Self::new(Cause::Signaled(signal))
        }
    }

    pub(crate) fn not_started(errno: i32) -> ExitStatus {
        Self::new(Cause::NotStarted(errno))
    }

    pub(crate) fn supervisor_killed() -> ExitStatus {
        Self::new(Cause::SupervisorDied)
    }

    pub(crate) fn unknown() -> ExitStatus {
        Self::new(Cause::Unknown)
    }

    fn new(cause: Cause) -> ExitStatus {
        ExitStatus {
            cause,
            core_dumped: false,
            out_of_memory: None,
        }
    }

    pub(crate) fn with_out_of_memory(self, out_of_memory: Option<bool>) -> ExitStatus {
        ExitStatus {
            out_of_memory,
            ..self
        }
    }

    /// The same status of a process in which an allocation failed just before it aborted.
    pub(crate) fn aborted_for_memory(self) -> ExitStatus {
        match self.cause {
            Cause::Signaled(libc::SIGABRT) => self.with_out_of_memory(Some(true)),
            _ => self,
        }
    }

    /// Whether it ended by itself with code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.cause == Cause::Exited(0)
    }

    /// The exit code, if it ended by itself.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self.cause {
            Cause::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(&self) -> Option<NonZeroI32> {
        match self.cause {
            Cause::Signaled(signal) => NonZeroI32::new(signal),
            _ => None,
        }
    }

    /// Whether it wrote a core dump.
    #[must_use]
    pub fn core_dumped(&self) -> bool {
        self.core_dumped
    }

    /// Whether it ended for want of memory; `None` where that is not known.
    ///
    /// That is: the kernel killed it because the machine or the control group had none left, or it
    /// aborted because of its own [`memory_limit`](crate::Builder::memory_limit).
    #[must_use]
    pub fn out_of_memory(&self) -> Option<bool> {
        self.out_of_memory
    }

    /// Whether it ended because the family's supervisor was killed. How exactly is then unknown.
    #[must_use]
    pub fn supervisor_died(&self) -> bool {
        self.cause == Cause::SupervisorDied
    }

    /// The system's error if the process could not be made to run the program.
    #[must_use]
    pub fn start_error(&self) -> Option<std::io::Error> {
        match self.cause {
            Cause::NotStarted(errno) => Some(std::io::Error::from_raw_os_error(errno)),
            _ => None,
        }
    }

    /// One number, as Python has it: the exit code, or minus the signal.
    ///
    /// 255 where nobody knows, because the supervisor (or, with
    /// [`StartMethod::Fork`](crate::StartMethod::Fork), the process's minder) was killed, as with
    /// Python's fork server; 127 for a process that could not start.
    #[must_use]
    pub fn exitcode(&self) -> i32 {
        match self.cause {
            Cause::Exited(code) => code,
            Cause::Signaled(signal) => -signal,
            Cause::NotStarted(_) => 127,
            Cause::SupervisorDied | Cause::Unknown => 255,
        }
    }

    /// As one word, for a place in shared memory.
    #[must_use]
    pub fn to_word(self) -> u64 {
        let (kind, value) = match self.cause {
            Cause::Exited(code) => (1, code),
            Cause::Signaled(signal) => (2, signal),
            Cause::NotStarted(errno) => (3, errno),
            Cause::SupervisorDied => (4, 0),
            Cause::Unknown => (5, 0),
        };
        let memory = match self.out_of_memory {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        kind << 40 | memory << 36 | u64::from(self.core_dumped) << 32 | u64::from(value as u32)
    }

    /// The status that [`to_word`](Self::to_word) stored.
    #[must_use]
    pub fn from_word(word: u64) -> ExitStatus {
        let value = word as u32 as i32;
        let cause = match word >> 40 {
            1 => Cause::Exited(value),
            2 => Cause::Signaled(value),
            3 => Cause::NotStarted(value),
            4 => Cause::SupervisorDied,
            _ => Cause::Unknown,
        };
        let out_of_memory = match (word >> 36) & 15 {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        };
        ExitStatus {
            cause,
            core_dumped: (word >> 32) & 1 != 0,
            out_of_memory,
        }
    }
}

impl fmt::Debug for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExitStatus({self})")
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Exited(code) => write!(f, "exit code {code}")?,
            Cause::Signaled(signal) => match signal_name(signal) {
                Some(name) => write!(f, "signal {signal} ({name})")?,
                None => write!(f, "signal {signal}")?,
            },
            Cause::NotStarted(errno) => {
                write!(
                    f,
                    "not started: {}",
                    std::io::Error::from_raw_os_error(errno)
                )?;
            }
            Cause::SupervisorDied => f.write_str("the family's supervisor was killed")?,
            Cause::Unknown => f.write_str("nobody saw how it ended")?,
        }
        if self.core_dumped {
            f.write_str(", core dumped")?;
        }
        if self.out_of_memory == Some(true) {
            f.write_str(", out of memory")?;
        }
        Ok(())
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}
