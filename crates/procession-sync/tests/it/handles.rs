//! Every sort of handle, sent in every way.

use std::collections::BTreeMap;

use procession_primitives::{Process, StartMethod};
use procession_sync::{
    Array, Atomic, Barrier, BoundedSemaphore, Condition, Event, Lock, Mutex, Once, OnceLock, RLock,
    RawArray, RawValue, RwLock, Semaphore, Value,
};
use procession_testkit::{Case, birth, eventually, heap_units, ledger};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::support::{await_objects, family, kill, report_and_hang, start, word};

pub(crate) trait Handle: Clone + PartialEq + Serialize + DeserializeOwned + 'static {
    fn make() -> Self;
    /// Uses the object. Panics if it is of no use.
    fn probe(&self);
}

macro_rules! handles {
    ($($name:ident: $type:ty = $make:expr, |$handle:ident| $probe:expr;)*) => {
        $(impl Handle for $type {
            fn make() -> Self {
                $make.unwrap()
            }
            fn probe(&self) {
                let $handle = self;
                $probe;
            }
        })*

        pub(crate) fn cases() -> Vec<Case> {
            let mut cases = Vec::new();
            $(cases.extend([
                Case::new(concat!("handles::", stringify!($name), "::as_argument_and_result"),
                    as_argument_and_result::<$type>),
                Case::new(concat!("handles::", stringify!($name), "::in_a_message"),
                    in_a_message::<$type>),
                Case::new(concat!("handles::", stringify!($name), "::only_reference"),
                    only_reference::<$type>),
                Case::new(concat!("handles::", stringify!($name), "::captured_by_a_fork"),
                    captured_by_a_fork::<$type>),
                Case::new(concat!("handles::", stringify!($name), "::never_read_or_decoded"),
                    never_read_or_decoded::<$type>),
                Case::new(concat!("handles::", stringify!($name), "::freed_with_the_last_holder"),
                    freed_with_the_last_holder::<$type>),
            ]);)*
            cases
        }
    };
}

handles! {
    lock: Lock = Lock::new(), |h| drop(h.acquire().unwrap());
    rlock: RLock = RLock::new(), |h| drop(h.acquire().unwrap());
    mutex: Mutex<u64> = Mutex::new(7), |h| assert_eq!(*h.lock().unwrap(), 7);
    rwlock: RwLock<u64> = RwLock::new(7), |h| assert_eq!(*h.read().unwrap(), 7);
    large_rwlock: RwLock<[u64; 512]> = RwLock::new([7; 512]), |h| assert_eq!(h.read().unwrap()[9], 7);
    semaphore: Semaphore = Semaphore::new(2), |h| drop(h.acquire().unwrap());
    bounded_semaphore: BoundedSemaphore = BoundedSemaphore::new(2), |h| drop(h.acquire().unwrap());
    condition: Condition = Condition::new(), |h| h.notify_all().unwrap();
    event: Event = Event::new(), |h| assert!(!h.is_set());
    barrier: Barrier = Barrier::new(3), |h| assert_eq!(h.n_waiting(), 0);
    once: Once = Once::new(), |h| h.call_once(|| ()).unwrap();
    once_lock: OnceLock<u64> = OnceLock::new(), |h| assert_eq!(h.get_or_init(|| 7), Ok(&7));
    atomic: Atomic<u64> = Atomic::new(7), |h| assert_eq!(h.load(std::sync::atomic::Ordering::Relaxed), 7);
    value: Value<u64> = Value::new(7), |h| assert_eq!(h.get().unwrap(), 7);
    array: Array<u64> = Array::from_slice(&[7; 9]), |h| assert_eq!(h.to_vec().unwrap(), [7; 9]);
    large_array: Array<u32> = Array::from_slice(&[7; 30_000]), |h| assert_eq!(h.lock().unwrap()[29_999], 7);
    raw_value: RawValue<u64> = RawValue::new(7), |h| assert_eq!(h.get(), 7);
    raw_array: RawArray<u64> = RawArray::from_slice(&[7; 9]), |h| assert_eq!(h.to_vec(), [7; 9]);
}

fn echo<H: Handle>(handle: H) -> H {
    handle.probe();
    handle
}

fn as_argument_and_result<H: Handle>() {
    let handle = H::make();
    for method in [
        StartMethod::ForkServer,
        StartMethod::Spawn,
        StartMethod::Fork,
    ] {
        let builder = Process::builder().start_method(method);
        let process = builder.spawn(echo::<H>, handle.clone()).unwrap();
        assert!(process.join().unwrap() == handle);
    }
    handle.probe();
    assert!(H::make() != handle);
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "H: Handle")]
struct Message<H: Handle> {
    title: String,
    all: Vec<Option<H>>,
    by_name: BTreeMap<String, (H, u8)>,
}

fn answer<H: Handle>(mut message: Message<H>) -> Message<H> {
    message.all.iter().flatten().for_each(H::probe);
    message.all.truncate(2);
    message.title.push('!');
    message
}

/// Inside of something else, the same one several times.
fn in_a_message<H: Handle>() {
    let before = family().object_count();
    let (one, other) = (H::make(), H::make());
    let message = Message {
        title: "handles".to_owned(),
        all: vec![
            Some(one.clone()),
            None,
            Some(other.clone()),
            Some(one.clone()),
        ],
        by_name: BTreeMap::from([("both".to_owned(), (other.clone(), 3))]),
    };
    let answer = start(answer::<H>, message).join().unwrap();
    assert_eq!((answer.title.as_str(), answer.all.len()), ("handles!", 2));
    assert!(answer.all[0].as_ref() == Some(&one));
    assert!(answer.by_name["both"].0 == other);
    drop((one, other));
    answer.by_name["both"].0.probe();
    drop(answer);
    await_objects("both are freed", before);
}

/// The sender keeps no handle of its own.
fn only_reference<H: Handle>() {
    let before = family().object_count();
    let process = start(echo::<H>, H::make());
    let returned = process.join().unwrap();
    returned.probe();
    // A chain of processes, each of which hands it on.
    let chain = |handle: H| start(echo::<H>, handle).join().unwrap();
    let returned = start(chain, returned).join().unwrap();
    returned.probe();
    drop(returned);
    await_objects("it is freed", before);
}

fn captured_by_a_fork<H: Handle>() {
    let before = family().object_count();
    let (handle, asleep) = (H::make(), word());
    let child = Process::builder().fork(|| echo(handle.clone())).unwrap();
    assert!(child.join().unwrap() == handle);
    // The fork outlives the parent's handle, and hands on what it has inherited.
    let inherited = handle.clone();
    let child = Process::builder().fork(move || {
        ledger::wait(asleep);
        start(echo::<H>, inherited).join().unwrap()
    });
    drop(handle);
    ledger::set(asleep, 1);
    let returned = child.unwrap().join().unwrap();
    returned.probe();
    drop(returned);
    await_objects("it is freed", before);
}

fn make<H: Handle>((count, done): (u32, u32)) -> Vec<H> {
    let made = (0..count).map(|_| H::make()).collect();
    ledger::set(done, 1);
    made
}

/// A result that nobody reads, and arguments that nobody decodes.
fn never_read_or_decoded<H: Handle>() {
    let (objects, units) = (family().object_count(), heap_units());
    let done = word();
    let process = start(make::<H>, (3, done));
    ledger::wait(done);
    process.wait();
    drop(process);
    await_objects("the result's objects are freed", objects);
    // In the other order: nobody is there to read it when it is made.
    let done = word();
    drop(start(make::<H>, (3, done)));
    await_objects("the result's objects are freed", objects);

    let handle = H::make();
    ledger::set(birth::HOW, 1000 + libc::SIGKILL as u32);
    for _ in 0..3 {
        if let Ok(process) = Process::spawn(echo::<H>, handle.clone()) {
            assert!(process.join().is_err());
        }
    }
    // With the only reference, too.
    if let Ok(process) = Process::spawn(echo::<H>, H::make()) {
        assert!(process.join().is_err());
    }
    ledger::set(birth::HOW, 0);
    assert!(ledger::get(birth::COUNT) > 0, "somebody was killed");
    handle.probe();
    await_objects("one object is left", objects + 1);
    drop(handle);
    await_objects("the arguments' objects are freed", objects);
    // The tables of large objects may keep a page or two.
    eventually("the memory is back", || match heap_units() {
        now if now <= units + 2 => Ok(()),
        now => Err(format!("{now} units, {units} before")),
    });
}

fn keep<H: Handle>((handle, has): (H, u32)) {
    handle.probe();
    report_and_hang(has);
    handle.probe();
}

fn freed_with_the_last_holder<H: Handle>() {
    let (objects, units) = (family().object_count(), heap_units());
    let handle = H::make();
    let holders = [0; 5].map(|_| {
        let has = word();
        let process = start(keep::<H>, (handle.clone(), has));
        ledger::wait(has);
        process
    });
    drop(handle);
    for one in &holders[..4] {
        kill(one);
        await_objects("it is held", objects + 1);
    }
    kill(&holders[4]);
    await_objects("it is freed", objects);
    drop(holders);
    let again = H::make();
    drop(again);
    eventually("the memory is back", || match heap_units() {
        now if now <= units + 2 => Ok(()),
        now => Err(format!("{now} units, {units} before")),
    });
}
