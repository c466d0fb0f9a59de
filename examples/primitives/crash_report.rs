//! What is known of a process that did not give its value.

use procession_primitives::{Process, ProcessError};

fn parse(text: String) -> u32 {
    match text.as_str() {
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        number => number.parse().expect("a number"),
    }
}

fn main() -> procession_primitives::Result<()> {
    procession_primitives::init();

    for text in ["42", "forty-two", "exit", "abort"] {
        match Process::spawn(parse, text.to_owned())?.join() {
            Ok(number) => println!("{text}: {number}"),
            Err(ProcessError::Panicked(panic)) => {
                println!("{text}: {} at {}", panic.message(), panic.location());
            }
            Err(ProcessError::Died(death)) => println!(
                "{text}: code {:?}, signal {:?}, {}, pid {}",
                death.exit_code(),
                death.signal(),
                death.phase(),
                death.pid()
            ),
            Err(other) => println!("{text}: {other}"),
        }
    }
    Ok(())
}
