//! Processes (B11): start and join, with a small and a large parent, by each start method.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use procession_bench::ballast;
use procession_primitives::{Process, StartMethod, init};

fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

fn start_and_join(method: StartMethod) {
    let process = Process::builder()
        .start_method(method)
        .spawn(square, black_box(7));
    let process = process.expect("a process starts");
    assert_eq!(process.join().expect("it gives its value"), 49);
}

fn process(c: &mut Criterion) {
    let mut group = c.benchmark_group("B11_start_and_join");
    group.measurement_time(Duration::from_secs(4));
    for (name, method) in [
        ("fork_server", StartMethod::ForkServer),
        ("spawn", StartMethod::Spawn),
        ("fork", StartMethod::Fork),
    ] {
        group.bench_function(name, |b| b.iter(|| start_and_join(method)));
    }
    for gib in [1_usize, 8] {
        let ballast = ballast(gib << 30);
        let id = BenchmarkId::new("fork_server_parent_holds_gib", gib);
        group.bench_function(id, |b| b.iter(|| start_and_join(StartMethod::ForkServer)));
        drop(black_box(ballast));
    }
    group.finish();
}

fn main() {
    init();
    let mut criterion = Criterion::default().configure_from_args();
    process(&mut criterion);
    criterion.final_summary();
}
