//! Sizes of chunks, for calls that know more and less of their items.

use super::{Chunks, TARGET_NANOS};

/// The sizes of all chunks of a call with `items` items that take `nanos` each, where each chunk is
/// measured before the next one.
fn sizes(mut chunks: Chunks, items: usize, nanos: u64) -> Vec<u32> {
    let (mut left, mut sizes) = (items, Vec::new());
    while left > 0 {
        let size = chunks.next_size(left).min(left as u32);
        chunks.learn(size, u64::from(size) * nanos);
        left -= size as usize;
        sizes.push(size);
    }
    sizes
}

#[test]
fn an_unknown_function_begins_with_one_item() {
    let sizes = sizes(Chunks::new(None, 2, None), 100_000, 100);
    assert_eq!(sizes[..3], [1, 8, 64]);
    let most = sizes.iter().max().copied();
    assert!(
        most.is_some_and(|most| f64::from(most) <= TARGET_NANOS / 100.0),
        "{most:?}"
    );
}

#[test]
fn a_known_function_begins_with_its_share() {
    let sizes = sizes(Chunks::new(None, 2, Some(100.0)), 8_000, 100);
    assert_eq!(sizes[0], 1_000);
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
}

#[test]
fn short_items_stay_together() {
    // A worker's share would be less than it is worth.
    assert_eq!(sizes(Chunks::new(None, 2, Some(10.0)), 1_000, 10), [1_000]);
    assert_eq!(
        sizes(Chunks::new(None, 8, Some(100.0)), 200, 100),
        [100, 100]
    );
}

#[test]
fn long_items_go_one_by_one() {
    for known in [None, Some(1e7)] {
        let sizes = sizes(Chunks::new(None, 2, known), 100, 10_000_000);
        assert_eq!(sizes, [1; 100]);
    }
}

#[test]
fn who_was_wrong_learns_from_the_first_chunk() {
    let mut chunks = Chunks::new(None, 2, Some(10.0));
    let first = chunks.next_size(1_000_000);
    chunks.learn(first, u64::from(first) * 10_000_000);
    assert_eq!(chunks.next_size(1_000_000), 1);
}

#[test]
fn streams_whose_length_is_unknown_begin_with_one_item() {
    assert_eq!(Chunks::new(None, 2, Some(10.0)).next_size(0), 1);
}

#[test]
fn one_large_measurement_outweighs_small_ones() {
    let mut chunks = Chunks::new(None, 2, None);
    for _ in 0..10 {
        chunks.learn(1, 1_000);
    }
    chunks.learn(1_000, 10_000);
    assert!(chunks.measured().is_some_and(|nanos| nanos < 20.0));
}
