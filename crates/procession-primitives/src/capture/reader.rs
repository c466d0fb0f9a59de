//! The thread that reads captured streams: it sleeps in `poll`, on
//!
//! - the alarm: streams came or went, or it is to end;
//! - all streams, apart from those with too much to be passed on;
//! - the program's own output, while there is something to be passed on to it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;

use super::stream::{Stream, Target};

/// Read of a stream at a time: what a pipe holds.
const ROOM: usize = 64 << 10;

/// The program's own streams.
const TARGETS: [Target; 2] = [Target::Stdout, Target::Stderr];

pub(super) struct Shared {
    streams: Mutex<Vec<Arc<Stream>>>,
    alarm: OwnedFd,
    stopped: AtomicBool,
    /// The process that the thread is in.
    pid: u32,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new() -> io::Result<Shared> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let alarm = rustix::event::eventfd(0, flags)?;
        Ok(Shared {
            streams: Mutex::new(Vec::new()),
            alarm: crate::sys::above_stdio(alarm)?,
            stopped: AtomicBool::new(false),
            pid: std::process::id(),
        })
    }

    /// Whether this process is not a copy of the one with the thread.
    pub(super) fn is_present(&self) -> bool {
        self.pid == std::process::id()
    }

    pub(super) fn add(&self, stream: Arc<Stream>) {
        self.lock().push(stream);
        self.ring();
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.ring();
    }

    /// Has the thread look again.
    pub(super) fn ring(&self) {
        // Fails when the alarm rings already.
        let _ = rustix::io::write(&self.alarm, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The streams that there is something to do for.
    fn present(&self) -> Vec<Arc<Stream>> {
        let mut streams = self.lock();
        streams.retain(|stream| !stream.is_over());
        streams.clone()
    }
}

/// The thread's whole life.
pub(super) fn run(shared: &Shared) {
    let mut reader = Reader {
        space: vec![0; ROOM],
        turn: 0,
        unfinished: [None, None],
    };
    loop {
        if shared.stopped.load(Ordering::Relaxed) || !reader.round(shared) {
            break;
        }
    }
    for stream in shared.present() {
        stream.close();
        for target in TARGETS {
            while stream.owes(target) {
                // Waits, unless the target does not.
                let mut polled = [PollFd::from_borrowed_fd(target.fd(), PollFlags::OUT)];
                let _ = rustix::event::poll(&mut polled, None);
                stream.pay(target);
            }
        }
    }
}

struct Reader {
    space: Vec<u8>,
    /// Counts rounds, so that no stream is always the first.
    turn: usize,
    /// For each target, the stream of which half a line was passed on.
    unfinished: [Option<Arc<Stream>>; 2],
}

impl Reader {
    /// Waits, and does what there is to do. False if that cannot go on.
    fn round(&mut self, shared: &Shared) -> bool {
        let mut streams = shared.present();
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % streams.len().max(1);
        streams.rotate_left(first);
        let reads: Vec<_> = streams
            .iter()
            .filter_map(|stream| Some((stream, stream.to_read()?)))
            .collect();
        let owing = TARGETS.map(|target| streams.iter().find(|stream| stream.owes(target)));
        let mut polled = vec![PollFd::new(&shared.alarm, PollFlags::IN)];
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        polled.extend(reads.iter().map(|(_, pipe)| readable(pipe.as_fd())));
        for (target, owing) in TARGETS.into_iter().zip(&owing) {
            if owing.is_some() {
                polled.push(PollFd::from_borrowed_fd(target.fd(), PollFlags::OUT));
            }
        }
        match rustix::event::poll(&mut polled, None) {
            Err(Errno::INTR) => return true,
            Err(_) => return false,
            Ok(_) => {}
        }
        let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
        if ready.next() == Some(true) {
            let _ = rustix::io::read(&shared.alarm, &mut [0_u8; 8]);
        }
        for ((stream, _), ready) in reads.iter().zip(&mut ready) {
            if ready {
                stream.read(&mut self.space);
            }
        }
        for ((target, owing), unfinished) in
            TARGETS.into_iter().zip(owing).zip(&mut self.unfinished)
        {
            if let Some(first) = owing
                && ready.next() == Some(true)
            {
                let stream = unfinished.take().filter(|stream| stream.owes(target));
                let stream = stream.unwrap_or_else(|| Arc::clone(first));
                if !stream.pay(target) {
                    *unfinished = Some(stream);
                }
            }
        }
        true
    }
}
