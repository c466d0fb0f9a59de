//! Why a value does not serialise, in its own words.
//!
//! postcard drops the text of `Error::custom`. A value that failed is serialised once more, to
//! nowhere, with an error type that keeps it.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

/// The text of the error that `value` serialises to, if it does so again.
pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    value.serialize(Nowhere).err().map(|reason| reason.0)
}

/// The text of an error.
#[derive(Debug)]
pub(crate) struct Reason(String);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Reason {}

impl ser::Error for Reason {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Reason(text.to_string())
    }
}

/// A serialiser that keeps nothing.
struct Nowhere;

type Done = Result<(), Reason>;

/// Methods that take a plain value and drop it.
macro_rules! drop_values {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method(self, _: $type) -> Done {
            Ok(())
        })*
    };
}

impl Serializer for Nowhere {
    type Ok = ();
    type Error = Reason;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    drop_values! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    fn serialize_none(self) -> Done {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(Nowhere)
    }

    fn serialize_unit(self) -> Done {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Done {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(Nowhere)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        value.serialize(Nowhere)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Reason> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Reason> {
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Compound values: each part is serialised to nowhere.
macro_rules! drop_parts {
    ($($part:ident: $method:ident($($name:ident: $type:ty)?),)*) => {
        $(impl ser::$part for Nowhere {
            type Ok = ();
            type Error = Reason;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: $type,)? value: &T) -> Done {
                $(let _ = $name;)?
                value.serialize(Nowhere)
            }

            fn end(self) -> Done {
                Ok(())
            }
        })*
    };
}

drop_parts! {
    SerializeSeq: serialize_element(),
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(name: &'static str),
    SerializeStructVariant: serialize_field(name: &'static str),
}

impl ser::SerializeMap for Nowhere {
    type Ok = ();
    type Error = Reason;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        key.serialize(Nowhere)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(Nowhere)
    }

    fn end(self) -> Done {
        Ok(())
    }
}
