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

/// An item whose worker was killed: it ran at most once, and what is told of it is right.
#[track_caller]
pub(crate) fn check_killed(id: u32, death: &Death) {
    assert_eq!((death.signal(), death.exit_code()), (Some(9), None));
    let runs = ledger::get(id);
    match death.phase() {
        Phase::Decoding => assert_eq!(runs, 0),
        Phase::Running => assert!(runs <= 1),
        Phase::Encoding => assert_eq!(runs, 1),
        phase => panic!("an item died {phase}"),
    }
}
