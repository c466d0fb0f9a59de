//! Items and values that misbehave as planned, at any stage of their way through a pool.

use procession_pool::{Phase, TaskError};
use procession_testkit::{ledger, os};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where an item misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Nowhere,
    ItemEncode,
    ItemDecode,
    Run,
    /// When the function drops its argument.
    ItemDrop,
    ValueEncode,
    /// When the worker drops the value, which it has sent by then.
    ValueDrop,
    ValueDecode,
}

/// What it does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    /// An error of serde.
    Fail,
    PanicStr,
    PanicString,
    PanicOther,
    /// A payload that panics when it is dropped.
    PanicBomb,
    /// A panic while another one unwinds.
    PanicTwice,
    Exit(i32),
    ExitNow(i32),
    Abort,
    /// Reads where nothing is.
    Crash,
    Overflow,
    /// Sends itself a signal.
    Raise(i32),
    /// Puts its pid into this word and waits to be killed.
    Wait(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The word of the ledger that counts the runs.
    pub(crate) id: u32,
    pub(crate) stage: Stage,
    pub(crate) act: Act,
    /// Bytes of the value.
    pub(crate) size: u32,
}

impl Plan {
    pub(crate) fn good(id: u32) -> Plan {
        Plan {
            id,
            stage: Stage::Nowhere,
            act: Act::Fail,
            size: id % 50,
        }
    }

    pub(crate) fn bad(id: u32, stage: Stage, act: Act) -> Plan {
        let good = Plan::good(id);
        Plan { stage, act, ..good }
    }

    pub(crate) fn sized(self, size: u32) -> Plan {
        Plan { size, ..self }
    }

    fn at(&self, stage: Stage) -> Result<(), &'static str> {
        if self.stage == stage {
            return self.act.perform();
        }
        Ok(())
    }
}

pub(crate) const REASON: &str = "as planned";
pub(crate) const STR_LINE: u32 = line!() + 2;
fn panic_str() {
    panic!("as planned")
}

pub(crate) const STRING_LINE: u32 = line!() + 2;
fn panic_string() {
    panic!("as {}", String::from("planned"))
}

/// Keeps the panics that tests of this program plan from being printed.
pub(crate) fn hush() {
    let present = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let planned =
            |text: &str| text == REASON || text.ends_with("'s panic") || text.ends_with("'s drop");
        if info.payload_as_str().is_some_and(|text| !planned(text)) {
            present(info);
        }
    }));
}

fn overflow(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    if depth == u64::MAX {
        return 0;
    }
    overflow(depth + 1).wrapping_add(page[3])
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload's drop");
    }
}

impl Act {
    fn perform(self) -> Result<(), &'static str> {
        match self {
            Act::Fail => return Err(REASON),
            Act::PanicStr => panic_str(),
            Act::PanicString => panic_string(),
            Act::PanicOther => std::panic::panic_any(17_u32),
            Act::PanicBomb => std::panic::panic_any(Bomb),
            Act::PanicTwice => {
                let _bomb = Bomb;
                panic_str();
            }
            Act::Exit(code) => std::process::exit(code),
            Act::ExitNow(code) => os::exit_at_once(code),
            Act::Abort => std::process::abort(),
            Act::Crash => os::crash(),
            Act::Overflow => {
                let _ = overflow(0);
            }
            Act::Raise(signal) => os::raise(signal),
            Act::Wait(word) => {
                ledger::set(word, std::process::id());
                os::sleep_for_ever();
            }
        }
        Ok(())
    }

    /// Signal and exit code of a worker that does it; `None` if it survives.
    pub(crate) fn death(self) -> Option<(Option<i32>, Option<i32>)> {
        let signal = |signal| Some((Some(signal), None));
        match self {
            Act::Exit(code) | Act::ExitNow(code) => Some((None, Some(code))),
            Act::Abort | Act::PanicTwice => signal(libc::SIGABRT),
            Act::Crash => signal(libc::SIGSEGV),
            Act::Overflow => signal(libc::SIGSEGV),
            Act::Raise(number) => signal(number),
            Act::Wait(_) => signal(libc::SIGKILL),
            _ => None,
        }
    }
}

/// What goes in.
#[derive(Debug, Clone)]
pub(crate) struct Item(pub(crate) Plan);

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.at(Stage::ItemEncode).map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plan = Plan::deserialize(deserializer)?;
        plan.at(Stage::ItemDecode).map_err(D::Error::custom)?;
        Ok(Item(plan))
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        if self.0.stage == Stage::ItemDrop && !ledger::is_program() {
            let _ = self.0.act.perform();
        }
    }
}

/// What comes out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) Plan, pub(crate) Vec<u8>);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Half of it is written by then.
        struct Half<'a>(&'a Plan);
        impl Serialize for Half<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.at(Stage::ValueEncode).map_err(S::Error::custom)?;
                serializer.serialize_unit()
            }
        }
        (&self.0, &self.1, Half(&self.0)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (plan, body, ()) = <(Plan, Vec<u8>, ())>::deserialize(deserializer)?;
        plan.at(Stage::ValueDecode).map_err(D::Error::custom)?;
        Ok(Value(plan, body))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        if self.0.stage == Stage::ValueDrop && !ledger::is_program() {
            let _ = self.0.act.perform();
        }
    }
}

/// The function.
pub(crate) fn work(item: Item) -> Value {
    let plan = item.0;
    ledger::note(plan.id);
    let _ = plan.at(Stage::Run);
    drop(item);
    Value(plan, vec![plan.id as u8; plan.size as usize])
}

/// The one right outcome of `plan`, and that it was run as often as it should.
#[track_caller]
pub(crate) fn check(plan: &Plan, outcome: &Result<Value, TaskError>) {
    let runs = ledger::get(plan.id);
    let expected_runs = u32::from(!matches!(plan.stage, Stage::ItemEncode | Stage::ItemDecode));
    assert_eq!(runs, expected_runs, "runs of {plan:?}, {outcome:?}");
    let good = |value: &Value| {
        assert_eq!(value.0, *plan);
        assert_eq!(value.1, vec![plan.id as u8; plan.size as usize]);
    };
    let delivered = matches!(plan.stage, Stage::Nowhere | Stage::ValueDrop);
    match outcome {
        Ok(value) if delivered => good(value),
        Err(TaskError::WorkerDied(death)) => {
            let (signal, code) = plan.act.death().expect("no death was planned");
            let ends = (death.signal(), death.exit_code());
            // std has a handler that may turn it into an abort with a message.
            let told = plan.act == Act::Overflow && ends == (Some(libc::SIGABRT), None);
            assert!(told || ends == (signal, code), "{plan:?} came to {death}");
            let phase = match plan.stage {
                Stage::ItemDecode => Phase::Decoding,
                Stage::Run | Stage::ItemDrop => Phase::Running,
                Stage::ValueEncode => Phase::Encoding,
                other => panic!("died at {other:?}: {death}"),
            };
            assert_eq!(death.phase(), phase, "{plan:?}");
            assert_ne!(death.pid(), 0);
            assert!(!death.status().supervisor_died());
        }
        Err(error) if plan.act.death().is_none() => check_error(plan, error),
        other => panic!("{plan:?} came to {other:?}"),
    }
}

#[track_caller]
fn check_error(plan: &Plan, error: &TaskError) {
    use procession_primitives::{DecodeError, EncodeError, Panic};
    let fails = plan.act == Act::Fail;
    // Where a panic of this process happened is known to whoever watches it.
    let here = matches!(plan.stage, Stage::ItemEncode | Stage::ValueDecode);
    let place = |panic: &Panic| {
        let line = match plan.act {
            Act::PanicStr => STR_LINE,
            Act::PanicString => STRING_LINE,
            _ => 0,
        };
        if line != 0 {
            assert_eq!(panic.message(), REASON);
            let place = panic.location();
            let known = (place.file(), place.line());
            assert!(
                known == (file!(), line) || here && known == ("", 0),
                "{known:?}"
            );
        } else {
            assert_eq!(panic.message(), "Box<dyn Any>");
        }
    };
    match (plan.stage, error) {
        (Stage::ItemEncode, TaskError::ItemEncode(error)) => match &**error {
            // postcard does not keep the text of an error.
            EncodeError::Failed(_) => assert!(fails),
            EncodeError::Panicked(panic) => place(panic),
            other => panic!("{plan:?} came to {other:?}"),
        },
        (Stage::ItemDecode, TaskError::ItemDecode(error))
        | (Stage::ValueDecode, TaskError::ValueDecode(error)) => match &**error {
            DecodeError::Failed(_) => assert!(fails),
            DecodeError::Panicked(panic) => place(panic),
            other => panic!("{plan:?} came to {other:?}"),
        },
        (Stage::ValueEncode, TaskError::ValueEncode(text)) => {
            assert!(!text.is_empty());
            if plan.act == Act::PanicStr {
                assert!(text.contains(REASON) && text.contains(file!()), "{text}");
            }
        }
        (Stage::Run | Stage::ItemDrop, TaskError::Panicked(panic)) => place(panic),
        _ => panic!("{plan:?} came to {error:?}"),
    }
}

/// As [`check`], for all of them.
#[track_caller]
pub(crate) fn check_all(plans: &[Plan], outcomes: &[Result<Value, TaskError>]) {
    assert_eq!(plans.len(), outcomes.len(), "one outcome per item");
    for (plan, outcome) in plans.iter().zip(outcomes) {
        check(plan, outcome);
    }
}

/// Good plans with words of their own.
pub(crate) fn good(count: u32) -> Vec<Plan> {
    let first = ledger::reserve(count);
    (first..first + count).map(Plan::good).collect()
}

pub(crate) fn items(plans: &[Plan]) -> impl Iterator<Item = Item> + Clone {
    plans.iter().copied().map(Item)
}

/// Bytes that are encoded as such, not one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// Whether a type can cross.
pub(crate) trait Message: Serialize + DeserializeOwned {}
impl<T: Serialize + DeserializeOwned> Message for T {}
