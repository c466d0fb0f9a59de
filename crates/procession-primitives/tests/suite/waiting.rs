//! Joining, in all its forms.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use procession_primitives::{Phase, ProcessError, StartMethod};
use procession_testkit::gate::{Bell, Ear, Entrance, Gate, pass, ring};
use procession_testkit::{eventually, os};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use rustix::time::Timespec;

use super::{death, with};

pub(super) fn join_timeout(method: StartMethod) {
    let mut gate = Gate::new();
    let process = with(method).spawn(
        |entrance: Entrance| {
            pass(entrance);
            6
        },
        gate.entrance(),
    );
    let process = process.unwrap();
    assert!(process.join_timeout(Duration::ZERO).unwrap().is_none());
    assert!(process.try_join().unwrap().is_none());
    assert!(process.join_deadline(Instant::now()).unwrap().is_none());
    let before = Instant::now();
    assert!(
        process
            .join_timeout(Duration::from_millis(20))
            .unwrap()
            .is_none()
    );
    assert!(before.elapsed() >= Duration::from_millis(20));
    assert!(process.wait_timeout(Duration::from_millis(1)).is_none());
    assert!(process.try_wait().is_none());
    assert!(process.is_alive());
    assert_eq!(process.exitcode(), None);
    gate.open(1);
    assert_eq!(process.join_timeout(Duration::MAX).unwrap(), Some(6));
    assert_eq!(process.exitcode(), Some(0));
}

pub(super) fn value_is_taken_once(method: StartMethod) {
    let process = with(method).spawn(|()| "once".to_owned(), ()).unwrap();
    process.wait();
    assert_eq!(process.try_join().unwrap().as_deref(), Some("once"));
    assert!(matches!(
        process.try_join(),
        Err(ProcessError::AlreadyJoined)
    ));
    assert!(matches!(process.join(), Err(ProcessError::AlreadyJoined)));
    // A death is taken once as well.
    let process = with(method)
        .spawn(|()| os::raise(libc::SIGKILL), ())
        .unwrap();
    process.wait();
    assert_eq!(death(process.try_join()).phase(), Phase::Running);
    assert!(matches!(
        process.try_join(),
        Err(ProcessError::AlreadyJoined)
    ));
    assert_eq!(process.exitcode(), Some(-9));
}

fn poll(fd: impl AsFd, limit: Option<Timespec>) -> bool {
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut polled, limit.as_ref()).unwrap() == 1
}

pub(super) fn sentinel(method: StartMethod) {
    let mut gate = Gate::new();
    let process = with(method).spawn(pass, gate.entrance()).unwrap();
    assert!(!poll(process.sentinel(), Some(Timespec::default())));
    gate.open(1);
    assert!(poll(process.sentinel(), None));
    assert!(process.wait().success());
    assert!(poll(process.sentinel(), Some(Timespec::default())));
}

static INTERRUPTIONS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_interruption(_: i32) {
    INTERRUPTIONS.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn interrupted_join(method: StartMethod) {
    INTERRUPTIONS.store(0, Ordering::Relaxed);
    os::handle(libc::SIGUSR1, count_interruption);
    let process = with(method).spawn(
        |parent: u32| {
            for _ in 0..50 {
                os::send(parent, Signal::USR1);
                std::thread::sleep(Duration::from_millis(1));
            }
            7
        },
        std::process::id(),
    );
    assert_eq!(process.unwrap().join().unwrap(), 7);
    assert!(INTERRUPTIONS.load(Ordering::Relaxed) > 0);
    os::set_default(libc::SIGUSR1);
}

pub(super) fn drop_detaches(method: StartMethod) {
    fn answer((entrance, bell): (Entrance, Bell)) {
        pass(entrance);
        ring(bell);
    }
    let (mut gate, mut ear) = (Gate::new(), Ear::new());
    let pid = {
        let process = with(method)
            .spawn(answer, (gate.entrance(), ear.bell()))
            .unwrap();
        process.pid()
    };
    let is_mine = || {
        procession_primitives::active_children()
            .iter()
            .any(|child| child.pid() == pid)
    };
    assert!(is_mine());
    gate.open(1);
    ear.hear(1);
    eventually("the dropped process ends", || {
        if is_mine() {
            Err("it runs".to_owned())
        } else {
            Ok(())
        }
    });
    // Also one that has ended before, and one whose value nobody will ask for.
    let ended = with(method).spawn(|()| vec![1; 100_000], ()).unwrap();
    ended.wait();
    drop(ended);
    drop(with(method).spawn(|()| vec![1; 100_000], ()).unwrap());
    let mut text = String::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    drop(
        with(method)
            .stdout(writer)
            .spawn(|()| print!("still here"), ())
            .unwrap(),
    );
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
}
