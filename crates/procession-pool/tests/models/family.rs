//! The family, modelled: who is dead, the news, and the one place that sleeps.

use loom::sync::atomic as inner;
use real::sync::atomic::Ordering;

use primitives::{BlockId, FamilyError, MemberId, News, OutOfMemory};

use crate::clock::Instant;
use crate::faults;
use crate::futex::{Futex, Until};
use crate::memory::Arena;
use crate::scene::{self, Fault, ME};
use crate::words::{self, AtomicU32};

/// Workers of the modelled family.
pub(crate) const WORKERS: usize = 3;

/// What the members of the modelled family share.
#[derive(Debug, Default)]
struct World {
    news: inner::AtomicU32,
    /// Lives that have ended, by worker.
    dead: [inner::AtomicU32; WORKERS],
    futex: Futex,
}

loom::lazy_static! {
    static ref WORLD: World = World::default();
}

/// The modelled family: one in each run of a model.
#[derive(Debug)]
pub(crate) struct Family(());

pub(crate) static FAMILY: Family = Family(());

impl Family {
    pub(crate) fn current() -> Result<&'static Family, FamilyError> {
        Ok(&FAMILY)
    }

    pub(crate) fn me(&self) -> MemberId {
        MemberId::from_parts(1, 1)
    }

    pub(crate) fn is_present(&self) -> bool {
        !scene::is_over()
    }

    pub(crate) fn arena(&self) -> &'static Arena {
        Arena::get_it()
    }

    pub(crate) fn reboard(&self, _: BlockId, _: BlockId) -> Result<(), OutOfMemory> {
        Ok(())
    }

    /// Lives of worker `index` that have ended.
    pub(crate) fn lives_ended(&self, index: u32) -> u64 {
        if scene::is_over() {
            return 0;
        }
        // Acquire: as the member table's state.
        WORLD.dead[index as usize].load(Ordering::Acquire).into()
    }

    pub(crate) fn news(&self) -> News {
        if scene::is_over() {
            return News::from_word(0);
        }
        News::from_word(WORLD.news.load(Ordering::Acquire))
    }

    /// What the supervisor does after the death of worker `index`.
    pub(crate) fn bury(&self, index: u32) {
        WORLD.dead[index as usize].fetch_add(1, Ordering::AcqRel);
        if scene::fault() != Fault::DeathWithoutNews {
            WORLD.news.fetch_add(1, Ordering::Release);
        }
        WORLD.futex.wake_all();
    }

    pub(crate) fn clock(&self) -> u32 {
        WORLD.futex.now()
    }

    /// Lets time pass: all deadlines are over.
    pub(crate) fn pass_time(&self) {
        WORLD.futex.pass_time();
    }

    pub(crate) fn park(
        &self,
        word: &AtomicU32,
        expected: u32,
        news: News,
        deadline: Option<Instant>,
    ) {
        if !scene::step() {
            return;
        }
        let address = word.address();
        let known = words::find(address, || 0);
        if scene::is_worker() && known.is_none() {
            // A word of its own, that nobody changes.
            scene::end_here();
        }
        let load = || match &known {
            Some(known) => known.load(Ordering::Relaxed) as u32,
            None => word.load(Ordering::Relaxed),
        };
        let expected = match faults::sleep(address) {
            true => load(),
            false => expected,
        };
        let until = match deadline {
            _ if ME.with(|me| me.dies_next()) => Until::Soon,
            None => Until::Woken,
            Some(_) => Until::Later,
        };
        scene::note(|| format!("park {address:x} {expected:x} {until:?}"));
        WORLD.futex.sleep(address, until, || {
            load() != expected || WORLD.news.load(Ordering::Relaxed) != news.to_word()
        });
        scene::note(|| format!("parked {address:x}"));
        // Killed asleep, or as soon as it has been woken.
        scene::step();
    }
}

pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
    if !scene::step() {
        return 0;
    }
    let woken = WORLD.futex.wake(word.address(), count);
    scene::note(|| format!("wake {:x}: {woken}", word.address()));
    woken
}
