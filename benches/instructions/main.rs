//! How many instructions the hot paths take, for `cargo xtask instructions`.
//!
//! Each path is a program of its own, this one started again, that goes one instruction at a time
//! while it does the path so many times, and once more twice as many: the difference is what counts.
//! Prints `PATH INSTRUCTIONS` a line, for one repetition, of the paths that are named or of all.
//!
//! What would make a count depend on time is kept out: whoever waits, waits for something that comes
//! after all that is counted, or has come before it.

mod executor;
mod pool;
mod stepped;
mod sync;

use std::process::ExitCode;

/// One hot path.
struct Path {
    name: &'static str,
    /// How often it is done.
    repetitions: u64,
    /// Does it so often. What is stepped begins with [`stepped::begin`], and ends the process.
    run: fn(u64),
}

const PATHS: [&[Path]; 3] = [&sync::PATHS, &pool::PATHS, &executor::PATHS];

/// What tasks do.
fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

/// Counts the paths that are named, or all.
fn count(names: &[String]) -> Result<(), String> {
    for path in PATHS.iter().copied().flatten() {
        if !names.is_empty() && !names.iter().any(|name| name == path.name) {
            continue;
        }
        let steps = |repetitions| {
            let steps = stepped::steps(path.name, repetitions);
            steps.map_err(|why| format!("{}: {why}", path.name))
        };
        let once = steps(path.repetitions)?;
        let twice = steps(path.repetitions * 2)?;
        let each = twice.saturating_sub(once) as f64 / path.repetitions as f64;
        println!("{} {each:.1}", path.name);
    }
    Ok(())
}

/// Does the path `name`, stepped by the parent.
fn run(name: &str, repetitions: &str) -> Result<(), String> {
    let mut paths = PATHS.iter().copied().flatten();
    let path = paths.find(|path| path.name == name);
    let path = path.ok_or_else(|| format!("no path `{name}`"))?;
    let repetitions = repetitions.parse();
    let repetitions = repetitions.map_err(|_| "how often is a number".to_owned())?;
    (path.run)(repetitions);
    Ok(())
}

fn main() -> ExitCode {
    procession_sync::init();
    let arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let arguments: Vec<String> = arguments.collect();
    let done = match arguments.as_slice() {
        [flag, name, repetitions] if flag == stepped::FLAG => run(name, repetitions),
        names => count(names),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::FAILURE
        }
    }
}
