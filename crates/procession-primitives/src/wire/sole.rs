//! Values that are a number, and nothing else.

use std::fmt;

use serde::ser::{self, Impossible};
use serde::{Serialize, Serializer};

use super::number::{Number, NumberKind, for_each_number, for_each_other, zigzag};

/// Makes a [`Number`] of a value; refuses all others.
pub(super) struct Sole;

/// The value is no number.
#[derive(Debug)]
pub(super) struct Other;

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no number")
    }
}

impl std::error::Error for Other {}

impl ser::Error for Other {
    fn custom<T: fmt::Display>(_reason: T) -> Other {
        Other
    }
}

/// The methods for numbers: the kind of each, and its bits.
macro_rules! to_number {
    ($($name:ident($v:ident: $type:ty), $kind:ident, $bits:expr;)*) => {
        $(
            #[inline]
            fn $name(self, $v: $type) -> Result<Number, Other> {
                Ok(Number::new(NumberKind::$kind, $bits))
            }
        )*
    };
}

/// The methods for everything else.
macro_rules! refuse {
    ($($name:ident($($argument:ident: $type:ty),*) -> $done:ty;)*) => {
        $(
            #[inline]
            fn $name(self, $($argument: $type),*) -> Result<$done, Other> {
                $(let _ = $argument;)*
                Err(Other)
            }
        )*
    };
}

impl Serializer for Sole {
    type Ok = Number;
    type Error = Other;
    type SerializeSeq = Impossible<Number, Other>;
    type SerializeTuple = Impossible<Number, Other>;
    type SerializeTupleStruct = Impossible<Number, Other>;
    type SerializeTupleVariant = Impossible<Number, Other>;
    type SerializeMap = Impossible<Number, Other>;
    type SerializeStruct = Impossible<Number, Other>;
    type SerializeStructVariant = Impossible<Number, Other>;

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
    ) -> Result<Number, Other> {
        value.serialize(self)
    }

    for_each_other!(refuse);

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, _value: &T) -> Result<Number, Other> {
        Err(Other)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Number, Other> {
        Err(Other)
    }

    #[inline]
    fn collect_str<T: fmt::Display + ?Sized>(self, _value: &T) -> Result<Number, Other> {
        Err(Other)
    }
}
