//! `JoinableQueue`: tasks that are done, not done, or lost with a process.

use std::thread;
use std::time::{Duration, Instant};

use procession_primitives::Process;
use procession_sync::{GetError, JoinError, JoinableQueue, PutError, TaskDoneError};
use procession_testkit::dice::dice;
use procession_testkit::{Case, cases, heap_is_back, heap_units, ledger, os, pause};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::joinable;
use crate::support::{await_objects, await_waits, family, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![joinable:
        task_done_q05, closed_q11, too_often, join_an_idle_one, join_waits_for_what_is_in_hand,
        join_in_many_places, join_times_out, killed_with_a_task, killed_with_a_task_while_joined,
        killed_before_it_took, killed_around_the_taking, ends_with_a_task, nobody_is_left,
        undecodable_tasks_are_done, others_finish, handle_in_a_message, all_of_a_queue,
        threads_share_what_they_took, memory_is_back, more_workers_than_places,
    ]
    .into()
}

type Tasks = JoinableQueue<u32>;

fn work(tasks: Tasks) -> u32 {
    let mut done = 0;
    while tasks.get().is_ok() {
        done += 1;
        tasks.task_done().unwrap();
    }
    done
}

fn task_done_q05() {
    let tasks = Tasks::new().unwrap();
    let (done, go) = (word(), word());
    let slowly = |(tasks, done, go): (Tasks, u32, u32)| {
        while tasks.get().is_ok() {
            ledger::wait(go);
            ledger::note(done);
            tasks.task_done().unwrap();
        }
    };
    let workers = [0; 4].map(|_| start(slowly, (tasks.clone(), done, go)));
    (0..10).for_each(|n| tasks.put(n).unwrap());
    let late = tasks.join_timeout(Duration::from_millis(20));
    assert_eq!(late, Err(JoinError::TimedOut));
    assert_eq!(ledger::get(done), 0);
    ledger::set(go, 1);
    tasks.join().unwrap();
    assert_eq!(ledger::get(done), 10);
    tasks.close().unwrap();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    tasks.join().unwrap();
}

fn closed_q11() {
    let tasks = Tasks::bounded(3).unwrap();
    tasks.put(1).unwrap();
    tasks.close().unwrap();
    assert!(matches!(tasks.put(2), Err(PutError::Closed(2))));
    assert!(matches!(tasks.try_put(2), Err(PutError::Closed(2))));
    assert_eq!(tasks.get(), Ok(1));
    assert_eq!(tasks.get(), Err(GetError::Closed));
    assert_eq!(tasks.try_get(), Err(GetError::Closed));
    tasks.task_done().unwrap();
    tasks.join().unwrap();
}

fn too_often() {
    let tasks = Tasks::new().unwrap();
    assert_eq!(tasks.task_done(), Err(TaskDoneError::TooMany));
    tasks.put_many([1, 2]).unwrap();
    assert_eq!(tasks.task_done(), Err(TaskDoneError::TooMany));
    tasks.get().unwrap();
    tasks.task_done().unwrap();
    assert_eq!(tasks.task_done(), Err(TaskDoneError::TooMany));
    // What another process took is not ours to report.
    let takes = |tasks: Tasks| {
        tasks.get().unwrap();
        tasks.task_done().is_ok()
    };
    assert!(start(takes, tasks.clone()).join().unwrap());
    assert_eq!(tasks.task_done(), Err(TaskDoneError::TooMany));
    tasks.join().unwrap();
}

fn join_an_idle_one() {
    let tasks = Tasks::new().unwrap();
    tasks.join().unwrap();
    tasks.join_timeout(Duration::ZERO).unwrap();
    tasks.put(1).unwrap();
    tasks.get().unwrap();
    tasks.task_done().unwrap();
    tasks.join_timeout(Duration::ZERO).unwrap();
}

fn join_waits_for_what_is_in_hand() {
    let (tasks, joined) = (Tasks::new().unwrap(), word());
    tasks.put_many([1, 2]).unwrap();
    let joins = |(tasks, joined): (Tasks, u32)| {
        tasks.join().unwrap();
        ledger::set(joined, 1);
    };
    tasks.get().unwrap();
    let child = start(joins, (tasks.clone(), joined));
    await_waits(1);
    tasks.get().unwrap();
    assert!(tasks.is_empty());
    tasks.task_done().unwrap();
    await_waits(1);
    assert_eq!(ledger::get(joined), 0);
    tasks.task_done().unwrap();
    child.join().unwrap();
}

fn join_in_many_places() {
    let tasks = Tasks::new().unwrap();
    tasks.put_many(0..50).unwrap();
    let joiners = [0; 3].map(|_| start(|tasks: Tasks| tasks.join() == Ok(()), tasks.clone()));
    await_waits(3);
    let workers = [0; 2].map(|_| start(work, tasks.clone()));
    assert!(
        joiners
            .map(|one| one.join().unwrap())
            .iter()
            .all(|joined| *joined)
    );
    tasks.close().unwrap();
    assert_eq!(
        workers.map(|one| one.join().unwrap()).iter().sum::<u32>(),
        50
    );
}

fn join_times_out() {
    let tasks = Tasks::new().unwrap();
    tasks.put(1).unwrap();
    let (begun, timeout) = (Instant::now(), Duration::from_millis(30));
    assert_eq!(tasks.join_timeout(timeout), Err(JoinError::TimedOut));
    assert!(begun.elapsed() >= timeout);
    tasks.get().unwrap();
    assert_eq!(tasks.join_timeout(Duration::ZERO), Err(JoinError::TimedOut));
    tasks.task_done().unwrap();
    tasks.join().unwrap();
}

fn take_and_hang((tasks, count, done): (Tasks, u32, u32)) {
    (0..count).for_each(|_| _ = tasks.get().unwrap());
    report_and_hang(done);
}

fn killed_with_a_task() {
    for count in [1, 3] {
        let (tasks, done) = (Tasks::new().unwrap(), word());
        tasks.put_many(0..count).unwrap();
        let child = start(take_and_hang, (tasks.clone(), count, done));
        ledger::wait(done);
        let late = tasks.join_timeout(Duration::ZERO);
        assert_eq!(late, Err(JoinError::TimedOut));
        kill(&child);
        assert_eq!(tasks.join(), Err(JoinError::Abandoned));
        // Once.
        assert_eq!(tasks.join(), Ok(()));
        // The queue is as good as before.
        tasks.put(7).unwrap();
        assert_eq!(tasks.get(), Ok(7));
        tasks.task_done().unwrap();
        assert_eq!(tasks.task_done(), Err(TaskDoneError::TooMany));
        assert_eq!(tasks.join(), Ok(()));
    }
}

fn killed_with_a_task_while_joined() {
    let (tasks, done) = (Tasks::new().unwrap(), word());
    tasks.put_many([1, 2]).unwrap();
    let child = start(take_and_hang, (tasks.clone(), 1, done));
    ledger::wait(done);
    tasks.get().unwrap();
    thread::scope(|scope| {
        let joins = scope.spawn(|| tasks.join());
        await_waits(1);
        kill(&child);
        // There is still one in our hands.
        await_waits(1);
        assert!(!joins.is_finished());
        tasks.task_done().unwrap();
        assert_eq!(joins.join().unwrap(), Err(JoinError::Abandoned));
    });
    assert_eq!(tasks.join(), Ok(()));
}

fn killed_before_it_took() {
    let tasks = Tasks::new().unwrap();
    let child = start(work, tasks.clone());
    await_waits(1);
    kill(&child);
    tasks.put(1).unwrap();
    assert_eq!(tasks.get(), Ok(1));
    tasks.task_done().unwrap();
    assert_eq!(tasks.join(), Ok(()));
}

/// Each task is delivered, done, or abandoned, and which of these is what `join` says.
fn killed_around_the_taking() {
    let (mut taken, mut left) = (0, 0);
    for _ in 0..60 {
        let (tasks, done) = (Tasks::new().unwrap(), word());
        let child = start(take_and_hang, (tasks.clone(), 1, done));
        await_waits(1);
        tasks.put(1).unwrap();
        pause(Duration::from_micros(dice(80)));
        kill(&child);
        if tasks.is_empty() {
            taken += 1;
            assert_eq!(tasks.join(), Err(JoinError::Abandoned));
        } else {
            left += 1;
            assert_eq!(tasks.get(), Ok(1));
            assert_eq!(tasks.join_timeout(Duration::ZERO), Err(JoinError::TimedOut));
            tasks.task_done().unwrap();
        }
        assert_eq!(tasks.join(), Ok(()));
        assert_eq!(tasks.task_done(), Err(TaskDoneError::TooMany));
    }
    println!("  ({taken} were taken, {left} left)");
}

fn ends_with_a_task() {
    let tasks = Tasks::new().unwrap();
    tasks.put(1).unwrap();
    let takes = |tasks: Tasks| tasks.get().unwrap();
    start(takes, tasks.clone()).join().unwrap();
    assert_eq!(tasks.join(), Err(JoinError::Abandoned));
    assert_eq!(tasks.join(), Ok(()));
}

fn nobody_is_left() {
    let (tasks, done) = (Tasks::new().unwrap(), word());
    let child = start(take_and_hang, (tasks.clone(), 1, done));
    tasks.put_many([1, 2]).unwrap();
    ledger::wait(done);
    thread::scope(|scope| {
        let joins = scope.spawn(|| tasks.join());
        await_waits(1);
        kill(&child);
        assert_eq!(joins.join().unwrap(), Err(JoinError::Disconnected));
    });
    // Somebody comes, after all; and the one that was lost is still to be told of.
    tasks.get().unwrap();
    tasks.task_done().unwrap();
    assert_eq!(tasks.join(), Err(JoinError::Abandoned));
    assert_eq!(tasks.join(), Ok(()));
}

/// Cannot be decoded when it is odd.
#[derive(Debug, Serialize)]
struct Picky(u32);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            n if n % 2 == 1 => Err(D::Error::custom("odd")),
            n => Ok(Picky(n)),
        }
    }
}

fn undecodable_tasks_are_done() {
    let tasks = JoinableQueue::new().unwrap();
    tasks.put_many([1, 2, 3].map(Picky)).unwrap();
    thread::scope(|scope| {
        let joins = scope.spawn(|| tasks.join());
        await_waits(1);
        assert!(matches!(tasks.get(), Err(GetError::Decode(_))));
        assert_eq!(tasks.task_done(), Err(TaskDoneError::TooMany));
        tasks.get().unwrap();
        tasks.task_done().unwrap();
        assert!(matches!(tasks.get(), Err(GetError::Decode(_))));
        assert_eq!(joins.join().unwrap(), Ok(()));
    });
}

/// Workers die at random; the others do the rest.
fn others_finish() {
    for round in 0..10 {
        let tasks = Tasks::bounded(8).unwrap();
        let mut workers: Vec<_> = (0..3).map(|_| start(work, tasks.clone())).collect();
        let puts = |tasks: Tasks| tasks.put_many(0..2000).unwrap();
        let producer = start(puts, tasks.clone());
        pause(Duration::from_micros(round * 100 + dice(1000)));
        kill(&workers.remove(0));
        assert_eq!(producer.join().unwrap(), 2000);
        match tasks.join() {
            Ok(()) | Err(JoinError::Abandoned) => {}
            other => panic!("{other:?}"),
        }
        assert!(tasks.is_empty());
        assert_eq!(tasks.join(), Ok(()));
        tasks.close().unwrap();
        let done: u32 = workers.into_iter().map(|one| one.join().unwrap()).sum();
        assert!(done <= 2000);
    }
}

fn handle_in_a_message() {
    let tasks = Tasks::new().unwrap();
    let post = procession_sync::Queue::new().unwrap();
    post.put(tasks.clone()).unwrap();
    let serves = |post: procession_sync::Queue<Tasks>| {
        let tasks = post.get().unwrap();
        tasks.get().unwrap();
        tasks.task_done().unwrap();
        tasks
    };
    tasks.put(1).unwrap();
    let same = start(serves, post).join().unwrap();
    assert!(same == tasks);
    tasks.join().unwrap();
}

fn all_of_a_queue() {
    let tasks = Tasks::bounded(2).unwrap();
    assert!(tasks.is_empty() && !tasks.is_full());
    tasks.put(1).unwrap();
    tasks.put_timeout(2, Duration::from_secs(1000)).unwrap();
    assert_eq!((tasks.len(), tasks.is_full()), (2, true));
    assert!(matches!(tasks.try_put(3), Err(PutError::Full(3))));
    let late = tasks.put_timeout(3, Duration::from_millis(5));
    assert!(matches!(late, Err(PutError::TimedOut(3))));
    assert_eq!(tasks.try_get(), Ok(1));
    assert_eq!(tasks.get_timeout(Duration::from_secs(1000)), Ok(2));
    assert_eq!(tasks.try_get(), Err(GetError::Empty));
    let late = tasks.get_timeout(Duration::from_millis(5));
    assert_eq!(late, Err(GetError::TimedOut));
    let text = format!("{tasks:?}");
    let me = std::process::id().to_string();
    assert!(text.contains(&me) && text.contains("2"), "{text}");
    tasks.task_done().unwrap();
    tasks.task_done().unwrap();
    tasks.join().unwrap();
}

fn threads_share_what_they_took() {
    let tasks = Tasks::new().unwrap();
    tasks.put_many(0..10).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| (0..10).for_each(|_| _ = tasks.get().unwrap()));
    });
    thread::scope(|scope| {
        scope.spawn(|| (0..10).for_each(|_| tasks.task_done().unwrap()));
    });
    assert_eq!(tasks.join(), Ok(()));
}

fn memory_is_back() {
    let (units, objects) = (heap_units(), family().object_count());
    for _ in 0..200 {
        let tasks = JoinableQueue::new().unwrap();
        tasks.put("x".repeat(100_000)).unwrap();
        tasks.put(String::new()).unwrap();
        tasks.get().unwrap();
    }
    await_objects("all are freed", objects);
    heap_is_back("all are freed", units);
}

/// The counts of a few are in the queue itself, those of more elsewhere.
fn more_workers_than_places() {
    let tasks = Tasks::new().unwrap();
    tasks.put_many(0..12).unwrap();
    let done = [0; 12].map(|_| word());
    let workers = done.map(|done| start(take_and_hang, (tasks.clone(), 1, done)));
    done.iter().for_each(|done| _ = ledger::wait(*done));
    assert!(tasks.is_empty());
    kill(&workers[3]);
    assert_eq!(tasks.join_timeout(Duration::ZERO), Err(JoinError::TimedOut));
    let pids: Vec<u32> = workers.iter().map(Process::pid).collect();
    pids.iter()
        .for_each(|pid| os::send(*pid, rustix::process::Signal::KILL));
    workers.iter().for_each(|one| _ = one.wait());
    assert_eq!(tasks.join(), Err(JoinError::Abandoned));
    assert_eq!(tasks.join(), Ok(()));
}
