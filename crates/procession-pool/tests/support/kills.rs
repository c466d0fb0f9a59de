//! What may come of items whose workers are killed by somebody who does not know what they do.

use procession_pool::{Death, Phase, TaskError};
use procession_testkit::ledger;

use super::agent::{self, Plan};

/// One outcome per item: what ran once is there, or was killed while it was in hand.
#[track_caller]
pub(crate) fn check_survivors(plans: &[Plan], outcomes: &[Result<agent::Value, TaskError>]) -> u32 {
    assert_eq!(plans.len(), outcomes.len(), "one outcome per item");
    let mut died = 0;
    for (plan, outcome) in plans.iter().zip(outcomes) {
        let Err(TaskError::WorkerDied(death)) = outcome else {
            agent::check(plan, outcome);
            continue;
        };
        check_killed(plan.id, death);
        died += 1;
    }
    died
}

/// The same of numbers from `first` on, each noted in the ledger and handed back, with one worker.
#[track_caller]
pub(crate) fn check_numbers(first: u32, outcomes: &[Result<u32, TaskError>]) {
    let mut died = 0;
    for (id, outcome) in (first..).zip(outcomes) {
        match outcome {
            Ok(value) => assert_eq!((*value, ledger::get(id)), (id, 1)),
            Err(TaskError::WorkerDied(death)) => {
                check_killed(id, death);
                died += 1;
            }
            Err(error) => panic!("{id} came to {error:?}"),
        }
    }
    assert!(died <= 1, "{died} items died with one worker");
}

#[track_caller]
fn check_killed(id: u32, death: &Death) {
    assert_eq!((death.signal(), death.exit_code()), (Some(9), None));
    let runs = ledger::get(id);
    match death.phase() {
        Phase::Decoding => assert_eq!(runs, 0),
        Phase::Running => assert!(runs <= 1),
        Phase::Encoding => assert_eq!(runs, 1),
        phase => panic!("an item died {phase}"),
    }
}
