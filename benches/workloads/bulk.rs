//! Long messages (B8): copied, and lent.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use procession_sync::{Part, Queue, Receiver};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};

use super::partner::{Line, Partner, serve};

/// Messages that a queue has room for.
const ROOM: usize = 8;

/// Bytes that can be sent again without a copy of the sender's.
#[derive(Clone)]
struct Message(Arc<Vec<u8>>);

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes::new(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = ByteBuf::deserialize(deserializer)?;
        Ok(Message(Arc::new(bytes.into_vec())))
    }
}

/// What is done to a part before it is lent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// One byte is written: what the way costs.
    First,
    /// All are.
    All,
}

fn take((line, queue): (Line, Receiver<Message>)) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            black_box(queue.get().expect("a message"));
        }
    });
}

/// Messages of `len` bytes, which a process takes.
pub(crate) fn copied(len: usize) -> impl FnMut(u64) -> Duration {
    let queue = Queue::<Message>::bounded(ROOM).expect("a queue");
    let taker = Partner::new(take, queue.receiver());
    let (sender, message) = (queue.sender(), Message(Arc::new(vec![1; len])));
    move |rounds| {
        taker.beside(rounds, || {
            for _ in 0..rounds {
                sender.put(message.clone()).expect("somebody takes it");
            }
        })
    }
}

/// Takes parts, and reads of each.
fn take_parts((line, queue): (Line, Receiver<Part<u8>>)) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            let mut part = queue.get().expect("a message");
            black_box(part.as_mut_slice()[0]);
        }
    });
}

/// Parts of `len` bytes, which a process takes where they are.
pub(crate) fn lent(len: usize, fill: Fill) -> impl FnMut(u64) -> Duration {
    let queue = Queue::<Part<u8>>::bounded(ROOM).expect("a queue");
    let taker = Partner::new(take_parts, queue.receiver());
    let sender = queue.sender();
    move |rounds| {
        taker.beside(rounds, || {
            for _ in 0..rounds {
                let mut part = Part::with_leftovers(len).expect("memory");
                match fill {
                    Fill::First => part.as_mut_slice()[0] = 1,
                    Fill::All => part.as_mut_slice().fill(1),
                }
                sender.put(part).expect("somebody takes it");
            }
        })
    }
}
