//! Members of the modelled family, how one of them is killed, and how a model is run.

use real::cell::{Cell, RefCell};
use real::collections::HashMap;
use real::panic::{self, AssertUnwindSafe};
use real::rc::Rc;
use real::thread as real_thread;

use loom::thread::JoinHandle;

use crate::family::{FAMILY, WORKERS};
use crate::mailbox::{SLEEPING, UNATTENDED};
use crate::memory::Arena;
use crate::{clock, words};

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
    /// The same in workers that have found something, or leave.
    AwakeUnfenced,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A thread of the program that the library has started.
    Keeper,
    Program,
    Worker(u32),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) fault: Fault,
    /// How many preemptions less than usual: for models with many threads.
    pub(crate) fewer: usize,
    /// Whether each read-and-write is a full barrier, as it is on x86.
    pub(crate) strong: bool,
}

pub(crate) const PLAIN: Scene = Scene {
    fault: Fault::None,
    fewer: 0,
    strong: false,
};

pub(crate) const STRONG: Scene = Scene {
    strong: true,
    ..PLAIN
};

type Hired = Rc<dyn Fn(u32)>;

// Loom's threads all run on the thread that checks the model.
thread_local! {
    static SCENE: Cell<Scene> = const { Cell::new(PLAIN) };
    /// Before which of its steps the victim is killed.
    static KILL_AT: Cell<u32> = const { Cell::new(u32::MAX) };
    static KILLED: Cell<bool> = const { Cell::new(false) };
    static MARKS: RefCell<HashMap<usize, Mark>> = RefCell::default();
    /// Workers that the program has killed.
    static EXECUTED: Cell<[u32; WORKERS]> = const { Cell::new([0; WORKERS]) };
    static HIRED: RefCell<Option<Hired>> = RefCell::default();
    static THREADS: RefCell<Vec<JoinHandle<()>>> = RefCell::default();
}

/// What a thread is.
#[derive(Debug)]
pub(crate) struct Me {
    pub(crate) role: Cell<Role>,
    /// The last time that it has read.
    pub(crate) looked_at: Cell<u64>,
    steps_left: Cell<u32>,
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

impl Me {
    /// Whether it is killed before its next step.
    pub(crate) fn dies_next(&self) -> bool {
        self.steps_left.get() == 0
    }
}

loom::thread_local! {
    pub(crate) static ME: Me = Me {
        role: Cell::new(Role::Keeper),
        looked_at: Cell::new(0),
        steps_left: Cell::new(u32::MAX),
        deferred: Cell::new(None),
        is_asleep: Cell::new(false),
        looks_away: Cell::new(false),
        says_asleep: Cell::new(false),
        changed: Cell::new(None),
    };
}

/// What a killed thread unwinds with.
struct Killed;

pub(crate) fn fault() -> Fault {
    SCENE.get().fault
}

fn role() -> Role {
    ME.with(|me| me.role.get())
}

fn is_worker() -> bool {
    matches!(role(), Role::Worker(_))
}

/// Whether the thread was killed, or the model has failed: nothing has an effect any more.
pub(crate) fn is_over() -> bool {
    real_thread::panicking()
}

/// To be called before each operation that others can see: false if it must not be done.
pub(crate) fn step() -> bool {
    if is_over() {
        return false;
    }
    let left = ME.with(|me| {
        let left = me.steps_left.get();
        if left != u32::MAX {
            me.steps_left.set(left.saturating_sub(1));
        }
        left
    });
    if left == 0 {
        KILLED.set(true);
        panic::resume_unwind(Box::new(Killed));
    }
    true
}

/// Where a thread waits for its end.
pub(crate) fn end_here() -> ! {
    panic::resume_unwind(Box::new(Killed));
}

fn mark_of(address: usize) -> Option<Mark> {
    MARKS.with_borrow(|marks| marks.get(&address).copied())
}

/// What the fault of the scene makes of a load of `value`.
pub(crate) fn falsify_load(address: usize, value: u64) -> Look {
    let mark = || mark_of(address);
    match fault() {
        Fault::TakesTheMark
            if value == SLEEPING.into() && mark() == Some(Mark::Inbox) && !is_worker() =>
        {
            Look::Cleared(0)
        }
        Fault::LooksAway => match mark() {
            Some(Mark::Asleep) if ME.with(|me| me.looks_away.get()) => Look::Instead(0),
            Some(Mark::Searching) if ME.with(|me| me.looks_away.take()) => Look::Instead(0),
            _ => Look::Shipped,
        },
        Fault::AsksNoMore
            if mark() == Some(Mark::Hungry)
                && is_worker()
                && ME.with(|me| me.is_asleep.get()) =>
        {
            Look::Instead(0)
        }
        _ => Look::Shipped,
    }
}

/// Whether nothing becomes of a store.
pub(crate) fn drops(address: usize, value: u64) -> bool {
    if fault() != Fault::SaysItLate || mark_of(address) != Some(Mark::KeeperAsleep) {
        return false;
    }
    // The second time is when it has looked.
    let is_second = ME.with(|me| me.says_asleep.replace(value == 1));
    value == 1 && !is_second
}

/// What the fault of the scene makes of the value before an addition.
pub(crate) fn falsify_sum(address: usize, before: u64) -> u64 {
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
        ME.with(|me| {
            me.changed.set(Some(mark));
            me.looks_away.set(mark == Mark::Hungry);
        });
    }
}

/// What the fault of the scene makes of a compare-and-exchange.
pub(crate) fn falsify(address: usize, new: u64) -> Change {
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
pub(crate) fn falsify_sleep(address: usize) -> bool {
    fault() == Fault::FollowsBlindly && mark_of(address) == Some(Mark::Waiter)
}

pub(crate) fn is_strong() -> bool {
    SCENE.get().strong
}

/// Whether there is none where `file` has a fence.
pub(crate) fn lacks_fence(file: &str) -> bool {
    match fault() {
        Fault::ProgramUnfenced => !is_worker(),
        Fault::WorkerUnfenced => is_worker(),
        Fault::Unfenced(mark, its) => {
            file.ends_with(its) && ME.with(|me| me.changed.get()) == Some(mark)
        }
        Fault::SleepUnfenced => is_worker() && ME.with(|me| me.is_asleep.get()),
        Fault::AwakeUnfenced => is_worker() && !ME.with(|me| me.is_asleep.get()),
        _ => false,
    }
}

/// Whether bits are set later than asked for: after the next that are cleared.
pub(crate) fn defers(address: usize, bits: u64) -> bool {
    if !is_worker() || is_over() {
        return false;
    }
    let mark = mark_of(address);
    ME.with(|me| {
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
    let deferred = ME.with(|me| {
        if mark_of(address) == Some(Mark::Asleep) {
            me.is_asleep.set(false);
        }
        me.deferred.take()
    });
    if let Some((address, bits)) = deferred
        && let Some(word) = words::find(address, || 0)
    {
        word.fetch_or(bits, real::sync::atomic::Ordering::Relaxed);
    }
}

/// Notes that worker `index` was killed by the program.
pub(crate) fn executed(index: u32) {
    let mut executed = EXECUTED.get();
    executed[index as usize] += 1;
    EXECUTED.set(executed);
}

/// How often worker `index` was killed by the program.
pub(crate) fn executions(index: u32) -> u32 {
    EXECUTED.get()[index as usize]
}

/// Tells the scene which word that is, and has it watched.
pub(crate) fn mark(address: usize, mark: Mark) {
    MARKS.with_borrow_mut(|marks| marks.insert(address, mark));
    watch_at(address);
}

/// Whether the word at `address` is one of loom's.
pub(crate) fn is_watched(address: usize) -> bool {
    words::find(address, || 0).is_some()
}

/// Makes the word at `address`, which is 0, one of loom's.
pub(crate) fn watch_at(address: usize) {
    watched(|| words::find(address, || 0));
}

/// Makes the words and locks that `look` looks at loom's.
pub(crate) fn watched<T>(look: impl FnOnce() -> T) -> T {
    words::watch(true);
    let value = look();
    words::watch(false);
    value
}

/// Says what starts the next life of a worker.
pub(crate) fn on_hire(start: impl Fn(u32) + 'static) {
    HIRED.set(Some(Rc::new(start)));
}

/// The crew has hired worker `index` for its life number `life`.
pub(crate) fn hired(index: u32, life: u64) {
    let start = HIRED.with_borrow(|start| start.clone());
    if life > 0
        && let Some(start) = start
    {
        start(index);
    }
}

/// Runs `run` on a thread of its own, of the program.
pub(crate) fn thread(run: impl FnOnce() + 'static) {
    keep(loom::thread::spawn(move || {
        ME.with(|me| me.role.set(Role::Program));
        run();
    }));
}

/// Runs `run` on a thread of its own, as worker `index`. If it comes to its end in it, its death
/// is announced.
pub(crate) fn worker(index: u32, run: impl FnOnce() + 'static) {
    start(index, u32::MAX, run);
}

/// As [`worker`], and it is killed on the way.
pub(crate) fn victim(index: u32, run: impl FnOnce() + 'static) {
    start(index, KILL_AT.get(), run);
}

fn start(index: u32, steps: u32, run: impl FnOnce() + 'static) {
    keep(loom::thread::spawn(move || {
        ME.with(|me| {
            me.role.set(Role::Worker(index));
            me.steps_left.set(steps);
        });
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(run)) {
            if !payload.is::<Killed>() {
                panic::resume_unwind(payload);
            }
            ME.with(|me| me.steps_left.set(u32::MAX));
            FAMILY.bury(index);
        }
    }));
}

fn keep(thread: JoinHandle<()>) {
    THREADS.with_borrow_mut(|threads| threads.push(thread));
}

/// Waits for all threads that there are.
pub(crate) fn join_all() {
    while let Some(thread) = THREADS.with_borrow_mut(Vec::pop) {
        thread.join().expect("loom would have told");
    }
}

impl Scene {
    pub(crate) fn with(self, fault: Fault) -> Scene {
        Scene { fault, ..self }
    }

    pub(crate) fn fewer(self) -> Scene {
        Scene { fewer: 1, ..self }
    }

    /// Checks `model` in all interleavings.
    pub(crate) fn check(self, model: impl Fn() + Send + Sync + 'static) {
        SCENE.set(self);
        let mut builder = loom::model::Builder::new();
        builder.max_branches = 20_000;
        let preemptions = builder.preemption_bound.unwrap_or(2);
        builder.preemption_bound = Some(preemptions.saturating_sub(self.fewer));
        builder.check(move || {
            words::reset();
            clock::reset();
            MARKS.take();
            HIRED.take();
            THREADS.take();
            EXECUTED.set([0; WORKERS]);
            ME.with(|me| me.role.set(Role::Program));
            RUNS.set(RUNS.get() + 1);
            model();
            join_all();
        });
        if real::env::var_os("MODELS_SHOW").is_some() {
            println!("{} runs", RUNS.take());
        }
    }

    /// Checks `model` once for each step of its victim, with the victim killed before it.
    pub(crate) fn check_kills(self, model: impl Fn() + Send + Sync + Clone + 'static) {
        for at in 0.. {
            KILL_AT.set(at);
            KILLED.set(false);
            if real::env::var_os("MODELS_SHOW").is_some() {
                println!("at {at}");
            }
            self.check(model.clone());
            if !KILLED.get() {
                // It has no further step.
                assert!(at > 0, "nobody was killed");
                break;
            }
        }
    }
}

thread_local! {
    static RUNS: Cell<u64> = const { Cell::new(0) };
    static CASES: RefCell<Vec<String>> = RefCell::default();
}

/// Notes that a run has come to what `case` says.
pub(crate) fn came_to(case: impl ToString) {
    let case = case.to_string();
    CASES.with_borrow_mut(|cases| {
        if !cases.contains(&case) {
            cases.push(case);
        }
    });
}

/// Asserts that some run has come to each of `cases`, and none to anything else.
pub(crate) fn all_came_to(cases: &[&str]) {
    let mut found = CASES.take();
    found.sort_unstable();
    assert_eq!(found, cases);
}

/// Asserts that loom finds a failure whose message contains `message`.
pub(crate) fn must_fail(message: &str, check: impl FnOnce()) {
    let payload = panic::catch_unwind(AssertUnwindSafe(check)).expect_err("the mistake was missed");
    let found = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    assert!(found.contains(message), "found something else: {found}");
}
