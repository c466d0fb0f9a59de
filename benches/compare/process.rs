//! The start of a process, and its end (B11).

use std::hint::black_box;
use std::time::Duration;

use procession_bench::{Target, Trial, ballast, latencies, median};
use procession_primitives::{Process, StartMethod};

use crate::square;

/// B11.
pub(crate) fn start_and_join(trial: &Trial) {
    let default = |workload: &str| {
        let samples = millis(trial, StartMethod::ForkServer);
        let target = (50.0, Target::AtMost(0.3));
        trial.emit_latencies(workload, "ms", &samples, &[target]);
        median(&samples)
    };
    let without = default("start and join");
    for (method, what) in [(StartMethod::Spawn, "spawn"), (StartMethod::Fork, "fork")] {
        let workload = format!("start and join, by {what}");
        trial.emit_latencies(&workload, "ms", &millis(trial, method), &[]);
    }

    let gib = trial.size(8, 1);
    let held = ballast(gib << 30);
    let with = default(&format!("start and join, parent holds {gib} GiB"));
    drop(black_box(held));
    let workload = format!("start and join, with {gib} GiB / without");
    let record = trial.record(&workload, "times", with / without);
    trial.emit(record.target(Target::AtMost(1.1)));
}

fn millis(trial: &Trial, method: StartMethod) -> Vec<f64> {
    let micros = latencies(trial.size(1_000, 100), Duration::ZERO, || {
        let process = Process::builder().start_method(method);
        let process = process.spawn(square, black_box(7));
        let process = process.expect("a process starts");
        assert_eq!(process.join().expect("it gives its value"), 49);
    });
    micros.into_iter().map(|micros| micros / 1e3).collect()
}
