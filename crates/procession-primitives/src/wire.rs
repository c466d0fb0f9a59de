//! What crosses a process border: any serde type, as postcard bytes, and descriptors beside them.

mod bare;
mod number;
mod parts;
mod sole;
mod whole;

pub use number::{Number, NumberKind};

use std::cell::RefCell;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use postcard::ser_flavors::Flavor;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{OutOfMemory, Writer};
use crate::panic::{Panic, catch};
use crate::reason;

/// A value could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// Its `Serialize` returned an error.
    Failed(String),
    /// Its `Serialize` panicked.
    Panicked(Box<Panic>),
    /// There is no shared memory for the encoded bytes.
    OutOfMemory(OutOfMemory),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "cannot be encoded: {why}"),
            Self::Panicked(panic) => write!(f, "encoding {panic}"),
            Self::OutOfMemory(error) => write!(f, "cannot be encoded: {error}"),
        }
    }
}

impl std::error::Error for EncodeError {}

impl From<OutOfMemory> for EncodeError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

/// Bytes could not be decoded into the expected type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DecodeError {
    /// Its `Deserialize` returned an error, or the bytes were not of this type. The text is
    /// postcard's, which does not keep that of `serde::de::Error::custom`.
    Failed(String),
    /// Its `Deserialize` panicked.
    Panicked(Box<Panic>),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "cannot be decoded: {why}"),
            Self::Panicked(panic) => write!(f, "decoding {panic}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Where encoded bytes go.
pub trait Sink {
    /// Appends `bytes`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]: there is no room for them.
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory>;

    /// Appends one byte.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        self.put(&[byte])
    }

    /// Appends the `len` lowest bytes of `word`, the lowest first. Where there is room for the others,
    /// they may be written behind those, to be written over.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// # Panics
    ///
    /// If `len` is more than 8.
    #[inline]
    fn put_word(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        self.put(&word.to_le_bytes()[..len])
    }

    /// Says that the bytes of a value follow. Called once for each value that is not a number.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    #[inline]
    fn begin(&mut self) -> Result<(), OutOfMemory> {
        Ok(())
    }

    /// Appends a value that is nothing but `number`: its bytes, unless the sink keeps numbers in
    /// another way.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    #[inline]
    fn put_number(&mut self, number: Number) -> Result<(), OutOfMemory> {
        number.put(self)
    }
}

impl Sink for Writer {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.extend(bytes)
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        self.push(byte)
    }

    #[inline]
    fn put_word(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        self.extend_word(word, len)
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let full = |_| OutOfMemory::new(bytes.len());
        self.try_reserve(bytes.len()).map_err(full)?;
        self.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        if self.len() == self.capacity() {
            return self.put(&[byte]);
        }
        self.push(byte);
        Ok(())
    }
}

struct Target<'a, S> {
    sink: &'a mut S,
    full: &'a mut Option<OutOfMemory>,
}

impl<S> Target<'_, S> {
    #[cold]
    fn refuse(&mut self, error: OutOfMemory) -> postcard::Error {
        *self.full = Some(error);
        postcard::Error::SerializeBufferFull
    }
}

impl<S: Sink> Flavor for Target<'_, S> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        match self.sink.put(data) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refuse(error)),
        }
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.sink.put_byte(byte) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refuse(error)),
        }
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends the encoded `value` to `sink`. Panics in its `Serialize` come back as errors.
///
/// # Errors
///
/// [`EncodeError`]; the sink may then hold a part of the value.
pub fn encode<T: Serialize + ?Sized, S: Sink>(value: &T, sink: &mut S) -> Result<(), EncodeError> {
    match catch(|| encode_unguarded(value, sink)) {
        Ok(done) => done,
        Err(panic) => Err(EncodeError::Panicked(panic)),
    }
}

/// As [`encode`], without minding panics: for a caller that does.
///
/// # Errors
///
/// As [`encode`].
///
/// # Panics
///
/// If the `Serialize` of `value` does.
#[inline]
pub fn encode_unguarded<T: Serialize + ?Sized, S: Sink>(
    value: &T,
    sink: &mut S,
) -> Result<(), EncodeError> {
    let mut full = None;
    let flavor = Target {
        sink,
        full: &mut full,
    };
    match whole::to_target(value, flavor) {
        Ok(()) => Ok(()),
        Err(error) => Err(match full {
            Some(full) => full.into(),
            None => EncodeError::Failed(why_not(value, &error)),
        }),
    }
}

#[cold]
fn why_not<T: Serialize + ?Sized>(value: &T, error: &postcard::Error) -> String {
    let own = matches!(error, postcard::Error::SerdeSerCustom).then(|| reason::of(value));
    own.flatten().unwrap_or_else(|| error.to_string())
}

/// Decodes a value that takes up all of `bytes`. Panics in its `Deserialize` come back as errors.
///
/// # Errors
///
/// [`DecodeError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match catch(|| decode_unguarded(bytes)) {
        Ok(done) => done,
        Err(panic) => Err(DecodeError::Panicked(panic)),
    }
}

/// As [`decode`], without minding panics: for a caller that does.
///
/// # Errors
///
/// As [`decode`].
///
/// # Panics
///
/// If the `Deserialize` of `T` does.
#[inline]
pub fn decode_unguarded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match parts::from_bytes(bytes) {
        Ok((value, 0)) => Ok(value),
        Ok((_, rest)) => Err(too_many(rest)),
        Err(error) => Err(failed(&error)),
    }
}

/// The value that a sink was given as `number`, without minding panics: for a caller that does.
///
/// # Errors
///
/// As [`decode`].
///
/// # Panics
///
/// If the `Deserialize` of `T` does.
///
/// # Examples
///
/// ```
/// use procession_primitives::{Number, NumberKind, decode_number};
///
/// let number = Number::new(NumberKind::Unsigned, 300);
/// assert_eq!(decode_number::<u16>(number), Ok(300));
/// assert!(decode_number::<u8>(number).is_err());
/// ```
#[inline]
pub fn decode_number<T: DeserializeOwned>(number: Number) -> Result<T, DecodeError> {
    match bare::from_number(number) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(failed(&error)),
        None => decode_encoded(number),
    }
}

#[cold]
fn decode_encoded<T: DeserializeOwned>(number: Number) -> Result<T, DecodeError> {
    let mut bytes = Vec::new();
    let put = number.put(&mut bytes);
    put.map_err(|error| DecodeError::Failed(error.to_string()))?;
    decode_unguarded(&bytes)
}

#[cold]
fn too_many(rest: usize) -> DecodeError {
    DecodeError::Failed(format!("{rest} bytes too many"))
}

#[cold]
fn failed(error: &postcard::Error) -> DecodeError {
    DecodeError::Failed(error.to_string())
}

thread_local! {
    static OUTGOING: RefCell<Option<Vec<OwnedFd>>> = const { RefCell::new(None) };
    static INCOMING: RefCell<Vec<Option<OwnedFd>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with a place for descriptors that it serialises, and returns them.
pub(crate) fn collect_descriptors<T>(body: impl FnOnce() -> T) -> (T, Vec<OwnedFd>) {
    let before = OUTGOING.replace(Some(Vec::new()));
    let result = body();
    let collected = OUTGOING.replace(before);
    (result, collected.unwrap_or_default())
}

/// Runs `body` with `descriptors` to be taken by what it deserialises. Closes what is left.
pub(crate) fn offer_descriptors<T>(descriptors: Vec<OwnedFd>, body: impl FnOnce() -> T) -> T {
    INCOMING.set(descriptors.into_iter().map(Some).collect());
    let result = body();
    INCOMING.set(Vec::new());
    result
}

/// Lets an open file, socket or other descriptor travel inside an argument.
///
/// The other process gets a duplicate, as with `dup`: both share the file position. Descriptors
/// travel with the start of a process, at most 250 at a time; encoding one elsewhere is an error.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Seek, Write};
/// use procession_primitives::{Process, SendFd};
///
/// let mut file = tempfile()?;
/// file.write_all(b"hello")?;
/// file.rewind()?;
/// let length = Process::spawn(|file: SendFd<std::fs::File>| {
///     let mut text = String::new();
///     file.into_inner().read_to_string(&mut text).unwrap()
/// }, SendFd::new(file))?;
/// assert_eq!(length.join()?, 5);
/// # fn tempfile() -> std::io::Result<std::fs::File> {
/// #     let fd = rustix::fs::memfd_create("doc", rustix::fs::MemfdFlags::CLOEXEC)?;
/// #     Ok(fd.into())
/// # }
/// # Ok::<(), procession_primitives::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendFd<T>(T);

impl<T> SendFd<T> {
    /// Wraps anything that has a descriptor.
    pub fn new(inner: T) -> SendFd<T> {
        SendFd(inner)
    }

    /// What was wrapped.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// What is wrapped.
    pub fn get_ref(&self) -> &T {
        &self.0
    }
}

impl<T: AsFd> Serialize for SendFd<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = OUTGOING.with_borrow_mut(|outgoing| {
            let outgoing = outgoing
                .as_mut()
                .ok_or("descriptors travel only with the start of a process")?;
            let copy = rustix::io::fcntl_dupfd_cloexec(&self.0, 3);
            outgoing.push(copy.map_err(|_| "the descriptor cannot be duplicated")?);
            Ok(outgoing.len() as u32 - 1)
        });
        index
            .map_err(|why: &str| S::Error::custom(why))?
            .serialize(serializer)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for SendFd<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let taken = INCOMING.with_borrow_mut(|incoming| incoming.get_mut(index as usize)?.take());
        taken
            .map(|fd| SendFd(T::from(fd)))
            .ok_or_else(|| D::Error::custom("no such descriptor came along"))
    }
}
