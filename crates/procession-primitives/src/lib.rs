//! The lowest layer of Procession: processes, function identity and crash-safe shared memory.
//!
//! # Processes
//!
//! [`Process::spawn`] runs a function in a new process and [`Process::join`] returns its value, or
//! the truth about why there is none. Functions are function items or closures without captures;
//! what they need is passed as an argument of any serde type. Descriptors travel inside
//! [`SendFd`].
//!
//! ```
//! use procession_primitives::{Process, ProcessError};
//!
//! let sum = Process::spawn(|(a, b)| a + b, (1_u32, 2))?;
//! assert_eq!(sum.join()?, 3);
//!
//! let crash = Process::spawn(|()| -> u32 { std::process::abort() }, ())?;
//! let Err(ProcessError::Died(death)) = crash.join() else { panic!() };
//! assert_eq!(death.signal(), Some(6));
//! # Ok::<(), procession_primitives::Error>(())
//! ```
//!
//! A process never outlives the one that started it. Its own descendants, also programs that have
//! detached, end with it.
//!
//! # Where a child begins
//!
//! A program calls [`init`] as the first line of `main`: there its children enter. Where nobody
//! calls it (tests, doctests, benches, examples) a hook that the loader runs before `main` takes
//! the child over. A child never runs the program's `main` beyond `init`, in neither case. What
//! differs for the second kind: a stack overflow shows as a plain `SIGSEGV`, the main thread has no
//! name, and constructors of other crates may not have run yet.
//!
//! # The family
//!
//! A program and all its processes are a [`Family`], which shares one anonymous memory file and is
//! looked after by a supervisor: a small process that makes all others, notices their death, gives
//! back what they held and wakes who waits. It starts with the first use and ends with the
//! program. Should it be killed, running processes end, their joins say so, and the next use
//! starts a new one.
//!
//! Processes of [`StartMethod::ForkServer`] and [`StartMethod::Spawn`] have the environment and
//! directory of their creator; user and group, umask, limits and standard streams are as they were
//! when the supervisor started.
//!
//! # Limits, output, interrupts
//!
//! A [`Builder`] sets niceness, CPUs and a memory limit. [`OutputCapture`] keeps the last that
//! processes write, for [`Death::with_output`] among others. [`Interrupts`] makes Ctrl+C something
//! to wait for.
//!
//! # Shared memory
//!
//! [`SharedMemory`] is named, for programs that have nothing in common, Python among them, or
//! anonymous. [`Arena`], [`Block`], [`News`] and the wire functions are what the layers above are
//! built from.

#[cfg(not(target_os = "linux"))]
compile_error!("procession runs on Linux only (kernel 5.10 or newer)");

mod arena;
mod capture;
mod cpu;
mod door;
mod family;
mod image;
mod interrupts;
mod member;
mod memory;
mod object;
mod panic;
mod park;
mod prefetch;
mod process;
mod protocol;
mod reason;
mod signal;
mod status;
mod supervisor;
mod surroundings;
mod sys;
mod thread;
mod waiting;
mod wire;

pub use arena::{
    Arena, Block, BlockId, HeapUsage, OutOfMemory, Shared, Writer, copy_short, place_for_word,
};
pub use capture::{CapturedStream, OutputCapture, Tail, Tee};
pub use cpu::cpu_count;
pub use door::init;
pub use family::{Family, FamilyError};
pub use image::{BuildId, CodeAddress, CodeError, build_id, fn_from_address};
pub use interrupts::{InterruptSignal, Interrupts, exit_now};
pub use member::{MemberId, MemberState};
pub use memory::{SharedMemory, SharedMemoryBuilder, SharedMemoryError, total_memory};
pub use object::{
    Holder, Kind, Object, ObjectError, ObjectId, Passengers, Standing, all_arrived, arriving_in,
    boarding, take_boarded,
};
pub use panic::{Panic, PanicLocation, catch, on_backtrace, quietly};
pub use park::{News, monotonic_micros, monotonic_nanos, wake};
pub use prefetch::{prefetch, prefetch_to_write};
pub use process::{
    Builder, Death, MemoryUsage, Phase, Process, ProcessError, ProcessInfo, StartError,
    StartMethod, Stdio, active_children, current_process, own_memory, parent_process,
};
pub use status::ExitStatus;
pub use waiting::{ObjectWait, WaitNote};
pub use wire::{
    DecodeError, EncodeError, Number, NumberKind, SendFd, Sink, decode, decode_number,
    decode_unguarded, encode, encode_unguarded,
};

/// Any error of any layer, for programs that only report it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of a program that reports any error of any layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
