//! Which plots a report has.

use std::path::Path;

use procession_bench::Kind;

use crate::chart::{Axis, Bar, Chart, Line, Outcome, Scale};
use crate::figure::{Figure, Standing};
use crate::table::{contestants, workloads};
use crate::{Report, named};

/// One file.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) row: String,
    pub(crate) title: String,
    pub(crate) file: String,
}

/// Draws them all: bars of each row, and curves of what has any.
pub(crate) fn draw(report: &Report, stem: &Path) -> Outcome<Vec<Plot>> {
    let mut plots = Vec::new();
    for row in report.figures.chunk_by(|a, b| a.row == b.row) {
        let name = &row[0].row;
        let mut add = |what: &str, title: &str, charts: &[Chart]| -> Outcome<()> {
            if charts.is_empty() {
                return Ok(());
            }
            let path = named(stem, &format!("-{}-{what}.svg", name.to_lowercase()));
            crate::chart::draw(&path, charts)?;
            let file = path.file_name().unwrap_or_default();
            plots.push(Plot {
                row: name.clone(),
                title: format!("{name}: {title}"),
                file: file.to_string_lossy().into_owned(),
            });
            Ok(())
        };
        let single = row.iter().filter(|figure| figure.parameter.is_none());
        let charts: Vec<Chart> = single.filter_map(bars).collect();
        add("bars", "medians", &charts)?;
        let charts: Vec<Chart> = workloads(row).filter_map(sweep).collect();
        add("sweep", "sweep", &charts)?;
        let charts: Vec<Chart> = row.iter().filter_map(percentiles).collect();
        add("percentiles", "percentiles", &charts)?;
        let charts: Vec<Chart> = row.iter().filter_map(over_time).collect();
        add("time", "over time", &charts)?;
    }
    Ok(plots)
}

fn bars(figure: &Figure) -> Option<Chart> {
    let bar = |standing: &Standing| {
        Some(Bar {
            name: standing.contestant.clone(),
            kind: standing.kind,
            range: standing.summary?,
        })
    };
    let bars: Vec<Bar> = figure.standings.iter().filter_map(bar).collect();
    // Counts of nothing have no place on this axis.
    let drawn = bars.iter().any(|bar| bar.range.median > 0.0);
    drawn.then(|| Chart::Bars {
        title: format!("{} {} [{}]", figure.row, figure.workload, figure.unit),
        bars,
    })
}

fn sweep(figures: &[Figure]) -> Option<Chart> {
    let first = &figures[0];
    let (parameter, _) = first.parameter.as_ref()?;
    let lines = contestants(figures).into_iter().map(|name| {
        let points = figures.iter().filter_map(|figure| {
            let (_, at) = figure.parameter.as_ref()?;
            let mut standings = figure.standings.iter();
            let standing = standings.find(|standing| standing.contestant == name)?;
            Some((*at, standing.median()?))
        });
        Line {
            name: name.to_owned(),
            points: points.collect(),
        }
    });
    Some(Chart::Curves {
        title: format!("{} {}", first.row, first.workload),
        x: Axis::new(parameter, Scale::Log),
        y: Axis::new(&first.unit, Scale::Log),
        lines: lines.collect(),
    })
}

fn percentiles(figure: &Figure) -> Option<Chart> {
    let lines = lines(figure, |standing| &standing.percentiles)?;
    let title = figure.workload.replace(", p50", "");
    Some(Chart::Curves {
        title: format!("{} {title}", figure.row),
        x: Axis::new("percentile", Scale::Nines),
        y: Axis::new(&figure.unit, Scale::Log),
        lines,
    })
}

fn over_time(figure: &Figure) -> Option<Chart> {
    let lines = lines(figure, |standing| &standing.series)?;
    Some(Chart::Curves {
        title: format!("{} {}", figure.row, figure.workload),
        x: Axis::new("s", Scale::Linear),
        y: Axis::new(&figure.unit, Scale::Linear),
        lines,
    })
}

/// A line for each contestant that has `points`.
fn lines(figure: &Figure, points: fn(&Standing) -> &Vec<(f64, f64)>) -> Option<Vec<Line>> {
    let of = figure
        .standings
        .iter()
        .filter(|standing| !points(standing).is_empty());
    let line = |standing: &Standing| Line {
        name: standing.contestant.clone(),
        points: points(standing).clone(),
    };
    let lines: Vec<Line> = of.map(line).collect();
    (!lines.is_empty()).then_some(lines)
}

/// What sort of bar: ours stands out, references step back.
pub(crate) fn colour(kind: Kind) -> (u8, u8, u8) {
    match kind {
        Kind::Ours => (31, 119, 180),
        Kind::Processes => (255, 152, 62),
        Kind::Threads => (90, 160, 90),
        Kind::Floor => (160, 160, 160),
    }
}
