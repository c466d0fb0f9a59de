//! Short messages (B6, B7), and a round trip (B9).

use std::hint::black_box;
use std::time::{Duration, Instant};

use procession_sync::{Queue, Receiver, Sender};

use super::partner::{Line, Partner, serve};

/// Messages that a queue has room for.
const ROOM: usize = 1024;
/// Messages that are taken at once, at most.
const BATCH: usize = 256;

/// 64 bytes.
type Record = [u64; 8];

fn queue<T>() -> Queue<T> {
    Queue::bounded(ROOM).expect("a queue")
}

fn take((line, queue): (Line, Receiver<u64>)) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            black_box(queue.get().expect("a message"));
        }
    });
}

/// B6, one by one: a process takes what this one puts.
pub(crate) fn one_by_one() -> impl FnMut(u64) -> Duration {
    let (sender, receiver) = queue::<u64>().split();
    let taker = Partner::new(take, receiver);
    move |rounds| {
        taker.beside(rounds, || {
            for n in 0..rounds {
                sender.put(black_box(n)).expect("somebody takes it");
            }
        })
    }
}

fn take_many((line, queue): (Line, Receiver<u64>)) {
    serve(line, Some(1), |rounds| {
        let mut left = rounds as usize;
        while left > 0 {
            left -= black_box(queue.get_many(left.min(BATCH)).expect("messages")).len();
        }
    });
}

/// B6, many at once.
pub(crate) fn batches() -> impl FnMut(u64) -> Duration {
    let (sender, receiver) = queue::<u64>().split();
    let taker = Partner::new(take_many, receiver);
    move |rounds| {
        taker.beside(rounds, || {
            let put = sender.put_many(black_box(0..rounds));
            assert_eq!(put.expect("somebody takes them") as u64, rounds);
        })
    }
}

fn put_records((line, queue): (Line, Sender<Record>)) {
    serve(line, None, |rounds| {
        for n in 0..rounds {
            queue.put(black_box([n; 8])).expect("somebody takes it");
        }
    });
}

fn take_records((line, queue): (Line, Receiver<Record>)) {
    serve(line, None, |rounds| {
        for _ in 0..rounds {
            black_box(queue.get().expect("a message"));
        }
    });
}

/// B7: two producers, two consumers, 64 bytes. Nobody is pinned: there may be fewer CPUs than they.
pub(crate) fn two_by_two() -> impl FnMut(u64) -> Duration {
    let (sender, receiver) = queue::<Record>().split();
    let partners = [
        Partner::new(put_records, sender.clone()),
        Partner::new(put_records, sender),
        Partner::new(take_records, receiver.clone()),
        Partner::new(take_records, receiver),
    ];
    move |rounds| {
        let start = Instant::now();
        for partner in &partners {
            partner.go(rounds.div_ceil(2));
        }
        for partner in &partners {
            partner.wait();
        }
        start.elapsed()
    }
}

fn echo((line, (there, back)): (Line, (Receiver<u64>, Sender<u64>))) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            let message = there.get().expect("a message");
            back.put(message).expect("somebody takes it");
        }
    });
}

/// A partner that sends back what it gets, by two queues (B9).
pub(crate) struct PingPong {
    pub(crate) partner: Partner,
    there: Sender<u64>,
    back: Receiver<u64>,
}

impl PingPong {
    pub(crate) fn new() -> PingPong {
        let (there, back) = (queue::<u64>(), queue::<u64>());
        PingPong {
            partner: Partner::new(echo, (there.receiver(), back.sender())),
            there: there.sender(),
            back: back.receiver(),
        }
    }

    /// One round, which the partner must have been told of.
    pub(crate) fn play(&self) {
        self.there.put(black_box(7)).expect("somebody takes it");
        assert_eq!(self.back.get(), Ok(7));
    }
}
