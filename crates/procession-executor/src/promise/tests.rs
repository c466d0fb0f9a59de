//! One outcome, and who is told of it in which order.

use std::mem::size_of;

use super::Promise;

#[test]
fn is_one_small_allocation() {
    let size = size_of::<Promise<u64>>();
    assert!(size <= 192, "{size} bytes");
}
