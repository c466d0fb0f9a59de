//! A number that was kept as it is, as the value that it was made from.

use std::cell::Cell;

use postcard::{Error, Result};
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::number::{Number, NumberKind, unzigzag};

/// The value that `number` was made from; `None` if its type reads something else than it has written,
/// which is to be decided by the bytes.
#[inline]
pub(super) fn from_number<T: DeserializeOwned>(number: Number) -> Option<Result<T>> {
    let differs = Cell::new(false);
    let value = T::deserialize(Bare {
        number,
        differs: &differs,
    });
    (value.is_ok() || !differs.get()).then_some(value)
}

struct Bare<'a> {
    number: Number,
    /// The type asked for something else.
    differs: &'a Cell<bool>,
}

impl Bare<'_> {
    #[cold]
    fn differ<T>(&self) -> Result<T> {
        self.differs.set(true);
        Err(Error::WontImplement)
    }
}

/// The methods for numbers: the kind that each takes, the largest, as if unsigned, and the value.
macro_rules! numbers {
    ($($name:ident, $visit:ident, $kind:ident, $largest:expr, $bits:ident => $value:expr;)*) => {
        $(
            #[inline]
            fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
                let $bits = self.number.bits();
                if self.number.kind() != NumberKind::$kind || $bits > $largest {
                    return self.differ();
                }
                visitor.$visit($value)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Bare<'_> {
    type Error = Error;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    numbers! {
        deserialize_bool, visit_bool, Byte, 1, bits => bits == 1;
        deserialize_i8, visit_i8, Byte, u8::MAX.into(), bits => bits as i8;
        deserialize_u8, visit_u8, Byte, u8::MAX.into(), bits => bits as u8;
        deserialize_i16, visit_i16, Signed, u16::MAX.into(), bits => unzigzag(bits) as i16;
        deserialize_i32, visit_i32, Signed, u32::MAX.into(), bits => unzigzag(bits) as i32;
        deserialize_i64, visit_i64, Signed, u64::MAX, bits => unzigzag(bits);
        deserialize_u16, visit_u16, Unsigned, u16::MAX.into(), bits => bits as u16;
        deserialize_u32, visit_u32, Unsigned, u32::MAX.into(), bits => bits as u32;
        deserialize_u64, visit_u64, Unsigned, u64::MAX, bits => bits;
        deserialize_f32, visit_f32, Single, u32::MAX.into(), bits => f32::from_bits(bits as u32);
        deserialize_f64, visit_f64, Double, u64::MAX, bits => f64::from_bits(bits);
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        self.differ()
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map
        struct enum identifier ignored_any
    }
}
