//! `cargo xtask storm`: long fault storms, in every crate that has one.

use crate::args::Args;
use crate::layer::LAYERS;
use crate::{Command, Failure, Outcome, step, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "storm",
    arguments: "[--seconds N] [--layer L]",
    summary: "kill processes at random for N seconds per storm (60)",
    run,
};

fn run(mut args: Args) -> Outcome {
    let seconds = args.value::<u64>("--seconds")?.unwrap_or(60).to_string();
    let layer = args.value::<String>("--layer")?;
    args.finish()?;

    let crates = LAYERS
        .iter()
        .filter(|candidate| layer.as_deref().is_none_or(|layer| candidate.name == layer))
        .map(|layer| layer.crate_name());
    let storms: Vec<(String, String)> = crates
        .flat_map(|name| {
            storms_of(&name)
                .into_iter()
                .map(move |storm| (name.clone(), storm))
        })
        .collect();
    if storms.is_empty() {
        return match layer {
            Some(layer) => Err(Failure::Usage(format!("layer `{layer}` has no storm"))),
            None => {
                println!("storm: no crate has one in its tests yet");
                Ok(())
            }
        };
    }

    let mut failed = Vec::new();
    for (name, storm) in &storms {
        let arguments = ["test", "--release", "-p", name, "--test", storm, "--"];
        if let Err(message) = step::run(step::cargo(&arguments).args(["--seconds", &seconds])) {
            eprintln!("{message}");
            failed.push(format!("{name} ({storm})"));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("failed in {}", failed.join(", "))))
    }
}

/// The test programs of a crate that are called `storm`, or something with it: directories of its
/// `tests`.
fn storms_of(name: &str) -> Vec<String> {
    let tests = workspace::root().join("crates").join(name).join("tests");
    let entries = std::fs::read_dir(tests).into_iter().flatten().flatten();
    let mut storms: Vec<String> = entries
        .filter(|entry| entry.path().join("main.rs").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|file| file == "storm" || file.ends_with("_storm"))
        .collect();
    storms.sort();
    storms
}
