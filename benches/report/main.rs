//! What becomes of the figures of `cargo xtask bench --compare`: tables and plots.
//!
//! `report RECORDS STEM MACHINE [--quick] [MISSING...]` reads lines of JSON from the file RECORDS
//! and writes `STEM.json`, `STEM.md` and `STEM-*.svg`. It exits with 1 if a record of ours failed.

mod chart;
mod figure;
mod number;
mod plot;
mod table;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use procession_bench::Record;
use serde::Serialize;

use crate::figure::Figure;

/// Everything that a run has found.
#[derive(Debug, Serialize)]
struct Report {
    /// What the figures must be read with.
    machine: String,
    /// Sizes were those of a quick run.
    quick: bool,
    /// Contestants that are not here, and why.
    missing: Vec<String>,
    figures: Vec<Figure>,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let before = arguments.len();
    arguments.retain(|argument| argument != "--quick");
    let quick = arguments.len() != before;
    let [records, stem, machine, missing @ ..] = arguments.as_slice() else {
        println!("usage: report RECORDS STEM MACHINE [--quick] [MISSING...]");
        return ExitCode::SUCCESS;
    };
    let text = fs::read_to_string(records).expect("the records can be read");
    let records = text.lines().map(|line| {
        let record: Result<Record, _> = serde_json::from_str(line);
        record.unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let report = Report {
        machine: machine.clone(),
        quick,
        missing: missing.to_vec(),
        figures: figure::collect(records),
    };
    print!("{}", table::plain(&report));
    write(&report, Path::new(stem)).expect("the results can be written");
    println!("\nwritten to {stem}.md, .json and -*.svg");
    let failed = |figure: &Figure| figure.ours().is_none_or(|ours| ours.failed.is_some());
    if report.figures.iter().any(failed) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn write(report: &Report, stem: &Path) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(folder) = stem.parent() {
        fs::create_dir_all(folder)?;
    }
    let plots = plot::draw(report, stem)?;
    fs::write(named(stem, ".md"), table::markdown(report, &plots))?;
    fs::write(named(stem, ".json"), serde_json::to_string_pretty(report)?)?;
    Ok(())
}

/// The file beside the others of this report. The stem may have dots in it.
fn named(stem: &Path, end: &str) -> std::path::PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(end);
    path.into()
}
