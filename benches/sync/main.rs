//! Locks and queues between processes (B6, B7, B8, B9, B10), through their public interface.

mod alone;
mod condition;
#[path = "../workloads/mod.rs"]
mod workloads;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use workloads::bulk::{Fill, copied, lent};
use workloads::{lock, queue};

/// Measures one workload, which `make` makes if it is wanted. A round moves as much as `throughput`
/// says.
fn measure<R: FnMut(u64) -> Duration>(
    criterion: &mut Criterion,
    (group, name): (&str, &str),
    throughput: Throughput,
    make: impl Fn() -> R,
) {
    let mut group = criterion.benchmark_group(group);
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_millis(800));
    group.throughput(throughput);
    let mut run = None;
    group.bench_function(name, |b| b.iter_custom(run.get_or_insert_with(&make)));
    group.finish();
}

fn messages(c: &mut Criterion) {
    let one = Throughput::Elements(1);
    measure(
        c,
        ("B6_queue_u64", "one_by_one"),
        one.clone(),
        queue::one_by_one,
    );
    measure(c, ("B6_queue_u64", "batches"), one.clone(), queue::batches);
    let name = ("B7_queue_2x2_of_64_bytes", "procession");
    measure(c, name, one.clone(), queue::two_by_two);
    measure(c, ("B9_queue_round_trip", "procession"), one, || {
        let game = queue::PingPong::new();
        move |rounds| {
            let ours = || (0..rounds).for_each(|_| game.play());
            game.partner.beside(rounds, ours)
        }
    });
}

fn long_messages(c: &mut Criterion) {
    for (group, kib) in [
        ("B8_queue_64_KiB", 64),
        ("B8_queue_1_MiB", 1024),
        ("B8_queue_16_MiB", 16 << 10),
    ] {
        let len = kib << 10;
        let bytes = Throughput::Bytes(len as u64);
        measure(c, (group, "copied"), bytes.clone(), || copied(len));
        measure(c, (group, "part"), bytes.clone(), || lent(len, Fill::First));
        measure(c, (group, "part_filled"), bytes, || lent(len, Fill::All));
    }
}

fn locks(c: &mut Criterion) {
    let one = Throughput::Elements(1);
    measure(
        c,
        ("B10_lock", "uncontended"),
        one.clone(),
        lock::uncontended,
    );
    measure(c, ("B10_lock", "2_processes"), one.clone(), lock::contended);
    measure(
        c,
        ("condition_round_trip", "procession"),
        one,
        condition::round_trip,
    );
    alone::all(c);
}

fn main() {
    procession_sync::init();
    let mut criterion = Criterion::default().configure_from_args();
    messages(&mut criterion);
    long_messages(&mut criterion);
    locks(&mut criterion);
    criterion.final_summary();
}
