//! `Queue`: when nobody is left at the other side.

use std::thread;
use std::time::Duration;

use procession_primitives::{Process, StartMethod};
use procession_sync::{GetError, PutError, Queue, Receiver, Sender};
use procession_testkit::{Case, birth, cases, ledger, os};

use crate::queue_ends;
use crate::support::{await_waiters, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![queue_ends:
        last_sender_is_dropped, last_sender_is_killed, last_sender_of_a_fork, sender_never_starts,
        sender_in_another_thread, one_of_several_senders, receiver_only, receivers_are_dropped,
        receivers_are_killed, whole_handle_among_the_dead, whole_handle_full_and_the_dead,
        two_whole_handles, sender_that_became_another_program,
        no_wait_where_it_has_ended, sender_is_dropped_beside_a_whole_handle,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);

fn puts_three(queue: Sender<u32>) {
    (0..3).for_each(|n| queue.put(n).unwrap());
}

#[track_caller]
fn three_and_the_end(queue: &Receiver<u32>) {
    let found: Vec<_> = queue.iter().map(Result::unwrap).collect();
    assert_eq!(found, [0, 1, 2]);
    assert_eq!(queue.get(), Err(GetError::Disconnected));
    assert_eq!(
        queue.get_timeout(Duration::from_secs(1000)),
        Err(GetError::Disconnected)
    );
    assert_eq!(queue.get_many(3), Err(GetError::Disconnected));
}

fn last_sender_is_dropped() {
    for method in [
        StartMethod::ForkServer,
        StartMethod::Spawn,
        StartMethod::Fork,
    ] {
        let (sender, receiver) = Queue::new().unwrap().split();
        let child = Process::builder().start_method(method);
        let child = child.spawn(puts_three, sender).unwrap();
        three_and_the_end(&receiver);
        child.join().unwrap();
    }
    // It lives on without the handle.
    let (sender, receiver) = Queue::new().unwrap().split();
    let drops = |queue: Sender<u32>| {
        puts_three(queue);
        os::sleep_for_ever();
    };
    let child = start(drops, sender);
    three_and_the_end(&receiver);
    kill(&child);
}

fn puts_three_and_hangs((queue, done): (Sender<u32>, u32)) {
    puts_three(queue.clone());
    report_and_hang(done);
}

fn last_sender_is_killed() {
    for round in 0..4 {
        let (sender, receiver) = Queue::new().unwrap().split();
        let done = word();
        let child = start(puts_three_and_hangs, (sender, done));
        ledger::wait(done);
        if round % 2 == 0 {
            kill(&child);
            three_and_the_end(&receiver);
            continue;
        }
        thread::scope(|scope| {
            let waits = scope.spawn(|| three_and_the_end(&receiver));
            await_waiters(&receiver, 1);
            kill(&child);
            waits.join().unwrap();
        });
    }
}

fn last_sender_of_a_fork() {
    let (sender, receiver) = Queue::new().unwrap().split();
    let done = word();
    let child = Process::builder().fork(|| puts_three_and_hangs((sender.clone(), done)));
    let child = child.unwrap();
    ledger::wait(done);
    drop(sender);
    assert_eq!(receiver.get_many(2), Ok(vec![0, 1]));
    assert_eq!(receiver.get(), Ok(2));
    assert_eq!(receiver.get_timeout(SHORT), Err(GetError::TimedOut));
    kill(&child);
    assert_eq!(receiver.get(), Err(GetError::Disconnected));
}

/// Its process is killed before it lives.
fn sender_never_starts() {
    let (sender, receiver) = Queue::new().unwrap().split();
    ledger::set(birth::HOW, 1000 + libc::SIGKILL as u32);
    let child = Process::spawn(puts_three, sender);
    assert_eq!(receiver.get(), Err(GetError::Disconnected));
    if let Ok(child) = child {
        assert!(child.join().is_err());
    }
    ledger::set(birth::HOW, 0);
    assert!(ledger::get(birth::COUNT) > 0, "somebody was killed");
}

fn sender_in_another_thread() {
    let (sender, receiver) = Queue::new().unwrap().split();
    thread::scope(|scope| {
        scope.spawn(move || puts_three(sender));
        three_and_the_end(&receiver);
    });
    let (sender, receiver) = Queue::<u32>::new().unwrap().split();
    thread::scope(|scope| {
        let waits = scope.spawn(|| assert_eq!(receiver.get(), Err(GetError::Disconnected)));
        await_waiters(&receiver, 1);
        drop(sender);
        waits.join().unwrap();
    });
}

fn one_of_several_senders() {
    let (sender, receiver) = Queue::<u32>::new().unwrap().split();
    let go = word();
    let waits = |(queue, go): (Sender<u32>, u32)| {
        ledger::wait(go);
        queue.put(7).unwrap();
    };
    let slow = start(waits, (sender.clone(), go));
    let quick = start(|queue: Sender<u32>| drop(queue), sender.clone());
    drop(sender);
    quick.join().unwrap();
    assert_eq!(receiver.get_timeout(SHORT), Err(GetError::TimedOut));
    ledger::set(go, 1);
    assert_eq!(receiver.get(), Ok(7));
    assert_eq!(receiver.get(), Err(GetError::Disconnected));
    slow.join().unwrap();
}

fn receiver_only() {
    let (sender, receiver) = Queue::new().unwrap().split();
    let takes = |queue: Receiver<u32>| {
        let found: Vec<_> = queue.iter().map(Result::unwrap).collect();
        (found, queue.get() == Err(GetError::Disconnected))
    };
    let child = start(takes, receiver);
    puts_three(sender.clone());
    await_waiters(&sender, 1);
    assert!(child.is_alive());
    drop(sender);
    assert_eq!(child.join().unwrap(), (vec![0, 1, 2], true));
}

/// What fits in goes in: only who has to wait is told.
fn receivers_are_dropped() {
    let (sender, receiver) = Queue::bounded(2).unwrap().split();
    let child = start(|queue: Receiver<u32>| queue.get().unwrap(), receiver);
    sender.put(0).unwrap();
    assert_eq!(child.join().unwrap(), 0);
    sender.put(1).unwrap();
    sender.put(2).unwrap();
    assert!(matches!(sender.put(3), Err(PutError::Disconnected(3))));
    let late = sender.put_timeout(3, Duration::from_secs(1000));
    assert!(matches!(late, Err(PutError::Disconnected(3))));
    match sender.put_many([3, 4]) {
        Err(PutError::Disconnected(left)) => assert!(left.starts_with(&[3])),
        other => panic!("{other:?}"),
    }
    assert_eq!(sender.len(), 2);
}

fn takes_one_and_hangs((queue, done): (Receiver<u32>, u32)) {
    assert_eq!(queue.get(), Ok(0));
    report_and_hang(done);
}

fn receivers_are_killed() {
    for round in 0..4 {
        let (sender, receiver) = Queue::bounded(1).unwrap().split();
        let done = word();
        let child = start(takes_one_and_hangs, (receiver, done));
        sender.put(0).unwrap();
        ledger::wait(done);
        sender.put(1).unwrap();
        let told = || matches!(sender.put(2), Err(PutError::Disconnected(2)));
        if round % 2 == 0 {
            kill(&child);
            assert!(told());
            continue;
        }
        thread::scope(|scope| {
            let waits = scope.spawn(told);
            await_waiters(&sender, 1);
            kill(&child);
            assert!(waits.join().unwrap());
        });
    }
}

/// Whoever only takes is not kept waiting by being able to put.
fn whole_handle_among_the_dead() {
    for round in 0..4 {
        let queue = Queue::<u32>::new().unwrap();
        let done = [word(), word()];
        let children = done.map(|done| {
            let puts = |(queue, done): (Queue<u32>, u32)| {
                queue.put(7).unwrap();
                report_and_hang(done);
            };
            start(puts, (queue.clone(), done))
        });
        done.iter().for_each(|done| _ = ledger::wait(*done));
        assert_eq!((queue.get(), queue.get()), (Ok(7), Ok(7)));
        kill(&children[0]);
        assert_eq!(queue.get_timeout(SHORT), Err(GetError::TimedOut));
        if round % 2 == 0 {
            kill(&children[1]);
            assert_eq!(queue.get(), Err(GetError::Disconnected));
            continue;
        }
        thread::scope(|scope| {
            let waits = scope.spawn(|| queue.get());
            await_waiters(&queue, 1);
            kill(&children[1]);
            assert_eq!(waits.join().unwrap(), Err(GetError::Disconnected));
        });
    }
}

fn whole_handle_full_and_the_dead() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    let done = word();
    let takes = |(queue, done): (Queue<u32>, u32)| {
        assert_eq!(queue.get(), Ok(0));
        report_and_hang(done);
    };
    let child = start(takes, (queue.clone(), done));
    queue.put(0).unwrap();
    ledger::wait(done);
    queue.put(1).unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| queue.put(2));
        await_waiters(&queue, 1);
        kill(&child);
        assert!(matches!(
            waits.join().unwrap(),
            Err(PutError::Disconnected(2))
        ));
    });
}

/// Both could put: one waits for the other.
fn two_whole_handles() {
    let queue = Queue::<u32>::new().unwrap();
    let child = start(
        |queue: Queue<u32>| queue.get() == Err(GetError::Disconnected),
        queue.clone(),
    );
    await_waiters(&queue, 1);
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::TimedOut));
    drop(queue);
    assert!(child.join().unwrap());
}

fn sender_that_became_another_program() {
    let (sender, receiver) = Queue::<u32>::new().unwrap().split();
    fn turns(queue: Sender<u32>) {
        puts_three(queue.clone());
        os::become_sleep();
    }
    let child = start(turns, sender);
    three_and_the_end(&receiver);
    kill(&child);
}

/// Nobody has to wait in order to be told.
fn no_wait_where_it_has_ended() {
    let (sender, receiver) = Queue::<u32>::new().unwrap().split();
    assert_eq!(receiver.try_get(), Err(GetError::Empty));
    drop(sender);
    assert_eq!(receiver.try_get(), Err(GetError::Disconnected));
    let (sender, receiver) = Queue::bounded(1).unwrap().split();
    sender.put(0).unwrap();
    assert!(matches!(sender.try_put(1), Err(PutError::Full(1))));
    drop(receiver);
    assert!(matches!(sender.try_put(1), Err(PutError::Disconnected(1))));
}

/// Whoever waits is told when the last thread of its own process that could put cannot any more.
fn sender_is_dropped_beside_a_whole_handle() {
    let queue = Queue::<u32>::new().unwrap();
    start(|_queue: Queue<u32>| (), queue.clone())
        .join()
        .unwrap();
    let sender = queue.sender();
    thread::scope(|scope| {
        // The time-out is only so that it ends.
        let waits = scope.spawn(|| queue.get_timeout(Duration::from_secs(2)));
        await_waiters(&queue, 1);
        drop(sender);
        assert_eq!(waits.join().unwrap(), Err(GetError::Disconnected));
    });
}
