//! What one process does alone.

use std::hint::black_box;

use criterion::Criterion;
use procession_bench::Pinned;
use procession_sync::{Event, Lock, Mutex, Queue, RwLock, Semaphore};

pub(crate) fn all(criterion: &mut Criterion) {
    let _pinned = Pinned::to(0);
    let mut group = criterion.benchmark_group("alone");
    let mutex = Mutex::new(0_u64).expect("a mutex");
    group.bench_function("mutex_lock", |b| {
        b.iter(|| *mutex.lock().expect("nobody died") += 1);
    });
    let semaphore = Semaphore::new(4).expect("a semaphore");
    group.bench_function("semaphore_acquire_release", |b| {
        b.iter(|| drop(semaphore.acquire().expect("a permit")));
    });
    let shared = RwLock::new(0_u64).expect("a lock");
    group.bench_function("rwlock_read", |b| {
        b.iter(|| *shared.read().expect("nobody died"));
    });
    let event = Event::new().expect("an event");
    group.bench_function("event_set_clear", |b| {
        b.iter(|| {
            event.set();
            event.clear();
        });
    });
    event.set();
    group.bench_function("event_is_set", |b| b.iter(|| event.is_set()));
    let queue = Queue::<u64>::bounded(1024).expect("a queue");
    group.bench_function("queue_put_get", |b| {
        b.iter(|| {
            queue.put(black_box(7)).expect("room");
            queue.get().expect("a message")
        });
    });
    group.bench_function("queue_put_get_many_of_256", |b| {
        b.iter(|| {
            queue.put_many(black_box(0..256)).expect("room");
            queue.get_many(256).expect("messages")
        });
    });
    group.bench_function("lock_new_drop", |b| {
        b.iter(|| Lock::new().expect("a lock"));
    });
    group.finish();
}
