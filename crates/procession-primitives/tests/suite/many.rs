//! Many processes at once.

use procession_primitives::StartMethod;
use procession_testkit::gate::{Bell, Ear, Entrance, Gate, pass, ring};
use procession_testkit::{os, procfs};

use super::with;

pub(super) fn two_hundred_and_fifty_six(method: StartMethod) {
    let (mut gate, mut ear) = (Gate::new(), Ear::new());
    let start = |number: u32| {
        let argument = (number, ear.bell(), gate.entrance());
        let process = with(method).spawn(
            |(number, bell, entrance): (u32, Bell, Entrance)| {
                ring(bell);
                pass(entrance);
                number * number
            },
            argument,
        );
        process.unwrap()
    };
    let processes: Vec<_> = (0..256).map(start).collect();
    ear.hear(256);
    assert!(processes.iter().all(|process| process.is_alive()));
    gate.open(256);
    for (number, process) in (0..256).zip(processes) {
        assert_eq!(process.join().unwrap(), number * number);
    }
}

pub(super) fn a_hundred_terminated_at_once(method: StartMethod) {
    let processes: Vec<_> = (0..100)
        .map(|_| {
            let process = with(method).spawn(|()| os::sleep_for_ever(), ()).unwrap();
            process.terminate().unwrap();
            process
        })
        .collect();
    for process in &processes {
        assert_eq!(process.wait().exitcode(), -15);
    }
    let processes: Vec<_> = (0..100)
        .map(|_| {
            with(method)
                .spawn(|()| -> () { os::sleep_for_ever() }, ())
                .unwrap()
        })
        .collect();
    for process in &processes {
        process.terminate().unwrap();
    }
    for process in &processes {
        assert_eq!(process.wait().exitcode(), -15);
    }
}

pub(super) fn same_descriptors(method: StartMethod) {
    let mut gate = Gate::new();
    let processes: Vec<_> = (0..5)
        .map(|_| {
            let process = with(method).spawn(
                |entrance: Entrance| {
                    let count = procfs::descriptors(std::process::id());
                    pass(entrance);
                    count
                },
                gate.entrance(),
            );
            process.unwrap()
        })
        .collect();
    gate.open(5);
    let counts: Vec<usize> = processes
        .into_iter()
        .map(|process| process.join().unwrap())
        .collect();
    let fork_inherits = method == StartMethod::Fork;
    assert!(
        fork_inherits || counts.windows(2).all(|two| two[0] == two[1]),
        "{counts:?}"
    );
}
