//! Large values that are sent once.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use procession_primitives::{EncodeError, boarding, decode, encode, monotonic_nanos};
use procession_sync::RawArray;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::PoolError;

/// Values that a process keeps decoded, the latest last.
const KEPT: usize = 4;

static DECODED: Mutex<Vec<(Id, Arc<dyn Any + Send + Sync>)>> = Mutex::new(Vec::new());

/// Process, its clock and a count: no two values have the same.
type Id = (u32, u64, u64);

/// A value that can be part of many items and calls and is encoded once: what travels is a handle.
///
/// Each worker decodes it with the first item that has it, and keeps the last four that it has met.
/// Nobody can change it. For one call, [`map_with`](crate::View::map_with) does the same.
///
/// The encoded value is freed when the last handle is dropped, or its holder dead. Handles of shared
/// objects in the value are good as long as this process keeps the value.
///
/// # Examples
///
/// ```
/// use procession_pool::{Pool, Sealed};
///
/// let pool = Pool::with_workers(2)?;
/// let words = Sealed::new(vec!["one".to_string(), "three".to_string()])?;
/// let items = (0..2).map(|at| (words.clone(), at));
/// assert_eq!(pool.starmap(|words, at: usize| words[at].len(), items)?, [3, 5]);
/// # Ok::<(), procession_pool::Error>(())
/// ```
pub struct Sealed<T> {
    id: Id,
    encoded: RawArray<u8>,
    value: Arc<T>,
}

impl<T: Serialize> Sealed<T> {
    /// Encodes `value` into shared memory.
    ///
    /// # Errors
    ///
    /// [`PoolError::Argument`]: it cannot be encoded, or there is no shared memory for it.
    pub fn new(value: T) -> Result<Sealed<T>, PoolError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut bytes = Vec::new();
        let (encoded, _) = boarding(|| encode(&value, &mut bytes));
        encoded.map_err(PoolError::Argument)?;
        let encoded = RawArray::from_slice(&bytes)
            .map_err(|error| PoolError::Argument(EncodeError::Failed(error.to_string())))?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(Sealed {
            id: (std::process::id(), monotonic_nanos(), count),
            encoded,
            value: Arc::new(value),
        })
    }
}

impl<T> Deref for Sealed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Sealed {
            id: self.id,
            encoded: self.encoded.clone(),
            value: Arc::clone(&self.value),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealed").field(&self.value).finish()
    }
}

impl<T> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.id, &self.encoded).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sealed<T>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, encoded): (Id, RawArray<u8>) = Deserialize::deserialize(deserializer)?;
        let value = match find(id) {
            Some(value) => value,
            None => {
                // The user's code, so without the lock.
                let value: T = decode(&encoded.to_vec()).map_err(D::Error::custom)?;
                let value = Arc::new(value);
                keep(id, Arc::clone(&value) as Arc<dyn Any + Send + Sync>);
                value
            }
        };
        Ok(Sealed { id, encoded, value })
    }
}

fn find<T: Send + Sync + 'static>(id: Id) -> Option<Arc<T>> {
    let decoded = DECODED.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, value) = decoded.iter().find(|(of, _)| *of == id)?;
    Arc::clone(value).downcast().ok()
}

fn keep(id: Id, value: Arc<dyn Any + Send + Sync>) {
    let mut decoded = DECODED.lock().unwrap_or_else(PoisonError::into_inner);
    decoded.push((id, value));
    let oldest = (decoded.len() > KEPT).then(|| decoded.remove(0));
    drop(decoded);
    // The user's drop, without the lock.
    drop(oldest);
}
