//! How items and outcomes follow each other in a task's input and output.
//!
//! Each is a header of eight bytes, then as many bytes as it tells: length in the upper 56 bits,
//! kind in the lower 8.

/// Bytes of a header.
pub(crate) const HEADER: usize = 8;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// An encoded item, or the encoded value of its function.
    Value,
    /// An encoded `Panic`.
    Panicked,
    /// An encoded `DecodeError`: the worker could not decode the item.
    ItemDecode,
    /// Text: the value could not be encoded.
    ValueEncode,
    /// Text: the worker does not have the function.
    Function,
    /// An encoded `Death`.
    Died,
    /// Microseconds after which the item was ended.
    TimedOut,
    /// Nothing: the item was not wanted any more.
    Cancelled,
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Tag> {
        Some(match byte {
            0 => Tag::Value,
            1 => Tag::Panicked,
            2 => Tag::ItemDecode,
            3 => Tag::ValueEncode,
            4 => Tag::Function,
            5 => Tag::Died,
            6 => Tag::TimedOut,
            7 => Tag::Cancelled,
            _ => return None,
        })
    }
}

/// The header of a record with `len` bytes.
#[inline]
pub(crate) fn header(tag: Tag, len: usize) -> [u8; HEADER] {
    ((len as u64) << 8 | tag as u64).to_le_bytes()
}

/// Reads records one by one. Ends early where the bytes are not whole records.
#[derive(Debug, Clone)]
pub(crate) struct Records<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = (Tag, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = self.0.split_first_chunk::<HEADER>()?;
        let word = u64::from_le_bytes(*header);
        let len = usize::try_from(word >> 8).ok()?;
        let tag = Tag::from_byte(word as u8)?;
        let (bytes, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, bytes))
    }
}
