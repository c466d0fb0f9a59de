//! Back-ends that never finish, or misbehave when they are asked for something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession_executor::{
    Backend, CancelAnswer, CancelMode, Completer, Executor, Future, Handle, Hints, Rejected,
    ReturnWhen, Shutdown, Task, TaskError, TrySubmitError, as_completed, wait, wait_timeout,
};
use procession_testkit::{Case, cases};

use super::hostile::{Kept, check_protocol, complete, doing, handle, hostile};
use super::hostile_ends;
use crate::common::{Count, check_cancelled, double, poll_with};

pub(crate) fn cases() -> Vec<Case> {
    cases![hostile_ends:
        late_outcomes, never_finishes, never_finishes_and_is_cancelled, forgets_what_it_cancels,
        drops_what_it_cancels, callbacks_in_its_submit, panics_in_submit, never_ends, strange_hints,
        wakes_for_nothing, knows_its_tasks,
    ]
    .into()
}

/// The future is gone.
fn late_outcomes() {
    let kept = Kept::default();
    let handle = kept.handle();
    drop(handle.submit(double, 1));
    drop(handle.chunksize(5).map(double, 0..5));
    drop(as_completed([
        handle.submit(double, 1),
        handle.submit(double, 2),
    ]));
    let tasks = std::mem::take(&mut *kept.tasks());
    assert_eq!(tasks.len(), 4);
    tasks.iter().for_each(complete);
}

fn never_finishes() {
    let kept = Kept::default();
    let handle = kept.handle();
    let future = handle.submit(double, 1);
    let tiny = Duration::from_millis(1);
    assert!(!future.done() && !future.running() && !future.cancel() && !future.kill());
    assert!(!future.wait_timeout(tiny) && future.result_timeout(tiny).is_none());
    let (_count, waker) = Count::new();
    let mut future = future;
    assert!(poll_with(&mut future, &waker).is_pending());
    let (done, not_done) = wait_timeout([future], ReturnWhen::AllCompleted, tiny);
    assert!(done.is_empty());
    let mut under_way = as_completed(not_done).timeout(tiny);
    assert!(under_way.next().is_none());
    assert_eq!(
        under_way.unfinished().unwrap().to_string(),
        "1 (of 1) futures unfinished"
    );
    let future: Future<u32> = under_way.into_pending().remove(0);
    let mut map = handle.map_timeout(tiny).map(double, 0..5);
    assert!(matches!(map.next(), Some(Err(TaskError::Unfinished))));
    let limited = handle.clone().with_max_pending(1);
    let first = limited.submit(double, 1);
    assert!(matches!(
        limited.submit_timeout(double, 1, tiny),
        Err(TrySubmitError::Full(1))
    ));
    handle.shutdown();
    assert!(!handle.shutdown_timeout(tiny));
    // It says that it runs: so it does, for all that is known.
    kept.tasks()[0].done.started();
    assert!(future.running() && !future.done());
    drop(first);
    // It does end when it is dropped.
    kept.tasks().clear();
    check_protocol(&future.result());
}

fn never_finishes_and_is_cancelled() {
    let kept = Kept::default();
    let own = kept.clone();
    let mut backend = hostile(move |task| {
        own.tasks().push(task);
        Ok(())
    });
    backend.cancel = Box::new(|_| CancelAnswer::Done);
    let handle = handle(backend).with_max_pending(2);
    let future = handle.submit(double, 1);
    let waited = handle.submit(double, 2);
    let canceller = waited.canceller();
    thread::scope(|scope| {
        scope.spawn(|| check_cancelled(&waited.result()));
        assert!(canceller.cancel());
    });
    assert!(future.cancel() && future.cancelled());
    check_cancelled(&future.result());
    drop(handle.try_submit(double, 1).unwrap().cancel_on_drop());
    drop(handle.chunksize(2).map(double, 0..3));
    assert!(handle.try_submit(double, 1).is_ok());
    // What it tells of them later does not count.
    assert!(kept.tasks()[0].done.is_cancelled());
    let tasks = std::mem::take(&mut *kept.tasks());
    tasks.iter().for_each(complete);
}

/// It says that the outcome will tell, and it does.
fn forgets_what_it_cancels() {
    let kept = Kept::default();
    let own = kept.clone();
    let mut backend = hostile(move |task| {
        own.tasks().push(task);
        Ok(())
    });
    backend.cancel = Box::new(|_| CancelAnswer::Asked);
    let handle = handle(backend);
    let future = handle.submit(double, 1);
    thread::scope(|scope| {
        let cancelling = scope.spawn(|| future.cancel());
        let task = kept.tasks().remove(0);
        task.done.fail(TaskError::Cancelled);
        assert!(cancelling.join().unwrap());
    });
    assert!(future.cancelled());
    let future = handle.submit(double, 1);
    thread::scope(|scope| {
        let cancelling = scope.spawn(|| future.kill());
        complete(&kept.tasks().remove(0));
        assert!(!cancelling.join().unwrap());
    });
    assert_eq!(future.result().unwrap(), 2);
    // One that is dropped does not wait for that.
    drop(handle.submit(double, 1).kill_on_drop());
}

/// As one that keeps a table of tasks does: it takes the task out, and says that it did.
fn drops_what_it_cancels() {
    let kept = Kept::default();
    let (own, table) = (kept.clone(), kept.clone());
    let mut backend = hostile(move |task| {
        own.tasks().push(task);
        Ok(())
    });
    backend.cancel = Box::new(move |completer| {
        let mut tasks = table.tasks();
        let at = tasks
            .iter()
            .position(|task| task.done.id() == completer.id());
        let task = at.map(|at| tasks.remove(at));
        drop(tasks);
        match task {
            Some(_) => CancelAnswer::Done,
            None => CancelAnswer::TooLate,
        }
    });
    let handle = handle(backend);
    let future = handle.submit(double, 1);
    assert!(future.cancel());
    check_cancelled(&future.result());
}

/// The future is made when its callbacks could run: they run when they are added.
fn callbacks_in_its_submit() {
    let handle = doing(|task| complete(&task));
    let inner = handle.clone();
    let future = handle.submit(double, 1);
    let sum = Arc::new(AtomicU32::new(0));
    let own = Arc::clone(&sum);
    future.add_done_callback(move |outcome| {
        let next = inner
            .submit(double, *outcome.as_ref().unwrap())
            .result()
            .unwrap();
        own.store(next, Ordering::Relaxed);
    });
    assert_eq!(sum.load(Ordering::Relaxed), 4);
    assert_eq!(future.result().unwrap(), 2);
}

/// That is the back-end's own bug, and comes to whoever called; no place is lost.
fn panics_in_submit() {
    let limited = doing(|_| panic!("the back-end's panic")).with_max_pending(1);
    for _ in 0..3 {
        let attempt = std::panic::AssertUnwindSafe(|| limited.try_submit(double, 1).is_ok());
        assert!(std::panic::catch_unwind(attempt).is_err());
    }
}

fn never_ends() {
    let handle = Kept::default().handle();
    handle.shutdown();
    handle.shutdown_now();
    handle.shutdown_no_wait();
    assert!(!handle.shutdown_timeout(Duration::MAX));
}

fn strange_hints() {
    for (slots, round_trip) in [
        (0, Duration::ZERO),
        (0, Duration::MAX),
        (1_000, Duration::MAX),
        (usize::MAX, Duration::ZERO),
    ] {
        let mut backend = hostile(|task| {
            complete(&task);
            Ok(())
        });
        backend.hints = Hints::new(slots, round_trip);
        let handle = handle(backend);
        for handle in [handle.clone(), handle.chunksize(3), handle.buffersize(5)] {
            let found = handle.map(double, 0..2000);
            assert!(found.map(Result::unwrap).eq((0..2000).map(double)));
            assert_eq!(handle.map_unordered(double, 0..2000).count(), 2000);
        }
    }
}

/// Wakes those who wait although nothing has come.
fn wakes_for_nothing() {
    #[derive(Debug)]
    struct Nervous(Kept);
    impl Backend for Nervous {
        fn submit(&self, task: Task) -> Result<(), Box<Rejected>> {
            self.0.tasks().push(task);
            Ok(())
        }
        fn cancel(&self, _: &Completer, _: CancelMode) -> CancelAnswer {
            CancelAnswer::TooLate
        }
        fn hints(&self) -> Hints {
            Hints::new(1, Duration::ZERO)
        }
        fn shutdown(&self, _: Shutdown, _: Option<Instant>) -> bool {
            true
        }
        fn wait(
            &self,
            register: &mut dyn FnMut(std::task::Waker),
            deadline: Option<Instant>,
            done: &dyn Fn() -> bool,
        ) -> bool {
            // Again and again with another waker.
            while !done() {
                let (_count, waker) = Count::new();
                register(waker);
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return false;
                }
                thread::yield_now();
            }
            true
        }
    }
    let kept = Kept::default();
    let handle = Handle::new(Arc::new(Nervous(kept.clone()))).with_max_pending(3);
    let futures: Vec<_> = (0..3).map(|n| handle.submit(double, n)).collect();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(futures, ReturnWhen::AllCompleted));
        let submitter = scope.spawn(|| handle.submit(double, 9));
        let end = || {
            let task = kept.tasks().pop();
            task.iter().for_each(complete);
            task.is_some()
        };
        let mut left = 4;
        while left > 0 {
            left -= u32::from(end());
            thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap().0.len(), 3);
        assert_eq!(submitter.join().unwrap().result().unwrap(), 18);
    });
}

fn knows_its_tasks() {
    let kept = Kept::default();
    let handle = kept.handle();
    let future = handle.retries(4).submit(double, 1);
    let map = handle.chunksize(3).map(double, 0..3);
    let tasks = std::mem::take(&mut *kept.tasks());
    assert_eq!((tasks[0].items.len(), tasks[1].items.len()), (1, 3));
    assert_eq!((tasks[0].policy.retries, tasks[1].policy.retries), (4, 0));
    assert_eq!(tasks[0].done.id(), future.id());
    assert_ne!(tasks[0].done.id(), tasks[1].done.id());
    assert_eq!(tasks[0].function.to_words(), tasks[1].function.to_words());
    assert!(tasks.iter().all(|task| !task.done.is_cancelled()));
    assert!(tasks.iter().all(|task| !format!("{task:?}").is_empty()));
    tasks.iter().for_each(complete);
    assert!(
        tasks.iter().all(|task| task.done.is_cancelled()),
        "they need not run"
    );
    assert_eq!(future.result().unwrap(), 2);
    assert!(map.map(Result::unwrap).eq([0, 2, 4]));
}
