//! Back-ends that misbehave: whatever they do, each future has one outcome, and nobody is harmed.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use procession_executor::raw::Encoded;
use procession_executor::{
    Backend, CancelAnswer, CancelMode, Completer, Executor, Handle, Hints, Rejected, Shutdown,
    Task, TaskError, TrySubmitError,
};
use procession_testkit::{Case, cases};

use super::hostile;
use crate::common::{check_closed, double};

pub(crate) fn cases() -> Vec<Case> {
    cases![hostile:
        drops_the_task, drops_the_task_later, refuses, ends_without_outcomes, completes_twice,
        many_complete_at_once, items_out_of_order, items_that_are_none, some_items_only,
        bytes_that_are_nothing, fails_what_is_left,
    ]
    .into()
}

type Submit = Box<dyn Fn(Task) -> Result<(), Box<Rejected>> + Send + Sync>;
type Cancel = Box<dyn Fn(&Completer) -> CancelAnswer + Send + Sync>;

/// Does as it is told.
pub(crate) struct Hostile {
    submit: Submit,
    pub(crate) cancel: Cancel,
    pub(crate) hints: Hints,
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hostile")
    }
}

impl Backend for Hostile {
    fn submit(&self, task: Task) -> Result<(), Box<Rejected>> {
        (self.submit)(task)
    }

    fn cancel(&self, task: &Completer, _: CancelMode) -> CancelAnswer {
        (self.cancel)(task)
    }

    fn hints(&self) -> Hints {
        self.hints
    }

    fn shutdown(&self, _: Shutdown, _: Option<Instant>) -> bool {
        false
    }
}

pub(crate) fn hostile(
    submit: impl Fn(Task) -> Result<(), Box<Rejected>> + Send + Sync + 'static,
) -> Hostile {
    Hostile {
        submit: Box::new(submit),
        cancel: Box::new(|_| CancelAnswer::TooLate),
        hints: Hints::new(1, Duration::ZERO),
    }
}

pub(crate) fn handle(backend: Hostile) -> Handle {
    Handle::new(Arc::new(backend))
}

/// One that does this with each task.
pub(crate) fn doing(act: impl Fn(Task) + Send + Sync + 'static) -> Handle {
    handle(hostile(move |task| {
        act(task);
        Ok(())
    }))
}

/// Tasks that are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<Task>>>);

impl Kept {
    pub(crate) fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.0.lock().unwrap()
    }

    pub(crate) fn handle(&self) -> Handle {
        let kept = self.clone();
        doing(move |task| kept.tasks().push(task))
    }
}

fn encoded(value: u32) -> Encoded {
    Encoded::of(&value).unwrap()
}

/// As an honest back-end does it.
pub(crate) fn complete(task: &Task) {
    for (number, item) in (0..).zip(task.items.iter()) {
        let outcome = task.function.call(item);
        let outcome = outcome.as_ref().map(Encoded::bytes).map_err(Clone::clone);
        task.done.item(number, outcome);
    }
    task.done.finish(None);
}

#[track_caller]
pub(crate) fn check_protocol<T: fmt::Debug>(outcome: &Result<T, TaskError>) {
    assert!(matches!(outcome, Err(TaskError::Protocol)), "{outcome:?}");
}

fn drops_the_task() {
    let handle = doing(drop);
    let future = handle.submit(double, 1);
    assert!(future.done() && !future.cancelled());
    check_protocol(&future.result());
    let outcomes: Vec<_> = handle.chunksize(3).map(double, 0..10).collect();
    assert_eq!(outcomes.len(), 10);
    outcomes.iter().for_each(check_protocol);
    let outcomes: Vec<_> = handle.chunksize(3).map_unordered(double, 0..10).collect();
    assert_eq!(outcomes.len(), 10);
    outcomes.iter().for_each(check_protocol);
}

/// While somebody waits.
fn drops_the_task_later() {
    let kept = Kept::default();
    let handle = kept.handle();
    let futures: Vec<_> = (0..5).map(|n| handle.submit(double, n)).collect();
    thread::scope(|scope| {
        for future in futures {
            scope.spawn(|| check_protocol(&future.result()));
        }
        kept.tasks().drain(..).rev().for_each(drop);
    });
    let future = handle.submit(double, 1);
    kept.tasks().remove(0).done.finish(Some(Duration::ZERO));
    check_protocol(&future.result());
}

fn refuses() {
    let handle = handle(hostile(|task| {
        let error = TaskError::NoWorkers("there are none".into());
        Err(Box::new(Rejected { task, error }))
    }));
    let is_it = |error: &TaskError| matches!(error, TaskError::NoWorkers(why) if **why == *"there are none");
    let future = handle.submit(double, 1);
    assert!(future.done() && is_it(&future.result().unwrap_err()));
    let refused = handle.try_submit(double, 3);
    assert!(matches!(&refused, Err(TrySubmitError::Closed(3, error)) if is_it(error)));
    let limited = handle.clone().with_max_pending(1);
    for _ in 0..3 {
        assert!(matches!(
            limited.try_submit(double, 3),
            Err(TrySubmitError::Closed(3, _))
        ));
    }
    let outcomes: Vec<_> = limited.chunksize(2).map(double, 0..5).collect();
    assert_eq!(outcomes.len(), 5);
    assert!(
        outcomes
            .iter()
            .all(|outcome| is_it(outcome.as_ref().unwrap_err()))
    );
    // One that has told of an outcome all the same.
    let handle = self::handle(hostile(|task| {
        task.done.item(0, Ok(encoded(9).bytes()));
        let error = TaskError::Closed;
        Err(Box::new(Rejected { task, error }))
    }));
    check_closed(&handle.submit(double, 1).result());
}

fn ends_without_outcomes() {
    let handle = doing(|task| {
        task.done.started();
        task.done.finish(None);
        task.done.finish(Some(Duration::MAX));
        complete(&task);
    });
    check_protocol(&handle.submit(double, 1).result());
    let outcomes: Vec<_> = handle.chunksize(4).map(double, 0..10).collect();
    assert_eq!(outcomes.len(), 10);
    outcomes.iter().for_each(check_protocol);
}

/// The first outcome counts.
fn completes_twice() {
    let handle = doing(|task| {
        for (number, _) in (0..).zip(task.items.iter()) {
            task.done.item(number, Ok(encoded(number + 1).bytes()));
            task.done.item(number, Ok(encoded(77).bytes()));
            task.done.item(number, Err(TaskError::Closed));
        }
        task.done.finish(None);
        task.done.fail(TaskError::Closed);
        task.done.finish(None);
    });
    let calls = Arc::new(AtomicU32::new(0));
    let future = handle.submit(double, 1);
    let count = Arc::clone(&calls);
    future.add_done_callback(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(future.result().unwrap(), 1);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let found = handle.chunksize(3).map(double, 0..7);
    assert!(found.map(Result::unwrap).eq([1, 2, 3, 1, 2, 3, 1]));
}

fn many_complete_at_once() {
    let handle = doing(|task| {
        let items = task.items.len() as u32;
        thread::scope(|scope| {
            for who in 0..4 {
                let done = &task.done;
                scope.spawn(move || {
                    for number in 0..items {
                        done.item(number, Ok(encoded(who).bytes()));
                    }
                    if who == 3 {
                        done.item(0, Err(TaskError::Closed));
                    }
                });
            }
        });
        task.done.finish(None);
    });
    let limited = handle.with_max_pending(1);
    for _ in 0..30 {
        let calls = Arc::new(AtomicU32::new(0));
        let future = limited.try_submit(double, 1).unwrap();
        let count = Arc::clone(&calls);
        future.add_done_callback(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert!(future.result().is_ok_and(|value| value < 4));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
    let outcomes: Vec<_> = limited.chunksize(8).map(double, 0..40).collect();
    assert_eq!(outcomes.len(), 40);
    assert!(
        outcomes
            .into_iter()
            .all(|outcome| outcome.is_ok_and(|value| value < 4))
    );
}

fn items_out_of_order() {
    let handle = doing(|task| {
        let items: Vec<_> = (0..).zip(task.items.iter()).collect();
        for (number, item) in items.into_iter().rev() {
            task.done
                .item(number, Ok(task.function.call(item).unwrap().bytes()));
        }
        task.done.finish(None);
    });
    for chunksize in [1, 3, 50] {
        let found = handle.chunksize(chunksize).map(double, 0..30);
        assert!(found.map(Result::unwrap).eq((0..30).map(double)));
    }
}

fn items_that_are_none() {
    let handle = doing(|task| {
        let items = task.items.len() as u32;
        for number in [items, items + 1, u32::MAX] {
            task.done.item(number, Ok(encoded(77).bytes()));
            task.done.item(number, Err(TaskError::Closed));
        }
        complete(&task);
    });
    assert_eq!(handle.submit(double, 4).result().unwrap(), 8);
    let found = handle.chunksize(3).map(double, 0..10);
    assert!(found.map(Result::unwrap).eq((0..10).map(double)));
}

/// The others have one that says so.
fn some_items_only() {
    let handle = doing(|task| {
        for number in (0..task.items.len() as u32).step_by(2) {
            task.done.item(number, Ok(encoded(number).bytes()));
        }
        task.done.finish(None);
    });
    let outcomes: Vec<_> = handle.chunksize(4).map(double, 0..8).collect();
    for (n, outcome) in (0..).zip(outcomes) {
        match n % 2 {
            0 => assert_eq!(outcome.unwrap(), n % 4),
            _ => check_protocol(&outcome),
        }
    }
}

fn bytes_that_are_nothing() {
    for bytes in [&[][..], &[0xff; 3], &[0xff; 11]] {
        let handle = doing(move |task| {
            task.done.item(0, Ok(bytes));
            task.done.finish(None);
        });
        let outcome = handle.submit(|n: u64| n, 1).result();
        assert!(
            matches!(outcome, Err(TaskError::ValueDecode(_))),
            "{outcome:?}"
        );
        let outcome = handle
            .map(|text: String| text, [String::new()])
            .next()
            .unwrap();
        assert!(
            matches!(outcome, Err(TaskError::ValueDecode(_))),
            "{outcome:?}"
        );
    }
}

fn fails_what_is_left() {
    let handle = doing(|task| {
        task.done.item(1, Ok(encoded(5).bytes()));
        task.done.fail(TaskError::NoWorkers("gone".into()));
        complete(&task);
    });
    let outcome = handle.submit(double, 1).result();
    assert!(
        matches!(outcome, Err(TaskError::NoWorkers(_))),
        "{outcome:?}"
    );
    let outcomes: Vec<_> = handle.chunksize(3).map(double, 0..3).collect();
    assert!(matches!(
        outcomes.as_slice(),
        [
            Err(TaskError::NoWorkers(_)),
            Ok(5),
            Err(TaskError::NoWorkers(_))
        ]
    ));
}
