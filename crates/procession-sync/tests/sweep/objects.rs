//! Victims that make, open and drop shared objects.

use procession_sync::{Array, Lock, Value};
use procession_testkit::{Case, eventually, heap_units, sweep};

use crate::support::{await_objects, family, start};
use crate::{Sweep, cases as cases_of};

pub(crate) fn cases() -> Vec<Case> {
    let mut all = cases_of(
        "create_and_drop",
        now,
        Sweep {
            start: |_| start(make, std::process::id()),
            check,
        },
    );
    all.extend(cases_of(
        "open_and_drop",
        || (Value::new(7).unwrap(), now()),
        Sweep {
            start: |(value, _): &Opened| {
                let bytes = postcard::to_stdvec(value).unwrap();
                start(open, (bytes, std::process::id()))
            },
            check: |(value, before): &Opened, steps| {
                check(before, steps);
                assert_eq!(value.get().unwrap(), 7, "{steps} steps");
            },
        },
    ));
    all
}

type Opened = (Value<u64>, (usize, u32));

fn now() -> (usize, u32) {
    drop(Lock::new().unwrap());
    (family().object_count(), heap_units())
}

fn check(before: &(usize, u32), steps: u64) {
    await_objects(&format!("the objects are freed, {steps} steps"), before.0);
    eventually("the memory is back", || match heap_units() {
        units if units <= before.1 => Ok(()),
        units => Err(format!("{units} units, {} before, {steps} steps", before.1)),
    });
    let locks = [0; 3].map(|_| Lock::new().unwrap());
    assert!(locks[0] != locks[1] && locks[1] != locks[2]);
    assert!(
        locks.iter().all(|lock| lock.acquire().is_ok()),
        "{steps} steps"
    );
}

fn make(tracer: u32) {
    sweep::begin(tracer);
    let lock = Lock::new();
    // So long that it is not filled with zeros, which takes an instruction for each byte.
    let array = Array::<u64>::new(40_000);
    drop(lock);
    drop(array);
    sweep::end();
}

fn open((bytes, tracer): (Vec<u8>, u32)) {
    sweep::begin(tracer);
    drop(postcard::from_bytes::<Value<u64>>(&bytes));
    sweep::end();
}
