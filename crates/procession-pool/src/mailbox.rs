//! Where finished tasks wait for the call that submitted them.
//!
//! A list through the cells, whose head is a word of the call's own cell. Workers push, the call
//! takes the whole list at once, so there is no pop that could mistake an old head for a new one.
//!
//! | word | meaning | who leaves this state |
//! |---|---|---|
//! | 0 | nothing finished | a worker, pushing; the call, going to sleep |
//! | `SLEEPING` | nothing finished, the call sleeps on this word | a worker, pushing, who then wakes |
//! | index + 1 | head of the list | workers, pushing; the call, taking all |
//!
//! Killed between finishing a task and pushing it, a worker leaves it out of the list for good:
//! the call then finds it by its state, see `Call::collect_orphans`.

use std::sync::atomic::{AtomicU32, Ordering};

use procession_primitives::wake;

use crate::shared::Shared;

pub(crate) const SLEEPING: u32 = u32::MAX;

/// Puts finished task `index` into the inbox of the call that waits for it.
pub(crate) fn push(shared: &Shared, index: u32) {
    let Some(cell) = shared.cell(index) else {
        return;
    };
    let Some(owner) = shared.cell(cell.mailbox.load(Ordering::Relaxed)) else {
        return;
    };
    let mut head = owner.inbox.load(Ordering::Relaxed);
    loop {
        let next = if head == SLEEPING { 0 } else { head };
        cell.next.store(next, Ordering::Relaxed);
        // Release: whoever takes the list sees this cell's link and its state.
        let pushed =
            owner
                .inbox
                .compare_exchange(head, index + 1, Ordering::Release, Ordering::Relaxed);
        match pushed {
            Ok(SLEEPING) => {
                wake(&owner.inbox, 1);
                return;
            }
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// Takes all finished tasks out of `inbox`, the latest first.
pub(crate) fn take(shared: &Shared, inbox: &AtomicU32, into: &mut Vec<u32>) {
    let head = inbox.load(Ordering::Relaxed);
    if head == 0 {
        return;
    }
    // Acquire: pairs with the Release of `push`. `SLEEPING` is taken too: the call is awake.
    let mut head = inbox.swap(0, Ordering::Acquire);
    while head != 0 && head != SLEEPING {
        into.push(head - 1);
        head = shared
            .cell(head - 1)
            .map_or(0, |cell| cell.next.load(Ordering::Relaxed));
    }
}
