//! A small stand-in for libtest: tests one after the other, on the main thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use procession_pool::Pool;
use procession_primitives::{Process, StartMethod};

use rustix::process::Signal;

use super::watchdog::{self, Watchdog};
use super::{eventually, heap_units, ledger, os, procfs};

/// Marks all processes of one run in their environment.
const MARKER: &str = "PROCESSION_IT_RUN";

/// A named test.
pub(crate) struct Case {
    name: String,
    run: Box<dyn FnOnce()>,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, run: impl FnOnce() + 'static) -> Case {
        Case {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// Cases from the names of functions.
#[allow(unused_macros, reason = "not every program has modules of its own")]
macro_rules! cases {
    ($module:ident: $($test:ident),* $(,)?) => {
        [$($crate::support::runner::Case::new(
            concat!(stringify!($module), "::", stringify!($test)),
            $module::$test,
        )),*]
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use cases;

/// What the command line asks for, in libtest's words.
#[derive(Default)]
struct Options {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    ignored_only: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Options {
        let mut options = Options::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => options.exact = true,
                "--list" => options.list = true,
                "--ignored" => options.ignored_only = true,
                "--skip" => options.skipped.extend(arguments.next()),
                "--seconds" | "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => {
                    let _value = arguments.next();
                }
                flag if flag.starts_with('-') => {}
                filter => options.filters.push(filter.to_owned()),
            }
        }
        options
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| {
            if self.exact {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        };
        !self.ignored_only
            && (self.filters.is_empty() || self.filters.iter().any(fits))
            && !self.skipped.iter().any(fits)
    }
}

/// Takes over a process that was started as the watchdog.
pub(crate) fn divert() -> bool {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(watchdog::ROLE) {
        return false;
    }
    watchdog::watch(&arguments.collect::<Vec<_>>());
    true
}

/// Runs those of `cases` that the command line names.
pub(crate) fn run(cases: Vec<Case>) -> ExitCode {
    let options = Options::parse(std::env::args().skip(1));
    let total = cases.len();
    let chosen: Vec<Case> = cases
        .into_iter()
        .filter(|case| options.wants(&case.name))
        .collect();
    if options.list {
        for case in &chosen {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    let begun = Instant::now();
    println!("\nrunning {} tests", chosen.len());
    let out = total - chosen.len();
    let (passed, failed) = run_all(chosen);
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         {out} filtered out; finished in {:.2}s\n",
        begun.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
}

fn run_all(cases: Vec<Case>) -> (usize, usize) {
    if cases.is_empty() {
        return (0, 0);
    }
    let marker = format!("{}-{}", std::process::id(), rustix_nanos());
    os::set_variable(MARKER, &marker);
    ledger::create();
    let mut dog = Watchdog::start(&format!("{MARKER}={marker}"));
    let (mut passed, mut failed) = (0, 0);
    dog.begin("(the baseline)");
    let baseline = Baseline::take(dog.pid(), format!("{MARKER}={marker}"));
    for Case { name, run } in cases {
        dog.begin(&name);
        let outcome = catch_unwind(AssertUnwindSafe(run))
            .and_then(|()| catch_unwind(AssertUnwindSafe(|| baseline.compare())))
            .and_then(|()| catch_unwind(still_works));
        dog.end();
        ledger::clear();
        match outcome {
            Ok(()) => {
                println!("test {name} ... ok");
                passed += 1;
            }
            Err(_) => {
                baseline.clean_up();
                println!("test {name} ... FAILED");
                failed += 1;
            }
        }
    }
    dog.dismiss();
    ledger::remove();
    (passed, failed)
}

/// Rule I5 of the fault list, for the family as a whole.
fn still_works() {
    let pool = Pool::with_workers(2).unwrap();
    check_usable(&pool);
}

/// Rule I5 of the fault list: 64 tasks.
#[track_caller]
pub(crate) fn check_usable(pool: &Pool) {
    let doubled: Vec<u32> = (0..64).map(|n| n * 2).collect();
    assert_eq!(
        pool.chunksize(1).map(|n: u32| n * 2, 0..64).unwrap(),
        doubled
    );
    assert_eq!(pool.apply(|n: u32| n * 2, 4).unwrap(), 8);
}

/// Lets each worker run something: what a worker has for itself, all have from then on.
pub(crate) fn warm_up(pool: &Pool) {
    let count = pool.workers() as u32;
    let word = ledger::reserve(1);
    let meet = |(word, count): (u32, u32)| {
        ledger::note(word);
        ledger::wait_for(word, count);
    };
    let all = (0..count).map(|_| (word, count));
    pool.chunksize(1).map(meet, all).unwrap();
}

/// The environment entry that all processes of this run have, once it has begun.
pub(crate) fn marker() -> Option<String> {
    Some(format!("{MARKER}={}", run_name()?))
}

/// What this run is called, in all its processes.
pub(crate) fn run_name() -> Option<String> {
    std::env::var(MARKER).ok()
}

fn rustix_nanos() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec
}

/// What must be there again after every test: rule I4 of the fault list.
struct Baseline {
    watchdog: u32,
    marker: String,
    own_descriptors: usize,
    supervisors_descriptors: usize,
    heap_units: u32,
}

impl Baseline {
    fn take(watchdog: u32, marker: String) -> Baseline {
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
            own_descriptors: procfs::descriptors(std::process::id()),
            supervisors_descriptors: procfs::descriptors(supervisor),
            heap_units: heap_units(),
        }
    }

    /// Panics if something stays that was not there before.
    fn compare(&self) {
        eventually("nothing is left behind", || self.look());
    }

    fn others(&self) -> Vec<u32> {
        let me = std::process::id();
        let mut others = procfs::family(me, &self.marker);
        others.retain(|pid| *pid != me && *pid != self.watchdog);
        others
    }

    /// After a failure: what one test leaves is not to be held against the next.
    fn clean_up(&self) {
        for pid in self.others() {
            os::send(pid, Signal::KILL);
            procfs::await_end(&[pid]);
        }
        // The first request may still go to the one that is gone.
        let _ = Process::spawn(|()| (), ());
    }

    fn look(&self) -> Result<(), String> {
        let me = std::process::id();
        let others = self.others();
        // None if the last test killed it.
        let is_supervisor = |pid: &u32| {
            procfs::comm(*pid) == "procession"
                && procfs::state_and_parent(*pid)
                    .is_some_and(|(_, parent)| !others.contains(&parent))
        };
        let supervisors: Vec<u32> = others.iter().copied().filter(is_supervisor).collect();
        if others.len() != supervisors.len() || supervisors.len() > 1 {
            return Err(format!("processes are left\n{}", procfs::dump(&others)));
        }
        let heap = heap_units();
        let own = procfs::descriptors(me);
        if supervisors.is_empty() {
            let _ = Process::spawn(|()| (), ()).map_err(|error| error.to_string())?;
            return Err("a new supervisor was needed".to_owned());
        }
        let supervisors_descriptors = procfs::descriptors(supervisors[0]);
        if supervisors_descriptors != self.supervisors_descriptors {
            let list = procfs::descriptor_list(supervisors[0]);
            let before = self.supervisors_descriptors;
            return Err(format!(
                "supervisor's descriptors, {before} before: {list:?}"
            ));
        }
        if own != self.own_descriptors {
            let list = procfs::descriptor_list(me);
            return Err(format!(
                "descriptors, {} before: {list:?}",
                self.own_descriptors
            ));
        }
        if heap != self.heap_units {
            return Err(format!("{heap} heap units, {} before", self.heap_units));
        }
        Ok(())
    }
}
