//! Several processes work in place on one array, each on its part; nothing is copied.

use procession_primitives::Process;
use procession_sync::{Array, Part, Result, init};

const LEN: usize = 4_000_000;

/// Replaces each element by its square root. The part is this process's alone.
fn roots(mut part: Part<f64>) -> (usize, u32) {
    let start = part.start();
    for x in part.as_mut_slice() {
        *x = x.sqrt();
    }
    (start, std::process::id())
} // dropped here: the array gets the part back

fn main() -> Result<()> {
    init();

    let array = Array::<f64>::new(LEN)?; // 32 MB, all zero
    let mut numbers = array.lock().unwrap();
    for (index, x) in numbers.iter_mut().enumerate() {
        *x = (index * index) as f64;
    }

    let parts = numbers.into_parts(LEN / 4)?; // the lock is let go of; the parts hold the array
    let workers = parts
        .into_iter()
        .map(|part| Process::spawn(roots, part)) // sends a name of some bytes, not 8 MB
        .collect::<Result<Vec<_>, _>>()?;
    for worker in workers {
        let (start, pid) = worker.join()?;
        println!("process {pid} did the elements from {start} on");
    }

    let numbers = array.lock().unwrap(); // all parts are back
    assert!(numbers.iter().enumerate().all(|(n, &x)| x == n as f64));
    println!("{} roots, the last one {}", numbers.len(), numbers[LEN - 1]);
    Ok(())
}
