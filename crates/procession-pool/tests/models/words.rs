//! `std::sync::atomic`, modelled: words in shared memory and elsewhere.
//!
//! A word is loom's from when a model has watched it, see [`watched`](scene::watched); until then
//! it is plain memory. Each operation that others can see is a [`step`](scene::step), before which
//! the thread may be killed. Loads are none: a thread killed before a load leaves what one leaves
//! that is killed before its next store. A thread that has been killed unwinds, and what
//! destructors do then has no effect.
//!
//! # Safety
//!
//! Loom's threads all run on the thread that checks the model.
#![allow(unsafe_code, reason = "shares words between loom's threads")]

use real::cell::{Cell, RefCell};
use real::collections::HashMap;
use real::panic::Location;
use real::rc::Rc;
use real::sync::atomic::Ordering;

use loom::sync::atomic as inner;

use crate::faults::{self, Change, Look};
use crate::scene;

thread_local! {
    static WATCHED: RefCell<HashMap<usize, Rc<inner::AtomicU64>>> = RefCell::default();
    static IS_WATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Forgets the words of the run before.
pub(crate) fn reset() {
    WATCHED.take();
}

/// Whether words that are looked at from now on become loom's.
pub(crate) fn watch(on: bool) {
    IS_WATCHING.set(on);
}

pub(crate) fn is_watching() -> bool {
    IS_WATCHING.get()
}

/// Loom's word for the one at `address`, if it is watched.
pub(crate) fn find(address: usize, value: impl FnOnce() -> u64) -> Option<Rc<inner::AtomicU64>> {
    WATCHED.with_borrow_mut(|watched| {
        if IS_WATCHING.get() && !scene::is_over() {
            let word = watched
                .entry(address)
                .or_insert_with(|| Rc::new(inner::AtomicU64::new(value())));
            return Some(word.clone());
        }
        watched.get(&address).cloned()
    })
}

macro_rules! atomic {
    ($name:ident, $value:ty, $to:expr, $from:expr) => {
        #[derive(Default)]
        #[repr(transparent)]
        pub(crate) struct $name(Cell<$value>);

        // SAFETY: see the head of the file.
        unsafe impl Sync for $name {}
        // SAFETY: plain memory, or loom's.
        unsafe impl primitives::Shared for $name {}

        impl real::fmt::Debug for $name {
            fn fmt(&self, f: &mut real::fmt::Formatter<'_>) -> real::fmt::Result {
                f.pad("word")
            }
        }

        impl $name {
            pub(crate) const fn new(value: $value) -> $name {
                $name(Cell::new(value))
            }

            pub(crate) fn address(&self) -> usize {
                real::ptr::from_ref(self).addr()
            }

            fn find(&self) -> Option<Rc<inner::AtomicU64>> {
                let to: fn($value) -> u64 = $to;
                find(self.address(), || to(self.0.get()))
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                let from: fn(u64) -> $value = $from;
                if scene::is_over() {
                    return self.0.get();
                }
                let Some(word) = self.find() else {
                    return self.0.get();
                };
                let value = word.load(faults::order(self.address(), order));
                scene::note(|| format!("load {:x}: {value:x}", self.address()));
                match faults::load(self.address(), value) {
                    Look::Shipped => from(value),
                    Look::Cleared(instead) => {
                        word.store(instead, Ordering::Relaxed);
                        from(instead)
                    }
                    Look::Instead(instead) => from(instead),
                }
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                let to: fn($value) -> u64 = $to;
                if !scene::step() || faults::drops(self.address(), to(value)) {
                    return;
                }
                faults::changed(self.address());
                scene::note(|| format!("store {:x} {:x}", self.address(), to(value)));
                match self.find() {
                    Some(word) => word.store(to(value), order),
                    None => self.0.set(value),
                }
            }

            /// One read and write, falsified where the scene has a fault for it.
            #[track_caller]
            fn change(
                &self,
                change: impl Fn(&inner::AtomicU64) -> u64,
                plain: impl Fn($value) -> $value,
            ) -> $value {
                let from: fn(u64) -> $value = $from;
                if !scene::step() {
                    return self.0.get();
                }
                faults::changed(self.address());
                match self.find() {
                    Some(word) => {
                        let old = strongly(|| change(&word));
                        scene::note(|| format!("change {:x}: {old:x}", self.address()));
                        from(old)
                    }
                    None => {
                        let old = self.0.get();
                        self.0.set(plain(old));
                        old
                    }
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                let to: fn($value) -> u64 = $to;
                self.change(|word| word.swap(to(value), order), |_| value)
            }

            /// One read and one compare-and-exchange at a time, until none comes in between.
            #[track_caller]
            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut now = self.load(failure);
                while let Some(new) = update(now) {
                    match self.compare_exchange(now, new, success, failure) {
                        Ok(before) => return Ok(before),
                        Err(other) => now = other,
                    }
                }
                Err(now)
            }

            /// Fails only if the value is another one.
            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let (to, from): (fn($value) -> u64, fn(u64) -> $value) = ($to, $from);
                if !scene::step() {
                    return Ok(current);
                }
                faults::changed(self.address());
                let Some(word) = self.find() else {
                    let old = self.0.get();
                    if old != current {
                        return Err(old);
                    }
                    self.0.set(new);
                    return Ok(old);
                };
                let change = faults::exchange(self.address(), to(new));
                let success = match change {
                    Change::Relaxed => Ordering::Relaxed,
                    _ => success,
                };
                match change {
                    Change::Shipped | Change::Relaxed => {
                        let change =
                            || word.compare_exchange(to(current), to(new), success, failure);
                        let old = strongly(change);
                        scene::note(|| format!("cas {:x} {:x}: {old:x?}", self.address(), to(new)));
                        old.map(from).map_err(from)
                    }
                    Change::Store => {
                        word.store(to(new), success);
                        Ok(current)
                    }
                    Change::None => Ok(current),
                }
            }
        }
    };
}

macro_rules! arithmetic {
    ($name:ident, $value:ty) => {
        impl $name {
            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                let change = |word: &inner::AtomicU64| word.fetch_add(value as u64, order);
                let before = self.change(change, |old| old.wrapping_add(value));
                faults::sum(self.address(), before as u64) as $value
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                let change = |word: &inner::AtomicU64| word.fetch_sub(value as u64, order);
                self.change(change, |old| old.wrapping_sub(value))
            }

            #[track_caller]
            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                let order = faults::order(self.address(), order);
                let change = |word: &inner::AtomicU64| word.fetch_and(value as u64, order);
                let old = self.change(change, |old| old & value);
                faults::cleared(self.address());
                old
            }

            #[track_caller]
            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                if faults::defers(self.address(), value as u64) {
                    return self.load(Ordering::Relaxed);
                }
                let change = |word: &inner::AtomicU64| word.fetch_or(value as u64, order);
                self.change(change, |old| old | value)
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                let change = |word: &inner::AtomicU64| word.fetch_max(value as u64, order);
                self.change(change, |old| old.max(value))
            }
        }
    };
}

atomic!(AtomicU32, u32, |value| value.into(), |word| word as u32);
atomic!(AtomicU64, u64, |value| value, |word| word);
atomic!(AtomicUsize, usize, |value| value as u64, |word| word
    as usize);
atomic!(AtomicBool, bool, |value| value.into(), |word| word != 0);
arithmetic!(AtomicU32, u32);
arithmetic!(AtomicU64, u64);
arithmetic!(AtomicUsize, usize);

/// Reads and writes, on a machine as the scene has it.
fn strongly<T>(change: impl FnOnce() -> T) -> T {
    if !scene::is_strong() {
        return change();
    }
    inner::fence(Ordering::SeqCst);
    let value = change();
    inner::fence(Ordering::SeqCst);
    value
}

/// A fence, but for the fault of the scene.
#[track_caller]
pub(crate) fn fence(order: Ordering) {
    let caller = Location::caller();
    if !scene::is_over() && !faults::lacks_fence(caller.file()) {
        scene::note(|| format!("fence {caller}"));
        inner::fence(order);
    }
}
