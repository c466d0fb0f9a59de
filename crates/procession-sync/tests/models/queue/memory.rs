//! The memory of a ring, modelled: loom tells when a word is touched without order, and a kill
//! can come before each word that is written.
#![allow(unsafe_code, reason = "has the functions of the shipped file")]

use std::cell::Cell;
use std::rc::Rc;

use loom::cell::UnsafeCell;

use crate::queue::bytes::Bytes;
use crate::scene;

#[derive(Debug, Default)]
struct Word {
    touched: UnsafeCell<()>,
    value: Cell<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Memory(Rc<[Word]>);

impl Memory {
    pub(crate) unsafe fn new(_at: *mut u64, words: u64) -> Memory {
        Memory((0..words).map(|_| Word::default()).collect())
    }

    pub(crate) fn words(&self) -> u64 {
        self.0.len() as u64
    }

    fn word(&self, place: u64) -> &Word {
        &self.0[place as usize % self.0.len()]
    }

    pub(crate) unsafe fn read(&self, place: u64) -> u64 {
        let word = self.word(place);
        word.touched.with(|_| ());
        word.value.get()
    }

    pub(crate) unsafe fn write(&self, place: u64, value: u64) {
        if scene::step() {
            let word = self.word(place);
            word.touched.with_mut(|_| ());
            word.value.set(value);
        }
    }

    pub(crate) unsafe fn write_bytes(&self, place: u64, bytes: &[u8]) {
        for (place, bytes) in (place..).zip(bytes.chunks(8)) {
            let value = u64::from_ne_bytes(bytes.try_into().expect("whole words"));
            // SAFETY: as promised by the caller.
            unsafe { self.write(place, value) };
        }
    }

    pub(crate) unsafe fn read_bytes(&self, place: u64, len: usize, to: &mut Bytes) {
        for place in place..place + len as u64 / 8 {
            // SAFETY: as promised by the caller.
            to.push_word(unsafe { self.read(place) });
        }
    }
}
