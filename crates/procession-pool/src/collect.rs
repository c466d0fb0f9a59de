//! Puts outcomes that arrive in any order into the order of the items.

use std::collections::BTreeMap;

/// Values in the order of their items, as far as that is known.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    /// The values of the first items, without a gap.
    done: Vec<T>,
    /// Runs of values behind a gap, by the number of their first item.
    ahead: BTreeMap<u64, Vec<T>>,
}

impl<T> Ordered<T> {
    pub(crate) fn with_capacity(capacity: usize) -> Ordered<T> {
        Ordered {
            done: Vec::with_capacity(capacity),
            ahead: BTreeMap::new(),
        }
    }

    /// Adds the values of the items from `first` on.
    pub(crate) fn add(&mut self, first: u64, values: impl Iterator<Item = T>) {
        if first == self.done.len() as u64 {
            self.done.extend(values);
            while let Some(values) = self.ahead.remove(&(self.done.len() as u64)) {
                self.done.extend(values);
            }
        } else {
            self.ahead.insert(first, values.collect());
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
