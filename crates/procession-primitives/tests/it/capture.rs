//! What processes write, kept and passed on.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use procession_primitives::{
    CapturedStream, Death, OutputCapture, Process, ProcessError, SendFd, StartMethod, Stdio, Tee,
    decode, encode,
};
use procession_testkit::gate::{Bell, Ear, Entrance, Gate, pass, ring};
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, eventually, os, same, stop};
use rustix::process::Signal;

use crate::capture;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[
    ("a_gigabyte", a_gigabyte),
    ("passes_on", passes_on),
    ("is_not_read", is_not_read),
    ("has_no_output", has_no_output),
];

pub(crate) fn cases() -> Vec<Case> {
    cases![capture:
        last_words, what_is_cut_off, no_utf8, a_gigabyte_passes, others_keep_it_open,
        handle_dropped, capture_dropped, many_streams, no_signals_for_the_thread, tee,
        tee_that_is_not_read, tee_to_nowhere, deaths_with_output, writers_wait_for_nobody_else,
    ]
    .into()
}

const FRESH: [StartMethod; 2] = [StartMethod::ForkServer, StartMethod::Spawn];

fn captured(capture: &OutputCapture) -> (Stdio, CapturedStream) {
    capture.stream(Tee::Off).unwrap()
}

/// Whoever knows of a death has all that was written before it.
fn last_words() {
    let capture = OutputCapture::new().unwrap();
    for method in FRESH {
        for round in 0..30_u32 {
            let (out, kept_out) = captured(&capture);
            let (err, kept_err) = captured(&capture);
            let process = Process::builder()
                .start_method(method)
                .stdout(out)
                .stderr(err)
                .spawn(
                    |round: u32| {
                        println!("out {round}");
                        eprint!("err {round}");
                        os::raise(libc::SIGKILL);
                    },
                    round,
                );
            same("the end", process.unwrap().wait().exitcode(), -9);
            same(
                "output",
                kept_out.tail().into_string(),
                format!("out {round}\n"),
            );
            let tail = kept_err.tail();
            same("errors", tail.as_str(), &format!("err {round}"));
            same("cut", tail.cut(), 0);
            same("seen", kept_err.bytes_seen(), tail.as_str().len() as u64);
        }
    }
}

fn what_is_cut_off() {
    let capture = OutputCapture::with_tail(1000).unwrap();
    let (out, kept) = captured(&capture);
    let process = Process::builder().stdout(out).spawn(
        |()| {
            for n in 0..100_000_u32 {
                println!("{n:9}");
            }
        },
        (),
    );
    process.unwrap().join().unwrap();
    let tail = kept.tail();
    same("cut", tail.cut(), 1_000_000 - 1000);
    let expected: String = (99_900..100_000).map(|n| format!("{n:9}\n")).collect();
    same("tail", tail.as_str(), expected.as_str());
    assert_eq!(
        tail.to_string(),
        format!("[999000 bytes before]\n{expected}")
    );
    same("seen", kept.bytes_seen(), 1_000_000);
    same("again", kept.tail(), tail);
}

fn no_utf8() {
    let capture = OutputCapture::with_tail(5).unwrap();
    for (written, text, cut) in [
        (&b"a\xffb"[..], "a\u{fffd}b", 0),
        ("ääää".as_bytes(), "ää", 4),
        (&b"\xbf\xbf"[..], "\u{fffd}\u{fffd}", 0),
        (b"", "", 0),
    ] {
        let (out, kept) = captured(&capture);
        let process = Process::builder().stdout(out).spawn(
            |bytes: Vec<u8>| std::io::stdout().write_all(&bytes).unwrap(),
            written.to_vec(),
        );
        process.unwrap().join().unwrap();
        let tail = kept.tail();
        same("tail", (tail.as_str(), tail.cut()), (text, cut));
    }
}

/// The most memory that this program has had resident, in kB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().strip_suffix(" kB");
    kilobytes.unwrap().parse().unwrap()
}

fn a_gigabyte(_: &[String]) -> ExitCode {
    const PIECE: usize = 1 << 20;
    let capture = OutputCapture::new().unwrap();
    let (out, kept) = captured(&capture);
    let process = Process::builder().stdout(out).spawn(
        |()| {
            let piece = vec![b'x'; PIECE];
            (0..1024).for_each(|_| std::io::stdout().write_all(&piece).unwrap());
        },
        (),
    );
    let before = peak();
    process.unwrap().join().unwrap();
    let tail = kept.tail();
    let more = peak() - before;
    same("kept", tail.as_str().len(), 64 << 10);
    same("cut", tail.cut(), (1 << 30) - (64 << 10));
    assert!(more < 16 << 10, "{more} kB");
    ExitCode::SUCCESS
}

fn a_gigabyte_passes() {
    Program::start("a_gigabyte", &[]).succeed();
}

fn others_keep_it_open() {
    let capture = OutputCapture::new().unwrap();
    let (out, kept) = captured(&capture);
    let mut ear = Ear::new();
    let process = Process::builder().stdout(out).spawn(
        |bell: Bell| {
            os::bare_fork(|| {
                os::sleep_for_ever();
                0
            });
            println!("before the bell");
            ring(bell);
            os::sleep_for_ever();
        },
        ear.bell(),
    );
    ear.hear(1);
    same("tail", kept.tail().as_str(), "before the bell\n");
    process.as_ref().unwrap().kill().unwrap();
    process.unwrap().wait();
    same("tail", kept.tail().as_str(), "before the bell\n");
    // Somebody who outlives the writer.
    let (out, kept) = captured(&capture);
    let Stdio::Fd(out) = out else {
        panic!("no descriptor")
    };
    let holder = Process::spawn(
        |fd: SendFd<std::os::fd::OwnedFd>| {
            let _fd = fd.into_inner();
            os::sleep_for_ever();
        },
        SendFd::new(out.try_clone().unwrap()),
    );
    let writer = Process::builder()
        .stdout(out)
        .spawn(|()| println!("gone"), ());
    writer.unwrap().join().unwrap();
    same("tail", kept.tail().as_str(), "gone\n");
    holder.as_ref().unwrap().kill().unwrap();
    holder.unwrap().wait();
}

/// Writes until it cannot; returns why.
fn write_on(bell: Bell) -> String {
    println!("first");
    ring(bell);
    loop {
        if let Err(error) = std::io::stdout().write_all(&[b'\n'; 5000]) {
            return format!("{:?}", error.kind());
        }
    }
}

fn handle_dropped() {
    let capture = OutputCapture::new().unwrap();
    let mut ear = Ear::new();
    let (out, kept) = captured(&capture);
    let process = Process::builder().stdout(out).spawn(write_on, ear.bell());
    ear.hear(1);
    drop(kept);
    let broken = format!("{:?}", ErrorKind::BrokenPipe);
    same("error", process.unwrap().join().unwrap(), broken);
}

fn capture_dropped() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let capture = OutputCapture::new().unwrap();
    let mut ear = Ear::new();
    let (out, kept) = captured(&capture);
    let (never, unused) = captured(&capture);
    let process = Process::builder().stdout(out).spawn(write_on, ear.bell());
    ear.hear(1);
    drop(capture);
    let broken = format!("{:?}", ErrorKind::BrokenPipe);
    same("error", process.unwrap().join().unwrap(), broken);
    let tail = kept.tail();
    assert!(tail.cut() + tail.as_str().len() as u64 >= 6);
    same(
        "seen",
        kept.bytes_seen(),
        tail.cut() + tail.as_str().len() as u64,
    );
    same("tail", unused.tail().as_str(), "");
    drop(never);
    // The kernel lists a thread that was joined for a moment longer.
    eventually("the thread is gone", || match threads() {
        now if now == before => Ok(()),
        now => Err(format!("{now} threads, {before} before")),
    });
}

/// Streams come and go while others are read.
fn many_streams() {
    let capture = OutputCapture::with_tail(100).unwrap();
    for _ in 0..3 {
        let all: Vec<_> = (0..32_u32)
            .map(|n| {
                let (out, kept) = captured(&capture);
                let process = Process::builder().stdout(out).spawn(
                    |n: u32| {
                        for line in 0..2000 {
                            println!("{n} {line}");
                        }
                    },
                    n,
                );
                (process.unwrap(), kept)
            })
            .collect();
        for (n, (process, kept)) in all.into_iter().enumerate() {
            process.join().unwrap();
            assert!(kept.tail().as_str().ends_with(&format!("\n{n} 1999\n")));
        }
    }
}

fn no_signals_for_the_thread() {
    let _capture = OutputCapture::new().unwrap();
    let mine = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let blocked = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        u64::from_str_radix(mask.unwrap().trim(), 16).unwrap()
    };
    same("own mask", blocked(&mine), 0);
    eventually("the thread is there", || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        for task in tasks {
            let status = task.unwrap().path().join("status");
            let Ok(status) = std::fs::read_to_string(status) else {
                continue;
            };
            if status.starts_with("Name:\tprocession-out\n") {
                for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD, libc::SIGPIPE] {
                    assert!(blocked(&status) & (1 << (signal - 1)) != 0, "{signal}");
                }
                return Ok(());
            }
        }
        Err("no thread of that name".to_owned())
    });
}

fn passes_on(_: &[String]) -> ExitCode {
    let capture = OutputCapture::new().unwrap();
    let prefix = |n: u32| Tee::Stdout(format!("[{n}] "));
    let (out, kept) = capture.stream(prefix(1)).unwrap();
    let process = Process::builder().stdout(out).spawn(
        |()| {
            print!("one\ntwo ");
            std::io::stdout().flush().unwrap();
            print!("words\n\nthe rest");
        },
        (),
    );
    process.unwrap().join().unwrap();
    same("tail", kept.tail().as_str(), "one\ntwo words\n\nthe rest");
    drop(kept);
    let all: Vec<_> = (2..6)
        .map(|n| {
            let (out, kept) = capture.stream(prefix(n)).unwrap();
            let process = Process::builder().stdout(out).spawn(
                |n: u32| (0..500).for_each(|line| println!("line {line} of {n}")),
                n,
            );
            (process.unwrap(), kept)
        })
        .collect();
    for (process, kept) in all {
        process.join().unwrap();
        drop(kept);
    }
    drop(capture);
    println!("end");
    ExitCode::SUCCESS
}

fn tee() {
    let mut program = Program::start("passes_on", &[]);
    for line in ["[1] one", "[1] two words", "[1]", "[1] the rest"] {
        program.expect(line);
    }
    let mut next = [0; 4];
    for _ in 0..4 * 500 {
        let line = program.line();
        let n: usize = line[1..2].parse().unwrap();
        same("line", &line, &format!("[{n}] line {} of {n}", next[n - 2]));
        next[n - 2] += 1;
    }
    program.expect("end");
    program.succeed();
}

/// Lines that no pipe holds at once.
const LINES: u32 = 80_000;

fn is_not_read(_: &[String]) -> ExitCode {
    let capture = OutputCapture::new().unwrap();
    let count = |()| (0..LINES).for_each(|line| println!("line {line}"));
    let (out, waiting) = capture.stream(Tee::Stdout("> ".to_owned())).unwrap();
    let waits = Process::builder().stdout(out).spawn(count, ()).unwrap();
    let (out, kept) = captured(&capture);
    let free = Process::builder().stdout(out).spawn(count, ()).unwrap();
    free.join().unwrap();
    let last = format!("line {}\n", LINES - 1);
    assert!(kept.tail().as_str().ends_with(&last));
    assert!(waits.is_alive());
    // Our reader reads from now on.
    let path = std::env::temp_dir().join("others-are-done");
    std::fs::write(&path, "").unwrap();
    waits.join().unwrap();
    assert!(waiting.tail().as_str().ends_with(&last));
    std::fs::remove_file(path).unwrap();
    ExitCode::SUCCESS
}

fn tee_that_is_not_read() {
    let mut program = Program::start("is_not_read", &[]);
    let path = program.folder().join("others-are-done");
    eventually("the others are done", || {
        path.exists().then_some(()).ok_or_else(String::new)
    });
    for line in 0..LINES {
        program.expect(&format!("> line {line}"));
    }
    program.expect("");
    program.succeed();
}

fn has_no_output(_: &[String]) -> ExitCode {
    let capture = OutputCapture::new().unwrap();
    let (out, kept) = capture.stream(Tee::Stderr(String::new())).unwrap();
    let count = |()| (0..LINES).for_each(|line| println!("line {line}"));
    let process = Process::builder().stdout(out).spawn(count, ()).unwrap();
    process.join().unwrap();
    let last = format!("line {}\n", LINES - 1);
    assert!(kept.tail().as_str().ends_with(&last));
    ExitCode::SUCCESS
}

fn tee_to_nowhere() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Program::start_with("has_no_output", &[], |command| {
        command.stderr(writer);
    })
    .succeed();
}

fn deaths_with_output() {
    let capture = OutputCapture::new().unwrap();
    let die = |lines: u32| {
        let (err, kept) = captured(&capture);
        let process = Process::builder().stderr(err).spawn(
            |lines: u32| -> () {
                (0..lines).for_each(|line| eprintln!("line {line}"));
                std::process::exit(3)
            },
            lines,
        );
        match process.unwrap().join() {
            Err(ProcessError::Died(death)) => (death, kept.tail().into_string()),
            other => panic!("not a death: {other:?}"),
        }
    };
    let (plain, nothing) = die(0);
    same("output", plain.stderr_tail(), None);
    same("none", plain.clone().with_output(nothing), plain.clone());
    let line = plain.to_string();
    assert!(line.ends_with("exit code 3"), "{line}");
    assert!(!format!("{plain:?}").contains("output"), "{plain:?}");

    let (death, text) = die(12);
    let death = death.with_output(text.clone());
    same("output", death.stderr_tail(), Some(text.as_str()));
    let shown = death.to_string();
    let lines: Vec<&str> = shown.lines().collect();
    same("lines", lines.len(), 11);
    same("first", lines[1], "  | line 2");
    same("last", lines[10], "  | line 11");
    assert!(lines[0].ends_with("exit code 3"), "{shown}");
    let long = plain.clone().with_output("ä".repeat(1000)).to_string();
    assert!(
        long.ends_with(&format!("\n  | {}...", "ä".repeat(240))),
        "{long}"
    );

    // They travel, and one without costs a byte.
    let encoded = |death: &Death| {
        let mut bytes = Vec::new();
        encode(death, &mut bytes).unwrap();
        bytes
    };
    for death in [&plain, &death] {
        same(
            "again",
            decode::<Death>(&encoded(death)).unwrap(),
            death.clone(),
        );
    }
    assert!(encoded(&plain).len() < 24, "{}", encoded(&plain).len());
    assert!(size_of::<Death>() <= 32);
}

/// A stopped writer, one that never writes, and the dead do not keep others from being read.
fn writers_wait_for_nobody_else() {
    let capture = OutputCapture::new().unwrap();
    let (mut ear, mut gate) = (Ear::new(), Gate::new());
    let (out, _kept_of_stopped) = captured(&capture);
    let stopped = Process::builder().stdout(out).spawn(
        |(bell, entrance): (Bell, Entrance)| {
            print!("half a line");
            std::io::stdout().flush().unwrap();
            ring(bell);
            pass(entrance);
        },
        (ear.bell(), gate.entrance()),
    );
    ear.hear(1);
    stop(stopped.as_ref().unwrap().pid());
    let (out, kept) = captured(&capture);
    let writer = Process::builder()
        .stdout(out)
        .spawn(|()| (0..LINES).for_each(|line| println!("line {line}")), ());
    writer.unwrap().join().unwrap();
    assert!(kept.tail().cut() > 0);
    os::send(stopped.as_ref().unwrap().pid(), Signal::CONT);
    gate.open(1);
    stopped.unwrap().join().unwrap();
}
