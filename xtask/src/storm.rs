//! `cargo xtask storm`: the long forms of what the tests do for a moment: kills at random, kills
//! at every instruction, all interleavings.

use std::path::Path;

use crate::args::Args;
use crate::layer::LAYERS;
use crate::{Command, Failure, Outcome, step, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "storm",
    arguments: "[--only storms|sweeps|models] [--seconds N] [--stride N] [--preemptions N] [--layer L]",
    summary: "kill at random (60 s each), at every instruction (stride 1), in all models (3)",
    run,
};

/// What is long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Kills at random for so many seconds.
    Storm,
    /// Kills at every so many instructions.
    Sweep,
    /// All interleavings with so many preemptions.
    Model,
}

const KINDS: [(Kind, &str, &str); 3] = [
    (Kind::Storm, "storms", "storm"),
    (Kind::Sweep, "sweeps", "sweep"),
    (Kind::Model, "models", "models"),
];

fn run(mut args: Args) -> Outcome {
    let seconds = args.value::<u64>("--seconds")?.unwrap_or(60).to_string();
    let stride = args.value::<u64>("--stride")?.unwrap_or(1).to_string();
    let preemptions = args.value::<u8>("--preemptions")?.unwrap_or(3).to_string();
    let layer = args.value::<String>("--layer")?;
    let only = args.value::<String>("--only")?;
    args.finish()?;
    if let Some(only) = &only
        && !KINDS.iter().any(|(_, name, _)| name == only)
    {
        return Err(Failure::Usage(format!("no such thing as `{only}`")));
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let layers = LAYERS
        .iter()
        .filter(|candidate| layer.as_deref().is_none_or(|layer| candidate.name == layer));
    let crates: Vec<String> = layers.map(|layer| layer.crate_name()).collect();
    let mut failed = Vec::new();
    let mut ran = 0;
    for (kind, _, _) in KINDS.into_iter().filter(|(_, name, _)| wanted(name)) {
        for name in &crates {
            for test in tests_of(name, kind) {
                let mut cargo = step::cargo(&["test", "--release", "-p", name, "--test", &test]);
                match kind {
                    Kind::Storm => _ = cargo.args(["--", "--seconds", &seconds]),
                    Kind::Sweep => _ = cargo.env("SWEEP_STRIDE", &stride),
                    Kind::Model => _ = cargo.env("LOOM_MAX_PREEMPTIONS", &preemptions),
                }
                ran += 1;
                if let Err(message) = step::run(&mut cargo) {
                    eprintln!("{message}");
                    failed.push(format!("{name} ({test})"));
                }
            }
        }
    }
    if ran == 0 {
        return Err(Failure::Usage("nothing like that is there".to_owned()));
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("failed in {}", failed.join(", "))))
    }
}

/// The test programs of a crate that are called `storm`, or something with it, and so on.
fn tests_of(name: &str, kind: Kind) -> Vec<String> {
    let tests = workspace::root().join("crates").join(name).join("tests");
    let entries = std::fs::read_dir(tests).into_iter().flatten().flatten();
    let programs = entries.filter_map(|entry| program(&entry.path()));
    let word = KINDS.iter().find(|(known, _, _)| *known == kind);
    let word = word.map_or("", |(_, _, word)| word);
    let mut found: Vec<String> = programs
        .filter(|name| name == word || name.ends_with(&format!("_{word}")))
        .collect();
    found.sort();
    found
}

/// The name of the test program that is in `path`: a directory with a `main.rs`, or a file.
fn program(path: &Path) -> Option<String> {
    let is_program = path.join("main.rs").exists() || path.extension()? == "rs";
    let name = path.file_stem()?.to_str()?;
    is_program.then(|| name.to_owned())
}
