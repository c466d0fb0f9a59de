//! A simulation in lock-step: nobody begins a step before all have ended the last one.
//!
//! Heat spreads along a rod. Each process computes a quarter of it, from what all have computed in
//! the step before.

use procession_primitives::Process;
use procession_sync::{Array, Barrier, Result, init};

const LEN: usize = 64;
const QUARTER: usize = LEN / 4;
const STEPS: usize = 200;

/// The new temperature of place `n`: of it and its neighbours, which the ends lack.
fn mean(rod: &[f64], n: usize) -> f64 {
    (rod[n.saturating_sub(1)] + rod[n] + rod[(n + 1).min(LEN - 1)]) / 3.0
}

fn simulate((barrier, rod, first): (Barrier, Array<f64>, usize)) {
    let places = first..first + QUARTER;
    for _ in 0..STEPS {
        let old = rod.to_vec().unwrap();
        let new: Vec<f64> = places.clone().map(|n| mean(&old, n)).collect();
        // Everybody has read: from here on the rod may change.
        barrier.wait().unwrap();
        rod.lock().unwrap()[places.clone()].copy_from_slice(&new);
        // Everybody has written: here the next step begins.
        barrier.wait().unwrap();
    }
}

fn main() -> Result<()> {
    init();

    let mut serial = vec![0.0; LEN];
    serial[0] = 1000.0;
    let (barrier, rod) = (Barrier::new(4)?, Array::from_slice(&serial)?);
    let processes = (0..4)
        .map(|n| Process::spawn(simulate, (barrier.clone(), rod.clone(), n * QUARTER)))
        .collect::<Result<Vec<_>, _>>()?;
    for process in processes {
        process.join()?; // a party that dies breaks the barrier for all, so this ends
    }

    for _ in 0..STEPS {
        serial = (0..LEN).map(|n| mean(&serial, n)).collect();
    }
    let rod = rod.to_vec().unwrap();
    println!("after {STEPS} steps: {:.1} ... {:.1}", rod[0], rod[LEN - 1]);
    assert_eq!(rod, serial); // the same to the last bit
    Ok(())
}
