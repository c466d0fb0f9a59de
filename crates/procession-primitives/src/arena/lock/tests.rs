//! Tests of the arena's lock.

use super::RawLock;
use crate::family::Family;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn a_vain_attempt_lets_go_of_nothing() {
    let family = Family::current().unwrap();
    let lock = RawLock(AtomicU32::new(0));
    let held = lock.acquire(family);
    assert!(lock.try_acquire(family).is_none());
    assert_ne!(lock.0.load(Ordering::Relaxed), 0);
    drop(held);
    assert!(lock.try_acquire(family).is_some());
    assert_eq!(lock.0.load(Ordering::Relaxed), 0);
}
