//! Long messages (B8): copied, and lent.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use procession_sync::{Part, Queue, Receiver};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};

use crate::contest::{Contender, Contest};
use crate::partner::{Line, Partner, Pinned, serve};
use crate::{pipe, python};

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

fn take((line, queue): (Line, Receiver<Message>)) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            black_box(queue.get().expect("a message"));
        }
    });
}

/// Takes parts, and reads of each page.
fn take_parts((line, queue): (Line, Receiver<Part<u8>>)) {
    serve(line, Some(1), |rounds| {
        for _ in 0..rounds {
            let mut part = queue.get().expect("a message");
            black_box(part.as_mut_slice()[0]);
        }
    });
}

/// How `put` puts parts of `len` bytes with a partner that takes them.
fn lent(name: &'static str, len: usize, fill: bool) -> Contender {
    let queue = Queue::<Part<u8>>::bounded(ROOM).expect("a queue");
    let taker = Partner::new(take_parts, queue.receiver());
    let sender = queue.sender();
    Contender::new(name, move |rounds| {
        let _pinned = Pinned::to(0);
        taker.beside(rounds, || {
            for _ in 0..rounds {
                let mut part = Part::with_leftovers(len).expect("memory");
                match fill {
                    true => part.as_mut_slice().fill(1),
                    false => part.as_mut_slice()[0] = 1,
                }
                sender.put(part).expect("somebody takes it");
            }
        })
    })
}

fn copied(len: usize) -> Contender {
    let queue = Queue::<Message>::bounded(ROOM).expect("a queue");
    let taker = Partner::new(take, queue.receiver());
    let (sender, message) = (queue.sender(), Message(Arc::new(vec![1; len])));
    Contender::new("procession_copied", move |rounds| {
        let _pinned = Pinned::to(0);
        taker.beside(rounds, || {
            for _ in 0..rounds {
                sender.put(message.clone()).expect("somebody takes it");
            }
        })
    })
}

fn piped(len: usize) -> Contender {
    let (reader, mut writer) = pipe::reading(len);
    let message = vec![1; len];
    Contender::new("pipe", move |rounds| {
        let _pinned = Pinned::to(0);
        reader.beside(rounds, || pipe::write_all(&mut writer, rounds, &message))
    })
}

fn memcpy(len: usize) -> Contender {
    let (from, mut to) = (vec![1_u8; len], vec![2_u8; len]);
    Contender::new("memcpy", move |rounds| {
        let _pinned = Pinned::to(0);
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(&mut to[..]).copy_from_slice(black_box(&from));
        }
        start.elapsed()
    })
}

/// B8.
pub(crate) fn messages(contest: &mut Contest) {
    for (name, kib) in [("64_KiB", 64), ("1_MiB", 1024), ("16_MiB", 16 << 10)] {
        let len = kib << 10;
        contest.hold(&format!("B8_queue_{name}"), Some(len as u64), || {
            vec![
                copied(len),
                lent("procession_part", len, false),
                lent("procession_part_filled", len, true),
                memcpy(len),
                piped(len),
                python::contender("python_queue", &format!("queue:{len}")),
                python::contender("python_simple_queue", &format!("simple_queue:{len}")),
            ]
        });
    }
}
