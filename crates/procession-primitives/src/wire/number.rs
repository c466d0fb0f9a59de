//! Numbers that are a whole value: encoded and decoded at once instead of byte by byte, or kept as they
//! are by who can.
//!
//! The bytes are postcard's: groups of seven bits, the lowest first, each in a byte whose highest
//! bit says whether another one follows. Signed numbers are first made unsigned by zigzag.

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::Sink;
use super::sole::Sole;
use crate::arena::OutOfMemory;

/// Hands `$methods` a serializer's methods for numbers: the name, the argument, its kind and its bits.
macro_rules! for_each_number {
    ($methods:ident) => {
        $methods! {
            serialize_bool(v: bool), Byte, v.into();
            serialize_i8(v: i8), Byte, (v as u8).into();
            serialize_i16(v: i16), Signed, zigzag(v.into());
            serialize_i32(v: i32), Signed, zigzag(v.into());
            serialize_i64(v: i64), Signed, zigzag(v);
            serialize_u8(v: u8), Byte, v.into();
            serialize_u16(v: u16), Unsigned, v.into();
            serialize_u32(v: u32), Unsigned, v.into();
            serialize_u64(v: u64), Unsigned, v;
            serialize_f32(v: f32), Single, v.to_bits().into();
            serialize_f64(v: f64), Double, v.to_bits();
        }
    };
}
pub(super) use for_each_number;

/// Hands `$methods` those for everything else, but for the generic ones: the name, the arguments, and
/// what it returns.
macro_rules! for_each_other {
    ($methods:ident) => {
        $methods! {
            serialize_i128(v: i128) -> Self::Ok;
            serialize_u128(v: u128) -> Self::Ok;
            serialize_char(v: char) -> Self::Ok;
            serialize_str(v: &str) -> Self::Ok;
            serialize_bytes(v: &[u8]) -> Self::Ok;
            serialize_none() -> Self::Ok;
            serialize_unit() -> Self::Ok;
            serialize_unit_struct(name: &'static str) -> Self::Ok;
            serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> Self::Ok;
            serialize_seq(len: Option<usize>) -> Self::SerializeSeq;
            serialize_tuple(len: usize) -> Self::SerializeTuple;
            serialize_tuple_struct(name: &'static str, len: usize) -> Self::SerializeTupleStruct;
            serialize_tuple_variant(
                name: &'static str, index: u32, variant: &'static str, len: usize
            ) -> Self::SerializeTupleVariant;
            serialize_map(len: Option<usize>) -> Self::SerializeMap;
            serialize_struct(name: &'static str, len: usize) -> Self::SerializeStruct;
            serialize_struct_variant(
                name: &'static str, index: u32, variant: &'static str, len: usize
            ) -> Self::SerializeStructVariant;
        }
    };
}
pub(super) use for_each_other;

/// A value that is encoded as a single number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    kind: NumberKind,
    bits: u64,
}

/// How a number is encoded where it is not kept as it is.
// As wide as the bits beside it: a byte that is written and then read as a part of a word makes the
// processor wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum NumberKind {
    /// As one byte: `u8`, `i8`, `bool`.
    Byte,
    /// In groups of bits: unsigned integers.
    Unsigned,
    /// The same after zigzag, which the bits have gone through: signed integers.
    Signed,
    /// As four bytes: `f32`.
    Single,
    /// As eight bytes: `f64`.
    Double,
}

impl NumberKind {
    /// The kind that is this when it is cast to an integer.
    #[must_use]
    #[inline]
    pub fn from_byte(byte: u8) -> Option<NumberKind> {
        Some(match byte {
            0 => Self::Byte,
            1 => Self::Unsigned,
            2 => Self::Signed,
            3 => Self::Single,
            4 => Self::Double,
            _ => return None,
        })
    }
}

impl Number {
    /// A number as [`kind`](Self::kind) and [`bits`](Self::bits) gave it.
    #[must_use]
    #[inline]
    pub fn new(kind: NumberKind, bits: u64) -> Number {
        Number { kind, bits }
    }

    /// How it is encoded.
    #[must_use]
    #[inline]
    pub fn kind(self) -> NumberKind {
        self.kind
    }

    /// What is encoded.
    #[must_use]
    #[inline]
    pub fn bits(self) -> u64 {
        self.bits
    }

    /// The number that `value` is encoded as; `None` if it is anything else, or cannot be encoded.
    ///
    /// For a type that is always a number, or never, the compiler sees that: nothing is left to be done.
    ///
    /// # Panics
    ///
    /// If the `Serialize` of `value` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession_primitives::{Number, NumberKind};
    ///
    /// assert_eq!(Number::of(&7_u16), Some(Number::new(NumberKind::Unsigned, 7)));
    /// assert_eq!(Number::of("7"), None);
    /// ```
    #[must_use]
    #[inline]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Option<Number> {
        value.serialize(Sole).ok()
    }

    /// Appends the encoded number to `sink`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]: there is no room for it.
    #[inline]
    pub fn put<S: Sink + ?Sized>(self, sink: &mut S) -> Result<(), OutOfMemory> {
        match self.kind {
            NumberKind::Byte => sink.put_byte(self.bits as u8),
            NumberKind::Single => sink.put_word(self.bits, size_of::<u32>()),
            NumberKind::Double => sink.put_word(self.bits, size_of::<u64>()),
            // Most are small.
            _ if self.bits < 0x80 => sink.put_byte(self.bits as u8),
            _ => match to_groups(self.bits) {
                Some((word, len)) => sink.put_word(word, len),
                None => put_large(self.bits, sink),
            },
        }
    }
}

/// A number of nine groups or ten.
#[cold]
fn put_large<S: Sink + ?Sized>(bits: u64, sink: &mut S) -> Result<(), OutOfMemory> {
    // Eight groups that others follow.
    let (word, _) = to_groups(bits & (EIGHT_GROUPS - 1) | EIGHT_GROUPS >> 1).unwrap_or_default();
    let eighth = (bits >> 49 & 0x7F) << 56;
    let word = word & (u64::MAX >> 8) | eighth | MORE;
    sink.put_word(word, size_of::<u64>())?;
    match bits >> 56 {
        ninth @ ..0x80 => sink.put_byte(ninth as u8),
        ninth => sink.put(&[ninth as u8 | 0x80, (ninth >> 7) as u8]),
    }
}

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
