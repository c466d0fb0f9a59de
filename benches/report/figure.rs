//! Trials brought together: one figure, all contestants.

use procession_bench::{Kind, Record, Summary, Target};
use serde::Serialize;

use crate::number::short;

/// What all contestants need for one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) row: String,
    pub(crate) workload: String,
    pub(crate) unit: String,
    /// What a sweep varies, and the value here.
    pub(crate) parameter: Option<(String, f64)>,
    pub(crate) targets: Vec<Target>,
    /// Ours first, then those of its kind, then references.
    pub(crate) standings: Vec<Standing>,
}

/// All trials of one contestant.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    pub(crate) contestant: String,
    pub(crate) kind: Kind,
    pub(crate) items: Option<u64>,
    /// Of each trial.
    pub(crate) values: Vec<f64>,
    /// Of `values`; none if there are none.
    pub(crate) summary: Option<Summary>,
    /// Why a trial has no value.
    pub(crate) failed: Option<String>,
    /// What is to be built before there can be a value.
    pub(crate) not_built: Option<String>,
    /// Medians over the trials.
    pub(crate) percentiles: Vec<(f64, f64)>,
    /// Of the last trial.
    pub(crate) series: Vec<(f64, f64)>,
}

/// Whether a target was met; `None` if there is nothing to compare with.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) target: String,
    pub(crate) met: Option<bool>,
}

/// The figures of `records`, row by row.
pub(crate) fn collect(records: impl Iterator<Item = Record>) -> Vec<Figure> {
    let of_figure = |a: &Record, b: &Record| {
        a.row == b.row && a.workload == b.workload && a.parameter == b.parameter
    };
    let groups = grouped(records, of_figure).into_iter();
    let mut figures: Vec<Figure> = groups.map(Figure::of).collect();
    let number = |row: &str| row.trim_start_matches('B').parse::<u32>().ok();
    // The points of a sweep together, in the place of the first.
    let names = figures
        .iter()
        .map(|figure| (figure.row.clone(), figure.workload.clone()));
    let names: Vec<_> = names.collect();
    figures.sort_by_cached_key(|figure| {
        let same =
            |(row, workload): &(String, String)| (row, workload) == (&figure.row, &figure.workload);
        (number(&figure.row), names.iter().position(same))
    });
    figures
}

/// Those that are `same` together, in the order in which the first of each came.
fn grouped(
    records: impl Iterator<Item = Record>,
    same: impl Fn(&Record, &Record) -> bool,
) -> Vec<Vec<Record>> {
    let mut groups: Vec<Vec<Record>> = Vec::new();
    for record in records {
        match groups.iter_mut().find(|group| same(&group[0], &record)) {
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    groups
}

impl Figure {
    /// `records` is not empty.
    fn of(records: Vec<Record>) -> Figure {
        let first = records[0].clone();
        let targets = records.iter().map(|record| &record.targets);
        let targets = targets.max_by_key(|targets| targets.len());
        let targets = targets.cloned().unwrap_or_default();
        let groups = grouped(records.into_iter(), |a, b| a.contestant == b.contestant);
        let mut standings: Vec<Standing> = groups.iter().map(|group| Standing::of(group)).collect();
        standings.sort_by_key(|standing| standing.kind as u8);
        Figure {
            row: first.row,
            workload: first.workload,
            unit: first.unit,
            parameter: first.parameter,
            targets,
            standings,
        }
    }

    pub(crate) fn ours(&self) -> Option<&Standing> {
        let mut standings = self.standings.iter();
        standings.find(|standing| standing.kind == Kind::Ours)
    }

    /// Our median as a multiple of that of `other`.
    pub(crate) fn ratio(&self, other: &Standing) -> Option<f64> {
        let ratio = self.ours()?.median()? / other.median()?;
        (other.kind != Kind::Ours && ratio.is_finite()).then_some(ratio)
    }

    /// The best of the contestants that do what we do.
    pub(crate) fn best_peer(&self) -> Option<&Standing> {
        let peers = self.standings.iter();
        let peers = peers.filter(|peer| peer.kind == Kind::Processes && peer.median().is_some());
        let more_is_better = self.unit.ends_with("/s");
        peers.min_by(|a, b| {
            let (a, b) = (a.median(), b.median());
            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
            if more_is_better {
                b.total_cmp(&a)
            } else {
                a.total_cmp(&b)
            }
        })
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let ours = self.ours().and_then(Standing::median);
        let verdict = |target: &Target| {
            let (target, met) = match target {
                Target::AtMost(most) => (
                    format!("<= {}", short(*most)),
                    ours.map(|ours| ours <= *most),
                ),
                Target::AtLeast(least) => (
                    format!(">= {}", short(*least)),
                    ours.map(|ours| ours >= *least),
                ),
                Target::AtMostTimes(most, name) => {
                    let mut peers = self.standings.iter();
                    let peer = peers.find(|peer| peer.contestant == *name);
                    let ratio = peer.and_then(|peer| self.ratio(peer));
                    let target = format!("<= {} x {name}", short(*most));
                    (target, ratio.map(|ratio| ratio <= *most))
                }
            };
            Verdict { target, met }
        };
        self.targets.iter().map(verdict).collect()
    }
}

impl Standing {
    /// `records` is not empty.
    fn of(records: &[Record]) -> Standing {
        let first = &records[0];
        let values: Vec<f64> = records.iter().filter_map(|record| record.value).collect();
        let percents = first.percentiles.iter().map(|(percent, _)| *percent);
        let percentiles = percents.filter_map(|percent| {
            let curves = records.iter().flat_map(|record| &record.percentiles);
            let points = curves.filter(|(at, _)| *at == percent);
            let values: Vec<f64> = points.map(|(_, value)| *value).collect();
            Some((percent, Summary::of(&values)?.median))
        });
        Standing {
            contestant: first.contestant.clone(),
            kind: first.kind,
            items: first.items,
            summary: Summary::of(&values),
            values,
            failed: records.iter().find_map(|record| record.failed.clone()),
            not_built: records.iter().find_map(|record| record.not_built.clone()),
            percentiles: percentiles.collect(),
            series: records
                .last()
                .map_or_else(Vec::new, |last| last.series.clone()),
        }
    }

    pub(crate) fn median(&self) -> Option<f64> {
        Some(self.summary?.median)
    }
}

impl Verdict {
    /// `<= 15: met`
    pub(crate) fn text(&self) -> String {
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "NOT met",
            None => "cannot be told",
        };
        format!("{}: {met}", self.target)
    }
}
