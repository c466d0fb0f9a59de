//! For tests: a back-end whose tasks wait for the test, and gates.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use procession_pool::TaskError;
use procession_pool::raw::Encoded;

use crate::backend::{
    Backend, CancelAnswer, CancelMode, Completer, Hints, Rejected, Shutdown, Task,
};
use crate::handle::Handle;

/// Takes tasks and does nothing about them.
#[derive(Debug, Default)]
pub(crate) struct Manual {
    tasks: Mutex<Vec<Task>>,
}

impl Manual {
    pub(crate) fn new() -> (Arc<Manual>, Handle) {
        let manual = Arc::new(Manual::default());
        let handle = Handle::new(Arc::<Manual>::clone(&manual));
        (manual, handle)
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.tasks.lock().unwrap()
    }

    /// How many it has.
    pub(crate) fn len(&self) -> usize {
        self.tasks().len()
    }

    /// Takes the `n`th task that it has now.
    pub(crate) fn take(&self, n: usize) -> Task {
        self.tasks().remove(n)
    }

    /// Runs the `n`th task that it has now.
    pub(crate) fn run(&self, n: usize) {
        let task = self.take(n);
        crate::run::run(&task, || {});
    }

    /// Gives this outcome to the `n`th task.
    pub(crate) fn settle(&self, n: usize, outcome: Result<u32, TaskError>) {
        let task = self.take(n);
        let value = outcome.map(|value| Encoded::of(&value).unwrap());
        let outcome = value.as_ref().map(Encoded::bytes).map_err(Clone::clone);
        task.done.item(0, outcome);
    }
}

impl Backend for Manual {
    fn submit(&self, task: Task) -> Result<(), Box<Rejected>> {
        self.tasks().push(task);
        Ok(())
    }

    fn cancel(&self, task: &Completer, how: CancelMode) -> CancelAnswer {
        let mut tasks = self.tasks();
        let at = tasks.iter().position(|other| other.done.id() == task.id());
        let Some(at) = at else {
            return CancelAnswer::TooLate;
        };
        if task.has_started() && how == CancelMode::Queued {
            return CancelAnswer::TooLate;
        }
        let task = tasks.remove(at);
        drop(tasks);
        task.done.fail(TaskError::Cancelled);
        CancelAnswer::Asked
    }

    fn hints(&self) -> Hints {
        Hints::new(1, Duration::ZERO)
    }

    fn shutdown(&self, _how: Shutdown, _deadline: Option<Instant>) -> bool {
        self.len() == 0
    }
}

/// Closed until it is opened.
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) const fn new() -> Gate {
        Gate {
            open: Mutex::new(false),
            opened: Condvar::new(),
        }
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    pub(crate) fn pass(&self) {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }
}
