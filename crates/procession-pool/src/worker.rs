//! A worker's life: take a hint, claim the task, run it, tell; sleep when there is none.
//!
//! # Safety
//!
//! Turns code addresses of the same build into functions.
#![allow(unsafe_code, reason = "calls functions by address")]

use std::sync::atomic::Ordering;
use std::time::Instant;

use procession_primitives::{CodeAddress, Family, fn_from_address, quietly};

use crate::cell::{Cell, WorkerIndex};
use crate::idle::Idle;
use crate::mailbox;
use crate::shared::{CLOSED, Place, Shared};
use crate::task::{Task, Trampoline};

/// The function of a worker process.
pub(crate) fn work((place, index): (Place, WorkerIndex)) {
    let Ok(family) = Family::current() else {
        return;
    };
    let Some(shared) = Shared::at(family, place) else {
        return;
    };
    let Some(line) = shared.worker(index) else {
        return;
    };
    line.ready.store(1, Ordering::Relaxed);
    let mut code = CodeCache::default();
    let mut idle = Idle::new(shared, index);
    quietly(|| {
        loop {
            if let Some(hint) = shared.take_hint() {
                idle.found();
                let Some(cell) = shared.cell(hint) else {
                    continue;
                };
                if cell.claim(index) {
                    if shared.has_hints() {
                        shared.call_one();
                    }
                    line.claims.fetch_add(1, Ordering::Relaxed);
                    run(&shared, hint, cell, &mut code);
                    cell.finish(index);
                    mailbox::push(&shared, hint);
                }
            } else if shared.header().phase.0.load(Ordering::Acquire) >= CLOSED {
                return;
            } else {
                idle.wait();
            }
        }
    });
}

fn run(shared: &Shared, index: u32, cell: &'static Cell, code: &mut CodeCache) {
    let start = Instant::now();
    if let Some(mut task) = Task::resume(*shared, index, cell) {
        match code.find(cell.code()) {
            Ok((trampoline, function)) => trampoline(function, &mut task),
            Err(why) => task.fail_all(&why),
        }
    }
    let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    cell.nanos.fetch_add(nanos, Ordering::Relaxed);
}

/// The function that this worker ran last: mostly the next task's too.
#[derive(Default)]
struct CodeCache {
    words: [[u64; 2]; 2],
    found: Option<(Trampoline, usize)>,
}

impl CodeCache {
    fn find(&mut self, words: [[u64; 2]; 2]) -> Result<(Trampoline, usize), String> {
        if let Some(found) = self.found
            && self.words == words
        {
            return Ok(found);
        }
        let [trampoline, function] = words.map(|words| {
            CodeAddress::from_words(words)
                .resolve()
                .map_err(|e| e.to_string())
        });
        // SAFETY: named in `Code::of` from a value of this type, in the same build.
        let trampoline: Trampoline = unsafe { fn_from_address(trampoline?) };
        let found = (trampoline, function?);
        self.words = words;
        self.found = Some(found);
        Ok(found)
    }
}
