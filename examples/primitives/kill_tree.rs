//! Kills a process that has started others, and all of them are gone.

use std::io::{PipeWriter, Read, Write};
use std::process::Command;

use procession_primitives::{Process, SendFd};

/// Starts a program in a session of its own, as a daemon would, and never returns.
fn careless(pipe: SendFd<PipeWriter>) {
    let mut pipe = pipe.into_inner();
    let inherited = pipe.try_clone().expect("a descriptor");
    let started = Command::new("setsid")
        .args(["sleep", "1000"])
        .stdout(inherited)
        .spawn();
    let pid = started.expect("setsid and sleep are installed").id();
    writeln!(pipe, "{pid}").expect("somebody reads");
    loop {
        std::thread::park();
    }
}

fn main() -> procession_primitives::Result<()> {
    procession_primitives::init();

    let (mut reader, writer) = std::io::pipe()?;
    let process = Process::spawn(careless, SendFd::new(writer))?;
    let mut first = [0; 16];
    let count = reader.read(&mut first)?;
    let grandchild = String::from_utf8_lossy(&first[..count]).trim().to_owned();
    println!("process {} has started process {grandchild}", process.pid());

    process.kill()?;
    println!("{}: {}", process.pid(), process.wait());
    // The grandchild holds the pipe, so its end means that it is gone.
    reader.read_to_end(&mut Vec::new())?;
    println!("{grandchild}: gone as well");
    Ok(())
}
