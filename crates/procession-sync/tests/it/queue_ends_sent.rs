//! `Queue`: ends of streams whose handles travel, come back, or belong to this process.

use std::thread;
use std::time::Duration;

use procession_sync::{GetError, PutError, Queue, Sender};
use procession_testkit::{Case, cases, ledger};
use serde::{Deserialize, Serialize};

use crate::queue_ends_sent;
use crate::support::{await_waiters, kill, report_and_hang, start, word};

pub(crate) fn cases() -> Vec<Case> {
    cases![queue_ends_sent:
        sender_in_an_unread_message, sender_in_its_own_queue, receiver_in_an_unread_message,
        sender_comes_back, closed_comes_first, messages_of_the_dead_come_first,
        a_queue_of_one_process, whoever_has_put_can_put_again, whoever_has_taken_can_take_again,
    ]
    .into()
}

const SHORT: Duration = Duration::from_millis(20);

fn puts_three(queue: Sender<u32>) {
    (0..3).for_each(|n| queue.put(n).unwrap());
}

fn whoever_has_put_can_put_again() {
    let queue = Queue::<u32>::new().unwrap();
    queue.put(1).unwrap();
    let child = start(|queue: Queue<u32>| queue.get().unwrap(), queue.clone());
    child.join().unwrap();
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::TimedOut));
    thread::scope(|scope| {
        let waits = scope.spawn(|| queue.get());
        await_waiters(&queue, 1);
        queue.put(2).unwrap();
        assert_eq!(waits.join().unwrap(), Ok(2));
    });
}

fn whoever_has_taken_can_take_again() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    let child = start(|queue: Queue<u32>| queue.put(1).unwrap(), queue.clone());
    child.join().unwrap();
    assert_eq!(queue.get(), Ok(1));
    queue.put(2).unwrap();
    assert!(matches!(
        queue.put_timeout(3, SHORT),
        Err(PutError::TimedOut(3))
    ));
}

/// Other threads may do it.
fn a_queue_of_one_process() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::TimedOut));
    queue.put(0).unwrap();
    assert!(matches!(
        queue.put_timeout(1, SHORT),
        Err(PutError::TimedOut(1))
    ));
    // With both sides apart it is known better.
    let (sender, receiver) = Queue::bounded(1).unwrap().split();
    sender.put(0).unwrap();
    assert!(matches!(
        sender.put_timeout(1, SHORT),
        Err(PutError::TimedOut(1))
    ));
    drop(receiver);
    assert!(matches!(sender.put(1), Err(PutError::Disconnected(1))));
}

fn closed_comes_first() {
    let (sender, receiver) = Queue::<u32>::new().unwrap().split();
    sender.put(1).unwrap();
    let child = start(|queue: Sender<u32>| queue.close().unwrap(), sender);
    child.join().unwrap();
    assert_eq!(receiver.get(), Ok(1));
    assert_eq!(receiver.get(), Err(GetError::Closed));
    let (sender, receiver) = Queue::bounded(1).unwrap().split();
    sender.put(1).unwrap();
    receiver.close().unwrap();
    drop(receiver);
    assert!(matches!(sender.put(2), Err(PutError::Closed(2))));
}

fn messages_of_the_dead_come_first() {
    let (sender, receiver) = Queue::<(u32, String)>::new().unwrap().split();
    let done = word();
    let puts = |(queue, done): (Sender<(u32, String)>, u32)| {
        for n in 0..50 {
            queue.put((n, "x".repeat(n as usize % 3 * 20_000))).unwrap();
        }
        report_and_hang(done);
    };
    let child = start(puts, (sender, done));
    ledger::wait(done);
    kill(&child);
    assert_eq!(receiver.len(), 50);
    for n in 0..50 {
        let (number, text) = receiver.get().unwrap();
        assert_eq!((number, text.len()), (n, n as usize % 3 * 20_000));
    }
    assert_eq!(receiver.get(), Err(GetError::Disconnected));
}

fn sender_in_an_unread_message() {
    let (sender, receiver) = Queue::<u32>::new().unwrap().split();
    let post = Queue::new().unwrap();
    post.put(sender).unwrap();
    assert_eq!(receiver.get_timeout(SHORT), Err(GetError::TimedOut));
    let takes = |post: Queue<Sender<u32>>| post.get().unwrap().put(7).unwrap();
    start(takes, post.clone()).join().unwrap();
    assert_eq!(receiver.get(), Ok(7));
    assert_eq!(receiver.get(), Err(GetError::Disconnected));
    // Thrown away with the queue it is in, while somebody waits.
    let (sender, receiver) = Queue::<u32>::new().unwrap().split();
    post.put(sender).unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| receiver.get());
        await_waiters(&receiver, 1);
        drop(post);
        assert_eq!(waits.join().unwrap(), Err(GetError::Disconnected));
    });
    // Taken by one that is killed with it.
    let (sender, receiver) = Queue::<u32>::new().unwrap().split();
    let (post, done) = (Queue::new().unwrap(), word());
    let holds = |(post, done): (Queue<Sender<u32>>, u32)| {
        let _held = post.get().unwrap();
        report_and_hang(done);
    };
    let child = start(holds, (post.clone(), done));
    post.put(sender).unwrap();
    ledger::wait(done);
    assert_eq!(receiver.get_timeout(SHORT), Err(GetError::TimedOut));
    kill(&child);
    assert_eq!(receiver.get(), Err(GetError::Disconnected));
}

#[derive(Debug, Serialize, Deserialize)]
enum Note {
    Word(u32),
    Pen(Sender<Note>),
}

fn sender_in_its_own_queue() {
    let (sender, receiver) = Queue::new().unwrap().split();
    sender.put(Note::Pen(sender.clone())).unwrap();
    drop(sender);
    let Ok(Note::Pen(pen)) = receiver.get() else {
        panic!("another message");
    };
    pen.put(Note::Word(3)).unwrap();
    drop(pen);
    assert!(matches!(receiver.get(), Ok(Note::Word(3))));
    assert!(matches!(receiver.get(), Err(GetError::Disconnected)));
}

fn receiver_in_an_unread_message() {
    let (sender, receiver) = Queue::bounded(1).unwrap().split();
    let post = Queue::new().unwrap();
    post.put(receiver).unwrap();
    sender.put(1).unwrap();
    assert!(matches!(
        sender.put_timeout(2, SHORT),
        Err(PutError::TimedOut(2))
    ));
    thread::scope(|scope| {
        let waits = scope.spawn(|| sender.put(2));
        await_waiters(&sender, 1);
        drop(post);
        assert!(matches!(
            waits.join().unwrap(),
            Err(PutError::Disconnected(2))
        ));
    });
}

/// The end is not for ever, where somebody can still make handles.
fn sender_comes_back() {
    let queue = Queue::<u32>::new().unwrap();
    start(|_queue: Queue<u32>| (), queue.clone())
        .join()
        .unwrap();
    assert_eq!(queue.get(), Err(GetError::Disconnected));
    let child = start(puts_three, queue.sender());
    assert_eq!([0; 3].map(|_| queue.get().unwrap()), [0, 1, 2]);
    child.join().unwrap();
    assert_eq!(queue.get(), Err(GetError::Disconnected));
}
