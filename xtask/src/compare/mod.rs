//! `cargo xtask bench --compare`: ours and the peers in turns, row by row.
//!
//! The contestants are programs: `benches/compare` is ours, `benches/peers/*` the others. Each lists
//! which rows it has for whom, does one trial when it is told to, and prints lines of JSON. Those
//! go through a file to `benches/report`, which knows what they mean. So a new row is a matter of
//! the programs alone.

mod programs;
#[cfg(test)]
mod tests;
mod trial;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::bench::{machine, model};
use crate::{Failure, Outcome, workspace};

use programs::{Contestant, Field};

/// Trials of a contestant in a row.
const TRIALS: u32 = 5;
const TRIALS_QUICK: u32 = 3;

/// Rows of which a single trial is long enough, with a thousand samples and more, or minutes of them; the
/// second list is for quick runs.
const ONCE: [&str; 5] = ["B14", "B15", "B17", "B18", "B20"];
const ONCE_QUICK: [&str; 7] = ["B13", "B14", "B15", "B16", "B17", "B18", "B20"];

/// Runs the rows `only`, or all, and writes the results. Goes on with the last run of the kind, if it is
/// told to: the rows that it has finished stay as they are.
pub(crate) fn run(quick: bool, only: Option<&str>, go_on: bool) -> Outcome {
    let field = Field::gather()?;
    let rows = chosen(&field, only)?;
    let folder = workspace::target_dir().join("compare");
    let folder = folder.join(if quick { "quick" } else { "full" });
    if !go_on && folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    }
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let (mut all, mut missing) = (String::new(), field.missing.clone());
    for row in rows {
        let finished = finish(&field, row, quick, &folder);
        let (records, failures) = finished.map_err(|error| format!("{row}: {error}"))?;
        all.push_str(&records);
        missing.extend(failures.lines().map(str::to_owned));
    }
    let path = folder.join("all.jsonl");
    fs::write(&path, all).map_err(|error| error.to_string())?;

    let mut report = Command::new(&field.report);
    report.arg(&path).arg(results()?).arg(machine());
    if quick {
        report.arg("--quick");
    }
    report.args(missing);
    let status = report.status().map_err(|error| error.to_string())?;
    let seconds = start.elapsed().as_secs();
    println!("all of it took {} min {} s", seconds / 60, seconds % 60);
    if status.success() {
        Ok(())
    } else {
        let message = "some of ours have no figure";
        Err(Failure::Failed(message.to_owned()))
    }
}

/// The records of `row`, and a line for each contestant that did not come to its end: from `folder`, or
/// else by its trials, after which they are there.
fn finish(field: &Field, row: &str, quick: bool, folder: &Path) -> io::Result<(String, String)> {
    let records = folder.join(format!("{row}.jsonl"));
    let failures = folder.join(format!("{row}.missing"));
    if records.exists() {
        println!("{row} as it was");
        return Ok((fs::read_to_string(records)?, fs::read_to_string(failures)?));
    }
    let start = Instant::now();
    let (lines, missing) = in_turns(field, row, quick);
    fs::write(failures, &missing)?;
    // Whole or not at all: its presence says that the row is finished.
    let part = folder.join("part");
    fs::write(&part, &lines)?;
    fs::rename(part, records)?;
    println!("{row} took {:.1} s", start.elapsed().as_secs_f64());
    Ok((lines, missing))
}

/// Runs the trials of `row`.
fn in_turns(field: &Field, row: &str, quick: bool) -> (String, String) {
    let mut contestants: Vec<&Contestant> = field.of_row(row).collect();
    let (mut records, mut failures) = (String::new(), String::new());
    let trials = trials(row, quick);
    for number in 1..=trials {
        let mut able = Vec::new();
        for contestant in contestants {
            println!("{row} {number}/{trials} {}", contestant.name);
            let (lines, end) = trial::run(contestant, quick);
            records.push_str(&lines);
            match end {
                Err(why) => failures.push_str(&format!("{row} {}: {why}\n", contestant.name)),
                Ok(()) if has_no_value(&lines) => {}
                Ok(()) => able.push(contestant),
            }
        }
        contestants = able;
    }
    (records, failures)
}

fn trials(row: &str, quick: bool) -> u32 {
    match quick {
        true if ONCE_QUICK.contains(&row) => 1,
        true => TRIALS_QUICK,
        false if ONCE.contains(&row) => 1,
        false => TRIALS,
    }
}

/// The rows to run, in the order of our list.
fn chosen<'a>(field: &'a Field, only: Option<&'a str>) -> Result<Vec<&'a str>, Failure> {
    let all = field.rows();
    let Some(only) = only else { return Ok(all) };
    let wanted: Vec<&str> = only.split(',').map(str::trim).collect();
    if let Some(unknown) = wanted.iter().find(|row| !all.contains(row)) {
        let message = format!("no row `{unknown}`; there are: {}", all.join(", "));
        return Err(Failure::Usage(message));
    }
    Ok(all.into_iter().filter(|row| wanted.contains(row)).collect())
}

/// Whether none of the records has a value: who cannot do it will not do it the next time.
fn has_no_value(records: &str) -> bool {
    let mut records = records.lines().map(|line| line.replace(' ', ""));
    records.all(|line| line.contains("\"value\":null"))
}

/// The results' path without what comes after the dot: date and machine.
fn results() -> Result<PathBuf, String> {
    let output = Command::new("date").arg("+%F").output();
    let output = output.map_err(|error| format!("date: {error}"))?;
    let date = String::from_utf8_lossy(&output.stdout);
    let name = format!("{}-{}", date.trim(), slug(&model()));
    Ok(workspace::root().join("benches/results").join(name))
}

/// `Some(R) CPU @ 2 GHz` as `some-r-cpu-2-ghz`.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}
