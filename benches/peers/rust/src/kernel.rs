//! The kernel's ways between processes: pipes and sockets that keep messages apart (B6-B9, B20).

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use procession_bench::{Trial, latencies, paced};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::fcntl_setpipe_size;

use crate::partner::{Partner, halves};

/// Messages that are written at once.
const BATCH: usize = 256;

/// Reads of the first, writes to the second.
type Ends = (std::fs::File, std::fs::File);

fn ends((reader, writer): (OwnedFd, OwnedFd)) -> Ends {
    (reader.into(), writer.into())
}

/// Of 1 MiB if the kernel allows.
fn pipe() -> Ends {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let _ = fcntl_setpipe_size(&writer, 1 << 20);
    ends((reader.into(), writer.into()))
}

fn socket() -> Ends {
    let kind = SocketType::SEQPACKET;
    let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None);
    ends(pair.expect("a pair of sockets"))
}

fn read(mut reader: impl Read, rounds: u64, len: usize) {
    let mut message = vec![0; len];
    for _ in 0..rounds {
        reader.read_exact(&mut message).expect("somebody writes");
    }
}

fn write(mut writer: impl Write, rounds: u64, len: usize) {
    let message = vec![1; len];
    for _ in 0..rounds {
        writer.write_all(&message).expect("somebody reads");
    }
}

/// Nanoseconds of a message of `len` bytes.
fn one_way((reader, writer): Ends, len: usize) -> f64 {
    let mut partner = Partner::new(Some(1), |rounds| read(&reader, rounds, len));
    paced(|rounds| partner.beside(rounds, || write(&writer, rounds, len)))
}

pub(crate) fn short(trial: &Trial) {
    let rate = 1e3 / one_way(pipe(), 8);
    trial.emit(trial.record("Queue<u64>, one by one", "M/s", rate));
    let rate = BATCH as f64 * 1e3 / one_way(pipe(), 8 * BATCH);
    trial.emit(trial.record("Queue<u64>, in batches", "M/s", rate));
}

pub(crate) fn pipe_two_by_two(trial: &Trial) {
    two_by_two(trial, &pipe());
}

pub(crate) fn socket_two_by_two(trial: &Trial) {
    two_by_two(trial, &socket());
}

fn two_by_two(trial: &Trial, (reader, writer): &Ends) {
    let put = || Partner::new(None, |rounds| write(writer, rounds, 64));
    let take = || Partner::new(None, |rounds| read(reader, rounds, 64));
    let mut partners = [put(), put(), take(), take()];
    let nanos = paced(|rounds| halves(&mut partners, rounds));
    trial.emit(trial.record("2 producers, 2 consumers, 64 B", "ns/message", nanos));
}

pub(crate) fn long(trial: &Trial) {
    let len = 1 << 20;
    let rate = len as f64 / one_way(pipe(), len);
    trial.emit(trial.record("Queue of 1 MiB messages", "GB/s", rate));
}

pub(crate) fn sweep(trial: &Trial) {
    for power in (3..=24).step_by(3) {
        let len = 1 << power;
        let nanos = one_way(pipe(), len) / len as f64;
        let record = trial.record("Queue of messages, by size", "ns/B", nanos);
        trial.emit(record.at("bytes", len as f64));
    }
}

pub(crate) fn pipe_ping_pong(trial: &Trial) {
    ping_pong(trial, pipe(), pipe());
}

pub(crate) fn socket_ping_pong(trial: &Trial) {
    ping_pong(trial, socket(), socket());
}

fn ping_pong(trial: &Trial, there: Ends, back: Ends) {
    rally(
        trial,
        |rounds| {
            for _ in 0..rounds {
                read(&there.0, 1, 8);
                write(&back.1, 1, 8);
            }
        },
        || {
            write(&there.1, 1, 8);
            read(&back.0, 1, 8);
        },
    );
}

/// Rounds of `play` with a partner that does `answer`, a number of rounds.
pub(crate) fn rally(trial: &Trial, answer: impl FnMut(u64), play: impl FnMut()) {
    let rounds = trial.size(100_000, 20_000);
    let mut partner = Partner::new(Some(1), answer);
    let mut samples = Vec::new();
    // One more warms up.
    partner.beside(rounds + 1, || {
        samples = latencies(rounds, Duration::ZERO, play);
    });
    for workload in ["Pipe ping-pong, 8 B", "ping-pong by two queues, 8 B"] {
        trial.emit_latencies(workload, "us", &samples, &[]);
    }
}
