//! Functions without their types.
//!
//! # Safety
//!
//! What another process says names code: it is believed only where the caller vouches for it.
#![allow(unsafe_code, reason = "declares a function that has to be vouched for")]

use std::fmt;

use procession_primitives::{catch, decode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Encoded;
use crate::TaskError;
use crate::args::Args;
use crate::run::{Code, Here};

/// A function, as every process of this build finds it: by its place in the executable, never by an
/// address.
#[derive(Clone, Copy)]
pub struct Function {
    code: Code,
    /// Unless it comes from another process.
    here: Option<Here>,
}

impl Function {
    /// `function`, for items of type `A`.
    ///
    /// # Errors
    ///
    /// [`TaskError::Function`]: it is in no code that another process would have, too.
    pub fn of<A, R>(function: fn(A) -> R) -> Result<Function, TaskError>
    where
        A: DeserializeOwned,
        R: Serialize,
    {
        Ok(Function {
            code: Code::of(function)?,
            here: Some(Here::of(function)),
        })
    }

    /// `function` of several arguments, for items that are tuples of them.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn of_star<T, R>(function: T::Function<R>) -> Result<Function, TaskError>
    where
        T: Args + DeserializeOwned,
        R: Serialize,
    {
        Ok(Function {
            code: Code::of_star::<T, R>(function)?,
            here: Some(Here::of_star::<T, R>(function)),
        })
    }

    /// Calls it in this process, with the bytes of an item. A panic of it is an error.
    ///
    /// # Errors
    ///
    /// [`TaskError::ItemDecode`], [`TaskError::Panicked`], [`TaskError::ValueEncode`] as of a worker;
    /// [`TaskError::NoSuchFunction`] if it comes from another process.
    pub fn call(&self, item: &[u8]) -> Result<Encoded, TaskError> {
        match &self.here {
            Some(here) => here.call(item),
            None => Err(TaskError::NoSuchFunction(
                "it was sent by another process".into(),
            )),
        }
    }

    /// What it is called in all processes of this build, for [`from_words`](Self::from_words).
    #[must_use]
    pub fn to_words(&self) -> [[u64; 2]; 3] {
        self.code.words()
    }

    /// The function that [`to_words`](Self::to_words) gave the name of, in whatever process.
    ///
    /// A worker that does not have it, since it is of another build, says so:
    /// [`TaskError::NoSuchFunction`].
    ///
    /// # Safety
    ///
    /// `words` are those of a function for items that are encoded as the items given to it here.
    #[must_use]
    pub unsafe fn from_words(words: [[u64; 2]; 3]) -> Function {
        let code = Code::from_words(words);
        Function { code, here: None }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.code == other.code
    }
}

impl Eq for Function {}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.code).finish()
    }
}

/// Decodes an item, gives it to `function` and encodes the value. Each step has its own error.
pub(crate) fn call<A: DeserializeOwned, R: Serialize>(
    item: &[u8],
    function: impl FnOnce(A) -> R,
) -> Result<Encoded, TaskError> {
    let item = decode(item).map_err(|error| TaskError::ItemDecode(Box::new(error)))?;
    let value = catch(|| function(item)).map_err(TaskError::Panicked)?;
    let encoded = Encoded::of(&value);
    // As in a worker: it has been sent by now.
    let _ = catch(|| drop(value));
    encoded.map_err(|error| TaskError::ValueEncode(error.to_string().into()))
}
