//! The storm: callers work while a killer kills at random. The callers judge what comes of it.

use std::any::Any;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::dice::dice;
use crate::{Case, os, procfs};

/// Lets `callers` threads call `call` with their number again and again for so many seconds, while
/// processes out of those that `targets` names are killed; returns how many were.
///
/// When it returns, the last killed ones are gone.
///
/// ```no_run
/// use procession_testkit::{heap_is_back, heap_units, storm};
/// # struct Thing;
/// # impl Thing {
/// #     fn use_and_judge(&self, _: usize) {}
/// #     fn users(&self) -> Vec<u32> { vec![] }
/// # }
/// # let thing = Thing;
/// let before = heap_units();
/// let kills = storm::blow(5, 4, |caller| thing.use_and_judge(caller), || thing.users());
/// drop(thing);
/// heap_is_back("the thing's memory is back", before);
/// println!("  ({kills} kills)");
/// ```
pub fn blow(
    seconds: u64,
    callers: usize,
    call: impl Fn(usize) + Sync,
    targets: impl Fn() -> Vec<u32> + Sync,
) -> u64 {
    let over = AtomicBool::new(false);
    let killed = Mutex::new(Vec::new());
    let until = Instant::now() + Duration::from_secs(seconds);
    thread::scope(|scope| {
        let call = &call;
        let callers: Vec<_> = (0..callers)
            .map(|number| {
                scope.spawn(move || {
                    while Instant::now() < until {
                        call(number);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(1000 + dice(19_000)));
                let pids = targets();
                // Now and then all at once.
                let most = if dice(20) == 0 { pids.len() } else { 1 };
                let first = dice(pids.len() as u64) as usize;
                for pid in pids.iter().cycle().skip(first).take(most) {
                    os::send(*pid, Signal::KILL);
                    killed.lock().unwrap().push(*pid);
                }
            }
        });
        let ended: Vec<Result<(), Box<dyn Any + Send>>> = callers
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        over.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    // The last ones may still be on their way out.
    let killed = killed.into_inner().unwrap();
    procfs::await_end(&killed[killed.len().saturating_sub(10)..]);
    killed.len() as u64
}

/// The seconds that the command line gives after `--seconds`; 60 if it does not.
pub fn seconds() -> u64 {
    let mut arguments = std::env::args().skip_while(|one| one != "--seconds");
    let given = arguments.nth(1);
    given
        .map_or(60, |text| text.parse().expect("a number of seconds"))
        .max(1)
}

/// A storm of so many seconds as cases of ten seconds each: far below what the watchdog allows.
pub fn rounds(seconds: u64, blow: fn(u64)) -> impl Iterator<Item = Case> {
    const ROUND: u64 = 10;
    let starts = (0..seconds).step_by(ROUND as usize);
    starts.map(move |from| {
        let length = ROUND.min(seconds - from);
        Case::new(format!("storm::from_second_{from}"), move || blow(length))
    })
}
