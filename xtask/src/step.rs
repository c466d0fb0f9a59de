//! Running a program as a step of a command.

use std::env;
use std::process::Command;
use std::time::Duration;

use crate::workspace;

/// `cargo`, the one that runs us, at the top of the checkout.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace::root());
    command
}

/// Runs it with our output and waits.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let line = display(command);
    println!("$ {line}");
    let status = command
        .status()
        .map_err(|error| format!("`{line}`: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{line}` failed: {status}"))
    }
}

/// The command as one would type it.
pub(crate) fn display(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let mut line = match program.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None => program.into_owned(),
    };
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// `12.3 s`
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
