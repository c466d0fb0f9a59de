//! What `/proc` says about processes.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;

/// All processes of the machine.
pub fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// The processes whose initial environment has the entry `NAME=VALUE`.
pub fn with_variable(entry: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|one| one == entry.as_bytes())
    };
    pids().into_iter().filter(has).collect()
}

/// State letter and parent of a process; `None` if there is no such process.
pub fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    Some((rest.next()?.chars().next()?, rest.next()?.parse().ok()?))
}

/// Waits until these processes have ended. Whoever inherits them may take his time to reap them.
#[track_caller]
pub fn await_end(pids: &[u32]) {
    for pid in pids {
        crate::eventually("it has ended", || match state_and_parent(*pid) {
            None | Some(('Z' | 'X', _)) => Ok(()),
            state => Err(format!("{pid}: {state:?}")),
        });
    }
}

/// The living and the zombies.
pub fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| state_and_parent(*pid).is_some_and(|(_, of)| of == parent);
    pids().into_iter().filter(is_child).collect()
}

/// The short name of a process; empty if there is no such process.
pub fn comm(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// `root`, all that descend from it, and all with the environment entry.
pub fn family(root: u32, entry: &str) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = pids()
        .into_iter()
        .filter_map(|pid| Some((pid, state_and_parent(pid)?.1)))
        .collect();
    let mut found: HashSet<u32> = with_variable(entry).into_iter().collect();
    found.insert(root);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    let mut family: Vec<u32> = found
        .into_iter()
        .filter(|pid| state_and_parent(*pid).is_some())
        .collect();
    family.sort_unstable();
    family
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Where the descriptors of a process lead, for messages.
pub fn descriptor_list(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let lead = |path: std::path::PathBuf| Some(fs::read_link(path).ok()?.display().to_string());
    entries
        .filter_map(|entry| lead(entry.ok()?.path()))
        .collect()
}

/// A hexadecimal field of this process's `status`, as `SigBlk`.
pub fn own_mask(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
}

/// What each thread of each process is doing.
pub fn dump(pids: &[u32]) -> String {
    let mut text = String::new();
    for pid in pids {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let at = state_and_parent(*pid);
        let _ = writeln!(text, "--- process {pid}, state and parent {at:?}: {line}");
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for task in tasks.filter_map(Result::ok) {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let name = task.file_name().display().to_string();
            let (comm, wchan, call) = (read("comm"), read("wchan"), read("syscall"));
            let _ = writeln!(
                text,
                "  thread {name} ({}) in {wchan}, syscall {}\n    {}",
                comm.trim_end(),
                call.trim_end(),
                read("stack").trim_end().replace('\n', "\n    ")
            );
        }
    }
    text
}
