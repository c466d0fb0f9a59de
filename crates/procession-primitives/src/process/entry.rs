//! What a new process does: enter the family, run its one function, hand over the outcome.
//!
//! # Safety
//!
//! Turns code addresses of the same build into functions, and changes the environment while the
//! process has one thread.
#![allow(
    unsafe_code,
    reason = "calls functions by address, and borrows the argument's block"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Phase;
use crate::arena::{Arena, Block, BlockId, Writer};
use crate::family::{Control, Family};
use crate::image::{self, CodeAddress};
use crate::member::{self, MemberCell, MemberId};
use crate::object::{all_arrived, arriving_in, boarding};
use crate::panic::{self, Panic};
use crate::protocol::{self, Payload, Reply, Start, Stream, Wait};
use crate::wire::{self, DecodeError};
use crate::{surroundings, sys};

/// Room for an outcome before it has to grow.
const OUTCOME_ROOM: usize = 4096;

/// Why there is no value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Panicked(Box<Panic>),
    ArgumentDecode(DecodeError),
    ValueEncode(String),
    Function(String),
}

/// First byte of an outcome: a value follows, or a `Failure`.
const VALUE: u8 = 0;
const FAILURE: u8 = 1;

/// A type-erased `run::<A, R>`.
pub(crate) type Trampoline = fn(usize, &[u8], &mut Outcome);

/// Where a member's function leaves what came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    writer: Writer,
    cell: &'static MemberCell,
}

impl Outcome {
    pub(crate) fn new(family: &'static Family) -> Option<Outcome> {
        let cell = family.arena().member_cell(family.me())?;
        let writer = Writer::new(family, OUTCOME_ROOM).ok()?;
        Some(Outcome { writer, cell })
    }

    /// User code begins.
    pub(super) fn start(&self) {
        // Release: whoever sees the state sees what was set up before it.
        self.cell.state.store(member::RUNNING, Ordering::Release);
        self.enter(Phase::Running);
    }

    fn enter(&self, phase: Phase) {
        self.cell.phase.store(phase.to_word(), Ordering::Relaxed);
    }

    pub(crate) fn deliver<R: Serialize>(&mut self, value: Result<R, Failure>) {
        self.enter(Phase::Encoding);
        let (encoded, passengers) = boarding(|| match &value {
            Ok(value) => self.write(VALUE, value),
            Err(failure) => self.write(FAILURE, failure),
        });
        let encoded = encoded.and_then(|()| {
            let boarded = passengers.board(self.writer.id());
            boarded.map_err(|error| wire::EncodeError::Failed(error.to_string()))
        });
        if let Err(error) = encoded {
            self.writer.truncate(0);
            // Short, so it fits where the value did not.
            let _ = self.write(FAILURE, &Failure::ValueEncode(error.to_string()));
        }
    }

    fn write<T: Serialize>(&mut self, tag: u8, value: &T) -> Result<(), wire::EncodeError> {
        self.writer.extend(&[tag])?;
        wire::encode(value, &mut self.writer)
    }

    /// Commits the outcome. Returns the exit code that goes with it.
    pub(crate) fn commit(self) -> i32 {
        if Family::existing().is_none() {
            // A bare fork of the member came back from its function: the outcome is not its.
            sys::exit_now(101);
        }
        let Outcome { writer, cell } = self;
        let (block, len) = writer.finish();
        let value = block.bytes().first() == Some(&VALUE);
        cell.commit_result(block.id(), len);
        cell.phase.store(Phase::Done.to_word(), Ordering::Relaxed);
        // The block outlives this process: the supervisor gives it to the parent.
        let _ = block.into_id();
        if value { 0 } else { 101 }
    }
}

/// Reads an outcome back, in the process that asked for it.
pub(crate) fn read_outcome<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, super::ProcessError> {
    use super::ProcessError as Error;
    match bytes.split_first() {
        Some((&VALUE, value)) => wire::decode(value).map_err(Error::ValueDecode),
        Some((_, failure)) => Err(match wire::decode(failure) {
            Ok(Failure::Panicked(panic)) => Error::Panicked(panic),
            Ok(Failure::ArgumentDecode(error)) => Error::ArgumentDecode(error),
            Ok(Failure::ValueEncode(error)) => Error::ValueEncode(error),
            Ok(Failure::Function(error)) => Error::Function(error),
            Err(error) => Error::ValueDecode(error),
        }),
        None => Err(Error::ValueDecode(DecodeError::Failed(
            "no outcome".to_owned(),
        ))),
    }
}

/// Decodes, calls and delivers: the typed part of a member's life.
pub(crate) fn run<A: DeserializeOwned, R: Serialize>(
    function: usize,
    argument: &[u8],
    outcome: &mut Outcome,
) {
    // SAFETY: `function` was named together with this very instance of `run` by `Builder::spawn`,
    // where it was a `fn(A) -> R`; both were resolved in the same build.
    let function: fn(A) -> R = unsafe { image::fn_from_address(function) };
    outcome.enter(Phase::Decoding);
    let decoded = wire::decode(argument);
    if decoded.is_ok() {
        all_arrived();
    }
    // What the function itself decodes did not come in our block.
    let value = arriving_in(None, || match decoded {
        Err(error) => Err(Failure::ArgumentDecode(error)),
        Ok(argument) => {
            outcome.enter(Phase::Running);
            panic::catch(|| function(argument)).map_err(Failure::Panicked)
        }
    });
    outcome.deliver(value);
}

/// Runs what this process was made for. Returns its exit code.
pub(crate) fn live(family: &'static Family, start: Start, descriptors: Vec<OwnedFd>) -> i32 {
    // Orphans among our descendants come to us, so that they end with us.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    sys::ignore_signal(libc::SIGPIPE);
    panic::install_hook();
    sys::on_exit(super::join_at_exit);
    let Some(mut outcome) = Outcome::new(family) else {
        return 101;
    };
    if let Ok(name) = std::ffi::CString::new(start.name.as_str()) {
        let _ = rustix::thread::set_name(&name);
    }
    let mut descriptors = descriptors.into_iter();
    let arranged = arrange(start.streams, start.surroundings, &mut descriptors);
    let own = family.arena().member_cell(family.me());
    if let Err(error) = arranged.and_then(|()| start.limits.accept(own)) {
        outcome.deliver::<()>(Err(Failure::Function(error.to_string())));
        return outcome.commit();
    }
    let argument = match &start.argument {
        Payload::Inline(bytes) => Ok(Argument::Inline(&bytes.0)),
        Payload::Block(block, len) => {
            // SAFETY: passed to this process for its one function.
            let block = unsafe { Block::adopt(family, *block) };
            block
                .map(|block| Argument::Block(block, *len as usize))
                .ok_or("the argument is gone")
        }
    };
    outcome.start();
    let resolved = argument.map_err(str::to_owned).and_then(|argument| {
        let find = |words| {
            CodeAddress::from_words(words)
                .resolve()
                .map_err(|error| error.to_string())
        };
        Ok((argument, find(start.trampoline)?, find(start.function)?))
    });
    match resolved {
        Err(error) => outcome.deliver::<()>(Err(Failure::Function(error))),
        Ok((argument, trampoline, function)) => {
            // SAFETY: named by `Builder::spawn` from a value of this type, in the same build.
            let trampoline: Trampoline = unsafe { image::fn_from_address(trampoline) };
            let rest = descriptors.collect();
            wire::offer_descriptors(rest, || {
                arriving_in(argument.block(), || {
                    trampoline(function, argument.bytes(), &mut outcome);
                });
            });
        }
    }
    outcome.commit()
}

enum Argument<'a> {
    Inline(&'a [u8]),
    Block(Block, usize),
}

impl Argument<'_> {
    fn block(&self) -> Option<BlockId> {
        match self {
            Self::Inline(_) => None,
            Self::Block(block, _) => Some(block.id()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Block(block, len) => block.bytes().get(..*len).unwrap_or_default(),
        }
    }
}

pub(super) fn arrange(
    streams: [Stream; 3],
    surroundings: protocol::Surroundings,
    descriptors: &mut impl Iterator<Item = OwnedFd>,
) -> io::Result<()> {
    for (target, stream) in (0..).zip(streams) {
        match stream {
            Stream::Inherit => {}
            Stream::Null => {
                let null = File::options().read(true).write(true).open("/dev/null")?;
                sys::put_on(null.as_fd(), target)?;
            }
            Stream::Given => {
                let given = descriptors.next().ok_or(io::ErrorKind::InvalidInput)?;
                sys::put_on(given.as_fd(), target)?;
            }
        }
    }
    surroundings::apply(surroundings)
}

/// The life of a process of `StartMethod::Spawn`. `descriptors`: control socket, arena, letter.
pub(crate) fn enter_executed(descriptors: &[RawFd]) -> i32 {
    let entered = || {
        let &[socket, arena, letter] = descriptors else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (socket, arena) = (own_inherited(socket)?, own_inherited(arena)?);
        let mut letter = File::from(own_inherited(letter)?);
        sys::close_all_but(&mut descriptors.to_vec());
        let mut bytes = Vec::new();
        letter.read_to_end(&mut bytes)?;
        let (id, start) =
            postcard::from_bytes::<(MemberId, Start)>(&bytes).map_err(io::Error::other)?;
        let given = protocol::receive::<Reply>(&socket, Wait::Forever)?;
        let arena = Arena::attach(arena, image::build_id())?;
        let family = Family::enter(arena, id, Control::member(socket))?;
        io::Result::Ok((family, start, given))
    };
    match entered() {
        Ok((family, start, given)) if !given.lost => live(family, start, given.descriptors),
        _ => 1,
    }
}

/// Takes ownership of a descriptor that this process was started with.
pub(crate) fn own_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: named once each in the entry of this process, before anything else was opened.
    unsafe { sys::own(fd) }
}

/// Copies what `owner`, who is waiting for an answer, has left in a block.
pub(crate) fn read_block(
    family: &Family,
    block: BlockId,
    owner: MemberId,
    len: u64,
) -> Option<Vec<u8>> {
    let len = usize::try_from(len).ok()?;
    // SAFETY: the owner waits for our answer and leaves the block alone.
    let bytes = unsafe { family.arena().borrow_block(block, owner, len) }?;
    Some(bytes.to_vec())
}

/// Makes `to` the owner of a block for `from`, which waits for the answer to its request.
pub(crate) fn pass_block(family: &Family, block: BlockId, from: u32, to: u32) {
    family.arena().pass(block, from, to);
}

/// Changes a variable of this process, which has entered but not reached user code.
pub(crate) fn set_variable(name: &OsStr, value: Option<&OsStr>) {
    match value {
        // SAFETY: one thread.
        Some(value) => unsafe { std::env::set_var(name, value) },
        // SAFETY: one thread.
        None => unsafe { std::env::remove_var(name) },
    }
}

/// Takes charge of an outcome whose name was taken out of its member's cell.
pub(crate) fn adopt_result(family: &'static Family, id: BlockId) -> Option<Block> {
    // SAFETY: whoever takes the name out is the only one to have it.
    unsafe { Block::adopt(family, id) }
}

/// Frees the outcome of dead member `id` that nobody asks for any more. May be called twice.
pub(crate) fn discard_result(family: &Family, id: MemberId, cell: &MemberCell) {
    let word = cell.result.load(Ordering::Acquire);
    let current = cell.generation.load(Ordering::Acquire) == id.generation();
    let Some(block) = BlockId::from_word(word).filter(|_| current) else {
        return;
    };
    // AcqRel: whoever takes the word out has the block. A later user of the slot has another one.
    let taken = cell
        .result
        .compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
    if taken.is_ok() {
        // SAFETY: the owner has dropped its handle, and we have taken the name out.
        unsafe { family.arena().free_for(block, cell.parent_id().slot()) };
    }
}
