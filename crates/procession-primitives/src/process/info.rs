//! Who is who in the family: this process, its parent, its children.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::family::{Family, FamilyError};
use crate::member::{FLAG_DAEMON, MemberId, PROGRAM};
use crate::status::ExitStatus;

/// What any member can know of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    id: MemberId,
    pid: u32,
    name: String,
    daemon: bool,
}

impl ProcessInfo {
    fn of(family: &Family, id: MemberId) -> Option<ProcessInfo> {
        let cell = family.arena().member_cell(id)?;
        Some(ProcessInfo {
            id,
            pid: cell.pid.load(Ordering::Relaxed),
            name: cell.name(),
            daemon: cell.has(FLAG_DAEMON),
        })
    }

    /// The place in the family.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name; `MainProcess` for the program itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it ends together with its creator.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.state().is_none()
    }

    /// How it ended, `None` while it runs. For one that ended long ago the status may be lost,
    /// which shows as [`ExitStatus::supervisor_died`].
    fn state(&self) -> Option<ExitStatus> {
        let family = Family::existing()?;
        family.member_end(self.id)
    }

    /// Waits at most `timeout` for its end; whether it has ended.
    #[must_use]
    #[doc(alias = "join")]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let Some(family) = Family::existing() else {
            return true;
        };
        let Some(cell) = family.arena().member_cell(self.id) else {
            return true;
        };
        let ended = family.wait_for(&cell.state, deadline, || {
            let state = cell.state.load(Ordering::Acquire);
            self.state().ok_or(state)
        });
        ended.is_some()
    }
}

/// This process.
///
/// # Errors
///
/// [`FamilyError`], as for anything that uses the family first.
///
/// # Examples
///
/// ```
/// let me = procession_primitives::current_process()?;
/// assert_eq!(me.pid(), std::process::id());
/// assert_eq!(me.name(), "MainProcess");
/// # Ok::<(), procession_primitives::Error>(())
/// ```
pub fn current_process() -> Result<ProcessInfo, FamilyError> {
    let family = Family::current()?;
    Ok(ProcessInfo::of(family, family.me())
        .unwrap_or_else(|| unreachable!("a member has its own cell")))
}

/// The process that started this one; `None` in the program itself.
#[must_use]
pub fn parent_process() -> Option<ProcessInfo> {
    let family = Family::existing()?;
    if family.me().slot() <= PROGRAM {
        return None;
    }
    let own = family.arena().member_cell(family.me())?;
    ProcessInfo::of(family, own.parent_id())
}

/// The living processes that this one has started, in no particular order.
#[must_use]
pub fn active_children() -> Vec<ProcessInfo> {
    let Some(family) = Family::existing() else {
        return Vec::new();
    };
    let mine = family
        .arena()
        .members()
        .filter(|(_, cell)| cell.is_alive() && cell.parent_id() == family.me());
    mine.filter_map(|(id, _)| ProcessInfo::of(family, id))
        .collect()
}

/// Waits for the children that are not daemons. Run when a process ends by itself.
pub(crate) extern "C" fn join_at_exit() {
    for child in active_children() {
        if !child.daemon {
            child.wait_until(None);
        }
    }
}
