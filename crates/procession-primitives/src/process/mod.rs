//! Processes: started from a function and its argument, joined for a value.

mod builder;
mod entry;
mod error;
mod fork;
mod info;
mod limits;
mod spill;
mod usage;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use builder::{Builder, StartMethod, Stdio};
pub(crate) use entry::{
    discard_result, enter_executed, live, own_inherited, pass_block, read_block, set_variable,
};
pub use error::{Death, Phase, ProcessError, StartError};
pub(crate) use info::join_at_exit;
pub use info::{ProcessInfo, active_children, current_process, parent_process};
pub(crate) use limits::Limits;
pub use usage::{MemoryUsage, own_memory};

use crate::arena::BlockId;
use crate::family::Family;
use crate::member::{FLAG_RELEASED, MemberCell, MemberId};
use crate::park;
use crate::status::ExitStatus;

/// A process of this program, and the value of type `R` that it will give.
///
/// # Drop
///
/// Neither waits nor kills: the process goes on, as a detached thread would. When this process
/// ends by itself it waits for those that are not daemons.
///
/// # Process death
///
/// Whatever ends the process, [`join`](Self::join) returns, within a fraction of a millisecond as
/// a rule. Its descendants end with it.
///
/// # Examples
///
/// ```
/// use procession_primitives::Process;
///
/// let process = Process::spawn(|n: u64| n * n, 10)?;
/// assert_eq!(process.join()?, 100);
/// # Ok::<(), procession_primitives::Error>(())
/// ```
pub struct Process<R> {
    family: &'static Family,
    id: MemberId,
    pid: u32,
    pidfd: OwnedFd,
    name: String,
    daemon: bool,
    minder: Option<fork::Minder>,
    taken: Mutex<bool>,
    value: PhantomData<fn() -> R>,
}

impl Process<()> {
    /// Chooses properties of a process to be started.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{Process, StartMethod};
    ///
    /// let process = Process::builder()
    ///     .name("reader")
    ///     .daemon(true)
    ///     .start_method(StartMethod::Spawn)
    ///     .env("LANG", "C")
    ///     .spawn(|()| std::env::var("LANG").ok(), ())?;
    /// assert_eq!(process.join()?.as_deref(), Some("C"));
    /// # Ok::<(), procession_primitives::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<R: Serialize + DeserializeOwned> Process<R> {
    /// Starts a process that runs `function` on `argument`.
    ///
    /// `function` is a function item or a closure without captures: what it needs is passed in
    /// `argument`. A capture is a compile error that names the variable:
    ///
    /// ```compile_fail
    /// use procession_primitives::Process;
    /// let factor = 3;
    /// let process = Process::spawn(|n: u64| n * factor, 10);
    /// ```
    ///
    /// # Errors
    ///
    /// [`StartError`]: there is no new process.
    pub fn spawn<A: Serialize + DeserializeOwned>(
        function: fn(A) -> R,
        argument: A,
    ) -> Result<Process<R>, StartError> {
        Builder::default().spawn(function, argument)
    }

    /// Waits for the process to end and returns its value.
    ///
    /// # Errors
    ///
    /// [`ProcessError`]: it ended without one, or the value cannot be decoded.
    pub fn join(self) -> Result<R, ProcessError> {
        self.wait();
        self.take_value()
    }

    /// Waits at most `timeout` for the process to end: its value, or `None` while it runs.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); [`ProcessError::AlreadyJoined`] if the value was taken before.
    pub fn join_timeout(&self, timeout: Duration) -> Result<Option<R>, ProcessError> {
        match self.wait_timeout(timeout) {
            Some(_) => self.take_value().map(Some),
            None => Ok(None),
        }
    }

    /// As [`join_timeout`](Self::join_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`join_timeout`](Self::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<Option<R>, ProcessError> {
        self.join_timeout(deadline.saturating_duration_since(Instant::now()))
    }

    /// The value if the process has ended, `None` while it runs.
    ///
    /// # Errors
    ///
    /// As [`join_timeout`](Self::join_timeout).
    pub fn try_join(&self) -> Result<Option<R>, ProcessError> {
        self.join_timeout(Duration::ZERO)
    }

    /// The outcome of a process that has ended.
    fn take_value(&self) -> Result<R, ProcessError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *taken, true) {
            return Err(ProcessError::AlreadyJoined);
        }
        let Some((cell, status)) = self.ended() else {
            let status = ExitStatus::unknown();
            return Err(ProcessError::Died(Death::new(
                self.pid,
                status,
                Phase::Starting,
            )));
        };
        let phase = Phase::from_word(cell.phase.load(Ordering::Relaxed));
        let died = || ProcessError::Died(Death::new(self.pid, status, phase));
        let (_, len) = cell.committed_result().ok_or_else(died)?;
        // AcqRel: whoever takes the word out has the block.
        let block = BlockId::from_word(cell.result.swap(0, Ordering::AcqRel));
        let block = block
            .and_then(|id| entry::adopt_result(self.family, id))
            .ok_or_else(died)?;
        crate::object::arriving_in(Some(block.id()), || {
            entry::read_outcome(block.bytes().get(..len).unwrap_or_default())
        })
    }
}

impl<R> Process<R> {
    /// The cell and status of this process, once it has ended.
    fn ended(&self) -> Option<(&'static MemberCell, ExitStatus)> {
        let status = self.try_wait()?;
        Some((self.family.arena().member_cell(self.id)?, status))
    }

    /// Waits for the process to end: how it ended. Does not take the value.
    pub fn wait(&self) -> ExitStatus {
        self.wait_until(None).unwrap_or_else(ExitStatus::unknown)
    }

    /// As [`wait`](Self::wait), at most for `timeout`: `None` while it runs.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<ExitStatus> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// How the process ended, `None` while it runs.
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.family.member_end(self.id)
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Option<ExitStatus> {
        let Some(cell) = self.family.arena().member_cell(self.id) else {
            return self.try_wait();
        };
        if deadline.is_none()
            && let Some(status) = park::spin(|| self.try_wait())
        {
            return Some(status);
        }
        self.family.wait_for(&cell.state, deadline, || {
            let state = cell.state.load(Ordering::Acquire);
            self.try_wait().ok_or(state)
        })
    }

    /// Whether the process has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.try_wait().is_none()
    }

    /// How it ended, as Python puts it: the exit code, or minus the signal; `None` while it runs.
    ///
    /// 0 after a value, 101 after a panic or a failure to encode or decode.
    #[must_use]
    pub fn exitcode(&self) -> Option<i32> {
        self.try_wait().map(|status| status.exitcode())
    }

    /// The process id.
    #[must_use]
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The place of the process in its family.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// The name given at the start, or `Process-N`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is ended together with this process, instead of being waited for.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// A descriptor that becomes readable when the process ends, for `poll` and event loops.
    ///
    /// It may be readable a moment before [`try_wait`](Self::try_wait) has the status.
    #[must_use]
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// How much memory the process has, `None` if it has ended.
    ///
    /// Reads `/proc`: about ten microseconds. What a process itself has resident tells
    /// [`own_memory`](crate::own_memory) faster.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryUsage> {
        MemoryUsage::of(self.pid, self.pidfd.as_fd())
    }

    /// Asks the process to end (`SIGTERM`), which it may ignore. No effect after its end.
    ///
    /// # Errors
    ///
    /// The system's refusal: `EPERM` where the process has taken other rights.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends the process (`SIGKILL`), and its descendants with it. No effect after its end.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Self::terminate).
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Interrupts the process (`SIGINT`), as Ctrl+C would. No effect after its end.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Self::terminate).
    pub fn interrupt(&self) -> io::Result<()> {
        self.signal(Signal::INT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if !self.family.is_present() {
            // A copy in a forked child: the handle is the parent's.
            return;
        }
        let Some(cell) = self.family.arena().member_cell(self.id) else {
            return;
        };
        let mut ended = !cell.is_alive();
        if ended {
            // Before the release, after which the slot may have another user.
            discard_result(self.family, self.id, cell);
        }
        cell.flags.fetch_or(FLAG_RELEASED, Ordering::Relaxed);
        // Pairs with the fence in the supervisor's `bury`: one of the two sees that both are true.
        std::sync::atomic::fence(Ordering::SeqCst);
        if !ended && !cell.is_alive() {
            ended = true;
            discard_result(self.family, self.id, cell);
        }
        match self.minder.take() {
            Some(minder) if ended => minder.reap(),
            Some(minder) => minder.leave(),
            None => {}
        }
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Process");
        debug
            .field("name", &self.name)
            .field("pid", &self.pid)
            .field("daemon", &self.daemon);
        match self.try_wait() {
            None => debug.field("state", &format_args!("running")),
            Some(status) => debug.field("state", &format_args!("{status}")),
        };
        debug.finish()
    }
}
