//! `map`: a stream of chunks into the pool, and of outcomes back, driven by the calling thread.

use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use procession_primitives::{
    Death, DecodeError, EncodeError, Panic, boarding, catch, decode, decode_unguarded, encode,
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
/// Cells that calls which have tasks with the workers leave to those that have none: iterators
/// that use the pool wait for a cell while their own call cannot give any back.
const RESERVE: usize = 512;
/// Most encoded bytes of one call that are with the workers at once, unless one item alone is
/// larger.
const WINDOW_BYTES: u64 = 64 << 20;

/// Gets outcomes as they come, in runs.
pub(crate) trait Receive<R> {
    /// Outcomes follow, of the items from number `first` on.
    fn begin(&mut self, first: u64);
    fn push(&mut self, outcome: Result<R, TaskError>);
    /// The run is over.
    fn end(&mut self);
}

/// Runs `function` on each of `items` and hands the outcomes to `receive`, in any order.
///
/// On an error the items that were taken and not handed over have no outcome; returns how many
/// items were taken.
pub(crate) fn run<A, R, I>(
    pool: &Inner,
    function: fn(A) -> R,
    items: &mut I,
    chunks: Chunks,
    receive: &mut impl Receive<R>,
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
        expected: 0,
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
    if pool.crew.is_deserted().is_some() {
        pool.crew.rally();
    }
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
    let mut filling = Filling::new(pool, index, 0).ok_or(TaskError::Closed)?;
    let (added, passengers) = boarding(|| filling.add(|sink| encode(item, sink)));
    let added = added.and_then(|()| match passengers.is_empty() {
        true => Ok(()),
        false => filling.carry(&passengers),
    });
    added.map_err(|error| TaskError::ItemEncode(Box::new(error)))?;
    let index = filling.finish(code, 0);
    call.submit(pool, index);
    let index = call.next(pool, SPIN)?;
    let collected = Collected::read(pool, index).ok_or(TaskError::Protocol)?;
    let mut one = One(None);
    hand_over(&collected, &mut one);
    one.0.unwrap_or(Err(TaskError::Protocol))
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
    /// Encoded length of the last chunk.
    expected: usize,
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
        receive: &mut impl Receive<R>,
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
        receive: &mut impl Receive<R>,
    ) -> Result<(), TaskError> {
        while !self.exhausted {
            let outstanding = self.call.as_ref().map_or(0, |call| call.outstanding);
            if outstanding >= self.chunks.window(WINDOW_TASKS)
                || (outstanding > 0 && self.in_flight >= WINDOW_BYTES)
            {
                return Ok(());
            }
            let reserve = if outstanding > 0 { RESERVE } else { 0 };
            let index = match self.pool.try_take_cell(reserve) {
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
    fn fill<R: DeserializeOwned>(&mut self, index: u32, receive: &mut impl Receive<R>) {
        let Some(mut filling) = Filling::new(self.pool, index, self.expected) else {
            return;
        };
        let first = self.next;
        let size = self.chunks.next_size(self.items.size_hint().0);
        let limit = self.chunks.byte_limit();
        let mut doing = Doing::Iterating;
        let mut start = 0;
        let mut refused = None;
        let (filled, passengers) = boarding(|| {
            panic::catch_unwind(AssertUnwindSafe(|| {
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
            }))
        });
        let panicked = match filled {
            Ok(()) => None,
            Err(payload) if doing == Doing::Encoding => {
                filling.cut(start);
                refused = Some(EncodeError::Panicked(Box::new(Panic::from_payload(
                    &*payload,
                ))));
                // The drop of what the user threw may panic again.
                let _ = catch(|| drop(payload));
                None
            }
            Err(payload) => Some(payload),
        };
        let lost = (!passengers.is_empty() && panicked.is_none())
            .then(|| filling.carry(&passengers).err())
            .flatten();
        if let Some(error) = lost {
            // No memory to note what the items hold on to.
            receive.begin(first);
            for _ in 0..filling.items() {
                receive.push(Err(TaskError::ItemEncode(Box::new(error.clone()))));
            }
            receive.end();
            drop(filling);
            self.pool.give_back(index);
        } else if panicked.is_some() || filling.items() == 0 {
            drop(filling);
            self.pool.give_back(index);
        } else {
            self.in_flight += filling.len() as u64;
            self.expected = filling.len();
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
            receive.begin(self.next - 1);
            receive.push(Err(TaskError::ItemEncode(Box::new(error))));
            receive.end();
        }
    }

    fn collect<R: DeserializeOwned>(&mut self, index: u32, receive: &mut impl Receive<R>) {
        let Some(collected) = Collected::read(self.pool, index) else {
            return;
        };
        self.in_flight = self.in_flight.saturating_sub(collected.input_len);
        self.chunks.learn(collected.items, collected.nanos);
        hand_over(&collected, receive);
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

/// Decodes the outcomes of a finished task: one per item, whatever the output holds.
fn hand_over<R: DeserializeOwned>(collected: &Collected, receive: &mut impl Receive<R>) {
    let mut records = Records(collected.output);
    let mut left = collected.items;
    receive.begin(collected.first);
    loop {
        // One guard for all: a panic costs the value that was being decoded, and the loop goes on.
        let ended = catch(|| {
            while left > 0 {
                left -= 1;
                receive.push(match records.next() {
                    Some((Tag::Value, bytes)) => decode_unguarded(bytes).map_err(undecoded),
                    Some((tag, bytes)) => Err(failure(tag, bytes)),
                    None => Err(TaskError::Protocol),
                });
            }
        });
        match ended {
            Ok(()) => break,
            Err(panic) => receive.push(Err(undecoded(DecodeError::Panicked(panic)))),
        }
    }
    receive.end();
}

#[cold]
fn undecoded(error: DecodeError) -> TaskError {
    TaskError::ValueDecode(Box::new(error))
}

/// The outcome of a call with one item.
struct One<R>(Option<Result<R, TaskError>>);

impl<R> Receive<R> for One<R> {
    fn begin(&mut self, _first: u64) {}

    fn push(&mut self, outcome: Result<R, TaskError>) {
        self.0.get_or_insert(outcome);
    }

    fn end(&mut self) {}
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
