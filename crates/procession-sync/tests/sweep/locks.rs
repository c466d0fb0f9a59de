//! Victims in locks and semaphores.

use std::cell::RefCell;

use procession_primitives::Process;
use procession_sync::{Lock, RwLock, Semaphore};
use procession_testkit::{Case, ledger, sweep};

use crate::support::exclusive::{Came, Exclusive, How};
use crate::support::{await_waits, start, word};
use crate::{Sweep, cases as cases_of};

pub(crate) fn cases() -> Vec<Case> {
    let mut all = cases_of(
        "lock",
        Lock::make,
        Sweep {
            start: |lock| start(take_alone, (lock.clone(), me())),
            check: check_alone,
        },
    );
    all.extend(cases_of(
        "lock_with_a_waiter",
        Contended::<Lock>::new,
        Contended::sweep(),
    ));
    all.extend(cases_of(
        "rwlock_write_with_a_waiter",
        Contended::<RwLock<u64>>::new,
        Contended::sweep(),
    ));
    all.extend(cases_of(
        "rwlock",
        RwLock::make,
        Sweep {
            start: |lock| start(read_and_write, (lock.clone(), me())),
            check: check_alone,
        },
    ));
    all.extend(cases_of(
        "semaphore",
        || Semaphore::new(2).unwrap(),
        Sweep {
            start: |semaphore: &Semaphore| start(permit, (semaphore.clone(), me())),
            check: |semaphore: &Semaphore, steps| assert_eq!(semaphore.value(), 2, "{steps} steps"),
        },
    ));
    all.extend(cases_of(
        "semaphore_with_a_waiter",
        Permits::new,
        Sweep {
            start: Permits::start,
            check: Permits::check,
        },
    ));
    all.extend(cases_of(
        "semaphore_as_a_signal",
        || Semaphore::new(5).unwrap(),
        Sweep {
            start: |semaphore: &Semaphore| start(signal, (semaphore.clone(), me())),
            check: |semaphore: &Semaphore, steps| {
                // One was forgotten and not yet given again, at most.
                let value = semaphore.value();
                assert!([4, 5].contains(&value), "{value} permits, {steps} steps");
                if value == 4 {
                    semaphore.release().unwrap();
                }
            },
        },
    ));
    all
}

fn me() -> u32 {
    std::process::id()
}

fn take_alone((lock, tracer): (Lock, u32)) {
    sweep::begin(tracer);
    lock.take(How::Wait);
    sweep::end();
}

fn read_and_write((lock, tracer): (RwLock<u64>, u32)) {
    sweep::begin(tracer);
    drop(lock.read());
    drop(lock.write());
    sweep::end();
}

/// At most one gets the news, and then all is well.
fn check_alone<L: Exclusive>(lock: &L, steps: u64) {
    match lock.take(How::Wait) {
        Came::Clean => {}
        Came::OwnerDied => {
            assert_eq!(lock.take(How::Try), L::AFTERWARDS, "{steps} steps");
            lock.mend();
        }
        came => panic!("{came:?}, {steps} steps"),
    }
    assert_eq!(lock.take(How::Try), Came::Clean, "{steps} steps");
}

/// A lock that the victim holds when the stepping begins, and one who waits for it.
struct Contended<L> {
    lock: L,
    waiter: RefCell<Option<Process<Came>>>,
}

impl<L: Exclusive> Contended<L> {
    fn new() -> Self {
        Contended {
            lock: L::make(),
            waiter: RefCell::default(),
        }
    }

    fn sweep() -> Sweep<Self> {
        Sweep {
            start: |room| {
                let held = word();
                let victim = start(let_go_and_take, (room.lock.clone(), held, me()));
                ledger::wait(held);
                let waiter = start(|lock: L| lock.take(How::Wait), room.lock.clone());
                await_waits(1);
                room.waiter.replace(Some(waiter));
                victim
            },
            check: |room, steps| {
                let waiter = room.waiter.take().unwrap();
                let came = waiter.join().unwrap();
                assert!(
                    [Came::Clean, Came::OwnerDied].contains(&came),
                    "{came:?}, {steps} steps"
                );
                if came == Came::OwnerDied {
                    room.lock.mend();
                    assert_eq!(room.lock.take(How::Wait), Came::Clean, "{steps} steps");
                }
                check_alone(&room.lock, steps);
            },
        }
    }
}

fn let_go_and_take<L: Exclusive>((lock, held, tracer): (L, u32, u32)) {
    lock.with(How::Wait, || {
        ledger::set(held, 1);
        sweep::begin(tracer);
    });
    lock.take(How::Wait);
    sweep::end();
}

fn permit((semaphore, tracer): (Semaphore, u32)) {
    sweep::begin(tracer);
    drop(semaphore.acquire());
    sweep::end();
}

fn signal((semaphore, tracer): (Semaphore, u32)) {
    sweep::begin(tracer);
    semaphore.acquire().unwrap().forget();
    semaphore.release().unwrap();
    sweep::end();
}

/// A semaphore whose last permit the victim has, and one who waits for it.
struct Permits {
    semaphore: Semaphore,
    waiter: RefCell<Option<Process<()>>>,
}

impl Permits {
    fn new() -> Permits {
        Permits {
            semaphore: Semaphore::new(1).unwrap(),
            waiter: RefCell::default(),
        }
    }

    fn start(&self) -> Process<()> {
        let held = word();
        let victim = start(give_back_and_take, (self.semaphore.clone(), held, me()));
        ledger::wait(held);
        let waiter = start(
            |one: Semaphore| drop(one.acquire().unwrap()),
            self.semaphore.clone(),
        );
        await_waits(1);
        self.waiter.replace(Some(waiter));
        victim
    }

    fn check(&self, steps: u64) {
        self.waiter.take().unwrap().join().unwrap();
        assert_eq!(self.semaphore.value(), 1, "{steps} steps");
    }
}

fn give_back_and_take((semaphore, held, tracer): (Semaphore, u32, u32)) {
    let permit = semaphore.acquire().unwrap();
    ledger::set(held, 1);
    sweep::begin(tracer);
    drop(permit);
    drop(semaphore.acquire());
    sweep::end();
}
