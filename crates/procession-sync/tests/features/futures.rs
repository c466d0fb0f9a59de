//! Awaiting events and queues, with a runtime of twenty lines.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use procession_primitives::Process;
use procession_sync::{Event, GetError, Lock, Queue};
use procession_testkit::{Case, cases, eventually};

use crate::futures;

pub(crate) fn cases() -> Vec<Case> {
    cases![futures:
        an_event_of_another_process, an_event_set_for_a_moment, messages_in_order,
        room_in_a_full_queue, large_messages_and_handles, hundreds_at_once, the_end_of_a_queue,
        producers_that_die, dropped_futures_take_nothing, dropped_futures_pass_wakeups_on,
        no_thread_stays,
    ]
    .into()
}

struct Unpark(Thread, AtomicUsize);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current(), AtomicUsize::new(0))));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Drives all of them in this thread.
fn join_all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    block_on(std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(value) = Pin::new(future).poll(context)
            {
                *done = Some(value);
            }
        }
        match done.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }));
    done.into_iter().flatten().collect()
}

/// Polls once with a waker that does nothing.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) fn an_event_of_another_process() {
    let (go, done) = (Event::new().unwrap(), Event::new().unwrap());
    let child = Process::spawn(
        |(go, done): (Event, Event)| {
            assert!(go.wait());
            done.set();
        },
        (go.clone(), done.clone()),
    )
    .unwrap();
    let mut wait = done.wait_async();
    assert!(poll_once(&mut wait).is_pending());
    go.set();
    assert!(block_on(wait));
    child.join().unwrap();
}

pub(crate) fn an_event_set_for_a_moment() {
    let event = Event::new().unwrap();
    let mut wait = event.wait_async();
    assert!(poll_once(&mut wait).is_pending());
    event.set();
    event.clear();
    assert!(block_on(wait));
    assert!(poll_once(&mut event.wait_async()).is_pending());
}

pub(crate) fn messages_in_order() {
    let queue = Queue::<u64>::bounded(3).unwrap();
    let child = Process::spawn(
        |queue: Queue<u64>| (0..2000).for_each(|n| queue.put(n).unwrap()),
        queue.clone(),
    )
    .unwrap();
    block_on(async {
        for n in 0..2000 {
            assert_eq!(queue.get_async().await, Ok(n));
        }
    });
    child.join().unwrap();
}

pub(crate) fn room_in_a_full_queue() {
    let queue = Queue::<u64>::bounded(2).unwrap();
    let child = Process::spawn(
        |queue: Queue<u64>| (0..2000).for_each(|n| assert_eq!(queue.get(), Ok(n))),
        queue.clone(),
    )
    .unwrap();
    block_on(async {
        for n in 0..2000 {
            queue.put_async(n).await.unwrap();
        }
    });
    child.join().unwrap();
}

pub(crate) fn large_messages_and_handles() {
    let queue = Queue::<(String, Lock)>::bounded(1).unwrap();
    let filled = ("x".repeat(100_000), Lock::new().unwrap());
    queue.put(filled.clone()).unwrap();
    let mut put = queue.put_async(filled.clone());
    assert!(poll_once(&mut put).is_pending());
    assert_eq!(queue.get().unwrap(), filled);
    block_on(put).unwrap();
    assert_eq!(block_on(queue.get_async()).unwrap(), filled);
}

/// More than one thread of the reactor watches.
pub(crate) fn hundreds_at_once() {
    let queues: Vec<_> = (0..300)
        .map(|_| Queue::<u32>::bounded(1).unwrap())
        .collect();
    let gets: Vec<_> = queues.iter().map(Queue::get_async).collect();
    let child = Process::spawn(
        |queues: Vec<Queue<u32>>| {
            (0..)
                .zip(&queues)
                .for_each(|(n, queue)| queue.put(n).unwrap());
        },
        queues.clone(),
    )
    .unwrap();
    let got = join_all(gets);
    assert!((0..).zip(got).all(|(n, got)| got == Ok(n)));
    child.join().unwrap();
}

pub(crate) fn the_end_of_a_queue() {
    let (sender, receiver) = Queue::<u32>::bounded(4).unwrap().split();
    sender.put(1).unwrap();
    let child = Process::spawn(drop, sender).unwrap();
    assert_eq!(block_on(receiver.get_async()), Ok(1));
    assert_eq!(block_on(receiver.get_async()), Err(GetError::Disconnected));
    child.join().unwrap();
    receiver.close().unwrap();
    assert_eq!(block_on(receiver.get_async()), Err(GetError::Closed));
}

pub(crate) fn producers_that_die() {
    let (sender, receiver) = Queue::<u32>::bounded(4).unwrap().split();
    let child = Process::spawn(
        |sender: procession_sync::Sender<u32>| -> () {
            sender.put(7).unwrap();
            loop {
                thread::park();
            }
        },
        sender,
    )
    .unwrap();
    assert_eq!(block_on(receiver.get_async()), Ok(7));
    let mut get = receiver.get_async();
    assert!(poll_once(&mut get).is_pending());
    child.kill().unwrap();
    assert_eq!(block_on(get), Err(GetError::Disconnected));
}

pub(crate) fn dropped_futures_take_nothing() {
    let queue = Queue::<u32>::bounded(4).unwrap();
    let mut get = queue.get_async();
    assert!(poll_once(&mut get).is_pending());
    drop(get);
    queue.put(1).unwrap();
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.try_get(), Ok(1));
}

/// The wake-up that comes to a future which is dropped is another one's.
pub(crate) fn dropped_futures_pass_wakeups_on() {
    let queue = Queue::<u32>::bounded(4).unwrap();
    let mut first = queue.get_async();
    assert!(poll_once(&mut first).is_pending());
    let other = queue.clone();
    let sleeper = thread::spawn(move || other.get());
    eventually("the other one sleeps", || {
        let waits = procession_sync::inspect::waiters();
        if waits.is_empty() {
            Err("nobody".to_owned())
        } else {
            Ok(())
        }
    });
    queue.put(5).unwrap();
    drop(first);
    assert_eq!(sleeper.join().unwrap(), Ok(5));
}

pub(crate) fn no_thread_stays() {
    let event = Event::new().unwrap();
    let mut wait = event.wait_async();
    assert!(poll_once(&mut wait).is_pending());
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(entry.ok()?.path().join("comm")).ok()
    };
    let threads = || -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(name)
            .filter(|name| name.starts_with("procession-asyn"))
            .count()
    };
    eventually("a thread watches", || {
        if threads() > 0 {
            Ok(())
        } else {
            Err("none".to_owned())
        }
    });
    drop(wait);
    eventually("the thread has gone", || match threads() {
        0 => Ok(()),
        some => Err(format!("{some} threads")),
    });
}
