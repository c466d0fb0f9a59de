//! The pool (B1, B2, B4, B12, B13, B19), through its public interface, with two workers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use procession_bench::{first_use, is_first_use, private_bytes};
use procession_pool::{Pool, init};
use procession_sync::Array;

const WORKERS: usize = 2;

fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

fn pool() -> Pool {
    Pool::with_workers(WORKERS).expect("a pool starts")
}

fn map(c: &mut Criterion) {
    let pool = pool();
    let mut group = c.benchmark_group("B1_map_default_chunks");
    group.sample_size(20);
    for items in [1_000_u64, 100_000, 1_000_000] {
        group.throughput(Throughput::Elements(items));
        group.bench_function(BenchmarkId::from_parameter(items), |b| {
            b.iter(|| pool.map(square, 0..black_box(items)).expect("all values"));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("B2_map_chunksize_1");
    group.sample_size(20);
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("100000", |b| {
        b.iter(|| {
            pool.chunksize(1)
                .map(square, 0..black_box(100_000))
                .expect("all values")
        });
    });
    group.finish();
}

fn apply(c: &mut Criterion) {
    let pool = pool();
    let mut group = c.benchmark_group("B4_apply");
    group.bench_function("warm", |b| {
        b.iter(|| pool.apply(square, black_box(7)).expect("a value"))
    });
    group.sample_size(50);
    group.bench_function("asleep", |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                std::thread::sleep(Duration::from_millis(1));
                let start = Instant::now();
                pool.apply(square, black_box(7)).expect("a value");
                spent += start.elapsed();
            }
            spent
        });
    });
    group.finish();
}

/// What the other ways to the pool cost.
fn other_calls(c: &mut Criterion) {
    const ITEMS: u64 = 100_000;
    let pool = pool();
    let mut group = c.benchmark_group("other_calls_100000");
    group.sample_size(10);
    group.throughput(Throughput::Elements(ITEMS));
    group.bench_function("imap", |b| {
        b.iter(|| pool.imap(square, 0..black_box(ITEMS)).count());
    });
    group.bench_function("imap_unordered", |b| {
        b.iter(|| pool.imap_unordered(square, 0..black_box(ITEMS)).count());
    });
    group.bench_function("apply_async_get", |b| {
        b.iter(|| {
            let results = (0..black_box(ITEMS)).map(|n| pool.apply_async(square, n));
            let results: Vec<_> = results.collect();
            let values = results.into_iter().map(|result| result.get());
            values.map(|value| value.expect("a value")).max()
        });
    });
    let array = Array::<u64>::new(ITEMS as usize).expect("an array");
    group.bench_function("map_chunks_of_1000", |b| {
        let sum: fn(&[u64]) -> u64 = |chunk| chunk.iter().sum();
        b.iter(|| pool.map_chunks(&array, 1000, sum).expect("all values"));
    });
    group.finish();
}

fn start(c: &mut Criterion) {
    let mut group = c.benchmark_group("B12_pool_made_first_result");
    group.sample_size(30);
    group.bench_function("first_pool_of_a_program", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| first_use()).sum());
    });
    drop(pool());
    for workers in [1, 2, 16, 64] {
        group.bench_function(BenchmarkId::new("later_pool_of", workers), |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| first_result(workers)).sum());
        });
    }
    group.finish();
}

/// From nothing to the first value. The pool's end is not part of it.
fn first_result(workers: usize) -> Duration {
    let start = Instant::now();
    let pool = Pool::with_workers(workers).expect("a pool starts");
    assert_eq!(pool.apply(square, 7).expect("a value"), 49);
    start.elapsed()
}

fn large_arguments(c: &mut Criterion) {
    let pool = pool();
    let argument = "x".repeat(8 << 20);
    let mut group = c.benchmark_group("B13_50_arguments_of_8_mib");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(50 * (8 << 20)));
    group.bench_function("copied", |b| {
        b.iter(|| {
            let items = std::iter::repeat_n(&argument, 50).cloned();
            pool.map(|text: String| text.len(), items)
                .expect("all values")
        });
    });
    group.finish();
}

/// Not a time, so printed beside the table.
fn memory() {
    let pool = pool();
    let _ = pool.map(square, 0..1000);
    let each = pool.worker_pids().into_iter().filter_map(private_bytes);
    for bytes in each {
        println!("B19_private_memory_of_an_idle_worker: {} KiB", bytes >> 10);
    }
}

fn main() {
    init();
    if is_first_use() {
        println!("{}", first_result(WORKERS).as_nanos());
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    memory();
    map(&mut criterion);
    apply(&mut criterion);
    other_calls(&mut criterion);
    start(&mut criterion);
    large_arguments(&mut criterion);
    criterion.final_summary();
}
