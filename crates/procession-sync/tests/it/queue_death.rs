//! `Queue`, when those that put, take or wait are killed or stopped.

use std::thread;
use std::time::Duration;

use procession_primitives::Process;
use procession_sync::{GetError, PutError, Queue, Receiver, Sender};
use procession_testkit::dice::dice;
use procession_testkit::{
    Case, cases, eventually, heap_is_back, heap_units, ledger, os, pause, stop,
};
use rustix::process::Signal;

use crate::queue_death;
use crate::support::{await_objects, await_sleep, await_waiters, family, kill, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![queue_death:
        consumer_is_killed_asleep, all_consumers_but_one, consumer_is_killed_as_it_wakes,
        producer_is_killed_asleep, producer_is_killed_as_it_wakes, killed_at_work,
        closer_is_killed, waiter_is_stopped, stopped_at_work, deaths_of_others_end_no_wait,
        exec_while_waiting, memory_of_the_dead, end_of_a_thread,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);

/// Takes one message and says which.
fn take((queue, found): (Queue<u32>, u32)) {
    ledger::set(found, queue.get().unwrap());
}

fn consumer_is_killed_asleep() {
    for victim in 0..3 {
        let queue = Queue::<u32>::new().unwrap();
        let found = [word(), word(), word()];
        let mut consumers = Vec::new();
        for (index, found) in found.into_iter().enumerate() {
            consumers.push(start(take, (queue.clone(), found)));
            await_waiters(&queue, index + 1);
        }
        await_sleep(&consumers[victim]);
        kill(&consumers.remove(victim));
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        consumers.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(found.map(ledger::get).iter().sum::<u32>(), 3);
        assert!(queue.is_empty());
    }
}

fn all_consumers_but_one() {
    let queue = Queue::<u32>::new().unwrap();
    let found = word();
    let mut consumers: Vec<_> = (0..6)
        .map(|_| start(take, (queue.clone(), found)))
        .collect();
    await_waiters(&queue, 6);
    let last = consumers.pop().unwrap();
    // All at once.
    consumers
        .iter()
        .for_each(|one| os::send(one.pid(), Signal::KILL));
    queue.put(5).unwrap();
    consumers.iter().for_each(|one| _ = one.wait());
    // One of the dead may have taken it.
    if last.is_alive() && queue.is_empty() {
        queue.put(5).unwrap();
    }
    last.join().unwrap();
    assert_eq!(ledger::get(found), 5);
}

/// It takes the message with it, or the other one gets it.
fn consumer_is_killed_as_it_wakes() {
    for round in 0..60 {
        let queue = Queue::<u32>::new().unwrap();
        let found = [word(), word()];
        let victim = start(take, (queue.clone(), found[0]));
        await_waiters(&queue, 1);
        let other = start(take, (queue.clone(), found[1]));
        await_waiters(&queue, 2);
        queue.put(1).unwrap();
        pause(Duration::from_micros(dice(60)));
        kill(&victim);
        if round % 2 == 0 {
            // The death alone has to wake the other one.
            eventually("the message is taken", || match queue.is_empty() {
                true => Ok(()),
                false => Err(format!("{queue:?}")),
            });
        }
        queue.put(2).unwrap();
        other.join().unwrap();
        match ledger::get(found[1]) {
            1 => assert_eq!(queue.try_get(), Ok(2)),
            other => assert_eq!(other, 2),
        }
        assert!(queue.is_empty());
    }
}

fn put_one((queue, value): (Queue<u32>, u32)) {
    queue.put(value).unwrap();
}

fn producer_is_killed_asleep() {
    for victim in 0..3 {
        let queue = Queue::<u32>::bounded(1).unwrap();
        queue.put(9).unwrap();
        let mut producers = Vec::new();
        for value in 0..3 {
            producers.push(start(put_one, (queue.clone(), value)));
            await_waiters(&queue, value as usize + 1);
        }
        await_sleep(&producers[victim]);
        kill(&producers.remove(victim));
        let mut found = [0; 3].map(|_| queue.get().unwrap());
        found.sort_unstable();
        let mut expected: Vec<_> = (0..3).filter(|n| *n != victim as u32).collect();
        expected.push(9);
        assert_eq!(found, *expected);
        producers.into_iter().for_each(|one| one.join().unwrap());
        assert!(queue.is_empty());
    }
}

fn producer_is_killed_as_it_wakes() {
    for _ in 0..40 {
        let queue = Queue::<u32>::bounded(1).unwrap();
        queue.put(9).unwrap();
        let victim = start(put_one, (queue.clone(), 1));
        await_waiters(&queue, 1);
        let other = start(put_one, (queue.clone(), 2));
        await_waiters(&queue, 2);
        assert_eq!(queue.get(), Ok(9));
        pause(Duration::from_micros(dice(60)));
        kill(&victim);
        let first = queue.get().unwrap();
        match first {
            1 => assert_eq!(queue.get(), Ok(2)),
            first => assert_eq!(first, 2),
        }
        other.join().unwrap();
        assert!(queue.is_empty());
    }
}

fn put_for_ever((queue, last): (Sender<(u32, String)>, u32)) {
    for n in 0.. {
        queue.put((n, "x".repeat(n as usize % 5 * 3000))).unwrap();
        ledger::set(last, n + 1);
    }
}

fn take_for_ever((queue, next): (Receiver<(u32, String)>, u32)) {
    let mut expected = None;
    for one in queue.iter() {
        let (n, text) = one.unwrap();
        assert!(expected.is_none_or(|least| n >= least));
        assert_eq!(text.len(), n as usize % 5 * 3000);
        expected = Some(n + 1);
        ledger::set(next, n + 1);
    }
}

/// At no moment a kill takes more than the one message in hand.
fn killed_at_work() {
    for round in 0..40 {
        let (sender, receiver) = Queue::bounded(1 + round % 7).unwrap().split();
        let (put, taken) = (word(), word());
        let producer = start(put_for_ever, (sender, put));
        if round % 2 == 0 {
            let consumer = start(take_for_ever, (receiver.clone(), taken));
            ledger::wait_for(taken, 3);
            pause(Duration::from_micros(dice(400)));
            kill(&consumer);
            let (next, _) = receiver.get().unwrap();
            let known = ledger::get(taken);
            assert!(next == known || next == known + 1, "{next} after {known}");
            for n in next + 1..next + 50 {
                assert_eq!(receiver.get().unwrap().0, n);
            }
            kill(&producer);
        } else {
            for n in 0..20 {
                assert_eq!(receiver.get().unwrap().0, n);
            }
            pause(Duration::from_micros(dice(400)));
            kill(&producer);
            let mut next = 20;
            for one in receiver.iter() {
                assert_eq!(one.unwrap().0, next);
                next += 1;
            }
            let known = ledger::get(put);
            assert!(
                next == known || next == known + 1,
                "{next} arrived, {known} were put"
            );
        }
    }
}

fn close_and_die(queue: Queue<u32>) {
    queue.close().unwrap();
    os::raise(libc::SIGKILL);
}

fn closer_is_killed() {
    for _ in 0..20 {
        let queue = Queue::<u32>::new().unwrap();
        let waits = |queue: Queue<u32>| queue.get() == Err(GetError::Closed);
        let waiters = [0; 2].map(|_| start(waits, queue.clone()));
        await_waiters(&queue, 2);
        assert!(start(close_and_die, queue.clone()).join().is_err());
        assert!(
            waiters
                .map(|one| one.join().unwrap())
                .iter()
                .all(|told| *told)
        );
    }
}

fn waiter_is_stopped() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    let found = [word(), word()];
    let stopped = start(take, (queue.clone(), found[0]));
    await_waiters(&queue, 1);
    await_sleep(&stopped);
    stop(stopped.pid());
    let other = start(take, (queue.clone(), found[1]));
    await_waiters(&queue, 2);
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    ledger::wait(found[1]);
    other.join().unwrap();
    os::send(stopped.pid(), Signal::CONT);
    ledger::wait(found[0]);
    stopped.join().unwrap();
    assert_eq!(ledger::get(found[0]) + ledger::get(found[1]), 3);
}

fn hammer(queue: Queue<u32>) {
    for n in 0.. {
        queue.put(n).unwrap();
        queue.get().unwrap();
    }
}

/// Wherever it is stopped, those with a time-out come back.
fn stopped_at_work() {
    for _ in 0..100 {
        let queue = Queue::<u32>::bounded(2).unwrap();
        let child = start(hammer, queue.clone());
        while queue.is_empty() {
            thread::yield_now();
        }
        pause(Duration::from_micros(dice(300)));
        stop(child.pid());
        for _ in 0..3 {
            match queue.put_timeout(7, Duration::from_millis(1)) {
                Ok(()) | Err(PutError::TimedOut(7)) => {}
                other => panic!("{other:?}"),
            }
        }
        for _ in 0..4 {
            match queue.get_timeout(Duration::from_millis(1)) {
                Ok(_) | Err(GetError::TimedOut) => {}
                other => panic!("{other:?}"),
            }
        }
        kill(&child);
        // As good as new.
        while queue.try_get().is_ok() {}
        queue.put(8).unwrap();
        assert_eq!(queue.get(), Ok(8));
    }
}

fn deaths_of_others_end_no_wait() {
    let queue = Queue::<u32>::new().unwrap();
    let found = word();
    let waiter = start(take, (queue.clone(), found));
    await_waiters(&queue, 1);
    for _ in 0..5 {
        kill(&start(|_: Queue<u32>| os::sleep_for_ever(), queue.clone()));
    }
    await_waiters(&queue, 1);
    assert!(waiter.is_alive());
    queue.put(3).unwrap();
    waiter.join().unwrap();
    assert_eq!(ledger::get(found), 3);
}

fn wait_beside_an_exec((queue, go): (Queue<u32>, u32)) {
    let waiter = thread::spawn(move || queue.get());
    ledger::wait(go);
    let _still_waits = waiter;
    os::become_sleep();
}

fn exec_while_waiting() {
    let (queue, go, found) = (Queue::<u32>::new().unwrap(), word(), word());
    let gone = start(wait_beside_an_exec, (queue.clone(), go));
    await_waiters(&queue, 1);
    let other = start(take, (queue.clone(), found));
    await_waiters(&queue, 2);
    ledger::set(go, 1);
    await_waiters(&queue, 1);
    queue.put(3).unwrap();
    other.join().unwrap();
    assert_eq!(ledger::get(found), 3);
    kill(&gone);
}

/// Messages in the hands of the dead, and those that only the dead knew.
fn memory_of_the_dead() {
    let (units, objects) = (heap_units(), family().object_count());
    for _ in 0..20 {
        let (sender, receiver) = Queue::bounded(5).unwrap().split();
        let (put, taken) = (word(), word());
        let producer = start(put_for_ever, (sender, put));
        let consumer = start(take_for_ever, (receiver, taken));
        ledger::wait_for(taken, 5);
        pause(Duration::from_micros(dice(300)));
        let both: [Process<()>; 2] = [producer, consumer];
        both.iter()
            .for_each(|one| os::send(one.pid(), Signal::KILL));
        both.iter().for_each(|one| _ = one.wait());
    }
    await_objects("the queues are freed", objects);
    heap_is_back("their messages are freed", units);
}

/// A thread that has come to an end holds nothing.
fn end_of_a_thread() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    for n in 0..50 {
        let (one, other) = (queue.clone(), queue.clone());
        thread::spawn(move || one.put(n).unwrap()).join().unwrap();
        let timed_out = thread::spawn(move || other.put_timeout(0, Duration::from_micros(50)));
        assert!(timed_out.join().unwrap().is_err());
        assert_eq!(queue.get(), Ok(n));
        assert_eq!(queue.get_timeout(SHORT / 20), Err(GetError::TimedOut));
    }
}
