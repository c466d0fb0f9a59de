//! What goes wrong with an item or a value, at any stage, in all combinations.

use procession_executor::{Executor, TaskError};
use procession_testkit::Case;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Contestant, suite};
use crate::common::check_usable;

pub(crate) fn cases<C: Contestant>() -> Vec<Case> {
    suite![C, "errors":
        submitted, mapped, mapped_without_order, panics_of_any_kind, bytes_of_another_type,
    ]
}

/// How a stage goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    Well,
    Fails,
    Panics,
}

impl How {
    fn go(self) -> Result<(), &'static str> {
        match self {
            How::Well => Ok(()),
            How::Fails => Err("as planned"),
            How::Panics => panic!("the stage's panic"),
        }
    }
}

/// How the stages go: item encoded, decoded, function, value encoded, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Plan([How; 5]);

impl Plan {
    /// All of them; a function only panics.
    fn all() -> Vec<Plan> {
        let hows = [How::Well, How::Fails, How::Panics];
        let number = |n: usize| Plan([1, 3, 9, 27, 81].map(|by| hows[n / by % 3]));
        let plans = (0..243).map(number);
        plans.filter(|plan| plan.0[2] != How::Fails).collect()
    }

    /// The first stage that does not go well decides.
    #[track_caller]
    fn check(self, outcome: &Result<Value, TaskError>) {
        let bad = self.0.iter().position(|how| *how != How::Well);
        let is_it = match (bad, outcome) {
            (None, Ok(value)) => value.0 == self,
            (Some(0), Err(TaskError::ItemEncode(_)))
            | (Some(1), Err(TaskError::ItemDecode(_)))
            | (Some(3), Err(TaskError::ValueEncode(_)))
            | (Some(4), Err(TaskError::ValueDecode(_))) => true,
            (Some(2), Err(TaskError::Panicked(panic))) => panic.message() == "the stage's panic",
            _ => false,
        };
        assert!(is_it, "{self:?} came to {outcome:?}");
    }
}

#[derive(Debug, Clone, Copy)]
struct Item(Plan);

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.0[0].go().map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plan = Plan::deserialize(deserializer)?;
        plan.0[1].go().map_err(D::Error::custom)?;
        Ok(Item(plan))
    }
}

#[derive(Debug)]
struct Value(Plan);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.0[3].go().map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plan = Plan::deserialize(deserializer)?;
        plan.0[4].go().map_err(D::Error::custom)?;
        Ok(Value(plan))
    }
}

fn work(item: Item) -> Value {
    let _ = item.0.0[2].go();
    Value(item.0)
}

fn submitted<C: Contestant>() {
    let executor = C::make(2);
    let futures: Vec<_> = Plan::all()
        .into_iter()
        .map(|plan| (plan, executor.submit(work, Item(plan))))
        .collect();
    for (plan, future) in futures {
        let error = future.exception();
        let outcome = future.result();
        plan.check(&outcome);
        assert_eq!(error.is_some(), outcome.is_err());
    }
    // An item that cannot be encoded was taken: there is nothing to give back.
    let bad = Item(Plan([How::Fails; 5]));
    let future = executor.try_submit(work, bad).unwrap();
    assert!(future.done());
    bad.0.check(&future.result());
    check_usable(&executor);
}

fn mapped<C: Contestant>() {
    let executor = C::make(2);
    let plans = Plan::all();
    for chunksize in [1, 3, 50] {
        let items = plans.iter().copied().map(Item);
        let outcomes: Vec<_> = executor.chunksize(chunksize).map(work, items).collect();
        assert_eq!(outcomes.len(), plans.len());
        for (plan, outcome) in plans.iter().zip(&outcomes) {
            plan.check(outcome);
        }
    }
    let items = plans.iter().copied().map(Item);
    for (plan, outcome) in plans.iter().zip(executor.map(work, items)) {
        plan.check(&outcome);
    }
    check_usable(&executor);
}

fn mapped_without_order<C: Contestant>() {
    let executor = C::make(2);
    let plans = Plan::all();
    let items = plans.iter().copied().map(Item);
    let outcomes: Vec<_> = executor.chunksize(3).map_unordered(work, items).collect();
    assert_eq!(outcomes.len(), plans.len());
    let kind = |outcome: &Result<Value, TaskError>| match outcome {
        Ok(_) => 0,
        Err(TaskError::ItemEncode(_)) => 1,
        Err(TaskError::ItemDecode(_)) => 2,
        Err(TaskError::Panicked(_)) => 3,
        Err(TaskError::ValueEncode(_)) => 4,
        Err(TaskError::ValueDecode(_)) => 5,
        Err(other) => panic!("{other:?}"),
    };
    let mut found = [0; 6];
    outcomes
        .iter()
        .for_each(|outcome| found[kind(outcome)] += 1);
    assert_eq!(found, [1, 108, 36, 9, 6, 2]);
}

fn panics_of_any_kind<C: Contestant>() {
    let executor = C::make(1);
    let throw = |kind: u32| match kind {
        0 => panic!("the first's panic"),
        1 => std::panic::panic_any(String::from("the second's panic")),
        _ => std::panic::panic_any(17_u8),
    };
    for (kind, message) in [
        (0, "the first's panic"),
        (1, "the second's panic"),
        (2, "Box<dyn Any>"),
    ] {
        let outcome: Result<(), _> = executor.submit(throw, kind).result();
        let Err(TaskError::Panicked(panic)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(panic.message(), message);
        // Known to whoever watches the process in which it happened.
        let file = if C::HAS_PROCESSES { file!() } else { "" };
        assert_eq!(panic.location().file(), file);
    }
    check_usable(&executor);
}

/// A type that reads something else than it wrote.
#[derive(Debug)]
struct Greedy;

impl Serialize for Greedy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(200)
    }
}

impl<'de> Deserialize<'de> for Greedy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(String, String)>::deserialize(deserializer).map(|_| Greedy)
    }
}

fn bytes_of_another_type<C: Contestant>() {
    let executor = C::make(1);
    let outcome = executor.submit(|_: Greedy| (), Greedy).result();
    assert!(
        matches!(outcome, Err(TaskError::ItemDecode(_))),
        "{outcome:?}"
    );
    let outcome = executor.submit(|()| Greedy, ()).result();
    assert!(
        matches!(outcome, Err(TaskError::ValueDecode(_))),
        "{outcome:?}"
    );
}
