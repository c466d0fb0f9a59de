//! Threads that stay on one CPU: each side of a workload on its own.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread on one CPU until dropped.
#[derive(Debug)]
pub struct Pinned(CpuSet);

impl Pinned {
    /// To the `index`th usable CPU, or the last one.
    ///
    /// # Panics
    ///
    /// If the kernel does not allow it.
    #[must_use]
    pub fn to(index: usize) -> Pinned {
        let before = sched_getaffinity(None).expect("the kernel tells");
        let usable = (0..CpuSet::MAX_CPU).filter(|&cpu| before.is_set(cpu));
        let mut one = CpuSet::new();
        one.set(usable.take(index + 1).last().expect("this runs somewhere"));
        sched_setaffinity(None, &one).expect("a usable CPU");
        Pinned(before)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.0);
    }
}
