//! The bytes are postcard's, for all lengths.

use super::{from_groups, to_groups, unzigzag, zigzag};

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
