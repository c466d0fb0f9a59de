//! Postcard, but that values which are nothing but a number are told apart.
//!
//! A pool of processes over numbers encodes and decodes little else, and postcard goes through them
//! byte by byte. What is encoded is the same, unless whoever takes the bytes keeps the number as it is.

use postcard::Result;
use serde::{Serialize, Serializer};

use super::number::{Number, NumberKind, for_each_number, for_each_other, zigzag};
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
    fn number(self, kind: NumberKind, bits: u64) -> Result<()> {
        let target = &mut self.0.output;
        match target.sink.put_number(Number::new(kind, bits)) {
            Ok(()) => Ok(()),
            Err(error) => Err(target.refuse(error)),
        }
    }

    /// To be called before anything that is not a number.
    #[inline]
    fn begin(&mut self) -> Result<()> {
        let target = &mut self.0.output;
        match target.sink.begin() {
            Ok(()) => Ok(()),
            Err(error) => Err(target.refuse(error)),
        }
    }
}

/// The methods for numbers: the kind of each, and its bits.
macro_rules! to_number {
    ($($name:ident($v:ident: $type:ty), $kind:ident, $bits:expr;)*) => {
        $(
            #[inline]
            fn $name(self, $v: $type) -> Result<()> {
                self.number(NumberKind::$kind, $bits)
            }
        )*
    };
}

/// The methods that leave the value to postcard.
macro_rules! to_postcard {
    ($($name:ident($($argument:ident: $type:ty),*) -> $done:ty;)*) => {
        $(
            #[inline]
            fn $name(mut self, $($argument: $type),*) -> Result<$done> {
                self.begin()?;
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

    for_each_number!(to_number);

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    for_each_other!(to_postcard);

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<()> {
        self.begin()?;
        self.0.serialize_some(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.begin()?;
        self.0
            .serialize_newtype_variant(name, index, variant, value)
    }

    #[inline]
    fn collect_str<T: std::fmt::Display + ?Sized>(mut self, value: &T) -> Result<()> {
        self.begin()?;
        self.0.collect_str(value)
    }
}
