//! SIGKILL at chosen instructions of a worker, while it has a small task in its hands.

use procession_pool::Pool;
use procession_testkit::{Case, heap_is_back, heap_units, sweep};

use super::agent::{self, items, work};
use super::kills;
use super::usable::{check_usable, warm_up};

/// So many points in a small task, and in one whose output moves to a block and to a larger one.
pub(crate) fn cases(points: u64) -> [Case; 2] {
    [
        Case::new("sweep::small_task", move || sweep(10, points)),
        Case::new("sweep::growing_output", move || sweep(70, points)),
    ]
}

/// Maps three items while the worker makes `steps` steps and is killed, or until the map has
/// ended. How many steps it made; `None` where nobody may trace.
fn attempt(pool: &Pool, size: u32, steps: Option<u64>) -> Option<u64> {
    let good = agent::good(3);
    let plans: Vec<_> = good.into_iter().map(|plan| plan.sized(size)).collect();
    let map = || pool.chunksize(plans.len()).map_results(work, items(&plans));
    let (made, outcomes) = sweep::while_stepped(pool.worker_pids()[0], steps, map)?;
    let died = kills::check_survivors(&plans, &outcomes);
    assert!(died <= 1, "{died} items died with one worker");
    Some(made)
}

fn sweep(size: u32, points: u64) {
    let pool = Pool::with_workers(1).unwrap();
    warm_up(&pool);
    let before = heap_units();
    let check = |steps| {
        warm_up(&pool);
        heap_is_back(&format!("the memory is back, {steps} steps"), before);
    };
    if sweep::points(points, |steps| attempt(&pool, size, steps), check) {
        check_usable(&pool);
        warm_up(&pool);
        heap_is_back("the memory is back", before);
    }
}
