//! [`Label`]: the name of a segment, as its creator holds it.

use std::process;

use rustix::{
    fs::{CWD, RenameFlags, lstat, renameat_with},
    io::Errno,
};

use super::{
    SharedMemoryError,
    hooks::{Identity, announce, path, unlink_if, withdraw},
    janitor,
};

/// A name in `/dev/shm` that goes with this value, and with this process: the supervisor knows it all the while.
pub(super) struct Label {
    name: String,
    identity: Identity,
    /// A fork of this process has a copy of the value, and must not remove the name.
    pid: u32,
    persistent: bool,
}

impl Label {
    pub(super) fn new(name: String, identity: Identity) -> Self {
        announce(&name, identity);
        Self {
            name,
            identity,
            pid: process::id(),
            persistent: false,
        }
    }

    /// Moves the segment to `name`, if that is free or held by a dead creator's segment.
    pub(super) fn publish(self, name: &str) -> Result<Self, SharedMemoryError> {
        // Known under the new name before it has it, and under the old one (until `self` is dropped) after it had it.
        let published = Self::new(name.to_owned(), self.identity);
        loop {
            match renameat_with(
                CWD,
                path(&self.name),
                CWD,
                path(name),
                RenameFlags::NOREPLACE,
            ) {
                Ok(()) => return Ok(published),
                Err(Errno::EXIST) => make_way(name)?,
                Err(errno) => {
                    return Err(SharedMemoryError::os("name a shared memory segment")(errno));
                }
            }
        }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.pid == process::id()
    }

    fn remove(&self) -> bool {
        unlink_if(&self.name, self.identity.dev, self.identity.ino)
    }

    /// The name stays.
    pub(super) fn persist(&mut self) {
        self.persistent = true;
        withdraw(&self.name, self.identity);
    }
}

impl Drop for Label {
    fn drop(&mut self) {
        if self.is_ours() && !self.persistent {
            self.remove();
            withdraw(&self.name, self.identity);
        }
    }
}

/// Succeeds if nothing has this name, or only what a dead creator left.
pub(super) fn make_way(name: &str) -> Result<(), SharedMemoryError> {
    let free = || matches!(lstat(path(name)), Err(Errno::NOENT));
    if free() || janitor::remove_if_stale(name) || free() {
        return Ok(());
    }
    Err(SharedMemoryError::AlreadyExists {
        name: name.to_owned(),
    })
}
