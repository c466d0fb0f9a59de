//! The programs of the contestants: built, installed, and asked what they have.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{step, workspace};

/// What the Python scripts import that does not come with Python.
const MODULES: [&str; 3] = ["loky", "mpire", "pebble"];

/// A program and its first arguments.
type Program = Vec<PathBuf>;

/// Builds or installs one.
type Prepare = fn() -> Result<Program, String>;

/// All that take part.
#[derive(Debug)]
pub(super) struct Field {
    /// Ours first.
    contestants: Vec<Contestant>,
    /// Who does not, and why.
    pub(super) missing: Vec<String>,
    /// The program that makes a report of the records.
    pub(super) report: PathBuf,
}

/// Somebody who has a row.
#[derive(Debug)]
pub(super) struct Contestant {
    pub(super) name: String,
    pub(super) row: String,
    /// Row, name and size follow.
    program: Program,
}

impl Field {
    /// Builds and installs what can be. Only ours has to be there.
    pub(super) fn gather() -> Result<Field, String> {
        let mut field = Field {
            contestants: Vec::new(),
            missing: Vec::new(),
            report: bench("report")?,
        };
        field.add(vec![bench("compare")?])?;
        let peers: [(&str, Prepare); 2] = [("peers in Rust", rust), ("peers in Python", python)];
        for (what, prepare) in peers {
            let added = prepare().and_then(|program| field.add(program));
            if let Err(why) = added {
                field.missing.push(format!("all {what}: {why}"));
            }
        }
        for missing in &field.missing {
            println!("missing: {missing}");
        }
        Ok(field)
    }

    /// The rows that we have.
    pub(super) fn rows(&self) -> Vec<&str> {
        let ours = self.contestants.first().map(|first| &first.program);
        let all = self.contestants.iter();
        all.filter(|contestant| Some(&contestant.program) == ours)
            .map(|contestant| contestant.row.as_str())
            .collect()
    }

    pub(super) fn of_row(&self, row: &str) -> impl Iterator<Item = &Contestant> {
        self.contestants
            .iter()
            .filter(move |contestant| contestant.row == row)
    }

    /// Asks `program` for its list: `ROW CONTESTANT` a line, or `missing CONTESTANT: WHY`.
    fn add(&mut self, program: Program) -> Result<(), String> {
        let output = command(&program).output();
        let output = output.map_err(|error| format!("{}: {error}", program[0].display()))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let last = errors.lines().last().unwrap_or("no word");
            let name = program[0].display();
            return Err(format!("{name}: {}: {last}", output.status));
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                Some(("missing", what)) => self.missing.push(what.to_owned()),
                Some((row, name)) => self.contestants.push(Contestant {
                    name: name.to_owned(),
                    row: row.to_owned(),
                    program: program.clone(),
                }),
                None => return Err(format!("cannot read `{line}`")),
            }
        }
        Ok(())
    }
}

impl Contestant {
    /// The command of one trial.
    pub(super) fn trial(&self, quick: bool) -> Command {
        let mut command = command(&self.program);
        command.args([&self.row, &self.name]);
        if quick {
            command.arg("--quick");
        }
        command
    }
}

fn command(program: &[PathBuf]) -> Command {
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]);
    command
}

/// Builds a bench target of ours and returns where it is.
fn bench(name: &str) -> Result<PathBuf, String> {
    let mut build = step::cargo(&["bench", "-p", "procession-bench", "--bench", name]);
    build.args(["--no-run", "--message-format=json-render-diagnostics"]);
    println!("$ {}", step::display(&build));
    let output = build.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("bench `{name}` cannot be built"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut executables = text.lines().rev().filter_map(|line| {
        let (_, path) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(path.split_once('"')?.0))
    });
    executables
        .next()
        .ok_or_else(|| format!("cargo does not say where bench `{name}` is"))
}

/// The peers in Rust are in a workspace of their own, so that ours does not need what they need.
fn rust() -> Result<Program, String> {
    let target = folder().join("rust");
    let mut build = step::cargo(&["build", "--release", "--locked", "--manifest-path"]);
    build
        .arg("benches/peers/rust/Cargo.toml")
        .arg("--target-dir");
    step::run(build.arg(&target))?;
    Ok(vec![target.join("release/procession-peers")])
}

/// Python with as many of the modules as can be had: the script says which it lacks.
fn python() -> Result<Program, String> {
    let python = environment().unwrap_or_else(|why| {
        println!("{why}");
        PathBuf::from("python3")
    });
    let script = workspace::root().join("benches/peers/python/main.py");
    // -B: the checkout stays as it is.
    Ok(vec![python, PathBuf::from("-B"), script])
}

/// The Python of a virtual environment with the modules.
fn environment() -> Result<PathBuf, String> {
    let environment = folder().join("python");
    let python = environment.join("bin/python");
    if !python.exists() {
        let mut make = Command::new("python3");
        step::run(make.args(["-m", "venv"]).arg(&environment))?;
    }
    for module in MODULES {
        let import = format!("import {module}");
        let imported = Command::new(&python).args(["-c", &import]).output();
        if imported.is_ok_and(|output| output.status.success()) {
            continue;
        }
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", module]);
        if let Err(why) = step::run(&mut install) {
            println!("{why}");
        }
    }
    Ok(python)
}

/// Where the peers are built and installed.
fn folder() -> PathBuf {
    workspace::target_dir().join("peers")
}
