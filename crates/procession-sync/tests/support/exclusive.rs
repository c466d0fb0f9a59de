//! One face for everything that one thread holds at a time.

use std::fmt::Debug;
use std::time::Duration;

use procession_sync::{Array, Lock, LockError, Mutex, RLock, RwLock, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How to take it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    Wait,
    Try,
    Within(Duration),
}

/// How it was come by, or why it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(crate) enum Came {
    Clean,
    OwnerDied,
    Inconsistent,
    WouldBlock,
    TimedOut,
    Deadlock,
    Foreign,
}

impl Came {
    pub(crate) fn is_taken(self) -> bool {
        matches!(self, Came::Clean | Came::OwnerDied | Came::Inconsistent)
    }
}

/// Something that one thread holds at a time.
pub(crate) trait Exclusive:
    Clone + PartialEq + Debug + Send + Sync + Serialize + DeserializeOwned + 'static
{
    /// What comes after `OwnerDied` until `mend`.
    const AFTERWARDS: Came;

    fn make() -> Self;

    /// Takes it, runs `inside` if that went, lets go of it.
    fn with(&self, how: How, inside: impl FnOnce()) -> Came;

    /// Says that all is well, where that is to be said.
    fn mend(&self);

    fn take(&self, how: How) -> Came {
        self.with(how, || ())
    }
}

/// Tells the guard from the news.
fn sort<G>(taken: Result<G, LockError<G>>) -> (Came, Option<G>) {
    match taken {
        Ok(guard) => (Came::Clean, Some(guard)),
        Err(LockError::OwnerDied(guard)) => (Came::OwnerDied, Some(guard)),
        Err(LockError::Inconsistent(guard)) => (Came::Inconsistent, Some(guard)),
        Err(LockError::WouldBlock) => (Came::WouldBlock, None),
        Err(LockError::TimedOut) => (Came::TimedOut, None),
        Err(LockError::Deadlock) => (Came::Deadlock, None),
        Err(LockError::Foreign) => (Came::Foreign, None),
        Err(error) => panic!("{error:?}"),
    }
}

macro_rules! exclusive {
    ($type:ty, $make:expr, $wait:ident, $attempt:ident, $within:ident, $after:ident, $mend:expr) => {
        impl Exclusive for $type {
            const AFTERWARDS: Came = Came::$after;

            fn make() -> Self {
                $make.unwrap()
            }

            fn with(&self, how: How, inside: impl FnOnce()) -> Came {
                let (came, guard) = sort(match how {
                    How::Wait => self.$wait(),
                    How::Try => self.$attempt(),
                    How::Within(timeout) => self.$within(timeout),
                });
                if guard.is_some() {
                    inside();
                }
                came
            }

            fn mend(&self) {
                let (came, guard) = sort(self.$wait());
                assert!(came.is_taken(), "{came:?}");
                #[allow(clippy::redundant_closure_call, reason = "differs by type")]
                ($mend)(guard.unwrap());
            }
        }
    };
}

exclusive!(
    Lock,
    Lock::new(),
    acquire,
    try_acquire,
    acquire_timeout,
    Clean,
    drop
);
exclusive!(
    RLock,
    RLock::new(),
    acquire,
    try_acquire,
    acquire_timeout,
    Clean,
    drop
);
exclusive!(
    Mutex<u64>,
    Mutex::new(7),
    lock,
    try_lock,
    lock_timeout,
    Inconsistent,
    { |mut guard: procession_sync::MutexGuard<'_, u64>| guard.mark_consistent() }
);
exclusive!(
    Value<u64>,
    Value::new(7),
    lock,
    try_lock,
    lock_timeout,
    Inconsistent,
    { |mut guard: procession_sync::ValueGuard<'_, u64>| guard.mark_consistent() }
);
exclusive!(
    Array<u64>,
    Array::new(3),
    lock,
    try_lock,
    lock_timeout,
    Inconsistent,
    { |mut guard: procession_sync::ArrayGuard<'_, u64>| guard.mark_consistent() }
);
exclusive!(
    RwLock<u64>,
    RwLock::new(7),
    write,
    try_write,
    write_timeout,
    Inconsistent,
    { |mut guard: procession_sync::RwLockWriteGuard<'_, u64>| guard.mark_consistent() }
);
