//! `cargo xtask loom`: the models of the algorithms, in all interleavings.

use crate::args::Args;
use crate::{Command, Outcome, step};

pub(crate) const COMMAND: Command = Command {
    name: "loom",
    arguments: "[--preemptions N] [ARGS]",
    summary: "check the models, with at most N preemptions of a thread (2)",
    run,
};

fn run(mut args: Args) -> Outcome {
    let preemptions = args.value::<u8>("--preemptions")?.unwrap_or(2);
    let arguments = [
        "test",
        "--release",
        "-p",
        "procession-sync",
        "--test",
        "models",
    ];
    let mut test = step::cargo(&arguments);
    test.args(args.rest());
    test.env("LOOM_MAX_PREEMPTIONS", preemptions.to_string());
    test.env("RUSTFLAGS", "--cfg loom");
    Ok(step::run(test.env("CARGO_TARGET_DIR", "target/loom"))?)
}
