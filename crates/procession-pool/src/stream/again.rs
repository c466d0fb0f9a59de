//! Items that are tried again.

use std::time::Instant;

use serde::Serialize;

use super::Map;
use crate::TaskError;
use crate::collect::Receive;
use crate::filling::{Filling, Prepared};

/// An item that is tried again.
pub(super) struct Again {
    pub(super) item: u64,
    pub(super) prepared: Prepared,
    pub(super) attempt: u32,
    pub(super) due: Option<Instant>,
}

impl<A: Serialize, I: Iterator<Item = A>> Map<I> {
    /// Submits items that are to be tried again, when it is time.
    #[cold]
    pub(super) fn feed_again<R>(&mut self, receive: &mut impl Receive<R>) -> Result<(), TaskError> {
        let now = Instant::now();
        for _ in 0..self.again.len() {
            let Some(again) = self.again.pop_front() else {
                break;
            };
            if again.due.is_some_and(|due| due > now) {
                self.again.push_back(again);
                continue;
            }
            let Some(index) = self.take_cell()? else {
                self.again.push_front(again);
                break;
            };
            let Some(mut filling) = Filling::new(&self.pool, index, 0) else {
                break;
            };
            filling.have_runs();
            let len = again.prepared.len() as u64;
            if let Err(error) = filling.take(again.prepared) {
                drop(filling);
                self.pool.give_back(index);
                receive.begin(again.item);
                receive.push(again.item, Err(TaskError::ItemEncode(Box::new(error))));
                receive.end();
                continue;
            }
            // Before all others: it has waited once.
            let terms = self.terms.in_ring(0);
            let index = filling.finish(&terms, again.item, again.attempt);
            self.in_flight += len;
            if let Some(call) = &mut self.call {
                call.submit(&self.pool, index);
            }
        }
        Ok(())
    }
}
