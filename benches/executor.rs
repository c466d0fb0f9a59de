//! Executors (B4, B5): futures, how they are waited for and given up, and `map`, with two workers.

use std::future::Future as Awaited;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use procession_executor::{
    Executor, Future, ProcessPoolExecutor, ReturnWhen, ThreadPoolExecutor, as_completed, init, wait,
};

const WORKERS: usize = 2;
const MANY: u64 = 100_000;

fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

fn processes() -> ProcessPoolExecutor {
    ProcessPoolExecutor::with_workers(WORKERS).expect("an executor starts")
}

fn threads() -> ThreadPoolExecutor {
    ThreadPoolExecutor::with_workers(WORKERS).expect("an executor starts")
}

fn submitted(executor: &impl Executor, futures: u64) -> Vec<Future<u64>> {
    let futures = 0..black_box(futures);
    futures.map(|n| executor.submit(square, n)).collect()
}

/// B5.
fn completions(c: &mut Criterion, name: &str, executor: &impl Executor) {
    let mut group = c.benchmark_group("B5_submit_as_completed");
    group.sample_size(10);
    for futures in [1_000, MANY] {
        group.throughput(Throughput::Elements(futures));
        group.bench_function(BenchmarkId::new(name, futures), |b| {
            b.iter(|| {
                as_completed(submitted(executor, futures))
                    .map(|future| future.result().expect("a value"))
                    .fold(0, u64::wrapping_add)
            });
        });
    }
    group.finish();
}

/// B4.
fn one(c: &mut Criterion, name: &str, executor: &impl Executor) {
    let mut group = c.benchmark_group("B4_submit");
    group.sample_size(50);
    let result = || executor.submit(square, black_box(7)).result();
    group.bench_function(BenchmarkId::new("result_warm", name), |b| {
        b.iter(|| result().expect("a value"));
    });
    group.bench_function(BenchmarkId::new("result_1_ms_apart", name), |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                thread::sleep(Duration::from_millis(1));
                let start = Instant::now();
                result().expect("a value");
                spent += start.elapsed();
            }
            spent
        });
    });
    group.bench_function(BenchmarkId::new("await_warm", name), |b| {
        b.iter(|| block_on(executor.submit(square, black_box(7))).expect("a value"));
    });
    group.finish();
}

fn waits(c: &mut Criterion, name: &str, executor: &impl Executor) {
    const FUTURES: u64 = 1_000;
    let mut group = c.benchmark_group("submit_wait_1000");
    group.sample_size(10);
    group.throughput(Throughput::Elements(FUTURES));
    for (when, how) in [
        ("first_completed", ReturnWhen::FirstCompleted),
        ("all_completed", ReturnWhen::AllCompleted),
    ] {
        group.bench_function(BenchmarkId::new(when, name), |b| {
            b.iter(|| wait(submitted(executor, FUTURES), how));
        });
    }
    group.finish();
}

fn maps(c: &mut Criterion, name: &str, executor: &impl Executor) {
    let mut group = c.benchmark_group("map_100000");
    group.sample_size(10);
    group.throughput(Throughput::Elements(MANY));
    group.bench_function(BenchmarkId::new("in_order", name), |b| {
        b.iter(|| executor.map(square, 0..black_box(MANY)).count());
    });
    group.bench_function(BenchmarkId::new("unordered", name), |b| {
        b.iter(|| executor.map_unordered(square, 0..black_box(MANY)).count());
    });
    group.finish();
}

/// How long it takes to be rid of futures, most of which have not begun.
fn giving_up(c: &mut Criterion, name: &str, executor: &impl Executor) {
    let mut group = c.benchmark_group("give_up_100000_pending");
    group.sample_size(10);
    group.throughput(Throughput::Elements(MANY));
    let pending = || {
        let held = [(); WORKERS].map(|()| executor.submit(thread::sleep, Duration::from_secs(60)));
        (held.map(Future::kill_on_drop), submitted(executor, MANY))
    };
    group.bench_function(BenchmarkId::new("cancel", name), |b| {
        let cancel = |(held, futures): (_, Vec<Future<u64>>)| {
            for future in &futures {
                black_box(future.cancel());
            }
            (held, futures)
        };
        b.iter_batched(pending, cancel, BatchSize::PerIteration);
    });
    group.bench_function(BenchmarkId::new("cancel_on_drop", name), |b| {
        let setup = || {
            let (held, futures) = pending();
            let futures = futures.into_iter().map(Future::cancel_on_drop);
            (held, futures.collect::<Vec<_>>())
        };
        let give_up = |(held, futures)| {
            drop::<Vec<Future<u64>>>(futures);
            held
        };
        b.iter_batched(setup, give_up, BatchSize::PerIteration);
    });
    group.finish();
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Awaited>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

fn main() {
    init();
    let mut criterion = Criterion::default().configure_from_args();
    let c = &mut criterion;
    let (processes, threads) = (processes(), threads());
    completions(c, "processes", &processes);
    completions(c, "threads", &threads);
    one(c, "processes", &processes);
    one(c, "threads", &threads);
    waits(c, "processes", &processes);
    waits(c, "threads", &threads);
    maps(c, "processes", &processes);
    maps(c, "threads", &threads);
    // Threads that sleep cannot be ended.
    giving_up(c, "processes", &processes);
    criterion.final_summary();
}
