//! Messages between processes: short ones (B6, B7) and a round trip (B9).

use std::time::Duration;

use procession_bench::{Target, Trial, latencies, paced};

use crate::workloads::queue::{self, PingPong};

/// B6.
pub(crate) fn short(trial: &Trial) {
    let rate = 1e3 / paced(queue::one_by_one());
    let record = trial.record("Queue<u64>, one by one", "M/s", rate);
    trial.emit(record.target(Target::AtLeast(8.0)));
    let rate = 1e3 / paced(queue::batches());
    let record = trial.record("Queue<u64>, in batches", "M/s", rate);
    trial.emit(record.target(Target::AtLeast(30.0)));
}

/// B7.
pub(crate) fn two_by_two(trial: &Trial) {
    let nanos = paced(queue::two_by_two());
    let record = trial.record("2 producers, 2 consumers, 64 B", "ns/message", nanos);
    trial.emit(record.target(Target::AtMost(200.0)));
}

/// B9.
pub(crate) fn ping_pong(trial: &Trial) {
    let pipe = |percent: &str| {
        let workload = format!("Pipe ping-pong, 8 B, {percent}");
        let record = trial.record(&workload, "us", 0.0);
        record.not_built("the connection layer is not built yet")
    };
    trial.emit(pipe("p50").target(Target::AtMost(1.0)));
    trial.emit(pipe("p99"));

    let rounds = trial.size(100_000, 20_000);
    let game = PingPong::new();
    let mut samples = Vec::new();
    // One more warms up.
    game.partner.beside(rounds + 1, || {
        samples = latencies(rounds, Duration::ZERO, || game.play());
    });
    trial.emit_latencies("ping-pong by two queues, 8 B", "us", &samples, &[]);
}
