//! What items of a function have taken in calls before.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::run::Code;

/// Functions that are remembered.
const MOST: usize = 32;

/// Nanoseconds of an item, by function: the latest last.
#[derive(Debug, Default)]
pub(crate) struct Costs(Mutex<Vec<(Code, f64)>>);

impl Costs {
    fn lock(&self) -> MutexGuard<'_, Vec<(Code, f64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an item of `code` took in the last call that measured it.
    pub(crate) fn of(&self, code: &Code) -> Option<f64> {
        let known = self.lock();
        let mut known = known.iter().rev();
        known.find(|(of, _)| of == code).map(|(_, nanos)| *nanos)
    }

    /// Remembers that of late an item of `code` took so many `nanos`.
    pub(crate) fn note(&self, code: Code, nanos: f64) {
        let mut known = self.lock();
        known.retain(|(of, _)| *of != code);
        if known.len() == MOST {
            known.remove(0);
        }
        known.push((code, nanos));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let code = |number| Code::from_words([[number, 0]; 3]);
        let costs = Costs::default();
        for number in 0..=MOST as u64 {
            costs.note(code(number), number as f64);
        }
        costs.note(code(7), 70.0);
        assert_eq!(costs.of(&code(0)), None);
        assert_eq!(costs.of(&code(1)), Some(1.0));
        assert_eq!(costs.of(&code(7)), Some(70.0));
    }
}
