//! Threads that wait.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

/// Parks this thread until `done`, or `deadline` has passed: then the result is false.
///
/// `register` is given a waker before the thread sleeps.
pub(crate) fn until(
    register: &mut dyn FnMut(Waker),
    deadline: Option<Instant>,
    done: &dyn Fn() -> bool,
) -> bool {
    if done() {
        return true;
    }
    // A thread that ends may wait once more, in the destructor of a thread-local.
    let waker = WAKER.try_with(Waker::clone);
    register(waker.unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current())))));
    loop {
        // A wake-up may be somebody else's, or a late one.
        if done() {
            return true;
        }
        let Some(deadline) = deadline else {
            thread::park();
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
    }
}

/// Lets this much time pass.
pub(crate) fn pause(time: Duration) {
    if !time.is_zero() {
        until(&mut drop, Instant::now().checked_add(time), &|| false);
    }
}

/// The moment when `timeout` is over; `None` if that is too far away to come.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
