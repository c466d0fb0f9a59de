//! Long messages between processes, copied and lent (B8), and what a byte costs (B20).

use procession_bench::{Target, Trial, paced};

use crate::workloads::bulk::{Fill, copied, lent};

const LEN: usize = 1 << 20;

/// B8.
pub(crate) fn long(trial: &Trial) {
    let rate = LEN as f64 / paced(copied(LEN));
    let record = trial.record("Queue of 1 MiB messages", "GB/s", rate);
    trial.emit(record.target(Target::AtLeast(10.0)));
    let rate = LEN as f64 / paced(lent(LEN, Fill::All));
    trial.emit(trial.record("1 MiB of shared memory, filled and sent", "GB/s", rate));
    let mut values = Vec::new();
    for len in [64 << 10, LEN, 16 << 20] {
        let micros = paced(lent(len, Fill::First)) / 1e3;
        values.push(micros);
        let record = trial.record("Part sent without a copy, by size", "us/message", micros);
        trial.emit(record.at("bytes", len as f64));
    }
    let record = trial.spread("us/message", &values);
    trial.emit(record.target(Target::AtMost(1.2)));
}

/// A part of B20.
pub(crate) fn sweep(trial: &Trial) {
    let mut values = Vec::new();
    for power in (3..=24).step_by(3) {
        let len = 1 << power;
        let nanos = paced(copied(len)) / len as f64;
        // Of a short message the bytes are the least.
        if len >= 1 << 15 {
            values.push(nanos);
        }
        let record = trial.record("Queue of messages, by size", "ns/B", nanos);
        trial.emit(record.at("bytes", len as f64));
    }
    trial.emit(trial.spread("ns/B of a queue, from 32 KiB,", &values));
}
