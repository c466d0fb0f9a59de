//! The start of a process, and its end (B11).

use std::env;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::Duration;

use procession_bench::{Trial, ballast, latencies};

use crate::floors::ECHO;
use crate::square;

pub(crate) fn procspawn(trial: &Trial) {
    measure(trial, || {
        let process = procspawn::spawn(black_box(7), square);
        assert_eq!(process.join().expect("it gives its value"), 49);
    });
}

/// Of this program, which ends at once: what std does by `posix_spawn`.
pub(crate) fn posix_spawn(trial: &Trial) {
    let program = env::current_exe().expect("this is a file");
    measure(trial, || {
        let mut command = Command::new(&program);
        let status = command.env(ECHO, "1").stdin(Stdio::null()).status();
        assert!(status.expect("it starts").success());
    });
}

fn measure(trial: &Trial, mut call: impl FnMut()) {
    let mut emit = |workload: &str| {
        let micros = latencies(trial.size(1_000, 100), Duration::ZERO, &mut call);
        let millis: Vec<f64> = micros.into_iter().map(|micros| micros / 1e3).collect();
        trial.emit_latencies(workload, "ms", &millis, &[]);
    };
    emit("start and join");
    let gib = trial.size(8, 1);
    let held = ballast(gib << 30);
    emit(&format!("start and join, parent holds {gib} GiB"));
    drop(black_box(held));
}
