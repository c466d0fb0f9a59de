//! The ledger: words that every process of a test run can reach, whoever is killed meanwhile.
//!
//! Shared memory of the tests' own, not of the library under test: it counts what was done, and
//! holds gates. There is one where the runner was asked for it: see [`Runner::with_ledger`].
//!
//! [`Runner::with_ledger`]: crate::Runner::with_ledger
#![allow(unsafe_code, reason = "maps a file of the tests")]

use std::fs::File;
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags};

use crate::{birth, runner};

const WORDS: usize = 1 << 24;

/// Pid of the test program: whoever is somebody else is a member.
const PROGRAM: u32 = 0;
const FIRST: u32 = 3;
/// From here on they are recycled.
const RING: u32 = 1 << 23;
const _: () = assert!(PROGRAM < birth::HOW && birth::HOW < FIRST && birth::COUNT < FIRST);

static WORD: OnceLock<&'static [AtomicU32]> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(FIRST);

fn path() -> Option<PathBuf> {
    let run = runner::run_name()?;
    // Not `temp_dir()`: helper programs have one of their own.
    Some(PathBuf::from(format!("/tmp/procession-{run}.ledger")))
}

/// Makes the ledger of this run. In the test program, before it has a family.
pub(crate) fn create() {
    let file = File::create_new(path().unwrap()).unwrap();
    file.set_len(WORDS as u64 * 4).unwrap();
    drop(file);
    assert!(open());
    word(PROGRAM).store(std::process::id(), Ordering::Relaxed);
}

/// Takes its name away, if there is a ledger.
pub(crate) fn remove() {
    if let Some(path) = path() {
        let _ = std::fs::remove_file(path);
    }
}

/// Maps the ledger, in any process of the run: first in `main`. False if there is none.
pub fn open() -> bool {
    let options = || File::options().read(true).write(true).open(path()?).ok();
    let Some(file) = options() else { return false };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, never unmapped, of a file that is never cut.
    let mapped = unsafe {
        rustix::mm::mmap(
            null_mut(),
            WORDS * 4,
            protection,
            MapFlags::SHARED,
            &file,
            0,
        )
    };
    let first = mapped.unwrap().cast::<AtomicU32>();
    // SAFETY: as above; atomics may be shared.
    let _ = WORD.set(unsafe { std::slice::from_raw_parts(first, WORDS) });
    true
}

/// Whether this process has the ledger mapped.
pub fn is_open() -> bool {
    WORD.get().is_some()
}

fn word(id: u32) -> &'static AtomicU32 {
    &WORD.get().expect("a ledger")[id as usize]
}

/// Whether this process is the test program itself.
pub fn is_program() -> bool {
    word(PROGRAM).load(Ordering::Relaxed) == std::process::id()
}

/// The first of `count` words that are 0, until the end of the test.
pub fn reserve(count: u32) -> u32 {
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    assert!(first + count <= RING, "the ledger is full");
    first
}

/// As [`reserve`], for a long storm: from the start again when those there are long judged.
pub fn recycle(count: u32) -> u32 {
    const MOST: u32 = 1000;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    assert!(count <= MOST);
    let next = NEXT.fetch_add(u64::from(count), Ordering::Relaxed);
    let first = RING + (next % u64::from(WORDS as u32 - MOST - RING)) as u32;
    (first..first + count).for_each(|id| set(id, 0));
    first
}

/// Sets what was reserved to 0 again.
pub(crate) fn clear() {
    let used = NEXT.swap(FIRST, Ordering::Relaxed);
    for id in PROGRAM + 1..used {
        set(id, 0);
    }
}

/// Counts one more.
pub fn note(id: u32) {
    word(id).fetch_add(1, Ordering::Relaxed);
}

/// What the word is now.
pub fn get(id: u32) -> u32 {
    word(id).load(Ordering::Relaxed)
}

/// Changes the word.
pub fn set(id: u32, value: u32) {
    word(id).store(value, Ordering::Relaxed);
}

/// Waits until the word is not 0, and returns it.
pub fn wait(id: u32) -> u32 {
    wait_for(id, 1)
}

/// Waits until the word is at least `least`.
pub fn wait_for(id: u32, least: u32) -> u32 {
    loop {
        let value = get(id);
        if value >= least {
            return value;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
