//! What must be there again after every test, and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use procession_primitives::{Family, Process, StartMethod};
use rustix::process::Signal;

use crate::{eventually, heap_units, os, procfs, segments};

/// Rule I4 of the fault list.
#[derive(Debug)]
pub(crate) struct Baseline {
    watchdog: u32,
    marker: String,
    own_descriptors: Cell<usize>,
    supervisors_descriptors: usize,
    heap_units: Cell<u32>,
    segments: RefCell<HashSet<String>>,
    /// What tests that failed have left.
    written_off: RefCell<Vec<u32>>,
}

impl Baseline {
    pub(crate) fn take(watchdog: u32, marker: String) -> Baseline {
        // Founds the family.
        let first = Process::builder().start_method(StartMethod::ForkServer);
        let supervisor = first.spawn(|()| os::ppid(), ()).unwrap().join().unwrap();
        let lonely = || match procfs::children_of(supervisor).as_slice() {
            [] => Ok(()),
            some => Err(format!("the supervisor has children {some:?}")),
        };
        eventually("the first process is gone", lonely);
        Baseline {
            watchdog,
            marker,
            own_descriptors: Cell::new(procfs::descriptors(std::process::id())),
            supervisors_descriptors: procfs::descriptors(supervisor),
            heap_units: Cell::new(heap_units()),
            segments: RefCell::new(segments::names()),
            written_off: RefCell::default(),
        }
    }

    /// Panics if something stays that was not there before.
    pub(crate) fn compare(&self) {
        eventually("nothing is left behind", || self.look());
    }

    fn others(&self) -> Vec<u32> {
        let me = std::process::id();
        let mut others = procfs::family(me, &self.marker);
        let written_off = self.written_off.borrow();
        others.retain(|pid| *pid != me && *pid != self.watchdog && !written_off.contains(pid));
        others
    }

    /// After a failure: what one test leaves is not to be held against the next.
    pub(crate) fn clean_up(&self) {
        let mut left = self.others();
        let supervisors = supervisors_of(&left);
        left.retain(|pid| !supervisors.contains(pid));
        for pid in &left {
            os::send(*pid, Signal::KILL);
        }
        self.written_off.borrow_mut().append(&mut left);
        if let Err(error) = Process::spawn(|()| (), ()).map(Process::join) {
            eprintln!("after this failure no process can be started: {error}");
        }
        self.own_descriptors
            .set(procfs::descriptors(std::process::id()));
        self.heap_units.set(heap_units());
        self.segments.replace(segments::names());
    }

    fn look(&self) -> Result<(), String> {
        let me = std::process::id();
        let others = self.others();
        // None if the last test killed it.
        let supervisors = supervisors_of(&others);
        let zombie = |pid: &u32| procfs::state_and_parent(*pid) == Some(('Z', me));
        if others.iter().any(zombie) {
            // The minder of a forked process whose handle was dropped is reaped at the next fork.
            let _ = Process::builder().fork(|| ()).map(Process::join);
        }
        if others.len() != supervisors.len() || supervisors.len() > 1 {
            return Err(format!("processes are left\n{}", procfs::dump(&others)));
        }
        let family = Family::current().map_err(|error| error.to_string())?;
        let heap = family.arena().heap_usage(family).0;
        let own = procfs::descriptors(me);
        let Some(supervisor) = supervisors.first().copied() else {
            let _ = Process::spawn(|()| (), ()).map_err(|error| error.to_string())?;
            return Err("a new supervisor was needed".to_owned());
        };
        let supervisors_own = procfs::descriptors(supervisor);
        if supervisors_own != self.supervisors_descriptors {
            let list = procfs::descriptor_list(supervisor);
            let before = self.supervisors_descriptors;
            return Err(format!(
                "supervisor's descriptors, {before} before: {list:?}"
            ));
        }
        let before = self.own_descriptors.get();
        if own != before {
            let list = procfs::descriptor_list(me);
            return Err(format!("descriptors, {before} before: {list:?}"));
        }
        let before = self.heap_units.get();
        if heap != before {
            let family = Family::current().map_err(|error| error.to_string())?;
            let blocks = family.arena().heap_text(family);
            let objects = family.object_text();
            return Err(format!(
                "{heap} heap units, {before} before: {blocks:#?} {objects:#?}"
            ));
        }
        let left = segments::left(&self.segments.borrow(), &[me, supervisor]);
        if !left.is_empty() {
            return Err(format!("in /dev/shm: {left:?}"));
        }
        Ok(())
    }
}

/// Those of the program's processes that are nobody's child and have the supervisor's name.
fn supervisors_of(others: &[u32]) -> Vec<u32> {
    let is_supervisor = |pid: &&u32| {
        procfs::comm(**pid) == "procession"
            && procfs::state_and_parent(**pid).is_some_and(|(_, parent)| !others.contains(&parent))
    };
    others.iter().filter(is_supervisor).copied().collect()
}
