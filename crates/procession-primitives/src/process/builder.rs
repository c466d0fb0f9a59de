//! What can be chosen about a new process before it is started.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::{self, Trampoline};
use super::limits::Limits;
use super::spill::Spill;
use super::{Process, StartError, fork};
use crate::arena::Block;
use crate::family::{Family, FamilyError};
use crate::image::CodeAddress;
use crate::member::MemberId;
use crate::object::boarding;
use crate::protocol::{self, Bytes, Method, Refusal, Reply, Request, Start, Stream};
use crate::surroundings;
use crate::wire;

/// How a process comes into being.
///
/// All three give a process that is not the program's child in the eyes of `wait`, whose end
/// nobody can miss, and that ends with the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StartMethod {
    /// The supervisor, a small single-threaded copy of the program's executable, forks itself:
    /// a fraction of a millisecond, whatever the program holds. Statics are as at the program's
    /// start.
    #[default]
    ForkServer,
    /// The executable is started afresh: one or two milliseconds. Strictest isolation, a new
    /// memory layout.
    Spawn,
    /// The calling process itself is forked, and its memory inherited (copy on write). Refused
    /// when the process has more than one thread. The time grows with the memory in use.
    Fork,
}

/// The process-wide default: 0 ForkServer, 1 Spawn, 2 Fork.
static DEFAULT: AtomicU8 = AtomicU8::new(0);

impl StartMethod {
    /// All methods, the default first.
    #[must_use]
    #[doc(alias = "get_all_start_methods")]
    pub fn all() -> [StartMethod; 3] {
        [Self::ForkServer, Self::Spawn, Self::Fork]
    }

    /// The method used where none is named; [`ForkServer`](Self::ForkServer) unless it was set.
    #[must_use]
    #[doc(alias = "get_start_method")]
    pub fn default_method() -> StartMethod {
        match DEFAULT.load(Ordering::Relaxed) {
            0 => Self::ForkServer,
            1 => Self::Spawn,
            _ => Self::Fork,
        }
    }

    /// Sets the method used where none is named, for this process from now on.
    #[doc(alias = "set_start_method")]
    pub fn set_default(method: StartMethod) {
        let word = match method {
            Self::ForkServer => 0,
            Self::Spawn => 1,
            Self::Fork => 2,
        };
        DEFAULT.store(word, Ordering::Relaxed);
    }
}

/// Where a standard stream of a new process leads.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// Where the program's leads.
    #[default]
    Inherit,
    /// To `/dev/null`.
    Null,
    /// To this file, pipe or socket.
    Fd(OwnedFd),
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Stdio {
        Stdio::Fd(fd)
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        Stdio::Fd(file.into())
    }
}

impl From<std::io::PipeWriter> for Stdio {
    fn from(pipe: std::io::PipeWriter) -> Stdio {
        Stdio::Fd(pipe.into())
    }
}

impl From<std::io::PipeReader> for Stdio {
    fn from(pipe: std::io::PipeReader) -> Stdio {
        Stdio::Fd(pipe.into())
    }
}

/// Starts processes with chosen properties: see [`Process::builder`].
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    name: Option<String>,
    daemon: bool,
    ignore_interrupts: bool,
    method: Option<StartMethod>,
    environment: Vec<(OsString, Option<OsString>)>,
    clear_environment: bool,
    directory: Option<PathBuf>,
    stdin: Option<Stdio>,
    stdout: Stdio,
    stderr: Stdio,
    nice: Option<i32>,
    cpus: Option<Vec<usize>>,
    memory_limit: Option<u64>,
}

impl Builder {
    /// The process's name, for people; `Process-N` unless set. Others see its first 48 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether the process is ended together with its creator (`true`), or the creator waits for
    /// it when it ends by itself (`false`, the default). It never outlives a killed creator.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Whether the process ignores `SIGINT`, which Ctrl+C sends to it too; not unless set.
    pub fn ignore_interrupts(mut self, ignore: bool) -> Self {
        self.ignore_interrupts = ignore;
        self
    }

    /// How the process comes into being; [`StartMethod::default_method`] unless set.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// Sets an environment variable of the process. The others are as they are here at the start.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes an environment variable of the process.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), None));
        self
    }

    /// Starts the process without any variables but those set with [`env`](Self::env) afterwards.
    pub fn env_clear(mut self) -> Self {
        self.environment.clear();
        self.clear_environment = true;
        self
    }

    /// The process's working directory; the present one unless set.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// The process's standard input; [`Stdio::Null`] unless set, as in Python.
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdio.into());
        self
    }

    /// The process's standard output; [`Stdio::Inherit`] unless set.
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stdout = stdio.into();
        self
    }

    /// The process's standard error; [`Stdio::Inherit`] unless set.
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.stderr = stdio.into();
        self
    }

    /// How much nicer than its creator the process is to others: 19 leaves it what nobody else
    /// wants, less than 0 needs a privilege. As its supervisor unless set, which began as nice as
    /// the program.
    ///
    /// Added to the niceness of the calling thread; the sum is kept within -20 and 19.
    pub fn nice(mut self, more: i32) -> Self {
        self.nice = Some(more);
        self
    }

    /// The CPUs that the process may run on, counted from 0; those of its supervisor unless set,
    /// which may use those of the thread that first started a process.
    ///
    /// The start fails with [`StartError::Limits`] where `cpus` is empty, or names one that there
    /// is not or that the program's control group may not use.
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.cpus = Some(cpus.into_iter().collect());
        self
    }

    /// The most memory that the process may have, in bytes; no limit of its own unless set.
    ///
    /// Counted is private writable memory (`RLIMIT_DATA`): the heap, private mappings, and the
    /// stacks of its threads but the first, whether touched or only reserved. Shared memory does
    /// not count, the family's and [`SharedMemory`](crate::SharedMemory) included, nor do code and
    /// files. A few MB are in use before the function begins. Programs that the process starts
    /// have the same limit, each for itself; processes of this library that it starts do not, but
    /// with [`StartMethod::Fork`].
    ///
    /// Set before the argument is decoded. A larger limit than the one that the program is under
    /// has no effect.
    ///
    /// # Process death
    ///
    /// An allocation beyond the limit fails. Rust's collections abort then, and the
    /// [`Death`](crate::Death) says [`out_of_memory`](crate::Death::out_of_memory): a handler for
    /// `SIGABRT`, set in processes with a limit only, looks whether `ENOMEM` was the last error. So
    /// it is not said if the process handles `SIGABRT` itself, or if native code runs into its own
    /// null pointer; and an abort for another reason counts, too, if a failed allocation was the
    /// last failure of its thread. `RUST_BACKTRACE` is 0 in such a process, as a backtrace would
    /// hide the error; the backtraces of [`Panic`](crate::Panic) stay as they are, by
    /// `RUST_LIB_BACKTRACE`.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{Process, ProcessError, Stdio};
    ///
    /// let hungry = Process::builder()
    ///     .memory_limit(64 << 20)
    ///     .stderr(Stdio::Null)
    ///     .spawn(|len: usize| vec![1_u8; len].len(), 1 << 30)?;
    /// let Err(ProcessError::Died(death)) = hungry.join() else { panic!() };
    /// assert_eq!(death.out_of_memory(), Some(true));
    /// # Ok::<(), procession_primitives::Error>(())
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Starts a process that runs `function` on `argument`.
    ///
    /// `function` is a function item or a closure without captures. Returns once the process
    /// exists.
    ///
    /// # Errors
    ///
    /// [`StartError`]: there is no new process.
    pub fn spawn<A, R>(self, function: fn(A) -> R, argument: A) -> Result<Process<R>, StartError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let family = Family::current()?;
        if self.method.unwrap_or_else(StartMethod::default_method) == StartMethod::Fork {
            return fork::spawn(family, self.into_plan()?, move || function(argument));
        }
        let trampoline: Trampoline = entry::run::<A, R>;
        let named = |address| CodeAddress::of(address).map_err(StartError::Function);
        let trampoline = named(trampoline as usize)?;
        let function = named(function as usize)?;
        let mut sink = Spill::new(family);
        let ((encoded, descriptors), passengers) =
            boarding(|| wire::collect_descriptors(|| wire::encode(&argument, &mut sink)));
        encoded.map_err(StartError::Argument)?;
        sink.carry(&passengers).map_err(StartError::Argument)?;
        let plan = self.into_plan()?;
        plan.send(family, trampoline, function, sink, descriptors)
    }

    /// Forks this process; the child runs `function`, which may capture anything.
    ///
    /// Only the value is encoded. The same as [`StartMethod::Fork`], which
    /// [`start_method`](Self::start_method) need not name. Exit handlers of this process do not
    /// run in the child.
    ///
    /// # Errors
    ///
    /// [`StartError::Threads`] if this process has more than one thread; others as
    /// [`spawn`](Self::spawn).
    pub fn fork<R: Serialize + DeserializeOwned>(
        self,
        function: impl FnOnce() -> R,
    ) -> Result<Process<R>, StartError> {
        fork::spawn(Family::current()?, self.into_plan()?, function)
    }

    fn into_plan(self) -> Result<Plan, StartError> {
        let limits = Limits::new(self.nice, self.cpus, self.memory_limit);
        static COUNTER: AtomicU64 = AtomicU64::new(1);
        let name = self.name.clone();
        let name =
            name.unwrap_or_else(|| format!("Process-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        let mut given = Vec::new();
        let mut stream = |stdio| match stdio {
            Stdio::Inherit => Stream::Inherit,
            Stdio::Null => Stream::Null,
            Stdio::Fd(fd) => {
                given.push(fd);
                Stream::Given
            }
        };
        let streams = [
            stream(self.stdin.unwrap_or(Stdio::Null)),
            stream(self.stdout),
            stream(self.stderr),
        ];
        Ok(Plan {
            name,
            daemon: self.daemon,
            ignore_interrupts: self.ignore_interrupts,
            method: self.method.unwrap_or_else(StartMethod::default_method),
            changes: self.environment,
            clear: self.clear_environment,
            directory: self.directory,
            streams,
            given,
            limits: limits.map_err(StartError::Limits)?,
        })
    }
}

/// A builder's choices, with the defaults filled in.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) daemon: bool,
    pub(super) ignore_interrupts: bool,
    method: StartMethod,
    changes: Vec<(OsString, Option<OsString>)>,
    clear: bool,
    directory: Option<PathBuf>,
    pub(super) streams: [Stream; 3],
    pub(super) given: Vec<OwnedFd>,
    pub(super) limits: Limits,
}

impl Plan {
    /// Environment and directory of the new process, as far as they have to be told.
    pub(super) fn surroundings(&self, family: &Family) -> protocol::Surroundings {
        let mut told = surroundings::to_send(family.arena());
        if self.clear || !self.changes.is_empty() {
            let mut variables: Vec<(OsString, OsString)> = if self.clear {
                Vec::new()
            } else {
                std::env::vars_os().collect()
            };
            for (name, value) in &self.changes {
                variables.retain(|(present, _)| present != name);
                variables.extend(value.clone().map(|value| (name.clone(), value)));
            }
            let bytes = |text: OsString| Bytes(text.into_vec());
            told.environment = Some(
                variables
                    .into_iter()
                    .map(|(n, v)| (bytes(n), bytes(v)))
                    .collect(),
            );
        }
        if let Some(directory) = &self.directory {
            told.directory = Some(Bytes(directory.clone().into_os_string().into_vec()));
        }
        told
    }

    fn send<R>(
        self,
        family: &'static Family,
        trampoline: CodeAddress,
        function: CodeAddress,
        argument: Spill,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Process<R>, StartError> {
        if descriptors.len() > protocol::MAX_DESCRIPTORS {
            return Err(StartError::Descriptors(rustix::io::Errno::MFILE.into()));
        }
        let surroundings = self.surroundings(family);
        let (payload, block) = argument.finish();
        let start = Start {
            method: match self.method {
                StartMethod::Spawn => Method::Spawn,
                _ => Method::ForkServer,
            },
            daemon: self.daemon,
            ignore_interrupts: self.ignore_interrupts,
            name: self.name.clone(),
            trampoline: trampoline.to_words(),
            function: function.to_words(),
            argument: payload,
            surroundings,
            streams: self.streams,
            limits: self.limits,
        };
        let fds: Vec<BorrowedFd<'_>> = self
            .given
            .iter()
            .chain(&descriptors)
            .map(AsFd::as_fd)
            .collect();
        let request = Request::Start(Box::new(start));
        let answer = family.ask(&request, &fds)?;
        let (id, pid) = started(answer.message)?;
        // The argument's block is the new process's from now on.
        let _ = block.map(Block::into_id);
        let Some(pidfd) = answer.descriptors.into_iter().next() else {
            // No number was left for it here. The process must not run without a handle.
            abandon(family, id);
            return Err(StartError::Descriptors(rustix::io::Errno::MFILE.into()));
        };
        Ok(Process {
            family,
            id,
            pid,
            pidfd,
            name: self.name,
            daemon: self.daemon,
            minder: None,
            taken: Mutex::new(false),
            value: PhantomData,
        })
    }
}

/// Has the supervisor end a child that this process could not take charge of.
pub(super) fn abandon(family: &'static Family, id: MemberId) {
    // If the supervisor is gone, so is the child.
    let _ = family.ask(&Request::Abandon { id }, &[]);
}

/// Reads the answer to a request for a process.
pub(super) fn started(reply: Reply) -> Result<(MemberId, u32), StartError> {
    match reply {
        Reply::Started { id, pid } => Ok((id, pid)),
        Reply::Failed { what, errno } => {
            let error = std::io::Error::from_raw_os_error(errno);
            Err(refusal(what, error))
        }
        _ => Err(FamilyError::SupervisorDied.into()),
    }
}

/// Why there is no process, in the caller's words.
pub(super) fn refusal(what: Refusal, error: std::io::Error) -> StartError {
    match what {
        Refusal::Fork => StartError::Refused(error),
        Refusal::Limits => StartError::Limits(error),
        Refusal::TableFull => StartError::TooManyMembers,
        Refusal::Socket | Refusal::Descriptors => StartError::Descriptors(error),
        Refusal::BadRequest => FamilyError::System("asking the supervisor", error).into(),
    }
}
