//! What can go wrong in starting a process and in getting its value.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::family::FamilyError;
use crate::image::CodeError;
use crate::panic::Panic;
use crate::status::ExitStatus;
use crate::wire::{DecodeError, EncodeError};

/// A process could not be started. Nothing of it is left.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The argument could not be encoded.
    Argument(EncodeError),
    /// The function is in no code that the new process would have too.
    Function(CodeError),
    /// The family cannot be used.
    Family(FamilyError),
    /// The system refused a new process: `EAGAIN` past a limit on processes, `ENOMEM`.
    Refused(io::Error),
    /// The niceness or the CPUs asked for cannot be had: `EACCES` or `EPERM` for less niceness
    /// without the privilege, `EINVAL` for CPUs that there are not.
    Limits(io::Error),
    /// No descriptor is left, here or in the supervisor, or too many travel with the argument.
    Descriptors(io::Error),
    /// The family has as many members as it can have: 4094.
    TooManyMembers,
    /// [`StartMethod::Fork`](crate::StartMethod::Fork) in a program with this many threads: the
    /// child could wait for ever for a lock that one of the others holds.
    Threads(usize),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(error) => write!(f, "the argument {error}"),
            Self::Function(error) => write!(f, "the function cannot be sent: {error}"),
            Self::Family(error) => error.fmt(f),
            Self::Refused(error) => write!(f, "no new process: {error}"),
            Self::Limits(error) => {
                write!(f, "no process with that niceness or those CPUs: {error}")
            }
            Self::Descriptors(error) => write!(f, "no descriptor for a new process: {error}"),
            Self::TooManyMembers => f.write_str("the family has no room for another process"),
            Self::Threads(count) => {
                write!(f, "a process with {count} threads cannot be forked safely")
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Argument(error) => Some(error),
            Self::Function(error) => Some(error),
            Self::Family(error) => Some(error),
            Self::Refused(error) | Self::Limits(error) | Self::Descriptors(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FamilyError> for StartError {
    fn from(error: FamilyError) -> Self {
        Self::Family(error)
    }
}

/// How far a process had come with its function when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Phase {
    /// The process was not ready yet.
    Starting,
    /// Nothing to do; in a pool: between two items.
    Idle,
    /// Decoding the argument.
    Decoding,
    /// In the function.
    Running,
    /// Encoding the value.
    Encoding,
    /// The value was delivered.
    Done,
}

impl Phase {
    /// As one word, for a place in shared memory.
    #[must_use]
    pub fn to_word(self) -> u32 {
        match self {
            Self::Starting => 0,
            Self::Idle => 1,
            Self::Decoding => 2,
            Self::Running => 3,
            Self::Encoding => 4,
            Self::Done => 5,
        }
    }

    /// The phase that [`to_word`](Self::to_word) stored; `Starting` for what it never stores.
    #[must_use]
    pub fn from_word(word: u32) -> Phase {
        match word {
            1 => Self::Idle,
            2 => Self::Decoding,
            3 => Self::Running,
            4 => Self::Encoding,
            5 => Self::Done,
            _ => Self::Starting,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "while starting",
            Self::Idle => "between two items",
            Self::Decoding => "while decoding the argument",
            Self::Running => "while running the function",
            Self::Encoding => "while encoding the result",
            Self::Done => "after delivering the result",
        })
    }
}

/// How a process ended without a value.
///
/// Displays in one line, and below it the last lines of its output, if they were
/// [added](Self::with_output).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    pid: u32,
    status: u64,
    phase: Phase,
    output: Option<Box<str>>,
}

/// Most lines of output that a death displays, and most characters of each.
const LINES: usize = 10;
const CHARACTERS: usize = 240;

impl Death {
    /// For whoever observed it.
    #[must_use]
    pub fn new(pid: u32, status: ExitStatus, phase: Phase) -> Death {
        Death {
            pid,
            status: status.to_word(),
            phase,
            output: None,
        }
    }

    /// The same, of a process that was so far.
    #[must_use]
    pub fn in_phase(self, phase: Phase) -> Death {
        Death { phase, ..self }
    }

    /// The same death with the end of what the process wrote to its standard error, as a
    /// [`CapturedStream`](crate::CapturedStream) has it.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{OutputCapture, Process, ProcessError, Tee};
    ///
    /// let capture = OutputCapture::new()?;
    /// let (stderr, captured) = capture.stream(Tee::Off)?;
    /// let process = Process::builder().stderr(stderr).spawn(
    ///     |()| -> () {
    ///         eprintln!("no such sensor");
    ///         std::process::exit(3)
    ///     },
    ///     (),
    /// )?;
    /// let Err(ProcessError::Died(death)) = process.join() else { panic!() };
    /// let death = death.with_output(captured.tail().into_string());
    /// assert_eq!(death.stderr_tail(), Some("no such sensor\n"));
    /// assert!(death.to_string().ends_with("exit code 3\n  | no such sensor"));
    /// # Ok::<(), procession_primitives::Error>(())
    /// ```
    #[must_use]
    pub fn with_output(self, tail: String) -> Death {
        let output = (!tail.is_empty()).then(|| tail.into_boxed_str());
        Death { output, ..self }
    }

    /// The end of what it wrote to its standard error, if that was captured and is not empty.
    #[must_use]
    pub fn stderr_tail(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// The process id it had.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        ExitStatus::from_word(self.status)
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status().signal().map(Into::into)
    }

    /// The exit code, if it ended by itself.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.status().code()
    }

    /// Whether it ended for want of memory: see [`ExitStatus::out_of_memory`].
    #[must_use]
    pub fn out_of_memory(&self) -> Option<bool> {
        self.status().out_of_memory()
    }

    /// How far it had come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }
}

impl fmt::Debug for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Death");
        debug
            .field("pid", &self.pid)
            .field("status", &self.status());
        debug.field("phase", &self.phase);
        if let Some(output) = &self.output {
            debug.field("output", output);
        }
        debug.finish()
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "process {} died {}: {}",
            self.pid,
            self.phase,
            self.status()
        )?;
        let lines: Vec<&str> = self.stderr_tail().unwrap_or_default().lines().collect();
        let shown = &lines[lines.len().saturating_sub(LINES)..];
        for line in shown {
            let end = line.char_indices().nth(CHARACTERS);
            match end {
                None => write!(f, "\n  | {line}")?,
                Some((end, _)) => write!(f, "\n  | {}...", &line[..end])?,
            }
        }
        Ok(())
    }
}

/// A process ended without giving its value.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessError {
    /// Its function panicked.
    Panicked(Box<Panic>),
    /// It died: a signal, an `exit` in the function, or it never started.
    Died(Death),
    /// It could not decode its argument.
    ArgumentDecode(DecodeError),
    /// Its value could not be encoded.
    ValueEncode(String),
    /// Its value could not be decoded here.
    ValueDecode(DecodeError),
    /// It does not have the function: it runs other code than this process.
    Function(String),
    /// The value was already taken by an earlier call.
    AlreadyJoined,
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => panic.fmt(f),
            Self::Died(death) => death.fmt(f),
            Self::ArgumentDecode(error) => write!(f, "the argument {error}"),
            Self::ValueEncode(error) => write!(f, "the value {error}"),
            Self::ValueDecode(error) => write!(f, "the value {error}"),
            Self::Function(error) => write!(f, "the process does not have the function: {error}"),
            Self::AlreadyJoined => f.write_str("the value was already taken"),
        }
    }
}

impl std::error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Panicked(panic) => Some(panic),
            Self::ArgumentDecode(error) | Self::ValueDecode(error) => Some(error),
            _ => None,
        }
    }
}
