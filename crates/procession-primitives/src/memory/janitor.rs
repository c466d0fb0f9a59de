//! Removing what killed creators left in `/dev/shm`, and nothing else.

use std::{fs, sync::Once};

use rustix::{
    fs::{FileType, OFlags},
    process::geteuid,
};

use super::{
    header::{Creator, READY, Trailer},
    hooks::{DIRECTORY, Identity, open_object, stat_object, unlink_if},
};

/// Names under which segments are made before they get their own: this, and who makes it.
pub(super) const TEMPORARY: &str = ".procession-";

/// Removes every segment of this user whose creator is dead; returns how many.
pub(super) fn remove_stale() -> usize {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return 0;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| remove_if_stale(name)).count()
}

/// Runs [`remove_stale`] the first time that this process asks.
pub(super) fn remove_stale_once() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        remove_stale();
    });
}

/// Removes the segment of this name if its creator is dead; says whether it did.
pub(super) fn remove_if_stale(name: &str) -> bool {
    let Some(identity) = stale(name) else {
        return false;
    };
    unlink_if(name, identity.dev, identity.ino)
}

/// A temporary name for a segment that `creator` is making.
pub(super) fn temporary_name(creator: &Creator, random: u64) -> String {
    let Creator {
        pid,
        start,
        pid_namespace,
        time_namespace,
    } = creator;
    format!("{TEMPORARY}{pid}-{start}-{pid_namespace}-{time_namespace}-{random:016x}")
}

fn temporary_creator(name: &str) -> Option<Creator> {
    let mut fields = name.strip_prefix(TEMPORARY)?.split('-');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let creator = Creator {
        pid: number()?.try_into().ok()?,
        start: number()?,
        pid_namespace: number()?,
        time_namespace: number()?,
    };
    (fields.count() == 1).then_some(creator)
}

fn stale(name: &str) -> Option<Identity> {
    let object = open_object(name, OFlags::RDONLY).ok()?;
    let (identity, stat) = stat_object(&object).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
        || stat.st_uid != geteuid().as_raw()
    {
        return None;
    }
    let creator = match temporary_creator(name) {
        Some(creator) => creator,
        None => {
            let trailer = Trailer::read(&object, stat.st_size.try_into().ok()?).ok()?;
            (trailer.state == READY).then_some(trailer.creator)?
        }
    };
    creator.is_dead().then_some(identity)
}
