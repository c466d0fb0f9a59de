//! Parents, children and what becomes of the latter.

use std::process::Command;

use procession_primitives::{StartMethod, active_children, current_process, parent_process};
use procession_testkit::gate::{Bell, Ear, Entrance, Gate, pass, ring};
use procession_testkit::{eventually, os, procfs};

use super::{index, method, with};

type Facts = (u32, String, bool, Option<(u32, String, bool)>, usize);

fn facts(entrance: Entrance) -> Facts {
    pass(entrance);
    let me = current_process().unwrap();
    let parent = parent_process().map(|of| (of.pid(), of.name().to_owned(), of.is_alive()));
    let children = active_children().len();
    assert!(me.is_alive());
    assert_eq!(me.pid(), std::process::id());
    (
        me.pid(),
        me.name().to_owned(),
        me.is_daemon(),
        parent,
        children,
    )
}

pub(super) fn who_is_who(method: StartMethod) {
    let mut gate = Gate::new();
    let me = current_process().unwrap();
    assert_eq!((me.pid(), me.name()), (std::process::id(), "MainProcess"));
    assert!(me.is_alive() && !me.is_daemon() && parent_process().is_none());
    assert_eq!(active_children(), []);
    let named = with(method)
        .name("ßnamed")
        .daemon(true)
        .spawn(facts, gate.entrance())
        .unwrap();
    let plain = with(method).spawn(facts, gate.entrance()).unwrap();
    assert_eq!((named.name(), named.is_daemon()), ("ßnamed", true));
    assert!(plain.name().starts_with("Process-") && !plain.is_daemon());
    assert_ne!(named.id(), plain.id());
    let mut listed: Vec<_> = active_children().iter().map(|child| child.id()).collect();
    listed.sort_by_key(|id| id.slot());
    let mut started = [named.id(), plain.id()];
    started.sort_by_key(|id| id.slot());
    assert_eq!(listed, started);
    assert!(format!("{named:?}").contains("running"));
    gate.open(2);
    let parent = Some((std::process::id(), "MainProcess".to_owned(), true));
    let (pid, name) = (named.pid(), "ßnamed".to_owned());
    assert_eq!(named.join().unwrap(), (pid, name, true, parent.clone(), 0));
    let (pid, name) = (plain.pid(), plain.name().to_owned());
    assert_eq!(plain.join().unwrap(), (pid, name, false, parent, 0));
    assert_eq!(active_children(), []);
}

/// Says its path, and has two children one after the other, two levels deep.
fn recurse((how, path, bell): (usize, Vec<u8>, Bell)) {
    use std::io::Write;
    let mut writer = bell.get_ref().try_clone().unwrap();
    writer.write_all(format!("{path:?}").as_bytes()).unwrap();
    if path.len() < 2 {
        for child in 0..2 {
            let path = [path.as_slice(), &[child]].concat();
            let bell = Bell::new(bell.get_ref().try_clone().unwrap());
            let process = with(method(how)).spawn(recurse, (how, path, bell)).unwrap();
            process.join().unwrap();
        }
    }
}

pub(super) fn recursion(method: StartMethod) {
    let ear = Ear::new();
    let process = with(method)
        .spawn(recurse, (index(method), vec![], ear.bell()))
        .unwrap();
    process.join().unwrap();
    assert_eq!(ear.until_end(), "[][0][0, 0][0, 1][1][1, 0][1, 1]");
}

fn sleep_below((how, bells): (usize, Vec<Bell>)) {
    let mut bells = bells.into_iter();
    let bell = bells.next().unwrap();
    let child = (bells.len() > 0).then(|| {
        let rest: Vec<Bell> = bells.collect();
        with(method(how)).spawn(sleep_below, (how, rest)).unwrap()
    });
    ring(bell);
    let _child = child;
    os::sleep_for_ever();
}

pub(super) fn children_die_with_their_parent(method: StartMethod) {
    let mut ear = Ear::new();
    let bells = (0..3).map(|_| ear.bell()).collect();
    let process = with(method)
        .spawn(sleep_below, (index(method), bells))
        .unwrap();
    ear.hear(3);
    process.kill().unwrap();
    assert_eq!(process.wait().exitcode(), -9);
    // The pipe ends when the last of them is gone.
    assert_eq!(ear.until_end(), "");
}

/// Starts a program and leaves it to itself.
#[allow(clippy::zombie_processes, reason = "whose end is what is tested")]
fn leave_running(command: &mut Command) {
    command.spawn().unwrap();
}

/// Starts a plain child, one in a session of its own, and one of a dead parent.
fn have_descendants(bell: Bell) {
    leave_running(Command::new("sleep").arg("1000"));
    leave_running(Command::new("setsid").args(["sleep", "1000"]));
    let orphan = "setsid sleep 1000 & setsid sh -c 'setsid sleep 1000 &' &";
    Command::new("sh").args(["-c", orphan]).status().unwrap();
    ring(bell);
    os::sleep_for_ever();
}

pub(super) fn descendants_die_too(method: StartMethod) {
    let (mut ear, output) = (Ear::new(), Ear::new());
    let before = procfs::pids();
    // The sleepers hold the writing end, so the pipe ends with the last of them.
    let process = with(method)
        .stdout(output.fd())
        .spawn(have_descendants, ear.bell())
        .unwrap();
    ear.hear(1);
    eventually("four sleepers run", || {
        let is_new = |pid: &u32| !before.contains(pid) && procfs::comm(*pid) == "sleep";
        match procfs::pids().into_iter().filter(is_new).count() {
            4.. => Ok(()),
            count => Err(format!("{count} run")),
        }
    });
    process.kill().unwrap();
    assert_eq!(process.wait().exitcode(), -9);
    assert_eq!(output.until_end(), "");
    // And when it ends by itself.
    let (mut ear, output) = (Ear::new(), Ear::new());
    let mut gate = Gate::new();
    let process = with(method).stdout(output.fd()).spawn(
        |(bell, entrance): (Bell, Entrance)| {
            leave_running(Command::new("setsid").args(["sleep", "1000"]));
            ring(bell);
            pass(entrance);
        },
        (ear.bell(), gate.entrance()),
    );
    let process = process.unwrap();
    ear.hear(1);
    gate.open(1);
    process.join().unwrap();
    assert_eq!(output.until_end(), "");
}
