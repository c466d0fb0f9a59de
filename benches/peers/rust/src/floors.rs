//! Floors: what memory, caches, wake-ups and `exec` take, whoever uses them.

use std::env;
use std::hint::{black_box, spin_loop};
use std::io::{Read, Write, pipe};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use procession_bench::{Trial, latencies, steady};

/// Tells a copy of this program that it is the other end of a pipe, or only to end.
pub(crate) const ECHO: &str = "PROCESSION_BENCH_ECHO";

/// Plays the other end of a pipe if this process is one, to its end.
pub(crate) fn is_echo() -> bool {
    if env::var_os(ECHO).is_none() {
        return false;
    }
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    let mut byte = [0];
    while input.read_exact(&mut byte).is_ok() {
        if output
            .write_all(&byte)
            .and_then(|()| output.flush())
            .is_err()
        {
            break;
        }
    }
    true
}

/// Items go in and values come out: sixteen bytes for each, once.
pub(crate) fn copy_items(trial: &Trial) {
    let items = 1_000_000;
    let source = vec![7_u64; 2 * items];
    let mut target = source.clone();
    let nanos = steady(|| black_box(&mut target).copy_from_slice(black_box(&source)));
    let nanos = nanos / items as f64;
    let record = trial.record("map(x * x), default chunks", "ns/item", nanos);
    trial.emit(record.items(items as u64));
}

pub(crate) fn copy_arguments(trial: &Trial) {
    let (count, size) = (50, 8 << 20);
    let source = vec![7_u8; size];
    let mut target = source.clone();
    let nanos = steady(|| black_box(&mut target).copy_from_slice(black_box(&source)));
    for what in ["text", "bytes"] {
        let workload = format!("50 arguments of 8 MiB, {what}");
        let record = trial.record(&workload, "GB/s", size as f64 / nanos);
        trial.emit(record.items(count));
    }
}

pub(crate) fn copy_messages(trial: &Trial) {
    let len = 1 << 20;
    let source = vec![7_u8; len];
    let mut target = source.clone();
    let nanos = steady(|| black_box(&mut target).copy_from_slice(black_box(&source)));
    trial.emit(trial.record("Queue of 1 MiB messages", "GB/s", len as f64 / nanos));
    let nanos = steady(|| black_box(&mut target).fill(black_box(1)));
    let workload = "1 MiB of shared memory, filled and sent";
    trial.emit(trial.record(workload, "GB/s", len as f64 / nanos));
}

/// A line goes to another core and back for each item.
pub(crate) fn cache_line(trial: &Trial) {
    let rounds = 100_000;
    let ball = Ball::new(Ball::spin);
    let micros = steady(|| (0..rounds).for_each(|_| ball.play())) / rounds as f64 / 1e3;
    let record = trial.record("map(x * x), chunksize 1", "us/item", micros);
    trial.emit(record.items(rounds));
}

pub(crate) fn spinning(trial: &Trial) {
    let ball = Ball::new(Ball::spin);
    let samples = latencies(trial.size(100_000, 20_000), Duration::ZERO, || ball.play());
    trial.emit_latencies("apply, warm", "us", &samples, &[]);
}

pub(crate) fn parked(trial: &Trial) {
    let ball = Ball::new(Ball::park);
    asleep(trial, || ball.play());
}

/// As the other contestants, with a process that sleeps in `read`.
pub(crate) fn pipe_to_a_process(trial: &Trial) {
    let (mut input, theirs) = pipe().expect("a pipe");
    let mut child = Command::new(env::current_exe().expect("this is a file"))
        .env(ECHO, "1")
        .stdin(Stdio::piped())
        .stdout(theirs)
        .spawn()
        .expect("it starts");
    let mut output = child.stdin.take().expect("it was asked for");
    asleep(trial, || {
        output.write_all(&[7]).expect("it reads");
        input.read_exact(&mut [0]).expect("it answers");
    });
    drop(output);
    child.wait().expect("it ends");
}

fn asleep(trial: &Trial, call: impl FnMut()) {
    let rounds = trial.size(2_200, 550);
    let samples = latencies(rounds, Duration::from_millis(1), call);
    trial.emit_latencies("apply, 1 ms apart", "us", &samples, &[]);
}

/// A process of this program that ends at once.
pub(crate) fn start(trial: &Trial) {
    let program = env::current_exe().expect("this is a file");
    let start = Instant::now();
    let status = Command::new(program)
        .env(ECHO, "1")
        .stdin(Stdio::null())
        .status();
    let millis = start.elapsed().as_secs_f64() * 1e3;
    assert!(status.expect("it starts").success());
    for workload in [
        "first pool of a program, first result",
        "later pool, first result",
    ] {
        trial.emit(trial.record(workload, "ms", millis));
    }
}

/// Goes to another thread and back: the number of the stroke, odd on its way there.
struct Ball {
    stroke: Arc<AtomicU64>,
    other: Thread,
    wait: fn(&AtomicU64, u64),
}

impl Ball {
    /// The other thread plays as long as the program lives. It waits by `wait`.
    fn new(wait: fn(&AtomicU64, u64)) -> Ball {
        let stroke = Arc::new(AtomicU64::new(0));
        let (theirs, us) = (stroke.clone(), thread::current());
        let other = thread::spawn(move || {
            for number in (1..).step_by(2) {
                wait(&theirs, number);
                // Release: as one hands over data.
                theirs.store(number + 1, Ordering::Release);
                us.unpark();
            }
        });
        let other = other.thread().clone();
        Ball {
            stroke,
            other,
            wait,
        }
    }

    fn play(&self) {
        let number = self.stroke.load(Ordering::Relaxed) + 1;
        // Release: as one hands over data.
        self.stroke.store(number, Ordering::Release);
        self.other.unpark();
        (self.wait)(&self.stroke, number + 1);
    }

    fn spin(stroke: &AtomicU64, number: u64) {
        // Acquire: as one takes data.
        while stroke.load(Ordering::Acquire) != number {
            spin_loop();
        }
    }

    fn park(stroke: &AtomicU64, number: u64) {
        // Acquire: as one takes data.
        while stroke.load(Ordering::Acquire) != number {
            thread::park();
        }
    }
}
