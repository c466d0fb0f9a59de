//! What has come of the items of a finished task.

use std::time::Duration;

use procession_primitives::{
    Death, DecodeError, Number, Panic, catch, decode, decode_number, decode_unguarded,
};
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::call::Collected;
use crate::collect::Receive;
use crate::entry::{Entries, Entry};
use crate::record::Tag;

/// Decodes the outcomes of a finished task: one per item, whatever the output holds.
#[inline]
pub(crate) fn outcomes<R: DeserializeOwned>(collected: &Collected, receive: &mut impl Receive<R>) {
    let mut entries = Entries::new(collected.output);
    let mut item = collected.first;
    let end = item + u64::from(collected.items);
    // As far as `entries` has come.
    let mut read = item;
    loop {
        // One guard for all: a panic costs the value that was being decoded, and the loop goes on.
        let ended = catch(|| {
            while item < end {
                entries.open_run();
                let (kind, numbers) = entries.numbers();
                let mut refused = None;
                let mut values = numbers
                    .iter()
                    .take((end - item) as usize)
                    .map_while(|bits| {
                        item += 1;
                        let number = Number::new(kind, u64::from_le_bytes(*bits));
                        decode_number(number)
                            .map_err(|error| refused = Some(error))
                            .ok()
                    });
                receive.extend(read, &mut values);
                entries.skip_numbers((item - read) as usize);
                read = item;
                if let Some(error) = refused {
                    receive.push(item - 1, Err(undecoded(error)));
                } else if item < end {
                    let entry = entries.next();
                    (item, read) = (item + 1, read + 1);
                    receive.push(item - 1, value_of(entry));
                }
            }
        });
        match ended {
            Ok(()) => return,
            Err(panic) => {
                entries.skip_numbers((item - read) as usize);
                read = item;
                receive.push(item - 1, Err(undecoded(DecodeError::Panicked(panic))));
            }
        }
    }
}

/// What has come of an item.
#[inline]
fn value_of<R: DeserializeOwned>(entry: Option<Entry<'_>>) -> Result<R, TaskError> {
    match entry {
        Some(Entry::Number(number)) => decode_number(number).map_err(undecoded),
        Some(Entry::Record(tag, bytes)) => {
            outcome(Some((tag, bytes))).and_then(|bytes| decode_unguarded(bytes).map_err(undecoded))
        }
        None => Err(TaskError::Protocol),
    }
}

/// What a record says of its item: an encoded value, or why there is none.
#[inline]
pub(crate) fn outcome(record: Option<(Tag, &[u8])>) -> Result<&[u8], TaskError> {
    match record {
        Some((Tag::Value, bytes)) => Ok(bytes),
        Some((tag, bytes)) => Err(failure(tag, bytes)),
        None => Err(TaskError::Protocol),
    }
}

#[cold]
fn undecoded(error: DecodeError) -> TaskError {
    TaskError::ValueDecode(Box::new(error))
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
        Tag::TimedOut => {
            decode(bytes).map(|micros| TaskError::TimedOut(Duration::from_micros(micros)))
        }
        Tag::Cancelled => return TaskError::Cancelled,
        Tag::Value => return TaskError::Protocol,
    };
    read.unwrap_or(TaskError::Protocol)
}
