//! `RwLock`: many readers or one writer, any of whom may die.

use std::thread;
use std::time::Duration;

use procession_primitives::Process;
use procession_sync::{LockError, RwLock};
use procession_testkit::{Case, cases, ledger, stop};

use crate::rwlock;
use crate::support::{await_waiters, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![rwlock:
        readers_are_together, writers_see_whole_values, killed_readers_hold_nothing,
        killed_writer_is_told_to_a_reader, waiting_writer_keeps_readers_out,
        writer_that_gives_up_lets_readers_in, killed_waiting_writer_lets_readers_in,
        stopped_reader_keeps_writers_out, more_readers_than_places, deadlocks_of_one_thread,
        forked_copy_of_a_guard, text,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);
type Pair = RwLock<[u64; 2]>;

fn read_and_hang((lock, held): (Pair, u32)) {
    let _guard = lock.read().unwrap();
    report_and_hang(held);
}

fn write_and_hang((lock, held): (Pair, u32)) {
    let mut guard = lock.write().unwrap();
    guard[0] += 1;
    report_and_hang(held);
}

/// A process in the lock.
fn inside(role: fn((Pair, u32)), lock: &Pair) -> Process<()> {
    let held = word();
    let process = start(role, (lock.clone(), held));
    ledger::wait(held);
    process
}

fn pair() -> Pair {
    RwLock::new([0; 2]).unwrap()
}

fn readers_are_together() {
    let lock = pair();
    let other = inside(read_and_hang, &lock);
    let guards = (lock.read().unwrap(), lock.try_read().unwrap());
    thread::scope(|scope| {
        let more = scope.spawn(|| lock.read_timeout(SHORT).is_ok());
        assert!(more.join().unwrap());
    });
    assert!(matches!(lock.try_write(), Err(LockError::WouldBlock)));
    drop(guards);
    assert!(matches!(
        lock.write_timeout(SHORT),
        Err(LockError::TimedOut)
    ));
    kill(&other);
    drop(lock.try_write().unwrap());
}

fn change(lock: Pair) {
    for turn in 0..1000 {
        if turn % 3 == 0 {
            let mut guard = lock.write().unwrap();
            guard[0] += 1;
            guard[1] += 1;
        } else {
            let guard = lock.read().unwrap();
            assert_eq!(guard[0], guard[1]);
        }
    }
}

fn writers_see_whole_values() {
    let lock = pair();
    let others = [0; 3].map(|_| start(change, lock.clone()));
    thread::scope(|scope| {
        let _threads = [0; 2].map(|_| scope.spawn(|| change(lock.clone())));
    });
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(*lock.read().unwrap(), [5 * 334; 2]);
}

fn killed_readers_hold_nothing() {
    let lock = pair();
    let readers = [0; 3].map(|_| inside(read_and_hang, &lock));
    let writer = start(|lock: Pair| lock.write().unwrap()[0] = 5, lock.clone());
    await_waiters(&lock, 1);
    readers.iter().for_each(kill);
    writer.join().unwrap();
    // A reader's death is no news.
    assert_eq!(lock.read().unwrap()[0], 5);
}

fn killed_writer_is_told_to_a_reader() {
    let lock = pair();
    kill(&inside(write_and_hang, &lock));
    let Err(LockError::OwnerDied(guard)) = lock.try_read() else {
        panic!("the writer died");
    };
    assert_eq!(*guard, [1, 0]);
    assert!(matches!(lock.read(), Err(LockError::Inconsistent(_))));
    drop(guard);
    let Err(LockError::Inconsistent(mut guard)) = lock.write() else {
        panic!("nobody has repaired it");
    };
    *guard = [1, 1];
    guard.mark_consistent();
    drop(guard);
    assert_eq!(*lock.read().unwrap(), [1, 1]);
}

fn waiting_writer_keeps_readers_out() {
    let lock = pair();
    let guard = lock.read().unwrap();
    let writer = start(|lock: Pair| lock.write().unwrap()[0] = 5, lock.clone());
    await_waiters(&lock, 1);
    // It has entered its name by the time when it sleeps; until then a reader may come in.
    while lock.try_read().is_ok() {
        thread::yield_now();
    }
    assert!(matches!(lock.read_timeout(SHORT), Err(LockError::TimedOut)));
    drop(guard);
    writer.join().unwrap();
    assert_eq!(lock.try_read().unwrap()[0], 5);
}

fn writer_that_gives_up_lets_readers_in() {
    let lock = pair();
    let guard = lock.read().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| lock.write_timeout(4 * SHORT).is_err());
        while lock.try_read().is_ok() {
            thread::yield_now();
        }
        // This reader waits behind the writer, and must be told when it goes.
        let reader = scope.spawn(|| lock.read().is_ok());
        assert!(reader.join().unwrap());
        assert!(writer.join().unwrap());
    });
    drop(guard);
    drop(lock.try_write().unwrap());
}

fn killed_waiting_writer_lets_readers_in() {
    let lock = pair();
    let guard = lock.read().unwrap();
    let writer = start(|lock: Pair| drop(lock.write()), lock.clone());
    while lock.try_read().is_ok() {
        thread::yield_now();
    }
    let reader = start(|lock: Pair| lock.read().unwrap()[0], lock.clone());
    await_waiters(&lock, 2);
    kill(&writer);
    assert_eq!(reader.join().unwrap(), 0);
    drop(guard);
    drop(lock.try_write().unwrap());
}

fn stopped_reader_keeps_writers_out() {
    let lock = pair();
    let other = inside(read_and_hang, &lock);
    stop(other.pid());
    start(|()| (), ()).join().unwrap();
    assert!(matches!(lock.try_write(), Err(LockError::WouldBlock)));
    assert!(matches!(
        lock.write_timeout(SHORT),
        Err(LockError::TimedOut)
    ));
    drop(lock.read().unwrap());
    kill(&other);
    drop(lock.write().unwrap());
}

fn more_readers_than_places() {
    let lock = pair();
    let readers: Vec<_> = (0..12).map(|_| inside(read_and_hang, &lock)).collect();
    for one in &readers {
        assert!(matches!(lock.try_write(), Err(LockError::WouldBlock)));
        drop(lock.read().unwrap());
        kill(one);
    }
    drop(lock.try_write().unwrap());
}

fn deadlocks_of_one_thread() {
    let lock = pair();
    let guard = lock.write().unwrap();
    assert!(matches!(lock.read(), Err(LockError::Deadlock)));
    assert!(matches!(lock.write(), Err(LockError::Deadlock)));
    assert!(matches!(lock.try_read(), Err(LockError::Deadlock)));
    assert!(matches!(
        lock.write_timeout(SHORT),
        Err(LockError::Deadlock)
    ));
    drop(guard);
    drop(lock.write().unwrap());
}

fn forked_copy_of_a_guard() {
    let lock = pair();
    let mut guard = Some(lock.read().unwrap());
    let child = Process::builder().fork(|| {
        guard = None;
        lock.try_write().is_err()
    });
    assert!(child.unwrap().join().unwrap());
    assert!(lock.try_write().is_err());
    drop(guard);
    drop(lock.try_write().unwrap());
}

fn text() {
    let lock = pair();
    let other = inside(read_and_hang, &lock);
    let text = format!("{lock:?}");
    assert!(text.contains("writer: none"), "{text}");
    assert!(text.contains(&format!("({}, 1)", other.pid())), "{text}");
    kill(&other);
    let text = format!("{lock:?}");
    assert!(text.contains("read_by_pid: []"), "{text}");
}
