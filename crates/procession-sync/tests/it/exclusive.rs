//! What holds for everything that one thread holds at a time, above all when the holder dies.

use std::thread;
use std::time::Duration;

use procession_primitives::Process;
use procession_sync::RawValue;
use procession_testkit::dice::dice;
use procession_testkit::{Case, ledger, os, stop};
use rustix::process::Signal;

use crate::support::exclusive::{Came, Exclusive, How};
use crate::support::{await_waits, kill, report_and_hang, start, word};

/// Cases of a generic suite, for each type.
macro_rules! for_each_exclusive {
    ($($test:ident),* $(,)?) => {
        [
            for_each_exclusive!(@ "lock" procession_sync::Lock: $($test),*),
            for_each_exclusive!(@ "rlock" procession_sync::RLock: $($test),*),
            for_each_exclusive!(@ "mutex" procession_sync::Mutex<u64>: $($test),*),
            for_each_exclusive!(@ "value" procession_sync::Value<u64>: $($test),*),
            for_each_exclusive!(@ "array" procession_sync::Array<u64>: $($test),*),
            for_each_exclusive!(@ "rwlock" procession_sync::RwLock<u64>: $($test),*),
        ]
        .into_iter()
        .flatten()
        .collect()
    };
    (@ $name:literal $type:ty: $($test:ident),*) => {
        [$(procession_testkit::Case::new(
            concat!("exclusive::", $name, "::", stringify!($test)),
            $test::<$type>,
        )),*]
    };
}

pub(crate) fn cases() -> Vec<Case> {
    for_each_exclusive!(
        excludes_processes_and_threads,
        is_held_by_another_process,
        times_out_and_is_fast_again,
        killed_holding,
        killed_holding_while_others_wait,
        killed_waiting,
        woken_ones_are_killed,
        stopped_holder_keeps_it,
        exec_while_holding,
        exit_while_holding,
        panic_while_holding,
        held_by_a_thread_of_a_killed_process,
        forked_copy_of_a_guard_holds_nothing,
    )
}

const SHORT: Duration = Duration::from_millis(20);

/// Holds it until killed.
fn hold<L: Exclusive>((lock, held): (L, u32)) {
    lock.with(How::Wait, || report_and_hang(held));
}

/// A process that holds it.
fn holder<L: Exclusive>(lock: &L) -> Process<()> {
    let held = word();
    let process = start(hold::<L>, (lock.clone(), held));
    ledger::wait(held);
    process
}

/// What comes after a holder's death.
#[track_caller]
fn check_owner_died<L: Exclusive>(lock: &L) {
    assert_eq!(lock.take(How::Wait), Came::OwnerDied);
    check_after_the_news(lock);
}

/// What comes once somebody was told.
#[track_caller]
fn check_after_the_news<L: Exclusive>(lock: &L) {
    assert_eq!(lock.take(How::Try), L::AFTERWARDS);
    assert_eq!(lock.take(How::Within(SHORT)), L::AFTERWARDS);
    lock.mend();
    assert_eq!(lock.take(How::Wait), Came::Clean);
    assert_eq!(lock.take(How::Try), Came::Clean);
}

fn add<L: Exclusive>((lock, total, count): (L, RawValue<u64>, u64)) {
    for turn in 0..count {
        let how = match turn % 3 {
            0 => How::Within(Duration::from_secs(1000)),
            _ => How::Wait,
        };
        let came = lock.with(how, || total.set(total.get() + 1));
        assert_eq!(came, Came::Clean);
    }
}

/// Three processes, one of them with three threads, none of whose steps is lost.
fn excludes_processes_and_threads<L: Exclusive>() {
    const COUNT: u64 = 3000;
    let (lock, total) = (L::make(), RawValue::new(0_u64).unwrap());
    let argument = || (lock.clone(), total.clone(), COUNT);
    let others = [0; 2].map(|_| start(add::<L>, argument()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| add(argument()));
        }
    });
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(total.get(), 5 * COUNT);
}

/// S04: a lock held by a child is held for its parent and for other children.
fn is_held_by_another_process<L: Exclusive>() {
    let lock = L::make();
    let other = holder(&lock);
    assert_eq!(lock.take(How::Try), Came::WouldBlock);
    assert_eq!(lock.take(How::Within(SHORT)), Came::TimedOut);
    assert_eq!(lock.take(How::Within(Duration::ZERO)), Came::TimedOut);
    let third = start(|lock: L| lock.take(How::Try), lock.clone());
    assert_eq!(third.join().unwrap(), Came::WouldBlock);
    kill(&other);
}

fn takes_within<L: Exclusive>((lock, millis): (L, u64)) -> Came {
    lock.take(How::Within(Duration::from_millis(millis)))
}

/// A waiter that gives up, or is killed, leaves nothing behind that slows others down.
fn times_out_and_is_fast_again<L: Exclusive>() {
    let lock = L::make();
    let came = lock.with(How::Wait, || {
        let late = start(takes_within::<L>, (lock.clone(), 10));
        assert_eq!(late.join().unwrap(), Came::TimedOut);
        let killed = start(takes_within::<L>, (lock.clone(), 1_000_000));
        await_waits(1);
        kill(&killed);
        // Long enough for the next one's turn to be due.
        thread::sleep(Duration::from_millis(5));
    });
    assert_eq!(came, Came::Clean);
    // At 2 ms each the watchdog would come first.
    for _ in 0..100_000 {
        assert_eq!(lock.take(How::Wait), Came::Clean);
    }
}

fn killed_holding<L: Exclusive>() {
    let lock = L::make();
    for how in [How::Wait, How::Try, How::Within(SHORT)] {
        kill(&holder(&lock));
        assert_eq!(lock.take(how), Came::OwnerDied);
        check_after_the_news(&lock);
    }
    // Once more, where another process gets the news.
    kill(&holder(&lock));
    let third = start(|lock: L| lock.take(How::Wait), lock.clone());
    assert_eq!(third.join().unwrap(), Came::OwnerDied);
    check_after_the_news(&lock);
}

/// Of those that wait exactly one gets the news.
fn killed_holding_while_others_wait<L: Exclusive>() {
    let lock = L::make();
    let first = holder(&lock);
    let waiters: Vec<_> = (0..4)
        .map(|_| start(|lock: L| lock.take(How::Wait), lock.clone()))
        .collect();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| lock.take(How::Within(Duration::from_secs(1000)))))
            .collect();
        await_waits(6);
        kill(&first);
        let mut came: Vec<Came> = waiters.into_iter().map(|one| one.join().unwrap()).collect();
        came.extend(threads.into_iter().map(|one| one.join().unwrap()));
        let news = came.iter().filter(|came| **came == Came::OwnerDied).count();
        let rest = came.iter().filter(|came| **came == L::AFTERWARDS).count();
        assert_eq!((news, rest), (1, 5), "{came:?}");
    });
    check_after_the_news(&lock);
}

fn killed_waiting<L: Exclusive>() {
    let lock = L::make();
    let came = lock.with(How::Wait, || {
        let waiters = [0; 3].map(|_| start(|lock: L| lock.take(How::Wait), lock.clone()));
        await_waits(3);
        for waiter in &waiters {
            kill(waiter);
        }
        await_waits(0);
    });
    assert_eq!(came, Came::Clean);
    check_after_nothing(&lock);
}

#[track_caller]
fn check_after_nothing<L: Exclusive>(lock: &L) {
    assert_eq!(lock.take(How::Try), Came::Clean);
    let other = start(|lock: L| lock.take(How::Wait), lock.clone());
    assert_eq!(other.join().unwrap(), Came::Clean);
}

fn takes_and_counts<L: Exclusive>((lock, count): (L, u32)) {
    lock.with(How::Wait, || ledger::note(count));
}

/// Waiters are killed at the moment when one of them is woken; the others come in all the same.
fn woken_ones_are_killed<L: Exclusive>() {
    let lock = L::make();
    for round in 0..12 {
        let count = word();
        let mut waiters = Vec::new();
        lock.with(How::Wait, || {
            waiters = (0..4)
                .map(|_| start(takes_and_counts::<L>, (lock.clone(), count)))
                .collect::<Vec<_>>();
            await_waits(4);
        });
        let victim = waiters.swap_remove(round % 4);
        procession_testkit::pause(Duration::from_micros(dice(150)));
        kill(&victim);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        // The victim came in or did not.
        assert!([3, 4].contains(&ledger::get(count)));
        lock.mend();
        assert_eq!(lock.take(How::Wait), Came::Clean);
    }
}

/// Time-outs are what there is against a stopped process: nobody takes its lock away.
fn stopped_holder_keeps_it<L: Exclusive>() {
    let lock = L::make();
    let other = holder(&lock);
    stop(other.pid());
    // Some other death makes everybody look again.
    start(|()| (), ()).join().unwrap();
    assert_eq!(lock.take(How::Try), Came::WouldBlock);
    assert_eq!(lock.take(How::Within(SHORT)), Came::TimedOut);
    os::send(other.pid(), Signal::CONT);
    assert_eq!(lock.take(How::Within(SHORT)), Came::TimedOut);
    stop(other.pid());
    kill(&other);
    check_owner_died(&lock);
}

fn exec_holding<L: Exclusive>((lock, held): (L, u32)) {
    lock.with(How::Wait, || {
        ledger::set(held, 1);
        os::become_sleep();
    });
}

/// Whoever runs another program has left, although its process lives.
fn exec_while_holding<L: Exclusive>() {
    let (lock, held) = (L::make(), word());
    let other = start(exec_holding::<L>, (lock.clone(), held));
    ledger::wait(held);
    assert_eq!(lock.take(How::Wait), Came::OwnerDied);
    check_after_the_news(&lock);
    assert!(other.is_alive());
    kill(&other);
    assert_eq!(lock.take(How::Try), Came::Clean);
}

fn exit_holding<L: Exclusive>(lock: L) {
    lock.with(How::Wait, || std::process::exit(0));
}

fn exit_while_holding<L: Exclusive>() {
    let lock = L::make();
    assert!(start(exit_holding::<L>, lock.clone()).join().is_err());
    check_owner_died(&lock);
}

fn panic_holding<L: Exclusive>(lock: L) {
    lock.with(How::Wait, || panic!("as it should"));
}

/// A panic lets go of it as any other way out does.
fn panic_while_holding<L: Exclusive>() {
    let lock = L::make();
    assert!(start(panic_holding::<L>, lock.clone()).join().is_err());
    check_after_nothing(&lock);
    let copy = lock.clone();
    assert!(thread::spawn(move || panic_holding(copy)).join().is_err());
    check_after_nothing(&lock);
}

fn hold_in_a_thread<L: Exclusive>(argument: (L, u32)) {
    let _ = thread::spawn(move || hold(argument)).join();
}

fn held_by_a_thread_of_a_killed_process<L: Exclusive>() {
    let (lock, held) = (L::make(), word());
    let other = start(hold_in_a_thread::<L>, (lock.clone(), held));
    ledger::wait(held);
    assert_eq!(lock.take(How::Try), Came::WouldBlock);
    kill(&other);
    check_owner_died(&lock);
}

/// A process of the fork method has its parent's guards in its memory, and not what they hold.
fn forked_copy_of_a_guard_holds_nothing<L: Exclusive>() {
    let lock = L::make();
    let mut came = None;
    lock.with(How::Wait, || {
        let child = Process::builder().fork(|| lock.take(How::Try)).unwrap();
        came = Some(child.join().unwrap());
    });
    assert_eq!(came, Some(Came::WouldBlock));
    check_after_nothing(&lock);
}
