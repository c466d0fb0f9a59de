//! Streams, environment, directory, descriptors, exit handlers.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use procession_primitives::{StartMethod, Stdio};
use procession_testkit::gate::Ear;
use procession_testkit::os;

use super::{quiet, with};

pub(super) fn streams(method: StartMethod) {
    let (out, err) = (Ear::new(), Ear::new());
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"from the pipe").unwrap();
    drop(writer);
    let process = with(method)
        .stdin(reader)
        .stdout(out.fd())
        .stderr(err.fd())
        .spawn(
            |()| {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).unwrap();
                println!("read {text:?}");
                eprintln!("to the other");
            },
            (),
        );
    process.unwrap().join().unwrap();
    assert_eq!(out.until_end(), "read \"from the pipe\"\n");
    assert_eq!(err.until_end(), "to the other\n");
    // A panic is told on the standard error of the process, too.
    let err = Ear::new();
    let process = with(method)
        .stderr(err.fd())
        .spawn(|()| -> () { panic!("loud") }, ());
    assert!(process.unwrap().join().is_err());
    assert!(err.until_end().contains("loud"));
}

fn leads_to(fd: u32) -> String {
    let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    target.display().to_string()
}

pub(super) fn stdin_is_null(method: StartMethod) {
    let process = with(method)
        .stdout(Stdio::Null)
        .spawn(|()| (leads_to(0), leads_to(1), leads_to(2)), ());
    let expected = ("/dev/null".to_owned(), "/dev/null".to_owned(), leads_to(2));
    assert_eq!(process.unwrap().join().unwrap(), expected);
    let process = with(method)
        .stdin(Stdio::Inherit)
        .spawn(|()| leads_to(0), ())
        .unwrap();
    assert_eq!(process.join().unwrap(), leads_to(0));
}

fn look(names: Vec<String>) -> (Vec<Option<String>>, String) {
    let here = std::env::current_dir().unwrap().display().to_string();
    (
        names.iter().map(|name| std::env::var(name).ok()).collect(),
        here,
    )
}

pub(super) fn environment_and_directory(method: StartMethod) {
    let names = || {
        ["PATH", "IT_ADDED", "IT_REMOVED", "PROCESSION_CHILD"]
            .map(str::to_owned)
            .to_vec()
    };
    os::set_variable("IT_REMOVED", "here");
    let path = std::env::var("PATH").unwrap();
    let changed = with(method)
        .env("IT_ADDED", "äöü=x")
        .env_remove("IT_REMOVED")
        .current_dir("/usr");
    let found = changed.spawn(look, names()).unwrap().join().unwrap();
    let expected = vec![Some(path.clone()), Some("äöü=x".to_owned()), None, None];
    assert_eq!(found, (expected, "/usr".to_owned()));
    let cleared = with(method)
        .env("IT_ADDED", "1")
        .env_clear()
        .env("IT_REMOVED", "2");
    let found = cleared.spawn(look, names()).unwrap().join().unwrap();
    let here = std::env::current_dir().unwrap().display().to_string();
    assert_eq!(
        found,
        (vec![None, None, Some("2".to_owned()), None], here.clone())
    );
    // This process's own are as they were.
    assert_eq!(
        look(names()),
        (vec![Some(path), None, Some("here".to_owned()), None], here)
    );
    os::remove_variable("IT_REMOVED");
    // No directory: the function does not run, and the error says so.
    let nowhere = quiet(method)
        .current_dir("/nowhere/at/all")
        .spawn(|()| 5, ());
    assert!(nowhere.unwrap().join().is_err());
}

pub(super) fn changes_are_seen(method: StartMethod) {
    let names = || vec!["IT_LATER".to_owned(), "IT_EARLIER".to_owned()];
    let before = std::env::current_dir().unwrap();
    let seen = || with(method).spawn(look, names()).unwrap().join().unwrap();
    assert_eq!(seen(), look(names()));
    os::set_variable("IT_LATER", "since the supervisor runs");
    std::env::set_current_dir("/usr").unwrap();
    assert_eq!(seen(), look(names()));
    assert_eq!(seen().1, "/usr");
    std::env::set_current_dir(&before).unwrap();
    os::remove_variable("IT_LATER");
    assert_eq!(seen(), look(names()));
}

pub(super) fn descriptors_are_closed(method: StartMethod) {
    let (reader, _writer) = std::io::pipe().unwrap();
    let raw = os::inheritable_copy(reader.as_raw_fd(), 57);
    let open = |()| (3..200).filter(|fd| os::is_open(*fd)).count();
    assert!(
        !with(method)
            .spawn(os::is_open, raw)
            .unwrap()
            .join()
            .unwrap()
    );
    let count = with(method).spawn(open, ()).unwrap().join().unwrap();
    // Also by a supervisor that was started while it was open.
    let supervisor = with(StartMethod::ForkServer)
        .spawn(|()| os::ppid(), ())
        .unwrap();
    let supervisor = supervisor.join().unwrap();
    let last = with(method).spawn(|()| os::sleep_for_ever(), ()).unwrap();
    os::send(supervisor, rustix::process::Signal::KILL);
    assert!(last.wait().supervisor_died());
    assert!(
        !with(method)
            .spawn(os::is_open, raw)
            .unwrap()
            .join()
            .unwrap()
    );
    assert_eq!(with(method).spawn(open, ()).unwrap().join().unwrap(), count);
    os::close(raw);
}

extern "C" fn farewell() {
    println!("deadbeef");
}

pub(super) fn exit_handlers_run(method: StartMethod) {
    for code in [None, Some(3)] {
        let out = Ear::new();
        let process = with(method).stdout(out.fd()).spawn(
            |code: Option<i32>| {
                os::at_exit(farewell);
                if let Some(code) = code {
                    std::process::exit(code);
                }
            },
            code,
        );
        assert_eq!(process.unwrap().wait().code(), Some(code.unwrap_or(0)));
        assert_eq!(out.until_end(), "deadbeef\n");
    }
}

pub(super) fn output_is_flushed(method: StartMethod) {
    let out = Ear::new();
    let process = with(method)
        .stdout(out.fd())
        .spawn(|()| print!("no end of line"), ());
    process.unwrap().join().unwrap();
    assert_eq!(out.until_end(), "no end of line");
}
