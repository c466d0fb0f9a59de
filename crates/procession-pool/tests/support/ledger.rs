//! The ledger: words that every process of a test run can reach, whoever is killed meanwhile.
//!
//! Shared memory of the tests' own, not of the library under test: it counts how often each item
//! was run, and holds gates.
#![allow(unsafe_code, reason = "maps a file of the tests")]

use std::fs::File;
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags};

use super::runner;

const WORDS: usize = 1 << 24;

/// Pid of the test program: whoever is somebody else is a worker.
const PROGRAM: u32 = 0;
/// How new members are to die: see `agent::die_at_birth`.
pub(crate) const BIRTH: u32 = 1;
/// How many have been born since.
pub(crate) const BIRTHS: u32 = 2;
const FIRST: u32 = 3;

static WORD: OnceLock<&'static [AtomicU32]> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(FIRST);

fn path() -> Option<PathBuf> {
    let run = runner::run_name()?;
    // Not `temp_dir()`: helper programs have one of their own.
    Some(PathBuf::from(format!("/tmp/procession-pool-{run}.ledger")))
}

/// Makes the ledger of this run. In the test program, before it has a family.
pub(crate) fn create() {
    let file = File::create_new(path().unwrap()).unwrap();
    file.set_len(WORDS as u64 * 4).unwrap();
    drop(file);
    assert!(open());
    word(PROGRAM).store(std::process::id(), Ordering::Relaxed);
}

pub(crate) fn remove() {
    std::fs::remove_file(path().unwrap()).unwrap();
}

/// Maps the ledger, in any process of the run. False if there is none.
pub(crate) fn open() -> bool {
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
pub(crate) fn is_open() -> bool {
    WORD.get().is_some()
}

fn word(id: u32) -> &'static AtomicU32 {
    &WORD.get().expect("a ledger")[id as usize]
}

/// Whether this process is the test program itself.
pub(crate) fn is_program() -> bool {
    word(PROGRAM).load(Ordering::Relaxed) == std::process::id()
}

/// `count` words that are 0, until the end of the test.
pub(crate) fn reserve(count: u32) -> u32 {
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    assert!((first + count) as usize <= WORDS, "the ledger is full");
    first
}

/// Sets everything to 0 again.
pub(crate) fn clear() {
    let used = NEXT.swap(FIRST, Ordering::Relaxed);
    for id in BIRTH..used {
        set(id, 0);
    }
}

/// Counts one more.
pub(crate) fn note(id: u32) {
    word(id).fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn get(id: u32) -> u32 {
    word(id).load(Ordering::Relaxed)
}

pub(crate) fn set(id: u32, value: u32) {
    word(id).store(value, Ordering::Relaxed);
}

/// Waits until the word is not 0, and returns it.
pub(crate) fn wait(id: u32) -> u32 {
    wait_for(id, 1)
}

/// Waits until the word is at least `least`.
pub(crate) fn wait_for(id: u32, least: u32) -> u32 {
    loop {
        let value = get(id);
        if value >= least {
            return value;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
