//! Why a lock was not taken, or was taken with news.

use std::fmt;

/// A lock was not taken; or it was, and its last holder had died.
#[non_exhaustive]
pub enum LockError<G> {
    /// The holder died with the lock. The caller holds it now, and has to see to what the lock
    /// guards. Reported once, to the next holder.
    OwnerDied(G),
    /// A holder had died, and nobody has called `mark_consistent` since. The caller holds the
    /// lock. Only locks that guard data of their own report it.
    Inconsistent(G),
    /// Somebody holds the lock; it was not taken.
    WouldBlock,
    /// The time-out passed; the lock was not taken.
    TimedOut,
    /// The calling thread holds the lock already, and would wait for itself for ever.
    Deadlock,
    /// This process does not belong to the family of the lock (it was forked by other means than
    /// ours).
    Foreign,
}

impl<G> LockError<G> {
    /// The guard, where the lock was taken.
    pub fn guard(self) -> Option<G> {
        match self {
            Self::OwnerDied(guard) | Self::Inconsistent(guard) => Some(guard),
            _ => None,
        }
    }

    /// The guard of a lock that was taken.
    ///
    /// # Panics
    ///
    /// If the lock was not taken: for [`WouldBlock`](Self::WouldBlock),
    /// [`TimedOut`](Self::TimedOut), [`Deadlock`](Self::Deadlock) and [`Foreign`](Self::Foreign).
    #[track_caller]
    pub fn into_guard(self) -> G {
        let text = self.to_string();
        match self.guard() {
            Some(guard) => guard,
            None => panic!("{text}"),
        }
    }

    /// Whether the lock was taken, from a dead holder or with data that nobody has repaired.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::OwnerDied(_) | Self::Inconsistent(_))
    }

    /// The same for another guard.
    pub(crate) fn map<H>(self, f: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDied(guard) => LockError::OwnerDied(f(guard)),
            Self::Inconsistent(guard) => LockError::Inconsistent(f(guard)),
            Self::WouldBlock => LockError::WouldBlock,
            Self::TimedOut => LockError::TimedOut,
            Self::Deadlock => LockError::Deadlock,
            Self::Foreign => LockError::Foreign,
        }
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnerDied(_) => "OwnerDied(..)",
            Self::Inconsistent(_) => "Inconsistent(..)",
            Self::WouldBlock => "WouldBlock",
            Self::TimedOut => "TimedOut",
            Self::Deadlock => "Deadlock",
            Self::Foreign => "Foreign",
        })
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnerDied(_) => "the process that held the lock died",
            Self::Inconsistent(_) => "a process died with the lock, and nobody repaired the data",
            Self::WouldBlock => "the lock is held",
            Self::TimedOut => "the lock was not free in time",
            Self::Deadlock => "this thread holds the lock already",
            Self::Foreign => "the lock belongs to another family of processes",
        })
    }
}

impl<G> std::error::Error for LockError<G> {}

/// A lock was let go of by somebody who does not hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotOwner;

impl fmt::Display for NotOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the calling thread does not hold the lock")
    }
}

impl std::error::Error for NotOwner {}

/// This process does not belong to the family of the object: it was forked by other means than
/// ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Foreign;

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object belongs to another family of processes")
    }
}

impl std::error::Error for Foreign {}
