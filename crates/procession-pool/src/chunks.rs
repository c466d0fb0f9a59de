//! Work on the elements of arrays and slices, in place.

use procession_primitives::EncodeError;
use procession_sync::{Array, Part, Plain};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::run::Code;
use crate::view::{View, collect};

/// Elements that workers can work on without a copy each: a shared [`Array`], or a slice, which is
/// copied once into one.
///
/// For [`View::map_chunks`], and with `&mut` for [`View::for_each_chunk`].
pub trait Elements: private::Sealed {
    /// The type of an element.
    type Element: Plain;
}

mod private {
    use super::{Array, TaskError};
    use procession_sync::Plain;

    /// Gives the elements as an array, and takes them back.
    pub trait Sealed {
        type Plain: Plain;

        fn share(&self) -> Result<Array<Self::Plain>, TaskError>;

        fn take_back(&mut self, array: &Array<Self::Plain>) -> Result<(), TaskError>;
    }
}

fn refused(error: impl std::fmt::Display) -> TaskError {
    TaskError::ItemEncode(Box::new(EncodeError::Failed(error.to_string())))
}

impl<T: Plain> Elements for &Array<T> {
    type Element = T;
}

impl<T: Plain> private::Sealed for &Array<T> {
    type Plain = T;

    fn share(&self) -> Result<Array<T>, TaskError> {
        Ok((*self).clone())
    }

    fn take_back(&mut self, _: &Array<T>) -> Result<(), TaskError> {
        Ok(())
    }
}

impl<T: Plain> Elements for &[T] {
    type Element = T;
}

impl<T: Plain> private::Sealed for &[T] {
    type Plain = T;

    fn share(&self) -> Result<Array<T>, TaskError> {
        Array::from_slice(self).map_err(refused)
    }

    fn take_back(&mut self, _: &Array<T>) -> Result<(), TaskError> {
        Ok(())
    }
}

impl<T: Plain> Elements for &mut [T] {
    type Element = T;
}

impl<T: Plain> private::Sealed for &mut [T] {
    type Plain = T;

    fn share(&self) -> Result<Array<T>, TaskError> {
        Array::from_slice(self).map_err(refused)
    }

    fn take_back(&mut self, array: &Array<T>) -> Result<(), TaskError> {
        let elements = array.lock().map_err(refused)?;
        self.copy_from_slice(&elements);
        Ok(())
    }
}

impl View {
    /// Runs `function` on chunks of `len` elements, the last one may be shorter, and returns the
    /// values in their order. Workers read the elements where they are: nothing is copied but a
    /// borrowed slice, once.
    ///
    /// An array is locked meanwhile.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map); [`TaskError::ItemEncode`] if `len` is 0, a holder of the array's lock
    /// has died, or there is no shared memory for a copy.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(2)?;
    /// let samples: Vec<f64> = (0..10_000).map(f64::from).collect();
    /// let sums = pool.map_chunks(&samples[..], 1_000, |chunk| chunk.iter().sum::<f64>())?;
    /// assert_eq!(sums.iter().sum::<f64>(), samples.iter().sum());
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn map_chunks<E, R>(
        &self,
        elements: E,
        len: usize,
        function: fn(&[E::Element]) -> R,
    ) -> Result<Vec<R>, TaskError>
    where
        E: Elements<Plain = <E as Elements>::Element>,
        R: Serialize + DeserializeOwned,
    {
        let parts = parts(&elements.share()?, len)?;
        collect(self.job(Code::of_slice(function)), parts)
    }

    /// Runs `function` on chunks of `len` elements, the last one may be shorter. Workers change the
    /// elements where they are; those of a borrowed slice are copied there and back, once.
    ///
    /// An array is locked meanwhile.
    ///
    /// # Errors
    ///
    /// As [`map_chunks`](Self::map_chunks). The chunks of items that have failed may be half changed;
    /// of a worker's death the next holder of an array's lock is told. A borrowed slice is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = procession_pool::Pool::with_workers(2)?;
    /// let array = procession_sync::Array::from_slice(&[3_u32; 1_000])?;
    /// pool.for_each_chunk(&array, 100, |chunk| chunk.iter_mut().for_each(|x| *x *= 2))?;
    /// assert!(array.lock().unwrap().iter().all(|&x| x == 6));
    /// # Ok::<(), procession_pool::Error>(())
    /// ```
    pub fn for_each_chunk<E>(
        &self,
        mut elements: E,
        len: usize,
        function: fn(&mut [E::Element]),
    ) -> Result<(), TaskError>
    where
        E: Elements<Plain = <E as Elements>::Element>,
    {
        let array = elements.share()?;
        let parts = parts(&array, len)?;
        collect::<_, ()>(self.job(Code::of_slice_mut(function)), parts)?;
        elements.take_back(&array)
    }
}

fn parts<T: Plain>(array: &Array<T>, len: usize) -> Result<Vec<Part<T>>, TaskError> {
    let guard = array.lock().map_err(refused)?;
    guard.into_parts(len).map_err(refused)
}
