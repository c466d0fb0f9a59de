//! What becomes of what workers write: F69, as far as a pool is concerned.

use std::io::{Read, Write};
use std::process::ExitCode;

use procession_pool::{Death, Output, Pool, TaskError, current_task};
use procession_testkit::program::{Program, Run, exit_at_panic};
use procession_testkit::{Case, cases, os, same};

use crate::output;
use crate::support::usable::check_usable;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("talks", talks),
    ("talks_a_lot", talks_a_lot),
    ("talks_at_once", talks_at_once),
    ("talks_and_dies", talks_and_dies),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![output:
        last_words, stdout_where_there_are_no_errors, of_that_worker_only, of_that_life_only,
        in_a_list_of_deaths, without_any_words, not_kept_unless_wanted, the_end_of_much,
        other_ends_of_items, of_an_initialiser, the_last_choice_counts, programs_of_their_own,
        captured_is_not_shown, shown_with_its_worker, shown_as_it_is, lines_stay_whole,
        words_before_a_death_are_shown,
    ]
    .into()
}

fn pool(workers: usize, output: Output) -> Pool {
    let builder = Pool::builder().workers(workers).output(output);
    builder.build().unwrap()
}

#[track_caller]
fn died<T: std::fmt::Debug>(outcome: Result<T, TaskError>) -> Box<Death> {
    match outcome {
        Err(TaskError::WorkerDied(death)) => death,
        outcome => panic!("{outcome:?}"),
    }
}

/// Says something and dies of it.
fn complain(n: u32) {
    println!("out {n}");
    eprintln!("err {n}");
    match n % 3 {
        0 => os::raise(libc::SIGKILL),
        1 => std::process::exit(1),
        _ => std::process::abort(),
    }
}

/// Nothing of what was written before the death is missing in it.
fn last_words() {
    for workers in [1, 3] {
        let pool = pool(workers, Output::Captured);
        for chunksize in [1, 4] {
            let outcomes = pool.chunksize(chunksize).map_results(complain, 0..20);
            for (n, outcome) in outcomes.into_iter().enumerate() {
                let death = died(outcome);
                assert_eq!(death.stderr_tail(), Some(&*format!("err {n}\n")));
            }
        }
        for n in 0..6 {
            let death = died(pool.apply_async(complain, n).get());
            assert_eq!(death.stderr_tail(), Some(&*format!("err {n}\n")));
        }
        check_usable(&pool);
    }
}

fn stdout_where_there_are_no_errors() {
    let pool = pool(1, Output::Captured);
    let whisper = |()| -> () {
        println!("to stdout");
        os::raise(libc::SIGKILL);
    };
    let death = died(pool.apply(whisper, ()));
    assert_eq!(death.stderr_tail(), Some("to stdout\n"));
}

/// Also what it has written in items before, but nothing of others.
fn of_that_worker_only() {
    let pool = pool(3, Output::Captured);
    let talk = |n: u32| {
        eprintln!("{} in {n}", std::process::id());
        if n % 10 == 9 {
            os::raise(libc::SIGKILL);
        }
    };
    let outcomes = pool.chunksize(1).map_results(talk, 0..100);
    for (n, outcome) in outcomes.into_iter().enumerate() {
        if n % 10 != 9 {
            outcome.unwrap();
            continue;
        }
        let death = died(outcome);
        let tail = death.stderr_tail().unwrap();
        let own = format!("{} in ", death.pid());
        assert!(tail.lines().all(|line| line.starts_with(&own)), "{tail}");
        assert!(tail.ends_with(&format!("{own}{n}\n")), "{tail}");
    }
}

fn of_that_life_only() {
    let pool = pool(1, Output::Captured);
    for n in 0..5 {
        let death = died(pool.apply(complain, n));
        assert_eq!(death.stderr_tail(), Some(&*format!("err {n}\n")));
    }
    // Silent ones have nothing of those before them.
    let death = died(pool.apply(|()| -> () { os::raise(libc::SIGKILL) }, ()));
    assert!(matches!(death.stderr_tail(), None | Some("")), "{death:?}");
}

/// Each death has its own.
fn in_a_list_of_deaths() {
    let pool = pool(2, Output::Captured);
    let again = |n: u32| -> u32 {
        if n == 3 {
            let attempt = current_task().map_or(99, |task| task.attempt());
            eprintln!("{} dies the {attempt}. time", std::process::id());
            os::raise(libc::SIGKILL);
        }
        n
    };
    let outcomes = pool.crash_limit(4).chunksize(1).map_results(again, 0..8);
    for (n, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(value) => assert_eq!((value, n == 3), (n, false)),
            Err(TaskError::CrashLimit(deaths)) => {
                assert_eq!((n, deaths.len()), (3, 4));
                for (attempt, death) in deaths.iter().enumerate() {
                    let expected = format!("{} dies the {attempt}. time\n", death.pid());
                    assert_eq!(death.stderr_tail(), Some(&*expected));
                }
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn without_any_words() {
    for output in [Output::Captured, Output::Tee] {
        let pool = pool(2, output);
        let die = |code: i32| -> () { os::exit_at_once(code) };
        for outcome in pool.map_results(die, [1, 2, 3]) {
            let death = died(outcome);
            assert!(matches!(death.stderr_tail(), None | Some("")), "{death:?}");
        }
    }
}

fn not_kept_unless_wanted() {
    let builder = Pool::builder().workers(1);
    for builder in [
        builder,
        Pool::builder().workers(1).output(Output::Inherited),
    ] {
        let pool = builder.build().unwrap();
        let death = died(pool.apply(|()| -> () { os::raise(libc::SIGKILL) }, ()));
        assert_eq!(death.stderr_tail(), None);
    }
}

/// What is cut off is said.
fn the_end_of_much() {
    let pool = pool(1, Output::Captured);
    let much = |lines: u32| -> () {
        (0..lines).for_each(|line| eprintln!("line {line:6}"));
        os::raise(libc::SIGKILL);
    };
    let death = died(pool.apply(much, 100_000));
    let tail = death.stderr_tail().unwrap();
    assert!(tail.ends_with("line  99998\nline  99999\n"), "{tail}");
    assert!(tail.starts_with('['), "{}", &tail[..50]);
    assert!(tail.len() < 200_000, "{}", tail.len());
    let kept = tail.lines().count();
    assert!((100..100_000).contains(&kept), "{kept} lines");
}

/// Values, errors and panics come as ever.
fn other_ends_of_items() {
    let pool = pool(2, Output::Captured);
    let talk = |n: u32| {
        println!("out {n}");
        if n == 5 {
            std::panic::resume_unwind(Box::new("planned"));
        }
        n
    };
    for (n, outcome) in (0..).zip(pool.map_results(talk, 0..20)) {
        match outcome {
            Ok(value) => assert_eq!((value, n == 5), (n, false)),
            Err(error) => assert!(
                n == 5 && matches!(error, TaskError::Panicked(_)),
                "{error:?}"
            ),
        }
    }
    check_usable(&pool);
    // Those that come later have theirs, too.
    pool.resize(4).unwrap();
    for outcome in pool.map_results(complain, 0..8) {
        assert!(died(outcome).stderr_tail().unwrap().starts_with("err "));
    }
}

/// What a worker says before its first item is a part of its output.
fn of_an_initialiser() {
    let greet = |name: String| eprintln!("{name} is here");
    let builder = Pool::builder().workers(1).output(Output::Captured);
    let pool = builder.initializer(greet, "somebody".to_owned()).build();
    let death = died(pool.unwrap().apply(complain, 1));
    assert_eq!(death.stderr_tail(), Some("somebody is here\nerr 1\n"));
}

fn the_last_choice_counts() {
    let builder = Pool::builder().workers(1).output(Output::Captured);
    let pool = builder.output(Output::Inherited).build().unwrap();
    let death = died(pool.apply(|()| -> () { os::raise(libc::SIGKILL) }, ()));
    assert_eq!(death.stderr_tail(), None);
}

// In programs whose own output is looked at.

fn output_named(name: &str) -> Output {
    match name {
        "captured" => Output::Captured,
        "tee" => Output::Tee,
        _ => Output::Inherited,
    }
}

fn talks(arguments: &[String]) -> ExitCode {
    exit_at_panic();
    let pool = pool(2, output_named(&arguments[0]));
    let talk = |n: u32| {
        println!("out {n}");
        // At once: two workers have one stream.
        let line = format!("err {n}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        procession_pool::worker_index().unwrap()
    };
    let workers = pool.chunksize(1).map(talk, 0..20).unwrap();
    pool.close();
    pool.join().unwrap();
    drop(pool);
    // Who has said what.
    for (n, worker) in workers.into_iter().enumerate() {
        println!("{n} {worker}");
    }
    eprintln!("end");
    ExitCode::SUCCESS
}

/// Runs a program to its end: the lines of its standard output and of its standard error.
fn lines_of(name: &str, arguments: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut program = Program::start_with(name, arguments, |command| {
        command.stderr(writer);
    });
    let errors = std::thread::spawn(move || {
        let mut errors = String::new();
        reader.read_to_string(&mut errors).unwrap();
        errors
    });
    let mut lines = Vec::new();
    loop {
        // No line is empty but the one at the end.
        let line = program.line();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    program.succeed();
    let errors = errors.join().unwrap();
    (lines, errors.lines().map(str::to_owned).collect())
}

fn captured_is_not_shown() {
    let (lines, errors) = lines_of("talks", &["captured"]);
    assert_eq!(lines.len(), 20, "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("out")), "{lines:?}");
    assert_eq!(errors, ["end"]);
}

/// Takes the last 20 lines: who has said what, as `prefix` has it.
fn expected(lines: &mut Vec<String>, what: &str, prefix: fn(&str) -> String) -> Vec<String> {
    let told = lines.split_off(lines.len() - 20);
    let said = told.iter().map(|line| {
        let (n, worker) = line.split_once(' ').unwrap();
        format!("{}{what} {n}", prefix(worker))
    });
    let mut said: Vec<_> = said.collect();
    said.sort_unstable();
    lines.extend(told);
    said
}

fn check_shown(output: &str, prefix: fn(&str) -> String) {
    let (mut lines, mut errors) = lines_of("talks", &[output]);
    let out = expected(&mut lines, "out", prefix);
    let err = expected(&mut lines, "err", prefix);
    lines.truncate(lines.len() - 20);
    lines.sort_unstable();
    assert_eq!(lines, out);
    assert_eq!(errors.pop().as_deref(), Some("end"));
    errors.sort_unstable();
    assert_eq!(errors, err);
}

fn shown_with_its_worker() {
    check_shown("tee", |worker| format!("[worker {worker}] "));
}

fn shown_as_it_is() {
    check_shown("inherited", |_| String::new());
}

fn talks_at_once(_: &[String]) -> ExitCode {
    exit_at_panic();
    let pool = pool(3, Output::Tee);
    let talk = |n: u32| {
        for line in 0..200 {
            // In pieces.
            let mut out = std::io::stderr();
            out.write_all(format!("item {n} ").as_bytes()).unwrap();
            out.write_all(format!("line {line}\n").as_bytes()).unwrap();
        }
    };
    pool.chunksize(1).map(talk, 0..15).unwrap();
    ExitCode::SUCCESS
}

fn lines_stay_whole() {
    let (lines, errors) = lines_of("talks_at_once", &[]);
    assert_eq!(lines, <[&str; 0]>::default());
    let mut next = [0; 15];
    for line in &errors {
        let (worker, rest) = line.split_at("[worker 0] ".len());
        assert!(
            ["[worker 0] ", "[worker 1] ", "[worker 2] "].contains(&worker),
            "{line}"
        );
        let words: Vec<_> = rest.split(' ').collect();
        let item: usize = words[1].parse().unwrap();
        assert_eq!(rest, format!("item {item} line {}", next[item]));
        next[item] += 1;
    }
    assert_eq!(next, [200; 15]);
}

fn talks_and_dies(_: &[String]) -> ExitCode {
    exit_at_panic();
    let pool = pool(1, Output::Tee);
    let die = |n: u32| -> () {
        eprint!("one {n}\nno end of line");
        os::raise(libc::SIGKILL);
    };
    for n in 0..3 {
        let death = died(pool.apply(die, n));
        // What is kept has no prefix.
        let expected = format!("one {n}\nno end of line");
        same("tail", death.stderr_tail(), Some(&*expected));
    }
    ExitCode::SUCCESS
}

fn words_before_a_death_are_shown() {
    let (_, errors) = lines_of("talks_and_dies", &[]);
    let of = |n| {
        [
            format!("[worker 0] one {n}"),
            "[worker 0] no end of line".into(),
        ]
    };
    // Each worker's words in their order. Those of several workers come by several pipes, between which
    // there is none.
    let mut workers: Vec<_> = errors.chunks(2).collect();
    workers.sort();
    assert_eq!(workers.concat(), [of(0), of(1), of(2)].concat());
}

/// The most memory that this program has had resident, in kB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().strip_suffix(" kB");
    kilobytes.unwrap().parse().unwrap()
}

/// 64 MiB, which nobody reads but the pool.
fn talks_a_lot(_: &[String]) -> ExitCode {
    exit_at_panic();
    let pool = pool(1, Output::Captured);
    check_usable(&pool);
    let a_lot = |megabytes: u32| {
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..megabytes {
            std::io::stderr().write_all(&piece).unwrap();
            std::io::stdout().write_all(&piece).unwrap();
        }
        megabytes
    };
    let before = peak();
    same("value", pool.apply(a_lot, 32).unwrap(), 32);
    let death = died(pool.apply(complain, 1));
    assert!(death.stderr_tail().unwrap().ends_with("xerr 1\n"));
    let more = peak() - before;
    assert!(more < 16 << 10, "{more} kB");
    check_usable(&pool);
    ExitCode::SUCCESS
}

fn programs_of_their_own() {
    Program::start("talks_a_lot", &[]).succeed();
}
