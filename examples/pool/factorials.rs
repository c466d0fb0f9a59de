//! Big factorials: partial products of ranges, computed and multiplied in workers.
//!
//! `n!` is cut into ranges; [`starmap`] calls a function of two arguments with each of them. The
//! partial products then meet in pairs, round by round, again in workers: a number of any size
//! travels as an argument like any other. That alone is faster than the plain loop, also with one
//! worker, since numbers of the same size are multiplied in less than the square of their length.
//! More workers share the ranges and the first rounds; the last product is one worker's.
//!
//! `cargo run --release -p procession-pool --example factorials [N]`
//!
//! [`starmap`]: procession_pool::View::starmap

use std::env;
use std::time::Instant;

use num_bigint::BigUint;
use procession_pool::{Pool, Result, cpu_count, init};

/// How many ranges; a power of two, so that all rounds are of pairs.
const PARTS: u64 = 32;

/// `n!`, in the workers of `pool`.
fn factorial(pool: &Pool, n: u64) -> Result<BigUint> {
    let bound = |part: u64| 1 + n * part / PARTS;
    let ranges = (0..PARTS).map(|part| (bound(part), bound(part + 1)));
    let mut products = pool.starmap(
        |first: u64, end| (first..end).map(BigUint::from).product::<BigUint>(),
        ranges,
    )?;
    while products.len() > 1 {
        let right = products.split_off(products.len() / 2);
        let pairs = products.into_iter().zip(right);
        products = pool.starmap(|one: BigUint, other: BigUint| one * other, pairs)?;
    }
    Ok(products.remove(0))
}

fn main() -> Result<()> {
    init();
    let n = env::args().nth(1).map_or(Ok(40_000), |n| n.parse())?;

    let start = Instant::now();
    let expected: BigUint = (1..=n).map(BigUint::from).product();
    println!("plain loop: {:>10.1?}", start.elapsed());

    for workers in [1, cpu_count().get()] {
        let pool = Pool::with_workers(workers)?;
        let start = Instant::now();
        let value = factorial(&pool, n)?;
        println!("{workers} workers:  {:>10.1?}", start.elapsed());
        assert_eq!(value, expected);
    }

    let digits = expected.to_string();
    let (head, tail) = (
        &digits[..digits.len().min(12)],
        digits.trim_end_matches('0').len(),
    );
    println!(
        "{n}! = {head}..., {} digits, {} zeros at the end",
        digits.len(),
        digits.len() - tail
    );
    // Legendre: as many as there are factors 5.
    let fives: u64 = powers(5, n).map(|power| n / power).sum();
    assert_eq!(digits.len() as u64 - tail as u64, fives);
    Ok(())
}

/// The powers of `base` up to `most`.
fn powers(base: u64, most: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(base), move |power| power.checked_mul(base))
        .take_while(move |power| *power <= most)
}
