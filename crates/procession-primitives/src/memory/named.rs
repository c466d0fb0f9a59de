//! Named segments: made and mapped by the `shared_memory` crate, published, owned and removed by us.
#![allow(
    unsafe_code,
    reason = "names the bytes that the `shared_memory` crate mapped"
)]

use std::{
    io,
    ptr::NonNull,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Release},
    },
    time::{Duration, Instant},
};

use rustix::{
    fd::OwnedFd,
    fs::{FileType, OFlags, lstat},
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::{
    SharedMemoryError, available,
    header::{Creator, PERSISTENT, READY, STATE, TRAILER, Trailer, object_len},
    hooks::{Identity, open_object, path, stat_object, unlink_if, wait_a_moment},
    janitor,
    label::{Label, make_way},
    region::Region,
};

/// As in Python: room for the leading slash and the suffixes of other tools within the 255 bytes of a file name.
const NAME_MAX: usize = 250;
/// How long other programs get to finish what they make, or to stop exchanging it.
const PATIENCE: Duration = Duration::from_millis(250);

/// One mapped named segment.
pub(super) struct Named {
    /// Its owner flag is off: it would remove by name whatever has the name.
    map: Shmem,
    pub(super) name: String,
    identity: Identity,
    /// Of the trailer; 0 for a segment that is not ours.
    pub(super) generation: u64,
    /// The creator's.
    label: Option<Label>,
}

// SAFETY: of `Shmem`, which holds a pointer and a descriptor of the whole process, only the address and the length are
// used until it is dropped; access goes through `Region`.
unsafe impl Send for Named {}
// SAFETY: as above.
unsafe impl Sync for Named {}

/// What an attaching process accepts.
pub(super) enum Expect {
    /// A segment of ours.
    Ours,
    /// The very segment of ours with this generation.
    Generation(u64),
    /// Any object with at least so many bytes.
    Anything(u64),
}

impl Named {
    /// Makes a segment, complete before anybody can see its name.
    pub(super) fn create(
        name: &str,
        size: usize,
        persist: bool,
    ) -> Result<(Self, Region), SharedMemoryError> {
        check_name(name)?;
        if size == 0 {
            return Err(SharedMemoryError::ZeroSize);
        }
        let available = isize::MAX as u64;
        let len = object_len(size as u64).ok_or(SharedMemoryError::OutOfMemory {
            requested: size as u64,
            available,
        })?;
        janitor::remove_stale_once();
        make_way(name)?; // before the costly part
        available::check_space(len)?;
        available::check_memory(len)?;

        let creator = Creator::current();
        let generation = random()?;
        let temporary = janitor::temporary_name(&creator, generation);
        let mut map = ShmemConf::new()
            .os_id(format!("/{temporary}"))
            .size(len as usize)
            .create()
            .map_err(|error| map_error("create a shared memory segment", error))?;
        let object = open_object(&temporary, OFlags::RDWR)
            .map_err(SharedMemoryError::os("open the new segment"))?;
        let (identity, _) =
            stat_object(&object).map_err(SharedMemoryError::os("examine the new segment"))?;
        let label = Label::new(temporary, identity);
        map.set_owner(false); // from here on `label` removes the name

        available::commit(&object, len)?;
        let state = if persist { PERSISTENT } else { READY };
        Trailer {
            state,
            size: size as u64,
            generation,
            creator,
        }
        .write(&object, len)
        .map_err(SharedMemoryError::os("write the trailer"))?;
        let mut label = label.publish(name)?;
        if persist {
            label.persist();
        }
        let named = Self {
            map,
            name: name.to_owned(),
            identity,
            generation,
            label: Some(label),
        };
        let region = named.region(size);
        Ok((named, region))
    }

    /// Attaches to an existing segment.
    pub(super) fn open(name: &str, expect: &Expect) -> Result<(Self, Region), SharedMemoryError> {
        check_name(name)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = Found::open(name)?;
            let (size, generation) = match found.accept(expect) {
                Ok(accepted) => accepted,
                // Between a foreign creator's `shm_open` and `ftruncate`.
                Err(SharedMemoryError::TooSmall { found: 0, .. }) if wait_a_moment(deadline) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mapped = ShmemConf::new().os_id(format!("/{name}")).open();
            // `found` keeps its inode in use: if the name leads to it before and after, what was mapped is it.
            let same = lstat(path(name)).is_ok_and(|stat| Identity::of(&stat) == found.identity);
            match mapped {
                Ok(map) if same && map.len() as u64 == found.len => {
                    let (identity, name) = (found.identity, name.to_owned());
                    let named = Self {
                        map,
                        name,
                        identity,
                        generation,
                        label: None,
                    };
                    let region = named.region(size);
                    return Ok((named, region));
                }
                Err(error) if same && !is_invalid(&error) => {
                    return Err(map_error("map a shared memory segment", error));
                }
                // Replaced or resized under our hands: look again.
                _ if wait_a_moment(deadline) => {}
                _ => {
                    return Err(SharedMemoryError::os(
                        "attach to a segment that keeps changing",
                    )(Errno::BUSY));
                }
            }
        }
    }

    pub(super) fn is_creator(&self) -> bool {
        self.label.as_ref().is_some_and(Label::is_ours)
    }

    /// Lets the segment outlive its creator.
    pub(super) fn persist(&mut self) -> Result<(), SharedMemoryError> {
        if !self.is_creator() {
            return Err(SharedMemoryError::NotCreator {
                name: self.name.clone(),
            });
        }
        // Release: whoever sees that the segment stays also sees what was written to it before.
        self.state(|state| state.store(PERSISTENT, Release));
        if let Some(label) = &mut self.label {
            label.persist();
        }
        Ok(())
    }

    /// Removes the name.
    pub(super) fn unlink(&mut self) -> Result<(), SharedMemoryError> {
        if !self.is_creator() && !self.is_persistent() {
            return Err(SharedMemoryError::NotCreator {
                name: self.name.clone(),
            });
        }
        let removed = unlink_if(&self.name, self.identity.dev, self.identity.ino);
        self.label = None;
        if removed {
            Ok(())
        } else {
            Err(SharedMemoryError::Missing {
                name: self.name.clone(),
            })
        }
    }

    fn is_persistent(&self) -> bool {
        self.state(|state| state.load(Acquire)) == Some(PERSISTENT)
    }

    /// Acts on the state word of the trailer, if there is one.
    fn state<R>(&self, act: impl FnOnce(&AtomicU32) -> R) -> Option<R> {
        let len = self.map.len();
        let whole = self.region(len);
        if self.generation == 0 {
            return None;
        }
        whole.atomic_u32(len - TRAILER + STATE).map(act)
    }

    fn region(&self, len: usize) -> Region {
        debug_assert!(len <= self.map.len(), "longer than its mapping");
        // `mmap` chose the address, which is never 0.
        let (base, len) =
            NonNull::new(self.map.as_ptr()).map_or((NonNull::dangling(), 0), |base| (base, len));
        // SAFETY: the crate mapped `map.len()` bytes, checked by `create` and `open` to be at least `len`, readable,
        // writable and shared; `map` unmaps them when this value, and with it the holder of the region, is dropped.
        unsafe { Region::new(base, len) }
    }
}

/// An existing object, opened but not mapped.
struct Found<'a> {
    name: &'a str,
    object: OwnedFd,
    identity: Identity,
    len: u64,
}

impl<'a> Found<'a> {
    fn open(name: &'a str) -> Result<Self, SharedMemoryError> {
        let foreign = |reason| SharedMemoryError::Foreign {
            name: name.to_owned(),
            reason,
        };
        let object = open_object(name, OFlags::RDWR).map_err(|errno| match errno {
            Errno::NOENT => SharedMemoryError::Missing {
                name: name.to_owned(),
            },
            Errno::LOOP => foreign("it is a symbolic link"),
            Errno::ISDIR => foreign("it is a directory"),
            errno => SharedMemoryError::os("open a shared memory segment")(errno),
        })?;
        let (identity, stat) = stat_object(&object)
            .map_err(SharedMemoryError::os("examine a shared memory segment"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(foreign("it is not a file"));
        }
        Ok(Self {
            name,
            object,
            identity,
            len: stat.st_size.cast_unsigned(),
        })
    }

    /// Size for the user, and generation.
    fn accept(&self, expect: &Expect) -> Result<(usize, u64), SharedMemoryError> {
        let name = || self.name.to_owned();
        let (size, generation) = match (Trailer::read(&self.object, self.len), expect) {
            (Ok(trailer), Expect::Generation(wanted)) if trailer.generation != *wanted => {
                return Err(SharedMemoryError::Missing { name: name() });
            }
            (Ok(trailer), _) => (trailer.size, trailer.generation),
            (Err(_), Expect::Anything(_)) => (self.len, 0),
            (Err(reason), _) => {
                return Err(SharedMemoryError::Foreign {
                    name: name(),
                    reason,
                });
            }
        };
        if let Expect::Anything(needed) = expect
            && size < (*needed).max(1)
        {
            return Err(SharedMemoryError::TooSmall {
                name: name(),
                needed: *needed,
                found: size,
            });
        }
        Ok((size as usize, generation)) // a size of a file, and this is a 64-bit system
    }
}

fn check_name(name: &str) -> Result<(), SharedMemoryError> {
    let reason = match name {
        "" => "it is empty",
        "." | ".." => "it is a directory",
        _ if name.len() > NAME_MAX => "it is longer than 250 bytes",
        _ if name.starts_with('/') => "it starts with a slash; leave that away, as in Python",
        _ if name.contains('/') => "it contains a slash",
        _ if name.contains('\0') => "it contains a zero byte",
        _ if name.starts_with(janitor::TEMPORARY) => {
            "names that start with \".procession-\" are taken for segments being made"
        }
        _ => return Ok(()),
    };
    Err(SharedMemoryError::InvalidName {
        name: name.to_owned(),
        reason,
    })
}

/// A random number that is not 0.
pub(super) fn random() -> Result<u64, SharedMemoryError> {
    let mut bytes = [0; 8];
    loop {
        match getrandom(&mut bytes, GetRandomFlags::empty()) {
            Ok(8) if bytes != [0; 8] => return Ok(u64::from_ne_bytes(bytes)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SharedMemoryError::os("get a random number")(errno)),
        }
    }
}

fn map_error(operation: &'static str, error: ShmemError) -> SharedMemoryError {
    let source = match error {
        ShmemError::MapCreateFailed(code)
        | ShmemError::MapOpenFailed(code)
        | ShmemError::UnknownOsError(code) => io::Error::from_raw_os_error(code.cast_signed()),
        other => io::Error::other(other),
    };
    SharedMemoryError::Os { operation, source }
}

fn is_invalid(error: &ShmemError) -> bool {
    matches!(error, ShmemError::MapOpenFailed(code) if code.cast_signed() == Errno::INVAL.raw_os_error())
}
