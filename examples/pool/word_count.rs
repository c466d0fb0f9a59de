//! Counts words over all files named on the command line; directories are walked.
//!
//! Without an argument: the sources of this repository. A file that cannot be read, or that kills
//! the worker that reads it, costs only itself. `--serial` counts in this process instead, for
//! comparison; `--workers N` sets the number of workers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io};

use procession_pool::{Pool, Result, TaskError, cpu_count, init};

type Counts = HashMap<String, u64>;
type Failed = Vec<(PathBuf, String)>;

/// Runs in a worker: the words of some files, and what went wrong with the others.
fn count_words(files: Vec<PathBuf>) -> (Counts, Failed) {
    let (mut counts, mut failed) = (Counts::new(), Failed::new());
    for file in files {
        match fs::read(&file) {
            Ok(bytes) => add_words(&String::from_utf8_lossy(&bytes), &mut counts),
            Err(error) => failed.push((file, error.to_string())),
        }
    }
    (counts, failed)
}

fn add_words(text: &str, counts: &mut Counts) {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    for word in words.filter(|word| !word.is_empty()) {
        match counts.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(counts.insert(word.to_owned(), 1)),
        }
    }
}

/// Counts in a pool. A batch whose worker died is done again file by file, to find the culprit.
fn count_in_pool(pool: &Pool, files: &[PathBuf]) -> Vec<(Counts, Failed)> {
    let batches = batches(files, pool.workers());
    let mut results = Vec::new();
    let mut again = Vec::new();
    for (batch, outcome) in batches
        .iter()
        .zip(pool.map_results(count_words, batches.clone()))
    {
        match outcome {
            Ok(result) => results.push(result),
            Err(_) => again.extend(batch.iter().map(|file| vec![file.clone()])),
        }
    }
    for (mut file, outcome) in again
        .clone()
        .into_iter()
        .zip(pool.map_results(count_words, again))
    {
        let failed = |error: TaskError| (Counts::new(), vec![(file.remove(0), error.to_string())]);
        results.push(outcome.unwrap_or_else(failed));
    }
    results
}

/// Files that go to a worker together: it merges their counts, which spares work here.
fn batches(files: &[PathBuf], workers: usize) -> Vec<Vec<PathBuf>> {
    let size = |file: &PathBuf| fs::metadata(file).map_or(0, |file| file.len());
    let share = files.iter().map(size).sum::<u64>() / (16 * workers as u64);
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for file in files {
        bytes += size(file);
        batches.last_mut().expect("never empty").push(file.clone());
        if bytes >= share.max(16 << 10) {
            batches.push(Vec::new());
            bytes = 0;
        }
    }
    batches
}

/// All files below `path`, `target` and hidden directories apart.
fn walk(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with('.') && name != "target" {
            walk(&entry, files)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    init();
    let (mut serial, mut workers, mut files) = (false, cpu_count().get(), Vec::new());
    let mut named = false;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--serial" => serial = true,
            "--workers" => {
                workers = arguments
                    .next()
                    .ok_or("--workers needs a number")?
                    .parse()?
            }
            path => {
                named = true;
                walk(Path::new(path), &mut files)?;
            }
        }
    }
    if !named {
        walk(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")),
            &mut files,
        )?;
    }

    let start = Instant::now();
    let results = match serial {
        true => vec![count_words(files.clone())],
        false => count_in_pool(&Pool::with_workers(workers)?, &files),
    };
    let (mut total, mut failed) = (Counts::new(), Failed::new());
    for (counts, some) in results {
        counts
            .into_iter()
            .for_each(|(word, count)| *total.entry(word).or_default() += count);
        failed.extend(some);
    }
    let seconds = start.elapsed().as_secs_f64();

    let mut top: Vec<_> = total.iter().collect();
    top.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    for (word, count) in top.iter().take(10) {
        println!("{count:>9}  {word}");
    }
    let words: u64 = total.values().sum();
    let rate = files.len() as f64 / seconds;
    println!(
        "{words} words, {} of them different, in {} files: {rate:.0} files/s",
        top.len(),
        files.len()
    );
    for (file, why) in &failed {
        println!("failed: {}: {why}", file.display());
    }
    Ok(())
}
