//! Callbacks of handles: when they are called, and what they may do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use procession_pool::{AsyncResult, Pool, TaskError};
use procession_testkit::{Case, cases, eventually, ledger, os};

use crate::callbacks;
use crate::support::usable::check_usable;

pub(crate) fn cases() -> Vec<Case> {
    cases![callbacks:
        before_and_after, once_each_and_in_order, called_though_nobody_waits,
        called_when_the_handle_is_gone, called_for_cancelled_ones, that_panic, that_submit,
        that_wait_for_others, that_map, that_cancel_and_kill, that_close, that_join, that_terminate,
        that_drop_the_pool, that_are_slow, when_the_pool_is_dropped,
    ]
    .into()
}

fn wait(gate: u32) -> u32 {
    ledger::wait(gate)
}

/// A handle that has its outcome when the word is set.
fn gated(pool: &Pool) -> (AsyncResult<u32>, u32) {
    let gate = ledger::reserve(1);
    (pool.apply_async(wait, gate), gate)
}

fn before_and_after() {
    let pool = Pool::with_workers(1).unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let count = |by: u32| {
        let calls = Arc::clone(&calls);
        move || {
            calls.fetch_add(by, Ordering::Relaxed);
        }
    };
    let (handle, gate) = gated(&pool);
    let (early, wrong) = (count(1), count(100));
    let handle = handle.on_done(move |_| early()).on_error(move |_| wrong());
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    ledger::set(gate, 5);
    handle.wait();
    assert_eq!(
        calls.load(Ordering::Relaxed),
        1,
        "before the outcome is there"
    );
    let (late, wrong) = (count(10), count(100));
    let mut handle = handle
        .on_done(move |value| {
            assert_eq!(*value, 5);
            late();
        })
        .on_error(move |_| wrong());
    assert_eq!(calls.load(Ordering::Relaxed), 11, "at once");
    assert_eq!(handle.try_get().unwrap().unwrap(), 5);
    // It was handed out: there is nothing to be called with.
    let never = count(1000);
    drop(handle.on_done(move |_| never()));
    assert_eq!(calls.load(Ordering::Relaxed), 11);
    let (one, wrong) = (count(20), count(100));
    let failing = pool.apply_async(|()| -> () { panic!("the item's panic") }, ());
    failing.wait();
    drop(failing.on_error(move |_| one()).on_done(move |()| wrong()));
    assert_eq!(calls.load(Ordering::Relaxed), 31);
}

fn once_each_and_in_order() {
    let pool = Pool::with_workers(1).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (mut handle, gate) = gated(&pool);
    for n in 0..10 {
        let order = Arc::clone(&order);
        handle = handle.on_done(move |_| order.lock().unwrap().push(n));
    }
    ledger::set(gate, 1);
    handle.get().unwrap();
    assert!(order.lock().unwrap().iter().copied().eq(0..10));
}

fn called_though_nobody_waits() {
    let pool = Pool::with_workers(1).unwrap();
    let (tell, told) = mpsc::channel();
    let (handle, gate) = gated(&pool);
    let handle = handle.on_done(move |value| tell.send(*value).unwrap());
    ledger::set(gate, 6);
    assert_eq!(told.recv(), Ok(6));
    assert_eq!(handle.get().unwrap(), 6);
}

fn called_when_the_handle_is_gone() {
    let pool = Pool::with_workers(2).unwrap();
    let (tell, told) = mpsc::channel();
    for n in 0..50 {
        let tell = tell.clone();
        let handle = pool.apply_async(|n: u32| n, n);
        drop(handle.on_done(move |value| tell.send(*value).unwrap()));
    }
    drop(tell);
    let mut found: Vec<u32> = told.iter().collect();
    found.sort_unstable();
    assert!(found.into_iter().eq(0..50));
}

fn called_for_cancelled_ones() {
    let pool = Pool::with_workers(1).unwrap();
    let (busy, gate) = gated(&pool);
    let (tell, told) = mpsc::channel();
    let queued = pool.apply_async(|n: u8| n, 1);
    let queued = queued.on_error(move |error| tell.send(error.clone()).unwrap());
    assert!(queued.cancel());
    assert!(matches!(told.recv(), Ok(TaskError::Cancelled)));
    ledger::set(gate, 1);
    busy.get().unwrap();
}

/// F89.
fn that_panic() {
    let pool = Pool::with_workers(1).unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let (handle, gate) = gated(&pool);
    let count = Arc::clone(&calls);
    let handle = handle
        .on_done(|_| panic!("the callback's panic"))
        .on_done(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .on_done(|_| panic!("the callback's panic"));
    ledger::set(gate, 3);
    handle.wait();
    // After the fact, in this thread.
    let handle = handle.on_done(|_| panic!("the callback's panic"));
    assert_eq!(handle.get().unwrap(), 3);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    // On the keeper, which goes on.
    let (handle, gate) = gated(&pool);
    let handle = handle.on_done(|_| panic!("the callback's panic"));
    ledger::set(gate, 3);
    eventually("it is done", || match handle.ready() {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    });
    let (tell, told) = mpsc::channel();
    let next = pool.apply_async(|n: u8| n, 9);
    let _next = next.on_done(move |value| tell.send(*value).unwrap());
    assert_eq!(told.recv(), Ok(9));
    check_usable(&pool);
}

/// Each finished one submits the next: by its end 200 have run.
fn that_submit() {
    fn next(pool: &Arc<Pool>, left: u32, tell: mpsc::Sender<u32>) {
        let again = Arc::clone(pool);
        let handle = pool.apply_async(|n: u32| n, left);
        drop(handle.on_done(move |n| match n {
            0 => tell.send(0).unwrap(),
            n => next(&again, n - 1, tell),
        }));
    }
    let pool = Arc::new(Pool::with_workers(2).unwrap());
    let (tell, told) = mpsc::channel();
    next(&pool, 200, tell);
    assert_eq!(told.recv(), Ok(0));
    check_usable(&pool);
}

fn that_wait_for_others() {
    let pool = Pool::with_workers(2).unwrap();
    let (tell, told) = mpsc::channel();
    for n in 0..20_u32 {
        let (first, gate) = gated(&pool);
        let other = pool.apply_async(|n: u32| n, n);
        let tell = tell.clone();
        let first = first.on_done(move |_| tell.send(other.get().unwrap()).unwrap());
        ledger::set(gate, 1);
        if n % 2 == 0 {
            first.get().unwrap();
        }
        assert_eq!(told.recv(), Ok(n));
    }
}

fn that_map() {
    let pool = Arc::new(Pool::with_workers(2).unwrap());
    let (tell, told) = mpsc::channel();
    let (handle, gate) = gated(&pool);
    let inner = Arc::clone(&pool);
    let handle = handle.on_done(move |_| {
        let sum: u32 = inner.map(|n: u32| n, 0..100).unwrap().into_iter().sum();
        let lazy: u32 = inner.imap(|n: u32| n, 0..100).map(Result::unwrap).sum();
        drop(inner);
        tell.send(sum + lazy).unwrap();
    });
    ledger::set(gate, 1);
    assert_eq!(told.recv(), Ok(9900));
    handle.get().unwrap();
}

fn that_cancel_and_kill() {
    let pool = Pool::with_workers(2).unwrap();
    let begun = ledger::reserve(1);
    let endless = |begun: u32| {
        ledger::note(begun);
        os::sleep_for_ever();
    };
    let running = pool.apply_async(endless, begun);
    ledger::wait(begun);
    let (first, gate) = gated(&pool);
    let queued = pool.apply_async(|n: u8| n, 1);
    let (tell, told) = mpsc::channel();
    let first = first.on_done(move |_| {
        let taken_back = queued.cancel();
        let done = (queued.get().is_err() == taken_back, running.kill());
        let ended = matches!(running.get(), Err(TaskError::Cancelled));
        tell.send((done, ended)).unwrap();
    });
    ledger::set(gate, 1);
    first.get().unwrap();
    assert_eq!(told.recv(), Ok(((true, true), true)));
    check_usable(&pool);
}

fn that_close() {
    let pool = Arc::new(Pool::with_workers(2).unwrap());
    let (handle, gate) = gated(&pool);
    let behind: Vec<_> = (0..50).map(|n| pool.apply_async(|n: u32| n, n)).collect();
    let inner = Arc::clone(&pool);
    let handle = handle.on_done(move |_| inner.close());
    ledger::set(gate, 1);
    handle.get().unwrap();
    for (n, one) in (0..).zip(behind) {
        assert_eq!(one.get().unwrap(), n);
    }
    assert!(matches!(pool.apply(|n: u8| n, 1), Err(TaskError::Closed)));
    pool.join().unwrap();
}

fn that_terminate() {
    for awaited in [true, false] {
        let pool = Arc::new(Pool::with_workers(2).unwrap());
        let begun = ledger::reserve(1);
        let (handle, gate) = gated(&pool);
        let others: Vec<_> = (0..50)
            .map(|_| {
                pool.apply_async(
                    |begun: u32| {
                        ledger::note(begun);
                        os::sleep_for_ever();
                    },
                    begun,
                )
            })
            .collect();
        ledger::wait(begun);
        let (tell, told) = mpsc::channel();
        let inner = Arc::clone(&pool);
        let handle = handle.on_done(move |_| {
            inner.terminate();
            drop(inner);
            tell.send(()).unwrap();
        });
        ledger::set(gate, 1);
        if awaited {
            handle.wait();
        }
        told.recv().unwrap();
        assert_eq!(handle.get().unwrap(), 1);
        for one in others {
            let error = one.get().unwrap_err();
            let ended = matches!(error, TaskError::Closed | TaskError::WorkerDied(_));
            assert!(ended, "{error:?}");
        }
        assert_eq!(pool.worker_pids(), []);
    }
}

/// The last handle of the pool goes with the callback.
fn that_drop_the_pool() {
    for awaited in [true, false] {
        let pool = Pool::with_workers(2).unwrap();
        let (handle, gate) = gated(&pool);
        let queued = pool.apply_async(|()| os::sleep_for_ever(), ());
        let (tell, told) = mpsc::channel();
        let handle = handle.on_done(move |_| {
            drop(pool);
            tell.send(()).unwrap();
        });
        ledger::set(gate, 1);
        if awaited {
            handle.wait();
        }
        told.recv().unwrap();
        assert_eq!(handle.get().unwrap(), 1);
        assert!(queued.get().is_err());
    }
}

/// F90: an error, since it would wait for itself.
fn that_join() {
    for awaited in [true, false] {
        let pool = Arc::new(Pool::with_workers(2).unwrap());
        let (handle, gate) = gated(&pool);
        let (tell, told) = mpsc::channel();
        let inner = Arc::clone(&pool);
        let handle = handle.on_done(move |_| {
            inner.close();
            let found = (inner.join(), inner.join_timeout(Duration::ZERO));
            drop(inner);
            tell.send(found).unwrap();
        });
        ledger::set(gate, 1);
        if awaited {
            handle.wait();
        }
        let found = told.recv().unwrap();
        assert!(matches!(found.0, Err(TaskError::InCallback)));
        assert!(matches!(found.1, Err(TaskError::InCallback)));
        assert_eq!(handle.get().unwrap(), 1);
        pool.join().unwrap();
    }
}

/// Others get their outcomes meanwhile.
fn that_are_slow() {
    let pool = Pool::with_workers(2).unwrap();
    let (handle, gate) = gated(&pool);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let handle = handle.on_done(move |_| {
        tell.send(()).unwrap();
        released.recv().unwrap();
    });
    ledger::set(gate, 1);
    told.recv().unwrap();
    assert!(!handle.ready());
    for n in 0..100 {
        assert_eq!(pool.apply_async(|n: u32| n, n).get().unwrap(), n);
    }
    assert!(!handle.wait_timeout(Duration::ZERO));
    release.send(()).unwrap();
    assert_eq!(handle.get().unwrap(), 1);
}

fn when_the_pool_is_dropped() {
    let pool = Pool::with_workers(1).unwrap();
    let (tell, told) = mpsc::channel();
    let handles: Vec<_> = (0..30)
        .map(|_| {
            let tell = tell.clone();
            let handle = pool.apply_async(|()| os::sleep_for_ever(), ());
            handle.on_error(move |error| tell.send(error.clone()).unwrap())
        })
        .collect();
    drop(handles);
    drop(tell);
    drop(pool);
    assert_eq!(told.iter().count(), 30);
}
