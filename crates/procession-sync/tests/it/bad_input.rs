//! Handles that cannot be used, and arguments that make no sense.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use procession_sync::{
    Array, Atomic, Barrier, BarrierError, Condition, CreateError, Event, Lock, LockError, Mutex,
    Once, OnceLock, RLock, RawArray, RwLock, Semaphore, Value, WaitError,
};
use procession_testkit::{Case, cases, heap_units, os};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bad_input;
use crate::support::{await_objects, family, start};

pub(crate) fn cases() -> Vec<Case> {
    cases![bad_input:
        barrier_of_nobody, arrays_that_do_not_fit, values_of_no_size, wrong_sort, wrong_type,
        freed_object, other_family, garbage, result_of_a_wrong_type, raw_array_bounds,
        in_a_process_forked_behind_the_back,
    ]
    .into()
}

fn barrier_of_nobody() {
    let before = family().object_count();
    assert!(matches!(Barrier::new(0), Err(CreateError::Invalid(_))));
    assert!(matches!(
        Barrier::with_action(0, || ()),
        Err(CreateError::Invalid(_))
    ));
    let timed = Barrier::with_timeout(0, Duration::from_secs(1));
    assert!(matches!(timed, Err(CreateError::Invalid(_))));
    await_objects("nothing is left", before);
    let hasty = Barrier::with_timeout(2, Duration::ZERO).unwrap();
    assert_eq!(hasty.wait(), Err(BarrierError::Broken));
}

fn arrays_that_do_not_fit() {
    let (objects, units) = (family().object_count(), heap_units());
    for len in [1_usize << 38, 1 << 44, usize::MAX / 8] {
        let error = Array::<u64>::new(len).unwrap_err();
        assert!(
            matches!(error, CreateError::OutOfMemory(_)),
            "{len}: {error:?}"
        );
        let error = RawArray::<u64>::new(len).unwrap_err();
        assert!(
            matches!(error, CreateError::OutOfMemory(_)),
            "{len}: {error:?}"
        );
    }
    for len in [usize::MAX, usize::MAX / 8 + 1] {
        let error = Array::<u64>::new(len).unwrap_err();
        assert!(!error.to_string().is_empty(), "{error:?}");
        assert!(RawArray::<u64>::new(len).is_err());
    }
    await_objects("nothing is left", objects);
    assert!(heap_units() <= units + 1);
}

/// One of each that can be for a type without size.
type All = (
    Mutex<()>,
    Value<[u64; 0]>,
    Array<()>,
    RawArray<()>,
    RwLock<()>,
    OnceLock<()>,
);

fn values_of_no_size() {
    let (mutex, value) = (Mutex::new(()).unwrap(), Value::new([0_u64; 0]).unwrap());
    let (array, raw) = (
        Array::<()>::new(1000).unwrap(),
        RawArray::<()>::new(1000).unwrap(),
    );
    let (rwlock, once) = (RwLock::new(()).unwrap(), OnceLock::<()>::new().unwrap());
    let use_them = |(mutex, value, array, raw, rwlock, once): All| {
        *mutex.lock().unwrap() = ();
        value.set([]).unwrap();
        raw.set(999, ());
        *rwlock.write().unwrap() = ();
        once.get_or_init(|| ()).unwrap();
        assert_eq!(array.lock().unwrap().len(), 1000);
    };
    let all = (mutex, value, array, raw, rwlock, once);
    use_them(all.clone());
    start(use_them, all).join().unwrap();
    let huge = Array::<()>::new(usize::MAX).unwrap();
    assert_eq!(huge.lock().unwrap().len(), usize::MAX);
}

/// The bytes of `handle`, read as another type of handle; what the error says.
#[track_caller]
fn refused<G: DeserializeOwned>(handle: &impl Serialize) -> String {
    let bytes = postcard::to_stdvec(handle).unwrap();
    let read = postcard::from_bytes::<G>(&bytes);
    assert!(read.is_err(), "such a handle was taken");
    // Postcard itself keeps no words.
    read.err().unwrap().to_string()
}

fn wrong_sort() {
    let lock = Lock::new().unwrap();
    refused::<RLock>(&lock);
    refused::<Event>(&lock);
    refused::<Barrier>(&lock);
    refused::<Mutex<u64>>(&lock);
    refused::<Atomic<u64>>(&lock);
    let event = Event::new().unwrap();
    refused::<Lock>(&event);
    refused::<Once>(&event);
    let semaphore = Semaphore::new(1).unwrap();
    refused::<procession_sync::BoundedSemaphore>(&semaphore);
    let value = Value::new(1_u64).unwrap();
    refused::<Mutex<u64>>(&value);
    refused::<Array<u64>>(&value);
    assert!(lock.acquire().is_ok() && value.get().is_ok());
}

fn wrong_type() {
    let value = Value::new(1_u64).unwrap();
    refused::<Value<i64>>(&value);
    refused::<Value<u32>>(&value);
    let array = Array::<u64>::new(3).unwrap();
    refused::<Array<f64>>(&array);
    refused::<Array<[u64; 2]>>(&array);
    refused::<Atomic<i32>>(&Atomic::new(1_u32).unwrap());
    refused::<OnceLock<u8>>(&OnceLock::<i8>::new().unwrap());
    refused::<RwLock<u8>>(&RwLock::new(1_i8).unwrap());
}

/// Between processes the error says what is wrong.
fn result_of_a_wrong_type() {
    // Looks like a lock in its encoding, and is none.
    #[derive(Serialize, serde::Deserialize)]
    struct Disguised(Vec<u8>);
    let bytes = postcard::to_stdvec(&Lock::new().unwrap()).unwrap();
    let read = start(
        |bytes: Disguised| postcard::from_bytes::<Event>(&bytes.0).is_err(),
        Disguised(bytes),
    );
    assert!(read.join().unwrap());
}

fn freed_object() {
    let lock = Lock::new().unwrap();
    let bytes = postcard::to_stdvec(&lock).unwrap();
    assert!(postcard::from_bytes::<Lock>(&bytes).unwrap() == lock);
    drop(lock);
    assert!(postcard::from_bytes::<Lock>(&bytes).is_err());
    // Another one in the same place is another one.
    let new = Lock::new().unwrap();
    assert!(postcard::from_bytes::<Lock>(&bytes).is_err());
    let read = start(
        |bytes: Vec<u8>| postcard::from_bytes::<Lock>(&bytes).is_err(),
        bytes,
    );
    assert!(read.join().unwrap());
    drop(new);
}

fn other_family() {
    let bytes = postcard::to_stdvec(&Lock::new().unwrap()).unwrap();
    let lock = Lock::new().unwrap();
    let mut other = postcard::to_stdvec(&lock).unwrap();
    assert!(!bytes.is_empty());
    // The family comes first.
    other[0] ^= 1;
    assert!(postcard::from_bytes::<Lock>(&other).is_err());
    assert!(lock.acquire().is_ok());
}

fn garbage() {
    let lock = Lock::new().unwrap();
    let bytes = postcard::to_stdvec(&lock).unwrap();
    let before = family().object_count();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut wrong = bytes.clone();
            wrong[position] ^= 1 << bit;
            if let Ok(found) = postcard::from_bytes::<Lock>(&wrong) {
                assert!(found == lock, "bit {bit} of byte {position}");
            }
        }
        assert!(postcard::from_bytes::<Lock>(&bytes[..position]).is_err());
    }
    for text in [&[0_u8; 24][..], &[0xff; 24], &[1; 24], &[]] {
        assert!(postcard::from_bytes::<Array<u64>>(text).is_err());
    }
    await_objects("nothing was made", before);
}

fn raw_array_bounds() {
    let array = RawArray::<u16>::new(4).unwrap();
    let fails = |work: &dyn Fn()| catch_unwind(AssertUnwindSafe(work)).is_err();
    assert!(fails(&|| array.set(4, 1)));
    assert!(fails(&|| array.write(3, &[1, 2])));
    assert!(fails(&|| array.write(5, &[])));
    assert!(fails(&|| array.write(usize::MAX, &[1])));
    array.write(4, &[]);
    assert_eq!((array.get(4), array.get(usize::MAX)), (None, None));
    assert_eq!(array.to_vec(), [0; 4]);
}

/// A copy of the program that does not take part: no handle does anything there, none hangs.
fn in_a_process_forked_behind_the_back() {
    let (lock, mutex, rwlock) = (
        Lock::new().unwrap(),
        Mutex::new(1_u64).unwrap(),
        RwLock::new(1_u64).unwrap(),
    );
    let (event, barrier) = (Event::new().unwrap(), Barrier::new(2).unwrap());
    let (semaphore, condition, once) = (
        Semaphore::new(1).unwrap(),
        Condition::new().unwrap(),
        Once::new().unwrap(),
    );
    let held = Lock::new().unwrap();
    let guard = held.acquire().unwrap();
    let mut waited = mutex.lock().unwrap();
    let child = os::bare_fork(|| {
        let foreign = [
            matches!(lock.acquire(), Err(LockError::Foreign)),
            matches!(rwlock.read(), Err(LockError::Foreign)),
            matches!(rwlock.try_write(), Err(LockError::Foreign)),
            semaphore.acquire().is_err() && semaphore.release().is_err(),
            condition.notify().is_err(),
            condition.wait(&mut waited) == Err(WaitError::Foreign),
            barrier.wait() == Err(BarrierError::Foreign),
            barrier.abort().is_err(),
            once.call_once(|| ()).is_err(),
            !event.wait(),
            postcard::to_stdvec(&lock).is_err(),
            held.release().is_err(),
        ];
        foreign
            .iter()
            .position(|good| !good)
            .map_or(0, |at| at as i32 + 1)
    });
    assert_eq!(
        os::exit_code_of(child),
        0,
        "the number of what was not foreign"
    );
    assert!(held.locked());
    drop((guard, waited));
    for object in [&lock, &held] {
        assert!(object.try_acquire().is_ok());
    }
    assert_eq!(*mutex.lock().unwrap(), 1);
    barrier.abort().unwrap();
}
