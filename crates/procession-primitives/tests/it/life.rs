//! The end of the program, in all the ways in which a program can end.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use procession_primitives::{Process, SharedMemory, StartMethod};
use procession_testkit::gate::{Bell, Ear, Entrance, Gate, pass, ring};
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, eventually, os, procfs, same};
use rustix::process::Signal;

use crate::life;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("busy", busy),
    ("joins", joins),
    ("main_once", main_once),
    ("own_wait", own_wait),
    ("own_handler", own_handler),
    ("odd_signals", odd_signals),
    ("deleted", deleted),
    ("closed", closed),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![life:
        program_killed, program_killed_early, program_panics, program_exits, program_returns,
        program_aborts, interrupted_from_the_keyboard, program_terminated,
        becomes_another_program, killed_with_its_supervisor,
        joins_at_exit, ends_daemons_at_exit, main_runs_once,
        users_own_wait, sigchld_ignored, sigchld_handled, odd_signal_settings,
        executable_deleted, standard_streams_closed, standard_streams_closed_by_itself,
    ]
    .into()
}

/// A file that gets a line for each time that `main` gets to a place.
const COUNTER: &str = "IT_MAIN_COUNTER";

fn count(what: &str) {
    if let Some(path) = std::env::var_os(COUNTER) {
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        file.write_all(format!("{what}\n").as_bytes()).unwrap();
    }
}

pub(crate) fn before_init() {
    count("before");
}

pub(crate) fn after_init() {
    count("after");
}

/// The three ways in which a process can put distance between itself and its descendants.
fn with_descendants(bell: Bell) {
    let quiet = |command: &mut Command| {
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
            .id()
    };
    quiet(Command::new("sleep").arg("1000"));
    quiet(Command::new("setsid").args(["sleep", "1000"]));
    let mut orphan = Command::new("sh");
    orphan
        .args(["-c", "setsid sleep 1000 & "])
        .stdout(Stdio::null());
    orphan.status().unwrap();
    ring(bell);
    os::sleep_for_ever();
}

/// Has four processes with three descendants each, and a named segment; ends as it is told to.
fn busy(arguments: &[String]) -> ExitCode {
    let [end, name] = arguments else {
        return ExitCode::FAILURE;
    };
    let mut ear = Ear::new();
    let methods = [0, 1, 0, 2].map(|index| StartMethod::all()[index]);
    let alone = |bell| {
        ring(bell);
        os::sleep_for_ever();
    };
    let processes = methods.map(|method| {
        let builder = Process::builder().daemon(true).start_method(method);
        let function = if end == "supervisor" {
            alone
        } else {
            with_descendants
        };
        builder.spawn(function, ear.bell()).unwrap()
    });
    ear.hear(4);
    let memory = SharedMemory::create(name, 4096).unwrap();
    println!("ready");
    match end.as_str() {
        "return" => {}
        "panic" => {
            std::panic::set_hook(Box::new(|_| {}));
            panic!("as planned");
        }
        "exit" => std::process::exit(7),
        "abort" => std::process::abort(),
        "sleep" => os::sleep_for_ever(),
        "exec" => os::become_sleep(),
        "supervisor" => {
            let supervisor = procfs::state_and_parent(processes[0].pid()).unwrap().1;
            os::send(supervisor, Signal::KILL);
            os::send(std::process::id(), Signal::KILL);
        }
        other => panic!("no end {other}"),
    }
    drop(memory);
    ExitCode::SUCCESS
}

fn segment_of(program: &str) -> String {
    format!("it-{program}-{}", std::process::id())
}

fn start_busy(end: &str) -> (Program, String) {
    let name = segment_of(end);
    let mut program = Program::start("busy", &[end, &name]);
    program.expect("ready");
    (program, format!("/dev/shm/{name}"))
}

fn end_of_busy(program: &Program, segment: &str) {
    program.gone_but(&[]);
    eventually("the segment is gone", || match std::fs::exists(segment) {
        Ok(false) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn signalled(signal: Signal, to_group: bool) {
    let (mut program, segment) = start_busy("sleep");
    // The program and its supervisor, four processes, twelve descendants; a forked one has no
    // environment of its own to show.
    eventually("all are there", || match program.family().len() {
        18.. => Ok(()),
        count => Err(format!("{count} are there")),
    });
    assert!(std::fs::exists(&segment).unwrap());
    if to_group {
        program.signal_group(signal);
    } else {
        program.signal(signal);
    }
    assert_eq!(program.wait().signal(), Some(signal.as_raw()));
    end_of_busy(&program, &segment);
}

fn program_killed() {
    signalled(Signal::KILL, false);
}

fn program_terminated() {
    signalled(Signal::TERM, false);
}

fn interrupted_from_the_keyboard() {
    signalled(Signal::INT, true);
}

/// At whatever moment of its first starts.
fn program_killed_early() {
    for step in 0..30 {
        let name = segment_of("early");
        let mut program = Program::start("busy", &["sleep", &name]);
        // Work of the test, not a wait for something: the moments are spread over the start.
        std::thread::sleep(std::time::Duration::from_micros(step * 700));
        program.signal(Signal::KILL);
        program.wait();
        end_of_busy(&program, &format!("/dev/shm/{name}"));
    }
}

fn ended(end: &str, code: Option<i32>, signal: Option<i32>) {
    let (mut program, segment) = start_busy(end);
    let status = program.wait();
    assert_eq!((status.code(), status.signal()), (code, signal));
    end_of_busy(&program, &segment);
}

fn program_panics() {
    ended("panic", Some(101), None);
}

fn program_exits() {
    ended("exit", Some(7), None);
}

fn program_returns() {
    ended("return", Some(0), None);
}

fn program_aborts() {
    ended("abort", None, Some(libc::SIGABRT));
}

fn killed_with_its_supervisor() {
    let (mut program, segment) = start_busy("supervisor");
    assert_eq!(program.wait().signal(), Some(libc::SIGKILL));
    program.gone_but(&[]);
    // Nobody was left to remove the name: whoever looks next does.
    SharedMemory::remove_stale();
    assert!(!std::fs::exists(&segment).unwrap());
}

fn becomes_another_program() {
    let (mut program, segment) = start_busy("exec");
    program.gone_but(&[program.pid()]);
    eventually("it is another program", || {
        match procfs::comm(program.pid()).as_str() {
            "sleep" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    program.signal(Signal::KILL);
    program.wait();
    end_of_busy(&program, &segment);
}

/// Returns from `main` while a process works.
fn joins(arguments: &[String]) -> ExitCode {
    let [kind, end, path] = arguments else {
        return ExitCode::FAILURE;
    };
    let mut gate = Gate::new();
    let method = StartMethod::all()[usize::from(kind == "spawned")];
    let builder = Process::builder()
        .start_method(method)
        .daemon(kind == "daemon");
    let process = builder.spawn(
        |(entrance, path): (Entrance, String)| {
            pass(entrance);
            // Its own child keeps it, as it keeps the program.
            Process::spawn(|path: String| std::fs::write(path, "done").unwrap(), path).unwrap();
        },
        (gate.entrance(), path.clone()),
    );
    let process = process.unwrap();
    if kind == "daemon" {
        drop(process);
    } else {
        gate.open(1);
    }
    match end.as_str() {
        "exit" => std::process::exit(3),
        _ => ExitCode::SUCCESS,
    }
}

fn joined(kind: &str, end: &str) -> bool {
    let (reader, file) = (Ear::new(), std::env::temp_dir());
    drop(reader);
    let file = file.join(format!("procession-it-{}-{kind}-{end}", std::process::id()));
    let program = Program::start("joins", &[kind, end, file.to_str().unwrap()]);
    let status = program.finish();
    assert_eq!(status.code(), Some(if end == "exit" { 3 } else { 0 }));
    let done = std::fs::read_to_string(&file).is_ok_and(|text| text == "done");
    let _ = std::fs::remove_file(file);
    done
}

fn joins_at_exit() {
    for kind in ["forked", "spawned"] {
        assert!(joined(kind, "return"));
        assert!(joined(kind, "exit"));
    }
}

fn ends_daemons_at_exit() {
    // The daemon waits at a gate that is never opened.
    assert!(!joined("daemon", "return"));
    assert!(!joined("daemon", "exit"));
}

fn main_once(_: &[String]) -> ExitCode {
    let below = |()| {
        let all = StartMethod::all();
        let start = |method| {
            Process::builder()
                .start_method(method)
                .spawn(|()| os::ppid(), ())
        };
        all[..2]
            .iter()
            .map(|method| start(*method).unwrap().join().unwrap())
            .collect::<Vec<u32>>()
    };
    for _ in 0..2 {
        let mut supervisor = 0;
        for method in StartMethod::all() {
            let process = Process::builder()
                .start_method(method)
                .spawn(below, ())
                .unwrap();
            supervisor = process.join().unwrap()[0];
        }
        let last = Process::spawn(|()| os::sleep_for_ever(), ()).unwrap();
        os::send(supervisor, Signal::KILL);
        assert!(last.wait().supervisor_died());
    }
    ExitCode::SUCCESS
}

fn main_runs_once() {
    let path = std::env::temp_dir().join(format!("procession-it-{}-main", std::process::id()));
    std::fs::write(&path, "").unwrap();
    let program = Program::start_with("main_once", &[], |command| {
        command.env(COUNTER, &path);
    });
    program.succeed();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let count = |word: &str| text.lines().filter(|line| *line == word).count();
    assert_eq!(count("after"), 1, "main went on in a child");
    // What stands before `init` runs once more for each supervisor and each `Spawn`.
    assert!(count("before") > 1);
}

/// Waits for children of its own, of which there are none.
fn own_wait(arguments: &[String]) -> ExitCode {
    let no_children = -libc::ECHILD;
    if arguments.iter().any(|argument| argument == "ignore") {
        os::ignore(libc::SIGCHLD);
    }
    let mut gate = Gate::new();
    for method in StartMethod::all() {
        let start = |code: i32| {
            let builder = Process::builder().start_method(method);
            let argument = (gate.entrance(), code);
            let process = builder.spawn(
                |(entrance, code): (Entrance, i32)| {
                    pass(entrance);
                    if code != 0 {
                        std::process::exit(code);
                    }
                },
                argument,
            );
            process.unwrap()
        };
        let processes = [0, 3, 5].map(start);
        same(
            "waitpid(-1) while processes run",
            os::wait_for_any(),
            no_children,
        );
        gate.open(3);
        for (process, code) in processes.iter().zip([0, 3, 5]) {
            while process.is_alive() {
                same("waitpid(-1) as they end", os::wait_for_any(), no_children);
            }
            same("exit code", process.exitcode(), Some(code));
        }
        drop(processes);
        same(
            "waitpid(-1) after they ended",
            os::wait_for_any(),
            no_children,
        );
        // A child of the program's own is its own business.
        let child = os::bare_fork(|| 9);
        if arguments.is_empty() {
            same("own child", os::exit_code_of(child), 9);
        } else {
            // The kernel reaps it: waiting for it ends with its end, and without a status.
            os::wait_for_reaped(child);
        }
    }
    ExitCode::SUCCESS
}

fn users_own_wait() {
    Program::start("own_wait", &[]).succeed();
}

fn sigchld_ignored() {
    Program::start("own_wait", &["ignore"]).succeed();
}

static REAPED: AtomicU32 = AtomicU32::new(0);

extern "C" fn reap_everything(_: i32) {
    while os::wait_for_any() > 0 {
        REAPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn own_handler(_: &[String]) -> ExitCode {
    os::handle(libc::SIGCHLD, reap_everything);
    for method in StartMethod::all() {
        for code in 0..20 {
            let builder = Process::builder().start_method(method);
            let process = builder
                .spawn(|code| -> () { std::process::exit(code) }, code)
                .unwrap();
            let own = os::bare_fork(|| 0);
            assert_ne!(own, 0);
            same("exit code", process.wait().code(), Some(code));
        }
    }
    eventually("own children are reaped by the handler", || {
        match REAPED.load(Ordering::Relaxed) {
            60 => Ok(()),
            count => Err(format!("{count} of 60")),
        }
    });
    ExitCode::SUCCESS
}

fn sigchld_handled() {
    Program::start("own_handler", &[]).succeed();
}

/// Blocked, ignored and caught signals of this process; those of libc itself left out.
fn signal_settings() -> (u64, u64, u64) {
    let internal = 0b11 << 31;
    let crash_handlers = 1 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1);
    let caught = procfs::own_mask("SigCgt") & !internal & !crash_handlers;
    (
        procfs::own_mask("SigBlk"),
        // Some who start programs ignore all there is.
        procfs::own_mask("SigIgn") & !internal,
        caught,
    )
}

fn odd_signals(_: &[String]) -> ExitCode {
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGUSR1,
        libc::SIGCHLD,
        libc::SIGALRM,
    ] {
        os::ignore(signal);
    }
    os::set_default(libc::SIGPIPE);
    os::handle(libc::SIGUSR2, reap_everything);
    os::block_all();
    // As any Rust program begins: nothing blocked, only SIGPIPE ignored.
    let clean = (0, 1 << (libc::SIGPIPE - 1), 0);
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        let start = || Process::builder().start_method(method);
        let found = start()
            .spawn(|()| signal_settings(), ())
            .unwrap()
            .join()
            .unwrap();
        same("blocked, ignored and caught signals", found, clean);
        let below = start().spawn(
            |()| {
                Process::spawn(|()| signal_settings(), ())
                    .unwrap()
                    .join()
                    .unwrap()
            },
            (),
        );
        same(
            "those of a grandchild",
            below.unwrap().join().unwrap(),
            clean,
        );
        let process = start().spawn(|()| os::sleep_for_ever(), ()).unwrap();
        process.terminate().unwrap();
        same("the end", process.wait().exitcode(), -15);
    }
    // A forked process has what its parent has.
    let forked = Process::builder().fork(signal_settings).unwrap();
    same(
        "those of a forked process",
        forked.join().unwrap(),
        signal_settings(),
    );
    ExitCode::SUCCESS
}

fn odd_signal_settings() {
    Program::start("odd_signals", &[]).succeed();
}

/// Goes on although its file is gone.
fn deleted(arguments: &[String]) -> ExitCode {
    let [path] = arguments else {
        return ExitCode::FAILURE;
    };
    // Once before the first supervisor, and once for a second one.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, "#!/bin/sh\nexit 1\n").unwrap();
    for _ in 0..2 {
        for method in StartMethod::all() {
            let process = Process::builder()
                .start_method(method)
                .spawn(|n: u64| n + 1, 1);
            same("value", process.unwrap().join().unwrap(), 2);
        }
        let supervisor = Process::spawn(|()| os::ppid(), ()).unwrap().join().unwrap();
        let last = Process::spawn(|()| os::sleep_for_ever(), ()).unwrap();
        os::send(supervisor, Signal::KILL);
        assert!(last.wait().supervisor_died());
    }
    std::fs::remove_file(path).unwrap();
    ExitCode::SUCCESS
}

fn executable_deleted() {
    let copy = std::env::temp_dir().join(format!("procession-it-{}-copy", std::process::id()));
    std::fs::copy("/proc/self/exe", &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args([
        procession_testkit::program::ROLE,
        "deleted",
        copy.to_str().unwrap(),
    ]);
    assert!(command.status().unwrap().success());
    assert!(!copy.exists());
}

/// Works without standard streams; says so with its exit code alone.
fn closed(arguments: &[String]) -> ExitCode {
    if arguments
        .first()
        .is_some_and(|argument| argument == "itself")
    {
        (0..3).for_each(os::close);
    }
    for method in StartMethod::all() {
        let start = || Process::builder().start_method(method);
        let Ok(process) = start().spawn(|n: u64| n + 1, 1) else {
            return ExitCode::from(2);
        };
        if process.join().ok() != Some(2) {
            return ExitCode::from(3);
        }
        let (reader, writer) = std::io::pipe().unwrap();
        let process = start()
            .stdin(reader)
            .stdout(writer)
            .spawn(|()| print!("x"), ());
        if process.unwrap().join().is_err() {
            return ExitCode::from(4);
        }
        let inherit = procession_primitives::Stdio::Inherit;
        let process = start().stdin(inherit).spawn(
            |()| {
                println!("nobody hears this");
                eprintln!("nor this");
                (0..3).filter(|fd| os::is_open(*fd)).count()
            },
            (),
        );
        if process.unwrap().join().ok() != Some(3) && method != StartMethod::Fork {
            return ExitCode::from(5);
        }
    }
    ExitCode::SUCCESS
}

fn standard_streams_closed() {
    let line = "exec /proc/$PPID/exe --be-the-program closed 0<&- 1>&- 2>&-";
    let status = Command::new("sh").args(["-c", line]).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

fn standard_streams_closed_by_itself() {
    let mut program = Program::start("closed", &["itself"]);
    assert_eq!(program.line(), "");
    assert_eq!(program.finish().code(), Some(0));
}
