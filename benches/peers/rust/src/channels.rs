//! `crossbeam-channel`: messages between threads of this process, and so a reference (B6, B7, B9).

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use procession_bench::{Pinned, Trial, latencies, paced};

/// Messages that a channel has room for.
const ROOM: usize = 1024;

/// 64 bytes.
type Record = [u64; 8];

pub(crate) fn short(trial: &Trial) {
    let rate = 1e3 / paced(one_by_one);
    // It has no batches.
    for workload in ["Queue<u64>, one by one", "Queue<u64>, in batches"] {
        trial.emit(trial.record(workload, "M/s", rate));
    }
}

fn one_by_one(rounds: u64) -> Duration {
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

pub(crate) fn two_by_two(trial: &Trial) {
    let nanos = paced(|rounds| {
        let (sender, receiver): (Sender<Record>, Receiver<Record>) = bounded(ROOM);
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
    });
    trial.emit(trial.record("2 producers, 2 consumers, 64 B", "ns/message", nanos));
}

pub(crate) fn ping_pong(trial: &Trial) {
    let ((there, theirs), (back, ours)) = (bounded::<u64>(ROOM), bounded(ROOM));
    let mut samples = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            let _pinned = Pinned::to(1);
            for message in theirs {
                back.send(message).expect("somebody takes it");
            }
        });
        let _pinned = Pinned::to(0);
        samples = latencies(trial.size(100_000, 20_000), Duration::ZERO, || {
            there.send(black_box(7)).expect("somebody takes it");
            assert_eq!(ours.recv(), Ok(7));
        });
        drop(there);
    });
    for workload in ["Pipe ping-pong, 8 B", "ping-pong by two queues, 8 B"] {
        trial.emit_latencies(workload, "us", &samples, &[]);
    }
}
