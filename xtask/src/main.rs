//! The chores of this workspace: `cargo xtask` lists them.

mod args;
mod bench;
mod ci;
mod compare;
mod estimates;
mod examples;
mod instructions;
mod layer;
mod manifest;
mod source;
mod step;
mod storm;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use crate::args::Args;

const COMMANDS: [Command; 7] = [
    test::COMMAND,
    examples::COMMAND,
    bench::COMMAND,
    instructions::COMMAND,
    tidy::COMMAND,
    ci::COMMAND,
    storm::COMMAND,
];

/// One line of the list, and what it runs.
struct Command {
    name: &'static str,
    arguments: &'static str,
    summary: &'static str,
    run: fn(Args) -> Outcome,
}

/// How a command ends.
type Outcome = Result<(), Failure>;

/// Why a command did not succeed.
#[derive(Debug)]
enum Failure {
    /// It was asked for something that does not exist: exit code 2.
    Usage(String),
    /// It ran and failed: exit code 1.
    Failed(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        print!("{}", list());
        return ExitCode::SUCCESS;
    };
    if ["help", "--help", "-h"].contains(&name.as_str()) {
        print!("{}", list());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("xtask: no command `{name}`\n\n{}", list());
        return ExitCode::from(2);
    };
    match (command.run)(Args::new(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("xtask {name}: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(message)) => {
            eprintln!("xtask {name}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> String {
    COMMANDS
        .iter()
        .map(|command| {
            let call = format!("{} {}", command.name, command.arguments);
            format!("cargo xtask {call:<40} {}\n", command.summary)
        })
        .collect()
}
