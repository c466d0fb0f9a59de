//! How large chunks become.

use std::time::Duration;

use super::{GROWTH, MOST, Sizes};

const NO_LIMIT: usize = usize::MAX;

#[test]
fn grows_step_by_step_to_a_millisecond_and_shrinks_at_once() {
    let mut sizes = Sizes::new(None, Duration::ZERO);
    assert_eq!(sizes.next(NO_LIMIT), 1);
    sizes.note(1, Duration::from_micros(1));
    assert_eq!(sizes.next(NO_LIMIT), GROWTH);
    // Small ones that come late change nothing.
    sizes.note(1, Duration::from_micros(1));
    assert_eq!(sizes.next(NO_LIMIT), GROWTH);
    for items in [8, 64, 512, 1000] {
        sizes.note(items, Duration::from_micros(items as u64));
    }
    assert_eq!(sizes.next(NO_LIMIT), 1000);
    assert_eq!(sizes.next(20), 20);
    sizes.note(1, Duration::from_secs(1));
    assert_eq!(sizes.next(NO_LIMIT), 1);
}

#[test]
fn a_costly_way_makes_large_chunks() {
    let mut sizes = Sizes::new(None, Duration::from_millis(1));
    for _ in 0..100 {
        let items = sizes.next(NO_LIMIT);
        sizes.note(items, Duration::from_micros(items as u64));
    }
    assert_eq!(sizes.next(NO_LIMIT), 50_000);
}

#[test]
fn has_bounds() {
    let mut sizes = Sizes::new(None, Duration::from_secs(1));
    sizes.note(0, Duration::ZERO);
    assert_eq!(sizes.next(0), 1);
    for _ in 0..100 {
        sizes.note(sizes.next(NO_LIMIT), Duration::ZERO);
    }
    assert_eq!(sizes.next(NO_LIMIT), MOST);
}

#[test]
fn a_chosen_size_stays() {
    let mut sizes = Sizes::new(Some(0), Duration::ZERO);
    assert!(sizes.is_fixed());
    sizes.note(1, Duration::ZERO);
    assert_eq!(sizes.next(NO_LIMIT), 1);
    assert_eq!(Sizes::new(Some(7), Duration::ZERO).next(3), 7);
}
