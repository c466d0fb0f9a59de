//! `primitive` as the shipped files know it, modelled.
//!
//! Each operation that others can see is a [`step`](scene::step), before which the thread may be
//! killed. Loads are none: a thread killed before a load leaves what one leaves that is killed
//! before its next store. A thread that has been killed unwinds, and what destructors do then
//! has no effect.

use std::ops::Add;
use std::time::Duration;

use loom::sync::atomic as inner;

use crate::futex::{Futex, Until};
use crate::scene::{self, Fault, ME};

pub(crate) use crate::object::{Block, Object};
pub(crate) use procession_primitives::{BlockId, Holder, MemberId, News, ObjectError};
pub(crate) use std::sync::atomic::Ordering;

pub(crate) const SPINS: u32 = 0;
pub(crate) const LOOKS: u32 = 0;

/// How many pauses before the first look.
pub(crate) const HOLD_OFF: u32 = 0;

pub(crate) fn pause() {}

/// As the lock reads it for its hand-overs.
pub(crate) fn micros() -> u32 {
    // With 0, the first contended release hands over, and none after it; else none does.
    if scene::hands_over() { 0 } else { u32::MAX / 2 }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(inner::$name);

        impl $name {
            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                if scene::is_over() {
                    return 0;
                }
                self.0.load(order)
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                if scene::step() {
                    self.0.store(value, falsify_store(order));
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                if scene::step() {
                    self.0.swap(value, order)
                } else {
                    0
                }
            }

            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                if scene::step() {
                    self.0.fetch_add(value, order)
                } else {
                    0
                }
            }

            #[track_caller]
            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                if scene::step() {
                    self.0.fetch_and(value, order)
                } else {
                    0
                }
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                if !scene::step() {
                    return Ok(current);
                }
                let Some((new, success)) = falsify(current.into(), new.into(), success) else {
                    return Ok(current);
                };
                self.0
                    .compare_exchange(current, new as $value, success, failure)
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

const WAITERS: u64 = 1 << 31;

/// What the fault of the scene makes of a change to a lock's word; `None`: it does not happen.
fn falsify(current: u64, new: u64, order: Ordering) -> Option<(u64, Ordering)> {
    let takes = Holder::from_word(current).is_none() && Holder::from_word(new).is_some();
    let marks = current | WAITERS == new;
    match scene::fault() {
        Fault::TakesUnmarked if takes && current & WAITERS == 0 => Some((new & !WAITERS, order)),
        Fault::GivesUpUnmarked if marks && ME.with(|me| me.is_late.get()) => None,
        Fault::ReleasesRelaxed if order == Ordering::Release => Some((new, Ordering::Relaxed)),
        _ => Some((new, order)),
    }
}

fn falsify_store(order: Ordering) -> Ordering {
    if scene::fault() == Fault::CommitsRelaxed {
        return Ordering::Relaxed;
    }
    order
}

/// A time: 0, or 1 when all deadlines are over. Short sleeps end when they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u32);

impl Instant {
    /// The deadline for models.
    pub(crate) const LATER: Instant = Instant(1);

    const SOON: Instant = Instant(2);

    pub(crate) fn now() -> Instant {
        if scene::is_over() {
            return Instant::LATER;
        }
        let now = FAMILY.world().futex.now();
        ME.with(|me| me.is_late.set(now > 0));
        Instant(now)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, _: Duration) -> Instant {
        Instant::SOON
    }
}

/// Slots of the modelled family.
const SLOTS: usize = 6;

/// What the members of the modelled family share.
#[derive(Debug, Default)]
struct World {
    news: inner::AtomicU32,
    /// By slot: 0, or the generation of the member that is dead.
    dead: [inner::AtomicU32; SLOTS],
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
    fn world(&self) -> &'static World {
        &WORLD
    }

    pub(crate) fn holder(&self) -> Holder {
        if scene::is_over() {
            return holder(0, 0);
        }
        ME.with(|me| holder(me.slot.get(), me.generation.get()))
    }

    pub(crate) fn is_alive(&self, member: MemberId) -> bool {
        if scene::is_over() {
            return true;
        }
        let dead = &self.world().dead[member.slot() as usize];
        // Acquire: as the member table's state.
        dead.load(Ordering::Acquire) < member.generation()
    }

    pub(crate) fn news(&self) -> News {
        if scene::is_over() {
            return News::from_word(0);
        }
        News::from_word(self.world().news.load(Ordering::Acquire))
    }

    /// What the supervisor does after a death.
    pub(crate) fn bury(&self, member: MemberId) {
        let world = self.world();
        world.dead[member.slot() as usize].store(member.generation(), Ordering::Release);
        if scene::fault() != Fault::DeathWithoutNews {
            world.news.fetch_add(1, Ordering::Release);
        }
        world.futex.wake_all();
    }

    pub(crate) fn park(
        &self,
        word: &AtomicU32,
        expected: u32,
        news: News,
        deadline: Option<Instant>,
    ) {
        let load = || word.0.load(Ordering::Relaxed);
        self.sleep(word.address(), load, expected, news, deadline);
    }

    pub(crate) fn wait_on(&self, _object: u64) {}

    /// Lets time pass: all deadlines are over.
    pub(crate) fn pass_time(&self) {
        self.world().futex.pass_time();
    }

    fn sleep(
        &self,
        address: usize,
        load: impl Fn() -> u32,
        expected: u32,
        news: News,
        deadline: Option<Instant>,
    ) {
        if !scene::step() {
            return;
        }
        let expected = match scene::fault() {
            Fault::SleepsOnNewWord => load(),
            _ => expected,
        };
        let until = match deadline {
            _ if ME.with(|me| me.dies_next()) => Until::Soon,
            None => Until::Woken,
            Some(Instant::SOON) => Until::Soon,
            Some(_) => Until::Later,
        };
        let world = self.world();
        world.futex.sleep(address, until, || {
            load() != expected || world.news.load(Ordering::Relaxed) != news.to_word()
        });
        // Killed asleep, or as soon as it has been woken.
        scene::step();
    }
}

impl AtomicU32 {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// The first thread of that member.
fn holder(slot: u32, generation: u32) -> Holder {
    let word = u64::from(generation) << 32 | 1 << 13 | u64::from(slot + 1);
    Holder::from_word(word).expect("a slot is in it")
}

pub(crate) fn park_low(
    family: &Family,
    word: &AtomicU64,
    expected: u64,
    news: News,
    deadline: Option<Instant>,
) {
    // As the kernel, which looks at one half only.
    let load = || word.0.load(Ordering::Relaxed) as u32;
    let address = std::ptr::from_ref(word).addr();
    family.sleep(address, load, expected as u32, news, deadline);
}

pub(crate) fn wake_low(word: &AtomicU64, count: u32) -> usize {
    if !scene::step() {
        return 0;
    }
    let address = std::ptr::from_ref(word).addr();
    let woken = FAMILY.world().futex.wake(address, count);
    if scene::fault() == Fault::CountsNoWakes {
        return 1;
    }
    woken
}

pub(crate) fn wake(word: &AtomicU32, count: u32) {
    if scene::step() {
        FAMILY.world().futex.wake(word.address(), count);
    }
}

pub(crate) fn fence(order: Ordering) {
    if !scene::is_over() {
        inner::fence(order);
    }
}

pub(crate) fn full_fence() {
    if scene::fault() != Fault::Unfenced {
        fence(Ordering::SeqCst);
    }
}

pub(crate) fn fence_after_unlock() {
    full_fence();
}
