//! Runs a function in another process and takes its value back.

use procession_primitives::Process;

fn greet(name: String) -> String {
    format!("hello {name}, from process {}", std::process::id())
}

fn main() -> procession_primitives::Result<()> {
    procession_primitives::init(); // first line of main: children come in here

    println!("this is process {}", std::process::id());
    let process = Process::spawn(greet, "world".to_owned())?;
    println!("{}", process.join()?);

    // A closure without captures does as well; what it needs is its argument.
    let process = Process::spawn(|(a, b): (u64, u64)| a * b, (6, 7))?;
    println!("6 * 7 = {}", process.join()?);
    Ok(())
}
