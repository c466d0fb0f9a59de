//! `ipc-channel`: messages between processes over sockets (B6, B8, B9, B20).

use std::hint::black_box;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender, IpcSharedMemory};
use procession_bench::{Trial, paced};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use crate::kernel::rally;
use crate::partner::Partner;

/// Messages that are sent as one.
const BATCH: u64 = 256;

fn channel<T: Serialize + DeserializeOwned>() -> (IpcSender<T>, IpcReceiver<T>) {
    ipc::channel().expect("a channel")
}

/// Nanoseconds of a message.
fn one_way<T: Serialize + DeserializeOwned>(message: impl Fn() -> T) -> f64 {
    let (sender, receiver) = channel::<T>();
    let mut partner = Partner::new(Some(1), |rounds| {
        for _ in 0..rounds {
            black_box(receiver.recv().expect("a message"));
        }
    });
    paced(|rounds| {
        partner.beside(rounds, || {
            for _ in 0..rounds {
                sender.send(message()).expect("somebody takes it");
            }
        })
    })
}

pub(crate) fn short(trial: &Trial) {
    let rate = 1e3 / one_way(|| black_box(7_u64));
    trial.emit(trial.record("Queue<u64>, one by one", "M/s", rate));
    let rate = BATCH as f64 * 1e3 / one_way(|| (0..black_box(BATCH)).collect::<Vec<_>>());
    trial.emit(trial.record("Queue<u64>, in batches", "M/s", rate));
}

/// Nanoseconds of a message of `len` bytes, by the channel that is made for bytes.
fn bytes(len: usize) -> f64 {
    let (sender, receiver) = ipc::bytes_channel().expect("a channel");
    let mut partner = Partner::new(Some(1), |rounds| {
        for _ in 0..rounds {
            black_box(receiver.recv().expect("a message"));
        }
    });
    let message = vec![1; len];
    paced(|rounds| {
        partner.beside(rounds, || {
            for _ in 0..rounds {
                sender.send(&message).expect("somebody takes it");
            }
        })
    })
}

pub(crate) fn long(trial: &Trial) {
    let len = 1 << 20;
    let rate = len as f64 / bytes(len);
    trial.emit(trial.record("Queue of 1 MiB messages", "GB/s", rate));
}

/// As messages of serde, which the other rows are.
pub(crate) fn long_values(trial: &Trial) {
    let message = ByteBuf::from(vec![1; 1 << 20]);
    let rate = message.len() as f64 / one_way(|| message.clone());
    trial.emit(trial.record("Queue of 1 MiB messages", "GB/s", rate));
}

/// It copies bytes into shared memory, or fills that with one.
pub(crate) fn long_shared(trial: &Trial) {
    let message = vec![1; 1 << 20];
    let rate = message.len() as f64 / one_way(|| IpcSharedMemory::from_bytes(&message));
    trial.emit(trial.record("Queue of 1 MiB messages", "GB/s", rate));
    let len = message.len();
    let rate = len as f64 / one_way(|| IpcSharedMemory::from_byte(1, len));
    trial.emit(trial.record("1 MiB of shared memory, filled and sent", "GB/s", rate));
}

pub(crate) fn sweep(trial: &Trial) {
    for power in (3..=24).step_by(3) {
        let len = 1 << power;
        let record = trial.record(
            "Queue of messages, by size",
            "ns/B",
            bytes(len) / len as f64,
        );
        trial.emit(record.at("bytes", len as f64));
    }
}

pub(crate) fn ping_pong(trial: &Trial) {
    let (there, theirs) = channel::<u64>();
    let (back, ours) = channel::<u64>();
    rally(
        trial,
        |rounds| {
            for _ in 0..rounds {
                let message = theirs.recv().expect("a message");
                back.send(message).expect("somebody takes it");
            }
        },
        || {
            there.send(black_box(7)).expect("somebody takes it");
            assert_eq!(ours.recv().expect("a message"), 7);
        },
    );
}
