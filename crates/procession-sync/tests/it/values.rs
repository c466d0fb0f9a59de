//! `Value`, `Array` and their raw forms, and what Python's tests of shared ctypes ask for.

use std::fmt::Debug;
use std::thread;

use procession_sync::bytemuck::{AnyBitPattern, NoUninit};
use procession_sync::{Array, Atomic, LockError, Mutex, Plain, RawArray, RawValue, Value};
use procession_testkit::{Case, cases, heap_is_back, heap_units, ledger};

use crate::support::{kill, report_and_hang, start, word};
use crate::values;

pub(crate) fn cases() -> Vec<Case> {
    cases![values:
        values_v01, raw_values_v01, atomics_v01, lock_of_a_value_v02, arrays_v03, raw_arrays_v03,
        zeroed_again_v04, lock_of_an_array_v05, shared_types_v06, copies_v07, large_arrays,
        repaired_array, alignments, empty_arrays,
    ]
    .into()
}

/// A child replaces the value; this process sees it.
#[track_caller]
fn check_value<T>(before: T, after: T)
where
    T: Plain + PartialEq + Debug + serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    let value = Value::new(before).unwrap();
    assert_eq!(value.get().unwrap(), before);
    let write = |(value, after): (Value<T>, T)| value.set(after).unwrap();
    start(write, (value.clone(), after)).join().unwrap();
    assert_eq!(value.get().unwrap(), after);
}

fn values_v01() {
    check_value(4343_i32, 24234);
    check_value(3.625_f64, -4.25);
    check_value(-232_i16, 234);
    check_value(1_i64 << 33, 1 << 34);
    check_value(b'x', b'y');
    check_value(u128::MAX, 1);
    check_value([1_u8, 2, 3], [3, 2, 1]);
}

#[track_caller]
fn check_raw<T>(before: T, after: T)
where
    T: Plain
        + NoUninit
        + PartialEq
        + Debug
        + serde::Serialize
        + serde::de::DeserializeOwned
        + 'static,
{
    let value = RawValue::new(before).unwrap();
    assert_eq!(value.get(), before);
    let write = |(value, after): (RawValue<T>, T)| value.set(after);
    start(write, (value.clone(), after)).join().unwrap();
    assert_eq!(value.get(), after);
}

fn raw_values_v01() {
    check_raw(4343_i32, 24234);
    check_raw(3.625_f64, -4.25);
    check_raw(-232_i16, 234);
    check_raw(1_i64 << 33, 1 << 34);
    check_raw(b'x', b'y');
    check_raw(u128::MAX, 1);
    check_raw([1_u16, 2, 3], [3, 2, 1]);
}

fn atomics_v01() {
    use std::sync::atomic::Ordering::Relaxed;

    macro_rules! check {
        ($($type:ty: $before:expr => $after:expr),* $(,)?) => {$(
            let atomic = Atomic::<$type>::new($before).unwrap();
            assert_eq!(atomic.load(Relaxed), $before);
            let write = |atomic: Atomic<$type>| atomic.swap($after, Relaxed) == $before;
            assert!(start(write, atomic.clone()).join().unwrap());
            assert_eq!(atomic.load(Relaxed), $after);
        )*};
    }
    check! {
        bool: false => true, u8: 1 => 255, i8: -1 => -128, u16: 1 => 65535, i16: -1 => 5,
        u32: 1 => u32::MAX, i32: -1 => i32::MIN, u64: 1 => u64::MAX, i64: -1 => i64::MIN,
        usize: 1 => usize::MAX, isize: -1 => isize::MIN,
    }
}

fn hold((value, held): (Value<u64>, u32)) {
    let _guard = value.lock().unwrap();
    report_and_hang(held);
}

fn lock_of_a_value_v02() {
    let (value, held) = (Value::new(5_u64).unwrap(), word());
    let mut guard = value.lock().unwrap();
    *guard += 1;
    assert!(matches!(value.get(), Err(LockError::Deadlock)));
    assert!(matches!(value.set(1), Err(LockError::Deadlock)));
    drop(guard);
    assert_eq!(value.get().unwrap(), 6);
    let other = start(hold, (value.clone(), held));
    ledger::wait(held);
    assert!(matches!(value.try_lock(), Err(LockError::WouldBlock)));
    kill(&other);
    let Err(LockError::OwnerDied(guard)) = value.get() else {
        panic!("the holder died");
    };
    assert_eq!(*guard, 6);
    drop(guard);
    assert!(matches!(value.set(1), Err(LockError::Inconsistent(_))));
}

const TEN: [i32; 10] = [680, 626, 934, 821, 150, 233, 548, 982, 714, 831];

fn prefix_sums() -> Vec<i32> {
    let sums = TEN.iter().scan(0, |sum, one| {
        *sum += one;
        Some(*sum)
    });
    sums.collect()
}

fn arrays_v03() {
    let array = Array::from_slice(&TEN).unwrap();
    assert_eq!((array.len(), array.lock().unwrap()[3]), (10, TEN[3]));
    assert_eq!(array.lock().unwrap()[2..7], TEN[2..7]);
    array.lock().unwrap()[4..8].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(array.to_vec().unwrap()[3..9], [TEN[3], 1, 2, 3, 4, TEN[8]]);
    array.lock().unwrap().copy_from_slice(&TEN);
    let sum = |array: Array<i32>| {
        let mut guard = array.lock().unwrap();
        for index in 1..guard.len() {
            guard[index] += guard[index - 1];
        }
    };
    start(sum, array.clone()).join().unwrap();
    assert_eq!(array.to_vec().unwrap(), prefix_sums());
}

fn raw_arrays_v03() {
    let array = RawArray::from_slice(&TEN).unwrap();
    assert_eq!(
        (array.len(), array.get(3), array.get(10)),
        (10, Some(TEN[3]), None)
    );
    array.write(4, &[1, 2, 3, 4]);
    assert_eq!(array.to_vec()[3..9], [TEN[3], 1, 2, 3, 4, TEN[8]]);
    array.write(0, &TEN);
    let sum = |array: RawArray<i32>| {
        for index in 1..array.len() {
            array.set(
                index,
                array.get(index).unwrap() + array.get(index - 1).unwrap(),
            );
        }
    };
    start(sum, array.clone()).join().unwrap();
    assert_eq!(array.to_vec(), prefix_sums());
}

/// Memory that is used again is zeroed, small and large.
fn zeroed_again_v04() {
    for len in [10, 100_000] {
        for _ in 0..3 {
            let array = Array::<u64>::new(len).unwrap();
            let raw = RawArray::<u64>::new(len).unwrap();
            assert!(array.lock().unwrap().iter().all(|one| *one == 0));
            assert!(raw.to_vec().iter().all(|one| *one == 0));
            array.lock().unwrap().fill(u64::MAX);
            raw.write(0, &vec![u64::MAX; len]);
        }
    }
}

fn lock_of_an_array_v05() {
    let array = Array::from_slice(&TEN).unwrap();
    let guard = array.lock().unwrap();
    assert!(matches!(array.to_vec(), Err(LockError::Deadlock)));
    let other = start(|array: Array<i32>| array.try_lock().is_err(), array.clone());
    assert!(other.join().unwrap());
    drop(guard);
    assert_eq!(array.to_vec().unwrap(), TEN);
}

#[derive(Debug, Clone, Copy, PartialEq, AnyBitPattern)]
#[repr(C)]
struct Point {
    x: i32,
    y: f64,
}

type Shared = (
    Value<i32>,
    Value<f64>,
    Value<i64>,
    Mutex<Point>,
    Array<f64>,
    Array<u8>,
);

fn double((x, y, z, point, array, text): Shared) {
    *x.lock().unwrap() *= 2;
    *y.lock().unwrap() *= 2.0;
    *z.lock().unwrap() *= 2;
    let mut point = point.lock().unwrap();
    (point.x, point.y) = (point.x * 2, point.y * 2.0);
    array.lock().unwrap().iter_mut().for_each(|one| *one *= 2.0);
    text.lock().unwrap().copy_within(..5, 5);
}

fn shared_types_v06() {
    let ten: Vec<f64> = (0..10).map(f64::from).collect();
    let shared: Shared = (
        Value::new(7).unwrap(),
        Value::new(1.0 / 3.0).unwrap(),
        Value::new(1 << 33).unwrap(),
        Mutex::new(Point { x: 3, y: 2.0 }).unwrap(),
        Array::from_slice(&ten).unwrap(),
        Array::new(20).unwrap(),
    );
    shared.5.lock().unwrap()[..5].copy_from_slice(b"hello");
    start(double, shared.clone()).join().unwrap();
    let (x, y, z, point, array, text) = shared;
    assert_eq!((x.get().unwrap(), z.get().unwrap()), (14, 1 << 34));
    assert!((y.get().unwrap() - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(*point.lock().unwrap(), Point { x: 6, y: 4.0 });
    let doubled: Vec<f64> = ten.iter().map(|one| one * 2.0).collect();
    assert_eq!(array.to_vec().unwrap(), doubled);
    assert_eq!(text.to_vec().unwrap()[..12], *b"hellohello\0\0");
}

/// A copy of the elements is no handle; a handle is no copy.
fn copies_v07() {
    let one = Value::new(Point { x: 7, y: 1.5 }).unwrap();
    let other = Value::new(one.get().unwrap()).unwrap();
    let same = one.clone();
    one.lock().unwrap().x = 0;
    assert_eq!((other.get().unwrap().x, same.get().unwrap().x), (7, 0));
    assert!(one == same && one != other);
    let array = Array::from_slice(&TEN).unwrap();
    let copy = Array::from_slice(&array.to_vec().unwrap()).unwrap();
    array.lock().unwrap()[0] = 0;
    assert_eq!(copy.to_vec().unwrap(), TEN);
}

/// In a block of its own, which many processes write to in turns.
fn large_arrays() {
    let before = heap_units();
    let array = Array::<u64>::new(1 << 20).unwrap();
    assert!(heap_units() >= before + (8 << 20) / (64 << 10));
    let add = |array: Array<u64>| {
        for _ in 0..3 {
            array.lock().unwrap().iter_mut().for_each(|one| *one += 1);
        }
    };
    let others = [0; 3].map(|_| start(add, array.clone()));
    thread::scope(|scope| _ = scope.spawn(|| add(array.clone())));
    for other in others {
        other.join().unwrap();
    }
    assert!(array.lock().unwrap().iter().all(|one| *one == 12));
    drop(array);
    heap_is_back("the array's memory is back", before);
}

fn write_and_hang((array, word): (Array<u64>, u32)) {
    let mut guard = array.lock().unwrap();
    let half = guard.len() / 2;
    guard[..half].fill(1);
    report_and_hang(word);
}

/// What a dead process has written is there, to be repaired.
fn repaired_array() {
    let (array, written) = (Array::<u64>::new(100_000).unwrap(), word());
    let other = start(write_and_hang, (array.clone(), written));
    ledger::wait(written);
    kill(&other);
    let Err(LockError::OwnerDied(mut guard)) = array.lock() else {
        panic!("the holder died");
    };
    assert_eq!(guard.iter().sum::<u64>(), 50_000);
    guard.fill(0);
    guard.mark_consistent();
    drop(guard);
    let sum = start(
        |array: Array<u64>| array.lock().unwrap().iter().sum::<u64>(),
        array.clone(),
    );
    assert_eq!(sum.join().unwrap(), 0);
}

#[derive(Clone, Copy, AnyBitPattern)]
#[repr(C, align(64))]
struct Line([u64; 8]);

#[derive(Clone, Copy, AnyBitPattern)]
#[repr(C, align(4096))]
struct Page([u64; 512]);

fn alignments() {
    let (line, page) = (
        Array::<Line>::new(3).unwrap(),
        Mutex::new(Page([3; 512])).unwrap(),
    );
    line.lock().unwrap()[2] = Line([5; 8]);
    let aligned = |(line, page): (Array<Line>, Mutex<Page>)| {
        let (line, page) = (line.lock().unwrap(), page.lock().unwrap());
        let at = (line.as_ptr().addr() % 64, (&raw const *page).addr() % 4096);
        at == (0, 0) && line[2].0 == [5; 8] && page.0 == [3; 512]
    };
    assert!(aligned((line.clone(), page.clone())));
    assert!(start(aligned, (line, page)).join().unwrap());
}

fn empty_arrays() {
    let (array, raw) = (
        Array::<u32>::new(0).unwrap(),
        RawArray::<u32>::new(0).unwrap(),
    );
    assert!(array.is_empty() && raw.is_empty() && array.lock().unwrap().is_empty());
    let other = start(
        |(array, raw): (Array<u32>, RawArray<u32>)| array.len() + raw.len(),
        (array, raw),
    );
    assert_eq!(other.join().unwrap(), 0);
    let nothing = Array::from_slice(&[0_u64; 0]).unwrap();
    assert_eq!(nothing.to_vec().unwrap(), []);
}
