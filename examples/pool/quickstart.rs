//! The first program: a map over worker processes, and one outcome per item.

use procession_pool::{Pool, Result, init};

fn main() -> Result<()> {
    init(); // first line of main: here the workers enter

    let pool = Pool::new()?; // one worker per usable CPU
    println!("{:?}", pool.map(|x| x * x, 1..=8u64)?);

    let outcomes = pool.map_results(|n: u32| 12 / n, 0..4); // 12 / 0 panics, in a worker
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(quotient) => println!("12 / {n} = {quotient}"),
            Err(error) => println!("12 / {n}: {error}"),
        }
    }
    Ok(())
}
