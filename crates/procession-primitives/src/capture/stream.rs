//! One captured stream: its pipe, what is kept of it, and what is still to be passed on.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Tail, Tee};
use crate::sys;

/// Longer lines are passed on in pieces.
const LINE: usize = 8 << 10;

/// With so much to be passed on a stream is not read any further.
const OWED: usize = 64 << 10;

/// With so much not even by who asks for its end.
const MUCH_OWED: usize = 1 << 20;

/// What a pipe takes at once or not at all: lines of several writers do not mix.
const ATOMIC: usize = 4096;

/// One of the program's own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Stdout,
    Stderr,
}

impl Target {
    /// The descriptor itself: std's lock may be held by whoever waits for the writer.
    pub(super) fn fd(self) -> BorrowedFd<'static> {
        match self {
            Self::Stdout => sys::standard(1),
            Self::Stderr => sys::standard(2),
        }
    }
}

pub(super) struct Stream {
    target: Option<Target>,
    prefix: String,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Until its end, or until nobody wants to know any more.
    pipe: Option<Arc<OwnedFd>>,
    tail: VecDeque<u8>,
    seen: u64,
    /// The line that has not ended yet, if lines are passed on.
    line: Vec<u8>,
    /// Lines to be passed on.
    owed: VecDeque<u8>,
}

impl Stream {
    pub(super) fn new(pipe: OwnedFd, tee: Tee, limit: usize) -> Stream {
        let (target, prefix) = match tee {
            Tee::Off => (None, String::new()),
            Tee::Stdout(prefix) => (Some(Target::Stdout), prefix),
            Tee::Stderr(prefix) => (Some(Target::Stderr), prefix),
        };
        let state = State {
            pipe: Some(Arc::new(pipe)),
            ..State::default()
        };
        Stream {
            target,
            prefix,
            limit,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipe, if the stream is to be read now.
    pub(super) fn to_read(&self) -> Option<Arc<OwnedFd>> {
        let state = self.lock();
        state.pipe.clone().filter(|_| state.owed.len() <= OWED)
    }

    pub(super) fn owes(&self, target: Target) -> bool {
        self.target == Some(target) && !self.lock().owed.is_empty()
    }

    /// Whether nothing will ever have to be done for it again.
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.pipe.is_none() && state.owed.is_empty()
    }

    /// Reads once, as much as there is and as fits.
    pub(super) fn read(&self, space: &mut [u8]) {
        let mut state = self.lock();
        self.read_once(&mut state, space);
    }

    /// Returns whether there may be more.
    fn read_once(&self, state: &mut State, space: &mut [u8]) -> bool {
        let Some(pipe) = state.pipe.clone() else {
            return false;
        };
        match rustix::io::read(&*pipe, &mut *space) {
            Err(Errno::AGAIN) => false,
            Err(Errno::INTR) => true,
            Ok(0) | Err(_) => {
                state.pipe = None;
                self.end_line(state);
                false
            }
            Ok(len) => {
                self.take(state, &space[..len]);
                true
            }
        }
    }

    /// Reads what is in the pipe now.
    fn read_all(&self, state: &mut State) {
        let Some(pipe) = state.pipe.clone().filter(|_| state.owed.len() <= MUCH_OWED) else {
            return;
        };
        // No more than that: a writer may be faster.
        let end = state.seen + rustix::io::ioctl_fionread(&*pipe).unwrap_or(0);
        drop(pipe);
        let mut space = [0; ATOMIC];
        while state.seen < end && self.read_once(state, &mut space) {}
    }

    fn take(&self, state: &mut State, bytes: &[u8]) {
        state.seen += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(self.limit)..];
        let surplus = (state.tail.len() + kept.len()).saturating_sub(self.limit);
        state.tail.drain(..surplus);
        state.tail.extend(kept);
        if self.target.is_none() {
            return;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(LINE) {
                state.line.extend(piece);
                if state.line.ends_with(b"\n") || state.line.len() >= LINE {
                    self.end_line(state);
                }
            }
        }
    }

    fn end_line(&self, state: &mut State) {
        if state.line.is_empty() {
            return;
        }
        let line = std::mem::take(&mut state.line);
        state.owed.extend(self.prefix.as_bytes());
        state.owed.extend(line.strip_suffix(b"\n").unwrap_or(&line));
        state.owed.push_back(b'\n');
    }

    /// The end of the stream, read up to now if `read`, and whether something is to be passed on.
    pub(super) fn tail(&self, read: bool) -> (Tail, bool) {
        let mut state = self.lock();
        if read {
            self.read_all(&mut state);
        }
        let cut = state.seen - state.tail.len() as u64;
        let bytes = state.tail.make_contiguous();
        // Not the rest of a character whose beginning was cut off.
        let rest = |byte: &&u8| **byte & 0xc0 == 0x80;
        let skipped = match cut {
            0 => 0,
            _ => bytes.iter().take(3).take_while(rest).count(),
        };
        let tail = Tail {
            text: String::from_utf8_lossy(&bytes[skipped..]).into_owned(),
            cut: cut + skipped as u64,
        };
        (tail, !state.owed.is_empty())
    }

    pub(super) fn seen(&self) -> u64 {
        self.lock().seen
    }

    /// Reads for the last time. Closes the pipe, unless the reader is just waiting for it.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        self.read_all(&mut state);
        state.pipe = None;
        self.end_line(&mut state);
    }

    /// Passes on some of what is owed, at most what a pipe takes at once. Returns whether it ended
    /// with a line.
    pub(super) fn pay(&self, target: Target) -> bool {
        let mut chunk = self.chunk();
        match rustix::io::write(target.fd(), &chunk) {
            Ok(len) => chunk.truncate(len),
            Err(Errno::AGAIN | Errno::INTR) => return false,
            // It is closed, or nobody reads it.
            Err(_) => {}
        }
        self.lock().owed.drain(..chunk.len());
        chunk.last() == Some(&b'\n')
    }

    fn chunk(&self) -> Vec<u8> {
        let state = self.lock();
        let mut chunk: Vec<u8> = state.owed.iter().take(ATOMIC).copied().collect();
        if let Some(end) = chunk.iter().rposition(|byte| *byte == b'\n') {
            chunk.truncate(end + 1);
        }
        chunk
    }
}
