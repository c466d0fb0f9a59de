//! Short messages: B6, B7, and a round trip.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver as Inner, Sender as Outer, bounded};
use procession_primitives::SendFd;
use procession_sync::{Atomic, Queue, Receiver, Sender};

use crate::contest::{Contender, Contest};
use crate::partner::{Line, Partner, Pinned, serve};
use crate::{floor, pipe, python};

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

fn take_many((line, queue): (Line, Receiver<u64>)) {
    serve(line, Some(1), |rounds| {
        let mut left = rounds as usize;
        while left > 0 {
            left -= black_box(queue.get_many(left.min(BATCH)).expect("messages")).len();
        }
    });
}

/// B6, one by one.
pub(crate) fn single(contest: &mut Contest) {
    contest.hold("B6_queue_u64", None, || {
        let (sender, receiver) = queue::<u64>().split();
        let taker = Partner::new(take, receiver);
        let ours = move |rounds| {
            let _pinned = Pinned::to(0);
            taker.beside(rounds, || {
                for n in 0..rounds {
                    sender.put(black_box(n)).expect("somebody takes it");
                }
            })
        };
        let (reader, mut writer) = pipe::reading(8);
        let pipe = move |rounds| {
            let _pinned = Pinned::to(0);
            reader.beside(rounds, || pipe::write_all(&mut writer, rounds, &[1; 8]))
        };
        vec![
            Contender::new("procession", ours),
            Contender::new("crossbeam_between_threads", between_threads),
            Contender::new("locks_and_ring_threads", floor::between_threads),
            Contender::new("pipe", pipe),
            python::contender("python_queue", "queue"),
            python::contender("python_simple_queue", "simple_queue"),
        ]
    });
}

fn between_threads(rounds: u64) -> Duration {
    let (sender, receiver) = bounded(ROOM);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let _pinned = Pinned::to(1);
            for _ in 0..rounds {
                black_box::<u64>(receiver.recv().expect("a message"));
            }
        });
        let _pinned = Pinned::to(0);
        for n in 0..rounds {
            sender.send(black_box(n)).expect("somebody takes it");
        }
    });
    start.elapsed()
}

/// B6, many at once.
pub(crate) fn batches(contest: &mut Contest) {
    contest.hold("B6_queue_u64_batches", None, || {
        let (sender, receiver) = queue::<u64>().split();
        let taker = Partner::new(take_many, receiver);
        let ours = move |rounds| {
            let _pinned = Pinned::to(0);
            taker.beside(rounds, || {
                let put = sender.put_many(black_box(0..rounds));
                assert_eq!(put.expect("somebody takes them") as u64, rounds);
            })
        };
        vec![
            Contender::new("procession", ours),
            Contender::new("crossbeam_one_by_one", between_threads),
        ]
    });
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

/// Has each partner do half of the rounds. How long all took.
fn halves(partners: &[Partner; 4], rounds: u64) -> Duration {
    let start = Instant::now();
    for partner in partners {
        partner.go(rounds.div_ceil(2));
    }
    for partner in partners {
        partner.wait();
    }
    start.elapsed()
}

/// B7: two producers, two consumers, 64 bytes. Nobody is pinned: there may be fewer CPUs than they.
pub(crate) fn two_by_two(contest: &mut Contest) {
    contest.hold("B7_queue_2x2_of_64_bytes", None, || {
        let (sender, receiver) = queue::<Record>().split();
        let partners = [
            Partner::new(put_records, sender.clone()),
            Partner::new(put_records, sender),
            Partner::new(take_records, receiver.clone()),
            Partner::new(take_records, receiver),
        ];
        let ours = move |rounds| halves(&partners, rounds);

        let (reader, writer) = pipe::pipe();
        let (other_reader, other_writer) = (reader.try_clone(), writer.try_clone());
        let put = |writer| Partner::new(pipe::write, (SendFd::new(writer), size_of::<Record>()));
        let take = |reader| {
            let argument = (SendFd::new(reader), size_of::<Record>(), None);
            Partner::new(pipe::read, argument)
        };
        let partners = [
            put(writer),
            put(other_writer.expect("a descriptor")),
            take(reader),
            take(other_reader.expect("a descriptor")),
        ];
        let pipe = move |rounds| halves(&partners, rounds);
        vec![
            Contender::new("procession", ours),
            Contender::new("crossbeam_between_threads", records_between_threads),
            Contender::new("pipe", pipe),
        ]
    });
}

fn records_between_threads(rounds: u64) -> Duration {
    let (sender, receiver): (Outer<Record>, Inner<Record>) = bounded(ROOM);
    let half = rounds.div_ceil(2);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..half {
                    sender.send(black_box([n; 8])).expect("somebody takes it");
                }
            });
            scope.spawn(|| {
                for _ in 0..half {
                    black_box(receiver.recv().expect("a message"));
                }
            });
        }
    });
    start.elapsed()
}

fn echo((line, (there, back)): (Line, (Receiver<u64>, Sender<u64>))) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            let message = there.get().expect("a message");
            back.put(message).expect("somebody takes it");
        }
    });
}

/// Answers each odd number with the next one.
fn answer((line, turn): (Line, Atomic<u64>)) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            while turn.load(Ordering::Acquire) & 1 == 0 {
                spin_loop();
            }
            turn.fetch_add(1, Ordering::Release);
        }
    });
}

/// There and back, each side on its CPU.
pub(crate) fn round_trip(contest: &mut Contest) {
    contest.hold("queue_round_trip", None, || {
        let (there, back) = (queue::<u64>(), queue::<u64>());
        let partner = Partner::new(echo, (there.receiver(), back.sender()));
        let (there, back) = (there.sender(), back.receiver());
        let ours = move |rounds| {
            let _pinned = Pinned::to(0);
            partner.beside(rounds, || {
                for n in 0..rounds {
                    there.put(n).expect("somebody takes it");
                    assert_eq!(back.get(), Ok(n));
                }
            })
        };
        let turn = Atomic::new(0_u64).expect("a number");
        let partner = Partner::new(answer, turn.clone());
        let line = move |rounds| {
            let _pinned = Pinned::to(0);
            partner.beside(rounds, || {
                for _ in 0..rounds {
                    turn.fetch_add(1, Ordering::Release);
                    while turn.load(Ordering::Acquire) & 1 == 1 {
                        spin_loop();
                    }
                }
            })
        };
        vec![
            Contender::new("procession", ours),
            Contender::new("crossbeam_between_threads", echo_between_threads),
            Contender::new("cache_line", line),
        ]
    });
}

fn echo_between_threads(rounds: u64) -> Duration {
    let ((there, from_here), (back, from_there)) = (bounded(ROOM), bounded(ROOM));
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let _pinned = Pinned::to(1);
            for message in from_here {
                back.send(message).expect("somebody takes it");
            }
        });
        let _pinned = Pinned::to(0);
        for n in 0..rounds {
            there.send(n).expect("somebody takes it");
            assert_eq!(from_there.recv(), Ok(n));
        }
        drop(there);
    });
    start.elapsed()
}
