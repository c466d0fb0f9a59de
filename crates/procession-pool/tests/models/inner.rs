//! The part of `inner.rs` that calls and the hub stand on, and how a job begins, of `submit.rs`: as
//! there, line by line, but for what is not modelled.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use primitives::News;

use crate::backlog::Batch;
use crate::call::{Call, Collected};
use crate::cell::{CELL_STRIDE, Cell};
use crate::crew::Crew;
use crate::family::FAMILY;
use crate::hub::Hub;
use crate::mailbox::SLEEPING;
use crate::memory::Arena;
use crate::raw::{Deal, Done};
use crate::scene::{self, Mark};
use crate::shared::{CLOSING, Header, Line, Offers, Place, RINGS, Shared, WorkerLine};
use crate::stand_ins::builder::Config;
use crate::{MemberId, wake};

/// How many workers the modelled pool has room for.
const ROOM: u32 = 64;

/// Most cells of the modelled pool.
const CELLS: u32 = 4;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Shared,
    pub(crate) crew: Crew,
    pub(crate) hub: Hub,
    interrupted: AtomicBool,
    free: Mutex<Vec<u32>>,
    offers: Mutex<Offers>,
    /// Whether the last offer has found somebody who had nothing to do.
    pub(crate) called: real::sync::atomic::AtomicBool,
    abandoned: Mutex<Vec<Call>>,
    /// Tasks that were given a cell: for models that wait for that.
    pub(crate) submitted: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An empty memory with a pool for so many workers.
pub(crate) fn shared(workers: u32) -> (Shared, Place) {
    let place = Place {
        offset: 0,
        room: ROOM,
        owner: MemberId::from_parts(1, 1),
    };
    let arena = Arena::get_it();
    // Also the first hints.
    arena.clear(0, size_of::<Header>() + 64);
    let shared = Shared::at(&FAMILY, place).expect("fits");
    for index in 0..CELLS {
        let at = shared.cell(index).map(|cell| arena.offset_of(cell));
        arena.clear(at.expect("a cell"), CELL_STRIDE);
    }
    for index in 0..workers {
        let at = shared.worker(index).map(|line| arena.offset_of(line));
        arena.clear(at.expect("a line"), size_of::<WorkerLine>());
    }
    shared.header().target.0.store(workers, Ordering::Relaxed);
    shared.header().used.0.store(CELLS, Ordering::Relaxed);
    (shared, place)
}

/// Has the words watched by which workers get their tasks: of the urgent ring only, and its first
/// places.
pub(crate) fn watch_hints(shared: &Shared, workers: u32) {
    let header = shared.header();
    let at = real::ptr::from_ref(header).addr();
    let end = at + size_of::<Header>();
    // The rings' heads and tails end the header; then come the hints.
    let line = size_of::<Line<AtomicU64>>();
    for word in [end - 2 * RINGS * line, end - RINGS * line] {
        scene::watch_at(word);
    }
    for hint in 0..2 {
        scene::watch_at(end + 4 * hint);
    }
    scene::mark(header.asleep.0[0].address(), Mark::Asleep);
    scene::mark(header.searching.0[0].address(), Mark::Searching);
    scene::mark(header.phase.0.address(), Mark::Phase);
    for index in 0..workers {
        let line = shared.worker(index).expect("a line");
        scene::watch_at(line.call.address());
        scene::watch_at(line.letter.address());
    }
}

/// Has the words and locks of the hub watched.
pub(crate) fn watch_hub(pool: &Inner) {
    let (header, hub) = (pool.shared.header(), &pool.hub);
    scene::mark(header.inbox.0.address(), Mark::Inbox);
    scene::mark(header.hungry.0.address(), Mark::Hungry);
    scene::watch_at(header.keeper.0.address());
    scene::mark(hub.watched.address(), Mark::Watched);
    scene::mark(hub.waiters.address(), Mark::Waiters);
    scene::mark(hub.waiting.address(), Mark::Waiting);
    scene::mark(hub.settling.address(), Mark::Settling);
    scene::mark(hub.is_keeper_asleep.address(), Mark::KeeperAsleep);
    scene::watched(|| {
        hub.is_idle();
        hub.is_starved();
        drop(lock(&pool.free));
        drop(hub.inflow());
        drop(hub.lock());
    });
}

/// Has the words of the empty cell `at` watched.
pub(crate) fn watch_task(shared: &Shared, at: u32) {
    let cell = shared.cell(at).expect("a cell");
    let start = real::ptr::from_ref(cell).addr();
    // State, and item in progress, which that file keeps to itself.
    for word in [start, start + 32] {
        scene::watch_at(word);
    }
    scene::watch_at(cell.next.address());
    scene::watch_at(cell.output_len.address());
}

impl Inner {
    pub(crate) fn new(workers: u32) -> Arc<Inner> {
        Inner::with(workers, CELLS, Config::default())
    }

    pub(crate) fn with(workers: u32, cells: u32, config: Config) -> Arc<Inner> {
        let (shared, place) = shared(workers);
        let crew = Crew::start(&FAMILY, &shared, place, config);
        Arc::new(Inner {
            shared,
            crew: crew.expect("they start"),
            hub: Hub::default(),
            interrupted: AtomicBool::new(false),
            free: Mutex::new((0..cells).rev().collect()),
            offers: Mutex::new(Offers::default()),
            called: real::sync::atomic::AtomicBool::new(false),
            abandoned: Mutex::new(Vec::new()),
            submitted: AtomicU32::new(0),
        })
    }

    pub(crate) fn attend(&self, news: News) -> Option<Instant> {
        let (_, deadline) = self.crew.attend(&self.shared, news, &self.offers);
        deadline
    }

    pub(crate) fn note(&self, _: &Cell, _: &Collected) {}

    pub(crate) fn submit(&self, index: u32) {
        self.submit_all(&[index]);
    }

    pub(crate) fn submit_all(&self, cells: &[u32]) {
        if cells.is_empty() {
            return;
        }
        let mut offered = true;
        let mut offers = lock(&self.offers);
        for &index in cells {
            let Some(cell) = self.shared.cell(index) else {
                continue;
            };
            cell.queue();
            let ring = cell.ring.load(Ordering::Relaxed) as usize;
            offered &= self.shared.offer(&mut offers, index, ring);
        }
        drop(offers);
        if !offered {
            self.crew.offer_again();
        }
        let called = self.shared.call_one();
        self.called.store(called, Ordering::Relaxed);
        for _ in cells.iter().skip(called.into()) {
            self.crew.call_resting(&self.shared);
        }
        if scene::is_watched(self.submitted.address()) {
            self.submitted
                .fetch_add(cells.len() as u32, Ordering::Release);
            wake(&self.submitted, 1);
        }
    }

    /// A job begins. Without a keeper: each model says when there is one.
    pub(crate) fn begin(&self, deal: Arc<Deal>, done: &dyn Done, items: u64, is_one: bool) {
        self.hub.begin();
        let limit = deal.limit();
        if limit > 0 && self.crew.time(limit, false) {
            self.nudge();
        }
        if done.slot().open(deal, items, is_one) {
            self.watch();
        }
    }

    pub(crate) fn retried(&self, _: u64, _: u32) {}

    fn write_hint(&self, index: u32, ring: usize) -> bool {
        self.shared.offer(&mut lock(&self.offers), index, ring)
    }

    pub(crate) fn try_take_cell(&self, reserve: usize) -> Option<u32> {
        let mut free = lock(&self.free);
        if free.len() <= reserve {
            return None;
        }
        free.pop()
    }

    pub(crate) fn try_take_cells(&self, reserve: usize, most: usize, into: &mut Batch) {
        let mut free = lock(&self.free);
        let count = free.len().saturating_sub(reserve).min(most);
        let start = free.len() - count;
        into.extend(free.drain(start..));
    }

    pub(crate) fn recycle(&self, index: u32) {
        self.empty(index);
        self.give_back(index);
    }

    pub(crate) fn empty(&self, index: u32) {
        if let Some(cell) = self.shared.cell(index) {
            cell.clear();
        }
    }

    pub(crate) fn give_back(&self, index: u32) {
        lock(&self.free).push(index);
        if self.hub.is_starved() {
            self.nudge();
        }
    }

    pub(crate) fn abandon(self: &Arc<Self>, call: Call) {
        lock(&self.abandoned).push(call);
    }

    pub(crate) fn sweep(&self) {
        lock(&self.abandoned).retain_mut(|call| !call.sweep(self));
    }

    pub(crate) fn close(&self) {
        let phase = &self.shared.header().phase.0;
        phase.fetch_max(CLOSING, Ordering::Relaxed);
        self.close_if_done();
    }

    /// Of calls alone.
    pub(crate) fn interrupt(&self) {
        // Release: pairs with the Acquire of `is_interrupted`.
        self.interrupted.store(true, Ordering::Release);
        self.close();
        for (_, cell) in self.shared.cells() {
            let inbox = &cell.inbox;
            let asleep = inbox.compare_exchange(SLEEPING, 0, Ordering::Relaxed, Ordering::Relaxed);
            if asleep.is_ok() {
                wake(inbox, 1);
            }
        }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }
}
