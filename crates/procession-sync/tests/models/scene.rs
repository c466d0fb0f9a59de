//! Members of the modelled family, how one of them is killed, and how a model is run.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use loom::thread::JoinHandle;

use crate::primitive::{FAMILY, Family, MemberId};

/// A mistake in the algorithms, made here and not in the shipped code: by doing something else
/// than what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The supervisor wakes everybody after a death, but does not change the news word.
    DeathWithoutNews,
    /// Who has slept takes the lock without saying that others may sleep.
    TakesUnmarked,
    /// A sleeper whose time is over goes without saying that others may sleep.
    GivesUpUnmarked,
    /// The lock is let go of without Release.
    ReleasesRelaxed,
    /// What is written is committed without Release.
    CommitsRelaxed,
    /// Whoever hands the lock over does not notice that nobody sleeps.
    CountsNoWakes,
    /// There is no full barrier between a store and a load of different words.
    Unfenced,
    /// A waiter reads the word to sleep on after it has left the monitor.
    SleepsOnNewWord,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) fault: Fault,
    /// Whether the first contended release of each lock is a hand-over.
    pub(crate) hand_over: bool,
    /// How many preemptions less than usual: for models with many threads.
    pub(crate) fewer: usize,
}

pub(crate) const PLAIN: Scene = Scene {
    fault: Fault::None,
    hand_over: false,
    fewer: 0,
};

pub(crate) const HAND_OVER: Scene = Scene {
    hand_over: true,
    ..PLAIN
};

// Loom's threads all run on the thread that checks the model.
thread_local! {
    static SCENE: Cell<Scene> = const { Cell::new(PLAIN) };
    /// Before which of its steps the victim is killed.
    static KILL_AT: Cell<u32> = const { Cell::new(u32::MAX) };
    static KILLED: Cell<bool> = const { Cell::new(false) };
}

/// The member that a thread is of.
#[derive(Debug)]
pub(crate) struct Me {
    pub(crate) slot: Cell<u32>,
    pub(crate) generation: Cell<u32>,
    /// The last time that it has seen was late.
    pub(crate) is_late: Cell<bool>,
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
        slot: Cell::new(0),
        generation: Cell::new(1),
        is_late: Cell::new(false),
        steps_left: Cell::new(u32::MAX),
    };
}

/// What a killed thread unwinds with.
struct Killed;

pub(crate) fn fault() -> Fault {
    SCENE.get().fault
}

pub(crate) fn hands_over() -> bool {
    SCENE.get().hand_over
}

/// Whether the thread was killed, or the model has failed: nothing has an effect any more.
pub(crate) fn is_over() -> bool {
    std::thread::panicking()
}

/// To be called before each operation that others can see: false if it must not be done.
pub(crate) fn step() -> bool {
    if is_over() {
        return false;
    }
    let left = ME.with(|me| {
        let left = me.steps_left.get();
        me.steps_left.set(left.saturating_sub(1));
        left
    });
    if left == 0 {
        KILLED.set(true);
        panic::resume_unwind(Box::new(Killed));
    }
    true
}

/// Runs `run` on a thread of its own, as the member in `slot`.
pub(crate) fn member<T: 'static>(slot: u32, run: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    loom::thread::spawn(move || {
        ME.with(|me| me.slot.set(slot));
        run()
    })
}

/// Runs `run` as this thread's member, which is killed on the way. If it was, `dead` is called
/// and then the supervisor told; the thread goes on as the next generation of the slot.
pub(crate) fn killed(run: impl FnOnce(), dead: impl FnOnce(MemberId)) {
    ME.with(|me| me.steps_left.set(KILL_AT.get()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    ME.with(|me| me.steps_left.set(u32::MAX));
    if let Err(payload) = outcome {
        if !payload.is::<Killed>() {
            panic::resume_unwind(payload);
        }
        let family: &'static Family = &FAMILY;
        let victim = family.holder().member();
        dead(victim);
        family.bury(victim);
        ME.with(|me| me.generation.set(me.generation.get() + 1));
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
        builder.check(model);
    }

    /// Checks `model` once for each step of its victim, with the victim killed before it.
    pub(crate) fn check_kills(self, model: impl Fn() + Send + Sync + Clone + 'static) {
        for at in 0.. {
            KILL_AT.set(at);
            KILLED.set(false);
            self.check(model.clone());
            if !KILLED.get() {
                // It has no further step.
                assert!(at > 0, "nobody was killed");
                break;
            }
        }
    }
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

/// Threads that share `T` without sending it anywhere: loom has only one.
pub(crate) fn share<T: Default>() -> Rc<T> {
    Rc::default()
}
