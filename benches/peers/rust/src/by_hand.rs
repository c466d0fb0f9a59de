//! The floor of a task (B1, B2, B4, B5): what any pool does that is to know of each item whether a dead worker
//! had it in hand, and how long it took, and whose workers may sleep. Without processes, kinds of values,
//! time-outs, priorities, and what else a library has.
//!
//! The item and its value share a line with what is written at the same time. Two lines go there and
//! back for a task, and those of the ring and of the list of what is finished. Many items are written one
//! after the other, and their values; a store says which one is in hand, and another one commits it.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use procession_bench::{Trial, latencies, steady};

use crate::square;

const CELLS: u32 = 256;
/// Tasks that are under way at once.
const WINDOW: u32 = 64;
/// The same of tasks with many items, and how many those have.
const LARGE_WINDOW: u32 = 16;
const CHUNK: usize = 32 << 10;

const FREE: u32 = 0;
const QUEUED: u32 = 1;
const CLAIMED: u32 = 2;
const DONE: u32 = 3;

/// Where functions are found, as a worker finds them by what a task says.
static FUNCTIONS: [fn(u64) -> u64; 1] = [square];

#[derive(Default)]
#[repr(align(64))]
struct Outcome {
    state: AtomicU32,
    next: AtomicU32,
    /// Which item is in hand, and how far it is.
    at: AtomicU64,
    len: AtomicU64,
    value: AtomicU64,
    nanos: AtomicU64,
}

#[derive(Default)]
#[repr(align(64))]
struct Order {
    function: AtomicU64,
    item: AtomicU64,
    queued_at: AtomicU64,
}

#[derive(Default)]
struct Cell {
    outcome: Outcome,
    order: Order,
    /// Of a task with many items; else there are none.
    items: Vec<AtomicU64>,
    values: Vec<AtomicU64>,
}

/// Alone on its lines.
#[derive(Default)]
#[repr(align(128))]
struct Line<T>(T);

struct Pool {
    start: Instant,
    cells: Vec<Cell>,
    ring: Vec<AtomicU32>,
    head: Line<AtomicU64>,
    tail: Line<AtomicU64>,
    /// Whether the worker looks for a task, and whether it sleeps: here it never does.
    searching: Line<AtomicU32>,
    asleep: Line<AtomicU32>,
    /// The worker's task + 1.
    in_hand: Line<AtomicU32>,
    /// The last finished task + 1.
    inbox: Line<AtomicU32>,
    is_over: Line<AtomicBool>,
}

impl Pool {
    /// With room for `items` in each task, if it has many.
    fn new(items: usize) -> Pool {
        let mut cells: Vec<Cell> = Vec::new();
        cells.resize_with(CELLS as usize, Cell::default);
        for cell in cells.iter_mut().take(LARGE_WINDOW as usize) {
            cell.items.resize_with(items, AtomicU64::default);
            cell.values.resize_with(items, AtomicU64::default);
        }
        let mut ring = Vec::new();
        ring.resize_with(CELLS as usize, AtomicU32::default);
        Pool {
            start: Instant::now(),
            cells,
            ring,
            head: Line::default(),
            tail: Line::default(),
            searching: Line::default(),
            asleep: Line::default(),
            in_hand: Line::default(),
            inbox: Line::default(),
            is_over: Line::default(),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn place(&self, at: u64) -> &AtomicU32 {
        &self.ring[(at % u64::from(CELLS)) as usize]
    }

    fn submit(&self, index: u32, item: u64) {
        let Cell { outcome, order, .. } = &self.cells[index as usize];
        order.function.store(0, Ordering::Relaxed);
        order.item.store(item, Ordering::Relaxed);
        order.queued_at.store(self.now(), Ordering::Relaxed);
        outcome.at.store(0, Ordering::Relaxed);
        outcome.len.store(0, Ordering::Relaxed);
        // Release: as one hands over data; here and below.
        outcome.state.store(QUEUED, Ordering::Release);
        let tail = self.tail.0.load(Ordering::Relaxed);
        self.place(tail).store(index, Ordering::Relaxed);
        self.tail.0.store(tail + 1, Ordering::Release);
        // SeqCst: without it a worker that goes to sleep is missed.
        fence(Ordering::SeqCst);
        if self.searching.0.load(Ordering::Relaxed) != 0 {
            self.searching.0.fetch_and(0, Ordering::Relaxed);
        } else {
            assert_eq!(self.asleep.0.load(Ordering::Relaxed), 0);
        }
    }

    /// Hands all that is finished to `each`, once something is.
    fn collect(&self, mut each: impl FnMut(u32, u64)) {
        let inbox = &self.inbox.0;
        while inbox.load(Ordering::Relaxed) == 0 {
            spin_loop();
        }
        let mut head = inbox.swap(0, Ordering::Acquire);
        while let Some(index) = head.checked_sub(1) {
            let outcome = &self.cells[index as usize].outcome;
            head = outcome.next.load(Ordering::Relaxed);
            let value = outcome.value.load(Ordering::Relaxed);
            outcome.state.store(FREE, Ordering::Relaxed);
            each(index, value);
        }
    }

    fn work(&self) {
        let mut is_searching = false;
        let mut now = self.now();
        while !self.is_over.0.load(Ordering::Relaxed) {
            let head = self.head.0.load(Ordering::Relaxed);
            if head == self.tail.0.load(Ordering::Acquire) {
                if !is_searching {
                    is_searching = true;
                    self.searching.0.fetch_or(1, Ordering::Relaxed);
                }
                now = self.now();
                continue;
            }
            let index = self.place(head).load(Ordering::Relaxed);
            let (release, relaxed) = (Ordering::Release, Ordering::Relaxed);
            let taken = self
                .head
                .0
                .compare_exchange(head, head + 1, release, relaxed);
            assert!(taken.is_ok());
            if is_searching {
                is_searching = self.searching.0.load(Ordering::Acquire) != 0;
            }
            now = self.run(index, now);
        }
    }

    /// When it is over.
    fn run(&self, index: u32, begun_at: u64) -> u64 {
        let cell = &self.cells[index as usize];
        let Cell { outcome, order, .. } = cell;
        self.in_hand.0.store(index + 1, Ordering::Relaxed);
        let (both, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
        let claimed = outcome
            .state
            .compare_exchange(QUEUED, CLAIMED, both, relaxed);
        assert!(claimed.is_ok());
        let function = FUNCTIONS[order.function.load(Ordering::Relaxed) as usize];
        for (at, (item, value)) in (0..).zip(cell.items.iter().zip(&cell.values)) {
            outcome.at.store(at, Ordering::Release);
            let item = item.load(Ordering::Relaxed);
            value.store(function(item), Ordering::Relaxed);
            outcome.len.store(at + 1, Ordering::Release);
        }
        outcome.at.store(1, Ordering::Release);
        let value = function(order.item.load(Ordering::Relaxed));
        outcome.at.store(2, Ordering::Release);
        outcome.value.store(value, Ordering::Relaxed);
        outcome.len.store(8, Ordering::Release);
        let now = self.now();
        outcome.nanos.store(now - begun_at, Ordering::Relaxed);
        self.in_hand.0.store(0, Ordering::Relaxed);
        outcome.state.store(DONE, Ordering::Release);
        let inbox = &self.inbox.0;
        let mut head = inbox.load(Ordering::Relaxed);
        loop {
            outcome.next.store(head, Ordering::Relaxed);
            match inbox.compare_exchange(head, index + 1, Ordering::Release, relaxed) {
                Ok(_) => return now,
                Err(other) => head = other,
            }
        }
    }
}

/// A pool with one worker, which has a CPU to itself.
struct Working {
    pool: Arc<Pool>,
    worker: Option<JoinHandle<()>>,
}

impl Working {
    fn new(items: usize) -> Working {
        let pool = Arc::new(Pool::new(items));
        let theirs = pool.clone();
        let worker = Some(thread::spawn(move || theirs.work()));
        Working { pool, worker }
    }

    /// Microseconds for a task of many.
    fn micros(&self) -> f64 {
        let tasks: u64 = 100_000;
        let nanos = steady(|| {
            let mut free: Vec<u32> = (0..WINDOW).collect();
            let (mut sent, mut received, mut sum) = (0, 0, 0_u64);
            while received < tasks {
                while sent < tasks
                    && let Some(index) = free.pop()
                {
                    self.pool.submit(index, black_box(sent));
                    sent += 1;
                }
                self.pool.collect(|index, value| {
                    received += 1;
                    sum = sum.wrapping_add(value);
                    free.push(index);
                });
            }
            sum
        });
        nanos / tasks as f64 / 1e3
    }

    /// Nanoseconds for an item of many tasks with many items.
    fn nanos_of_item(&self) -> f64 {
        let items: u64 = 1_000_000;
        let nanos = steady(|| {
            let mut free: Vec<u32> = (0..LARGE_WINDOW).collect();
            let mut values = vec![0; items.next_multiple_of(CHUNK as u64) as usize];
            let mut numbers = 0..black_box(items);
            let mut first = [0; LARGE_WINDOW as usize];
            let mut outstanding = 0;
            while !numbers.is_empty() || outstanding > 0 {
                while !numbers.is_empty()
                    && let Some(index) = free.pop()
                {
                    first[index as usize] = numbers.start as usize;
                    for (item, number) in self.pool.cells[index as usize]
                        .items
                        .iter()
                        .zip(&mut numbers)
                    {
                        item.store(number, Ordering::Relaxed);
                    }
                    self.pool.submit(index, 0);
                    outstanding += 1;
                }
                self.pool.collect(|index, _| {
                    let theirs = self.pool.cells[index as usize].values.iter();
                    for (value, their) in values[first[index as usize]..].iter_mut().zip(theirs) {
                        *value = their.load(Ordering::Relaxed);
                    }
                    outstanding -= 1;
                    free.push(index);
                });
            }
            values
        });
        nanos / items as f64
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.pool.is_over.0.store(true, Ordering::Relaxed);
        let worker = self.worker.take();
        worker.map(JoinHandle::join);
    }
}

pub(crate) fn default_chunks(trial: &Trial) {
    let nanos = Working::new(CHUNK).nanos_of_item();
    trial.emit(trial.record("map(x * x), default chunks", "ns/item", nanos));
}

pub(crate) fn one_by_one(trial: &Trial) {
    let micros = Working::new(0).micros();
    trial.emit(trial.record("map(x * x), chunksize 1", "us/item", micros));
}

pub(crate) fn futures(trial: &Trial) {
    let micros = Working::new(0).micros();
    trial.emit(trial.record("submit, as_completed", "us/future", micros));
}

pub(crate) fn round_trip(trial: &Trial) {
    let working = Working::new(0);
    let rounds = trial.size(100_000, 20_000);
    let samples = latencies(rounds, Duration::ZERO, || {
        working.pool.submit(0, black_box(7));
        working.pool.collect(|_, value| {
            black_box(value);
        });
    });
    trial.emit_latencies("apply, warm", "us", &samples, &[]);
}
