//! The one place that sleeps.
//!
//! A sleeper waits for three things at once: the state word that it is interested in, the
//! family's *news* word, and a deadline. News is bumped after every death, once everything the
//! dead process held has been given back. So nobody has to guess why somebody else does not
//! answer: whoever sleeps is told to look again.
//!
//! The rules that make it sound:
//!
//! 1. News is read *before* the condition is checked. A death in between changes the word, and
//!    the kernel refuses the sleep.
//! 2. The waker changes the word that the sleeper sleeps on, then wakes.
//! 3. A wake-up may come for nothing: callers look at their condition again.
//!
//! The program itself waits for a fourth thing: the life word of its supervisor.
//!
//! | life word | meaning | who leaves this state |
//! |---|---|---|
//! | 0 | no supervisor | the program, when it starts one |
//! | thread id \| `WAITERS` | supervised by that thread | the kernel, at its death: clears the id, sets `OWNER_DIED`, wakes one |
//! | ... \| `OWNER_DIED` | supervisor dead | the program: buries the members, then 0 |

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitvFlags};
use rustix::thread::{ClockId, Timespec};

use crate::family::Family;

pub(crate) use futex::{OWNER_DIED, WAITERS};

/// Longest sleep where the kernel can only watch one word: how late news may be there.
const PLAIN_LIMIT: Duration = Duration::from_millis(50);

/// The same where it can watch only one of several words.
const ANY_LIMIT: Duration = Duration::from_millis(5);

/// Most words that [`Family::park_any`] watches: the kernel takes 128.
const MOST: usize = 120;

/// How long to look before sleeping where something is expected soon: a process's end.
/// It takes less than that, and a sleep and a wake-up on an idle processor as long again.
const SPIN: Duration = Duration::from_micros(300);

/// Looks for an answer for a short while, letting others run in between.
///
/// For what takes about as long as a sleep and a wake-up, to be followed by a sleep.
pub(crate) fn spin<T>(mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ready() {
            return Some(answer);
        }
        if start.elapsed() >= SPIN {
            return None;
        }
        std::thread::yield_now();
    }
}

/// What had happened in the family at some moment: see [`Family::news`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News(u32);

impl News {
    /// As a word, for a place in shared memory.
    #[must_use]
    #[inline]
    pub fn to_word(self) -> u32 {
        self.0
    }

    /// The news that [`to_word`](Self::to_word) stored.
    #[must_use]
    pub fn from_word(word: u32) -> News {
        News(word)
    }
}

/// Microseconds of the monotonic clock, which is the same in all processes of a machine.
#[must_use]
pub fn monotonic_micros() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1000
}

/// Nanoseconds of the same clock as [`monotonic_micros`].
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Wakes up to `count` threads, of any member, that sleep on `word`. Returns how many did.
pub fn wake(word: &AtomicU32, count: u32) -> usize {
    let count = count.min(i32::MAX as u32);
    // Fails for bad addresses only.
    futex::wake(word, Flags::empty(), count).unwrap_or(0)
}

impl Family {
    /// What has happened up to now. To be read before looking at the condition to wait for.
    #[must_use]
    #[inline]
    pub fn news(&self) -> News {
        // Acquire: whoever sees the bump also sees what was settled before it.
        News(self.arena().header().news.0.load(Ordering::Acquire))
    }

    /// Tells every sleeper of the family to look again.
    pub(crate) fn announce(&self) {
        self.add_news();
        self.spread_news();
    }

    /// The first half of [`announce`](Self::announce): nobody falls asleep any more without
    /// having looked.
    pub(crate) fn add_news(&self) {
        // Release: pairs with `news`.
        self.arena().header().news.0.fetch_add(1, Ordering::Release);
    }

    /// The second half: wakes those that sleep.
    pub(crate) fn spread_news(&self) {
        wake(&self.arena().header().news.0, u32::MAX);
    }

    /// Sleeps while `word` is `expected` and there is no news, at most until `deadline`.
    ///
    /// Returns for nothing at times. `news` was read before the condition was checked.
    ///
    /// # Process death
    ///
    /// Returns when any member of the family dies, once what it held has been given back.
    pub fn park(&self, word: &AtomicU32, expected: u32, news: News, deadline: Option<Instant>) {
        let life = self.watched_life();
        let seen = life.map(|life| (life, life.load(Ordering::Acquire)));
        if let Some((_, word)) = seen
            && word & OWNER_DIED != 0
        {
            self.bury_supervisor();
            return;
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return;
        }
        let heard = &self.arena().header().news.0;
        let mut waits = [Wait::new(); 3];
        set(&mut waits[0], word, expected);
        set(&mut waits[1], heard, news.0);
        let mut count = 2;
        if let Some((life, value)) = seen {
            set(&mut waits[2], life, value);
            count = 3;
        }
        if !sleep_on(&waits[..count], left) && heard.load(Ordering::Acquire) == news.0 {
            sleep_on_one(word, expected, left);
        }
        if let Some((life, _)) = seen
            && life.load(Ordering::Acquire) & OWNER_DIED != 0
        {
            self.bury_supervisor();
        }
    }

    /// As [`park`](Self::park), on several words at once: sleeps while all are as expected.
    ///
    /// Watches the first 120.
    pub fn park_any(&self, words: &[(&AtomicU32, u32)], news: News, deadline: Option<Instant>) {
        let Some(((first, value), rest)) = words.split_first() else {
            return;
        };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let life = self.watched_life();
        let seen = life.map(|life| (life, life.load(Ordering::Acquire)));
        let mut waits =
            vec![Wait::new(); rest.len().min(MOST - 1) + 2 + usize::from(life.is_some())];
        let heard = &self.arena().header().news.0;
        set(&mut waits[0], heard, news.0);
        set(&mut waits[1], first, *value);
        let mut count = 2;
        if let Some((life, word)) = seen {
            if word & OWNER_DIED != 0 {
                self.bury_supervisor();
                return;
            }
            set(&mut waits[2], life, word);
            count = 3;
        }
        for (wait, (word, value)) in waits[count..].iter_mut().zip(rest) {
            set(wait, word, *value);
        }
        if left == Some(Duration::ZERO) {
            return;
        }
        let as_expected =
            |(word, value): &(&AtomicU32, u32)| word.load(Ordering::Acquire) == *value;
        if !sleep_on(&waits, left)
            && heard.load(Ordering::Acquire) == news.0
            && words.iter().all(as_expected)
        {
            // This kernel watches one word; the others are looked at by and by.
            let short = left.unwrap_or(PLAIN_LIMIT).min(ANY_LIMIT);
            sleep_on_one(first, *value, Some(short));
        }
        if let Some((life, _)) = seen
            && life.load(Ordering::Acquire) & OWNER_DIED != 0
        {
            self.bury_supervisor();
        }
    }

    /// Waits until `ready` has an answer; `None` when `deadline` passes first.
    ///
    /// `ready` looks at the condition and says either what the answer is or which value of `word`
    /// to sleep on.
    pub fn wait_for<T>(
        &self,
        word: &AtomicU32,
        deadline: Option<Instant>,
        mut ready: impl FnMut() -> Result<T, u32>,
    ) -> Option<T> {
        loop {
            let news = self.news();
            match ready() {
                Ok(answer) => return Some(answer),
                Err(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return None;
                }
                Err(expected) => self.park(word, expected, news, deadline),
            }
        }
    }
}

fn set(wait: &mut Wait, word: &AtomicU32, value: u32) {
    wait.val = u64::from(value);
    wait.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
    wait.flags = WaitFlags::SIZE_U32;
}

/// Sleeps on all of `waits`. False if this kernel cannot.
fn sleep_on(waits: &[Wait], left: Option<Duration>) -> bool {
    if cfg!(procession_plain_futex) {
        return false;
    }
    let until = left.map(|left| {
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32);
        timespec(now.saturating_add(left))
    });
    let slept = futex::waitv(
        waits,
        WaitvFlags::empty(),
        until.as_ref(),
        ClockId::Monotonic,
    );
    !matches!(
        slept,
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM)
    )
}

fn sleep_on_one(word: &AtomicU32, expected: u32, left: Option<Duration>) {
    let left = timespec(left.unwrap_or(PLAIN_LIMIT).min(PLAIN_LIMIT));
    // Every outcome means: look again.
    let _ = futex::wait(word, Flags::empty(), expected, Some(&left));
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec {
        tv_sec,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
