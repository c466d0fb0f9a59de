//! Who holds what, who waits, and who waits for whom.

use procession_primitives::Process;
use procession_sync::inspect::{find_deadlock, holdings, waiters};
use procession_sync::{Event, Lock, Mutex, RwLock};
use procession_testkit::{Case, cases, eventually};

use crate::inspect;

pub(crate) fn cases() -> Vec<Case> {
    cases![inspect: names_holders, names_waiters, the_dead_are_told_apart, finds_a_circle,
        a_chain_is_no_circle]
    .into()
}

/// Takes `first`, says so, then wants `second`.
fn take_both((first, second, taken, go): (Mutex<u32>, Mutex<u32>, Event, Event)) {
    let _first = first.lock().unwrap();
    taken.set();
    go.wait();
    drop(second.lock());
}

pub(crate) fn names_holders() {
    let (lock, table) = (Lock::new().unwrap(), RwLock::new(1_u8).unwrap());
    assert_eq!(holdings(), []);
    let (_held, _written) = (lock.acquire().unwrap(), table.write().unwrap());
    let mut kinds: Vec<_> = holdings()
        .into_iter()
        .inspect(|holding| assert!(holding.alive && holding.pid == std::process::id()))
        .map(|holding| holding.kind)
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["Lock", "RwLock"]);
}

pub(crate) fn names_waiters() {
    let lock = Lock::new().unwrap();
    let held = lock.acquire().unwrap();
    let child = Process::spawn(|lock: Lock| drop(lock.acquire().unwrap()), lock.clone()).unwrap();
    let waiter = eventually("the child waits", || {
        let mut waiters = waiters();
        waiters.pop().ok_or_else(|| "nobody".to_owned())
    });
    assert_eq!(waiter.pid, child.pid());
    assert_eq!(waiter.object, holdings()[0].object);
    assert!(format!("{lock:?}").contains("waiters: 1"), "{lock:?}");
    drop(held);
    child.join().unwrap();
    assert_eq!(waiters(), []);
}

pub(crate) fn the_dead_are_told_apart() {
    let lock = Lock::new().unwrap();
    let child = Process::spawn(
        |lock: Lock| std::mem::forget(lock.acquire().unwrap()),
        lock.clone(),
    );
    child.unwrap().join().unwrap();
    let holdings = holdings();
    assert_eq!(holdings.len(), 1);
    assert!(!holdings[0].alive);
    assert!(lock.acquire().is_err_and(|error| error.is_taken()));
}

pub(crate) fn finds_a_circle() {
    let (one, other) = (Mutex::new(1_u32).unwrap(), Mutex::new(2_u32).unwrap());
    let (first, second) = (Event::new().unwrap(), Event::new().unwrap());
    let go = Event::new().unwrap();
    let start = |a: &Mutex<u32>, b: &Mutex<u32>, taken: &Event| {
        let argument = (a.clone(), b.clone(), taken.clone(), go.clone());
        Process::spawn(take_both, argument).unwrap()
    };
    let children = [start(&one, &other, &first), start(&other, &one, &second)];
    assert!(first.wait() && second.wait());
    assert_eq!(find_deadlock(), None);
    go.set();
    let found = eventually("both wait", || {
        find_deadlock().ok_or_else(|| "none".to_owned())
    });
    let mut pids: Vec<_> = found.steps.iter().map(|step| step.pid).collect();
    let mut expected = children.each_ref().map(|child| child.pid());
    pids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(pids, expected);
    assert!(found.steps.iter().all(|step| step.kind == "Mutex"));
    assert!(found.to_string().contains("waits for Mutex"), "{found}");
    let [killed, survivor] = children;
    killed.kill().unwrap();
    survivor.join().unwrap();
    assert_eq!(find_deadlock(), None);
}

pub(crate) fn a_chain_is_no_circle() {
    let (one, other) = (Mutex::new(1_u32).unwrap(), Mutex::new(2_u32).unwrap());
    let (taken, go) = (Event::new().unwrap(), Event::new().unwrap());
    let held = other.lock().unwrap();
    let argument = (one.clone(), other.clone(), taken.clone(), go.clone());
    let child = Process::spawn(take_both, argument).unwrap();
    assert!(taken.wait());
    go.set();
    eventually("the child waits", || match waiters().len() {
        1 => Ok(()),
        count => Err(format!("{count} wait")),
    });
    assert_eq!(find_deadlock(), None);
    drop(held);
    child.join().unwrap();
}
