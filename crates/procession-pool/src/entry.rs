//! How items and values follow each other where the other end knows runs of numbers.
//!
//! Each is a record (`record.rs`), or a number of a *run*: a header as of a record, then eight bytes
//! for each number. Calls over numbers do little else than encode and decode them, and a number of a
//! run takes neither a header nor an encoding of its own.
//!
//! | the length in a run's header | the run | who leaves this state |
//! |---|---|---|
//! | 0 | is open: it goes to the end of what is there | whoever writes, before a record or a run of another kind |
//! | not 0 | has so many bytes | nobody |
//!
//! Killed at any point, a writer leaves a run that is open, or closed with all the numbers that it
//! has: it is closed by one store, before anything is written behind it.

use procession_primitives::{Number, NumberKind, OutOfMemory, Sink};

use crate::record::{self, HEADER, Records, Tag};

/// In a header, from here on: a kind of numbers.
const RUN: u8 = 16;

/// Bytes of a number.
pub(crate) const NUMBER: usize = size_of::<u64>();

fn run_header(kind: NumberKind, len: usize) -> [u8; HEADER] {
    ((len as u64) << 8 | (u64::from(RUN) + kind as u64)).to_le_bytes()
}

/// Length and kind of the run that begins at the start of `bytes`.
fn run_at(bytes: &[u8]) -> Option<(usize, NumberKind)> {
    let word = u64::from_le_bytes(*bytes.first_chunk::<HEADER>()?);
    let kind = NumberKind::from_byte((word as u8).checked_sub(RUN)?)?;
    let len = usize::try_from(word >> 8).ok()?;
    let most = bytes.len() - HEADER;
    let len = if len == 0 { most } else { len };
    (len <= most).then_some((len, kind))
}

/// An item, or what has come of one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'a> {
    Record(Tag, &'a [u8]),
    Number(Number),
}

/// Reads entries one by one. Ends early where the bytes are not whole entries.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'a> {
    kind: NumberKind,
    /// The numbers of a run that are left.
    run: &'a [u8],
    rest: Records<'a>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Entries<'a> {
        Entries {
            kind: NumberKind::Byte,
            run: &[],
            rest: Records(bytes),
        }
    }

    #[inline]
    fn number(&mut self) -> Option<Entry<'a>> {
        let (word, run) = self.run.split_first_chunk::<NUMBER>()?;
        self.run = run;
        let number = Number::new(self.kind, u64::from_le_bytes(*word));
        Some(Entry::Number(number))
    }

    /// The kind of the numbers that are left of the run in hand, and those; none where the next entry
    /// is not one of them.
    #[inline]
    pub(crate) fn numbers(&self) -> (NumberKind, &'a [[u8; NUMBER]]) {
        (self.kind, self.run.as_chunks().0)
    }

    /// Goes on behind the next `count` of the [`numbers`](Self::numbers).
    #[inline]
    pub(crate) fn skip_numbers(&mut self, count: usize) {
        self.run = self.run.get(count * NUMBER..).unwrap_or_default();
    }

    /// Begins the run that is next, if it is one.
    #[inline]
    pub(crate) fn open_run(&mut self) -> Option<()> {
        let bytes = self.rest.0;
        // The lowest byte of a header comes first.
        if !self.run.is_empty() || bytes.first().is_none_or(|kind| *kind < RUN) {
            return None;
        }
        let (len, kind) = run_at(bytes)?;
        let (run, rest) = bytes.get(HEADER..)?.split_at_checked(len)?;
        (self.kind, self.run, self.rest) = (kind, run, Records(rest));
        Some(())
    }

    fn record(&mut self) -> Option<Entry<'a>> {
        if self.open_run().is_some() {
            return self.number();
        }
        if !self.run.is_empty() {
            // The rest of a number.
            return None;
        }
        let record = self.rest.next();
        record.map(|(tag, bytes)| Entry::Record(tag, bytes))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        self.number().or_else(|| self.record())
    }
}

/// Where the open run of whole entries begins, if there is one.
pub(crate) fn open_run(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let word = u64::from_le_bytes(*rest.first_chunk::<HEADER>()?);
        if word >> 8 == 0 && run_at(rest).is_some() {
            return Some(at);
        }
        at = at
            .checked_add(HEADER)?
            .checked_add(usize::try_from(word >> 8).ok()?)?;
    }
    None
}

/// What a writer of entries has to know between two of them.
#[derive(Debug, Default)]
pub(crate) struct Pen {
    /// Whether the other end knows runs.
    pub(crate) runs: bool,
    /// The run that is open, and where it begins.
    run: Option<(NumberKind, usize)>,
    /// Where the record that is being written begins.
    record: Option<usize>,
}

/// What entries are written to.
pub(crate) trait Page: Sink {
    fn pen(&mut self) -> &mut Pen;

    fn len(&self) -> usize;

    /// Writes over what was written at `at`.
    fn write_over(&mut self, at: usize, header: [u8; HEADER]);

    /// Drops what was written from `len` on.
    fn cut(&mut self, len: usize);

    /// What there is room for without further ado.
    fn room(&mut self) -> &mut [u8];

    /// Counts the next `bytes` bytes, which were written to [`room`](Self::room).
    fn wrote(&mut self, bytes: usize);

    /// The kind of the run that is open, and places for its next numbers: see
    /// [`filled`](Self::filled).
    #[inline]
    fn places(&mut self) -> Option<(NumberKind, &mut [[u8; NUMBER]])> {
        let (kind, _) = self.pen().run?;
        Some((kind, self.room().as_chunks_mut().0))
    }

    /// Counts the next `count` numbers, which were put into [`places`](Self::places).
    #[inline]
    fn filled(&mut self, count: usize) {
        self.wrote(count * NUMBER);
    }

    /// Begins a record, which [`end`](Self::end) ends.
    #[inline]
    fn begin_record(&mut self) -> Result<(), OutOfMemory> {
        self.close_run();
        let at = self.len();
        self.pen().record = Some(at);
        self.put_word(0, HEADER)
    }

    /// Ends an entry. Whether it is a record, of kind `tag` then.
    #[inline]
    fn end(&mut self, tag: Tag) -> bool {
        let Some(at) = self.pen().record.take() else {
            return false;
        };
        let len = self.len() - at - HEADER;
        self.write_over(at, record::header(tag, len));
        true
    }

    /// Drops what was written from `start` on, where an entry begins that cannot be ended.
    #[cold]
    fn undo(&mut self, start: usize) {
        self.cut(start);
        self.pen().record = None;
        if self.pen().run.is_some_and(|(_, at)| at >= start) {
            self.pen().run = None;
        }
        self.close_run();
    }

    #[inline]
    fn close_run(&mut self) {
        if let Some((kind, at)) = self.pen().run.take() {
            let len = self.len() - at - HEADER;
            self.write_over(at, run_header(kind, len));
        }
    }

    /// Closes the run that somebody else has left open at `at`.
    fn close_run_at(&mut self, at: usize, kind: NumberKind) {
        self.pen().run = Some((kind, at));
        self.close_run();
    }
}

/// Takes an item or a value.
pub(crate) struct Value<'a, P>(pub(crate) &'a mut P);

impl<P: Page> Value<'_, P> {
    /// A number that does not go on with a run: it begins one, where it may.
    #[inline(never)]
    fn put_first(&mut self, number: Number) -> Result<(), OutOfMemory> {
        if !self.0.pen().runs {
            self.0.begin_record()?;
            return number.put(self.0);
        }
        self.0.close_run();
        let at = self.0.len();
        self.0.put(&run_header(number.kind(), 0))?;
        self.0.pen().run = Some((number.kind(), at));
        self.0.put_word(number.bits(), NUMBER)
    }
}

impl<P: Page> Sink for Value<'_, P> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.0.put(bytes)
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) -> Result<(), OutOfMemory> {
        self.0.put_byte(byte)
    }

    #[inline]
    fn put_word(&mut self, word: u64, len: usize) -> Result<(), OutOfMemory> {
        self.0.put_word(word, len)
    }

    #[inline]
    fn begin(&mut self) -> Result<(), OutOfMemory> {
        self.0.begin_record()
    }

    #[inline]
    fn put_number(&mut self, number: Number) -> Result<(), OutOfMemory> {
        // Only who may have runs has one.
        let run = self.0.pen().run;
        if run.is_none_or(|(kind, _)| kind != number.kind()) {
            return self.put_first(number);
        }
        self.0.put_word(number.bits(), NUMBER)
    }
}

/// The kind of the run that begins at `at`.
pub(crate) fn kind_of_run(bytes: &[u8], at: usize) -> Option<NumberKind> {
    run_at(bytes.get(at..)?).map(|(_, kind)| kind)
}

#[cfg(test)]
#[path = "entry/tests.rs"]
mod tests;
