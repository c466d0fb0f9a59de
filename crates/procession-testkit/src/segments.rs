//! Names in `/dev/shm`, where the named segments are.

use std::collections::HashSet;
use std::fs;

use crate::procfs;

/// All names there are.
pub fn names() -> HashSet<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.collect()
}

/// The names besides those in `before`, without those that processes besides `own` have mapped:
/// tests do not have the machine for themselves.
pub fn left(before: &HashSet<String>, own: &[u32]) -> Vec<String> {
    let mut new: Vec<String> = names().difference(before).cloned().collect();
    if new.is_empty() {
        return new;
    }
    for pid in procfs::pids() {
        if !own.contains(&pid) {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            new.retain(|name| !maps.contains(&format!("/dev/shm/{name}")));
        }
    }
    new
}
