//! What holds for a process however it was started: run for each start method.

mod arguments;
mod endings;
mod family;
mod limits;
mod many;
mod surroundings;
mod waiting;

use procession_primitives::{Builder, Death, Process, ProcessError, StartMethod, Stdio};
use procession_testkit::Case;

/// One test of the suite.
type Test = fn(StartMethod);

/// Tests by name.
macro_rules! tests {
    ($($module:ident: [$($test:ident),* $(,)?]),* $(,)?) => {
        vec![$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test as Test)),*),*]
    };
}

/// Tests for every start method.
fn common() -> Vec<(&'static str, Test)> {
    tests![
        arguments: [values_come_back, results_of_64_mebibytes, values_that_cannot_be_encoded,
            values_that_cannot_be_decoded, descriptors_travel, reasons_for_values],
        endings: [panics_are_values, exit_codes, signals_raised, a_crash, an_abort,
            signals_from_outside, the_end_is_final],
        waiting: [join_timeout, value_is_taken_once, sentinel, interrupted_join, drop_detaches],
        family: [who_is_who, recursion, children_die_with_their_parent, descendants_die_too],
        many: [two_hundred_and_fifty_six, a_hundred_terminated_at_once, same_descriptors],
        limits: [niceness, cpus, cpus_that_there_are_not, memory_limit,
            other_ends_under_a_memory_limit, memory_limits_are_inherited_by_forks, memory_from_outside,
            memory_from_inside],
        surroundings: [streams, environment_and_directory, changes_are_seen, stdin_is_null],
    ]
}

/// Tests for methods that begin with a fresh copy of the program.
fn fresh() -> Vec<(&'static str, Test)> {
    tests![
        arguments: [arguments_arrive, arguments_of_64_mebibytes, arguments_that_cannot_be_encoded,
            arguments_that_cannot_be_decoded, deaths_while_decoding, descriptor_limit,
            reasons_for_arguments],
        limits: [memory_limit_while_decoding],
        surroundings: [descriptors_are_closed, exit_handlers_run, output_is_flushed],
    ]
}

/// The suite for `method`, whose tests get names that begin with `prefix`.
pub(crate) fn for_method(prefix: &str, method: StartMethod) -> Vec<Case> {
    let mut tests = common();
    if method != StartMethod::Fork {
        tests.extend(fresh());
    }
    let named =
        |(name, test): (&str, Test)| Case::new(format!("{prefix}::{name}"), move || test(method));
    let cases = tests.into_iter().map(named);
    cases.collect()
}

fn with(method: StartMethod) -> Builder {
    Process::builder().start_method(method)
}

/// For processes that say on their standard error how badly they are doing.
fn quiet(method: StartMethod) -> Builder {
    with(method).stderr(Stdio::Null)
}

/// The method as plain data, for processes that start processes.
fn index(method: StartMethod) -> usize {
    StartMethod::all()
        .iter()
        .position(|one| *one == method)
        .unwrap()
}

fn method(index: usize) -> StartMethod {
    StartMethod::all()[index]
}

#[track_caller]
fn death<R: std::fmt::Debug>(outcome: Result<R, ProcessError>) -> Death {
    match outcome {
        Err(ProcessError::Died(death)) => death,
        other => panic!("not a death: {other:?}"),
    }
}
