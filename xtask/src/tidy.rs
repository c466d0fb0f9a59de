//! `cargo xtask tidy`: the rules of the workspace that no compiler checks.

mod manifests;
mod sources;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use crate::args::Args;
use crate::{Command, Failure, Outcome, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "tidy",
    arguments: "",
    summary: "check layers, `//!` lines, lint tables, unsafe, examples, folders",
    run,
};

/// All that the top of the repository may hold.
const TOP_LEVEL: [&str; 16] = [
    ".cargo",
    ".ci",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "crates",
    "examples",
    "target",
    "xtask",
];

/// A rule that is broken, and where.
#[derive(Debug)]
struct Problem {
    path: String,
    line: usize,
    message: String,
}

impl Problem {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

fn run(args: Args) -> Outcome {
    args.finish()?;
    let root = workspace::root();
    let mut problems = top_level(&workspace::names(&root));
    let manifests = manifests(&root)?;
    for (path, text) in &manifests {
        problems.extend(manifests::check(path, text));
    }
    let examples = workspace::files(&root, "examples");
    problems.extend(manifests::examples(&manifests, &examples));

    let mut count = 0;
    for folder in ["crates", "examples", "benches", "xtask"] {
        for path in workspace::files(&root, folder) {
            if !path.ends_with(".rs") {
                continue;
            }
            count += 1;
            let text = workspace::read(&root.join(&path))?;
            problems.extend(sources::check(&path, &text));
            if let Some(warning) = sources::length(&path, &text) {
                println!("warning: {warning}");
            }
        }
    }

    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        println!(
            "tidy: {count} source files and {} manifests ok",
            manifests.len()
        );
        Ok(())
    } else {
        Err(Failure::Failed(format!("{} problems", problems.len())))
    }
}

/// Path and text of every package's manifest.
fn manifests(root: &Path) -> Result<Vec<(String, String)>, String> {
    let crates = workspace::names(&root.join("crates"))
        .into_iter()
        .map(|name| format!("crates/{name}/Cargo.toml"));
    let others = ["benches", "xtask"].map(|folder| format!("{folder}/Cargo.toml"));
    let mut found = Vec::new();
    for path in crates.chain(others) {
        if root.join(&path).exists() {
            let text = workspace::read(&root.join(&path))?;
            found.push((path, text));
        }
    }
    Ok(found)
}

fn top_level(names: &[String]) -> Vec<Problem> {
    names
        .iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| {
            Problem::new(
                name,
                1,
                "does not belong to the top level of the repository",
            )
        })
        .collect()
}
