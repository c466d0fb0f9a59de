//! The figures as text, for a terminal and as Markdown.

use crate::Report;
use crate::figure::{Figure, Standing, Verdict};
use crate::number::{count, short};
use crate::plot::Plot;

/// How figures are to be read.
const LEGEND: &str = "Medians and ranges of trials in turns. Ratio: ours to theirs. Contestants in \
                      one process (rayon) and floors (what the machine itself takes) are references.";

/// For a terminal.
pub(crate) fn plain(report: &Report) -> String {
    let mut text = format!("\n{}{LEGEND}\n", report.machine);
    for missing in &report.missing {
        text += &format!("missing: {missing}\n");
    }
    for figures in workloads(&report.figures) {
        let first = &figures[0];
        text += &format!("\n{:4} {} [{}]\n", first.row, first.workload, first.unit);
        text += &aligned(&lines(figures));
        for verdict in first.verdicts() {
            text += &format!("     target {}\n", verdict.text());
        }
    }
    text
}

/// For a file, with links to the plots.
pub(crate) fn markdown(report: &Report, plots: &[Plot]) -> String {
    let size = if report.quick { " (quick)" } else { "" };
    let mut text = format!(
        "# Comparison{size}\n\n```text\n{}\n```\n\n",
        report.machine.trim()
    );
    text += &format!("{LEGEND}\n\n");
    for missing in &report.missing {
        text += &format!("- missing: {missing}\n");
    }
    text += "\n## Targets\n\n";
    text += &table(&targets(&report.figures));
    let mut row = "";
    for figures in workloads(&report.figures) {
        let first = &figures[0];
        if first.row != row {
            row = &first.row;
            text += &format!("\n## {row}\n");
            for plot in plots.iter().filter(|plot| plot.row == row) {
                text += &format!("\n![{}]({})\n", plot.title, plot.file);
            }
        }
        text += &format!("\n### {} [{}]\n\n", first.workload, first.unit);
        text += &table(&lines(figures));
    }
    text
}

/// Figures of the same workload together: a sweep, or a single one.
pub(crate) fn workloads(figures: &[Figure]) -> impl Iterator<Item = &[Figure]> {
    figures.chunk_by(|a, b| (&a.row, &a.workload) == (&b.row, &b.workload))
}

/// Heading and lines of one workload.
fn lines(figures: &[Figure]) -> Vec<Vec<String>> {
    let first = &figures[0];
    if first.parameter.is_some() {
        return sweep(figures);
    }
    let heading = ["contestant", "median", "range", "ratio", "note"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    let standings = first.standings.iter();
    lines.extend(standings.map(|standing| cells(first, standing)));
    lines
}

/// One line per workload with a target.
fn targets(figures: &[Figure]) -> Vec<Vec<String>> {
    let heading = ["row", "workload", "ours", "best peer", "ratio", "target"];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for figure in figures.iter().filter(|figure| !figure.targets.is_empty()) {
        let with_unit = |value: f64| format!("{} {}", short(value), figure.unit);
        let ours = match figure.ours() {
            Some(ours) if ours.not_built.is_some() => "not built yet".to_owned(),
            ours => {
                let median = ours.and_then(Standing::median);
                median.map_or_else(|| "failed".to_owned(), with_unit)
            }
        };
        let best = figure.best_peer();
        let peer = best.and_then(|best| Some((&best.contestant, best.median()?)));
        let verdicts: Vec<String> = figure.verdicts().iter().map(Verdict::text).collect();
        lines.push(vec![
            figure.row.clone(),
            figure.workload.clone(),
            ours,
            peer.map_or_else(dash, |(name, value)| {
                format!("{name}: {}", with_unit(value))
            }),
            best.and_then(|best| figure.ratio(best))
                .map_or_else(dash, short),
            verdicts.join("; "),
        ]);
    }
    lines
}

/// Contestant, median, range, ratio, note.
fn cells(figure: &Figure, standing: &Standing) -> Vec<String> {
    let mut notes = Vec::new();
    if standing.items != figure.ours().and_then(|ours| ours.items) {
        notes.extend(
            standing
                .items
                .map(|items| format!("{} items", count(items as f64))),
        );
    }
    notes.extend(standing.failed.clone());
    notes.extend(standing.not_built.clone());
    let range = |summary: procession_bench::Summary| {
        format!("{}..{}", short(summary.least), short(summary.most))
    };
    vec![
        standing.contestant.clone(),
        standing.median().map_or_else(dash, short),
        standing.summary.map_or_else(dash, range),
        figure.ratio(standing).map_or_else(dash, short),
        notes.join(", "),
    ]
}

/// A line per contestant, a column per point.
fn sweep(figures: &[Figure]) -> Vec<Vec<String>> {
    let parameters = figures
        .iter()
        .filter_map(|figure| figure.parameter.as_ref());
    let mut heading: Vec<String> = parameters.clone().map(|(_, value)| count(*value)).collect();
    let name = parameters.map(|(name, _)| name.clone()).next();
    heading.insert(0, name.unwrap_or_default());
    let mut lines = vec![heading];
    for name in contestants(figures) {
        let points = figures.iter().map(|figure| {
            let mut standings = figure.standings.iter();
            let standing = standings.find(|standing| standing.contestant == name);
            standing.and_then(Standing::median).map_or_else(dash, short)
        });
        lines.push(std::iter::once(name.to_owned()).chain(points).collect());
    }
    lines
}

/// All that have a part in `figures`.
pub(crate) fn contestants(figures: &[Figure]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for standing in figures.iter().flat_map(|figure| &figure.standings) {
        if !names.contains(&standing.contestant.as_str()) {
            names.push(&standing.contestant);
        }
    }
    names
}

/// Columns of equal width: the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for line in lines {
        let mut row = format!("     {:1$}", line[0], width(0));
        for (column, cell) in line.iter().enumerate().skip(1) {
            row += &format!("  {cell:>0$}", width(column));
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

/// The first line is the heading.
fn table(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        text += &format!("| {} |\n", line.join(" | "));
        if number == 0 {
            text += &format!("|{}\n", "---|".repeat(line.len()));
        }
    }
    text
}

fn dash() -> String {
    "-".to_owned()
}
