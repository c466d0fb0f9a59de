//! What a future says at each stage of its life.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use procession_pool::TaskError;

use super::Future;
use crate::executor::Executor;
use crate::inline::InlineExecutor;
use crate::manual::{Gate, Manual};

fn one(n: u32) -> u32 {
    n + 1
}

const NOW: Duration = Duration::ZERO;

fn states(future: &Future<u32>) -> [bool; 3] {
    [future.running(), future.done(), future.cancelled()]
}

#[test]
fn goes_from_thread_to_thread() {
    fn is_shared<T: Send + Sync + Unpin>() {}
    is_shared::<Future<std::cell::Cell<u32>>>();
    is_shared::<crate::AsCompleted<std::cell::Cell<u32>>>();
    is_shared::<crate::Map<std::ops::Range<u32>, u32>>();
    is_shared::<crate::Canceller>();
    is_shared::<crate::Handle>();
    is_shared::<crate::ThreadPoolExecutor>();
}

#[test]
fn states_are_those_of_the_table() {
    let (manual, handle) = Manual::new();
    let future = handle.submit(one, 1);
    assert_eq!(states(&future), [false, false, false]);
    assert!(format!("{future:?}").contains("pending"));
    assert!(future.try_result().is_none());
    assert!(future.result_timeout(NOW).is_none());
    assert!(future.exception_timeout(NOW).is_none());
    assert!(!future.wait_timeout(NOW));

    let task = manual.take(0);
    task.done.started();
    assert_eq!(states(&future), [true, false, false]);
    assert!(format!("{future:?}").contains("running"));
    assert!(!future.cancel());

    let value = procession_pool::raw::Encoded::of(&2u32).unwrap();
    task.done.item(0, Ok(value.bytes()));
    assert_eq!(states(&future), [false, true, false]);
    assert!(!future.cancel() && !future.kill());
    assert!(format!("{future:?}").contains("finished returned u32"));
    // A second outcome does not count.
    task.done.item(0, Err(TaskError::Closed));
    assert!(future.exception().is_none());
    assert!(matches!(future.try_result(), Some(Ok(2))));
    assert!(matches!(future.try_result(), Some(Err(TaskError::Taken))));
    assert!(future.done() && future.exception().is_none());
}

#[test]
fn cancelled_is_done() {
    let (manual, handle) = Manual::new();
    let future = handle.submit(one, 1);
    assert!(future.cancel());
    assert_eq!(states(&future), [false, true, true]);
    assert!(future.cancel() && future.kill());
    assert_eq!(manual.len(), 0);
    assert!(format!("{future:?}").contains("cancelled"));
    assert!(matches!(future.exception(), Some(TaskError::Cancelled)));
    assert!(matches!(
        future.try_result(),
        Some(Err(TaskError::Cancelled))
    ));
    assert!(future.cancelled());
}

#[test]
fn kill_ends_what_runs() {
    let (manual, handle) = Manual::new();
    let future = handle.submit(one, 1);
    let task = manual.take(0);
    task.done.started();
    // Put back: it runs and can be found.
    crate::backend::Backend::submit(&*manual, task).unwrap();
    assert!(!future.cancel());
    assert!(future.kill());
    assert!(future.cancelled());
}

#[test]
fn errors_of_items_and_values_are_outcomes() {
    let (manual, handle) = Manual::new();
    let future = handle.submit(one, 1);
    manual.take(0).done.item(0, Ok(&[]));
    assert!(matches!(future.result(), Err(TaskError::ValueDecode(_))));
    let future = handle.submit(one, 1);
    manual.settle(0, Err(TaskError::Closed));
    assert!(format!("{future:?}").contains("finished raised the pool takes no more tasks"));
    assert!(matches!(future.exception(), Some(TaskError::Closed)));
    assert!(matches!(future.result(), Err(TaskError::Closed)));
}

#[test]
fn a_task_that_is_dropped_has_an_outcome() {
    let (manual, handle) = Manual::new();
    let future = handle.submit(one, 1);
    drop(manual.take(0));
    assert!(matches!(future.result(), Err(TaskError::Protocol)));
}

#[test]
fn wakes_who_waits() {
    for outcome in [Ok(5), Err(TaskError::Closed), Err(TaskError::Cancelled)] {
        let (manual, handle) = Manual::new();
        let future = Arc::new(handle.submit(one, 1));
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let future = Arc::clone(&future);
                thread::spawn(move || future.wait())
            })
            .collect();
        manual.settle(0, outcome);
        waiters
            .into_iter()
            .for_each(|waiter| waiter.join().unwrap());
        assert!(future.done());
    }
}

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: &'static str) -> impl FnOnce(&Result<u32, TaskError>) + use<> {
    let log = Arc::clone(log);
    move |outcome| {
        let outcome = outcome.as_ref().map_err(ToString::to_string);
        log.lock().unwrap().push(format!("{what} {outcome:?}"));
    }
}

#[test]
fn callbacks_come_in_order_whatever_others_do() {
    let (manual, handle) = Manual::new();
    let log = Log::default();
    let future = handle.submit(one, 1);
    future.add_done_callback(note(&log, "first"));
    future.add_done_callback(|_| panic!("for the test of callbacks"));
    future.add_done_callback(note(&log, "second"));
    manual.run(0);
    assert_eq!(*log.lock().unwrap(), ["first Ok(2)", "second Ok(2)"]);
    // At once, and the outcome is still there.
    future.add_done_callback(note(&log, "third"));
    assert_eq!(log.lock().unwrap()[2], "third Ok(2)");
    assert!(matches!(future.try_result(), Some(Ok(2))));
    future.add_done_callback(note(&log, "fourth"));
    assert!(log.lock().unwrap()[3].contains("handed out"));
}

#[test]
fn a_callback_of_a_cancelled_one_is_told() {
    let (_manual, handle) = Manual::new();
    let log = Log::default();
    let future = handle.submit(one, 1);
    future.add_done_callback(note(&log, "it"));
    assert!(future.cancel());
    assert_eq!(*log.lock().unwrap(), [r#"it Err("cancelled")"#]);
}

#[test]
fn a_callback_cannot_wait_for_its_own_future() {
    let (manual, handle) = Manual::new();
    let future = Arc::new(handle.submit(one, 1));
    let (sender, receiver) = channel();
    let own = Arc::clone(&future);
    future.add_done_callback(move |_| {
        own.wait();
        sender.send((own.done(), own.exception())).unwrap();
    });
    manual.run(0);
    let (done, error) = receiver.recv().unwrap();
    assert!(!done && matches!(error, Some(TaskError::InCallback)));
    assert!(matches!(future.try_result(), Some(Ok(2))));
}

#[test]
fn a_callback_may_use_its_future_otherwise() {
    let (manual, handle) = Manual::new();
    let future = Arc::new(handle.submit(one, 1));
    let log = Log::default();
    let (own, late) = (Arc::clone(&future), Arc::clone(&log));
    future.add_done_callback(move |_| {
        assert!(!own.cancel() && own.running());
        own.add_done_callback(note(&late, "late"));
    });
    manual.run(0);
    assert_eq!(*log.lock().unwrap(), ["late Ok(2)"]);
}

#[test]
fn whoever_wants_the_outcome_waits_for_a_late_callback() {
    let future = Arc::new(Future::ready(Ok(7)));
    let (inside, is_inside) = channel::<()>();
    let (go, may_go): (Sender<()>, Receiver<()>) = channel();
    let other = Arc::clone(&future);
    let callback = thread::spawn(move || {
        other.add_done_callback(move |outcome| {
            inside.send(()).unwrap();
            may_go.recv().unwrap();
            assert!(matches!(outcome, Ok(7)));
        });
    });
    is_inside.recv().unwrap();
    assert!(future.done());
    // With the callback at this moment.
    assert!(future.try_result().is_none() && future.result_timeout(NOW).is_none());
    let other = Arc::clone(&future);
    let waiter = thread::spawn(move || other.exception());
    go.send(()).unwrap();
    assert!(waiter.join().unwrap().is_none());
    callback.join().unwrap();
    assert!(matches!(future.try_result(), Some(Ok(7))));
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn can_be_awaited() {
    let (manual, handle) = Manual::new();
    let future = handle.submit(one, 1);
    let mut future = std::pin::pin!(future);
    let counts = [0, 1].map(|_| Arc::new(Count(AtomicUsize::new(0))));
    for count in &counts {
        let waker = Waker::from(Arc::clone(count));
        let mut context = Context::from_waker(&waker);
        assert!(std::future::Future::poll(future.as_mut(), &mut context).is_pending());
    }
    manual.run(0);
    // Only the last one that polled.
    let woken = counts
        .each_ref()
        .map(|count| count.0.load(Ordering::SeqCst));
    assert_eq!(woken, [0, 1]);
    let mut context = Context::from_waker(Waker::noop());
    let polled = std::future::Future::poll(future.as_mut(), &mut context);
    assert!(matches!(polled, Poll::Ready(Ok(2))));
}

#[test]
fn drop_cancels_only_if_asked() {
    let (manual, handle) = Manual::new();
    drop(handle.submit(one, 1));
    assert_eq!(manual.len(), 1);
    manual.take(0);
    drop(handle.submit(one, 1).cancel_on_drop());
    assert_eq!(manual.len(), 0);
    let future = handle.submit(one, 1).cancel_on_drop();
    let canceller = future.canceller();
    manual.run(0);
    assert!(matches!(future.result(), Ok(2)));
    assert!(canceller.done() && !canceller.cancelled());
    // The last word counts.
    let future = handle.submit(one, 1).kill_on_drop().cancel_on_drop();
    let task = manual.take(0);
    task.done.started();
    crate::backend::Backend::submit(&*manual, task).unwrap();
    drop(future);
    assert_eq!(manual.len(), 1);
}

#[test]
fn a_canceller_outlives_its_future() {
    let (manual, handle) = Manual::new();
    let future = handle.submit(one, 1);
    let canceller = future.canceller();
    assert_eq!(canceller.id(), future.id());
    drop(future);
    assert!(!canceller.done() && canceller.cancel() && canceller.cancelled());
    assert_eq!(manual.len(), 0);
}

#[test]
fn concurrent_cancels_agree() {
    for _ in 0..200 {
        let (_manual, handle) = Manual::new();
        let canceller = handle.submit(one, 1).canceller();
        let gate = Arc::new(Gate::new());
        let both: Vec<_> = (0..2)
            .map(|_| {
                let (canceller, gate) = (canceller.clone(), Arc::clone(&gate));
                thread::spawn(move || {
                    gate.pass();
                    canceller.cancel()
                })
            })
            .collect();
        gate.open();
        let told: Vec<_> = both.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(told.contains(&true) && canceller.cancelled());
    }
}

#[test]
fn inline_has_the_same_outcomes() {
    let executor = InlineExecutor::new();
    assert!(matches!(executor.submit(one, 1).result(), Ok(2)));
    let panicked = executor.submit(|n: u32| 1 / n, 0).result();
    assert!(matches!(panicked, Err(TaskError::Panicked(_))));
    executor.shutdown();
    let refused = executor.try_submit(one, 4).unwrap_err();
    assert_eq!(refused.into_item(), 4);
    assert!(matches!(
        executor.submit(one, 1).result(),
        Err(TaskError::Closed)
    ));
}
