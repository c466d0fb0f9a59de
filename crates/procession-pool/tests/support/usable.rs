//! That a pool is as good as new.

use procession_pool::Pool;
use procession_testkit::ledger;

/// Rule I5 of the fault list, for the family as a whole.
pub(crate) fn still_works() {
    let pool = Pool::with_workers(2).unwrap();
    check_usable(&pool);
}

/// Rule I5 of the fault list: 64 tasks.
#[track_caller]
pub(crate) fn check_usable(pool: &Pool) {
    let doubled: Vec<u32> = (0..64).map(|n| n * 2).collect();
    assert_eq!(
        pool.chunksize(1).map(|n: u32| n * 2, 0..64).unwrap(),
        doubled
    );
    assert_eq!(pool.apply(|n: u32| n * 2, 4).unwrap(), 8);
}

/// Lets each worker run something: what a worker has for itself, all have from then on.
pub(crate) fn warm_up(pool: &Pool) {
    let count = pool.workers() as u32;
    let word = ledger::reserve(1);
    let meet = |(word, count): (u32, u32)| {
        ledger::note(word);
        ledger::wait_for(word, count);
    };
    let all = (0..count).map(|_| (word, count));
    pool.chunksize(1).map(meet, all).unwrap();
}
