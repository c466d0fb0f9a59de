//! `Condition`: waits, notifications and time-outs, with every kind of lock.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use procession_sync::{Array, Atomic, Condition, Lock, Mutex, RLock, Value};
use procession_testkit::{Case, cases, eventually};

use crate::condition;
use crate::support::{await_waiters, start};

pub(crate) fn cases() -> Vec<Case> {
    cases![condition:
        notify_s09, notify_all_s10, notify_n_s11, timeout_s12, wait_for_s13, wait_for_timeout_s14,
        wait_result_s15, all_levels_of_an_rlock_are_let_go_of, with_a_lock, with_a_value_and_an_array,
        order_of_waiting, a_place_given_up_is_not_given_up_twice, more_waiters_than_places,
        notification_and_timeout_race, notify_without_the_lock, one_condition_for_two_locks,
        back_and_forth,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Room {
    lock: Mutex<u64>,
    changed: Condition,
    woken: Atomic<u32>,
}

impl Room {
    fn new() -> Room {
        Room {
            lock: Mutex::new(0).unwrap(),
            changed: Condition::new().unwrap(),
            woken: Atomic::new(0).unwrap(),
        }
    }

    fn sleeper(&self) {
        let mut guard = self.lock.lock().unwrap();
        self.changed.wait(&mut guard).unwrap();
        self.woken.fetch_add(1, Relaxed);
    }

    fn notify(&self, count: usize) {
        let _guard = self.lock.lock().unwrap();
        self.changed.notify_many(count).unwrap();
    }

    /// Waits until so many have come back, and nobody else is about to.
    #[track_caller]
    fn await_woken(&self, woken: u32, sleepers: usize) {
        eventually("they come back", || match self.woken.load(Relaxed) {
            found if found == woken => Ok(()),
            found => Err(format!("{found} were woken, not {woken}")),
        });
        await_waiters(&self.changed, sleepers);
        assert_eq!(self.woken.load(Relaxed), woken);
    }

    /// Waits until so many wait and have let go of the lock.
    #[track_caller]
    fn await_sleepers(&self, count: usize) {
        await_waiters(&self.changed, count);
        drop(self.lock.lock().unwrap());
    }

    /// Runs `body` while three processes and three threads wait.
    fn with_six(&self, body: impl FnOnce()) {
        let others = [0; 3].map(|_| start(|room: Room| room.sleeper(), self.clone()));
        thread::scope(|scope| {
            let _threads = [0; 3].map(|_| scope.spawn(|| self.sleeper()));
            self.await_sleepers(6);
            body();
        });
        for other in others {
            other.join().unwrap();
        }
        self.await_woken(6, 0);
    }
}

fn notify_s09() {
    let room = Room::new();
    let other = start(|room: Room| room.sleeper(), room.clone());
    thread::scope(|scope| {
        scope.spawn(|| room.sleeper());
        room.await_sleepers(2);
        assert_eq!(room.woken.load(Relaxed), 0);
        room.notify(1);
        room.await_woken(1, 1);
        room.notify(1);
        room.await_woken(2, 0);
    });
    other.join().unwrap();
    // Nobody is there to be woken, and nobody later is.
    room.notify(1);
    let mut guard = room.lock.lock().unwrap();
    assert!(!room.changed.wait_timeout(&mut guard, SHORT).unwrap());
}

fn gives_up(room: Room) -> bool {
    let mut guard = room.lock.lock().unwrap();
    room.changed.wait_timeout(&mut guard, SHORT).unwrap()
}

fn notify_all_s10() {
    let room = Room::new();
    let others = [0; 3].map(|_| start(gives_up, room.clone()));
    thread::scope(|scope| {
        let threads = [0; 3].map(|_| scope.spawn(|| gives_up(room.clone())));
        for one in threads {
            assert!(!one.join().unwrap());
        }
    });
    for other in others {
        assert!(!other.join().unwrap());
    }
    room.with_six(|| room.notify(usize::MAX));
}

fn notify_n_s11() {
    let room = Room::new();
    room.with_six(|| {
        room.notify(2);
        room.await_woken(2, 4);
        room.notify(4);
        room.await_woken(6, 0);
        room.notify(3);
        room.await_woken(6, 0);
    });
}

fn timeout_s12() {
    let room = Room::new();
    let begun = Instant::now();
    assert!(!gives_up(room.clone()));
    assert!(begun.elapsed() >= SHORT);
    let mut guard = room.lock.lock().unwrap();
    assert!(
        !room
            .changed
            .wait_timeout(&mut guard, Duration::ZERO)
            .unwrap()
    );
    assert!(!room.changed.wait_deadline(&mut guard, begun).unwrap());
    drop(guard);
    room.await_woken(0, 0);
}

fn wait_for_s13() {
    let until_four = |room: Room| {
        let mut guard = room.lock.lock().unwrap();
        room.changed
            .wait_for(&mut guard, |state| **state == 4)
            .unwrap();
        *guard
    };
    let room = Room::new();
    let other = start(until_four, room.clone());
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(1));
        *room.lock.lock().unwrap() += 1;
        room.changed.notify().unwrap();
    }
    assert_eq!(other.join().unwrap(), 4);
}

fn wait_for_timeout_s14() {
    let until_four = |room: Room| {
        let (begun, timeout) = (Instant::now(), Duration::from_millis(100));
        let mut guard = room.lock.lock().unwrap();
        let ready = room
            .changed
            .wait_for_timeout(&mut guard, timeout, |state| **state == 4);
        (ready.unwrap(), begun.elapsed() >= timeout)
    };
    let room = Room::new();
    let other = start(until_four, room.clone());
    for _ in 0..3 {
        *room.lock.lock().unwrap() += 1;
        room.changed.notify().unwrap();
    }
    assert_eq!(other.join().unwrap(), (false, true));
    *room.lock.lock().unwrap() += 1;
    assert!(until_four(room).0);
}

fn wait_result_s15() {
    let room = Room::new();
    let other = start(
        |room: Room| {
            let mut guard = room.lock.lock().unwrap();
            let long = Duration::from_secs(1000);
            room.changed.wait_timeout(&mut guard, long).unwrap()
        },
        room.clone(),
    );
    room.await_sleepers(1);
    room.notify(1);
    assert!(other.join().unwrap());
}

fn all_levels_of_an_rlock_are_let_go_of() {
    let (lock, changed) = (RLock::new().unwrap(), Condition::new().unwrap());
    let waits = |(lock, changed): (RLock, Condition)| {
        let _outer = lock.acquire().unwrap();
        let mut inner = lock.acquire().unwrap();
        changed.wait(&mut inner).unwrap();
        lock.count()
    };
    let other = start(waits, (lock.clone(), changed.clone()));
    await_waiters(&changed, 1);
    let guards = [0; 3].map(|_| lock.acquire().unwrap());
    assert_eq!(lock.count(), 3);
    changed.notify().unwrap();
    drop(guards);
    assert_eq!(other.join().unwrap(), 2);
    assert!(!lock.locked());
}

fn with_a_lock() {
    let waits = |(lock, changed): (Lock, Condition)| {
        let mut guard = lock.acquire().unwrap();
        changed.wait(&mut guard).unwrap();
        lock.try_acquire().is_err()
    };
    let (lock, changed) = (Lock::new().unwrap(), Condition::new().unwrap());
    let other = start(waits, (lock.clone(), changed.clone()));
    await_waiters(&changed, 1);
    drop(lock.acquire().unwrap());
    changed.notify_all().unwrap();
    assert!(other.join().unwrap());
}

fn with_a_value_and_an_array() {
    let waits = |(value, array, changed): (Value<u64>, Array<u64>, Condition)| {
        let mut guard = value.lock().unwrap();
        changed.wait_for(&mut guard, |value| **value == 1).unwrap();
        let mut guard = array.lock().unwrap();
        changed.wait_for(&mut guard, |array| array[2] == 1).unwrap();
    };
    let (value, array) = (Value::new(0).unwrap(), Array::new(3).unwrap());
    let changed = Condition::new().unwrap();
    let other = start(waits, (value.clone(), array.clone(), changed.clone()));
    await_waiters(&changed, 1);
    value.set(1).unwrap();
    changed.notify().unwrap();
    array.lock().unwrap()[2] = 1;
    changed.notify().unwrap();
    // The second one may have come before the wait.
    while other.is_alive() {
        changed.notify_all().unwrap();
        thread::yield_now();
    }
    other.join().unwrap();
}

/// Whoever has waited longest comes first.
fn order_of_waiting() {
    let room = Room::new();
    let place = |room: Room| {
        let mut guard = room.lock.lock().unwrap();
        room.changed.wait(&mut guard).unwrap();
        *guard += 1;
        *guard
    };
    let mut others = Vec::new();
    for count in 1..=12 {
        others.push(start(place, room.clone()));
        room.await_sleepers(count);
    }
    for (index, other) in others.into_iter().enumerate() {
        room.notify(1);
        assert_eq!(other.join().unwrap(), index as u64 + 1);
    }
}

/// Who gives up has no place any more when it gets the lock, which may be much later: somebody
/// else waits there by then.
fn a_place_given_up_is_not_given_up_twice() {
    let late = |room: Room| {
        let mut guard = room.lock.lock().unwrap();
        assert!(!room.changed.wait_timeout(&mut guard, SHORT).unwrap());
        room.changed.notify().unwrap();
    };
    let room = Room::new();
    for _ in 0..5 {
        let other = start(late, room.clone());
        await_waiters(&room.changed, 1);
        let mut guard = room.lock.lock().unwrap();
        // Its time passes, and it stands at the lock.
        thread::sleep(2 * SHORT);
        await_waiters(&room.changed, 0);
        room.changed.wait(&mut guard).unwrap();
        drop(guard);
        other.join().unwrap();
    }
}

fn more_waiters_than_places() {
    let room = Room::new();
    let rounds = |room: &Room| {
        for _ in 0..3 {
            room.sleeper();
        }
    };
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| rounds(&room));
        }
        for round in 1..=3 {
            room.await_sleepers(40);
            let guard = room.lock.lock().unwrap();
            room.changed.notify_many(15).unwrap();
            room.changed.notify_all().unwrap();
            drop(guard);
            eventually("all come back", || match room.woken.load(Relaxed) {
                woken if woken == 40 * round => Ok(()),
                woken => Err(format!("{woken}")),
            });
        }
    });
}

/// A notification at the moment of the time-out goes to it or to the other one, never to nobody.
fn notification_and_timeout_race() {
    let room = Room::new();
    let patient = |room: &Room| {
        let mut guard = room.lock.lock().unwrap();
        room.changed.wait(&mut guard).unwrap();
    };
    for round in 0..300_u64 {
        thread::scope(|scope| {
            let hasty = scope.spawn(|| {
                let mut guard = room.lock.lock().unwrap();
                let soon = Duration::from_micros(100 + round % 7);
                room.changed.wait_timeout(&mut guard, soon).unwrap()
            });
            let other = scope.spawn(|| patient(&room));
            procession_testkit::pause(Duration::from_micros(100 + round % 31));
            room.changed.notify().unwrap();
            if hasty.join().unwrap() || !other.is_finished() {
                // It may not have come to wait before the notification, too.
                while !other.is_finished() {
                    room.changed.notify().unwrap();
                    thread::yield_now();
                }
            }
            other.join().unwrap();
        });
    }
}

fn notify_without_the_lock() {
    let room = Room::new();
    let other = start(|room: Room| room.sleeper(), room.clone());
    room.await_sleepers(1);
    start(|room: Room| room.changed.notify().unwrap(), room.clone())
        .join()
        .unwrap();
    other.join().unwrap();
}

fn one_condition_for_two_locks() {
    let (one, other) = (Room::new(), Room::new());
    let other = Room {
        changed: one.changed.clone(),
        ..other
    };
    let processes = [&one, &other].map(|room| start(|room: Room| room.sleeper(), room.clone()));
    await_waiters(&one.changed, 2);
    drop((one.lock.lock().unwrap(), other.lock.lock().unwrap()));
    one.changed.notify_all().unwrap();
    for process in processes {
        process.join().unwrap();
    }
}

fn turns(room: &Room, mine: u64) {
    for _ in 0..500 {
        let mut guard = room.lock.lock().unwrap();
        let is_mine = |turn: &mut procession_sync::MutexGuard<'_, u64>| **turn % 2 == mine;
        room.changed.wait_for(&mut guard, is_mine).unwrap();
        *guard += 1;
        room.changed.notify().unwrap();
    }
}

/// Two processes in turns, with one notification for each.
fn back_and_forth() {
    let room = Room::new();
    let other = start(|room: Room| turns(&room, 1), room.clone());
    turns(&room, 0);
    other.join().unwrap();
    assert_eq!(*room.lock.lock().unwrap(), 1000);
}
