//! Named shared memory: one process makes a segment and publishes a frame, another one finds it by name.

use std::{env, error::Error, process::Command, sync::atomic::Ordering};

use procession_primitives::SharedMemory;

const SEQUENCE: usize = 0; // an atomic counter of frames
const FRAME: usize = 64; // the newest frame

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(name) = env::args().nth(1) {
        return show(&name);
    }
    let memory = SharedMemory::create_unique(1 << 20)?;
    let name = memory.name().ok_or("a named segment has a name")?;

    memory.write_at(FRAME, b"all the pixels")?;
    let sequence = memory.atomic_u32(SEQUENCE).ok_or("outside the segment")?;
    sequence.store(1, Ordering::Release); // whoever sees 1 sees the frame

    Command::new(env::current_exe()?).arg(name).status()?;
    Ok(()) // the name goes with `memory`, and also if this process is killed
}

/// The other process. Python would say `SharedMemory(name)`.
fn show(name: &str) -> Result<(), Box<dyn Error>> {
    let memory = SharedMemory::open_at_least(name, FRAME + 14)?;
    let sequence = memory.atomic_u32(SEQUENCE).ok_or("outside the segment")?;
    let mut frame = [0; 14];
    memory.read_at(FRAME, &mut frame)?;
    println!(
        "frame {}: {}",
        sequence.load(Ordering::Acquire),
        String::from_utf8_lossy(&frame)
    );
    Ok(())
}
