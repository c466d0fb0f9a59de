//! `cargo xtask test`: the README's test command.

use crate::args::Args;
use crate::{Command, Outcome, step};

pub(crate) const COMMAND: Command = Command {
    name: "test",
    arguments: "[ARGS]",
    summary: "run `cargo test --workspace` with further ARGS",
    run,
};

fn run(args: Args) -> Outcome {
    Ok(step::run(
        step::cargo(&["test", "--workspace"]).args(args.rest()),
    )?)
}
