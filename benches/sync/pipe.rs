//! A kernel pipe as a queue of messages of one size.

use std::io::{PipeReader, PipeWriter, Read, Write};

use procession_primitives::SendFd;
use rustix::pipe::fcntl_setpipe_size;

use crate::partner::{Line, Partner, serve};

/// The ends of a pipe, of 1 MiB if the kernel allows.
pub(crate) fn pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let _ = fcntl_setpipe_size(&writer, 1 << 20);
    (reader, writer)
}

pub(crate) fn write_all(writer: &mut PipeWriter, rounds: u64, message: &[u8]) {
    for _ in 0..rounds {
        writer.write_all(message).expect("somebody reads");
    }
}

pub(crate) fn read_all(reader: &mut PipeReader, rounds: u64, message: &mut [u8]) {
    for _ in 0..rounds {
        reader.read_exact(message).expect("somebody writes");
    }
}

/// Reads messages of `len` bytes, into one buffer.
pub(crate) fn read((line, (reader, len, cpu)): (Line, (SendFd<PipeReader>, usize, Option<usize>))) {
    let (mut reader, mut message) = (reader.into_inner(), vec![0; len]);
    serve(line, cpu, |rounds| {
        read_all(&mut reader, rounds, &mut message)
    });
}

/// Writes messages of `len` bytes.
pub(crate) fn write((line, (writer, len)): (Line, (SendFd<PipeWriter>, usize))) {
    let (mut writer, message) = (writer.into_inner(), vec![1; len]);
    serve(line, None, |rounds| {
        write_all(&mut writer, rounds, &message)
    });
}

/// A partner that reads, and the end to write to.
pub(crate) fn reading(len: usize) -> (Partner, PipeWriter) {
    let (reader, writer) = pipe();
    let partner = Partner::new(read, (SendFd::new(reader), len, Some(1)));
    (partner, writer)
}
