//! How many CPUs this process may use.

use std::num::NonZeroUsize;
use std::thread;

/// Returns the number of CPUs that this process may use: the default number of
/// workers.
///
/// It is the smaller of two limits, read anew at each call:
///
/// - the CPUs in the affinity mask of the calling thread (`taskset`,
///   `sched_setaffinity`, a cpuset);
/// - the CPU quota of the process's cgroup and of the cgroups above it (version
///   1 or 2), rounded down to whole CPUs, but never below 1: a container
///   limited to 2.5 CPUs counts 2, one limited to 0.5 counts 1.
///
/// CPUs that are offline do not count; each hardware thread does. The load of
/// the machine, CPU weights and limits on the number of processes play no part.
/// A limit that cannot be read does not count; when nothing can be read, the
/// result is 1.
///
/// A call reads several files of `/proc` and `/sys`: keep the result rather
/// than asking in a loop.
///
/// # Examples
///
/// ```
/// let workers = procession_primitives::cpu_count();
/// assert!(workers.get() >= 1);
/// ```
#[doc(alias = "process_cpu_count")]
#[doc(alias = "available_parallelism")]
#[must_use]
pub fn cpu_count() -> NonZeroUsize {
    // std: min(CPU_COUNT(sched_getaffinity(0)), max(1, quota / period)), with
    // the quota minimised over the cgroup and its ancestors, and no caching.
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::cpu_count;

    /// Restricts the affinity of the test's own thread, and restores it.
    #[test]
    fn follows_the_affinity_of_the_calling_thread() {
        let before = sched_getaffinity(None).unwrap();
        let usable = cpu_count();
        assert!(usable.get() <= before.count() as usize);

        let mut one = CpuSet::new();
        let first = (0..CpuSet::MAX_CPU)
            .find(|cpu| before.is_set(*cpu))
            .unwrap();
        one.set(first);
        sched_setaffinity(None, &one).unwrap();
        let restricted = cpu_count();
        sched_setaffinity(None, &before).unwrap();

        assert_eq!(restricted.get(), 1);
        assert_eq!(cpu_count(), usable);
    }
}
