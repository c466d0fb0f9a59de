//! Entries are read as they were written, whatever follows what.

use procession_primitives::{Number, NumberKind, OutOfMemory, Sink, encode_unguarded};

use super::{Entries, Entry, Page, Pen, Value, kind_of_run, open_run};
use crate::record::{HEADER, Tag};

#[derive(Default)]
struct Paper(Vec<u8>, Pen);

impl Sink for Paper {
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.0.put(bytes)
    }
}

impl Page for Paper {
    fn pen(&mut self) -> &mut Pen {
        &mut self.1
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn write_over(&mut self, at: usize, header: [u8; HEADER]) {
        self.0[at..at + HEADER].copy_from_slice(&header);
    }

    fn cut(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn room(&mut self) -> &mut [u8] {
        &mut []
    }

    fn wrote(&mut self, _bytes: usize) {}
}

fn paper() -> Paper {
    let mut paper = Paper::default();
    paper.pen().runs = true;
    paper
}

impl Paper {
    fn write(&mut self, value: &impl serde::Serialize) {
        encode_unguarded(value, &mut Value(self)).unwrap();
        self.end(Tag::Value);
    }

    fn read(&self) -> Vec<String> {
        let entries = Entries::new(&self.0);
        entries
            .map(|entry| match entry {
                Entry::Record(tag, bytes) => format!("{tag:?} {bytes:?}"),
                Entry::Number(number) => format!("{:?} {}", number.kind(), number.bits()),
            })
            .collect()
    }
}

#[test]
fn runs_and_records_take_turns() {
    let mut paper = paper();
    paper.write(&1_u64);
    paper.write(&2_u64);
    paper.write(&-1_i64);
    paper.write(&"text");
    paper.write(&3_u8);
    paper.write(&4_u8);
    let expected = [
        "Unsigned 1",
        "Unsigned 2",
        "Signed 1",
        "Value [4, 116, 101, 120, 116]",
        "Byte 3",
        "Byte 4",
    ];
    assert_eq!(paper.read(), expected);
    // Each number of a run takes eight bytes, and nothing else.
    let len = paper.0.len();
    paper.write(&5_u8);
    assert_eq!(paper.0.len(), len + 8);
}

#[test]
fn numbers_are_records_for_those_who_know_no_runs() {
    let mut paper = Paper::default();
    paper.write(&1_u64);
    paper.write(&300_u64);
    assert_eq!(paper.read(), ["Value [1]", "Value [172, 2]"]);
}

#[test]
fn what_was_begun_can_be_undone() {
    for first in [&b""[..], b"record"] {
        let mut paper = paper();
        paper.write(&1_u64);
        if !first.is_empty() {
            paper.write(&first);
        }
        let (before, start) = (paper.read(), paper.len());
        encode_unguarded(&2_u64, &mut Value(&mut paper)).unwrap();
        paper.undo(start);
        assert_eq!(paper.read(), before);
        encode_unguarded("record", &mut Value(&mut paper)).unwrap();
        paper.undo(start);
        assert_eq!(paper.read(), before);
        paper.begin_record().unwrap();
        paper.put(&[7]).unwrap();
        paper.end(Tag::Panicked);
        paper.write(&3_u64);
        let mut expected = before;
        expected.extend(["Panicked [7]".to_owned(), "Unsigned 3".to_owned()]);
        assert_eq!(paper.read(), expected);
    }
}

#[test]
fn an_open_run_is_closed_by_whoever_goes_on() {
    let mut dead = paper();
    dead.write(&"a");
    let at = dead.len();
    dead.write(&1_u64);
    dead.write(&2_u64);
    assert_eq!(open_run(&dead.0), Some(at));
    let mut heir = paper();
    heir.0 = dead.0;
    let kind = kind_of_run(&heir.0, at).unwrap();
    heir.close_run_at(at, kind);
    assert_eq!(open_run(&heir.0), None);
    heir.write(&3_u64);
    heir.write(&"b");
    let expected = [
        "Value [1, 97]",
        "Unsigned 1",
        "Unsigned 2",
        "Unsigned 3",
        "Value [1, 98]",
    ];
    assert_eq!(heir.read(), expected);
}

#[test]
fn bytes_that_are_no_entries_end_it() {
    let mut paper = paper();
    paper.write(&1_u64);
    paper.write(&2_u64);
    paper.write(&"x");
    let whole = paper.0.clone();
    for len in 0..whole.len() {
        let count = Entries::new(&whole[..len]).count();
        assert!(count < 3, "{len}");
        open_run(&whole[..len]);
    }
    // A run that is longer than all there is, and one that is not of whole numbers.
    for len in [u64::MAX >> 8, 100, 9] {
        let header = (len << 8 | 17).to_le_bytes();
        let bytes = [&header[..], &[0; 16]].concat();
        assert!(Entries::new(&bytes).count() <= 1, "{len}");
    }
    assert_eq!(Entries::new(&[0xFF; 64]).count(), 0);
    let number = Number::new(NumberKind::Double, 0);
    assert_eq!(number.bits(), 0);
}
