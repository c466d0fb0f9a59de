//! Which numbers are prime, one process per CPU: the first example of Python's `ProcessPoolExecutor`.

use procession_executor::{Executor, ProcessPoolExecutor, Result, init};

const NUMBERS: [u64; 8] = [
    1_000_000_000_039,
    1_000_000_000_061,
    1_000_000_000_063,
    1_000_000_000_067,
    1_000_000_000_091,
    112_272_535_095_293,
    112_582_705_942_171,
    1_099_726_899_285_419,
];

fn is_prime(n: u64) -> bool {
    if n < 2 || n.is_multiple_of(2) {
        return n == 2;
    }
    (3..=n.isqrt())
        .step_by(2)
        .all(|divisor| !n.is_multiple_of(divisor))
}

fn main() -> Result<()> {
    init();
    let executor = ProcessPoolExecutor::new()?;
    for (number, prime) in NUMBERS.into_iter().zip(executor.map(is_prime, NUMBERS)) {
        println!("{number} is prime: {}", prime?);
    }
    Ok(())
}
