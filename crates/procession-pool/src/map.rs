//! `map`: a stream of chunks into the pool, and of outcomes back, driven by the calling thread.

use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use procession_primitives::{
    Death, DecodeError, EncodeError, Panic, catch, decode, decode_unguarded, encode,
    encode_unguarded,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::call::{Call, Code, Collected, Filling, SPIN};
use crate::chunk::Chunks;
use crate::inner::Inner;
use crate::record::{Records, Tag};

/// Most tasks of one call that are with the workers at once.
const WINDOW_TASKS: usize = 512;
/// Most encoded bytes of one call that are with the workers at once, unless one item alone is
/// larger.
const WINDOW_BYTES: u64 = 64 << 20;

/// Runs `function` on each of `items` and hands the outcomes to `receive`, in any order: the
/// number of the first item, and the outcomes from there on.
///
/// On an error the items that were taken and not handed over have no outcome; returns how many
/// items were taken.
pub(crate) fn run<A, R, I>(
    pool: &Inner,
    function: fn(A) -> R,
    items: &mut I,
    chunks: Chunks,
    receive: &mut impl FnMut(u64, Outcomes<'_, R>),
) -> Result<(), (TaskError, u64)>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
    I: Iterator<Item = A>,
{
    let start = || {
        pool.check_open()?;
        let code = Code::of(function)?;
        pool.crew.rally();
        Ok((code, Call::new(pool, pool.take_cell()?)))
    };
    let (code, call) = start().map_err(|error| (error, 0))?;
    let mut map = Map {
        pool,
        code,
        call: Some(call),
        items,
        next: 0,
        exhausted: false,
        in_flight: 0,
        chunks,
    };
    map.drive(receive).map_err(|error| (error, map.next))
}

/// Runs `function` on one item.
pub(crate) fn apply<A, R>(pool: &Inner, function: fn(A) -> R, item: &A) -> Result<R, TaskError>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    pool.check_open()?;
    let code = Code::of(function)?;
    let index = pool.take_cell()?;
    // One cell is task and mailbox.
    let mut call = Call::new(pool, index);
    let outcome = apply_in(pool, code, &mut call, index, item);
    call.end(pool);
    outcome
}

fn apply_in<A: Serialize, R: DeserializeOwned>(
    pool: &Inner,
    code: Code,
    call: &mut Call,
    index: u32,
    item: &A,
) -> Result<R, TaskError> {
    let mut filling = Filling::new(pool, index).ok_or(TaskError::Closed)?;
    let added = filling.add(|sink| encode(item, sink));
    added.map_err(|error| TaskError::ItemEncode(Box::new(error)))?;
    let index = filling.finish(code, 0);
    call.submit(pool, index);
    let index = call.next(pool, SPIN)?;
    let collected = Collected::read(pool, index).ok_or(TaskError::Protocol)?;
    Outcomes::of(&collected)
        .next()
        .unwrap_or(Err(TaskError::Protocol))
}

struct Map<'a, I: Iterator> {
    pool: &'a Inner,
    code: Code,
    /// `None` only while it ends.
    call: Option<Call>,
    items: &'a mut I,
    /// Number of the next item.
    next: u64,
    exhausted: bool,
    /// Encoded bytes that are with the workers.
    in_flight: u64,
    chunks: Chunks,
}

/// What was being done when a panic came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Iterating,
    Encoding,
}

impl<A: Serialize, I: Iterator<Item = A>> Map<'_, I> {
    fn drive<R: DeserializeOwned>(
        &mut self,
        receive: &mut impl FnMut(u64, Outcomes<'_, R>),
    ) -> Result<(), TaskError> {
        loop {
            self.feed(receive)?;
            let Some(call) = &mut self.call else {
                return Ok(());
            };
            if self.exhausted && call.outstanding == 0 {
                return Ok(());
            }
            let index = call.next(self.pool, Duration::ZERO)?;
            self.collect(index, receive);
            // Whatever else is there by now, before feeding: it makes room.
            while let Some(index) = self.call.as_mut().and_then(|call| call.try_next(self.pool)) {
                self.collect(index, receive);
            }
        }
    }

    /// Submits chunks as long as there are items and the window has room.
    fn feed<R: DeserializeOwned>(
        &mut self,
        receive: &mut impl FnMut(u64, Outcomes<'_, R>),
    ) -> Result<(), TaskError> {
        while !self.exhausted {
            let outstanding = self.call.as_ref().map_or(0, |call| call.outstanding);
            if outstanding >= self.chunks.window(WINDOW_TASKS)
                || (outstanding > 0 && self.in_flight >= WINDOW_BYTES)
            {
                return Ok(());
            }
            let index = match self.pool.try_take_cell() {
                Some(index) => index,
                // Our own tasks will free cells.
                None if outstanding > 0 => return Ok(()),
                None => self.pool.take_cell()?,
            };
            self.fill(index, receive);
            // Outcomes that wait hold memory: take them between two chunks.
            while let Some(index) = self.call.as_mut().and_then(|call| call.try_next(self.pool)) {
                self.collect(index, receive);
            }
        }
        Ok(())
    }

    /// Fills cell `index` with the next chunk and submits it.
    fn fill<R>(&mut self, index: u32, receive: &mut impl FnMut(u64, Outcomes<'_, R>)) {
        let Some(mut filling) = Filling::new(self.pool, index) else {
            return;
        };
        let first = self.next;
        let size = self.chunks.next_size(self.items.size_hint().0);
        let limit = self.chunks.byte_limit();
        let mut doing = Doing::Iterating;
        let mut start = 0;
        let mut refused = None;
        let filled = panic::catch_unwind(AssertUnwindSafe(|| {
            while filling.items() < size && filling.len() < limit {
                doing = Doing::Iterating;
                let Some(item) = self.items.next() else {
                    self.exhausted = true;
                    return;
                };
                self.next += 1;
                start = filling.len();
                doing = Doing::Encoding;
                let added = filling.add(|sink| encode_unguarded(&item, sink));
                doing = Doing::Iterating;
                if let Err(error) = added {
                    refused = Some(error);
                    return;
                }
            }
        }));
        let panicked = match filled {
            Ok(()) => None,
            Err(payload) if doing == Doing::Encoding => {
                filling.cut(start);
                refused = Some(EncodeError::Panicked(Box::new(Panic::from_payload(
                    &*payload,
                ))));
                None
            }
            Err(payload) => Some(payload),
        };
        if panicked.is_some() || filling.items() == 0 {
            drop(filling);
            self.pool.give_back(index);
        } else {
            self.in_flight += filling.len() as u64;
            let index = filling.finish(self.code, first);
            if let Some(call) = &mut self.call {
                call.submit(self.pool, index);
            }
        }
        if let Some(payload) = panicked {
            // The caller's iterator: his panic. The call ends on the way out.
            panic::resume_unwind(payload);
        }
        if let Some(error) = refused {
            receive(
                self.next - 1,
                Outcomes::Refused(Some(TaskError::ItemEncode(Box::new(error)))),
            );
        }
    }

    fn collect<R: DeserializeOwned>(
        &mut self,
        index: u32,
        receive: &mut impl FnMut(u64, Outcomes<'_, R>),
    ) {
        let Some(collected) = Collected::read(self.pool, index) else {
            return;
        };
        self.in_flight = self.in_flight.saturating_sub(collected.input_len);
        self.chunks.learn(collected.items, collected.nanos);
        receive(collected.first, Outcomes::of(&collected));
        self.pool.recycle(index);
    }
}

impl<I: Iterator> Drop for Map<'_, I> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            call.end(self.pool);
        }
    }
}

/// Outcomes of consecutive items.
pub(crate) enum Outcomes<'a, R> {
    /// Of a finished task: one per item, whatever the output holds.
    Recorded {
        records: Records<'a>,
        left: u32,
        value: PhantomData<fn() -> R>,
    },
    /// Of an item that was not sent.
    Refused(Option<TaskError>),
}

impl<R> Outcomes<'static, R> {
    fn of(collected: &Collected) -> Outcomes<'static, R> {
        Outcomes::Recorded {
            records: Records(collected.output),
            left: collected.items,
            value: PhantomData,
        }
    }
}

impl<R: DeserializeOwned> Iterator for Outcomes<'_, R> {
    type Item = Result<R, TaskError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Outcomes::Refused(error) => error.take().map(Err),
            Outcomes::Recorded { records, left, .. } => {
                *left = left.checked_sub(1)?;
                Some(match records.next() {
                    Some((Tag::Value, bytes)) => value(bytes),
                    Some((tag, bytes)) => Err(failure(tag, bytes)),
                    None => Err(TaskError::Protocol),
                })
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match self {
            Outcomes::Refused(error) => usize::from(error.is_some()),
            Outcomes::Recorded { left, .. } => *left as usize,
        };
        (left, Some(left))
    }
}

#[inline]
fn value<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, TaskError> {
    let decoded = catch(|| decode_unguarded(bytes));
    let decoded = decoded.unwrap_or_else(|panic| Err(DecodeError::Panicked(panic)));
    decoded.map_err(|error| TaskError::ValueDecode(Box::new(error)))
}

#[cold]
fn failure(tag: Tag, bytes: &[u8]) -> TaskError {
    let read = match tag {
        Tag::Panicked => decode(bytes).map(|panic: Panic| TaskError::Panicked(Box::new(panic))),
        Tag::Died => decode(bytes).map(|death: Death| TaskError::WorkerDied(Box::new(death))),
        Tag::ItemDecode => {
            decode(bytes).map(|error: DecodeError| TaskError::ItemDecode(Box::new(error)))
        }
        Tag::ValueEncode => decode(bytes).map(|text: String| TaskError::ValueEncode(text.into())),
        Tag::Function => decode(bytes).map(|text: String| TaskError::NoSuchFunction(text.into())),
        Tag::Value => return TaskError::Protocol,
    };
    read.unwrap_or(TaskError::Protocol)
}
