//! Sleeps on behalf of futures.
//!
//! A future that has to wait leaves the word to watch and its waker here. One thread of this
//! process sleeps on up to 100 such words at a time; it starts with the first of them, and ends
//! when there have been none for a while.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use procession_primitives::Holder;

use crate::primitive::{Family, News, wake};

/// Words of one thread.
const WORDS: usize = 100;

/// How long a thread without anything to watch stays.
const LINGER: Duration = Duration::from_secs(1);

/// A word that somebody waits for.
struct Entry {
    key: u64,
    word: &'static AtomicU32,
    expected: u32,
    news: News,
    waker: Waker,
}

/// One thread, and what it watches.
struct Shard {
    /// Added to whenever the thread has to look again.
    bell: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The process in which the thread runs: a forked child has none.
    process: Option<Holder>,
    entries: Vec<Entry>,
}

static SHARDS: Mutex<Vec<&'static Shard>> = Mutex::new(Vec::new());
static KEYS: AtomicU64 = AtomicU64::new(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The waker is called when the word changes or somebody dies, as long as this is there.
#[must_use]
pub(crate) struct Watch {
    shard: &'static Shard,
    key: u64,
}

/// Has `waker` called when `word` is not `expected` any more, or there is later news than `news`.
pub(crate) fn watch(
    family: &'static Family,
    word: &'static AtomicU32,
    expected: u32,
    news: News,
    waker: &Waker,
) -> Watch {
    let key = KEYS.fetch_add(1, Ordering::Relaxed);
    let entry = Entry {
        key,
        word,
        expected,
        news,
        waker: waker.clone(),
    };
    let me = Holder::of_process(family);
    let mut shards = lock(&SHARDS);
    let free = |shard: &&'static Shard| {
        let state = lock(&shard.state);
        state.entries.len() < WORDS || state.process != Some(me)
    };
    let shard = match shards.iter().copied().find(free) {
        Some(shard) => shard,
        None => {
            let shard: &'static Shard = Box::leak(Box::new(Shard {
                bell: AtomicU32::new(0),
                state: Mutex::default(),
            }));
            shards.push(shard);
            shard
        }
    };
    let mut state = lock(&shard.state);
    if state.process != Some(me) {
        // No thread, or that of the process which this one was forked from.
        std::mem::forget(std::mem::take(&mut state.entries));
        let thread = std::thread::Builder::new().name("procession-async".into());
        if thread.spawn(move || shard.run(family)).is_ok() {
            state.process = Some(me);
        } else {
            // Nobody will call it: so now, and again, until there is room for a thread.
            waker.wake_by_ref();
        }
    }
    state.entries.push(entry);
    drop((state, shards));
    // Release: with the bell comes the entry.
    shard.bell.fetch_add(1, Ordering::Release);
    wake(&shard.bell, 1);
    Watch { shard, key }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = lock(&self.shard.state);
        let place = state.entries.iter().position(|entry| entry.key == self.key);
        let entry = place.map(|place| state.entries.swap_remove(place));
        let last = entry.is_some() && state.entries.is_empty();
        // Not under the lock: with its waker a whole task may go, and more of these.
        drop(state);
        if last {
            // So that it goes when there are no others for a while.
            self.shard.bell.fetch_add(1, Ordering::Release);
            wake(&self.shard.bell, 1);
        }
        drop(entry);
    }
}

impl Shard {
    fn run(&self, family: &'static Family) {
        let mut idle_since: Option<Instant> = None;
        loop {
            // Read before the words are: whatever changes after this ends the sleep.
            let news = family.news();
            let bell = self.bell.load(Ordering::Acquire);
            let mut due = Vec::new();
            let mut words = vec![(&self.bell, bell)];
            {
                let mut state = lock(&self.state);
                state.entries.retain(|entry| {
                    let same = entry.word.load(Ordering::Acquire) == entry.expected;
                    if same && entry.news == news {
                        words.push((entry.word, entry.expected));
                        return true;
                    }
                    due.push(entry.waker.clone());
                    false
                });
                if state.entries.is_empty() && due.is_empty() {
                    let since = *idle_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= LINGER {
                        state.process = None;
                        return;
                    }
                } else {
                    idle_since = None;
                }
            }
            // Not under the lock: a waker may do anything.
            due.into_iter().for_each(Waker::wake);
            let until = idle_since.map(|since| since + LINGER);
            family.park_any(&words, news, until);
        }
    }
}
