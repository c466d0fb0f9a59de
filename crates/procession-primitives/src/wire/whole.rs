//! Postcard, with a short cut for values that are nothing but a number.
//!
//! A pool of processes over numbers encodes and decodes little else, and postcard goes through them
//! byte by byte. What is encoded is the same.

use postcard::Result;
use postcard::de_flavors::Slice;
use postcard::ser_flavors::Flavor as _;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::number::{from_groups, to_groups, unzigzag, zigzag};
use super::{Sink, Target};

/// Encodes `value`.
#[inline]
pub(super) fn to_target<T: Serialize + ?Sized, S: Sink>(
    value: &T,
    target: Target<'_, S>,
) -> Result<()> {
    let mut postcard = postcard::Serializer { output: target };
    value.serialize(Whole(&mut postcard))
}

type Postcard<'s, S> = postcard::Serializer<Target<'s, S>>;

/// Serializes a whole value.
struct Whole<'a, 's, S: Sink>(&'a mut Postcard<'s, S>);

impl<S: Sink> Whole<'_, '_, S> {
    #[inline]
    fn number(self, number: u64) -> Result<()> {
        // Most are small.
        if number < 0x80 {
            return self.0.output.try_push(number as u8);
        }
        match to_groups(number) {
            Some((word, len)) => self.0.output.try_word(word, len),
            None => self.large(number),
        }
    }

    #[cold]
    fn large(self, number: u64) -> Result<()> {
        self.0.serialize_u64(number)
    }
}

/// The methods that leave the value to postcard.
macro_rules! to_postcard {
    ($($name:ident($($argument:ident: $type:ty),*) -> $done:ty;)*) => {
        $(
            #[inline]
            fn $name(self, $($argument: $type),*) -> Result<$done> {
                self.0.$name($($argument),*)
            }
        )*
    };
}

impl<'a, 's, S: Sink> Serializer for Whole<'a, 's, S> {
    type Ok = ();
    type Error = postcard::Error;
    type SerializeSeq = &'a mut Postcard<'s, S>;
    type SerializeTuple = &'a mut Postcard<'s, S>;
    type SerializeTupleStruct = &'a mut Postcard<'s, S>;
    type SerializeTupleVariant = &'a mut Postcard<'s, S>;
    type SerializeMap = &'a mut Postcard<'s, S>;
    type SerializeStruct = &'a mut Postcard<'s, S>;
    type SerializeStructVariant = &'a mut Postcard<'s, S>;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_i16(self, v: i16) -> Result<()> {
        self.number(zigzag(v.into()))
    }

    #[inline]
    fn serialize_i32(self, v: i32) -> Result<()> {
        self.number(zigzag(v.into()))
    }

    #[inline]
    fn serialize_i64(self, v: i64) -> Result<()> {
        self.number(zigzag(v))
    }

    #[inline]
    fn serialize_u16(self, v: u16) -> Result<()> {
        self.number(v.into())
    }

    #[inline]
    fn serialize_u32(self, v: u32) -> Result<()> {
        self.number(v.into())
    }

    #[inline]
    fn serialize_u64(self, v: u64) -> Result<()> {
        self.number(v)
    }

    #[inline]
    fn serialize_f64(self, v: f64) -> Result<()> {
        self.0.output.try_word(v.to_bits(), size_of::<u64>())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    to_postcard! {
        serialize_bool(v: bool) -> ();
        serialize_i8(v: i8) -> ();
        serialize_i128(v: i128) -> ();
        serialize_u8(v: u8) -> ();
        serialize_u128(v: u128) -> ();
        serialize_f32(v: f32) -> ();
        serialize_char(v: char) -> ();
        serialize_str(v: &str) -> ();
        serialize_bytes(v: &[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(name: &'static str) -> ();
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> ();
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

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        self.0.serialize_some(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.0
            .serialize_newtype_variant(name, index, variant, value)
    }

    #[inline]
    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<()> {
        self.0.collect_str(value)
    }
}

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
macro_rules! numbers {
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

    numbers! {
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
