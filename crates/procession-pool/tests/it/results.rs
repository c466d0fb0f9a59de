//! Handles of outcomes: waited for, polled, cancelled, killed, forgotten, and left behind by their
//! pool.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use procession_pool::{AsyncResult, Pool, TaskError, current_task};
use procession_testkit::{Case, cases, eventually, heap_is_back, heap_units, ledger, os};

use crate::results;
use crate::support::agent::{self, Act, Bytes, Plan, Stage, work};
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![results:
        first_of_many_pools, get_and_its_kin, handed_out_once, ready_and_successful,
        every_stage_every_way, cancel_queued, cancel_running, cancel_finished, kill_running,
        kill_queued_and_finished, kill_spares_the_others, cancel_one_and_kill_another,
        cancel_many_items, kill_many_items, cancel_many_handles, cancel_large_values,
        cancel_before_a_retry, handles_are_dropped, await_one, await_many, await_in_many_threads,
        futures_are_dropped, polled_in_turn, polled_with_other_wakers, waits_in_many_threads,
        closed_pool, close_and_join, pool_dropped_while_handles_live, ten_thousand,
        more_than_there_are_cells, no_items, wrong_length, retries, timeouts, crash_limit,
        fail_fast, priorities, while_workers_die,
    ]
    .into()
}

/// Occupies the only worker until the second word is set.
fn occupy(pool: &Pool) -> (AsyncResult<u32>, u32) {
    let words = ledger::reserve(2);
    let busy = pool.apply_async(
        |words| {
            ledger::note(words);
            ledger::wait(words + 1)
        },
        words,
    );
    ledger::wait(words);
    (busy, words + 1)
}

fn endless(begun: u32) {
    ledger::note(begun);
    os::sleep_for_ever();
}

#[track_caller]
fn check_cancelled<T: std::fmt::Debug>(outcome: Result<T, TaskError>) {
    assert!(matches!(outcome, Err(TaskError::Cancelled)), "{outcome:?}");
}

/// Whoever looks first for the first outcome of a pool.
fn first_of_many_pools() {
    for round in 0..150 {
        let pool = Pool::with_workers(1).unwrap();
        let wait = |micros| procession_testkit::pause(Duration::from_micros(micros));
        pool.apply_async(wait, round % 50 * 10).get().unwrap();
    }
}

fn get_and_its_kin() {
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    let mut handles: Vec<_> = (0..5)
        .map(|_| pool.apply_async(ledger::wait, gate))
        .collect();
    for handle in &mut handles {
        assert!(handle.try_get().is_none());
        assert!(handle.get_timeout(Duration::ZERO).is_none());
        assert!(handle.get_timeout(Duration::from_millis(3)).is_none());
        assert!(handle.get_deadline(Instant::now()).is_none());
        assert!(!handle.wait_timeout(Duration::from_millis(1)));
    }
    ledger::set(gate, 5);
    handles.iter().for_each(AsyncResult::wait);
    assert!(handles[0].wait_timeout(Duration::ZERO));
    assert_eq!(handles[0].try_get().unwrap().unwrap(), 5);
    let found = handles[1].get_timeout(Duration::ZERO);
    assert_eq!(found.unwrap().unwrap(), 5);
    let found = handles[2].get_deadline(Instant::now());
    assert_eq!(found.unwrap().unwrap(), 5);
    let found = handles[3].get_timeout(Duration::MAX);
    assert_eq!(found.unwrap().unwrap(), 5);
    assert_eq!(handles.remove(4).get().unwrap(), 5);
}

fn handed_out_once() {
    let pool = Pool::with_workers(1).unwrap();
    let mut handle = pool.apply_async(|n: u8| n, 3);
    handle.wait();
    assert_eq!(handle.try_get().unwrap().unwrap(), 3);
    assert!(handle.ready());
    for _ in 0..2 {
        assert!(matches!(handle.try_get(), Some(Err(TaskError::Taken))));
    }
    assert!(!handle.cancel() && !handle.kill());
    assert!(matches!(block_on(&mut handle), Err(TaskError::Taken)));
    assert!(matches!(handle.get(), Err(TaskError::Taken)));
}

fn ready_and_successful() {
    let pool = Pool::with_workers(1).unwrap();
    let gate = ledger::reserve(1);
    let mut good = pool.apply_async(ledger::wait, gate);
    assert_eq!((good.ready(), good.successful()), (false, None));
    ledger::set(gate, 1);
    good.wait();
    assert_eq!((good.ready(), good.successful()), (true, Some(true)));
    good.try_get().unwrap().unwrap();
    assert_eq!((good.ready(), good.successful()), (true, None));
    let bad = pool.apply_async(|()| -> () { panic!("the item's panic") }, ());
    bad.wait();
    assert_eq!((bad.ready(), bad.successful()), (true, Some(false)));
    assert!(format!("{bad:?}").contains("ready: true"));
}

fn every_stage_every_way() {
    let pool = Pool::with_workers(2).unwrap();
    let mut plans = agent::good(20);
    let bad = [
        (Stage::ItemEncode, Act::Fail),
        (Stage::ItemEncode, Act::PanicStr),
        (Stage::ItemDecode, Act::Fail),
        (Stage::ItemDecode, Act::Abort),
        (Stage::Run, Act::PanicStr),
        (Stage::Run, Act::Exit(0)),
        (Stage::Run, Act::Crash),
        (Stage::ItemDrop, Act::PanicStr),
        (Stage::ValueEncode, Act::PanicStr),
        (Stage::ValueEncode, Act::Exit(3)),
        (Stage::ValueDecode, Act::PanicStr),
    ];
    for (plan, (stage, act)) in plans.iter_mut().zip(bad) {
        *plan = Plan::bad(plan.id, stage, act).sized(300);
    }
    let handles: Vec<_> = agent::items(&plans)
        .map(|item| pool.apply_async(work, item))
        .collect();
    for (plan, handle) in plans.iter().zip(handles) {
        agent::check(plan, &handle.get());
    }
    for plan in &plans {
        ledger::set(plan.id, 0);
        let one = pool.map_async(work, agent::items(&[*plan]).collect::<Vec<_>>());
        let outcome = one.get().map(|mut values| values.remove(0));
        agent::check(plan, &outcome);
    }
}

/// F100: it never runs.
fn cancel_queued() {
    let pool = Pool::with_workers(1).unwrap();
    let (busy, gate) = occupy(&pool);
    let runs = ledger::reserve(1);
    let handles: Vec<_> = (0..10)
        .map(|_| pool.apply_async(ledger::note, runs))
        .collect();
    for handle in &handles[1..9] {
        assert!(handle.cancel());
        assert!(handle.ready() && handle.successful() == Some(false));
        assert!(!handle.cancel() && !handle.kill(), "twice");
    }
    ledger::set(gate, 1);
    for (at, handle) in handles.into_iter().enumerate() {
        match at {
            0 | 9 => handle.get().unwrap(),
            _ => check_cancelled(handle.get()),
        }
    }
    busy.get().unwrap();
    check_usable(&pool);
    assert_eq!(ledger::get(runs), 2);
}

fn cancel_running() {
    let pool = Pool::with_workers(1).unwrap();
    let pids = pool.worker_pids();
    let (busy, gate) = occupy(&pool);
    assert!(!busy.cancel() && !busy.cancel());
    assert!(!busy.ready());
    ledger::set(gate, 7);
    assert_eq!(busy.get().unwrap(), 7);
    assert_eq!(pool.worker_pids(), pids);
}

fn cancel_finished() {
    let pool = Pool::with_workers(1).unwrap();
    let one = pool.apply_async(|n: u8| n, 1);
    let many = pool.map_async(|n: u8| n, 0..5);
    one.wait();
    many.wait();
    assert!(!one.cancel() && !many.cancel());
    assert_eq!(one.get().unwrap(), 1);
    assert_eq!(many.get().unwrap(), [0, 1, 2, 3, 4]);
}

fn kill_running() {
    let pool = Pool::with_workers(1).unwrap();
    for _ in 0..5 {
        let pids = pool.worker_pids();
        let (busy, _) = occupy(&pool);
        assert!(busy.kill());
        assert!(busy.ready());
        assert!(!busy.kill() && !busy.cancel(), "twice");
        check_cancelled(busy.get());
        check_usable(&pool);
        assert_ne!(pool.worker_pids(), pids);
    }
}

fn kill_queued_and_finished() {
    let pool = Pool::with_workers(1).unwrap();
    let pids = pool.worker_pids();
    let (busy, gate) = occupy(&pool);
    let runs = ledger::reserve(1);
    let queued = pool.apply_async(ledger::note, runs);
    assert!(queued.kill());
    check_cancelled(queued.get());
    ledger::set(gate, 4);
    busy.wait();
    assert!(!busy.kill());
    assert_eq!(busy.get().unwrap(), 4);
    check_usable(&pool);
    assert_eq!(ledger::get(runs), 0);
    assert_eq!(pool.worker_pids(), pids);
}

/// F109: what waits behind it, and what others run, is not touched.
fn kill_spares_the_others() {
    let pool = Pool::with_workers(3).unwrap();
    let words = ledger::reserve(2);
    let wait = |words: u32| {
        ledger::note(words);
        ledger::wait(words + 1)
    };
    let handles: Vec<_> = (0..3).map(|_| pool.apply_async(wait, words)).collect();
    let behind: Vec<_> = (0..50).map(|n| pool.apply_async(|n: u32| n, n)).collect();
    ledger::wait_for(words, 3);
    assert!(handles[1].kill());
    ledger::set(words + 1, 9);
    for (at, handle) in handles.into_iter().enumerate() {
        match at {
            1 => check_cancelled(handle.get()),
            _ => assert_eq!(handle.get().unwrap(), 9),
        }
    }
    for (n, handle) in (0..).zip(behind) {
        assert_eq!(handle.get().unwrap(), n);
    }
}

/// F103.
fn cancel_one_and_kill_another() {
    let pool = Pool::with_workers(1).unwrap();
    let (first, _) = occupy(&pool);
    let second = pool.apply_async(|n: u8| n, 2);
    let third = pool.apply_async(|n: u8| n, 3);
    assert!(second.cancel());
    assert!(first.kill());
    assert_eq!(third.get().unwrap(), 3);
    check_cancelled(second.get());
    check_cancelled(first.get());
}

fn cancel_many_items() {
    for chunksize in [1, 10] {
        let pool = Pool::with_workers(2).unwrap();
        let words = ledger::reserve(2);
        let wait = |words: u32| {
            ledger::note(words);
            ledger::wait(words + 1);
        };
        let pids = pool.worker_pids();
        let many = pool.chunksize(chunksize).map_async(wait, vec![words; 5000]);
        ledger::wait_for(words, 2);
        assert!(many.cancel());
        assert!(!many.cancel() && !many.kill());
        check_cancelled(many.get());
        ledger::set(words + 1, 1);
        check_usable(&pool);
        let ran = ledger::get(words) as usize;
        assert!(ran <= 2 * chunksize, "{ran} of chunks of {chunksize}");
        assert_eq!(pool.worker_pids(), pids, "what runs is finished");
    }
}

fn kill_many_items() {
    for chunksize in [1, 10] {
        let pool = Pool::with_workers(2).unwrap();
        let begun = ledger::reserve(1);
        let many = pool
            .chunksize(chunksize)
            .map_async(endless, vec![begun; 5000]);
        ledger::wait_for(begun, 2);
        assert!(many.kill());
        assert!(!many.kill());
        check_cancelled(many.get());
        check_usable(&pool);
        assert_eq!(ledger::get(begun), 2, "killed with what they had in hand");
    }
}

/// F107.
fn cancel_many_handles() {
    let pool = Pool::with_workers(2).unwrap();
    let pids = pool.worker_pids();
    let words = ledger::reserve(5000);
    let mut cancelled = 0;
    for round in 0..5 {
        let handles: Vec<_> = (0..1000)
            .map(|n| pool.apply_async(ledger::note, words + round * 1000 + n))
            .collect();
        for (n, handle) in (0..).zip(handles) {
            let taken_back = handle.cancel();
            cancelled += u32::from(taken_back);
            let outcome = handle.get();
            assert_eq!(outcome.is_err(), taken_back);
            let runs = ledger::get(words + round * 1000 + n);
            assert_eq!(runs, u32::from(!taken_back));
        }
    }
    println!("  ({cancelled} of 5000 cancelled)");
    check_usable(&pool);
    assert_eq!(pool.worker_pids(), pids, "no worker was lost");
}

/// F104.
fn cancel_large_values() {
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let before = heap_units();
    let handles: Vec<_> = (0..30)
        .map(|n| pool.apply_async(|n: u8| Bytes(vec![n; 4 << 20]), n))
        .collect();
    for handle in &handles {
        handle.cancel();
    }
    for handle in handles {
        match handle.get() {
            Ok(value) => assert_eq!(value.0.len(), 4 << 20),
            Err(error) => assert!(matches!(error, TaskError::Cancelled), "{error:?}"),
        }
    }
    warm_up(&pool);
    heap_is_back("the memory is back", before);
    pool.close();
    pool.join().unwrap();
}

/// While it waits for its next attempt nobody runs it.
fn cancel_before_a_retry() {
    let pool = Pool::with_workers(1).unwrap();
    let runs = ledger::reserve(1);
    let view = pool.retries(9).backoff(Duration::from_secs(3000));
    let fail = |runs| -> () {
        ledger::note(runs);
        panic!("the item's panic");
    };
    let handle = view.apply_async(fail, runs);
    eventually("it is to be tried again", || {
        let _ = handle.wait_timeout(Duration::from_millis(1));
        match pool.stats().retries {
            1 => Ok(()),
            other => Err(format!("{other} retries")),
        }
    });
    assert!(handle.cancel());
    check_cancelled(handle.get());
    check_usable(&pool);
    assert_eq!(ledger::get(runs), 1);
    pool.close();
    pool.join().unwrap();
}

/// The tasks go on.
fn handles_are_dropped() {
    let pool = Pool::with_workers(2).unwrap();
    warm_up(&pool);
    let before = heap_units();
    let runs = ledger::reserve(1);
    let some = |(runs, body): (u32, Bytes)| {
        ledger::note(runs);
        body
    };
    for _ in 0..300 {
        drop(pool.apply_async(some, (runs, Bytes(vec![0; 3000]))));
    }
    drop(pool.map_async(some, (0..100).map(|n| (runs, Bytes(vec![n; 3000])))));
    ledger::wait_for(runs, 400);
    warm_up(&pool);
    heap_is_back("the memory is back", before);
    assert_eq!(ledger::get(runs), 400);
}

/// Wakes a thread, and counts how often.
struct Bell {
    thread: Thread,
    rings: AtomicU32,
}

impl Bell {
    fn new() -> Arc<Bell> {
        let (thread, rings) = (thread::current(), AtomicU32::new(0));
        Arc::new(Bell { thread, rings })
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.thread.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Bell::new());
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => thread::park(),
        }
    }
}

fn await_one() {
    let pool = Pool::with_workers(2).unwrap();
    let found = block_on(async {
        let square = pool.apply_async(|n: u64| n * n, 7).await?;
        let sums = pool.map_async(|n: u64| n + 1, 0..square).await?;
        pool.starmap_async(|a, b| a + b, [(sums.len(), 1_usize)])
            .await
    });
    assert_eq!(found.unwrap(), [50]);
    let failed = block_on(pool.apply_async(|()| -> () { std::process::abort() }, ()));
    assert!(
        matches!(failed, Err(TaskError::WorkerDied(_))),
        "{failed:?}"
    );
    let done = pool.apply_async(|n: u8| n, 1);
    done.wait();
    assert_eq!(block_on(done).unwrap(), 1);
}

/// Polls all whenever one may be ready.
fn join_all<T: Send + 'static>(mut handles: Vec<AsyncResult<T>>) -> Vec<Result<T, TaskError>> {
    let mut outcomes: Vec<_> = handles.iter().map(|_| None).collect();
    let all = std::future::poll_fn(|context| {
        for (handle, outcome) in handles.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let Poll::Ready(found) = pin!(handle).poll(context)
            {
                *outcome = Some(found);
            }
        }
        if outcomes.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    block_on(all);
    outcomes.into_iter().flatten().collect()
}

fn await_many() {
    let pool = Pool::with_workers(2).unwrap();
    let handles = (0..500).map(|n| pool.apply_async(|n: u32| n + 1, n));
    let outcomes = join_all(handles.collect());
    assert!(outcomes.into_iter().map(Result::unwrap).eq(1..501));
}

fn await_in_many_threads() {
    let pool = Pool::with_workers(2).unwrap();
    thread::scope(|scope| {
        for number in 0..8_u32 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..50 {
                    let value = number * 1000 + n;
                    let handle = pool.apply_async(|n: u32| n, value);
                    let found = if n % 5 == number % 5 {
                        handle.get()
                    } else {
                        block_on(handle)
                    };
                    assert_eq!(found.unwrap(), value);
                }
                let handles = (0..50).map(|n| pool.apply_async(|n: u32| n, n));
                let outcomes = join_all(handles.collect());
                assert!(outcomes.into_iter().map(Result::unwrap).eq(0..50));
            });
        }
    });
}

fn futures_are_dropped() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(2);
    let wait = |words: u32| {
        ledger::wait(words);
        ledger::note(words + 1);
    };
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    for _ in 0..20 {
        let mut handle = pool.apply_async(wait, words);
        let polled = pin!(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    ledger::set(words, 1);
    ledger::wait_for(words + 1, 20);
    check_usable(&pool);
    drop(waker);
    eventually("no waker is kept", || match Arc::strong_count(&bell) {
        1 => Ok(()),
        count => Err(format!("{count}")),
    });
}

/// As in a `select`: of two, always the one that is ready.
fn polled_in_turn() {
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    let mut never = pool.apply_async(ledger::wait, gate);
    for n in 0..30 {
        let mut next = pool.apply_async(|n: u32| n, n);
        let found = block_on(std::future::poll_fn(|context| {
            assert!(pin!(&mut never).poll(context).is_pending());
            pin!(&mut next).poll(context)
        }));
        assert_eq!(found.unwrap(), n);
    }
    ledger::set(gate, 1);
    assert_eq!(block_on(never).unwrap(), 1);
}

/// Whoever polled last is woken.
fn polled_with_other_wakers() {
    let pool = Pool::with_workers(1).unwrap();
    let gate = ledger::reserve(1);
    let mut handle = pool.apply_async(ledger::wait, gate);
    let bells: Vec<_> = (0..3).map(|_| Bell::new()).collect();
    for bell in bells.iter().chain(&bells) {
        let waker = Waker::from(Arc::clone(bell));
        let polled = pin!(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    ledger::set(gate, 1);
    handle.wait();
    eventually("the last one was woken", || {
        match bells[2].rings.load(Ordering::Relaxed) {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    });
    assert_eq!(handle.get().unwrap(), 1);
}

/// One of them works for all: when it leaves, another one does.
fn waits_in_many_threads() {
    let pool = Pool::with_workers(2).unwrap();
    let gates = ledger::reserve(8);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..8)
            .map(|n| {
                let mut handle = pool.apply_async(ledger::wait, gates + (7 - n));
                scope.spawn(move || {
                    loop {
                        // Some leave again and again.
                        let found = match n % 2 {
                            0 => handle.get_timeout(Duration::from_millis(1)),
                            _ => handle.get_timeout(Duration::from_secs(1000)),
                        };
                        if let Some(found) = found {
                            break found.unwrap();
                        }
                    }
                })
            })
            .collect();
        // In the order in which the workers come to them.
        (gates..gates + 8)
            .rev()
            .for_each(|gate| ledger::set(gate, gate));
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(handle.join().unwrap(), gates + (7 - n));
        }
    });
}

fn closed_pool() {
    let pool = Pool::with_workers(1).unwrap();
    pool.close();
    let told = Arc::new(AtomicU32::new(0));
    let tell = Arc::clone(&told);
    let one = pool.apply_async(|n: u8| n, 1).on_error(move |error| {
        assert!(matches!(error, TaskError::Closed));
        tell.fetch_add(1, Ordering::Relaxed);
    });
    assert!(one.ready() && one.successful() == Some(false));
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(!one.cancel() && !one.kill());
    assert!(matches!(block_on(one), Err(TaskError::Closed)));
    let many = pool.map_async(|n: u8| n, 0..9);
    assert!(many.ready() && !many.cancel());
    assert!(matches!(many.get(), Err(TaskError::Closed)));
    pool.join().unwrap();
}

/// What was submitted is finished, whether or not it is with a worker by then.
fn close_and_join() {
    let pool = Pool::with_workers(2).unwrap();
    let view = pool.chunksize(3).retries(1);
    let handles: Vec<_> = (0..3000).map(|n| pool.apply_async(|n: u32| n, n)).collect();
    let once = |n: u32| {
        assert!(
            current_task().unwrap().attempt() == 1,
            "the first attempt's panic"
        );
        n
    };
    let many = view.map_async(once, 0..100);
    pool.close();
    pool.join().unwrap();
    for (n, mut handle) in (0..).zip(handles) {
        assert_eq!(handle.try_get().unwrap().unwrap(), n);
    }
    assert!(many.ready());
    assert!(many.get().unwrap().into_iter().eq(0..100));
}

/// F115.
fn pool_dropped_while_handles_live() {
    for ways in 0..3 {
        let pool = Pool::with_workers(2).unwrap();
        let begun = ledger::reserve(1);
        let done = pool.apply_async(|n: u8| n, 5);
        done.wait();
        let running: Vec<_> = (0..2).map(|_| pool.apply_async(endless, begun)).collect();
        ledger::wait_for(begun, 2);
        let queued: Vec<_> = (0..3000)
            .map(|_| pool.apply_async(endless, begun))
            .collect();
        let many = pool.chunksize(1).map_async(endless, vec![begun; 50]);
        let delayed = pool.chunksize(1).map_async(endless, vec![begun; 5]);
        match ways {
            0 => drop(pool),
            1 => pool.terminate(),
            _ => thread::spawn(move || drop(pool)).join().unwrap(),
        }
        let ready = running.iter().chain(&queued).all(AsyncResult::ready);
        assert!(ready || ways == 1, "after way {ways}");
        assert_eq!(done.get().unwrap(), 5);
        for handle in running {
            match handle.get() {
                Err(TaskError::WorkerDied(death)) => assert_eq!(death.signal(), Some(9)),
                other => panic!("{other:?}"),
            }
        }
        for handle in queued {
            assert!(matches!(handle.get(), Err(TaskError::Closed)));
        }
        assert!(matches!(many.get(), Err(TaskError::Closed)));
        assert!(matches!(block_on(delayed), Err(TaskError::Closed)));
    }
}

fn ten_thousand() {
    let pool = Pool::with_workers(2).unwrap();
    let handles: Vec<_> = (0..10_000)
        .map(|n| pool.apply_async(|n: u64| n * 2, n))
        .collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.get().unwrap(), n * 2);
    }
    check_usable(&pool);
}

fn more_than_there_are_cells() {
    let pool = Pool::with_workers(2).unwrap();
    let gate = ledger::reserve(1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u32)
            .map(|thread| {
                let wait = |(gate, n): (u32, u32)| {
                    ledger::wait(gate);
                    n
                };
                let pool = &pool;
                scope.spawn(move || {
                    let items = (0..5000).map(|n| (gate, thread * 5000 + n));
                    items
                        .map(|item| pool.apply_async(wait, item))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let handles = threads.into_iter().flat_map(|one| one.join().unwrap());
        let handles: Vec<_> = handles.collect();
        ledger::set(gate, 1);
        let found: HashSet<u32> = handles
            .into_iter()
            .map(|handle| handle.get().unwrap())
            .collect();
        assert_eq!(found.len(), 40_000);
    });
    check_usable(&pool);
}

fn no_items() {
    let pool = Pool::with_workers(1).unwrap();
    let (busy, gate) = occupy(&pool);
    for view in [pool.chunksize(3), pool.retries(1), pool.fail_fast()] {
        let told = Arc::new(AtomicU32::new(0));
        let tell = Arc::clone(&told);
        let none = view
            .map_async(|n: u8| n, [])
            .on_done(move |values| tell.store(1 + values.len() as u32, Ordering::Relaxed));
        assert!(none.ready() && none.successful() == Some(true));
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert!(!none.cancel());
        assert_eq!(none.get().unwrap(), []);
    }
    ledger::set(gate, 1);
    busy.get().unwrap();
}

/// Of an input that knows its length, and one that does not.
fn wrong_length() {
    let pool = Pool::with_workers(2).unwrap();
    for chunksize in [1, 3, 1000] {
        let view = pool.chunksize(chunksize);
        let odd = (0..1000).filter(|n| n % 2 == 1);
        let found = view.map_async(|n: u32| n, odd).get().unwrap();
        assert!(found.into_iter().eq((0..500).map(|n| n * 2 + 1)));
    }
    let found = pool.map_async(|n: u32| n, (0..50).filter(|n| n % 2 == 1));
    assert_eq!(found.get().unwrap().len(), 25);
}

fn retries() {
    let pool = Pool::with_workers(2).unwrap();
    let third = |word: u32| {
        ledger::note(word);
        match current_task().unwrap().attempt() {
            0 => panic!("the first attempt's panic"),
            1 => std::process::abort(),
            attempt => attempt,
        }
    };
    let view = pool.retries(2).chunksize(4);
    let words = ledger::reserve(20);
    assert_eq!(view.apply_async(third, words).get().unwrap(), 2);
    let many = view.map_async(third, words + 1..words + 20);
    assert_eq!(many.get().unwrap(), [2; 19]);
    for word in words..words + 20 {
        assert_eq!(ledger::get(word), 3);
        ledger::set(word, 0);
    }
    let error = pool.retries(1).apply_async(third, words).get().unwrap_err();
    assert!(
        matches!(error, TaskError::WorkerDied(_)),
        "the last attempt"
    );
    assert_eq!(ledger::get(words), 2);
}

fn timeouts() {
    let pool = Pool::with_workers(2).unwrap();
    let begun = ledger::reserve(1);
    let limit = Duration::from_millis(30);
    let view = pool.timeout(limit);
    let timed_out = |error| match error {
        TaskError::TimedOut(after) => assert_eq!(after, limit),
        other => panic!("{other:?}"),
    };
    timed_out(view.apply_async(endless, begun).get().unwrap_err());
    timed_out(view.map_async(endless, [begun; 3]).get().unwrap_err());
    timed_out(block_on(view.apply_async(endless, begun)).unwrap_err());
    // Nobody waits for it.
    let handle = view.apply_async(endless, begun);
    eventually("it was ended", || match handle.ready() {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    });
    timed_out(handle.get().unwrap_err());
    assert_eq!(ledger::get(begun), 6);
}

fn crash_limit() {
    let pool = Pool::with_workers(2).unwrap();
    let runs = ledger::reserve(1);
    let poison = |runs: u32| -> () {
        ledger::note(runs);
        std::process::abort()
    };
    let view = pool.crash_limit(3);
    let check = |error| match error {
        TaskError::CrashLimit(deaths) => {
            assert!(deaths.iter().all(|death| death.signal() == Some(6)));
            let pids: HashSet<u32> = deaths.iter().map(procession_pool::Death::pid).collect();
            assert_eq!(pids.len(), 3);
        }
        other => panic!("{other:?}"),
    };
    let one = view.apply_async(poison, runs);
    check(one.get().unwrap_err());
    assert_eq!(ledger::get(runs), 3);
    let many = view.map_async(poison, [runs]);
    check(many.get().unwrap_err());
    assert_eq!(ledger::get(runs), 6);
}

fn fail_fast() {
    let pool = Pool::with_workers(3).unwrap();
    let begun = ledger::reserve(1);
    let fail = |(begun, n): (u32, u32)| {
        ledger::note(begun);
        if n == 2 {
            ledger::wait_for(begun, 3);
            panic!("the item's panic");
        }
        os::sleep_for_ever();
    };
    let items = (0..3000).map(|n| (begun, n));
    let many = pool.fail_fast().chunksize(1).map_async(fail, items);
    let error = many.get().unwrap_err();
    assert!(matches!(error, TaskError::Panicked(_)), "{error:?}");
    check_usable(&pool);
    // Workers may have begun others before it was known.
    let ran = ledger::get(begun);
    assert!((3..12).contains(&ran), "{ran} were begun");
}

fn priorities() {
    use procession_pool::Priority::{High, Low, Normal};
    let pool = Pool::with_workers(1).unwrap();
    let (busy, gate) = occupy(&pool);
    let order = ledger::reserve(1);
    let number = |order: u32| {
        ledger::note(order);
        ledger::get(order)
    };
    let submit = |priority| {
        let view = pool.priority(priority);
        (0..3)
            .map(|_| view.apply_async(number, order))
            .collect::<Vec<_>>()
    };
    let handles = [submit(Low), submit(Normal), submit(High)];
    ledger::set(gate, 1);
    let [low, normal, high] = handles.map(|some| {
        let numbers = some.into_iter().map(|one| one.get().unwrap());
        numbers.collect::<Vec<_>>()
    });
    assert_eq!(high, [1, 2, 3]);
    assert_eq!(normal, [4, 5, 6]);
    assert_eq!(low, [7, 8, 9]);
    busy.get().unwrap();
}

/// F25: one outcome for each, whoever is killed.
fn while_workers_die() {
    let pool = Pool::with_workers(2).unwrap();
    let plans = agent::good(3000);
    thread::scope(|scope| {
        let killer = scope.spawn(|| {
            for round in 0..15 {
                ledger::wait(plans[round * 200].id);
                if let Some(pid) = pool.worker_pids().first() {
                    os::send(*pid, rustix::process::Signal::KILL);
                }
            }
        });
        let handles: Vec<_> = agent::items(&plans)
            .map(|item| pool.apply_async(work, item))
            .collect();
        let outcomes: Vec<_> = handles.into_iter().map(AsyncResult::get).collect();
        crate::support::kills::check_survivors(&plans, &outcomes);
        killer.join().unwrap();
    });
    check_usable(&pool);
}
