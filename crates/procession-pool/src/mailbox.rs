//! Where finished tasks wait for whoever collects them.
//!
//! A list through the cells, whose head is a word of the call's own cell, or the pool's inbox for
//! tasks that no call waits for: see `hub.rs`. Workers push, the collector takes the whole list at
//! once, so there is no pop that could mistake an old head for a new one.
//!
//! | word | meaning | who leaves this state |
//! |---|---|---|
//! | 0 | nothing finished, somebody is awake | a worker, pushing; the collector, going to sleep |
//! | `SLEEPING` | nothing finished, the collector sleeps on this word | a worker, pushing, who then wakes; the collector |
//! | `UNATTENDED` | the inbox alone: nothing finished, the keeper sleeps | a worker, pushing, who then wakes the keeper; a thread that comes to collect |
//! | index + 1 | head of the list | workers, pushing; the collector, taking all |
//!
//! Killed between finishing a task and pushing it, a worker leaves it out of the list for good:
//! the collector then finds it by its state, see `Call::collect_orphans`.

use std::sync::atomic::{AtomicU32, Ordering};

use procession_primitives::wake;

use crate::shared::Shared;

pub(crate) const SLEEPING: u32 = u32::MAX;
pub(crate) const UNATTENDED: u32 = u32::MAX - 1;

/// The mailbox of tasks that go to the pool's inbox.
pub(crate) const HUB: u32 = u32::MAX;

/// The list that mailbox `mailbox` stands for.
pub(crate) fn inbox(shared: &Shared, mailbox: u32) -> Option<&'static AtomicU32> {
    if mailbox == HUB {
        return Some(&shared.header().inbox.0);
    }
    shared.cell(mailbox).map(|cell| &cell.inbox)
}

/// Puts finished task `index` into the mailbox that it is meant for.
pub(crate) fn push(shared: &Shared, index: u32) {
    let Some(cell) = shared.cell(index) else {
        return;
    };
    let Some(inbox) = inbox(shared, cell.mailbox()) else {
        return;
    };
    let mut head = inbox.load(Ordering::Relaxed);
    loop {
        let next = if head >= UNATTENDED { 0 } else { head };
        cell.next.store(next, Ordering::Relaxed);
        // Release: whoever takes the list sees this cell's link and its state.
        let pushed = inbox.compare_exchange(head, index + 1, Ordering::Release, Ordering::Relaxed);
        match pushed {
            Ok(SLEEPING) => {
                wake(inbox, 1);
                return;
            }
            Ok(UNATTENDED) => {
                let keeper = &shared.header().keeper.0;
                // Release: it sees why it was called.
                keeper.fetch_add(1, Ordering::Release);
                wake(keeper, 1);
                return;
            }
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// Takes all finished tasks out of `inbox`, the latest first. The word that somebody sleeps by is
/// left: of the inbox of the pool more than one thread takes.
pub(crate) fn take(shared: &Shared, inbox: &AtomicU32, into: &mut Vec<u32>) {
    let mut head = inbox.load(Ordering::Relaxed);
    loop {
        if head == 0 || head >= UNATTENDED {
            return;
        }
        // Acquire: pairs with the Release of `push`.
        match inbox.compare_exchange_weak(head, 0, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => head = now,
        }
    }
    while head != 0 {
        into.push(head - 1);
        head = shared.cell(head - 1).map_or(0, |cell| {
            cell.fetch_to_reuse();
            cell.next.load(Ordering::Relaxed)
        });
    }
}
