//! Cleans a large CSV file on all CPUs, in bounded memory, with its lines in their order.
//!
//! The file goes through the pool as chunks of lines: [`imap`] reads a chunk when the workers need
//! one, never more than `buffersize` chunks ahead, and hands the cleaned chunks out in the order of
//! the file. So neither the file nor the result has to fit into memory. Compared with the same
//! function in this process: the files are the same to the byte.
//!
//! A chunk ends at the end of a line. Files with line breaks inside of quotes need a reader that
//! knows about quotes to cut them.
//!
//! `cargo run --release -p procession-pool --example csv_cleaning [ROWS]`
//!
//! [`imap`]: procession_pool::View::imap

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Instant;
use std::{env, iter};

use procession_pool::{Pool, Result, init};
use serde::{Deserialize, Serialize};

/// Bytes of a chunk, about: some milliseconds of work.
const CHUNK: usize = 128 << 10;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Cleaned {
    text: String,
    rows: u64,
    dropped: u64,
}

/// Runs in a worker: cleans some lines. Rows without a number or with an impossible amount go.
fn clean(lines: String) -> Cleaned {
    let mut cleaned = Cleaned::default();
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(lines.as_bytes());
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(lines.len()));
    for row in rows.records() {
        cleaned.rows += 1;
        let kept = row.ok().and_then(|row| clean_row(&row));
        let written = kept.map(|row| writer.write_record(row).is_ok());
        cleaned.dropped += u64::from(written != Some(true));
    }
    let bytes = writer.into_inner().expect("written to memory");
    cleaned.text = String::from_utf8(bytes).expect("made of strings");
    cleaned
}

fn clean_row(row: &csv::StringRecord) -> Option<[String; 4]> {
    let [id, name, city, amount] = [0, 1, 2, 3].map(|n| row.get(n).unwrap_or_default().trim());
    let id: u64 = id.parse().ok()?;
    let name: Vec<&str> = name.split_whitespace().collect();
    let name = name.join(" ");
    let amount = amount.trim_start_matches('$').replace(',', "");
    let amount: f64 = amount.parse().ok()?;
    let city = if city.is_empty() { "unknown" } else { city };
    let (id, city) = (id.to_string(), city.to_lowercase());
    (amount >= 0.0).then(|| [id, name, city, format!("{amount:.2}")])
}

/// The lines that are left, in chunks. An error ends them, and is left in `failed`: the items of a
/// pool are plain values.
fn chunks<'a>(
    reader: &'a mut impl BufRead,
    failed: &'a mut io::Result<()>,
) -> impl Iterator<Item = String> + 'a {
    let mut line = move |lines: &mut String| {
        let read = reader.read_line(lines);
        read.map_err(|error| *failed = Err(error)).unwrap_or(0) > 0
    };
    iter::from_fn(move || {
        let mut lines = String::with_capacity(CHUNK + 256);
        while lines.len() < CHUNK && line(&mut lines) {}
        (!lines.is_empty()).then_some(lines)
    })
}

/// Cleans the file `from` to the file `to`; rows and dropped rows. In this process without a pool.
fn clean_file(pool: Option<&Pool>, from: &Path, to: &Path) -> Result<(u64, u64)> {
    let mut reader = BufReader::new(File::open(from)?);
    let mut writer = BufWriter::new(File::create(to)?);
    let mut header = Vec::new();
    reader.read_until(b'\n', &mut header)?;
    writer.write_all(&header)?;

    let (mut rows, mut dropped, mut failed) = (0, 0, Ok(()));
    let mut add = |cleaned: Cleaned| {
        rows += cleaned.rows;
        dropped += cleaned.dropped;
        writer.write_all(cleaned.text.as_bytes())
    };
    let input = chunks(&mut reader, &mut failed);
    match pool {
        // Each item is a chunk of lines, so it goes to the workers alone.
        Some(pool) => {
            let tuned = pool.chunksize(1).buffersize(4 * pool.workers());
            for cleaned in tuned.imap(clean, input) {
                add(cleaned?)?;
            }
        }
        None => input.map(clean).try_for_each(&mut add)?,
    }
    failed?;
    writer.flush()?;
    Ok((rows, dropped))
}

/// Writes `rows` rows of what people type.
fn generate(path: &Path, rows: u64) -> io::Result<()> {
    let names = ["Ada  Lovelace", " Grace Hopper ", "\"Turing, Alan\""];
    let cities = ["LONDON", " new york", "", "Amsterdam "];
    let amounts = ["12", "n/a", "$7.5", "\"1,234.567\"", "-3", ""];
    let mut random = fastrand::Rng::with_seed(1);
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "id,name,city,amount")?;
    for id in 0..rows {
        let name = names[random.usize(..names.len())];
        let city = cities[random.usize(..cities.len())];
        let amount = amounts[random.usize(..amounts.len())];
        writeln!(file, " {id} ,{name},{city},{amount}")?;
    }
    file.flush()
}

fn main() -> Result<()> {
    init();
    let rows = env::args().nth(1);
    let rows = rows.map_or(Ok(200_000), |rows| rows.parse())?;
    let folder = tempfile::tempdir()?; // removed at the end
    let [dirty, serial, parallel] =
        ["dirty", "serial", "parallel"].map(|name| folder.path().join(name));
    generate(&dirty, rows)?;
    println!("{rows} rows, {} KiB", fs::metadata(&dirty)?.len() >> 10);

    let pool = Pool::new()?;
    for (name, pool, to) in [("serial", None, &serial), ("pool", Some(&pool), &parallel)] {
        let start = Instant::now();
        let (rows, dropped) = clean_file(pool, &dirty, to)?;
        let rate = rows as f64 / start.elapsed().as_secs_f64();
        println!("{name:>6}: {rate:>9.0} rows/s, {dropped} rows dropped");
    }
    let same = fs::read(&serial)? == fs::read(&parallel)?;
    assert!(same, "the files differ");
    let peak = pool
        .stats()
        .workers
        .iter()
        .map(|worker| worker.peak_memory)
        .max();
    println!(
        "the files are the same; no worker had more than {} KiB",
        peak.unwrap_or(0) >> 10
    );
    Ok(())
}
