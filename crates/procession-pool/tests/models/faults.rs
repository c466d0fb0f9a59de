//! Mistakes that the models have to find, made where threads touch what is modelled.

use real::cell::{Cell, RefCell};
use real::collections::HashMap;
use real::sync::atomic::Ordering;

use crate::mailbox::{SLEEPING, UNATTENDED};
use crate::scene::{Role, fault, is_over, is_worker, role};
use crate::words;

/// A mistake in the algorithms, made here and not in the shipped code: by doing something else
/// than what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The supervisor wakes everybody after a death, but does not change the news word.
    DeathWithoutNews,
    /// Whoever takes from the inbox takes the mark of a sleeper, too.
    TakesTheMark,
    /// Finished tasks are pushed without Release.
    PushesRelaxed,
    /// Who leaves the inbox does not say that it is unattended.
    LeavesUnsaid,
    /// A follower sleeps on its word as it is, not as it was before it looked around.
    FollowsBlindly,
    /// There is no full barrier between a store and a load of different words, in the program.
    ProgramUnfenced,
    /// The same in workers.
    WorkerUnfenced,
    /// The same in workers that go to sleep.
    SleepUnfenced,
    /// A worker that has found something, or leaves, does not acquire what those have offered who
    /// count on it.
    FindsRelaxed,
    /// A worker that was woken clears its `asleep` before it sets its `searching`.
    ClearsFirst,
    /// A worker that goes to sleep clears its `searching` before it sets its `asleep`.
    HidesFirst,
    /// Condemns whatever is in hand by now.
    CondemnsByStore,
    /// Commits whether condemned or not.
    CommitsByStore,
    /// There is no full barrier after a change of this word in this file, in the program.
    Unfenced(Mark, &'static str),
    /// There is none in this file, in the program.
    UnfencedIn(&'static str),
    /// Who leaves word for busy workers does not look whether one is idle.
    LooksAway,
    /// A worker that sleeps does not ask for more before.
    AsksNoMore,
    /// The first job that is watched wakes nobody.
    WatchesSilently,
    /// The keeper says that it sleeps after it has looked around.
    SaysItLate,
}

/// What the scene has to know of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Inbox,
    Asleep,
    Searching,
    Guard,
    Waiter,
    Hungry,
    Watched,
    Waiters,
    Waiting,
    Settling,
    KeeperAsleep,
    Phase,
}

/// What becomes of a load.
pub(crate) enum Look {
    Shipped,
    /// This is stored before, and read.
    Cleared(u64),
    /// This is read, whatever is there.
    Instead(u64),
}

/// What becomes of a change.
pub(crate) enum Change {
    Shipped,
    /// Without order.
    Relaxed,
    /// A store, whatever is there.
    Store,
    None,
}

thread_local! {
    static MARKS: RefCell<HashMap<usize, Mark>> = RefCell::default();
}

/// What a thread that makes mistakes has to know of itself.
#[derive(Debug, Default)]
struct Slips {
    /// The bit that it sets later, and where.
    deferred: Cell<Option<(usize, u64)>>,
    is_asleep: Cell<bool>,
    /// Whether it does not see the next idle worker.
    looks_away: Cell<bool>,
    /// Whether it says that it sleeps.
    says_asleep: Cell<bool>,
    /// What it has changed last, of what is marked.
    changed: Cell<Option<Mark>>,
}

loom::thread_local! {
    static SLIPS: Slips = Slips::default();
}

/// Forgets the words of the run before.
pub(crate) fn reset() {
    MARKS.take();
}

/// Says which word that is.
pub(crate) fn mark(address: usize, mark: Mark) {
    MARKS.with_borrow_mut(|marks| marks.insert(address, mark));
}

fn mark_of(address: usize) -> Option<Mark> {
    MARKS.with_borrow(|marks| marks.get(&address).copied())
}

/// What the fault of the scene makes of a load of `value`.
pub(crate) fn load(address: usize, value: u64) -> Look {
    let mark = || mark_of(address);
    match fault() {
        Fault::TakesTheMark
            if value == SLEEPING.into() && mark() == Some(Mark::Inbox) && !is_worker() =>
        {
            Look::Cleared(0)
        }
        Fault::LooksAway => match mark() {
            Some(Mark::Asleep) if SLIPS.with(|me| me.looks_away.get()) => Look::Instead(0),
            Some(Mark::Searching) if SLIPS.with(|me| me.looks_away.take()) => Look::Instead(0),
            _ => Look::Shipped,
        },
        Fault::AsksNoMore
            if mark() == Some(Mark::Hungry)
                && is_worker()
                && SLIPS.with(|me| me.is_asleep.get()) =>
        {
            Look::Instead(0)
        }
        _ => Look::Shipped,
    }
}

/// What the fault of the scene makes of the order of a look or of bits that are cleared.
pub(crate) fn order(address: usize, order: Ordering) -> Ordering {
    match fault() {
        Fault::FindsRelaxed if mark_of(address) == Some(Mark::Searching) && is_worker() => {
            Ordering::Relaxed
        }
        _ => order,
    }
}

/// Whether nothing becomes of a store.
pub(crate) fn drops(address: usize, value: u64) -> bool {
    if fault() != Fault::SaysItLate || mark_of(address) != Some(Mark::KeeperAsleep) {
        return false;
    }
    // The second time is when it has looked.
    let is_second = SLIPS.with(|me| me.says_asleep.replace(value == 1));
    value == 1 && !is_second
}

/// What the fault of the scene makes of the value before an addition.
pub(crate) fn sum(address: usize, before: u64) -> u64 {
    match fault() {
        Fault::WatchesSilently if mark_of(address) == Some(Mark::Watched) => before.max(1),
        _ => before,
    }
}

/// The word at `address` was changed, or was to be if it had another value.
pub(crate) fn changed(address: usize) {
    if !matches!(fault(), Fault::Unfenced(..) | Fault::LooksAway) || is_over() || is_worker() {
        return;
    }
    if let Some(mark) = mark_of(address) {
        SLIPS.with(|me| {
            me.changed.set(Some(mark));
            me.looks_away.set(mark == Mark::Hungry);
        });
    }
}

/// What the fault of the scene makes of a compare-and-exchange.
pub(crate) fn exchange(address: usize, new: u64) -> Change {
    let mark = || mark_of(address);
    match fault() {
        Fault::LeavesUnsaid
            if new == UNATTENDED.into()
                && mark() == Some(Mark::Inbox)
                && role() == Role::Program =>
        {
            Change::None
        }
        Fault::PushesRelaxed if mark() == Some(Mark::Inbox) && is_worker() => Change::Relaxed,
        Fault::CondemnsByStore if mark() == Some(Mark::Guard) && !is_worker() => Change::Store,
        Fault::CommitsByStore if mark() == Some(Mark::Guard) && is_worker() => Change::Store,
        _ => Change::Shipped,
    }
}

/// Whether a thread sleeps on a word as it is now.
pub(crate) fn sleep(address: usize) -> bool {
    fault() == Fault::FollowsBlindly && mark_of(address) == Some(Mark::Waiter)
}

/// Whether there is none where `file` has a fence.
pub(crate) fn lacks_fence(file: &str) -> bool {
    match fault() {
        Fault::ProgramUnfenced => !is_worker(),
        Fault::WorkerUnfenced => is_worker(),
        Fault::UnfencedIn(its) => !is_worker() && file.ends_with(its),
        Fault::Unfenced(mark, its) => {
            file.ends_with(its) && SLIPS.with(|me| me.changed.get()) == Some(mark)
        }
        Fault::SleepUnfenced => is_worker() && SLIPS.with(|me| me.is_asleep.get()),
        _ => false,
    }
}

/// Whether bits are set later than asked for: after the next that are cleared.
pub(crate) fn defers(address: usize, bits: u64) -> bool {
    if !is_worker() || is_over() {
        return false;
    }
    let mark = mark_of(address);
    SLIPS.with(|me| {
        let defers = match (fault(), mark) {
            (Fault::ClearsFirst, Some(Mark::Searching)) => me.is_asleep.get(),
            (Fault::HidesFirst, Some(Mark::Asleep)) => true,
            _ => false,
        };
        if mark == Some(Mark::Asleep) {
            me.is_asleep.set(true);
        }
        if defers {
            me.deferred.set(Some((address, bits)));
        }
        defers
    })
}

/// Bits of the word at `address` were cleared.
pub(crate) fn cleared(address: usize) {
    if is_over() {
        return;
    }
    let deferred = SLIPS.with(|me| {
        if mark_of(address) == Some(Mark::Asleep) {
            me.is_asleep.set(false);
        }
        me.deferred.take()
    });
    if let Some((address, bits)) = deferred
        && let Some(word) = words::find(address, || 0)
    {
        word.fetch_or(bits, Ordering::Relaxed);
    }
}
