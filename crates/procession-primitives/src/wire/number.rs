//! Numbers that are a whole message: encoded and decoded at once instead of byte by byte.
//!
//! The bytes are postcard's: groups of seven bits, the lowest first, each in a byte whose highest
//! bit says whether another one follows. Signed numbers are first made unsigned by zigzag.

#[cfg(test)]
mod tests;

/// The highest bit of each byte: another group follows.
const MORE: u64 = 0x8080_8080_8080_8080;
/// Numbers below have eight groups at most.
const EIGHT_GROUPS: u64 = 1 << 56;

/// The encoded `number`, in the first so many bytes of a word in little-endian order; `None` if it
/// takes more than eight.
#[inline]
pub(super) fn to_groups(number: u64) -> Option<(u64, usize)> {
    if number >= EIGHT_GROUPS {
        return None;
    }
    let bits = 64 - (number | 1).leading_zeros();
    // A seventh, rounded up.
    let len = ((bits * 9 + 64) >> 6) as usize;
    // Halves, then quarters, then single groups move apart.
    let spread = (number & 0x0FFF_FFFF) | (number & (0x0FFF_FFFF << 28)) << 4;
    let spread = (spread & 0x0000_3FFF_0000_3FFF) | (spread & 0x0FFF_C000_0FFF_C000) << 2;
    let spread = (spread & 0x007F_007F_007F_007F) | (spread & 0x3F80_3F80_3F80_3F80) << 1;
    let others = (1 << (8 * (len - 1))) - 1;
    Some((spread | (MORE & others), len))
}

/// The number that takes up all of `bytes`; `None` if it takes more than eight, or they are not
/// one number.
#[inline]
pub(super) fn from_groups(bytes: &[u8]) -> Option<u64> {
    // Most are small.
    if let [byte @ ..0x80] = *bytes {
        return Some(byte.into());
    }
    let word = read(bytes)?;
    let others = (1 << (8 * (bytes.len() - 1))) - 1;
    if word & MORE != MORE & others {
        return None;
    }
    let packed = word & !MORE;
    let packed = (packed & 0x007F_007F_007F_007F) | (packed & 0x7F00_7F00_7F00_7F00) >> 1;
    let packed = (packed & 0x0000_3FFF_0000_3FFF) | (packed & 0x3FFF_0000_3FFF_0000) >> 2;
    Some((packed & 0x0FFF_FFFF) | (packed >> 32) << 28)
}

/// One to eight bytes as a word in little-endian order.
#[inline]
fn read(bytes: &[u8]) -> Option<u64> {
    match *bytes {
        [a] => Some(a.into()),
        [a, b] => Some(u64::from(u16::from_le_bytes([a, b]))),
        [a, b, c] => Some(u64::from(u32::from_le_bytes([a, b, c, 0]))),
        // The first and the last four, which may have some in common.
        [a, b, c, d, ..] if bytes.len() <= 8 => {
            let low = u64::from(u32::from_le_bytes([a, b, c, d]));
            let last = u32::from_le_bytes(*bytes.last_chunk::<4>()?);
            Some(low | u64::from(last) << (8 * (bytes.len() - 4)))
        }
        _ => None,
    }
}

/// As postcard makes `number` unsigned: small absolute values stay small.
#[inline]
pub(super) fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
