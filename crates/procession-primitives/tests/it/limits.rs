//! Want of processes, descriptors, address space: a clear error, nothing left, and on it goes.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use procession_primitives::{FamilyError, Process, StartError, StartMethod};
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, eventually, os, procfs, same};
use rustix::process::{Pid, Resource, Rlimit};

use crate::limits;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("few_processes", few_processes),
    ("no_supervisor", no_supervisor),
    ("nicer_only", nicer_only),
    ("few_descriptors", few_descriptors),
    ("no_descriptor", no_descriptor),
    ("supervisors_descriptors", supervisors_descriptors),
    ("works", works),
    ("lacks_a_call", lacks_a_call),
    ("does_without_a_call", does_without_a_call),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![limits:
        no_more_processes, no_process_at_all, no_more_descriptors, no_descriptor_for_the_answer,
        no_more_descriptors_in_the_supervisor, little_address_space, small_files, other_user,
        no_less_niceness, calls_that_are_needed, calls_that_can_be_done_without,
    ]
    .into()
}

/// User ids that nobody has, one for each program, as limits count all processes of a user.
///
/// Limits on processes do not hold for root.
const NOBODIES: u32 = 64_000;

const FRESH: [StartMethod; 2] = [StartMethod::ForkServer, StartMethod::Spawn];

fn limit(resource: Resource, current: u64) {
    let limits = rustix::process::getrlimit(resource);
    let current = Some(current);
    rustix::process::setrlimit(resource, Rlimit { current, ..limits }).unwrap();
}

fn limit_of(pid: u32, resource: Resource, current: u64) {
    let limits = rustix::process::getrlimit(resource);
    let current = Some(current);
    let pid = Pid::from_raw(pid.cast_signed());
    rustix::process::prlimit(pid, resource, Rlimit { current, ..limits }).unwrap();
}

fn supervisor() -> u32 {
    Process::spawn(|()| os::ppid(), ()).unwrap().join().unwrap()
}

fn check(method: StartMethod) {
    let builder = Process::builder().start_method(method);
    same(
        "value",
        builder.spawn(|n: u64| n + 1, 1).unwrap().join().unwrap(),
        2,
    );
}

/// Starts processes until it cannot; returns them and the error.
fn exhaust(method: StartMethod, most: usize) -> (Vec<Process<()>>, StartError) {
    let mut processes = Vec::new();
    loop {
        assert!(processes.len() < most, "no limit");
        let builder = Process::builder().daemon(true).start_method(method);
        match builder.spawn(|()| os::sleep_for_ever(), ()) {
            Ok(process) => processes.push(process),
            Err(error) => return (processes, error),
        }
    }
}

fn end(processes: Vec<Process<()>>) {
    for process in &processes {
        process.kill().unwrap();
    }
    for process in &processes {
        same("the end", process.wait().exitcode(), -9);
    }
}

/// How many processes and threads this user has.
fn users_tasks() -> u64 {
    let me = rustix::process::getuid().as_raw();
    let mine = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&format!("Uid:\t{me}\t"))
    };
    let tasks =
        |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    procfs::pids()
        .into_iter()
        .filter(mine)
        .map(tasks)
        .sum::<usize>() as u64
}

fn few_processes(_: &[String]) -> ExitCode {
    let supervisor = supervisor();
    for method in FRESH {
        let room = users_tasks() + 8;
        limit_of(supervisor, Resource::Nproc, room);
        for _ in 0..3 {
            let (processes, error) = exhaust(method, 64);
            let StartError::Refused(cause) = &error else {
                panic!("{error}")
            };
            same("the cause", cause.raw_os_error(), Some(libc::EAGAIN));
            assert!(!processes.is_empty());
            end(processes);
            check(method);
        }
        limit_of(supervisor, Resource::Nproc, room + 100);
        let processes: Vec<_> = (0..40)
            .map(|_| {
                Process::builder()
                    .start_method(method)
                    .spawn(|n: u64| n, 3)
                    .unwrap()
            })
            .collect();
        for process in processes {
            same("value", process.join().unwrap(), 3);
        }
    }
    ExitCode::SUCCESS
}

fn as_nobody(name: &str, number: u32) {
    Program::start_with(name, &[], |command| {
        command.uid(NOBODIES + number);
    })
    .succeed();
}

fn may_change_user() -> bool {
    let may = rustix::process::geteuid().is_root();
    if !may {
        println!("SKIPPED: needs root, to be another user, because limits do not hold for it");
    }
    may
}

fn other_user() {
    if may_change_user() {
        as_nobody("works", 1);
    }
}

fn no_more_processes() {
    if may_change_user() {
        as_nobody("few_processes", 2);
    }
}

fn no_supervisor(_: &[String]) -> ExitCode {
    let before = procfs::descriptors(std::process::id());
    let unlimited = rustix::process::getrlimit(Resource::Nproc)
        .current
        .unwrap_or(4096);
    limit(Resource::Nproc, users_tasks());
    let mut founded = 0;
    for _ in 0..3 {
        for method in StartMethod::all() {
            let refused = Process::builder()
                .start_method(method)
                .spawn(|n: u64| n + 1, 1);
            let Err(StartError::Family(FamilyError::System(_, cause))) = &refused else {
                panic!("{refused:?}")
            };
            same("the cause", cause.raw_os_error(), Some(libc::EAGAIN));
            let now = procfs::descriptors(std::process::id());
            if founded == 0 {
                founded = now;
            }
            same("descriptors", now, founded);
        }
    }
    assert!(founded <= before + 1, "more than the arena is left");
    limit(Resource::Nproc, unlimited);
    StartMethod::all().into_iter().for_each(check);
    ExitCode::SUCCESS
}

fn no_process_at_all() {
    if may_change_user() {
        as_nobody("no_supervisor", 3);
    }
}

/// Without the privilege niceness only grows, and not at all when it is at its end.
fn nicer_only(_: &[String]) -> ExitCode {
    limit(Resource::Nice, 0);
    for method in StartMethod::all() {
        let start = |more| {
            let builder = Process::builder().start_method(method).nice(more);
            builder.spawn(|n: u64| n, 1)
        };
        let refused = start(-1);
        let Err(StartError::Limits(cause)) = &refused else {
            panic!("{method:?}: {refused:?}")
        };
        same("the cause", cause.raw_os_error(), Some(libc::EACCES));
        same("value", start(1).unwrap().join().unwrap(), 1);
        eventually(
            "nothing of it is left",
            || match procession_primitives::active_children().as_slice() {
                [] => Ok(()),
                some => Err(format!("{some:?}")),
            },
        );
        check(method);
    }
    ExitCode::SUCCESS
}

fn no_less_niceness() {
    if may_change_user() {
        as_nobody("nicer_only", 4);
    }
}

/// Opens descriptors until none is left.
fn use_up() -> Vec<File> {
    let open = || File::open("/dev/null").ok();
    std::iter::from_fn(open).collect()
}

/// For each number of descriptors left: a process or a clear error, and nothing lost.
fn few_descriptors(_: &[String]) -> ExitCode {
    let most = 64;
    limit(Resource::Nofile, most);
    let (mut works, mut fails) = (0, 0);
    for left in 0..24 {
        for method in StartMethod::all() {
            let mut used = use_up();
            used.truncate(used.len() - left);
            match Process::builder()
                .start_method(method)
                .spawn(|n: u64| n + 1, 1)
            {
                Ok(process) => {
                    same("value", process.join().unwrap(), 2);
                    works += 1;
                }
                Err(StartError::Descriptors(_) | StartError::Refused(_)) => fails += 1,
                Err(StartError::Family(FamilyError::System(_, _))) => fails += 1,
                Err(error) => panic!("with {left} left: {error}"),
            }
            drop(used);
            check(method);
        }
    }
    assert!(works > 0 && fails > 0, "{works} worked, {fails} failed");
    ExitCode::SUCCESS
}

fn no_more_descriptors() {
    Program::start("few_descriptors", &[]).succeed();
}

/// Where the handle of a new process cannot be received, there must be no process.
fn no_descriptor(_: &[String]) -> ExitCode {
    limit(Resource::Nofile, 64);
    check(StartMethod::ForkServer);
    let path = std::env::temp_dir().join("it-ran");
    for method in FRESH {
        let used = use_up();
        let builder = Process::builder().start_method(method);
        let refused = builder.spawn(
            |path| {
                std::fs::write(path, "ran").unwrap();
                os::sleep_for_ever();
            },
            path.clone(),
        );
        drop(used);
        let Err(StartError::Descriptors(cause)) = &refused else {
            panic!("not an error about descriptors: {refused:?}")
        };
        same("the cause", cause.raw_os_error(), Some(libc::EMFILE));
        eventually(
            "nothing of it is left",
            || match procession_primitives::active_children().as_slice() {
                [] => Ok(()),
                some => Err(format!("{some:?}")),
            },
        );
        check(method);
    }
    let _ = std::fs::remove_file(path);
    ExitCode::SUCCESS
}

fn no_descriptor_for_the_answer() {
    Program::start("no_descriptor", &[]).succeed();
}

fn supervisors_descriptors(_: &[String]) -> ExitCode {
    let supervisor = supervisor();
    limit_of(supervisor, Resource::Nofile, 64);
    for method in FRESH {
        for _ in 0..3 {
            let (processes, error) = exhaust(method, 100);
            let StartError::Descriptors(cause) = &error else {
                panic!("{error}")
            };
            same("the cause", cause.raw_os_error(), Some(libc::EMFILE));
            end(processes);
            check(method);
        }
    }
    ExitCode::SUCCESS
}

fn no_more_descriptors_in_the_supervisor() {
    Program::start("supervisors_descriptors", &[]).succeed();
}

/// Sets the limits that it is given, and then does a bit of everything.
fn works(arguments: &[String]) -> ExitCode {
    for pair in arguments.chunks_exact(2) {
        let resource = match pair[0].as_str() {
            "as" => Resource::As,
            "fsize" => Resource::Fsize,
            other => panic!("no limit {other}"),
        };
        limit(resource, pair[1].parse().unwrap());
    }
    for method in StartMethod::all() {
        check(method);
        let large = vec![1_u8; 1 << 20];
        let start = || Process::builder().start_method(method);
        let process = start()
            .spawn(|bytes: Vec<u8>| bytes, large.clone())
            .unwrap();
        assert!(process.join().unwrap() == large);
        let process = start().spawn(|()| os::raise(9), ()).unwrap();
        same("the end", process.wait().exitcode(), -9);
        let processes: Vec<_> = (0..20)
            .map(|n: u64| start().spawn(|n: u64| n, n).unwrap())
            .collect();
        for (n, process) in (0..).zip(processes) {
            same("value", process.join().unwrap(), n);
        }
    }
    ExitCode::SUCCESS
}

fn little_address_space() {
    Program::start("works", &["as", &(1_u64 << 30).to_string()]).succeed();
}

/// An arena may be too large for a file: then there is a clear error, or a smaller arena.
fn small_files() {
    for megabytes in [512_u64, 4096, 1 << 16] {
        Program::start("works", &["fsize", &(megabytes << 20).to_string()]).succeed();
    }
    let status = {
        let mut command = Command::new("/proc/self/exe");
        let none = [procession_testkit::program::ROLE, "works", "fsize", "4096"];
        command.args(none).stderr(std::process::Stdio::piped());
        command.output().unwrap()
    };
    let text = String::from_utf8_lossy(&status.stderr);
    assert_eq!(status.status.code(), Some(101), "{text}");
    assert!(text.contains("shared memory for the family"), "{text}");
}

/// What the library cannot work without: the error says which, and nothing is left.
fn calls_that_are_needed() {
    let calls = [
        libc::SYS_memfd_create,
        libc::SYS_pidfd_open,
        libc::SYS_execveat,
    ];
    for call in calls {
        Program::start("lacks_a_call", &[&call.to_string()]).succeed();
    }
}

fn lacks_a_call(arguments: &[String]) -> ExitCode {
    os::without_call(arguments[0].parse().unwrap());
    match Process::spawn(|n: u64| n, 1) {
        Err(StartError::Family(FamilyError::System(_, error))) => {
            same("error", error.raw_os_error(), Some(libc::ENOSYS));
        }
        other => panic!("{other:?}"),
    }
    ExitCode::SUCCESS
}

/// What newer kernels, or those without a sandbox, have besides.
fn calls_that_can_be_done_without() {
    for call in [libc::SYS_futex_waitv, libc::SYS_close_range] {
        Program::start("does_without_a_call", &[&call.to_string()]).succeed();
    }
}

fn does_without_a_call(arguments: &[String]) -> ExitCode {
    os::without_call(arguments[0].parse().unwrap());
    FRESH.into_iter().for_each(check);
    let process = Process::spawn(|()| -> () { os::sleep_for_ever() }, ()).unwrap();
    process.kill().unwrap();
    same("signal", process.wait().signal().map(Into::into), Some(9));
    ExitCode::SUCCESS
}
