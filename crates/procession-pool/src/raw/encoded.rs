//! Encoded items and values.

use procession_primitives::{
    DecodeError, EncodeError, OutOfMemory, Passengers, Sink, boarding, decode, encode,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::TaskError;
use crate::record::{self, HEADER, Records, Tag};

/// Bytes that are kept without an allocation of their own: a number with its header.
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

impl Encoded {
    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`], also where its `Serialize` panics.
    pub fn of<T: Serialize>(value: &T) -> Result<Encoded, EncodeError> {
        let mut encoded = Encoded::default();
        encoded.append(value)?;
        Ok(encoded)
    }

    /// Appends the encoded `value`. On an error nothing is appended.
    #[inline]
    fn append<T: Serialize>(&mut self, value: &T) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        let (done, passengers) = boarding(|| encode(value, &mut Target(&mut self.bytes)));
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
        self.encoded.bytes.extend_from_slice(&[0; HEADER]);
        if let Err(error) = self.encoded.append(item) {
            self.encoded.bytes.truncate(start);
            return Err(error);
        }
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
