//! SIGKILL at chosen instructions of a worker, while it has a small task in its hands.

use std::time::Duration;

use procession_pool::{Pool, TaskError};
use procession_testkit::{Case, eventually, heap_is_back, heap_units, ledger, sweep};

use super::agent::{self, Item, items, work};
use super::kills;
use super::usable::{check_usable, warm_up};

/// What the worker is stepped through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sweep {
    /// Three items whose values have so many bytes.
    Values(u32),
    /// Twenty items that are numbers, as their values are.
    Numbers,
    /// Three items that may be ended from outside.
    Guarded,
    /// A task for this worker alone.
    Letter,
    /// The first of three items, after which the worker leaves.
    Retiring,
}

/// So many points in a small task, in one whose output moves to a block and to a larger one, in one
/// of numbers, in one under guard, in one by letter, and on a worker's way out.
pub(crate) fn cases(points: u64) -> [Case; 6] {
    let case = |name: &str, what| Case::new(format!("sweep::{name}"), move || run(what, points));
    [
        case("small_task", Sweep::Values(10)),
        case("growing_output", Sweep::Values(70)),
        case("numbers", Sweep::Numbers),
        case("guarded_task", Sweep::Guarded),
        case("letter", Sweep::Letter),
        case("retiring_worker", Sweep::Retiring),
    ]
}

impl Sweep {
    fn pool(self) -> Pool {
        let builder = Pool::builder().workers(1);
        let builder = match self {
            Sweep::Retiring => builder.max_tasks_per_worker(1),
            _ => builder,
        };
        builder.build().unwrap()
    }

    /// Does it while the worker makes `steps` steps and is killed, or until it has ended. How many
    /// steps it made; `None` where nobody may trace.
    fn attempt(self, pool: &Pool, steps: Option<u64>) -> Option<u64> {
        if self == Sweep::Numbers {
            let first = ledger::reserve(20);
            let call = || pool.chunksize(20).map_results(noted, first..first + 20);
            let (made, outcomes) = sweep::while_stepped(staying(pool, u64::MAX), steps, call)?;
            check_numbers(first, &outcomes);
            return Some(made);
        }
        let (count, size) = match self {
            Sweep::Values(size) => (3, size),
            Sweep::Letter => (1, 10),
            _ => (3, 10),
        };
        let good = agent::good(count);
        let plans: Vec<_> = good.into_iter().map(|plan| plan.sized(size)).collect();
        let most = if self == Sweep::Retiring { 0 } else { u64::MAX };
        let call = || {
            let view = pool.chunksize(plans.len());
            match self {
                Sweep::Letter => pool.broadcast(work, &Item(plans[0])),
                // Long enough for one instruction at a time.
                Sweep::Guarded => {
                    let view = view.timeout(Duration::from_secs(1000));
                    view.map_results(work, items(&plans))
                }
                _ => view.map_results(work, items(&plans)),
            }
        };
        let (made, outcomes) = sweep::while_stepped(staying(pool, most), steps, call)?;
        let died = kills::check_survivors(&plans, &outcomes);
        assert!(died <= 1, "{died} items died with one worker");
        Some(made)
    }
}

fn noted(id: u32) -> u32 {
    ledger::note(id);
    id
}

/// One outcome for each number from `first` on: it is there, or one of them was in hand when the worker was
/// killed.
#[track_caller]
fn check_numbers(first: u32, outcomes: &[Result<u32, TaskError>]) {
    let mut died = 0;
    for (id, outcome) in (first..).zip(outcomes) {
        match outcome {
            Ok(value) => assert_eq!((*value, ledger::get(id)), (id, 1)),
            Err(TaskError::WorkerDied(death)) => {
                kills::check_killed(id, death);
                died += 1;
            }
            Err(error) => panic!("{id} came to {error:?}"),
        }
    }
    assert!(died <= 1, "{died} items died with one worker");
}

/// The worker, when it is not about to leave.
fn staying(pool: &Pool, items: u64) -> u32 {
    eventually("a worker that stays", || match &pool.stats().workers[..] {
        [worker] if worker.items <= items => Ok(worker.pid),
        workers => Err(format!("{workers:?}")),
    })
}

fn run(what: Sweep, points: u64) {
    let without = heap_units();
    let pool = what.pool();
    warm_up(&pool);
    let before = heap_units();
    let check = |steps| {
        warm_up(&pool);
        // Workers that leave make room at their own pace.
        if what != Sweep::Retiring {
            heap_is_back(&format!("the memory is back, {steps} steps"), before);
        }
    };
    if sweep::points(points, |steps| what.attempt(&pool, steps), check) {
        check_usable(&pool);
        check(u64::MAX);
    }
    drop(pool);
    heap_is_back("the memory of the pool is back", without);
}
