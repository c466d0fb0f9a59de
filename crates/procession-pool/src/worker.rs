//! A worker's life: take a hint, claim the task, run it, tell; sleep when there is none.
//!
//! # Safety
//!
//! Reads the initialiser's argument in a block of the program.
#![allow(unsafe_code, reason = "borrows a block of the program")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use procession_primitives::{BlockId, DecodeError, Family, Panic, catch, monotonic_nanos, quietly};
use serde::{Deserialize, Serialize};

use crate::cell::{Cell, WorkerIndex};
use crate::context;
use crate::idle::Idle;
use crate::mailbox;
use crate::run::{Functions, Hook, States, Trampoline, resolve, run_hook};
use crate::shared::{CLOSED, Place, Shared, WorkerLine};
use crate::task::Task;

/// What a worker is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) place: Place,
    pub(crate) index: WorkerIndex,
    /// How many pools are above this one.
    pub(crate) depth: u32,
    /// Initialiser, and the block and length of its argument.
    pub(crate) initializer: Option<(Hook, u64, u64)>,
    pub(crate) finalizer: Option<Hook>,
    /// Items in this worker's life.
    pub(crate) items: u64,
    /// Bytes of private memory from which on it makes room for a fresh one between two tasks.
    pub(crate) memory: Option<u64>,
    /// How long it stays without work.
    pub(crate) idle_timeout: Option<Duration>,
    #[cfg(any(feature = "log", feature = "tracing"))]
    pub(crate) logs: Option<crate::logs::LogOrders>,
}

/// Why a worker has left by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Leave {
    /// The pool is closed, or smaller than it was.
    Dismissed,
    /// It had nothing to do for long enough.
    Idle,
    /// It has done its share of items, or has grown too large.
    Retired,
    /// The initialiser failed.
    NotInitialized(InitFailure),
}

/// How an initialiser fails.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub enum InitFailure {
    /// It returned this error.
    Failed(String),
    /// It panicked.
    Panicked(Box<Panic>),
    /// Its argument could not be decoded.
    Decode(DecodeError),
    /// It had not returned in time.
    TimedOut(Duration),
}

impl std::fmt::Display for InitFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(text) => f.write_str(text),
            Self::Panicked(panic) => panic.fmt(f),
            Self::Decode(error) => write!(f, "its argument {error}"),
            Self::TimedOut(after) => write!(f, "it took longer than {after:?}"),
        }
    }
}

/// The function of a worker process.
pub(crate) fn work(#[allow(unused_mut, reason = "by feature")] mut orders: Orders) -> Leave {
    let shared = Family::current()
        .ok()
        .and_then(|family| Shared::at(family, orders.place));
    let Some(shared) = shared else {
        return Leave::Dismissed;
    };
    let Some(line) = shared.worker(orders.index) else {
        return Leave::Dismissed;
    };
    context::enter(shared, &orders);
    #[cfg(any(feature = "log", feature = "tracing"))]
    if let Some(logs) = orders.logs.take() {
        logs.obey(orders.index);
    }
    quietly(|| {
        if let Some(hook) = orders.initializer
            && let Err(failure) = initialize(&shared, hook)
        {
            return Leave::NotInitialized(failure);
        }
        line.be_ready();
        let mut worker = Worker {
            shared,
            line,
            left: orders.items,
            idle: Idle::new(shared, orders.index),
            orders,
            code: CodeCache::default(),
            states: States::default(),
        };
        let leave = worker.serve();
        worker.finalize();
        leave
    })
}

fn initialize(shared: &Shared, (hook, block, len): (Hook, u64, u64)) -> Result<(), InitFailure> {
    let argument = BlockId::from_word(block).and_then(|block| {
        let len = usize::try_from(len).ok()?;
        // SAFETY: the pool keeps it as long as it has workers, and nobody writes to it.
        unsafe { shared.arena().borrow_block(block, shared.owner(), len) }
    });
    match catch(|| run_hook(hook, argument.unwrap_or_default())) {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(text))) => Err(InitFailure::Failed(text)),
        Ok(Err(error)) => Err(InitFailure::Decode(error)),
        Err(panic) => Err(InitFailure::Panicked(panic)),
    }
}

struct Worker {
    shared: Shared,
    line: &'static WorkerLine,
    orders: Orders,
    /// Items that it may still begin.
    left: u64,
    idle: Idle,
    code: CodeCache,
    states: States,
}

impl Worker {
    fn serve(&mut self) -> Leave {
        let mut turns = 0;
        loop {
            if let Some(leave) = self.ought_to_leave() {
                return leave;
            }
            if let Some(index) = self.line.letter.load(Ordering::Relaxed).checked_sub(1) {
                self.idle.found();
                self.read_letter(index);
            } else if let Some(hint) = self.shared.take_hint(turns) {
                turns += 1;
                self.idle.found();
                self.claim_and_run(hint);
            } else if self.shared.header().phase.0.load(Ordering::Acquire) == CLOSED {
                return Leave::Dismissed;
            } else {
                let stay = self.orders.idle_timeout;
                let deadline = stay.and_then(|stay| Instant::now().checked_add(stay));
                if !self.idle.wait(deadline) {
                    return Leave::Idle;
                }
            }
        }
    }

    fn ought_to_leave(&self) -> Option<Leave> {
        if self.orders.index >= self.shared.target() {
            return Some(Leave::Dismissed);
        }
        (self.left == 0).then_some(Leave::Retired)
    }

    /// Runs task `index`, which is for this worker alone.
    fn read_letter(&mut self, index: u32) {
        let claimed = self.claim(index);
        // Before the task is finished: then there may be another letter, for the same cell.
        self.line.letter.store(0, Ordering::Relaxed);
        if let Some(cell) = claimed {
            self.run_and_finish(index, cell);
        }
    }

    /// Runs task `index` if it is still there.
    fn claim_and_run(&mut self, index: u32) {
        if let Some(cell) = self.claim(index) {
            self.run_and_finish(index, cell);
        }
    }

    fn claim(&self, index: u32) -> Option<&'static Cell> {
        let cell = self.shared.cell(index)?;
        cell.fetch_to_run();
        // First, so that whoever finds the task claimed finds it here.
        self.line.current.store(index + 1, Ordering::Relaxed);
        cell.claim(self.orders.index).then_some(cell)
    }

    fn run_and_finish(&mut self, index: u32, cell: &'static Cell) {
        if let Some(next) = self.shared.next_cell() {
            next.fetch_to_run();
            self.shared.call_one();
        }
        if self.run(index, cell) {
            cell.finish(self.orders.index);
            mailbox::push(&self.shared, index);
        }
    }

    /// Whether all its items have an outcome now: a worker at the end of its life leaves some.
    fn run(&mut self, index: u32, cell: &'static Cell) -> bool {
        // The task before it has just ended, or the wait for this one has: no need to look again.
        let start = self.idle.now;
        cell.claimed_at.store(start, Ordering::Relaxed);
        let Some(mut task) = Task::resume(self.shared, cell) else {
            return true;
        };
        task.work_by(self.line, self.left, self.orders.memory);
        let before = task.done();
        context::begin(index);
        match self.code.find(cell.code()) {
            Ok((trampoline, functions)) => trampoline(functions, &mut task, &mut self.states),
            Err(why) => task.fail_all(&why),
        }
        task.end();
        let items = u64::from(task.done() - before);
        if task.was_last() {
            self.left = 0;
        } else if self.left != u64::MAX {
            self.left = self.left.saturating_sub(items);
        }
        let nanos = self.idle.look_at_clock().saturating_sub(start);
        let add = |word: &AtomicU64, more: u64| {
            // Nobody else writes it: the cell is claimed, the line is this worker's.
            word.store(word.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(&cell.nanos, nanos);
        add(&self.line.busy, nanos);
        add(&self.line.items, items);
        if !task.is_complete() {
            task.leave();
            return false;
        }
        self.line.current.store(0, Ordering::Relaxed);
        true
    }

    fn finalize(&mut self) {
        self.line
            .leaving_at
            .store(monotonic_nanos(), Ordering::Relaxed);
        if let Some(hook) = self.orders.finalizer {
            // Nobody waits for what it says.
            let _ = catch(|| run_hook(hook, &[]));
        }
        let states = std::mem::take(&mut self.states);
        let _ = catch(|| drop(states));
    }
}

/// The function that this worker ran last: mostly the next task's too.
#[derive(Default)]
struct CodeCache {
    words: [[u64; 2]; 3],
    found: Option<(Trampoline, Functions)>,
}

impl CodeCache {
    fn find(&mut self, words: [[u64; 2]; 3]) -> Result<(Trampoline, Functions), String> {
        if let Some(found) = self.found
            && self.words == words
        {
            return Ok(found);
        }
        let found = resolve(words)?;
        self.words = words;
        self.found = Some(found);
        Ok(found)
    }
}
