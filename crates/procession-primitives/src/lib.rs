//! The lowest layer of Procession: processes, function identity and crash-safe shared memory.

#[cfg(not(target_os = "linux"))]
compile_error!("procession runs on Linux only (kernel 5.10 or newer)");

mod arena;
mod cpu;
mod door;
mod family;
mod image;
mod member;
mod memory;
mod panic;
mod park;
mod process;
mod protocol;
mod status;
mod supervisor;
mod surroundings;
mod sys;
mod wire;

pub use arena::{Arena, Block, BlockId, OutOfMemory, Shared, Writer, copy_short};
pub use cpu::cpu_count;
pub use door::init;
pub use family::{Family, FamilyError};
pub use image::{BuildId, CodeAddress, CodeError, build_id, fn_from_address};
pub use member::{MemberId, MemberState};
pub use memory::{SharedMemory, SharedMemoryBuilder, SharedMemoryError};
pub use panic::{Panic, PanicLocation, catch, quietly};
pub use park::{News, wake};
pub use process::{
    Builder, Death, Phase, Process, ProcessError, ProcessInfo, StartError, StartMethod, Stdio,
    active_children, current_process, parent_process,
};
pub use status::ExitStatus;
pub use wire::{
    DecodeError, EncodeError, SendFd, Sink, decode, decode_unguarded, encode, encode_unguarded,
};

/// Any error of any layer, for programs that only report it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of a program that reports any error of any layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
