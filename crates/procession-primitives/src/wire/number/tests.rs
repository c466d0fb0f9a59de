//! The bytes are postcard's, for all lengths.

use super::{Number, NumberKind, from_groups, to_groups, unzigzag, zigzag};
use crate::wire::{DecodeError, Sink, decode_number, decode_unguarded, encode_unguarded};

/// Numbers around each power of two, and some in between.
fn numbers() -> impl Iterator<Item = u64> {
    let around = (0..64).flat_map(|power| {
        let at = 1_u64 << power;
        [
            at - 1,
            at,
            at + 1,
            at | at >> 3,
            at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (63 - power),
        ]
    });
    around.chain([u64::MAX, u64::MAX - 1])
}

#[test]
fn groups_are_those_of_postcard() {
    for number in numbers() {
        let expected = postcard::to_stdvec(&number).unwrap();
        match to_groups(number) {
            Some((word, len)) => assert_eq!(word.to_le_bytes()[..len], expected, "{number}"),
            None => assert!(expected.len() > 8, "{number}"),
        }
    }
}

#[test]
fn groups_are_read_as_postcard_reads_them() {
    for number in numbers() {
        let bytes = postcard::to_stdvec(&number).unwrap();
        let expected = (bytes.len() <= 8).then_some(number);
        assert_eq!(from_groups(&bytes), expected, "{number}");
    }
}

#[test]
fn what_is_not_one_number_is_not_read() {
    for bytes in [
        &[][..],
        &[0x80],
        &[1, 1],
        &[0x80, 0x80, 0x80],
        &[0x80, 1, 0x80, 1],
        &[0xFF; 8],
        &[0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
    ] {
        assert_eq!(from_groups(bytes), None, "{bytes:?}");
    }
    // Longer than it has to be, which postcard does not mind.
    assert_eq!(from_groups(&[0x81, 0x80, 0]), Some(1));
    assert_eq!(postcard::from_bytes::<u64>(&[0x81, 0x80, 0]), Ok(1));
}

#[test]
fn signs_survive() {
    for number in numbers().map(|number| number as i64) {
        assert_eq!(unzigzag(zigzag(number)), number);
        assert_eq!(
            postcard::to_stdvec(&number),
            postcard::to_stdvec(&zigzag(number))
        );
    }
}

#[test]
fn numbers_are_encoded_as_postcard_does() {
    for number in numbers() {
        let mut bytes = Vec::new();
        Number::new(NumberKind::Unsigned, number)
            .put(&mut bytes)
            .unwrap();
        assert_eq!(bytes, postcard::to_stdvec(&number).unwrap(), "{number}");
    }
}

/// Keeps the last number as it is.
#[derive(Default)]
struct Keeper(Option<Number>, Vec<u8>);

impl Sink for Keeper {
    fn put(&mut self, bytes: &[u8]) -> Result<(), crate::OutOfMemory> {
        self.1.put(bytes)
    }

    fn put_number(&mut self, number: Number) -> Result<(), crate::OutOfMemory> {
        self.0 = Some(number);
        Ok(())
    }
}

/// What is kept of `value`, which is decoded in whatever way.
fn kept<T>(value: T) -> Number
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let mut keeper = Keeper::default();
    encode_unguarded(&value, &mut keeper).unwrap();
    let number = keeper.0.expect("a number");
    let mut bytes = Vec::new();
    number.put(&mut bytes).unwrap();
    assert_eq!(bytes, postcard::to_stdvec(&value).unwrap());
    assert_eq!(decode_unguarded::<T>(&bytes).as_ref(), Ok(&value));
    assert_eq!(decode_number::<T>(number).as_ref(), Ok(&value));
    number
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Metres(f64);

#[test]
fn values_of_all_kinds_are_kept() {
    for number in numbers() {
        kept(number);
        kept(number as i64);
        kept(number as u32);
        kept(number as i32);
        kept(number as u16);
        kept(number as i16);
        kept(number as u8);
        kept(number as i8);
        kept(number as f32);
        kept(number as f64 / 3.0);
        kept(Metres(number as f64));
        kept(number % 2 == 0);
    }
}

#[test]
fn what_is_no_number_is_not_kept() {
    let mut keeper = Keeper::default();
    encode_unguarded(&(1_u8, 2_u8), &mut keeper).unwrap();
    encode_unguarded("text", &mut keeper).unwrap();
    encode_unguarded(&Some(3_u8), &mut keeper).unwrap();
    encode_unguarded(&'c', &mut keeper).unwrap();
    assert_eq!(keeper.0, None);
    assert_eq!(keeper.1, [1, 2, 4, b't', b'e', b'x', b't', 1, 3, 1, b'c']);
}

#[test]
fn another_type_reads_the_bytes() {
    let large = kept(300_u64);
    assert_eq!(decode_number::<u16>(large), Ok(300));
    assert!(matches!(
        decode_number::<u8>(large),
        Err(DecodeError::Failed(_))
    ));
    assert!(matches!(
        decode_number::<f64>(large),
        Err(DecodeError::Failed(_))
    ));
    assert_eq!(decode_number::<i64>(large), Ok(150), "zigzag");
    assert_eq!(decode_number::<Option<u8>>(kept(0_u8)), Ok(None));
    assert_eq!(decode_number::<u32>(kept(7_u8)), Ok(7));
    assert!(matches!(
        decode_number::<bool>(kept(2_u8)),
        Err(DecodeError::Failed(_))
    ));
}

/// Keeps the number of a value, if it is one.
#[derive(Default)]
struct Kept(Option<Number>);

impl Sink for Kept {
    fn put(&mut self, _bytes: &[u8]) -> Result<(), crate::arena::OutOfMemory> {
        Ok(())
    }

    fn put_number(&mut self, number: Number) -> Result<(), crate::arena::OutOfMemory> {
        self.0 = Some(number);
        Ok(())
    }
}

#[test]
fn a_number_is_known_without_a_sink() {
    #[derive(serde::Serialize)]
    struct New<T>(T);
    #[derive(serde::Serialize)]
    enum Either {
        Number(u64),
    }
    macro_rules! check {
        ($($value:expr, $is_number:expr;)*) => {
            $(
                let mut kept = Kept::default();
                encode_unguarded(&$value, &mut kept).unwrap();
                assert_eq!(Number::of(&$value), kept.0, stringify!($value));
                assert_eq!(kept.0.is_some(), $is_number, stringify!($value));
            )*
        };
    }
    check! {
        true, true;
        -7_i8, true;
        -700_i16, true;
        -7_000_000_i32, true;
        i64::MIN, true;
        7_u8, true;
        700_u16, true;
        7_000_000_u32, true;
        u64::MAX, true;
        1.5_f32, true;
        -1.5_f64, true;
        New(New(7_u16)), true;
        7_u128, false;
        'c', false;
        "text", false;
        (), false;
        Some(7_u8), false;
        None::<u8>, false;
        [7_u8], false;
        (7_u8,), false;
        New(Some(7_u8)), false;
        Either::Number(7), false;
    }
}
