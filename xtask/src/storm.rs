//! `cargo xtask storm`: long fault storms, in every crate that has one.

use crate::args::Args;
use crate::layer::LAYERS;
use crate::{Command, Failure, Outcome, step, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "storm",
    arguments: "[--seconds N] [--layer L]",
    summary: "kill processes at random for N seconds per crate (60)",
    run,
};

fn run(mut args: Args) -> Outcome {
    let seconds = args.value::<u64>("--seconds")?.unwrap_or(60).to_string();
    let layer = args.value::<String>("--layer")?;
    args.finish()?;

    let root = workspace::root();
    let crates: Vec<String> = LAYERS
        .iter()
        .filter(|candidate| layer.as_deref().is_none_or(|layer| candidate.name == layer))
        .map(|layer| layer.crate_name())
        .filter(|name| {
            root.join("crates")
                .join(name)
                .join("tests/storm/main.rs")
                .exists()
        })
        .collect();
    if crates.is_empty() {
        return match layer {
            Some(layer) => Err(Failure::Usage(format!("layer `{layer}` has no storm"))),
            None => {
                println!("storm: no crate has a tests/storm/main.rs yet");
                Ok(())
            }
        };
    }

    let mut failed = Vec::new();
    for name in &crates {
        let arguments = ["test", "--release", "-p", name, "--test", "storm", "--"];
        if let Err(message) = step::run(step::cargo(&arguments).args(["--seconds", &seconds])) {
            eprintln!("{message}");
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("failed in {}", failed.join(", "))))
    }
}
