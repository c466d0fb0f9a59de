//! What is in the queues: messages that say of themselves whether they are whole.

use procession_sync::{Lock, Queue};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: u32,
    text: String,
    lock: Option<Lock>,
}

/// The message `id`, whose last digit says what it is like: 1 is long, 2 has a handle, 3 takes
/// several words of the ring, others are short.
pub(crate) fn item(id: u32) -> Item {
    let len = match id % 10 {
        // A little more than goes through the ring: each byte that is copied may be a step.
        1 => 8_200,
        3 => 100,
        _ => 0,
    };
    Item {
        id,
        text: char::from(b'a' + (id / 10 % 26) as u8)
            .to_string()
            .repeat(len),
        lock: (id % 10 == 2).then(|| Lock::new().unwrap()),
    }
}

impl Item {
    /// Panics if it is not as it was made.
    pub(crate) fn checked(self) -> u32 {
        let same = item(self.id);
        assert!(self.text == same.text, "message {} is torn", self.id);
        assert_eq!(self.lock.is_some(), same.lock.is_some());
        if let Some(lock) = &self.lock {
            drop(lock.acquire().unwrap());
        }
        self.id
    }
}

/// Goes on to two words before the end of the ring, which has 8192 of them.
pub(crate) fn advance(queue: &Queue<Item>) {
    // 1025 words each, and 1015.
    for len in [8188, 8188, 8188, 8188, 8188, 8188, 8188, 8108] {
        let filler = Item {
            id: 0,
            text: "f".repeat(len),
            lock: None,
        };
        queue.put(filler).unwrap();
        queue.get().unwrap();
    }
}
