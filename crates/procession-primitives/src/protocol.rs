//! What members and their supervisor say to each other, over one `SOCK_SEQPACKET` pair each.
//!
//! A member asks, the supervisor answers, one message each. A request larger than a packet lies
//! in a block of the arena, whose name is sent instead.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::arena::BlockId;
use crate::member::MemberId;
use crate::process::Limits;

/// Increases with every change of the messages.
pub(crate) const VERSION: u32 = 2;

/// The kernel passes at most 253 descriptors with a message; three may be standard ones.
pub(crate) const MAX_DESCRIPTORS: usize = 250;

/// Larger requests go through the arena.
pub(crate) const MAX_PACKET: usize = 64 << 10;

/// How a process is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Method {
    ForkServer,
    Spawn,
    Fork,
}

/// The encoded argument of a member's function.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Payload {
    Inline(Bytes),
    Block(BlockId, u64),
}

/// Bytes that are encoded in one piece.
#[derive(Debug, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Bytes(bytes.to_vec()))
    }
}

/// Where a standard stream of a new process leads; `Given` takes the next descriptor sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stream {
    Inherit,
    Null,
    Given,
}

/// Environment and working directory, where they differ from the supervisor's.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    pub(crate) environment: Option<Vec<(Bytes, Bytes)>>,
    pub(crate) directory: Option<Bytes>,
}

/// All that is needed to make a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) method: Method,
    pub(crate) daemon: bool,
    pub(crate) ignore_interrupts: bool,
    pub(crate) name: String,
    /// `CodeAddress` words of the typed trampoline and of the function that it calls.
    pub(crate) trampoline: [u64; 2],
    pub(crate) function: [u64; 2],
    pub(crate) argument: Payload,
    pub(crate) surroundings: Surroundings,
    pub(crate) streams: [Stream; 3],
    pub(crate) limits: Limits,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a process. Descriptors: given streams first, then the argument's.
    Start(Box<Start>),
    /// The request itself lies in a block.
    Large(BlockId, u64),
    /// A member forks itself: enter the child. Descriptors: the child's and its minder's socket.
    Adopt { daemon: bool, name: String },
    /// From an adopted child, before any user code. Descriptor: its own pidfd.
    Born,
    /// From a minder: its child has ended.
    Ended { status: u64 },
    /// The sender could not take charge of this child: end it.
    Abandon { id: MemberId },
    /// Remove this named segment when the sender dies, or no longer.
    Segment {
        name: String,
        device: u64,
        inode: u64,
        remove: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The supervisor is ready.
    Hello {
        version: u32,
    },
    /// Done. Descriptor: the process's pidfd.
    Started {
        id: MemberId,
        pid: u32,
    },
    Done,
    /// Not done: a system call failed.
    Failed {
        what: Refusal,
        errno: i32,
    },
}

/// What the supervisor could not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    Socket,
    Fork,
    Limits,
    TableFull,
    BadRequest,
    Descriptors,
}

/// Whether a call may wait for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As long as it takes.
    Forever,
    /// Not at all: `WouldBlock` instead. The supervisor never waits for a member.
    Never,
}

/// A message and what came with it.
#[derive(Debug)]
pub(crate) struct Received<T> {
    pub(crate) message: T,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Descriptors were lost, because this process has no number left for them.
    pub(crate) lost: bool,
}

/// Sends one message with `descriptors` beside it.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    send_bytes(socket, &bytes, descriptors, Wait::Forever)
}

/// As [`send`], for bytes that are encoded already.
pub(crate) fn send_bytes(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    wait: Wait,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let flags = match wait {
        Wait::Forever => SendFlags::NOSIGNAL,
        Wait::Never => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    let parts = [IoSlice::new(bytes)];
    let socket = socket.as_fd();
    loop {
        match rustix::net::sendmsg(socket, &parts, &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return sent.map(drop).map_err(Into::into),
        }
    }
}

/// Bytes of the next message, 0 at the end.
fn next_len(socket: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<usize> {
    let flags = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
    loop {
        match rustix::net::recv(socket, &mut [0_u8; 0], flags) {
            Err(rustix::io::Errno::INTR) => {}
            seen => return Ok(seen?.1),
        }
    }
}

/// Receives one message. `UnexpectedEof` when the other side is gone, `InvalidData` for what is
/// no message.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    wait: Wait,
) -> io::Result<Received<T>> {
    let flags = match wait {
        Wait::Forever => RecvFlags::CMSG_CLOEXEC,
        Wait::Never => RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    };
    let socket = socket.as_fd();
    // As long as the message: to clear room for the longest one costs more, above all in the supervisor,
    // whose pages are copied when they are touched after a fork.
    let mut buffer = vec![0; next_len(socket, flags)?.min(MAX_PACKET + 4096)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match rustix::net::recvmsg(socket, &mut parts, &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Received {
        message: postcard::from_bytes(&buffer[..received.bytes]).map_err(invalid)?,
        descriptors,
        lost: received.flags.contains(ReturnFlags::CTRUNC),
    })
}
