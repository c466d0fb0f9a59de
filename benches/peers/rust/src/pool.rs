//! `procspawn`: a pool of processes that takes one task at a time.

use std::hint::black_box;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use procession_bench::{Idleness, Trial, children, latencies, median, private_bytes, steady};
use procspawn::Pool;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use crate::{WORKERS, square};

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a pool starts")
}

/// It has no `map`: this is what its user would write.
fn map<A, R>(pool: &Pool, function: fn(A) -> R, items: impl IntoIterator<Item = A>) -> Vec<R>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let handles = items.into_iter().map(|item| pool.spawn(item, function));
    let handles: Vec<_> = handles.collect();
    let values = handles.into_iter().map(|handle| handle.join());
    values.collect::<Result<_, _>>().expect("all values")
}

pub(crate) fn one_by_one(trial: &Trial) {
    items(trial, "map(x * x), chunksize 1");
}

pub(crate) fn unordered(trial: &Trial) {
    items(trial, "imap_unordered(x * x)");
}

fn items(trial: &Trial, workload: &str) {
    let items = 1_000;
    let pool = pool(WORKERS);
    let micros = steady(|| map(&pool, square, 0..black_box(items))) / items as f64 / 1e3;
    trial.emit(trial.record(workload, "us/item", micros).items(items));
    pool.shutdown();
}

pub(crate) fn round_trip(trial: &Trial) {
    let pool = pool(WORKERS);
    let call = || pool.spawn(black_box(7), square).join().expect("a value");
    let rounds = trial.size(2_200, 550);
    let warm = latencies(rounds, Duration::ZERO, call);
    trial.emit_latencies("apply, warm", "us", &warm, &[]);
    let asleep = latencies(rounds, Duration::from_millis(1), call);
    trial.emit_latencies("apply, 1 ms apart", "us", &asleep, &[]);
    pool.shutdown();
}

pub(crate) fn first_result(trial: &Trial) {
    let first = millis(WORKERS);
    trial.emit(trial.record("first pool of a program, first result", "ms", first));
    let later: Vec<f64> = (0..10).map(|_| millis(WORKERS)).collect();
    trial.emit(trial.record("later pool, first result", "ms", median(&later)));
    for workers in [1, 2, 4, 16, 64, 256] {
        let record = trial.record("pool of n workers, first result", "ms", millis(workers));
        trial.emit(record.at("workers", workers as f64));
    }
}

fn millis(workers: usize) -> f64 {
    let start = Instant::now();
    let pool = pool(workers);
    assert_eq!(pool.spawn(7, square).join().expect("a value"), 49);
    let spent = start.elapsed();
    pool.shutdown();
    spent.as_secs_f64() * 1e3
}

/// It is known to hang here, with arguments of a megabyte and more.
pub(crate) fn arguments(trial: &Trial) {
    let (count, size) = (50, 8 << 20);
    let text = move || rate(vec!["x".repeat(size); count], |text| text.len());
    let bytes = move || {
        let bytes = vec![ByteBuf::from(vec![7; size]); count];
        rate(bytes, |bytes| bytes.len())
    };
    let rates: [(&str, Rate); 2] = [("text", Box::new(text)), ("bytes", Box::new(bytes))];
    let mut hangs = false;
    for (what, rate) in rates {
        let rate = if hangs {
            None
        } else {
            within(Duration::from_secs(trial.size(10, 5)), rate)
        };
        hangs = rate.is_none();
        let workload = format!("50 arguments of 8 MiB, {what}");
        let record = trial.record(&workload, "GB/s", rate.unwrap_or_default());
        let record = record.items(count as u64);
        trial.emit(if hangs {
            record.failed("hangs")
        } else {
            record
        });
    }
    for child in children() {
        let _ = Command::new("kill").arg(child.to_string()).status();
    }
}

type Rate = Box<dyn FnOnce() -> f64 + Send>;

/// What `call` returns, if it does so in time.
fn within<T: Send + 'static>(
    time: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let value = call();
        // Nobody listens any more if it came too late.
        let _ = sender.send(value);
    });
    receiver.recv_timeout(time).ok()
}

/// Bytes per nanosecond, after a call of each worker that warms up.
fn rate<A>(items: Vec<A>, len: fn(A) -> usize) -> f64
where
    A: Clone + Serialize + DeserializeOwned,
{
    let pool = pool(WORKERS);
    map(&pool, len, items[..WORKERS].to_vec());
    let start = Instant::now();
    let bytes: usize = map(&pool, len, items).into_iter().sum();
    let nanos = start.elapsed().as_nanos() as f64;
    pool.shutdown();
    bytes as f64 / nanos
}

pub(crate) fn straggler(trial: &Trial) {
    let (long, short) = (trial.size(10_000, 1_000), trial.size(10, 1));
    let pool = pool(4);
    map(&pool, wait, [0; 4]);
    let items = std::iter::once(long).chain(std::iter::repeat_n(short, 1_000));
    let start = Instant::now();
    map(&pool, wait, items);
    let seconds = start.elapsed().as_secs_f64();
    let workload = format!("1 x {long} ms, 1000 x {short} ms, 4 workers");
    trial.emit(trial.record(&workload, "s", seconds));
    pool.shutdown();
}

fn wait(millis: u32) {
    thread::sleep(Duration::from_millis(millis.into()));
}

pub(crate) fn wake_ups(trial: &Trial) {
    let pool = pool(64);
    map(&pool, square, 0..1000);
    thread::sleep(Duration::from_millis(200));
    let time = Duration::from_secs(trial.size(60, 2));
    let idleness = Idleness::over(time, &children());
    let what = format!("64 idle workers, {} s", time.as_secs());
    let switches = idleness.switches as f64;
    trial.emit(trial.record(&format!("{what}, context switches"), "switches", switches));
    let cpu = idleness.cpu.as_secs_f64() * 1e3;
    trial.emit(trial.record(&format!("{what}, CPU time"), "ms", cpu));
    pool.shutdown();
}

pub(crate) fn memory(trial: &Trial) {
    let pool = pool(WORKERS);
    map(&pool, square, 0..1000);
    let kib = children().into_iter().filter_map(private_bytes);
    let kib: Vec<f64> = kib.map(|bytes| bytes as f64 / 1024.0).collect();
    trial.emit(trial.record("private memory of an idle worker", "KiB", median(&kib)));
    pool.shutdown();
}
