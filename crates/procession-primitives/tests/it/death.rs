//! Deaths at the worst moments: of the supervisor, of many at once, of whoever is waited for.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession_primitives::{
    Family, FamilyError, Phase, Process, ProcessError, StartError, StartMethod,
};
use procession_testkit::gate::{Bell, Ear, Entrance, Gate, pass, ring};
use procession_testkit::program::{Program, Run};
use procession_testkit::{Case, cases, eventually, os, procfs, runner, same};
use rustix::process::Signal;

use crate::death;

pub(crate) const PROGRAMS: &[(&str, Run)] = &[("unsupervised", unsupervised)];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = cases![death:
        supervisor_killed, supervisor_killed_while_idle, supervisor_stopped_and_killed,
        supervisor_ignores_other_signals, supervisor_killed_in_a_storm,
        processes_killed_in_a_storm, killed_at_every_moment, latency,
        many_threads, garbage_on_the_line, starter_ends_first, join_from_many_threads, nested_deaths,
    ]
    .into();
    // A supervisor that is killed takes its processes with it, but not what they have started.
    let known = cases![death: descendants_of_the_unsupervised];
    cases.extend(known.map(Case::ignored));
    cases
}

fn supervisor() -> u32 {
    Process::spawn(|()| os::ppid(), ()).unwrap().join().unwrap()
}

/// Kills the supervisor and waits until it is dead: whoever asks it before may learn of its death.
fn end(supervisor: u32) {
    os::send(supervisor, Signal::KILL);
    eventually(
        "the supervisor is dead",
        || match procfs::state_and_parent(supervisor) {
            None | Some(('Z' | 'X', _)) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

fn sleeping(method: StartMethod) -> Process<()> {
    let builder = Process::builder().start_method(method);
    builder.spawn(|()| os::sleep_for_ever(), ()).unwrap()
}

const FRESH: [StartMethod; 2] = [StartMethod::ForkServer, StartMethod::Spawn];

fn supervisor_killed() {
    let supervisor = supervisor();
    let mut ear = Ear::new();
    let below = |(bell, other): (Bell, Bell)| {
        let _child = Process::spawn(
            |bell| {
                ring(bell);
                os::sleep_for_ever();
            },
            bell,
        );
        ring(other);
        os::sleep_for_ever();
    };
    let mut processes = Vec::new();
    for method in FRESH {
        for _ in 0..4 {
            let builder = Process::builder().start_method(method);
            processes.push(builder.spawn(below, (ear.bell(), ear.bell())).unwrap());
        }
    }
    ear.hear(16);
    let kept = processes.pop().unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> = processes
            .into_iter()
            .map(|process| scope.spawn(|| process.join()))
            .collect();
        os::send(supervisor, Signal::KILL);
        for waiter in waiters {
            let Err(ProcessError::Died(death)) = waiter.join().unwrap() else {
                panic!("no death")
            };
            assert!(death.status().supervisor_died(), "{death}");
            assert_eq!((death.signal(), death.exit_code()), (None, None));
            assert_eq!(death.phase(), Phase::Running);
            assert_eq!(death.status().exitcode(), 255);
        }
    });
    // The one that nobody waited for.
    assert!(kept.wait().supervisor_died());
    assert!(!kept.is_alive());
    // All are gone, those below as well.
    assert_eq!(ear.until_end(), "");
    let next = Process::spawn(|n: u64| n + 1, 1).unwrap();
    assert_eq!(next.join().unwrap(), 2);
    assert_ne!(self::supervisor(), supervisor);
}

fn supervisor_killed_while_idle() {
    for method in FRESH {
        let supervisor = supervisor();
        // What was delivered before is not lost.
        let done = Process::spawn(|()| vec![3_u8; 100_000], ()).unwrap();
        done.wait();
        end(supervisor);
        let builder = Process::builder().start_method(method);
        let next = builder.spawn(|n: u64| n + 1, 1).unwrap();
        assert_eq!(next.join().unwrap(), 2);
        assert_eq!(done.join().unwrap(), vec![3; 100_000]);
    }
}

/// Killed while a request is on its way.
fn supervisor_stopped_and_killed() {
    for _ in 0..10 {
        let supervisor = supervisor();
        let running = sleeping(StartMethod::ForkServer);
        os::send(supervisor, Signal::STOP);
        thread::scope(|scope| {
            let starting = scope.spawn(|| Process::spawn(|n: u64| n + 1, 1));
            let waiting = scope.spawn(|| running.join());
            os::send(supervisor, Signal::KILL);
            match starting.join().unwrap() {
                Ok(process) => assert_eq!(value_or_cause(process.join()), Some(2)),
                Err(error) => assert!(is_supervisors(&error), "{error}"),
            }
            assert_eq!(value_or_cause(waiting.join().unwrap()), None);
        });
    }
}

/// Ctrl+C goes to the whole group: the supervisor follows the program, not the signal.
fn supervisor_ignores_other_signals() {
    let supervisor = supervisor();
    for signal in [
        Signal::INT,
        Signal::TERM,
        Signal::HUP,
        Signal::QUIT,
        Signal::PIPE,
    ] {
        os::send(supervisor, signal);
    }
    assert_eq!(self::supervisor(), supervisor);
}

fn value_or_cause<R>(outcome: Result<R, ProcessError>) -> Option<R> {
    match outcome {
        Ok(value) => Some(value),
        Err(ProcessError::Died(death)) if death.status().supervisor_died() => None,
        Err(error) => panic!("{error}"),
    }
}

fn is_supervisors(error: &StartError) -> bool {
    matches!(
        error,
        StartError::Family(FamilyError::SupervisorDied | FamilyError::SupervisorNotReady(_))
    )
}

/// A number that differs from run to run, below `limit`.
fn dice(limit: u64) -> u64 {
    static STATE: AtomicU32 = AtomicU32::new(0);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec;
    let state = STATE.fetch_add(0x9E37_79B9, Ordering::Relaxed);
    let mixed = (now.cast_unsigned() ^ u64::from(state)).wrapping_mul(0x2545_F491_4F6C_DD1D);
    (mixed >> 33) % limit
}

fn supervisor_killed_in_a_storm() {
    let (values, deaths, refusals) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let over = AtomicBool::new(false);
    let mut kills = 0;
    thread::scope(|scope| {
        for worker in 0..4_u32 {
            let (values, deaths, refusals, over) = (&values, &deaths, &refusals, &over);
            scope.spawn(move || {
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let method = FRESH[(n % 4 == 3) as usize];
                    let large = vec![worker; if n % 3 == 0 { 20_000 } else { 2 }];
                    let builder = Process::builder().start_method(method);
                    let started =
                        builder.spawn(|(n, vec): (u32, Vec<u32>)| (n + 1, vec), (n, large.clone()));
                    match started {
                        Ok(process) => match value_or_cause(process.join()) {
                            Some(value) => {
                                assert!(value == (n + 1, large));
                                values.fetch_add(1, Ordering::Relaxed);
                            }
                            None => {
                                deaths.fetch_add(1, Ordering::Relaxed);
                            }
                        },
                        Err(error) => {
                            assert!(is_supervisors(&error), "{error}");
                            refusals.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if let Some(supervisor) = find_supervisor() {
                thread::sleep(Duration::from_micros(dice(30_000)));
                os::send(supervisor, Signal::KILL);
                kills += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let count = |word: &AtomicU32| word.load(Ordering::Relaxed);
    println!(
        "storm: {kills} supervisors killed, {} values, {} deaths, {} refusals",
        count(&values),
        count(&deaths),
        count(&refusals)
    );
    assert!(count(&values) > 0);
    assert_eq!(
        Process::spawn(|n: u64| n + 1, 1).unwrap().join().unwrap(),
        2
    );
}

/// The living supervisor of this program, if there is one: nobody's child, with its name and marker.
fn find_supervisor() -> Option<u32> {
    let marked = procfs::with_variable(&runner::marker()?);
    marked.iter().copied().find(|pid| {
        procfs::comm(*pid) == "procession"
            && procfs::state_and_parent(*pid)
                .is_some_and(|(state, parent)| state != 'Z' && !marked.contains(&parent))
    })
}

/// Kills its supervisor while its processes have descendants, and goes on.
#[allow(clippy::zombie_processes, reason = "the sleeper is left to itself")]
fn unsupervised(_: &[String]) -> ExitCode {
    let mut ear = Ear::new();
    let process = Process::spawn(
        |bell| {
            let mut sleeper = std::process::Command::new("setsid");
            sleeper.args(["sleep", "1000"]).spawn().unwrap();
            ring(bell);
            os::sleep_for_ever();
        },
        ear.bell(),
    );
    let process = process.unwrap();
    ear.hear(1);
    os::send(supervisor(), Signal::KILL);
    assert!(process.wait().supervisor_died());
    assert_eq!(
        Process::spawn(|n: u64| n + 1, 1).unwrap().join().unwrap(),
        2
    );
    ExitCode::SUCCESS
}

fn descendants_of_the_unsupervised() {
    Program::start("unsupervised", &[]).succeed();
}

/// Processes that are killed while they start, work and deliver: one exact outcome each.
fn processes_killed_in_a_storm() {
    let (values, deaths) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for worker in 0..4_u32 {
            let (values, deaths) = (&values, &deaths);
            scope.spawn(move || {
                for n in 0..150_u32 {
                    let method = FRESH[usize::from(worker == 3)];
                    let builder = Process::builder().start_method(method);
                    let process = builder
                        .spawn(|bytes: Vec<u32>| bytes, vec![n; 20_000])
                        .unwrap();
                    thread::sleep(Duration::from_micros(dice(3_000)));
                    process.kill().unwrap();
                    match process.join() {
                        Ok(value) => {
                            assert!(value == vec![n; 20_000]);
                            values.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(ProcessError::Died(death)) => {
                            assert_eq!(death.signal(), Some(9), "{death}");
                            deaths.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let count = |word: &AtomicU32| word.load(Ordering::Relaxed);
    println!(
        "storm: {} values, {} deaths",
        count(&values),
        count(&deaths)
    );
    assert_eq!(count(&values) + count(&deaths), 600);
}

/// From the very start on: 0 to 2 ms after it, in steps of 10 µs.
fn killed_at_every_moment() {
    for method in FRESH {
        for step in 0..200 {
            let builder = Process::builder().start_method(method);
            let process = builder.spawn(|n: u64| n, 5).unwrap();
            let until = Instant::now() + Duration::from_micros(step * 10);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            process.kill().unwrap();
            let status = process.wait();
            match process.join() {
                Ok(5) => {}
                Err(ProcessError::Died(death)) => {
                    assert_eq!(death.signal(), Some(9), "{death}");
                    assert_eq!(death.status(), status);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Prints how long it takes from SIGKILL until `join` returns. Expects nothing of it.
fn latency() {
    for method in FRESH {
        let mut times: Vec<Duration> = (0..100)
            .map(|_| {
                let mut ear = Ear::new();
                let builder = Process::builder().start_method(method);
                let process = builder.spawn(
                    |bell| {
                        ring(bell);
                        os::sleep_for_ever();
                    },
                    ear.bell(),
                );
                let process = process.unwrap();
                ear.hear(1);
                let pid = process.pid();
                let waiter = thread::spawn(move || {
                    let status = process.wait();
                    let end = Instant::now();
                    assert_eq!(status.exitcode(), -9);
                    end
                });
                thread::sleep(Duration::from_millis(1));
                let begun = Instant::now();
                os::send(pid, Signal::KILL);
                waiter.join().unwrap().duration_since(begun)
            })
            .collect();
        times.sort_unstable();
        println!(
            "latency: {method:?}: from SIGKILL to join: median {:?}, 95 of 100 below {:?}, worst {:?}",
            times[50], times[95], times[99]
        );
    }
}

fn many_threads() {
    thread::scope(|scope| {
        for worker in 0..8_u32 {
            scope.spawn(move || {
                let method = FRESH[usize::from(worker == 7)];
                let start = |n: u32| {
                    let builder = Process::builder().start_method(method);
                    builder.spawn(|n: u32| n * 2, n + worker).unwrap()
                };
                let processes: Vec<_> = (0..50).map(start).collect();
                for (n, process) in (0..50).zip(processes) {
                    assert_eq!(process.join().unwrap(), (n + worker) * 2);
                }
            });
        }
    });
}

fn starter_ends_first() {
    for method in FRESH {
        let mut gate = Gate::new();
        let entrance = gate.entrance();
        let starter = thread::spawn(move || {
            let builder = Process::builder().start_method(method);
            let process = builder.spawn(
                |entrance: Entrance| {
                    pass(entrance);
                    8
                },
                entrance,
            );
            process.unwrap()
        });
        let process = starter.join().unwrap();
        assert!(process.is_alive());
        gate.open(1);
        assert_eq!(process.join().unwrap(), 8);
    }
}

fn join_from_many_threads() {
    let mut gate = Gate::new();
    let process = Process::spawn(pass, gate.entrance()).unwrap();
    let takers = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| match process.join_timeout(Duration::MAX) {
                Ok(Some(())) => {
                    takers.fetch_add(1, Ordering::Relaxed);
                }
                Err(ProcessError::AlreadyJoined) => {}
                other => panic!("{other:?}"),
            });
            scope.spawn(|| assert!(process.wait().success()));
        }
        gate.open(1);
    });
    assert_eq!(takers.load(Ordering::Relaxed), 1);
}

/// A process whose own children die in all ways gets their causes, and gives them on.
fn nested_deaths() {
    let causes = Process::spawn(
        |()| {
            let start = |signal: i32| Process::spawn(os::raise, signal).unwrap();
            let signals = [libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM];
            signals.map(start).map(|process| process.wait().exitcode())
        },
        (),
    );
    assert_eq!(causes.unwrap().join().unwrap(), [-9, -11, -15]);
    let family = Family::current().unwrap();
    eventually("the heap is as before", || {
        match family.arena().heap_usage(family).0 {
            0 => Ok(()),
            units => Err(format!("{units} units are used")),
        }
    });
}

/// F60: who writes garbage to the supervisor is ended, and nobody else feels it.
fn garbage_on_the_line() {
    let bystander = Process::builder().daemon(true);
    let bystander = bystander.spawn(|()| os::sleep_for_ever(), ()).unwrap();
    for junk in [vec![0xff_u8; 9], vec![1], vec![7; 60_000]] {
        let writer = Process::spawn(
            |junk: Vec<u8>| {
                let is_socket = |fd: &i32| {
                    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
                    link.is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
                };
                for fd in (3..64).filter(is_socket) {
                    // Never reading an answer, until the other side is gone.
                    while os::write_to(fd, &junk) {}
                }
                os::sleep_for_ever();
            },
            junk,
        );
        let status = writer.unwrap().wait();
        same("signal", status.signal().map(i32::from), Some(9));
        same(
            "value",
            Process::spawn(|n: u64| n, 1).unwrap().join().unwrap(),
            1,
        );
    }
    assert!(bystander.is_alive());
    bystander.kill().unwrap();
    bystander.wait();
}
