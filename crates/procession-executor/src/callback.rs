//! Callbacks, and whose they are.

use std::cell::{Cell, RefCell};

use procession_primitives::catch;

thread_local! {
    /// The futures whose callbacks run on this thread, the innermost last.
    static RUNNING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// Called before the next callback on this thread.
    static BEFORE: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Calls a callback of the future `id`. A panic in it is printed, and otherwise ignored.
pub(crate) fn call(id: u64, callback: impl FnOnce()) {
    if let Some(before) = BEFORE.take() {
        before();
    }
    // A thread that ends may have no thread-locals any more, and no callbacks around this one.
    let _ = RUNNING.try_with(|running| running.borrow_mut().push(id));
    let _ = catch(callback);
    let _ = RUNNING.try_with(|running| running.borrow_mut().pop());
}

fn looks(like: impl FnOnce(&[u64]) -> bool) -> bool {
    let seen = RUNNING.try_with(|running| like(&running.borrow()));
    seen.unwrap_or(false)
}

/// Whether this is a callback.
pub(crate) fn is_any() -> bool {
    looks(|running| !running.is_empty())
}

/// Whether this is a callback of the future `id`.
pub(crate) fn is_of(id: u64) -> bool {
    looks(|running| running.contains(&id))
}

/// Has `hook` called once, before the next callback on this thread; `None` for no more.
pub(crate) fn before_next(hook: Option<fn()>) {
    BEFORE.set(hook);
}
