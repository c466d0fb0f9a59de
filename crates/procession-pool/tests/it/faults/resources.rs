//! H and I: what a pool uses and gives back, and who gets his turn.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use procession_pool::{Pool, PoolError, Priority, TaskError};
use procession_sync::Mutex;
use procession_testkit::program::Program;
use procession_testkit::{Case, cases, eventually, heap_is_back, heap_units, ledger, os, same};

use crate::faults::resources as faults;
use crate::support::agent::Bytes;
use crate::support::storm;
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![faults:
        f130_many_pools, f131_many_kills_of_items, f133_lock_of_a_dead_worker,
        f134_result_that_nobody_reads, f135_context_of_dead_workers, f136_no_folder_for_files,
        f151_urgent_ones_without_end, f153_many_workers_on_few_cpus,
    ]
    .into()
}

/// The thousand are in the storm.
fn f130_many_pools() {
    storm::make_and_drop(100);
}

fn f131_many_kills_of_items() {
    storm::kill_items(150);
}

/// The next one gets it, and is told.
fn f133_lock_of_a_dead_worker() {
    let pool = Pool::with_workers(2).unwrap();
    let total = Mutex::new(0_u64).unwrap();
    let add = |(total, n): (Mutex<u64>, u64)| {
        let (mut held, told) = match total.lock() {
            Ok(held) => (held, false),
            Err(died) => {
                let mut held = died.into_guard();
                held.mark_consistent();
                (held, true)
            }
        };
        *held += n;
        if n % 10 == 9 {
            os::raise(libc::SIGKILL);
        }
        told
    };
    let items = (0..40).map(|n| (total.clone(), n));
    let outcomes = pool.chunksize(1).map_results(add, items);
    let told = outcomes.iter().flatten().filter(|told| **told).count();
    let died = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(died, 4);
    let last = total.lock().is_err();
    // Each death is told once, at least if nobody else died of it meanwhile.
    assert!(
        (1..=4).contains(&(told + usize::from(last))),
        "{told} were told"
    );
    let sum = match total.lock() {
        Ok(held) => *held,
        Err(died) => *died.into_guard(),
    };
    assert_eq!(sum, (0..40).sum::<u64>());
    check_usable(&pool);
}

fn f134_result_that_nobody_reads() {
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let large = |n: u8| Bytes(vec![n; 1 << 20]);
    // Kept until it is read.
    let kept = pool.apply_async(large, 1);
    kept.wait();
    let before = {
        drop(kept);
        warm_up(&pool);
        heap_units()
    };
    for n in 0..20 {
        drop(pool.apply_async(large, n));
        drop(pool.map_async(large, [n, n]));
        let read = pool.apply_async(large, n);
        read.wait();
        drop(read);
    }
    eventually("the memory is back", || {
        warm_up(&pool);
        match heap_units() {
            now if now <= before => Ok(()),
            now => Err(format!("{now}, {before} before")),
        }
    });
}

fn f135_context_of_dead_workers() {
    let before = heap_units();
    let pool = Pool::with_workers(2).unwrap();
    let context = Bytes(vec![5; 10 << 20]);
    for chunksize in [1, 6] {
        let work = |context: &Bytes, n: usize| {
            if n % 4 == 1 {
                os::raise(libc::SIGKILL);
            }
            u32::from(context.0[n]) + n as u32
        };
        let view = pool.chunksize(chunksize);
        let outcomes = view.map_with_results(&context, work, 0..12);
        for (n, outcome) in outcomes.iter().enumerate() {
            match n % 4 {
                1 => assert!(matches!(outcome, Err(TaskError::WorkerDied(_)))),
                _ => assert_eq!(*outcome.as_ref().unwrap(), n as u32 + 5),
            }
        }
    }
    check_usable(&pool);
    drop(pool);
    heap_is_back("the context is gone", before);
}

pub(super) fn without_a_folder(_: &[String]) -> ExitCode {
    check_usable(&Pool::with_workers(2).unwrap());
    let pool = Pool::builder().workers(1).trace("/proc/no/such/trace.json");
    match pool.build() {
        Err(PoolError::Trace(error)) => same("the cause", error.kind(), io::ErrorKind::NotFound),
        other => panic!("{other:?}"),
    }
    ExitCode::SUCCESS
}

/// A pool needs none; what wants a file says so.
fn f136_no_folder_for_files() {
    let mut program = Program::start_with("without_a_folder", &[], |command| {
        command.env("TMPDIR", "/proc/no/such");
    });
    assert!(program.wait().success());
    program.finish();
}

/// What is least urgent has its turn, too.
fn f151_urgent_ones_without_end() {
    let pool = Pool::with_workers(1).unwrap();
    let gate = ledger::reserve(1);
    let held = pool.apply_async(ledger::wait, gate);
    let low = pool.priority(Priority::Low).apply_async(|n: u32| n, 7);
    let urgent = pool.priority(Priority::High);
    let mut stream = urgent.buffersize(200).chunksize(1).imap(|n: u32| n, 0..);
    ledger::set(gate, 1);
    held.get().unwrap();
    let mut count = 0;
    while !low.ready() {
        stream.next().unwrap().unwrap();
        count += 1;
        assert!(count < 100_000, "it starves");
    }
    assert_eq!(low.get().unwrap(), 7);
}

/// Nobody is thought to hang only because there are many.
fn f153_many_workers_on_few_cpus() {
    let pool = Pool::builder().workers(64);
    let pool = pool.start_timeout(Duration::from_secs(30)).build().unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        warm_up(&pool);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!((pool.stats().restarts, pool.worker_pids().len()), (0, 64));
}
