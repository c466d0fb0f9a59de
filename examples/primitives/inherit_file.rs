//! Hands an open file and a pipe to another process.

use std::fs::File;
use std::io::{PipeWriter, Read, Write};

use procession_primitives::{Process, SendFd};

/// Writes the number of each line and the line itself.
fn number_lines((file, out): (SendFd<File>, SendFd<PipeWriter>)) -> usize {
    let mut text = String::new();
    file.into_inner().read_to_string(&mut text).expect("text");
    let mut out = out.into_inner();
    for (number, line) in text.lines().enumerate() {
        writeln!(out, "{:4} {line}", number + 1).expect("somebody reads");
    }
    text.lines().count()
}

fn main() -> procession_primitives::Result<()> {
    procession_primitives::init();

    let path = std::env::args().nth(1);
    let file = File::open(
        path.as_deref()
            .unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
    )?;
    let (mut reader, writer) = std::io::pipe()?;
    let process = Process::spawn(number_lines, (SendFd::new(file), SendFd::new(writer)))?;

    let mut numbered = String::new();
    reader.read_to_string(&mut numbered)?; // ends when the process closes its end
    print!("{numbered}");
    println!("{} lines", process.join()?);
    Ok(())
}
