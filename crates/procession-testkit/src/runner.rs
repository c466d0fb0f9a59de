//! A small stand-in for libtest: tests one after the other, on the main thread, each under the
//! watchdog and with a look at what it leaves.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use crate::baseline::Baseline;
use crate::watchdog::{self, Watchdog};
use crate::{ledger, os, program};

/// Marks all processes of one run in their environment.
const MARKER: &str = "PROCESSION_IT_RUN";

/// A named test.
pub struct Case {
    name: String,
    run: Box<dyn FnOnce()>,
    ignored: bool,
}

impl Case {
    /// A test that passes unless `run` panics.
    pub fn new(name: impl Into<String>, run: impl FnOnce() + 'static) -> Case {
        Case {
            name: name.into(),
            run: Box::new(run),
            ignored: false,
        }
    }

    /// For what is known not to hold: run only when the command line asks for it.
    pub fn ignored(self) -> Case {
        Case {
            ignored: true,
            ..self
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Cases from the names of functions: `cases![module: one, other]` is an array of them, called
/// `module::one` and `module::other`.
#[macro_export]
macro_rules! cases {
    ($module:ident: $($test:ident),* $(,)?) => {
        [$($crate::Case::new(
            concat!(stringify!($module), "::", stringify!($test)),
            $module::$test,
        )),*]
    };
}

/// What the command line asks for, in libtest's words.
#[derive(Default)]
struct Options {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    ignored_only: bool,
    ignored_too: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Options {
        let mut options = Options::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => options.exact = true,
                "--list" => options.list = true,
                "--ignored" => options.ignored_only = true,
                "--include-ignored" => options.ignored_too = true,
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
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

/// Takes over a process that was started as the watchdog, or as one of the helper programs
/// `programs`; what `main` is to return then.
pub fn divert(programs: &[(&str, program::Run)]) -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (role, rest) = arguments.split_first()?;
    match role.as_str() {
        watchdog::ROLE => {
            watchdog::watch(rest);
            Some(ExitCode::SUCCESS)
        }
        program::ROLE => Some(program::run(programs, rest)),
        _ => None,
    }
}

/// Runs those of the cases that the command line names, in libtest's words.
///
/// After each, no process, zombie, descriptor (here or in the supervisor), unit of the family's
/// memory or name in `/dev/shm` may be there that was not there before.
pub struct Runner {
    cases: Vec<Case>,
    ledger: bool,
    after_each: Box<dyn Fn()>,
}

impl Runner {
    /// For these cases, in this order.
    pub fn new(cases: Vec<Case>) -> Runner {
        Runner {
            cases,
            ledger: false,
            after_each: Box::new(|| ()),
        }
    }

    /// Makes a [`ledger`], and clears it after each case.
    pub fn with_ledger(self) -> Runner {
        Runner {
            ledger: true,
            ..self
        }
    }

    /// Calls `check` after each case that has left nothing; the case has failed if it panics.
    pub fn after_each(self, check: impl Fn() + 'static) -> Runner {
        Runner {
            after_each: Box::new(check),
            ..self
        }
    }

    /// Runs them; what `main` is to return.
    pub fn run(mut self) -> ExitCode {
        let options = Options::parse(std::env::args().skip(1));
        let cases = std::mem::take(&mut self.cases);
        let total = cases.len();
        let chosen: Vec<Case> = cases
            .into_iter()
            .filter(|case| options.wants(&case.name) && (case.ignored || !options.ignored_only))
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
        let runs = |case: &Case| !case.ignored || options.ignored_only || options.ignored_too;
        let (chosen, ignored): (Vec<Case>, Vec<Case>) = chosen.into_iter().partition(runs);
        for case in &ignored {
            println!("test {} ... ignored", case.name);
        }
        let ignored = ignored.len();
        let (passed, failed) = self.run_all(chosen);
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; \
             0 measured; {out} filtered out; finished in {:.2}s\n",
            begun.elapsed().as_secs_f64()
        );
        if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(101)
        }
    }

    fn run_all(&self, cases: Vec<Case>) -> (usize, usize) {
        if cases.is_empty() {
            return (0, 0);
        }
        // Whoever started this program may have ignored them, for itself.
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            os::set_default(signal);
        }
        os::set_variable(MARKER, format!("{}-{}", std::process::id(), nanos()));
        if self.ledger {
            ledger::create();
        }
        let marker = marker().unwrap();
        let mut dog = Watchdog::start(&marker);
        let (mut passed, mut failed) = (0, 0);
        dog.begin("(the baseline)");
        let baseline = Baseline::take(dog.pid(), marker);
        for Case { name, run, .. } in cases {
            dog.begin(&name);
            let outcome = catch_unwind(AssertUnwindSafe(run))
                .and_then(|()| catch_unwind(AssertUnwindSafe(|| baseline.compare())))
                .and_then(|()| catch_unwind(AssertUnwindSafe(&self.after_each)));
            dog.end();
            if self.ledger {
                ledger::clear();
            }
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
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Runner");
        text.field("cases", &self.cases).finish_non_exhaustive()
    }
}

/// The environment entry that all processes of this run have, once it has begun.
pub fn marker() -> Option<String> {
    Some(format!("{MARKER}={}", run_name()?))
}

/// What this run is called, in all its processes.
pub(crate) fn run_name() -> Option<String> {
    std::env::var(MARKER).ok()
}

fn nanos() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec
}
