//! One event starts several processes at the same moment.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use procession_primitives::Process;
use procession_sync::{Atomic, Event, Result, init};

/// Gets ready, waits for the start, and returns how many others were ready by then.
fn runner((ready, start): (Atomic<u32>, Event)) -> u32 {
    ready.fetch_add(1, Ordering::Release);
    start.wait();
    ready.load(Ordering::Acquire)
}

fn main() -> Result<()> {
    init();

    let (ready, start) = (Atomic::new(0_u32)?, Event::new()?);
    let runners = (0..4)
        .map(|_| Process::spawn(runner, (ready.clone(), start.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    while ready.load(Ordering::Acquire) < 4 {
        // Nobody sets the event meanwhile: this is a nap of 1 ms.
        assert!(!start.wait_timeout(Duration::from_millis(1)));
    }
    println!("all are ready: {start:?}");

    let begun = Instant::now();
    start.set();
    for runner in runners {
        assert_eq!(runner.join()?, 4); // nobody ran before all were ready
    }
    println!("set, and all are back {:.1?} later", begun.elapsed());
    assert!(start.is_set()); // until `clear`: latecomers do not wait
    Ok(())
}
