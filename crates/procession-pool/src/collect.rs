//! Puts outcomes that arrive in any order into the order of the items.

use std::collections::BTreeMap;

use crate::TaskError;

/// Gets outcomes as they come, in runs.
pub(crate) trait Receive<R> {
    /// Outcomes follow, of the items from number `first` on.
    fn begin(&mut self, first: u64);
    fn push(&mut self, item: u64, outcome: Result<R, TaskError>);
    /// The values of the items from number `first` on.
    #[inline]
    fn extend(&mut self, first: u64, values: &mut impl Iterator<Item = R>) {
        for (item, value) in (first..).zip(values) {
            self.push(item, Ok(value));
        }
    }
    /// The run is over.
    fn end(&mut self);
}

/// Hands each outcome to a function.
pub(crate) struct Each<F>(pub(crate) F);

impl<R, F: FnMut(u64, Result<R, TaskError>)> Receive<R> for Each<F> {
    fn begin(&mut self, _first: u64) {}

    #[inline]
    fn push(&mut self, item: u64, outcome: Result<R, TaskError>) {
        (self.0)(item, outcome);
    }

    fn end(&mut self) {}
}

/// Values in the order of their items, as far as that is known.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    /// The values of the first items, without a gap.
    done: Vec<T>,
    /// Runs of values behind a gap, by the number of their first item.
    ahead: BTreeMap<u64, Vec<T>>,
    /// The run that is coming in, if it is behind a gap.
    current: Option<(u64, Vec<T>)>,
}

impl<T> Ordered<T> {
    /// With room for `expected` values, if there is that much.
    pub(crate) fn new(expected: usize) -> Ordered<T> {
        let mut done = Vec::new();
        // Only a hint: an iterator may promise more than there is memory.
        let _ = done.try_reserve(expected);
        Ordered {
            done,
            ahead: BTreeMap::new(),
            current: None,
        }
    }

    fn begin(&mut self, first: u64) {
        self.current = (first != self.done.len() as u64).then(|| (first, Vec::new()));
    }

    #[inline]
    fn push(&mut self, value: T) {
        match &mut self.current {
            None => self.done.push(value),
            Some((_, run)) => run.push(value),
        }
    }

    #[inline]
    fn extend(&mut self, values: &mut impl Iterator<Item = T>) {
        match &mut self.current {
            None => self.done.extend(values),
            Some((_, run)) => run.extend(values),
        }
    }

    fn end(&mut self) {
        if let Some((first, run)) = self.current.take()
            && !run.is_empty()
        {
            self.ahead.insert(first, run);
        }
        while let Some(run) = self.ahead.remove(&(self.done.len() as u64)) {
            self.done.extend(run);
        }
    }

    /// All values, where each item has given one.
    pub(crate) fn into_vec(self) -> Vec<T> {
        debug_assert!(self.ahead.is_empty(), "every item has an outcome");
        self.done
    }

    /// All values; `missing` for each of the first `count` items that has none.
    pub(crate) fn finish(mut self, count: u64, missing: impl Fn() -> T) -> Vec<T> {
        while (self.done.len() as u64) < count {
            let values = self.ahead.remove(&(self.done.len() as u64));
            self.done.extend(values.unwrap_or_else(|| vec![missing()]));
        }
        self.done
    }
}

/// All outcomes.
impl<R> Receive<R> for Ordered<Result<R, TaskError>> {
    fn begin(&mut self, first: u64) {
        Ordered::begin(self, first);
    }

    #[inline]
    fn push(&mut self, _item: u64, outcome: Result<R, TaskError>) {
        Ordered::push(self, outcome);
    }

    fn end(&mut self) {
        Ordered::end(self);
    }
}

/// The values of all items, or the error of the first item that has none of its own fault.
#[derive(Debug)]
pub(crate) struct AllOrFirstError<R> {
    values: Ordered<R>,
    failed: Option<(u64, TaskError)>,
}

impl<R> AllOrFirstError<R> {
    pub(crate) fn new(expected: usize) -> AllOrFirstError<R> {
        AllOrFirstError {
            values: Ordered::new(expected),
            failed: None,
        }
    }

    /// What came of a call that ended so. An item's own error says more than that of the pool.
    pub(crate) fn finish(self, ended: Result<(), TaskError>) -> Result<Vec<R>, TaskError> {
        match self.failed {
            Some((_, error)) => Err(error),
            None => ended.map(|()| self.values.into_vec()),
        }
    }
}

impl<R> Receive<R> for AllOrFirstError<R> {
    fn begin(&mut self, first: u64) {
        self.values.begin(first);
    }

    #[inline]
    fn push(&mut self, item: u64, outcome: Result<R, TaskError>) {
        match outcome {
            // After an error the values are of no use, and their order is lost.
            Ok(value) if self.failed.is_none() => self.values.push(value),
            Ok(_) => {}
            Err(error) => {
                // Others may be cancelled because of this one.
                let key = |at: u64, error: &TaskError| (matches!(error, TaskError::Cancelled), at);
                let earlier = self.failed.as_ref();
                if earlier.is_none_or(|(at, known)| key(item, &error) < key(*at, known)) {
                    self.failed = Some((item, error));
                }
            }
        }
    }

    #[inline]
    fn extend(&mut self, _first: u64, values: &mut impl Iterator<Item = R>) {
        match self.failed {
            None => self.values.extend(values),
            Some(_) => values.for_each(drop),
        }
    }

    fn end(&mut self) {
        self.values.end();
    }
}
