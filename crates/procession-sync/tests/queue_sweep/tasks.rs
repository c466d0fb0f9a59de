//! A victim with a task.

use std::cell::Cell;

use procession_primitives::Process;
use procession_sync::{JoinError, JoinableQueue, TaskDoneError};
use procession_testkit::{Case, sweep};

use crate::{next, parts, title};

type Tasks = JoinableQueue<u32>;

pub(crate) fn cases() -> Vec<Case> {
    let case = |part| Case::new(title("sweep::task", part), move || run(part));
    parts().into_iter().map(case).collect()
}

fn take_and_do((tasks, tracer): (Tasks, u32)) {
    sweep::begin(tracer);
    let _ = tasks.get();
    let _ = tasks.task_done();
    sweep::end();
}

/// Panics if `join` does not say what became of the first task; 0: left, 1: lost, 2: done.
fn judge(tasks: &Tasks) -> u32 {
    let left = tasks.len();
    let state = match left {
        2 => 0,
        1 => {
            tasks.get().unwrap();
            tasks.task_done().unwrap();
            match tasks.join() {
                Err(JoinError::Abandoned) => 1,
                Ok(()) => 2,
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other} tasks"),
    };
    if state == 0 {
        for expected in [1, 2] {
            assert_eq!(tasks.get(), Ok(expected));
            tasks.task_done().unwrap();
        }
    }
    assert_eq!(tasks.join(), Ok(()));
    assert_eq!(tasks.task_done(), Err(TaskDoneError::TooMany));
    state
}

fn run(part: Option<(u64, u64)>) {
    let current = Cell::new(None);
    let start = || {
        let tasks = Tasks::bounded(4).unwrap();
        tasks.put_many([1, 2]).unwrap();
        current.set(Some(tasks.clone()));
        Process::spawn(take_and_do, (tasks, std::process::id())).unwrap()
    };
    let seen = Cell::new([0; 3]);
    let check = |_| {
        let tasks: Tasks = current.take().unwrap();
        let mut counts = seen.get();
        counts[judge(&tasks) as usize] += 1;
        seen.set(counts);
    };
    let Some(swept) = sweep::victims(start, next(part), check) else {
        println!("  (skipped: tracing is not allowed here)");
        return;
    };
    assert_eq!(judge(&current.take().unwrap()), 2);
    assert!(swept.kills > 4, "the victim was stepped");
    let [left, lost, done] = seen.get();
    println!("  ({left} left, {lost} lost, {done} done)");
}
