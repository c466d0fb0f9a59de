//! Names in `/dev/shm`: removing one without ever hitting a stranger's segment, and telling the supervisor which
//! ones must go when this process dies.

use std::{
    process,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{Timespec, poll},
    fd::OwnedFd,
    fs::{FlockOperation, Mode, OFlags, Stat, flock, fstat, lstat, open, unlink},
    io::Errno,
};

/// Where the kernel and every C library keep named shared memory on Linux.
pub(super) const DIRECTORY: &str = "/dev/shm";

/// Told `(name, dev, ino, add)`: with `add`, the name must go if this process dies; without, no longer.
///
/// A name may be announced shortly before it exists, and one process may announce one name for several objects: what is
/// taken back is the triple, not the name.
pub(crate) type Registrar = fn(&str, u64, u64, bool);

/// Whom to tell; the family's supervisor unless a test has set another.
pub(crate) static REGISTRAR: OnceLock<Registrar> = OnceLock::new();

static LIVE: Mutex<Vec<Live>> = Mutex::new(Vec::new());

#[derive(Clone)]
struct Live {
    pid: u32,
    name: String,
    identity: Identity,
}

/// Calls `visit` for every name announced by this process and not withdrawn: for a supervisor that starts
/// after segments were made, or starts again. Set [`REGISTRAR`] first: a name may then be told twice, but none is missed.
#[allow(dead_code, reason = "called by whoever starts the supervisor")]
pub(crate) fn for_each_live(mut visit: impl FnMut(&str, u64, u64)) {
    let pid = process::id();
    let snapshot: Vec<Live> = live().clone(); // so that `visit` may announce
    for Live { name, identity, .. } in snapshot.iter().filter(|live| live.pid == pid) {
        visit(name, identity.dev, identity.ino);
    }
}

/// Removes `/dev/shm/name` if it leads to the object (`dev`, `ino`); says whether it did.
///
/// Safe to repeat and to run in several processes at once: all of them take the `flock` of the very object
/// before they compare and remove, so between the two the name can only be changed by a program that is not ours.
pub(crate) fn unlink_if(name: &str, dev: u64, ino: u64) -> bool {
    let wanted = Identity { dev, ino };
    let path = path(name);
    let leads_there = || lstat(&*path).is_ok_and(|stat| Identity::of(&stat) == wanted);
    if !leads_there() {
        return false;
    }
    // Without permission to open there is no lock to take; the comparison below still stands.
    let object = open_object(name, OFlags::RDONLY).ok();
    if let Some(object) = &object {
        let deadline = Instant::now() + Duration::from_millis(100);
        // Held for a few instructions only. A stopped holder is not waited for: it would remove the same name.
        while flock(object, FlockOperation::NonBlockingLockExclusive).is_err()
            && wait_a_moment(deadline)
        {}
    }
    leads_there() && unlink(&*path).is_ok()
}

/// Announces a name to the supervisor.
pub(super) fn announce(name: &str, identity: Identity) {
    live().push(Live {
        pid: process::id(),
        name: name.to_owned(),
        identity,
    });
    tell(name, identity, true);
}

/// Takes an announcement back.
pub(super) fn withdraw(name: &str, identity: Identity) {
    live().retain(|live| live.identity != identity || live.name != name);
    tell(name, identity, false);
}

/// Without holding the list: the hook may start the supervisor, and its start reads the list.
fn tell(name: &str, identity: Identity, add: bool) {
    let registrar = REGISTRAR.get_or_init(|| crate::family::register_segment);
    registrar(name, identity.dev, identity.ino, add);
}

fn live() -> MutexGuard<'static, Vec<Live>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which object a descriptor or a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) dev: u64,
    pub(super) ino: u64,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
        }
    }
}

pub(super) fn path(name: &str) -> String {
    format!("{DIRECTORY}/{name}")
}

/// Opens the object of this name, never through a symbolic link and never waiting for a pipe's other end.
pub(super) fn open_object(name: &str, access: OFlags) -> rustix::io::Result<OwnedFd> {
    loop {
        match open(
            path(name),
            access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK,
            Mode::empty(),
        ) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn stat_object(object: &OwnedFd) -> rustix::io::Result<(Identity, Stat)> {
    let stat = fstat(object)?;
    Ok((Identity::of(&stat), stat))
}

/// Lets a millisecond pass; `false` once `deadline` has.
///
/// The only wait of this module, and only for what other programs leave half done.
pub(super) fn wait_a_moment(deadline: Instant) -> bool {
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    let left = Instant::now() < deadline;
    if left {
        let _interrupted_is_fine = poll(&mut [], Some(&moment));
    }
    left
}
