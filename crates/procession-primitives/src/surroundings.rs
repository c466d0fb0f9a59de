//! Environment and working directory: a new process has its creator's, not the supervisor's.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::Ordering;

use crate::arena::Arena;
use crate::protocol::{Bytes, Surroundings};

/// A number that changes with environment and working directory.
fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in std::env::vars_os() {
        (name, value).hash(&mut hasher);
    }
    std::env::current_dir().ok().hash(&mut hasher);
    hasher.finish()
}

/// Run by the supervisor: says what its children get for nothing.
pub(crate) fn publish(arena: &Arena) {
    arena
        .header()
        .surroundings
        .store(fingerprint(), Ordering::Relaxed);
}

/// What a child of this process has to be told, which mostly is nothing.
pub(crate) fn to_send(arena: &Arena) -> Surroundings {
    // Read again for each start: the supervisor may be a new one. 0 never matches in practice.
    if arena.header().surroundings.load(Ordering::Relaxed) == fingerprint() {
        return Surroundings::default();
    }
    let environment = std::env::vars_os().map(|(n, v)| (Bytes(n.into_vec()), Bytes(v.into_vec())));
    Surroundings {
        environment: Some(environment.collect()),
        directory: std::env::current_dir()
            .ok()
            .map(|d| Bytes(d.into_os_string().into_vec())),
    }
}

/// Run by a new process before any user code.
pub(crate) fn apply(given: Surroundings) -> std::io::Result<()> {
    if let Some(environment) = given.environment {
        replace_environment(&environment);
    }
    if let Some(directory) = given.directory {
        std::env::set_current_dir(std::ffi::OsStr::from_bytes(&directory.0))?;
    }
    Ok(())
}

fn replace_environment(environment: &[(Bytes, Bytes)]) {
    let old: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in old {
        crate::process::set_variable(&name, None);
    }
    for (name, value) in environment {
        let (name, value) = (
            std::ffi::OsStr::from_bytes(&name.0),
            std::ffi::OsStr::from_bytes(&value.0),
        );
        crate::process::set_variable(name, Some(value));
    }
}
