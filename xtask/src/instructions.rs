//! `cargo xtask instructions`: what the hot paths cost, counted, beside what they are known to cost.
//!
//! `benches/instructions` counts, `baseline.txt` beside it is what is known.

mod table;
#[cfg(test)]
mod tests;

use std::process::Command as Process;
use std::{env, fs};

use crate::args::Args;
use crate::{Command, Failure, Outcome, step, workspace};

use table::{Baseline, Count, Verdict};

pub(crate) const COMMAND: Command = Command {
    name: "instructions",
    arguments: "[--bless]",
    summary: "count the instructions of the hot paths; fails where they have become more",
    run,
};

const BASELINE: &str = "benches/instructions/baseline.txt";

fn run(mut args: Args) -> Outcome {
    let bless = args.flag("--bless");
    args.finish()?;
    step::run(bench().arg("--no-run"))?;
    let build = this_build();
    let path = workspace::root().join(BASELINE);
    if bless {
        let counts = table::middle([count(&[])?, count(&[])?, count(&[])?]);
        let text = Baseline { build, counts }.to_string();
        fs::write(&path, &text).map_err(|error| format!("{BASELINE}: {error}"))?;
        print!("{text}");
        return Ok(());
    }

    let mut counts = count(&[])?;
    let baseline = Baseline::parse(&workspace::read(&path)?)?;
    if baseline.build != build {
        print!("{}", table::table(&counts, None));
        println!(
            "not compared: {BASELINE} is for {}, this is {build}",
            baseline.build
        );
        return Ok(());
    }
    // Now and then something happens beside what is counted.
    let suspects = table::more(&counts, &baseline);
    if !suspects.is_empty() {
        table::keep_least(&mut counts, count(&suspects)?);
    }
    print!("{}", table::table(&counts, Some(&baseline)));
    match table::verdict(&counts, &baseline) {
        Verdict::Same => Ok(()),
        Verdict::Less(names) => {
            println!(
                "less than before: {}; `cargo xtask instructions --bless` keeps it so",
                names.join(", ")
            );
            Ok(())
        }
        Verdict::More(names) => Err(Failure::Failed(format!(
            "more instructions than in {BASELINE}: {}; where that is meant, `--bless`",
            names.join(", ")
        ))),
    }
}

const BENCH: [&str; 5] = [
    "bench",
    "-p",
    "procession-executor",
    "--bench",
    "instructions",
];

/// One unit of code a crate: else a change here moves what is inlined there.
fn bench() -> Process {
    let mut bench = step::cargo(&BENCH);
    bench.env("CARGO_PROFILE_BENCH_CODEGEN_UNITS", "1");
    bench
}

/// Counts the paths that are named, or all.
fn count(names: &[String]) -> Result<Vec<Count>, String> {
    let mut bench = bench();
    bench.arg("--quiet").arg("--").args(names);
    println!("$ {}", step::display(&bench));
    let output = bench.stderr(std::process::Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err("the paths cannot be counted".to_owned());
    }
    table::parse_counts(&String::from_utf8_lossy(&output.stdout))
}

/// What the same sources are counted differently with: compiler, architecture, flags.
fn this_build() -> String {
    let rustc = Process::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    let build = format!("{rustc} {} {flags}", env::consts::ARCH);
    build.trim().to_owned()
}
