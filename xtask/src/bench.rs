//! `cargo xtask bench`: runs the benchmarks and prints their results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::thread;
use std::time::SystemTime;

use crate::args::Args;
use crate::estimates::Row;
use crate::layer::LAYERS;
use crate::{Command, Failure, Outcome, compare, estimates, manifest, step, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "bench",
    arguments: "[--layer L] [--quick] [--compare [--rows R,R] [--continue]]",
    summary: "run the benchmarks; print machine, results and change since the last run",
    run,
};

fn run(mut args: Args) -> Outcome {
    let only = args.value::<String>("--layer")?;
    let compare = args.flag("--compare");
    let quick = args.flag("--quick");
    let rows = args.value::<String>("--rows")?;
    let go_on = args.flag("--continue");
    args.finish()?;
    if compare {
        return compare::run(quick, rows.as_deref(), go_on);
    }

    let mut layers = benches()?;
    if let Some(only) = &only {
        let message = format!("no benchmarks of layer `{only}`; there are: {layers:?}");
        layers.retain(|layer| layer == only);
        if layers.is_empty() {
            return Err(Failure::Usage(message));
        }
    }

    print!("{}", machine());
    let start = SystemTime::now();
    for layer in &layers {
        let mut bench = step::cargo(&["bench", "-p", "procession-bench", "--bench", layer]);
        if quick {
            bench.args(["--", "--quick"]);
        }
        step::run(&mut bench)?;
    }
    let folder = std::env::var_os("CRITERION_HOME").map_or_else(
        || workspace::target_dir().join("criterion"),
        |home| workspace::root().join(home),
    );
    print!(
        "\n{}{}",
        machine(),
        estimates::table(&results(&folder, start))
    );
    Ok(())
}

/// The bench targets that are named after their layer.
fn benches() -> Result<Vec<String>, Failure> {
    let path = workspace::root().join("benches/Cargo.toml");
    if !path.exists() {
        return Err(Failure::Usage("there are no benchmarks yet".to_owned()));
    }
    let targets = manifest::targets(&workspace::read(&path)?, "bench");
    let names = targets.into_iter().map(|target| target.name);
    let is_layer = |name: &String| LAYERS.iter().any(|layer| layer.name == name);
    Ok(names.filter(is_layer).collect())
}

/// The name of the CPU.
pub(crate) fn model() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // aarch64 has no model name, only numbers.
    let name = ["model name", "CPU part"].iter().find_map(|key| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim())
    });
    name.unwrap_or("unknown").to_owned()
}

/// What a figure must be read with.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model();
    let installed = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let usable = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = Process::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    format!(
        "CPU     {model} ({})\nCPUs    {usable} usable of {installed}\nkernel  {}\nrustc   {}\n\n",
        std::env::consts::ARCH,
        kernel.trim(),
        rustc.trim().trim_start_matches("rustc "),
    )
}

/// What criterion stored below `folder` since `start`, by name.
fn results(folder: &Path, start: SystemTime) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut pending: Vec<PathBuf> = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        let Some(estimates) = read_since(&folder.join("new/estimates.json"), start) else {
            let names = workspace::names(&folder).into_iter();
            pending.extend(
                names
                    .map(|name| folder.join(name))
                    .filter(|path| path.is_dir()),
            );
            continue;
        };
        let benchmark = fs::read_to_string(folder.join("new/benchmark.json")).unwrap_or_default();
        let change = read_since(&folder.join("change/estimates.json"), start);
        let name =
            estimates::full_id(&benchmark).unwrap_or_else(|| folder.to_string_lossy().into_owned());
        rows.extend(Row::new(name, &estimates, change.as_deref()));
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// The text of a file that was written after `start`.
fn read_since(path: &Path, start: SystemTime) -> Option<String> {
    let written = fs::metadata(path).ok()?.modified().ok()?;
    if written < start {
        return None;
    }
    fs::read_to_string(path).ok()
}
