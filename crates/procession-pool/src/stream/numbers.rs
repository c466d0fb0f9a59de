//! Items that are numbers, put side by side.

use procession_primitives::{Number, NumberKind};
use serde::Serialize;

use crate::entry::NUMBER;

/// Why there is no item to be encoded by itself.
pub(super) enum Stop {
    /// There is no place for another number.
    Full,
    /// The iterator has no more.
    End,
}

/// Puts items into `places`, as long as they are numbers of this kind. Else returns the first one
/// that is not: its `Serialize` has begun then, and begins again.
///
/// `taken` counts the items that the iterator has given, `filled` the places that are filled: also
/// those before a panic.
#[inline]
pub(super) fn numbers<A: Serialize>(
    items: &mut impl Iterator<Item = A>,
    kind: NumberKind,
    places: &mut [[u8; NUMBER]],
    taken: &mut u64,
    filled: &mut usize,
) -> Result<A, Stop> {
    for place in places {
        let item = items.next().ok_or(Stop::End)?;
        *taken += 1;
        match Number::of(&item) {
            Some(number) if number.kind() == kind => *place = number.bits().to_le_bytes(),
            _ => return Ok(item),
        }
        *filled += 1;
    }
    Err(Stop::Full)
}
