//! Members of the modelled family, how one of them is killed, and how a model is run.

use real::cell::{Cell, RefCell};
use real::panic::{self, AssertUnwindSafe};
use real::rc::Rc;
use real::thread as real_thread;

use loom::thread::JoinHandle;

use crate::family::{FAMILY, WORKERS};
use crate::memory::Arena;
use crate::worker::Leave;
use crate::{clock, faults, words};

pub(crate) use crate::faults::{Fault, Mark};

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
    /// Workers that the program has killed.
    static EXECUTED: Cell<[u32; WORKERS]> = const { Cell::new([0; WORKERS]) };
    /// Why workers have left by themselves.
    static LEFT: RefCell<[Option<Leave>; WORKERS]> = const { RefCell::new([const { None }; WORKERS]) };
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
    };
}

/// What a killed thread unwinds with.
struct Killed;

pub(crate) fn fault() -> Fault {
    SCENE.get().fault
}

pub(crate) fn role() -> Role {
    ME.with(|me| me.role.get())
}

pub(crate) fn is_worker() -> bool {
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

pub(crate) fn is_strong() -> bool {
    SCENE.get().strong
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

/// Adds to what is shown of a run that fails, where that is asked for.
pub(crate) fn note(what: impl FnOnce() -> String) {
    if !is_over() && SHOWS.with(|shows| *shows) {
        let note = format!("{:?} {}", role(), what());
        NOTES.with_borrow_mut(|notes| notes.push(note));
    }
}

/// What becomes of worker `index` when it has left by itself: that is announced, too.
pub(crate) fn leave(index: u32, why: Leave) {
    LEFT.with_borrow_mut(|left| left[index as usize] = Some(why));
    FAMILY.bury(index);
}

/// Why worker `index` has left by itself, if it has. Asked once.
pub(crate) fn left(index: u32) -> Option<Leave> {
    LEFT.with_borrow_mut(|left| left[index as usize].take())
}

/// Tells the scene which word that is, and has it watched.
pub(crate) fn mark(address: usize, mark: Mark) {
    faults::mark(address, mark);
    note(|| format!("{address:x} is {mark:?}"));
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
        let fewer = self.fewer + 1;
        Scene { fewer, ..self }
    }

    /// Checks `model` in all interleavings.
    pub(crate) fn check(self, model: impl Fn() + Send + Sync + 'static) {
        SCENE.set(self);
        let mut builder = loom::model::Builder::new();
        builder.max_branches = 20_000;
        let preemptions = builder.preemption_bound.unwrap_or(2);
        builder.preemption_bound = Some(preemptions.saturating_sub(self.fewer));
        let check = move || {
            words::reset();
            NOTES.take();
            clock::reset();
            faults::reset();
            HIRED.take();
            THREADS.take();
            EXECUTED.set([0; WORKERS]);
            LEFT.take();
            ME.with(|me| me.role.set(Role::Program));
            RUNS.set(RUNS.get() + 1);
            model();
            join_all();
        };
        let checked = panic::catch_unwind(AssertUnwindSafe(|| builder.check(check)));
        if SHOWS.with(|shows| *shows) {
            println!("{} runs", RUNS.take());
        }
        if let Err(payload) = checked {
            NOTES.take().iter().for_each(|note| println!("{note}"));
            panic::resume_unwind(payload);
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
    static SHOWS: bool = real::env::var_os("MODELS_SHOW").is_some();
    /// What was done in this run.
    static NOTES: RefCell<Vec<String>> = RefCell::default();
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
