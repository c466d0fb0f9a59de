//! What members ask of the supervisor, and what it answers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use super::{MINDER, Segment, Supervisor};
use crate::arena::BlockId;
use crate::member::{FLAG_RELEASED, MemberId};
use crate::protocol::{self, Refusal, Reply, Request, Wait};
use crate::status::ExitStatus;

/// Largest request that is read from a block: environments are far smaller.
const MAX_LARGE: u64 = 64 << 20;

impl Supervisor {
    /// Answers one request. False if that line is closed.
    pub(super) fn hear(&mut self, line: u64) -> bool {
        let Some(socket) = self.lines.get(&line) else {
            return true;
        };
        let received = match protocol::receive::<Request>(socket, Wait::Never) {
            Ok(received) => received,
            // An event of the slot's last user, or nothing any more.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) => {
                match error.kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                        self.hang_up(line)
                    }
                    _ => self.condemn(line),
                }
                return false;
            }
        };
        if received.lost {
            let (what, errno) = (Refusal::Descriptors, libc::EMFILE);
            self.answer(line, &Reply::Failed { what, errno }, None);
        } else {
            self.act(line, received.message, received.descriptors);
        }
        true
    }

    /// Ends a member that writes garbage, or does not read its answers.
    fn condemn(&mut self, line: u64) {
        self.lines.remove(&line);
        self.kill(line as u32);
    }

    fn act(&mut self, line: u64, request: Request, descriptors: Vec<OwnedFd>) {
        let slot = line as u32;
        match request {
            Request::Start(start) if line < MINDER => {
                let (reply, pidfd) = self.start(slot, *start, descriptors);
                self.answer(line, &reply, pidfd);
            }
            Request::Large(block, len) if line < MINDER => {
                match self.read_large(slot, block, len) {
                    Some(request) => self.act(line, request, descriptors),
                    None => self.condemn(line),
                }
            }
            Request::Adopt { daemon, name } if line < MINDER => {
                let reply = self.adopt(slot, daemon, &name, descriptors);
                self.answer(line, &reply, None);
            }
            Request::Born if line < MINDER => {
                if let Some(pidfd) = descriptors.into_iter().next() {
                    self.adopted.insert(slot, pidfd);
                    self.answer(line, &Reply::Done, None);
                }
            }
            Request::Abandon { id } => {
                self.abandon(slot, id);
                self.answer(line, &Reply::Done, None);
            }
            Request::Ended { status } if line >= MINDER => {
                self.bury(slot, ExitStatus::from_word(status));
            }
            Request::Segment {
                name,
                device,
                inode,
                remove,
            } => {
                let segment = Segment {
                    name,
                    device,
                    inode,
                };
                let segments = self.segments.entry(slot).or_default();
                segments.retain(|known| *known != segment);
                if remove {
                    segments.push(segment);
                }
                self.answer(line, &Reply::Done, None);
            }
            _ => self.condemn(line),
        }
    }

    /// Ends a child of member `parent` that nobody has a handle of.
    fn abandon(&mut self, parent: u32, id: MemberId) {
        let Some(cell) = self.family.arena().member_cell(id) else {
            return;
        };
        if cell.parent_id().slot() != parent {
            return;
        }
        cell.flags.fetch_or(FLAG_RELEASED, Ordering::Relaxed);
        if !cell.is_alive() {
            crate::process::discard_result(self.family, id, cell);
            return;
        }
        let minder = MINDER + u64::from(id.slot());
        if !self.adopted.contains_key(&id.slot()) && self.lines.remove(&minder).is_some() {
            // Adopted, but never born.
            self.bury(id.slot(), ExitStatus::unknown());
        } else {
            self.kill(id.slot());
        }
    }

    fn answer(&mut self, line: u64, reply: &Reply, descriptor: Option<OwnedFd>) {
        let Some(socket) = self.lines.get(&line) else {
            return;
        };
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        let Ok(bytes) = postcard::to_stdvec(reply) else {
            return;
        };
        let sent = protocol::send_bytes(socket, &bytes, &descriptors, Wait::Never);
        if sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            // It asks and asks, and does not read.
            self.condemn(line);
        }
    }

    fn read_large(&self, slot: u32, block: BlockId, len: u64) -> Option<Request> {
        if len > MAX_LARGE {
            return None;
        }
        let owner = self
            .family
            .arena()
            .member(slot)?
            .generation
            .load(Ordering::Relaxed);
        let bytes =
            crate::process::read_block(self.family, block, MemberId::new(slot, owner), len)?;
        match postcard::from_bytes(&bytes).ok()? {
            Request::Large(..) => None,
            request => Some(request),
        }
    }
}
