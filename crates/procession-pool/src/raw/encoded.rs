//! Encoded items and values.

use procession_primitives::{
    DecodeError, EncodeError, Number, OutOfMemory, Passengers, Sink, boarding, copy_short, decode,
    encode, place_for_word,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::TaskError;
use crate::record::{self, HEADER, Records, Tag};

/// Bytes that are kept without an allocation of their own: a number, of ten bytes at most, with its
/// header.
const INLINE: usize = 24;

/// Encoded bytes, and what the handles among them stand for.
#[derive(Debug, Default)]
pub struct Encoded {
    bytes: SmallVec<[u8; INLINE]>,
    /// As a rule there are none.
    passengers: Option<Box<Passengers>>,
}

struct Target<'a>(&'a mut SmallVec<[u8; INLINE]>);

impl Sink for Target<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Takes an item behind room for its header.
struct Record<'a>(&'a mut SmallVec<[u8; INLINE]>);

impl Sink for Record<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn begin(&mut self) -> Result<(), OutOfMemory> {
        self.put(&[0; HEADER])
    }

    /// All at once: it is no more than a few bytes.
    #[inline]
    fn put_number(&mut self, number: Number) -> Result<(), OutOfMemory> {
        let mut short = Short {
            bytes: [0; INLINE],
            len: HEADER,
        };
        number.put(&mut short)?;
        if self.0.is_empty() {
            *self.0 = SmallVec::from_buf_and_len(short.bytes, short.len);
        } else {
            self.0.extend_from_slice(&short.bytes[..short.len]);
        }
        Ok(())
    }
}

/// A few bytes.
struct Short {
    bytes: [u8; INLINE],
    len: usize,
}

impl Sink for Short {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let end = self.len + bytes.len();
        let place = self.bytes.get_mut(self.len..end);
        copy_short(place.ok_or(OutOfMemory::new(bytes.len()))?, bytes);
        self.len = end;
        Ok(())
    }

    #[inline]
    fn put_word(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        let place = place_for_word(&mut self.bytes, self.len).filter(|_| len <= size_of::<u64>());
        *place.ok_or(OutOfMemory::new(len))? = word.to_le_bytes();
        self.len += len;
        Ok(())
    }
}

impl Encoded {
    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`], also where its `Serialize` panics.
    pub fn of<T: Serialize>(value: &T) -> Result<Encoded, EncodeError> {
        let mut encoded = Encoded::default();
        encoded.append(|bytes| encode(value, &mut Target(bytes)))?;
        Ok(encoded)
    }

    /// Appends what `encode` does. On an error nothing is appended.
    #[inline]
    fn append(
        &mut self,
        encode: impl FnOnce(&mut SmallVec<[u8; INLINE]>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        let (done, passengers) = boarding(|| encode(&mut self.bytes));
        if done.is_err() {
            self.bytes.truncate(start);
        } else if !passengers.is_empty() {
            self.carry(passengers);
        }
        done
    }

    #[cold]
    fn carry(&mut self, passengers: Passengers) {
        self.passengers.get_or_insert_default().extend(passengers);
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], also where its `Deserialize` panics.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode(&self.bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there are handles of shared objects among the bytes: these mean nothing outside of
    /// this family of processes.
    #[must_use]
    pub fn has_handles(&self) -> bool {
        self.passengers.is_some()
    }

    pub(crate) fn passengers(&self) -> Option<&Passengers> {
        self.passengers.as_deref()
    }
}

/// The encoded items of a task.
#[derive(Debug, Default)]
pub struct Items {
    count: u32,
    encoded: Encoded,
}

impl Items {
    /// None.
    #[must_use]
    pub fn new() -> Items {
        Items::default()
    }

    /// Appends an item.
    ///
    /// # Errors
    ///
    /// [`EncodeError`], also where its `Serialize` panics: nothing is appended.
    #[inline]
    pub fn push<T: Serialize>(&mut self, item: &T) -> Result<(), EncodeError> {
        let start = self.encoded.bytes.len();
        let append = |bytes: &mut _| encode(item, &mut Record(bytes));
        self.encoded.append(append)?;
        let bytes = &mut self.encoded.bytes;
        let header = record::header(Tag::Value, bytes.len() - start - HEADER);
        bytes[start..start + HEADER].copy_from_slice(&header);
        self.count += 1;
        Ok(())
    }

    /// What [`bytes`](Self::bytes) of others gave, in whatever process.
    ///
    /// # Errors
    ///
    /// [`TaskError::Protocol`]: these are not the bytes of items.
    pub fn from_bytes(bytes: &[u8]) -> Result<Items, TaskError> {
        let mut records = Records(bytes);
        let mut count = 0;
        while let Some((Tag::Value, _)) = records.next() {
            count += 1;
        }
        if !records.0.is_empty() {
            return Err(TaskError::Protocol);
        }
        let mut encoded = Encoded::default();
        encoded.bytes.extend_from_slice(bytes);
        Ok(Items { count, encoded })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes of all of them, for [`from_bytes`](Self::from_bytes).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.encoded.bytes()
    }

    /// As [`Encoded::has_handles`].
    #[must_use]
    pub fn has_handles(&self) -> bool {
        self.encoded.has_handles()
    }

    /// The bytes of each of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        Records(self.bytes()).map(|(_, bytes)| bytes)
    }

    pub(crate) fn passengers(&self) -> Option<&Passengers> {
        self.encoded.passengers()
    }
}
