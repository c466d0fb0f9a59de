//! Runs a task in this process.

use std::time::{Duration, Instant};

use procession_pool::TaskError;
use procession_pool::raw::{Encoded, Policy};
use procession_primitives::catch;

use crate::backend::Task;
use crate::park;

/// Longest pause before an attempt.
const BACKOFF_MOST: Duration = Duration::from_secs(3600);

/// Runs `task` on this thread, unless it was cancelled. `before_last` is called when all functions have
/// returned, before anybody can know it.
pub(crate) fn run(task: &Task, before_last: impl FnOnce()) {
    if !task.done.start() {
        return;
    }
    let begun = Instant::now();
    let mut items = (0..).zip(task.items.iter()).peekable();
    let mut before_last = Some(before_last);
    while let Some((number, item)) = items.next() {
        let value = attempt(task, item);
        if items.peek().is_none()
            && let Some(before_last) = before_last.take()
        {
            before_last();
        }
        let outcome = match &value {
            Ok(value) => Ok(value.bytes()),
            Err(error) => Err(error.clone()),
        };
        task.done.item(number, outcome);
    }
    task.done.finish(Some(begun.elapsed()));
}

/// The value of one item, after as many attempts as its policy allows.
fn attempt(task: &Task, item: &[u8]) -> Result<Encoded, TaskError> {
    let policy = &task.policy;
    let mut retries = 0;
    loop {
        let outcome = task.function.call(item);
        match &outcome {
            Err(error) if retries < policy.retries && is_wanted(policy, error) => {
                let pause = policy.backoff.saturating_mul(1 << retries.min(31));
                park::pause(pause.min(BACKOFF_MOST));
                retries += 1;
            }
            _ => return outcome,
        }
    }
}

/// Whether a failure is worth another attempt. A panic of whoever is asked says no.
fn is_wanted(policy: &Policy, error: &TaskError) -> bool {
    let wanted = policy.retry_if.as_ref();
    matches!(error, TaskError::Panicked(_))
        && wanted.is_none_or(|wanted| catch(|| wanted(error)).unwrap_or(false))
}
