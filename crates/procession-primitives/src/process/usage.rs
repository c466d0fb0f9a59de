//! How much memory a process has.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::sys;

/// How much memory a process has, in bytes.
///
/// The kernel counts per CPU and adds up now and then: each number may be some hundred KB behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUsage {
    resident: u64,
    peak: u64,
    data: u64,
}

impl MemoryUsage {
    /// What of the machine's memory is mapped now, shared pages included.
    #[must_use]
    #[doc(alias = "rss")]
    pub fn resident(&self) -> u64 {
        self.resident
    }

    /// The most that was resident since the process began.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Private writable memory, touched or only reserved: what
    /// [`memory_limit`](crate::Builder::memory_limit) counts, and the first thread's stack.
    #[must_use]
    pub fn data(&self) -> u64 {
        self.data
    }

    /// Of process `pid`; `None` if it has ended. `pidfd` tells whether the number was its.
    pub(super) fn of(pid: u32, pidfd: BorrowedFd<'_>) -> Option<MemoryUsage> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let mut polled = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        let ended = rustix::event::poll(&mut polled, Some(&Timespec::default()));
        if ended != Ok(0) {
            return None;
        }
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kilobytes << 10)
        };
        // A process that is about to end has given its memory back, and has none of the lines.
        let resident = field("VmRSS:")?;
        Some(MemoryUsage {
            resident,
            peak: field("VmHWM:")?.max(resident),
            data: field("VmData:")? + field("VmStk:")?,
        })
    }
}

/// `/proc/self/statm` of the process with this number.
static KEPT: Mutex<Option<(u32, File)>> = Mutex::new(None);

/// How much private writable memory this process has now, in bytes, touched or not: its own
/// [`data`](MemoryUsage::data), which [`memory_limit`](crate::Builder::memory_limit) limits.
///
/// For a worker that looks after itself between two tasks: less than a microsecond, as the file of
/// `/proc` that it reads stays open from the first call on (one descriptor).
///
/// # Errors
///
/// Without `/proc`, or a descriptor for it.
///
/// # Examples
///
/// ```
/// let before = procession_primitives::own_memory()?;
/// let bytes = vec![1_u8; 64 << 20];
/// let after = procession_primitives::own_memory()?;
/// assert!(after > before + (bytes.len() / 2) as u64);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn own_memory() -> io::Result<u64> {
    let me = std::process::id();
    // A copy of this process, made while a thread was here, finds the lock taken for ever.
    let Ok(mut kept) = KEPT.try_lock() else {
        return read(&open()?);
    };
    if let Some((pid, file)) = kept.take() {
        let found = (pid == me).then(|| read(&file));
        if let Some(Ok(bytes)) = found {
            *kept = Some((pid, file));
            return Ok(bytes);
        }
        if found.is_some() {
            // Somebody closed the descriptor and uses the number: it is not ours to close.
            let _ = file.into_raw_fd();
        }
    }
    let (_, file) = kept.insert((me, open()?));
    read(file)
}

fn open() -> io::Result<File> {
    let file = OwnedFd::from(File::open("/proc/self/statm")?);
    Ok(File::from(sys::above_stdio(file)?))
}

fn read(file: &File) -> io::Result<u64> {
    let mut space = [0; 256];
    let len = file.read_at(&mut space, 0)?;
    let parse = || {
        let text = std::str::from_utf8(&space[..len]).ok()?;
        // The sixth: private writable pages, touched or not, and the first thread's stack.
        let pages: u64 = text.split_whitespace().nth(5)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    };
    parse().ok_or_else(|| io::ErrorKind::InvalidData.into())
}
