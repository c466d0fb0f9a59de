//! Postcard's bytes, but that those which are nothing but a number are read at once.

use postcard::Result;
use postcard::de_flavors::Slice;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::number::{from_groups, unzigzag};

/// Decodes a value, and returns how many bytes come after it.
#[inline]
pub(super) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize)> {
    let mut postcard = postcard::Deserializer::from_bytes(bytes);
    let mut whole = Parts {
        bytes,
        done: false,
        postcard: &mut postcard,
    };
    let value = T::deserialize(&mut whole)?;
    match whole.done {
        true => Ok((value, 0)),
        false => Ok((value, postcard.finalize()?.len())),
    }
}

/// Deserializes a whole value.
struct Parts<'a, 'de> {
    bytes: &'de [u8],
    /// The value was a number that took up all bytes.
    done: bool,
    postcard: &'a mut postcard::Deserializer<'de, Slice<'de>>,
}

impl Parts<'_, '_> {
    /// The number that all bytes are, if it is below `end` and they are at most `most`.
    #[inline]
    fn number(&mut self, most: usize, end: u64) -> Option<u64> {
        if self.bytes.len() > most {
            return None;
        }
        let number = from_groups(self.bytes).filter(|&number| number <= end)?;
        self.done = true;
        Some(number)
    }
}

/// The methods that leave the value to postcard.
macro_rules! from_postcard {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            #[inline]
            fn $name<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value> {
                self.postcard.$name($($argument,)* visitor)
            }
        )*
    };
}

/// The methods for numbers: the most bytes that one takes, and the largest, as if unsigned.
macro_rules! from_groups {
    ($($name:ident, $visit:ident, $type:ty, $most:literal, $largest:expr, $from:expr;)*) => {
        $(
            #[inline]
            fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
                match self.number($most, $largest) {
                    Some(number) => visitor.$visit($from(number) as $type),
                    None => self.postcard.$name(visitor),
                }
            }
        )*
    };
}

impl<'de> Deserializer<'de> for &mut Parts<'_, 'de> {
    type Error = postcard::Error;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    from_groups! {
        deserialize_i16, visit_i16, i16, 3, u16::MAX.into(), unzigzag;
        deserialize_i32, visit_i32, i32, 5, u32::MAX.into(), unzigzag;
        deserialize_i64, visit_i64, i64, 8, u64::MAX, unzigzag;
        deserialize_u16, visit_u16, u16, 3, u16::MAX.into(), u64::from;
        deserialize_u32, visit_u32, u32, 5, u32::MAX.into(), u64::from;
        deserialize_u64, visit_u64, u64, 8, u64::MAX, u64::from;
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    from_postcard! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i128();
        deserialize_u8();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}
