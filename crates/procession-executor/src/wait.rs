//! Waits for several futures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::callback;
use crate::completions::{Completions, Home};
use crate::future::Future;
use crate::park;

/// What [`wait`] waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// Any future that is done, also a cancelled one.
    FirstCompleted,
    /// The first one whose outcome is an error, or all of them. That one was cancelled is no error.
    FirstException,
    /// All of them.
    #[default]
    AllCompleted,
}

/// Waits for `futures`, and returns those that are done and those that are not, each in the order in
/// which they were given. Cancelled ones are done.
///
/// A call looks at each future once or twice: to take many one by one, as they come, call
/// [`as_completed`](crate::as_completed) instead, to which new ones can be
/// [added](crate::AsCompleted::push).
///
/// # Examples
///
/// ```
/// use procession_executor::{Executor, ReturnWhen, ThreadPoolExecutor, wait};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let futures = (0..4).map(|n: u64| executor.submit(|n| n * n, n));
/// let (done, not_done) = wait(futures, ReturnWhen::FirstCompleted);
/// assert!(!done.is_empty());
/// let (done, not_done) = wait(not_done, ReturnWhen::AllCompleted);
/// assert!(not_done.is_empty());
/// # Ok::<(), procession_executor::Error>(())
/// ```
pub fn wait<T: Send + 'static>(
    futures: impl IntoIterator<Item = Future<T>>,
    when: ReturnWhen,
) -> (Vec<Future<T>>, Vec<Future<T>>) {
    wait_until(futures, when, None)
}

/// As [`wait`], for at most `timeout`.
pub fn wait_timeout<T: Send + 'static>(
    futures: impl IntoIterator<Item = Future<T>>,
    when: ReturnWhen,
    timeout: Duration,
) -> (Vec<Future<T>>, Vec<Future<T>>) {
    // Before the futures are looked at: making them may take its time, too.
    let deadline = park::deadline(timeout);
    wait_until(futures, when, deadline)
}

/// As [`wait`], until a moment at most.
pub fn wait_deadline<T: Send + 'static>(
    futures: impl IntoIterator<Item = Future<T>>,
    when: ReturnWhen,
    deadline: Instant,
) -> (Vec<Future<T>>, Vec<Future<T>>) {
    wait_until(futures, when, Some(deadline))
}

fn wait_until<T: Send + 'static>(
    futures: impl IntoIterator<Item = Future<T>>,
    when: ReturnWhen,
    deadline: Option<Instant>,
) -> (Vec<Future<T>>, Vec<Future<T>>) {
    let futures: Vec<Future<T>> = futures.into_iter().collect();
    // Asked once: what is done after that, the set is told of.
    let (done, pending): (Vec<_>, Vec<_>) = (0..).zip(&futures).partition(|(_, one)| one.done());
    let is_enough = match when {
        ReturnWhen::FirstCompleted => !done.is_empty(),
        ReturnWhen::FirstException => done.iter().any(|(_, future)| future.has_failed()),
        ReturnWhen::AllCompleted => false,
    };
    if !is_enough {
        // In one of its own callbacks a future will not be done.
        let is_own = |(_, future): &(u32, &Future<T>)| callback::is_of(future.id());
        let others: Vec<_> = pending.into_iter().filter(|one| !is_own(one)).collect();
        wait_for(&futures, &others, when, deadline);
    }
    // By what is so now: others may have come meanwhile.
    futures.into_iter().partition(Future::done)
}

fn wait_for<T: Send + 'static>(
    futures: &[Future<T>],
    pending: &[(u32, &Future<T>)],
    when: ReturnWhen,
    deadline: Option<Instant>,
) {
    let set = Arc::new(Completions::default());
    let mut home = Home::Nowhere;
    let mut left = pending.len();
    for (number, future) in pending {
        home.add(future.backend());
        future.join(&set, *number);
    }
    if matches!(home, Home::Many) {
        pending.iter().for_each(|(_, future)| future.watch());
    }
    if when == ReturnWhen::AllCompleted {
        set.set_goal(left);
    }
    'waiting: while left > 0 && home.wait(&set, deadline) {
        while let Some(number) = set.pop() {
            left -= 1;
            let failed = futures[number as usize].has_failed();
            let is_enough = match when {
                ReturnWhen::FirstCompleted => true,
                ReturnWhen::FirstException => failed,
                ReturnWhen::AllCompleted => false,
            };
            if is_enough {
                break 'waiting;
            }
        }
    }
    set.close();
}

#[cfg(test)]
mod tests;
