//! `Barrier`: passing, breaking, and parties that die.

use std::thread;
use std::time::{Duration, Instant};

use procession_primitives::Process;
use procession_sync::{Array, Barrier, BarrierError};
use procession_testkit::{Case, cases, eventually, ledger, os, stop};
use rustix::process::Signal;

use crate::barrier;
use crate::support::{await_sleep, await_waits, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![barrier:
        barrier_s18, wait_return_s19, action_s20, abort_s21, reset_s22, abort_and_reset_s23,
        timeout_s24, default_timeout_s25, single_thread_s26, thousand_s27, panic_in_the_action,
        killed_at_the_barrier, killed_on_the_way_to_it, killed_before_anybody_waits,
        killed_in_a_fork_on_the_way_to_it, killed_in_the_action, successful_end_breaks_nothing,
        death_after_passing, stopped_party_times_out, exec_of_a_party, action_among_threads,
        reset_of_an_empty_one, more_parties_than_places, text,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);
const PARTIES: u32 = 5;

/// Four processes that run `party`, and this one; what came of all.
fn five<R>(barrier: &Barrier, party: fn(Barrier) -> R) -> Vec<R>
where
    R: serde::Serialize + serde::de::DeserializeOwned,
{
    let others = [0; 4].map(|_| start(party, barrier.clone()));
    let mine = party(barrier.clone());
    let mut all: Vec<R> = others.into_iter().map(|one| one.join().unwrap()).collect();
    all.push(mine);
    all
}

fn passes(barrier: Barrier) -> bool {
    barrier.wait().is_ok()
}

#[track_caller]
fn check_whole(barrier: &Barrier) {
    assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
    assert_eq!(five(barrier, passes), [true; 5]);
}

fn barrier_s18() {
    let barrier = Barrier::new(PARTIES).unwrap();
    check_whole(&barrier);
    let ten = |(barrier, turns): (Barrier, Array<u32>)| {
        for turn in 0..10 {
            turns.lock().unwrap()[turn] += 1;
            barrier.wait().unwrap();
            assert_eq!(turns.lock().unwrap()[turn], PARTIES);
        }
    };
    let turns = Array::new(10).unwrap();
    let others = [0; 4].map(|_| start(ten, (barrier.clone(), turns.clone())));
    ten((barrier.clone(), turns));
    for other in others {
        other.join().unwrap();
    }
    assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
}

fn wait_return_s19() {
    let barrier = Barrier::new(PARTIES).unwrap();
    for _ in 0..3 {
        let mut places = five(&barrier, |barrier| barrier.wait().unwrap());
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3, 4]);
    }
}

/// For actions, which have no arguments.
const RUNS: u32 = procession_testkit::birth::COUNT;

fn count_run() {
    ledger::note(RUNS);
}

fn action_s20() {
    let barrier = Barrier::with_action(PARTIES, count_run).unwrap();
    for round in 1..=5 {
        let seen = five(&barrier, |barrier| {
            barrier.wait().unwrap();
            ledger::get(RUNS)
        });
        assert_eq!(seen, [round; 5]);
    }
}

fn action_among_threads() {
    let barrier = Barrier::with_action(6, count_run).unwrap();
    let rounds = |barrier: Barrier| {
        for round in 0..300 {
            barrier.wait().unwrap();
            assert!([round + 1, round + 2].contains(&ledger::get(RUNS)));
        }
    };
    let other = start(
        |barrier: Barrier| {
            thread::scope(|scope| {
                let run = || {
                    for _ in 0..300 {
                        barrier.wait().unwrap();
                    }
                };
                let _threads = [0; 3].map(|_| scope.spawn(run));
            });
        },
        barrier.clone(),
    );
    thread::scope(|scope| {
        let _threads = [0; 3].map(|_| scope.spawn(|| rounds(barrier.clone())));
    });
    other.join().unwrap();
    assert_eq!(ledger::get(RUNS), 300);
}

fn abort_s21() {
    let barrier = Barrier::new(PARTIES).unwrap();
    let others = [0; 4].map(|_| start(passes, barrier.clone()));
    await_waits(4);
    barrier.abort().unwrap();
    assert!(others.into_iter().all(|other| !other.join().unwrap()));
    assert!(barrier.is_broken());
    assert_eq!(barrier.wait(), Err(BarrierError::Broken));
    barrier.reset().unwrap();
    check_whole(&barrier);
}

fn reset_s22() {
    let barrier = Barrier::new(PARTIES).unwrap();
    let others = [0; 4].map(|_| start(passes, barrier.clone()));
    eventually("four wait", || match barrier.n_waiting() {
        4 => Ok(()),
        found => Err(found.to_string()),
    });
    barrier.reset().unwrap();
    assert!(others.into_iter().all(|other| !other.join().unwrap()));
    check_whole(&barrier);
}

fn abort_and_reset_s23() {
    let barriers = [0; 2].map(|_| Barrier::new(PARTIES).unwrap());
    let party = |[first, second]: [Barrier; 2]| {
        let broken = first.wait() == Err(BarrierError::Broken);
        if second.wait() == Ok(0) {
            first.reset().unwrap();
        }
        second.wait().unwrap();
        broken && first.wait().is_ok()
    };
    let others = [0; 4].map(|_| start(party, barriers.clone()));
    await_waits(4);
    barriers[0].abort().unwrap();
    assert!(party(barriers));
    assert!(others.into_iter().all(|other| other.join().unwrap()));
}

fn timeout_s24() {
    let barrier = Barrier::new(PARTIES).unwrap();
    let others = [0; 4].map(|_| {
        start(
            |barrier: Barrier| barrier.wait_timeout(SHORT).is_ok(),
            barrier.clone(),
        )
    });
    assert!(others.into_iter().all(|other| !other.join().unwrap()));
    assert_eq!(barrier.wait(), Err(BarrierError::Broken));
    assert_eq!(
        barrier.wait_deadline(Instant::now()),
        Err(BarrierError::Broken)
    );
    barrier.reset().unwrap();
    check_whole(&barrier);
}

fn default_timeout_s25() {
    let barrier = Barrier::with_timeout(PARTIES, SHORT).unwrap();
    let others = [0; 4].map(|_| start(passes, barrier.clone()));
    assert!(others.into_iter().all(|other| !other.join().unwrap()));
    assert_eq!(barrier.wait(), Err(BarrierError::Broken));
}

fn single_thread_s26() {
    let barrier = Barrier::new(1).unwrap();
    assert_eq!((barrier.wait(), barrier.wait()), (Ok(0), Ok(0)));
    assert_eq!(barrier.wait_timeout(Duration::ZERO), Ok(0));
    let barrier = Barrier::with_action(1, count_run).unwrap();
    barrier.wait().unwrap();
    assert_eq!(ledger::get(RUNS), 1);
}

/// 5 × 1000 passes; nobody is a pass ahead of somebody who has not made the one before.
fn thousand_s27() {
    let party = |(barrier, passed, mine): (Barrier, Array<u32>, usize)| {
        for turn in 0..1000 {
            barrier.wait().unwrap();
            let mut passed = passed.lock().unwrap();
            passed[mine] += 1;
            let all = passed.iter().all(|one| (turn..=turn + 2).contains(one));
            assert!(all, "turn {turn}: {:?}", &*passed);
        }
    };
    let (barrier, passed) = (Barrier::new(PARTIES).unwrap(), Array::new(5).unwrap());
    let others = [0, 1, 2, 3].map(|one| start(party, (barrier.clone(), passed.clone(), one)));
    party((barrier, passed, 4));
    for other in others {
        other.join().unwrap();
    }
}

fn panic_in_the_action() {
    let barrier = Barrier::with_action(2, || panic!("as it should")).unwrap();
    let parties = [0; 2].map(|_| start(|barrier: Barrier| barrier.wait().ok(), barrier.clone()));
    let [one, other] = parties.map(Process::join);
    let broken = |found: &Result<Option<u32>, _>| matches!(found, Ok(None));
    // The one that ran it has the panic, the other one has the news.
    assert!(one.is_err() != other.is_err(), "{one:?} {other:?}");
    assert!(broken(&one) || broken(&other), "{one:?} {other:?}");
    assert!(barrier.is_broken());
    barrier.reset().unwrap();
    assert_eq!(barrier.n_waiting(), 0);
}

#[track_caller]
fn check_broken_by_death(barrier: &Barrier) {
    assert_eq!(barrier.wait(), Err(BarrierError::Broken));
    assert!(barrier.is_broken());
    barrier.reset().unwrap();
    check_whole(barrier);
}

fn killed_at_the_barrier() {
    let barrier = Barrier::new(PARTIES).unwrap();
    let others = [0; 3].map(|_| start(passes, barrier.clone()));
    await_waits(3);
    kill(&others[1]);
    let [one, _, other] = others;
    assert!(!one.join().unwrap() && !other.join().unwrap());
    check_broken_by_death(&barrier);
}

/// Has the barrier, and never comes.
fn late((_barrier, there): (Barrier, u32)) {
    report_and_hang(there);
}

/// Others wait for a party that is killed elsewhere.
fn killed_on_the_way_to_it() {
    let (barrier, there) = (Barrier::new(PARTIES).unwrap(), word());
    let others = [0; 3].map(|_| start(passes, barrier.clone()));
    let victim = start(late, (barrier.clone(), there));
    ledger::wait(there);
    await_waits(3);
    kill(&victim);
    assert!(others.into_iter().all(|other| !other.join().unwrap()));
    check_broken_by_death(&barrier);
}

/// As above, but those that wait for it come later.
fn killed_before_anybody_waits() {
    let (barrier, there) = (Barrier::new(PARTIES).unwrap(), word());
    let victim = start(late, (barrier.clone(), there));
    ledger::wait(there);
    kill(&victim);
    check_broken_by_death(&barrier);
}

/// The fork has the barrier in its memory, without having been sent it.
pub(crate) fn killed_in_a_fork_on_the_way_to_it() {
    let (barrier, there) = (Barrier::new(2).unwrap(), word());
    let child = Process::builder().fork(|| {
        ledger::set(there, 1);
        os::sleep_for_ever();
        barrier.wait().is_ok()
    });
    let child = child.unwrap();
    ledger::wait(there);
    let other = start(passes, barrier.clone());
    await_waits(1);
    kill(&child);
    assert!(!other.join().unwrap());
    assert!(barrier.is_broken());
}

fn hang() {
    count_run();
    os::sleep_for_ever();
}

fn killed_in_the_action() {
    let barrier = Barrier::with_action(2, hang).unwrap();
    let first = start(|barrier: Barrier| barrier.wait().ok(), barrier.clone());
    await_waits(1);
    let second = start(|barrier: Barrier| barrier.wait().ok(), barrier.clone());
    ledger::wait(RUNS);
    kill(&second);
    assert_eq!(first.join().unwrap(), None);
    assert!(barrier.is_broken());
}

/// Who ends as it should is not missed: nobody knows who was to come.
fn successful_end_breaks_nothing() {
    let barrier = Barrier::new(2).unwrap();
    let other = start(passes, barrier.clone());
    await_waits(1);
    start(|_: Barrier| (), barrier.clone()).join().unwrap();
    let leaves = |_: Barrier| -> () { std::process::exit(0) };
    start(leaves, barrier.clone()).wait();
    assert!(!barrier.is_broken());
    assert_eq!(barrier.wait(), Ok(1));
    assert!(other.join().unwrap());
}

fn pass_and_hang((barrier, there): (Barrier, u32)) {
    barrier.wait().unwrap();
    drop(barrier);
    report_and_hang(there);
}

/// Once a party has no handle any more, its death is nobody's business.
fn death_after_passing() {
    let (barrier, there) = (Barrier::new(2).unwrap(), word());
    let other = start(pass_and_hang, (barrier.clone(), there));
    barrier.wait().unwrap();
    ledger::wait(there);
    let second = start(passes, barrier.clone());
    await_waits(1);
    kill(&other);
    assert!(barrier.wait().is_ok());
    assert!(second.join().unwrap());
}

fn stopped_party_times_out() {
    let barrier = Barrier::new(3).unwrap();
    let stopped = start(passes, barrier.clone());
    await_waits(1);
    await_sleep(&stopped);
    stop(stopped.pid());
    // It has arrived: the others need not wait for it, and pass.
    let other = start(passes, barrier.clone());
    assert!(barrier.wait().is_ok());
    assert!(other.join().unwrap());
    // In the next round it has not left.
    assert_eq!(barrier.wait_timeout(SHORT), Err(BarrierError::Broken));
    os::send(stopped.pid(), Signal::CONT);
    stopped.wait();
    barrier.reset().unwrap();
    assert!(!barrier.is_broken());
}

fn exec_at_the_barrier((barrier, go): (Barrier, u32)) {
    let waiter = thread::spawn(move || barrier.wait());
    ledger::wait(go);
    let _still_waits = waiter;
    os::become_sleep();
}

fn exec_of_a_party() {
    let (barrier, go) = (Barrier::new(3).unwrap(), word());
    let victim = start(exec_at_the_barrier, (barrier.clone(), go));
    let other = start(passes, barrier.clone());
    await_waits(2);
    ledger::set(go, 1);
    assert!(!other.join().unwrap());
    assert!(barrier.is_broken());
    kill(&victim);
}

fn reset_of_an_empty_one() {
    let barrier = Barrier::new(PARTIES).unwrap();
    barrier.reset().unwrap();
    check_whole(&barrier);
    barrier.abort().unwrap();
    barrier.abort().unwrap();
    assert!(barrier.is_broken());
    barrier.reset().unwrap();
    barrier.reset().unwrap();
    check_whole(&barrier);
}

fn more_parties_than_places() {
    let barrier = Barrier::new(12).unwrap();
    for _ in 0..3 {
        let others: Vec<_> = (0..11).map(|_| start(passes, barrier.clone())).collect();
        assert!(barrier.wait().is_ok());
        assert!(others.into_iter().all(|other| other.join().unwrap()));
    }
    let others: Vec<_> = (0..10).map(|_| start(passes, barrier.clone())).collect();
    await_waits(10);
    kill(&others[9]);
    let survivors = others.into_iter().take(9);
    assert!(survivors.into_iter().all(|other| !other.join().unwrap()));
}

fn text() {
    let barrier = Barrier::new(2).unwrap();
    let text = format!("{barrier:?}");
    for part in ["parties: 2", "n_waiting: 0", "broken: false"] {
        assert!(text.contains(part), "{text}");
    }
}
