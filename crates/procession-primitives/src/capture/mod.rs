//! [`OutputCapture`]: keeps the last of what many processes write.

mod reader;
mod stream;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use self::reader::Shared;
use self::stream::Stream;
use crate::process::Stdio;
use crate::sys::{self, SignalMask};

/// Where a captured stream is passed on to, besides being kept.
///
/// Passed on are whole lines, each after the prefix; of a line beyond 8 KiB, pieces. Lines of
/// different streams do not mix. Nothing is lost: where the program's own output is not read, the
/// process waits as if it wrote there itself, and other streams do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tee {
    /// Nowhere.
    #[default]
    Off,
    /// The program's standard output, after this prefix.
    Stdout(String),
    /// The program's standard error, after this prefix.
    Stderr(String),
}

/// Reads the standard streams of any number of processes, and keeps the end of each.
///
/// One thread in this process, which handles no signals, sleeps until there is something to read:
/// so however much a process writes it never waits for long, and no more is kept than asked for.
/// As a program with threads, one that captures cannot use
/// [`StartMethod::Fork`](crate::StartMethod::Fork).
///
/// # Process death
///
/// All that a process wrote before its death is in the [`tail`](CapturedStream::tail) of its
/// stream, as soon as the death is known. Others that still have the stream open do no harm.
///
/// # Drop
///
/// Reads what is there, passes on what is to be passed on (and waits for the program's own output
/// to take it, as a print would), ends the thread and closes all streams: see
/// [`CapturedStream`] for what that means to who still writes. Tails stay.
///
/// # Examples
///
/// ```
/// use procession_primitives::{OutputCapture, Process, Tee};
///
/// let capture = OutputCapture::new()?;
/// let (stderr, captured) = capture.stream(Tee::Off)?;
/// let process = Process::builder().stderr(stderr).spawn(
///     |()| -> () {
///         eprintln!("about to go");
///         std::process::abort()
///     },
///     (),
/// )?;
/// assert!(process.join().is_err());
/// assert_eq!(captured.tail().as_str(), "about to go\n");
/// # Ok::<(), procession_primitives::Error>(())
/// ```
#[derive(Debug)]
pub struct OutputCapture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    tail: usize,
}

/// Bytes that are kept of each stream, unless told otherwise.
const TAIL: usize = 64 << 10;

impl OutputCapture {
    /// Keeps the last 64 KiB of each stream.
    ///
    /// # Errors
    ///
    /// No descriptor is left, or no thread.
    pub fn new() -> io::Result<OutputCapture> {
        Self::with_tail(TAIL)
    }

    /// Keeps the last `bytes` of each stream. Memory is taken as they come.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_tail(bytes: usize) -> io::Result<OutputCapture> {
        let shared = Arc::new(Shared::new()?);
        let theirs = Arc::clone(&shared);
        // The thread has the mask of whoever makes it.
        let mask = SignalMask::block_all();
        let thread = std::thread::Builder::new()
            .name("procession-out".to_owned())
            .spawn(move || reader::run(&theirs));
        mask.restore();
        Ok(OutputCapture {
            shared,
            thread: Some(thread?),
            tail: bytes,
        })
    }

    /// A new stream: the end for one process, to be given to its
    /// [`Builder`](crate::Builder), and what is kept of it.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn stream(&self, tee: Tee) -> io::Result<(Stdio, CapturedStream)> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (ours, theirs) = (sys::above_stdio(ours)?, sys::above_stdio(theirs)?);
        // Of this end only: the process may wait, its reader may not.
        rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        let stream = Arc::new(Stream::new(ours, tee, self.tail));
        self.shared.add(Arc::clone(&stream));
        let captured = CapturedStream {
            shared: Arc::clone(&self.shared),
            stream,
        };
        Ok((Stdio::Fd(theirs), captured))
    }
}

impl Drop for OutputCapture {
    fn drop(&mut self) {
        // In a copy of this process there is no such thread.
        if !self.shared.is_present() {
            return;
        }
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did there would be nothing to do.
            let _ = thread.join();
        }
    }
}

/// What was captured of one stream.
///
/// # Drop
///
/// Closes the stream: nobody can read it any more. A process that still writes to it gets an error
/// (`EPIPE`), and `print!` and `eprint!` panic on it; a process of this library gets no `SIGPIPE`,
/// which it ignores, but programs that it starts may end by one.
pub struct CapturedStream {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
}

impl CapturedStream {
    /// The end of what was written up to now. Does not wait.
    ///
    /// Up to some moment ago, if more than 1 MiB of the stream waits to be passed on.
    #[must_use]
    pub fn tail(&self) -> Tail {
        let present = self.shared.is_present();
        let (tail, owes) = self.stream.tail(present);
        if owes && present {
            self.shared.ring();
        }
        tail
    }

    /// How many bytes have been read of the stream.
    #[must_use]
    pub fn bytes_seen(&self) -> u64 {
        self.stream.seen()
    }
}

impl Drop for CapturedStream {
    fn drop(&mut self) {
        if self.shared.is_present() {
            self.stream.close();
            self.shared.ring();
        }
    }
}

impl fmt::Debug for CapturedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturedStream")
            .field("bytes_seen", &self.bytes_seen())
            .finish_non_exhaustive()
    }
}

/// The end of a stream.
///
/// Displays as its text, after a line that says how much is missing, if something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    text: String,
    cut: u64,
}

impl Tail {
    /// The text. What is no UTF-8 shows as U+FFFD.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, to be kept.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }

    /// How many bytes came before, and are not kept.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.cut
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cut > 0 {
            writeln!(f, "[{} bytes before]", self.cut)?;
        }
        f.write_str(&self.text)
    }
}
