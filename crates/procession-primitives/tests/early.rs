//! Processes under libtest, which calls no `init()`: children come in before `main`.

use procession_primitives::{
    Phase, Process, ProcessError, SendFd, StartError, StartMethod, Stdio, active_children,
    current_process, parent_process,
};

fn square(n: u64) -> u64 {
    n * n
}

#[test]
fn value() {
    assert_eq!(Process::spawn(square, 12).unwrap().join().unwrap(), 144);
}

#[test]
fn closure() {
    let process = Process::spawn(
        |(a, b): (String, u8)| format!("{a}{b}"),
        ("x".to_owned(), 1),
    );
    assert_eq!(process.unwrap().join().unwrap(), "x1");
}

#[test]
fn spawn_method() {
    let builder = Process::builder().start_method(StartMethod::Spawn);
    assert_eq!(builder.spawn(square, 5).unwrap().join().unwrap(), 25);
}

#[test]
fn many_at_once() {
    let processes: Vec<_> = (0..40)
        .map(|n| Process::spawn(square, n).unwrap())
        .collect();
    for (n, process) in (0..).zip(processes) {
        assert_eq!(process.join().unwrap(), n * n);
    }
}

#[test]
fn panic() {
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        const LINE: u32 = line!() + 2;
        let start = Process::builder().stderr(Stdio::Null).start_method(method);
        let process = start.spawn(|n: u64| -> () { panic!("no {n}") }, 3).unwrap();
        let Err(ProcessError::Panicked(panic)) = process.join() else {
            panic!("no panic")
        };
        assert_eq!(panic.message(), "no 3");
        assert_eq!(
            (panic.location().file(), panic.location().line()),
            (file!(), LINE)
        );
    }
}

#[test]
fn exit_code() {
    for code in [0, 1, 7, 255] {
        let process = Process::spawn(|code| -> () { std::process::exit(code) }, code).unwrap();
        assert_eq!(process.wait().code(), Some(code));
        let Err(ProcessError::Died(death)) = process.join() else {
            panic!("no death")
        };
        assert_eq!(
            (death.exit_code(), death.phase()),
            (Some(code), Phase::Running)
        );
    }
}

#[test]
fn abort() {
    let start = || Process::builder().stderr(Stdio::Null);
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        let process = start()
            .start_method(method)
            .spawn(|()| -> () { std::process::abort() }, ());
        assert_eq!(process.unwrap().wait().exitcode(), -6);
    }
}

#[test]
fn nested() {
    fn below(depth: u32) -> Vec<String> {
        let me = current_process().unwrap().name().to_owned();
        assert!(parent_process().is_some_and(|parent| parent.is_alive()));
        let mut names = match depth {
            0 => Vec::new(),
            _ => Process::builder()
                .name(format!("level {depth}"))
                .spawn(below, depth - 1)
                .unwrap()
                .join()
                .unwrap(),
        };
        names.push(me);
        names
    }
    let process = Process::builder().name("top").spawn(below, 3).unwrap();
    assert_eq!(
        process.join().unwrap(),
        ["level 1", "level 2", "level 3", "top"]
    );
}

#[test]
fn killed() {
    let process = Process::spawn(
        |()| loop {
            std::thread::park();
        },
        (),
    );
    let process: Process<()> = process.unwrap();
    let pid = process.pid();
    assert!(active_children().iter().any(|child| child.pid() == pid));
    process.kill().unwrap();
    assert_eq!(process.wait().exitcode(), -9);
    assert!(!active_children().iter().any(|child| child.pid() == pid));
}

#[test]
fn threads_in_a_child() {
    let process = Process::spawn(
        |count: u64| {
            let threads: Vec<_> = (0..count).map(|n| std::thread::spawn(move || n)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<u64>()
        },
        20,
    );
    assert_eq!(process.unwrap().join().unwrap(), 190);
}

#[test]
fn standard_library_works() {
    let process = Process::spawn(
        |()| {
            let child = std::process::Command::new("echo")
                .arg("below")
                .output()
                .unwrap();
            let arguments = std::env::args().count();
            (
                String::from_utf8_lossy(&child.stdout).into_owned(),
                arguments > 0,
            )
        },
        (),
    );
    assert_eq!(
        process.unwrap().join().unwrap(),
        ("below\n".to_owned(), true)
    );
}

#[test]
fn descriptor() {
    use std::io::{Read, Write};
    let (mut reader, writer) = std::io::pipe().unwrap();
    let process = Process::spawn(
        |pipe: SendFd<std::io::PipeWriter>| pipe.into_inner().write_all(b"through").unwrap(),
        SendFd::new(writer),
    );
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    process.unwrap().join().unwrap();
    assert_eq!(text, "through");
}

#[test]
fn fork_is_refused() {
    // libtest runs tests in threads.
    let refused = Process::builder().fork(|| 1);
    assert!(
        matches!(refused, Err(StartError::Threads(2..))),
        "{refused:?}"
    );
}
