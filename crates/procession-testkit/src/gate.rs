//! A gate: processes wait at it until the test lets them go.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use procession_primitives::SendFd;

/// What a process waits at.
pub type Entrance = SendFd<PipeReader>;

/// What a process tells of itself.
pub type Bell = SendFd<PipeWriter>;

/// Lets one process through for each byte.
#[derive(Debug)]
pub struct Gate {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Gate {
    /// Closed.
    pub fn new() -> Gate {
        let (reader, writer) = std::io::pipe().unwrap();
        Gate { reader, writer }
    }

    /// For one process that is to wait.
    pub fn entrance(&self) -> Entrance {
        SendFd::new(self.reader.try_clone().unwrap())
    }

    /// Lets `count` processes through, now or when they come.
    pub fn open(&mut self, count: usize) {
        self.writer.write_all(&vec![1; count]).unwrap();
    }
}

/// Waits until the gate lets one through. Ends the process if the gate is no more.
pub fn pass(entrance: Entrance) {
    let mut byte = [0];
    if entrance.into_inner().read_exact(&mut byte).is_err() {
        std::process::exit(99);
    }
}

/// Says that this process has come so far.
pub fn ring(bell: Bell) {
    if bell.into_inner().write_all(b"!").is_err() {
        std::process::exit(97);
    }
}

/// A bell, and what hears it.
#[derive(Debug)]
pub struct Ear {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Ear {
    /// Nobody has rung.
    pub fn new() -> Ear {
        let (reader, writer) = std::io::pipe().unwrap();
        Ear { reader, writer }
    }

    /// For a process that is to ring.
    pub fn bell(&self) -> Bell {
        SendFd::new(self.writer.try_clone().unwrap())
    }

    /// The same, where a plain descriptor is wanted.
    pub fn fd(&self) -> OwnedFd {
        self.writer.as_fd().try_clone_to_owned().unwrap()
    }

    /// Waits for `count` rings.
    pub fn hear(&mut self, count: usize) {
        let mut rings = vec![0; count];
        self.reader.read_exact(&mut rings).unwrap();
    }

    /// Everything that is written until the last writer is gone.
    pub fn until_end(self) -> String {
        let Ear { mut reader, writer } = self;
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }
}
