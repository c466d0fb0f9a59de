//! `Queue`: what can be sent, of which size, and what becomes of memory.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use procession_sync::{GetError, Lock, PutError, Queue, Receiver, Sender};
use procession_testkit::{Case, cases, heap_is_back, heap_units};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::queue_messages;
use crate::support::{await_objects, await_waiters, family, start};

pub(crate) fn cases() -> Vec<Case> {
    cases![queue_messages:
        any_type, sizes_around_the_limits, ring_wraps_at_every_offset,         mixed_batches, batch_that_fails_gives_all_back,         encoding_fails_q08_q09, decoding_fails,         queue_in_itself, senders_in_messages,             ]
    .into()
}

fn echo<T: Serialize + DeserializeOwned>((from, to): (Receiver<T>, Sender<T>)) {
    for value in from.iter() {
        to.put(value.unwrap()).unwrap();
    }
}

/// Sends all values to another process and back.
fn there_and_back<T>(values: &[T])
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Debug + 'static,
{
    let (sender, there) = Queue::bounded(10).unwrap().split();
    let (back, receiver) = Queue::bounded(10).unwrap().split();
    let child = start(echo::<T>, (there, back));
    for value in values {
        sender.put(value.clone()).unwrap();
        assert_eq!(&receiver.get().unwrap(), value);
    }
    drop(sender);
    child.join().unwrap();
    assert_eq!(receiver.get(), Err(GetError::Disconnected));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Polygon {
        corners: Vec<(i32, i32)>,
        name: Option<String>,
    },
}

fn any_type() {
    there_and_back(&[(), ()]);
    there_and_back(&[Nothing]);
    there_and_back(&[true, false]);
    there_and_back(&[0_u64, 1, u64::MAX]);
    there_and_back(&[-1_i128, i128::MIN]);
    there_and_back(&['a', 'ß', '\u{10ffff}']);
    there_and_back(&[None, Some(Box::new(7_u8))]);
    there_and_back::<Result<u8, String>>(&[Ok(1), Err("no".to_owned())]);
    there_and_back(&[String::new(), "ü".repeat(9000)]);
    there_and_back(&[vec![Nothing; 3]]);
    there_and_back(&[BTreeMap::from([(1, vec![2_u8; 10_000])])]);
    there_and_back(&[
        Shape::Point,
        Shape::Circle(1.5),
        Shape::Polygon {
            corners: vec![(1, -1); 5000],
            name: Some("big".to_owned()),
        },
    ]);
}

fn text(len: usize) -> String {
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyz/";
    (0..len)
        .map(|at| char::from(digits[(at * 7 + len) % digits.len()]))
        .collect()
}

fn sizes_around_the_limits() {
    let lens: Vec<usize> = (0..40).chain([127, 128, 129]).chain(8170..8210).collect();
    there_and_back(&lens.iter().map(|len| text(*len)).collect::<Vec<_>>());
    // A length of two bytes before the text: the last one that goes through the ring.
    let queue = Queue::new().unwrap();
    let before = heap_units();
    queue.put(text(8190)).unwrap();
    assert_eq!(heap_units(), before);
    queue.put(text(8191)).unwrap();
    assert!(heap_units() > before);
    assert_eq!(queue.get().unwrap(), text(8190));
    assert_eq!(queue.get().unwrap(), text(8191));
    heap_is_back("the block is freed", before);
}

fn ring_wraps_at_every_offset() {
    // 8192 words: a frame one word longer moves the next lap by one.
    let queue = Queue::bounded(4).unwrap();
    for lap in 0..70 {
        for n in 0..512 {
            let sent = text(if n == lap { 127 } else { 118 });
            queue.put(sent.clone()).unwrap();
            assert_eq!(queue.get().unwrap(), sent);
        }
    }
    // Long frames, several of them in there.
    let queue = Queue::bounded(4).unwrap();
    let texts: Vec<_> = (0..8).map(|n| text(8190 - n * 9)).collect();
    for n in 0..2000 {
        queue.put(texts[n % 8].clone()).unwrap();
        queue.put(texts[n * 3 % 8].clone()).unwrap();
        assert!(queue.get().unwrap() == texts[n % 8]);
        assert!(queue.get().unwrap() == texts[n * 3 % 8]);
    }
    // Many at once.
    let queue = Queue::bounded(64).unwrap();
    for n in 0..400 {
        let sent: Vec<_> = (0..30)
            .map(|at| texts[(n + at) % 8][..(n * at) % 2000].to_owned())
            .collect();
        assert_eq!(queue.put_many(sent.clone()).unwrap(), 30);
        let mut found = Vec::new();
        while found.len() < 30 {
            found.extend(queue.get_many(30).unwrap());
        }
        assert!(found == sent);
    }
}

/// Short and long ones in one call, where there is room for fewer than that.
fn mixed_batches() {
    let lens = [
        0, 5, 8190, 8191, 300, 20_000, 20_000, 1, 2, 3, 8000, 8000, 8000, 4, 100_000,
    ];
    let units = heap_units();
    for (capacity, most) in [(1, 1), (1, 9), (3, 2), (7, 100), (1000, 6), (1000, 1000)] {
        let (sender, receiver) = Queue::bounded(capacity).unwrap().split();
        let puts = |(queue, lens): (Sender<String>, Vec<usize>)| {
            queue.put_many(lens.into_iter().map(text)).unwrap()
        };
        let all: Vec<usize> = lens.iter().copied().cycle().take(200).collect();
        let child = start(puts, (sender, all.clone()));
        let mut found = Vec::new();
        while let Ok(some) = receiver.get_many(most) {
            assert!((1..=most).contains(&some.len()));
            found.extend(some);
        }
        assert_eq!(child.join().unwrap(), 200);
        assert!(
            found.into_iter().eq(all.into_iter().map(text)),
            "{capacity} {most}"
        );
    }
    heap_is_back("all blocks are freed", units);
}

/// No value gets lost: it is in the queue, in the error, or still in the iterator.
fn batch_that_fails_gives_all_back() {
    let numbers = || (0..100).map(|n| format!("{n}{}", "x".repeat(n % 7 / 6 * 9000)));
    for capacity in [1, 2, 5, 20, 60] {
        let queue = Queue::bounded(capacity).unwrap();
        let child = start(
            |queue: Queue<String>| {
                let mut found = vec![queue.get().unwrap()];
                await_waiters(&queue, 1);
                queue.close().unwrap();
                found.extend(queue.iter().map(Result::unwrap));
                found
            },
            queue.clone(),
        );
        let mut values = numbers();
        let left = match queue.put_many(&mut values) {
            Err(PutError::Closed(left)) => left,
            other => panic!("{other:?}"),
        };
        let received = child.join().unwrap();
        let all = received.into_iter().chain(left).chain(values);
        assert!(all.eq(numbers()), "room for {capacity}");
    }
    // The one that is too long, and none before it.
    let queue = Queue::builder().max_message(4).build().unwrap();
    let mut values = ["a", "b", "too long", "c"].map(str::to_owned).into_iter();
    match queue.put_many(&mut values) {
        Err(PutError::TooLarge(left)) => assert_eq!(left, ["too long"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.get_many(10).unwrap(), ["a", "b"]);
    assert_eq!(values.next().as_deref(), Some("c"));
}

/// Fails on its way out when it is odd, panics when it is 100.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Moody(u32, String);

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Half-way, and after handles have been written.
        let lock = Lock::new().unwrap();
        match self.0 {
            100 => panic!("a hundred"),
            n if n % 2 == 1 => {
                let _ = (&self.1, &lock).serialize(serializer);
                Err(S::Error::custom("odd"))
            }
            _ => (self.0, &self.1).serialize(serializer),
        }
    }
}

fn encoding_fails_q08_q09() {
    let (units, objects) = (heap_units(), family().object_count());
    let queue = Queue::bounded(4).unwrap();
    queue.put(Moody(0, String::new())).unwrap();
    for len in [0, 100, 50_000] {
        let odd = Moody(1, "x".repeat(len));
        match queue.put(odd.clone()) {
            Err(PutError::Encode(back, error)) => {
                assert_eq!(back, odd);
                assert!(error.to_string().contains("odd"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        let panics = || queue.put(Moody(100, "x".repeat(len)));
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a hundred"));
        assert_eq!(queue.len(), 1);
    }
    // In a batch: those before are in the queue, it comes back, those behind are not touched.
    let mut batch = [2, 4, 5, 6].map(|n| Moody(n, String::new())).into_iter();
    match queue.put_many(&mut batch) {
        Err(PutError::Encode(back, _)) => assert_eq!(back, [Moody(5, String::new())]),
        other => panic!("{other:?}"),
    }
    assert_eq!(batch.next().unwrap().0, 6);
    queue.put(Moody(8, String::new())).unwrap();
    assert!(queue.is_full());
    let takes = |queue: Queue<Moody>| [0; 4].map(|_| queue.get().unwrap().0);
    assert_eq!(start(takes, queue.clone()).join().unwrap(), [0, 2, 4, 8]);
    drop(queue);
    await_objects("the locks on their way are freed", objects);
    heap_is_back("the blocks are freed", units);
}

/// Fails on its way in when it is odd, panics when it is 100.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Picky(u32, Option<Lock>, String);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (number, lock, text) = <(u32, Option<Lock>, String)>::deserialize(deserializer)?;
        match number {
            100 => panic!("a hundred"),
            n if n % 2 == 1 => Err(D::Error::custom("odd")),
            _ => Ok(Picky(number, lock, text)),
        }
    }
}

fn decoding_fails() {
    let (units, objects) = (heap_units(), family().object_count());
    let queue = Queue::new().unwrap();
    for (len, lock) in [(0, false), (50_000, false), (0, true), (50_000, true)] {
        let item = |n| Picky(n, lock.then(|| Lock::new().unwrap()), "x".repeat(len));
        [1, 2, 100, 4]
            .iter()
            .for_each(|n| queue.put(item(*n)).unwrap());
        match queue.get() {
            Err(GetError::Decode(error)) => assert!(!error.to_string().is_empty()),
            other => panic!("{other:?}"),
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.get().unwrap().0, 2);
        let payload = catch_unwind(AssertUnwindSafe(|| queue.get())).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a hundred"));
        assert_eq!(queue.get().unwrap().0, 4);
        assert!(queue.is_empty());
    }
    // Several at once: left out, unless there is no other.
    let plain = |n| Picky(n, None, String::new());
    queue.put_many([1, 2, 3, 4, 5].map(plain)).unwrap();
    let found = queue.get_many(10).unwrap();
    assert!(found.iter().map(|one| one.0).eq([2, 4]), "{found:?}");
    queue.put_many([1, 3].map(plain)).unwrap();
    assert!(matches!(queue.get_many(10), Err(GetError::Decode(_))));
    drop((queue, found));
    await_objects("the locks on their way are freed", objects);
    heap_is_back("the blocks are freed", units);
}

#[derive(Serialize, Deserialize)]
enum Letter {
    Word(u32),
    Mailbox(Queue<Letter>),
    Slot(Sender<Letter>),
}

fn queue_in_itself() {
    let objects = family().object_count();
    let queue = Queue::new().unwrap();
    queue.put(Letter::Mailbox(queue.clone())).unwrap();
    queue.put(Letter::Slot(queue.sender())).unwrap();
    let takes = |queue: Queue<Letter>| {
        let Ok(Letter::Mailbox(same)) = queue.get() else {
            return false;
        };
        let Ok(Letter::Slot(slot)) = same.get() else {
            return false;
        };
        slot.put(Letter::Word(7)).unwrap();
        same == queue
    };
    assert!(start(takes, queue.clone()).join().unwrap());
    assert!(matches!(queue.get(), Ok(Letter::Word(7))));
    drop(queue);
    await_objects("it is freed", objects);
}

/// The usual way to get an answer.
fn senders_in_messages() {
    let (requests, served) = Queue::<(u32, Sender<u32>)>::new().unwrap().split();
    let serves = |requests: Receiver<(u32, Sender<u32>)>| {
        for request in requests.iter() {
            let (number, answer) = request.unwrap();
            answer.put(number * 2).unwrap();
        }
    };
    let server = start(serves, served);
    for n in 0..100 {
        let (answer, answered) = Queue::bounded(1).unwrap().split();
        requests.put((n, answer)).unwrap();
        assert_eq!(answered.get(), Ok(n * 2));
        assert_eq!(answered.get(), Err(GetError::Disconnected));
    }
    drop(requests);
    server.join().unwrap();
}
