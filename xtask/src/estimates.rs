//! What criterion measured: reading its files, printing the table.

#[cfg(test)]
mod tests;

/// One benchmark.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// In nanoseconds.
    median: Estimate,
    /// As a fraction of the run before.
    change: Option<Estimate>,
}

/// A value with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    point: f64,
    lower: f64,
    upper: f64,
}

impl Row {
    /// From the texts of `new/estimates.json` and `change/estimates.json`.
    pub(crate) fn new(name: String, estimates: &str, change: Option<&str>) -> Option<Self> {
        Some(Self {
            name,
            median: median(estimates)?,
            change: change.and_then(median),
        })
    }
}

/// The name of a benchmark, from `benchmark.json`.
pub(crate) fn full_id(benchmark: &str) -> Option<String> {
    let text = after(benchmark, "full_id")?.strip_prefix('"')?;
    let end = text.find('"')?;
    Some(text[..end].to_owned())
}

/// Benchmark, median, half the width of its interval, change.
pub(crate) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let width = width.max("benchmark".len());
    let mut table = format!(
        "{:width$}  {:>10}  {:>10}  change\n",
        "benchmark", "median", "±"
    );
    for row in rows {
        let half = (row.median.upper - row.median.lower) / 2.0;
        table.push_str(&format!(
            "{:width$}  {:>10}  {:>10}  {}\n",
            row.name,
            time(row.median.point),
            time(half),
            change(row.change),
        ));
    }
    table
}

/// `+2.1 % (+1.8..+2.6)`, with the confidence interval.
fn change(change: Option<Estimate>) -> String {
    let Some(change) = change else {
        return "-".to_owned();
    };
    format!(
        "{:+.1} % ({:+.1}..{:+.1})",
        change.point * 100.0,
        change.lower * 100.0,
        change.upper * 100.0,
    )
}

fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

fn median(estimates: &str) -> Option<Estimate> {
    let median = after(estimates, "median")?;
    Some(Estimate {
        point: number(median, "point_estimate")?,
        lower: number(median, "lower_bound")?,
        upper: number(median, "upper_bound")?,
    })
}

fn number(json: &str, key: &str) -> Option<f64> {
    let text = after(json, key)?;
    let end = text.find([',', '}']).unwrap_or(text.len());
    text[..end].trim().parse().ok()
}

/// What follows the first `"key":`.
fn after<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let quoted = format!("\"{key}\"");
    let at = json.find(&quoted)? + quoted.len();
    Some(json[at..].trim_start().strip_prefix(':')?.trim_start())
}
